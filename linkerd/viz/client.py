"""Questions to a metrics-api over a gRPC channel, for the CLI and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio

from linkerd.errors import MetricsError, NotFound
from linkerd.gen import viz_pb2 as pb
from linkerd.gen import viz_pb2_grpc
from linkerd.viz.kinds import Target
from linkerd.viz.stat import Row

_TIMEOUT_S = 30.0


async def stat_summary(
    channel: grpc.aio.Channel,
    target: Target,
    namespace: str = "",
    *,
    window: str = "1m",
    to: pb.Resource | None = None,
    from_: pb.Resource | None = None,
    label_selector: str = "",
    skip_stats: bool = False,
    tcp_stats: bool = True,
) -> list[Row]:
    """Returns the rows of one target, ordered within each kind by namespace and name.

    Args:
        channel: To metrics-api.
        target: What to ask about; its kind may be `all`.
        namespace: Where; empty means all namespaces. Ignored for the kind namespace.
        window: Prometheus duration.
        to: Only traffic that goes there.
        from_: Only traffic that comes from there.
        label_selector: Narrows the target's objects.
        skip_stats: Only count pods.
        tcp_stats: Ask for connections and bytes too.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
        NotFound: there is no object of that name.
    """
    request = stat_request(
        target,
        namespace,
        window=window,
        to=to,
        from_=from_,
        label_selector=label_selector,
        skip_stats=skip_stats,
        tcp_stats=tcp_stats,
    )
    response = await stat_response(channel, request)
    return [row for table in response.ok.stat_tables for row in table.pod_group.rows]


def stat_request(
    target: Target,
    namespace: str = "",
    *,
    window: str = "1m",
    to: pb.Resource | None = None,
    from_: pb.Resource | None = None,
    label_selector: str = "",
    skip_stats: bool = False,
    tcp_stats: bool = True,
) -> pb.StatSummaryRequest:
    """Returns the request for `stat_summary`'s arguments."""
    resource = pb.Resource(
        namespace="" if target.kind == "namespace" else namespace,
        type=target.kind,
        name=target.name,
    )
    request = pb.StatSummaryRequest(
        selector=pb.ResourceSelection(resource=resource, label_selector=label_selector),
        time_window=window,
        skip_stats=skip_stats,
        tcp_stats=tcp_stats,
    )
    if to is not None:
        request.to_resource.CopyFrom(to)
    elif from_ is not None:
        request.from_resource.CopyFrom(from_)
    else:
        request.none.SetInParent()
    return request


async def stat_response(
    channel: grpc.aio.Channel, request: pb.StatSummaryRequest
) -> pb.StatSummaryResponse:
    """Returns the successful answer to a request as it came.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
        NotFound: there is no object of that name.
    """
    try:
        response = await viz_pb2_grpc.ApiStub(channel).StatSummary(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    if response.HasField("error"):
        raise MetricsError(response.error.error)
    return response


async def edges(channel: grpc.aio.Channel, kind: str, namespace: str = "") -> list[pb.Edge]:
    """Returns the open connections between resources of a kind.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
    """
    resource = pb.Resource(namespace=namespace, type=kind)
    request = pb.EdgesRequest(selector=pb.ResourceSelection(resource=resource))
    try:
        response = await viz_pb2_grpc.ApiStub(channel).Edges(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    if response.HasField("error"):
        raise MetricsError(response.error.error)
    return list(response.ok.edges)


async def list_pods(
    channel: grpc.aio.Channel,
    namespace: str = "",
    *,
    target: Target | None = None,
    label_selector: str = "",
) -> Sequence[pb.Pod]:
    """Returns pods with their proxies' state.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
    """
    resource = pb.Resource(namespace=namespace)
    if target is not None:
        resource.type, resource.name = target.kind, target.name
    selection = pb.ResourceSelection(resource=resource, label_selector=label_selector)
    request = pb.ListPodsRequest(selector=selection)
    try:
        response = await viz_pb2_grpc.ApiStub(channel).ListPods(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    return response.pods


async def list_services(channel: grpc.aio.Channel, namespace: str = "") -> Sequence[pb.Service]:
    """Returns services.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
    """
    request = pb.ListServicesRequest(namespace=namespace)
    try:
        response = await viz_pb2_grpc.ApiStub(channel).ListServices(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    return response.services


async def top_routes(
    channel: grpc.aio.Channel,
    target: Target,
    namespace: str = "",
    *,
    window: str = "1m",
    to: pb.Resource | None = None,
    label_selector: str = "",
) -> Sequence[pb.RouteTable]:
    """Returns a table per resource with the routes of its ServiceProfiles.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
    """
    resource = pb.Resource(namespace=namespace, type=target.kind, name=target.name)
    request = pb.TopRoutesRequest(
        selector=pb.ResourceSelection(resource=resource, label_selector=label_selector),
        time_window=window,
    )
    if to is not None:
        request.to_resource.CopyFrom(to)
    else:
        request.none.SetInParent()
    try:
        response = await viz_pb2_grpc.ApiStub(channel).TopRoutes(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    if response.HasField("error"):
        raise MetricsError(response.error.error)
    return response.ok.routes


async def authz(
    channel: grpc.aio.Channel, target: Target, namespace: str = "", *, window: str = "1m"
) -> Sequence[Row]:
    """Returns a row per server, route and authorization that a resource's traffic met.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
    """
    resource = pb.Resource(namespace=namespace, type=target.kind, name=target.name)
    request = pb.AuthzRequest(resource=pb.ResourceSelection(resource=resource), time_window=window)
    try:
        response = await viz_pb2_grpc.ApiStub(channel).Authz(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    if response.HasField("error"):
        raise MetricsError(response.error.error)
    return response.ok.stat_table.pod_group.rows


async def gateways(
    channel: grpc.aio.Channel, cluster: str = "", namespace: str = "", *, window: str = "1m"
) -> pb.GatewaysTable:
    """Returns a row per gateway of linked clusters.

    Raises:
        MetricsError: metrics-api refused or is out of reach.
    """
    request = pb.GatewaysRequest(
        remote_cluster_name=cluster, gateway_namespace=namespace, time_window=window
    )
    try:
        response = await viz_pb2_grpc.ApiStub(channel).Gateways(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    if response.HasField("error"):
        raise MetricsError(response.error.error)
    return response.ok.gateways_table


async def self_check(channel: grpc.aio.Channel) -> Sequence[pb.CheckResult]:
    """Returns what metrics-api says of Kubernetes and Prometheus.

    Raises:
        MetricsError: it is out of reach.
    """
    try:
        response = await viz_pb2_grpc.ApiStub(channel).SelfCheck(
            pb.SelfCheckRequest(), timeout=_TIMEOUT_S
        )
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    return response.results


def _error(error: grpc.aio.AioRpcError) -> MetricsError | NotFound:
    detail = error.details() or error.code().name.lower()
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(detail)
    return MetricsError(detail)

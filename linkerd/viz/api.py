"""The metrics API: requests → Prometheus and the watched cluster → answers.

The edge around `queries`, `stat`, `edges` and `pods`. Refusals that concern the request travel in
the body, as Linkerd's clients expect; only a missing Kubernetes object is a gRPC NotFound.
Source: linkerd2 viz/metrics-api/grpc_server.go, stat_summary.go, edges.go.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from linkerd import log
from linkerd.errors import KubeError, LinkerdError, MetricsError, NotFound, UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.kube import resources
from linkerd.kube.client import KubeClient
from linkerd.viz import authz, edges, gateways, pods, queries, routes, selector, stat
from linkerd.viz.cluster import Cluster
from linkerd.viz.kinds import ALL, KINDS, STAT_ALL
from linkerd.viz.objects import WATCHED
from linkerd.viz.prometheus import Prometheus

_POLICY = {
    "server": resources.SERVERS,
    "serverauthorization": resources.SERVER_AUTHORIZATIONS,
    "authorizationpolicy": resources.AUTHORIZATION_POLICIES,
    "httproute": resources.POLICY_HTTP_ROUTES,
}

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """What the API is about."""

    control_plane_ns: str
    cluster_domain: str
    ignored_namespaces: frozenset[str]


class MetricsApi:
    """Answers `linkerd2.viz.Api`; what it does not define is answered with UNIMPLEMENTED.

    Args:
        cluster: Kept current by the caller.
        kube: For policy resources, which are listed on each call.
        prometheus: None answers every question about metrics with an error.
        scope: Settings of the mesh.
    """

    def __init__(
        self, cluster: Cluster, kube: KubeClient, prometheus: Prometheus | None, scope: Scope
    ) -> None:
        self._cluster = cluster
        self._kube = kube
        self._prometheus = prometheus
        self._scope = scope

    async def StatSummary(  # noqa: N802
        self, request: pb.StatSummaryRequest
    ) -> pb.StatSummaryResponse:
        """Returns a table per kind."""
        try:
            tables = await self._stat(request)
        except (UsageError, MetricsError) as error:
            return pb.StatSummaryResponse(error=_refusal(request.selector, error))
        return pb.StatSummaryResponse(ok=pb.StatSummaryResponse.Ok(stat_tables=tables))

    async def Edges(  # noqa: N802
        self, request: pb.EdgesRequest
    ) -> pb.EdgesResponse:
        """Returns the connections between resources of one kind."""
        wanted = request.selector.resource
        try:
            samples = await self._configured().query(queries.edges(wanted.type))
        except (UsageError, MetricsError) as error:
            return pb.EdgesResponse(error=_refusal(request.selector, error))
        found = edges.edges(samples, wanted.type, wanted.namespace, self._cluster)
        return pb.EdgesResponse(ok=pb.EdgesResponse.Ok(edges=found))

    async def ListPods(  # noqa: N802
        self, request: pb.ListPodsRequest
    ) -> pb.ListPodsResponse:
        """Returns the pods that a selector names, with their proxies' state."""
        wanted = request.selector.resource
        namespace = wanted.name if wanted.type == "namespace" else wanted.namespace
        started = await self._configured().query(queries.process_starts(namespace))
        found = pods.pods(
            self._cluster,
            queries.Object(wanted.type, wanted.namespace, wanted.name),
            started,
            matches=selector.parse(request.selector.label_selector),
            ignored_namespaces=self._scope.ignored_namespaces,
            control_plane_ns=self._scope.control_plane_ns,
            now=time.time(),
        )
        return pb.ListPodsResponse(pods=found)

    async def ListServices(  # noqa: N802
        self, request: pb.ListServicesRequest
    ) -> pb.ListServicesResponse:
        """Returns the services of a namespace, or all."""
        found = [obj.metadata for obj in self._cluster.objects("service", request.namespace)]
        found.sort(key=lambda meta: (meta.namespace, meta.name))
        return pb.ListServicesResponse(
            services=[pb.Service(name=meta.name, namespace=meta.namespace) for meta in found]
        )

    async def TopRoutes(  # noqa: N802
        self, request: pb.TopRoutesRequest
    ) -> pb.TopRoutesResponse:
        """Returns a table per resource with the routes of its ServiceProfiles."""
        try:
            found = await self._top_routes(request)
        except (UsageError, MetricsError) as error:
            return pb.TopRoutesResponse(error=_refusal(request.selector, error))
        return pb.TopRoutesResponse(ok=pb.TopRoutesResponse.Ok(routes=found))

    async def Gateways(  # noqa: N802
        self, request: pb.GatewaysRequest
    ) -> pb.GatewaysResponse:
        """Returns a row per gateway of linked clusters."""
        asked = gateways.query(
            request.remote_cluster_name, request.gateway_namespace, request.time_window or "1m"
        )
        try:
            answers = await self._configured().query_all(asked)
        except (UsageError, MetricsError) as error:
            return pb.GatewaysResponse(error=pb.ResourceError(error=error.message))
        table = gateways.table(answers, self._cluster)
        return pb.GatewaysResponse(ok=pb.GatewaysResponse.Ok(gateways_table=table))

    async def Authz(  # noqa: N802
        self, request: pb.AuthzRequest
    ) -> pb.AuthzResponse:
        """Returns a row per server, route and authorization that traffic met."""
        selected = _object(request.resource.resource)
        window = request.time_window or "1m"
        try:
            await self._configured().check_window(window)
            answers = await self._configured().query_all(authz.query(selected, window))
        except (UsageError, MetricsError) as error:
            return pb.AuthzResponse(error=_refusal(request.resource, error))
        rows = authz.rows(selected, answers, window)
        table = pb.StatTable(pod_group=pb.StatTable.PodGroup(rows=rows))
        return pb.AuthzResponse(ok=pb.AuthzResponse.Ok(stat_table=table))

    async def SelfCheck(  # noqa: N802
        self, request: pb.SelfCheckRequest
    ) -> pb.SelfCheckResponse:
        """Tells whether Kubernetes and Prometheus answer."""
        checks = [
            pb.CheckResult(
                SubsystemName="kubernetes",
                CheckDescription="linkerd viz can talk to Kubernetes",
                Status=pb.OK,
            )
        ]
        try:
            await self._kube.list(resources.NAMESPACES)
        except KubeError as error:
            checks[0].Status = pb.ERROR
            checks[0].FriendlyMessageToUser = f"Error calling the Kubernetes API: {error}"
        if self._prometheus is not None:
            check = pb.CheckResult(
                SubsystemName="prometheus",
                CheckDescription="linkerd viz can talk to Prometheus",
                Status=pb.OK,
            )
            try:
                await self._prometheus.query(queries.process_starts(self._scope.control_plane_ns))
            except MetricsError as error:
                check.Status = pb.ERROR
                check.FriendlyMessageToUser = f"Error calling Prometheus: {error}"
            checks.append(check)
        return pb.SelfCheckResponse(results=checks)

    async def _top_routes(self, request: pb.TopRoutesRequest) -> list[pb.RouteTable]:
        wanted = request.selector.resource
        routes.check(wanted.type)
        window = request.time_window or "1m"
        outbound = request.WhichOneof("outbound") == "to_resource"
        await self._configured().check_window(window)
        known = routes.profiles(await self._kube.list(resources.SERVICE_PROFILES))
        domain = self._scope.cluster_domain
        matches = selector.parse(request.selector.label_selector)
        tables = []
        name = wanted.name or wanted.namespace if wanted.type == "namespace" else wanted.name
        for obj in sorted(
            self._cluster.objects(wanted.type, wanted.namespace, name, matches),
            key=lambda each: (each.metadata.namespace, each.metadata.name),
        ):
            own = queries.Object(wanted.type, obj.metadata.namespace, obj.metadata.name)
            served = _object(request.to_resource) if outbound else own
            services = routes.services_of(self._cluster, served.kind, served.namespace, served.name)
            found = routes.relevant(known, services, domain)
            if not found:
                continue
            asked = routes.query(own, found, window, outbound=outbound)
            answers = await self._configured().query_all(asked)
            tables.append(routes.table(f"{own.kind}/{own.name}", found, answers, window))
        if not tables:
            raise UsageError(routes.NO_PROFILES)
        return tables

    async def _stat(self, request: pb.StatSummaryRequest) -> list[pb.StatTable]:
        if not request.HasField("selector") or not request.selector.HasField("resource"):
            raise UsageError("StatSummary request missing Selector Resource")
        wanted = request.selector.resource
        if wanted.type == "namespace" and wanted.namespace and not wanted.name:
            wanted = pb.Resource(type="namespace", name=wanted.namespace)
        kinds = STAT_ALL if wanted.type == ALL else (wanted.type,)
        if not request.skip_stats:
            await self._configured().check_window(request.time_window)
        return [
            pb.StatTable(pod_group=pb.StatTable.PodGroup(rows=await self._rows(kind, request)))
            for kind in kinds
        ]

    async def _rows(self, kind: str, request: pb.StatSummaryRequest) -> Sequence[stat.Row]:
        wanted = request.selector.resource
        namespace = "" if kind == "namespace" else wanted.namespace
        selected = queries.Object(kind, namespace, wanted.name)
        outbound = request.WhichOneof("outbound")
        to = _object(request.to_resource) if outbound == "to_resource" else None
        from_ = _object(request.from_resource) if outbound == "from_resource" else None
        query = queries.stat(
            selected,
            request.time_window,
            to=to,
            from_=from_,
            tcp=request.tcp_stats,
            cluster_domain=self._scope.cluster_domain,
        )
        answers = {} if request.skip_stats else await self._configured().query_all(query.queries)
        measured = stat.Measured(query, answers)
        matches = selector.parse(request.selector.label_selector)
        if kind == "authority":
            return stat.authority_rows(measured, window=request.time_window)
        if KINDS[kind].policy:
            names = await self._policy_names(selected, request.selector.label_selector)
            return stat.policy_rows(selected, names, measured, window=request.time_window)
        found = stat.rows(
            self._cluster,
            selected,
            measured,
            window=request.time_window,
            control_plane_ns=self._scope.control_plane_ns,
            matches=matches,
            filtered=to is not None or from_ is not None,
        )
        if (
            selected.name
            and not found
            and not any(self._cluster.objects(kind, selected.namespace, selected.name))
        ):
            raise NotFound(f'{KINDS[kind].plural} "{selected.name}" not found')
        return found

    async def _policy_names(self, selected: queries.Object, labels: str) -> list[stat.RowKey]:
        try:
            found = await self._kube.list(
                _POLICY[selected.kind], selected.namespace or None, label_selector=labels
            )
        except NotFound:
            return []  # the kind is not served
        keys = [(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) for obj in found]
        return [key for key in keys if not selected.name or key[1] == selected.name]

    def _configured(self) -> Prometheus:
        if self._prometheus is None:
            raise MetricsError("no prometheus instance", hint="set prometheusUrl or enable it")
        return self._prometheus


def watched_resources() -> dict[str, resources.Resource]:
    """Returns the Kubernetes kinds that feed a `Cluster`, by our kind."""
    by_kind = {resource.kind.lower(): resource for resource in resources.ALL}
    return {kind: by_kind[kind] for kind in WATCHED}


def _object(resource: pb.Resource) -> queries.Object:
    return queries.Object(resource.type, resource.namespace, resource.name)


def _refusal(selection: pb.ResourceSelection, error: LinkerdError) -> pb.ResourceError:
    _log.debug("request refused", error=error.message)
    return pb.ResourceError(resource=selection.resource, error=error.message)

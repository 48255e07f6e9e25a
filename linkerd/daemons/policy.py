"""The policy controller: who may reach a port, and where outbound traffic goes.

    watches ──► index.Inbound, index.OutboundIndex ──► boards ──► gRPC on :8090
            └─► index.StatusIndex ──► statuses, written by the one that holds the lease
                admission webhook on :9443

Source: linkerd2 policy-controller/runtime/src/args.rs (flags, ports).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from linkerd import log, metrics, runtime
from linkerd.daemons import _state_metrics
from linkerd.daemons._api_metrics import ApiMetrics
from linkerd.daemons._leadership import Leadership
from linkerd.daemons._statuses import Metrics as StatusMetrics
from linkerd.daemons._statuses import StatusWriter
from linkerd.daemons.feeding import follow, served
from linkerd.errors import LinkerdError, NotFound, SettingsError, WireError
from linkerd.gen import inbound_pb2, outbound_pb2
from linkerd.index.inbound import Inbound, InboundSettings, PortKey, workload_topic
from linkerd.index.outbound import OutboundIndex, OutboundSettings, TargetKey
from linkerd.index.status import StatusIndex
from linkerd.kube import admission, resources
from linkerd.kube import config as kubeconfig
from linkerd.kube.client import KubeClient
from linkerd.model import names, objects, route_objects
from linkerd.model.admission import refusal
from linkerd.model.external import ExternalWorkload
from linkerd.model.inbound import InboundServer
from linkerd.model.outbound import Outbound
from linkerd.model.policy import DEFAULT_POLICIES, GATEWAY_GROUP, is_network
from linkerd.model.ports import port_set, required_port
from linkerd.serve import admin, rpc
from linkerd.serve.board import Board, Topic
from linkerd.serve.readiness import Readiness
from linkerd.settings import address, parse, setting
from linkerd.translate import inbound as translate_inbound
from linkerd.translate import outbound as translate_outbound
from linkerd.translate.net import ip_text

_log = log.logger(__name__)

_INBOUND: tuple[tuple[resources.Resource, type[Any]], ...] = (
    (resources.SERVER_AUTHORIZATIONS, objects.ServerAuthorization),
    (resources.AUTHORIZATION_POLICIES, objects.AuthorizationPolicy),
    (resources.MESH_TLS_AUTHENTICATIONS, objects.MeshTLSAuthentication),
    (resources.NETWORK_AUTHENTICATIONS, objects.NetworkAuthentication),
)
_ROUTES = (
    (resources.POLICY_HTTP_ROUTES, ("v1beta3",)),
    (resources.HTTP_ROUTES, ("v1", "v1beta1")),
    (resources.GRPC_ROUTES, ("v1",)),
    (resources.TLS_ROUTES, ("v1", "v1alpha3", "v1alpha2")),
    (resources.TCP_ROUTES, ("v1", "v1alpha2")),
)
"""Kinds of routes, with the versions that can be read, best first."""

_INBOUND_ROUTES = (resources.POLICY_HTTP_ROUTES, resources.HTTP_ROUTES, resources.GRPC_ROUTES)
_LEASE = "policy-controller-write"
_DEFAULT_NETWORKS = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16"


def _networks(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not all(is_network(word) for word in found):
        raise ValueError("blocks such as 10.0.0.0/8, separated by commas")
    return found


@dataclass(frozen=True)
class Settings:
    """Flags; names and defaults are Linkerd's."""

    grpc_addr: tuple[str, int] = setting(
        ("0.0.0.0", 8090), "address of the gRPC server", parse=address
    )
    admin_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9990), "address of the admin server", parse=address
    )
    server_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9443), "address of the admission webhook", parse=address
    )
    server_tls_key: str = setting("", "file of the webhook's key")
    server_tls_certs: str = setting("", "file of the webhook's certificates")
    admission_controller_disabled: bool = setting(False, "do not serve the webhook")
    cluster_networks: tuple[str, ...] = setting(
        _networks(_DEFAULT_NETWORKS), "networks of pods and services", parse=_networks
    )
    identity_domain: str = setting("cluster.local", "trust domain of identities")
    cluster_domain: str = setting("cluster.local", "DNS domain of the cluster")
    default_policy: str = setting(
        "all-unauthenticated", "policy of ports without a Server", choices=DEFAULT_POLICIES
    )
    policy_deployment_name: str = setting("linkerd-destination", "owner of the write lease")
    control_plane_namespace: str = setting("linkerd", "namespace of the control plane")
    probe_networks: tuple[str, ...] = setting((), "where kubelets probe from", parse=_networks)
    default_opaque_ports: str = setting("", "ports whose protocol is not detected")
    patch_timeout_ms: int = setting(5000, "bound on a status patch, milliseconds")
    allow_l5d_request_headers: bool = setting(False, "obey l5d- request headers on routes")
    global_egress_network_namespace: str = setting("linkerd-egress", "EgressNetworks for all")
    log_format: str = setting("plain", "plain or json", choices=log.FORMATS)
    log_level: str = setting("info", "least severe level; Rust-style filters are reduced to it")
    kubeconfig: str = setting("", "path of a kubeconfig; default the pod's service account")


class Policies:
    """Answers the four methods from two indices."""

    def __init__(
        self,
        inbound: Inbound,
        outbound: OutboundIndex,
        mesh: names.Mesh,
        *,
        allow_l5d_request_headers: bool = False,
    ) -> None:
        self._inbound, self._outbound = inbound, outbound
        self._mesh = mesh
        self.inbound: Board[PortKey, InboundServer | LinkerdError] = Board(
            self._server,
            _port_messages,
            over=lambda now: isinstance(now, LinkerdError),
        )
        self.outbound: Board[TargetKey, Outbound | LinkerdError] = Board(
            self._target,
            lambda _, now: [
                translate_outbound.policy(
                    _raised(now), allow_l5d_request_headers=allow_l5d_request_headers
                )
            ],
        )

    def changed(self, topics: set[Hashable]) -> None:
        """Tells the streams that topics changed."""
        self.inbound.changed(topics)
        self.outbound.changed(topics)

    def close(self) -> None:
        """Ends all streams."""
        self.inbound.close()
        self.outbound.close()

    async def get_port(self, request: inbound_pb2.PortSpec) -> bytes:
        """Returns the policy of a workload's port."""
        return self.inbound.current(_port_key(request))[0]

    def watch_port(self, request: inbound_pb2.PortSpec, reader: rpc.Reader) -> rpc.Feed:
        """Streams the policy of a workload's port; ends when the workload is gone."""
        return self.inbound.subscribe(_port_key(request), reader)

    async def get(self, request: outbound_pb2.TrafficSpec) -> bytes:
        """Returns the policy for a target."""
        return self.outbound.current(self._target_key(request))[0]

    def watch(self, request: outbound_pb2.TrafficSpec, reader: rpc.Reader) -> rpc.Feed:
        """Streams the policy for a target."""
        return self.outbound.subscribe(self._target_key(request), reader)

    def _target_key(self, request: outbound_pb2.TrafficSpec) -> TargetKey:
        """Source: linkerd2 policy-controller/grpc/src/outbound.rs (lookup)."""
        caller = names.workload_name(request.source_workload).namespace
        if request.WhichOneof("target") == "addr":
            ip = ip_text(request.addr.ip)
            if not ip:
                raise WireError("target has no address")
            port = required_port(request.addr.port, "target")
            return TargetKey(port, ip=ip, caller_namespace=caller)
        target = names.authority(request.authority)
        host = target.host.rstrip(".")
        name = names.service_name(host, self._mesh.cluster_domain) or names.service_name(
            f"{host}.{self._mesh.cluster_domain}", self._mesh.cluster_domain
        )
        if name is None or name.instance:
            raise NotFound(f"no such service: {request.authority}")
        return TargetKey(
            target.port, namespace=name.namespace, name=name.name, caller_namespace=caller
        )

    def _server(self, key: PortKey) -> tuple[InboundServer | LinkerdError, set[Topic]]:
        try:
            value, topics = self._inbound.server(key)
        except LinkerdError as error:
            return error, {workload_topic(key.workload)}
        return value, set(topics)

    def _target(self, key: TargetKey) -> tuple[Outbound | LinkerdError, set[Topic]]:
        try:
            value, topics = self._outbound.target(key)
        except LinkerdError as error:
            return error, set(self._outbound.lookup_topics(key))
        return value, set(topics)


def _port_messages(
    seen: InboundServer | LinkerdError | None, now: InboundServer | LinkerdError
) -> list[bytes]:
    if seen is not None and isinstance(now, NotFound):
        return []  # the workload is gone: the stream ends without an error
    return [translate_inbound.server(_raised(now))]


def _raised(value: Any) -> Any:
    if isinstance(value, LinkerdError):
        raise value
    return value


def _port_key(request: inbound_pb2.PortSpec) -> PortKey:
    return PortKey(names.workload_name(request.workload), required_port(request.port, "port spec"))


async def admit(request: dict[str, Any]) -> admission.Response:
    """Returns the verdict on a policy or route; kinds of the Gateway API that do not parse pass."""
    kind = request.get("kind") or {}
    group = str(kind.get("group", ""))
    refused = refusal(group, str(kind.get("kind", "")), request.get("object") or {})
    if refused is None:
        return admission.Response()
    if group == GATEWAY_GROUP and refused.malformed:
        return admission.Response(warnings=(refused.reason,))
    return admission.Response(allowed=False, message=refused.reason)


def main(argv: Sequence[str]) -> int:
    """Runs the daemon; returns its exit status."""
    try:
        settings = parse(Settings, argv)
        config = kubeconfig.load(settings.kubeconfig or None)
    except SettingsError as error:
        log.configure()
        _log.error("settings are wrong", problem=error.message)
        return error.exit_code
    log.configure(_level(settings.log_level), settings.log_format)
    return runtime.run(lambda stop: _serve(settings, config, stop))


def _level(text: str) -> str:
    """`linkerd=info,warn` → `info`: the part about us, else the general one."""
    parts = text.split(",")
    for part in parts:
        target, equals, level = part.partition("=")
        if equals and target.startswith("linkerd") and level in log.LEVELS:
            return level
    return next((part for part in parts if part in log.LEVELS), "info")


async def _serve(settings: Settings, config: kubeconfig.KubeConfig, stop: asyncio.Event) -> None:
    mesh = names.Mesh(
        settings.control_plane_namespace, settings.identity_domain, settings.cluster_domain
    )
    inbound = Inbound(
        InboundSettings(
            mesh, settings.default_policy, settings.cluster_networks, settings.probe_networks
        )
    )
    opaque = port_set(settings.default_opaque_ports)
    outbound = OutboundIndex(
        OutboundSettings(
            mesh, opaque, settings.cluster_networks, settings.global_egress_network_namespace
        )
    )
    statuses = StatusIndex(settings.cluster_networks)
    registry = metrics.registry()
    ready = Readiness(*(feed.kind for feed in _feeds(inbound, outbound, statuses)))
    policies = Policies(
        inbound,
        outbound,
        mesh,
        allow_l5d_request_headers=settings.allow_l5d_request_headers,
    )
    _state_metrics.policy(registry, inbound, outbound, policies.outbound)
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(
            KubeClient(config, user_agent="linkerd-policy", observer=ApiMetrics(registry))
        )
        await stack.enter_async_context(
            admin.serve(*settings.admin_addr, registry=registry, readiness=ready)
        )
        await stack.enter_async_context(
            rpc.serve(*settings.grpc_addr, *_services(policies), registry=registry, gate=ready)
        )
        if not settings.admission_controller_disabled:
            await stack.enter_async_context(
                admission.serve(
                    admit,
                    *settings.server_addr,
                    cert=settings.server_tls_certs,
                    key=settings.server_tls_key,
                )
            )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        served_kinds: dict[str, resources.Resource] = {}
        leadership = Leadership(
            kube, _LEASE, settings.control_plane_namespace, settings.policy_deployment_name
        )
        writer = StatusWriter(
            kube,
            statuses,
            served_kinds,
            lambda: ready.ready and leadership.leads,
            settings.patch_timeout_ms / 1000,
            StatusMetrics(registry),
        )

        def changed(topics: set[Hashable]) -> None:
            policies.changed(topics)
            writer.changed(topics)

        running = [
            tasks.create_task(_follow(kube, feed, changed, ready, served_kinds))
            for feed in _feeds(inbound, outbound, statuses)
        ]
        running.append(tasks.create_task(leadership.run(writer.check_all)))
        running.append(tasks.create_task(_write_when_ready(writer, ready)))
        _log.info("serving", grpc=":".join(map(str, settings.grpc_addr)))
        await stop.wait()
        _log.info("stopping")
        policies.close()
        for task in running:
            task.cancel()


async def _write_when_ready(writer: StatusWriter, ready: Readiness) -> None:
    await ready.wait()
    writer.check_all()
    await writer.run()


def _services(policies: Policies) -> list[Any]:
    return [
        rpc.service(
            "io.linkerd.proxy.inbound.InboundServerPolicies",
            {
                "GetPort": rpc.unary(inbound_pb2.PortSpec, policies.get_port),
                "WatchPort": rpc.streaming(inbound_pb2.PortSpec, policies.watch_port),
            },
        ),
        rpc.service(
            "io.linkerd.proxy.outbound.OutboundPolicies",
            {
                "Get": rpc.unary(outbound_pb2.TrafficSpec, policies.get),
                "Watch": rpc.streaming(outbound_pb2.TrafficSpec, policies.watch),
            },
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Feed:
    """One watch: the kind as indices name it, and the indices that take its objects."""

    kind: str
    resource: resources.Resource
    decode: type[Any]
    indices: tuple[Any, ...]
    versions: tuple[str, ...] = ()
    label_selector: str = ""


def _feeds(inbound: Inbound, outbound: OutboundIndex, statuses: StatusIndex) -> list[_Feed]:
    def feed(resource: resources.Resource, decode: type[Any], *indices: Any) -> _Feed:
        return _Feed(resource.plural, resource, decode, indices)

    return [
        *(feed(resource, decode, inbound) for resource, decode in _INBOUND),
        feed(resources.SERVERS, objects.Server, inbound, statuses),
        feed(resources.SERVICES, objects.Service, outbound, statuses),
        feed(resources.EGRESS_NETWORKS, route_objects.EgressNetwork, outbound, statuses),
        feed(resources.HTTP_LOCAL_RATE_LIMIT_POLICIES, route_objects.RateLimit, inbound, statuses),
        feed(resources.EXTERNAL_WORKLOADS, ExternalWorkload, inbound),
        *(
            _Feed(
                f"{resource.plural}.{resource.group}",
                resource,
                route_objects.Route,
                (inbound, outbound, statuses)
                if resource in _INBOUND_ROUTES
                else (outbound, statuses),
                versions,
            )
            for resource, versions in _ROUTES
        ),
        _Feed(
            "pods",
            resources.PODS,
            objects.Pod,
            (inbound,),
            label_selector=names.CONTROL_PLANE_NS,
        ),
    ]


async def _follow(
    kube: KubeClient,
    feed: _Feed,
    changed: Callable[[set[Hashable]], None],
    ready: Readiness,
    served_kinds: dict[str, resources.Resource],
) -> None:
    resource = await served(kube, feed.resource, feed.versions)
    served_kinds[feed.kind] = resource
    await follow(
        kube,
        resource,
        feed.decode,
        [(index, feed.kind) for index in feed.indices],
        changed,
        ready,
        feed.kind,
        label_selector=feed.label_selector,
    )

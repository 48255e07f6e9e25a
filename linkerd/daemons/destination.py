"""The destination service: where a name leads, and what to know about it.

    watches ──► index.Fleet ──► boards ──► Get, GetProfile on :8086
                        └──► EndpointSlices of external workloads, by the lease's holder
    Secrets ──► watches of linked clusters

Source: linkerd2 controller/cmd/destination/main.go (flags, start-up, ports).
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from linkerd import log, metrics, runtime
from linkerd.daemons import _state_metrics
from linkerd.daemons._api_metrics import DESTINATION_LAGS, ApiMetrics
from linkerd.daemons._clusters import ClusterStore
from linkerd.daemons._external_endpoints import LEASE, ExternalEndpoints
from linkerd.daemons._external_endpoints import Metrics as ExternalMetrics
from linkerd.daemons._leadership import Leadership
from linkerd.daemons.feeding import follow
from linkerd.errors import LinkerdError, SettingsError, WireError
from linkerd.gen import destination_pb2 as pb
from linkerd.index.cluster import Cluster, EndpointsKey, ProfileKey
from linkerd.index.fleet import Fleet
from linkerd.index.workloads import MeshSettings
from linkerd.kube import config as kubeconfig
from linkerd.kube import resources
from linkerd.kube.client import KubeClient
from linkerd.model import names, objects
from linkerd.model.endpoints import EndpointSet, Profile
from linkerd.model.external import ExternalWorkload
from linkerd.model.ports import port_set
from linkerd.serve import admin, rpc
from linkerd.serve.board import Board, Topic
from linkerd.serve.readiness import Readiness
from linkerd.settings import address, parse, setting
from linkerd.translate import destination as translate
from linkerd.translate.params import http2_client_params

_log = log.logger(__name__)

_WATCHED: tuple[tuple[resources.Resource, type[Any]], ...] = (
    (resources.SERVICES, objects.Service),
    (resources.ENDPOINT_SLICES, objects.EndpointSlice),
    (resources.PODS, objects.Pod),
    (resources.SERVERS, objects.Server),
    (resources.SERVICE_PROFILES, objects.ServiceProfile),
    (resources.NODES, objects.Named),
    (resources.REPLICA_SETS, objects.Named),
    (resources.JOBS, objects.Named),
    (resources.EXTERNAL_WORKLOADS, ExternalWorkload),
)
_DEPLOYMENT = "linkerd-destination"


@dataclass(frozen=True)
class Settings:
    """Flags; names and defaults are Linkerd's."""

    addr: tuple[str, int] = setting(("0.0.0.0", 8086), "address of the gRPC server", parse=address)
    metrics_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9996), "address of the admin server", parse=address
    )
    controller_namespace: str = setting("linkerd", "namespace of the control plane")
    outbound_transport_mode: str = setting(
        "transparent",
        "how proxies reach meshed endpoints",
        choices=("transparent", "transport-header"),
    )
    enable_h2_upgrade: bool = setting(True, "upgrade HTTP/1 to HTTP/2 between meshed pods")
    enable_endpoint_slices: bool = setting(True, "use EndpointSlices; false is not supported")
    enable_ipv6: bool = setting(True, "use IPv6 endpoints")
    identity_trust_domain: str = setting("", "trust domain of identities; default cluster.local")
    cluster_domain: str = setting("", "DNS domain of the cluster; default cluster.local")
    default_opaque_ports: str = setting("", "ports whose protocol is not detected")
    meshed_http2_client_params: str = setting("", "JSON of HTTP/2 parameters for meshed endpoints")
    stream_queue_capacity: int = setting(100, "accepted; streams need no queues here")
    ext_endpoint_zone_weights: bool = setting(False, "weigh endpoints of the same zone by ten")
    export_queue_metrics: bool = setting(True, "accepted; there are no such queues here")
    enable_pprof: bool = setting(False, "accepted; has no effect")
    trace_collector: str = setting("", "accepted; has no effect")
    kubeconfig: str = setting("", "path of a kubeconfig; default the pod's service account")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "plain or json", choices=log.FORMATS)


class Destination:
    """Answers the two methods from one index."""

    def __init__(self, fleet: Fleet, mesh: names.Mesh, http2: bytes) -> None:
        params = translate.Params(http2)
        self._fleet = fleet
        self._mesh = mesh
        self.endpoints: Board[EndpointsKey, EndpointSet] = Board(
            fleet.endpoints,
            lambda seen, now: translate.updates(seen, now, params),
            heartbeat=lambda _: [translate.NOTHING_NEW],
        )
        self.profiles: Board[ProfileKey, Profile | LinkerdError] = Board(
            self._profile, lambda seen, now: [_encoded(now, params)]
        )

    def changed(self, topics: set[Hashable]) -> None:
        """Tells the streams that topics changed."""
        self.endpoints.changed(topics)
        self.profiles.changed(topics)

    def close(self) -> None:
        """Ends all streams."""
        self.endpoints.close()
        self.profiles.close()

    def get(self, request: pb.GetDestination, reader: rpc.Reader) -> rpc.Feed:
        """Streams the endpoints of `request.path`.

        Source: linkerd2 controller/api/destination/server.go (Get).
        """
        target = names.authority(request.path)
        service = None if target.ip else names.service_name(target.host, self._mesh.cluster_domain)
        if service is None:
            raise WireError(f"{request.path!r} is no service of this cluster")
        self._fleet.check(service)
        caller = names.caller(request.context_token)
        key = EndpointsKey(service, target.port, caller.node)
        return self.endpoints.subscribe(key, reader)

    def get_profile(self, request: pb.GetDestination, reader: rpc.Reader) -> rpc.Feed:
        """Streams the profile of `request.path`.

        Source: linkerd2 controller/api/destination/server.go (GetProfile).
        """
        target = names.authority(request.path)
        caller = names.caller(request.context_token)
        key = ProfileKey(target.port, caller_namespace=caller.namespace, node=caller.node)
        if target.ip:
            key = replace(key, ip=target.ip)
        else:
            service = names.service_name(target.host, self._mesh.cluster_domain)
            if service is None:
                raise WireError(f"{request.path!r} is no service of this cluster")
            key = replace(key, service=service, fqdn=target.host)
        return self.profiles.subscribe(key, reader)

    def _profile(self, key: ProfileKey) -> tuple[Profile | LinkerdError, set[Topic]]:
        try:
            value, topics = self._fleet.local.profile(key)
        except LinkerdError as error:
            return error, set(key_topics(key))
        return value, set(topics)


def key_topics(key: ProfileKey) -> list[tuple[str, ...]]:
    """Returns what may make a profile that cannot be answered answerable."""
    if key.service is None:
        return [("ip", key.ip), ("host", key.ip)]
    return [("service", *key.service.key), ("endpoints", *key.service.key)]


def _encoded(value: Profile | LinkerdError, params: translate.Params) -> bytes:
    if isinstance(value, LinkerdError):
        raise value
    return translate.profile(value, params)


def main(argv: Sequence[str]) -> int:
    """Runs the daemon; returns its exit status."""
    try:
        settings = parse(Settings, argv)
        mesh_settings, http2 = _mesh(settings)
        config = kubeconfig.load(settings.kubeconfig or None)
    except SettingsError as error:
        log.configure()
        _log.error("settings are wrong", problem=error.message)
        return error.exit_code
    log.configure(settings.log_level, settings.log_format)
    return runtime.run(lambda stop: _serve(settings, mesh_settings, http2, config, stop))


def _mesh(settings: Settings) -> tuple[MeshSettings, bytes]:
    if not settings.enable_endpoint_slices:
        raise SettingsError("--enable-endpoint-slices=false: the Endpoints API is not supported")
    http2 = http2_client_params(settings.meshed_http2_client_params)
    mesh = names.Mesh(
        settings.controller_namespace,
        settings.identity_trust_domain or "cluster.local",
        settings.cluster_domain or "cluster.local",
    )
    return (
        MeshSettings(
            mesh,
            port_set(settings.default_opaque_ports),
            settings.outbound_transport_mode == "transport-header",
            settings.enable_h2_upgrade,
            settings.enable_ipv6,
            settings.ext_endpoint_zone_weights,
        ),
        http2,
    )


async def _serve(
    settings: Settings,
    mesh: MeshSettings,
    http2: bytes,
    config: kubeconfig.KubeConfig,
    stop: asyncio.Event,
) -> None:
    registry = metrics.registry()
    ready = Readiness(*(resource.plural for resource, _ in _WATCHED))
    cluster = Cluster(mesh)
    fleet = Fleet(cluster)
    destination = Destination(fleet, mesh.mesh, http2)
    _state_metrics.destination(registry, fleet, destination.endpoints, destination.profiles)
    service = rpc.service(
        "io.linkerd.proxy.destination.Destination",
        {
            "Get": rpc.streaming(pb.GetDestination, destination.get),
            "GetProfile": rpc.streaming(pb.GetDestination, destination.get_profile),
        },
    )
    host, port = settings.addr
    async with (
        KubeClient(
            config,
            user_agent="linkerd-destination",
            observer=ApiMetrics(registry, DESTINATION_LAGS),
        ) as kube,
        admin.serve(*settings.metrics_addr, registry=registry, readiness=ready),
        rpc.serve(host, port, service, registry=registry, gate=ready),
        asyncio.TaskGroup() as tasks,
    ):
        leadership = Leadership(kube, LEASE, mesh.mesh.control_plane_ns, _DEPLOYMENT)
        external = ExternalEndpoints(
            kube,
            cluster,
            lambda: ready.ready and leadership.leads,
            ExternalMetrics(registry),
        )

        def changed(topics: set[Hashable]) -> None:
            destination.changed(topics)
            external.changed(topics)

        watches = [
            tasks.create_task(
                follow(
                    kube,
                    resource,
                    decode,
                    [(cluster, resource.plural)],
                    changed,
                    ready,
                    resource.plural,
                )
            )
            for resource, decode in _WATCHED
        ]
        store = ClusterStore(
            kube, mesh.mesh.control_plane_ns, fleet, mesh, _WATCHED, destination.changed
        )
        watches.append(tasks.create_task(store.run()))
        watches.append(tasks.create_task(leadership.run(external.check_all)))
        watches.append(tasks.create_task(_write_when_ready(external, ready)))
        _log.info("serving", grpc=f"{host}:{port}")
        await stop.wait()
        _log.info("stopping")
        destination.close()
        for watch in watches:
            watch.cancel()


async def _write_when_ready(external: ExternalEndpoints, ready: Readiness) -> None:
    await ready.wait()
    _log.info("caches synced")
    external.check_all()
    await external.run()

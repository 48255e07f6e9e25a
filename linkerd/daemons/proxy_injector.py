"""The proxy injector: adds the proxy to pods as they are created.

HTTPS 8443 (AdmissionReview), admin 9995. A wrong setting never keeps a pod from starting: the
webhook always answers "allowed".
Source: linkerd2 controller/cmd/proxy-injector/main.go, controller/proxy-injector (flags, files,
metrics).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from linkerd import VERSION, log, metrics, runtime
from linkerd.daemons._api_metrics import ApiMetrics
from linkerd.daemons._events import Recorder, Subject
from linkerd.errors import KubeError, LinkerdError, RenderError, Unavailable
from linkerd.inject import admission as decisions
from linkerd.inject import config as proxy_config
from linkerd.inject import keys, manifest, pod
from linkerd.install import charts
from linkerd.kube import admission
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import JOBS, NAMESPACES, REPLICA_SETS, Resource
from linkerd.kube.watch import Applied, Deleted, Reset
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.settings import address, parse, setting

_OWNERS_MAX = 2048
_SELF_REFERRING = {"ReplicaSet": REPLICA_SETS, "Job": JOBS}

_log = log.logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Flags of the proxy injector."""

    addr: tuple[str, int] = setting(("0.0.0.0", 8443), "address of the webhook", parse=address)
    metrics_addr: tuple[str, int] = setting(("0.0.0.0", 9995), "address of admin", parse=address)
    kubeconfig: str = setting("", "path to a kubeconfig; empty: the pod's service account")
    linkerd_namespace: str = setting("linkerd", "namespace of the control plane")
    tls_dir: str = setting("/var/run/linkerd/tls", "folder of tls.crt and tls.key")
    values: str = setting("/var/run/linkerd/config/values", "file of linkerd-config's values")
    trust_anchors: str = setting(
        "/var/run/linkerd/identity/trust-roots/ca-bundle.crt", "file of the trust anchors, PEM"
    )
    enable_pprof: bool = setting(False, "accepted for compatibility; has no effect")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "form of log lines", choices=log.FORMATS)


class ConfigFiles:
    """The cluster's proxy settings, re-read when the mounted files change."""

    def __init__(self, values: str, anchors: str, namespace: str) -> None:
        self._paths = (Path(values), Path(anchors))
        self._namespace = namespace
        self._stamp: tuple[Any, ...] = ()
        self._config: proxy_config.Config | None = None

    def current(self) -> proxy_config.Config:
        """Returns the settings; the last good ones when the files have become unusable.

        Raises:
            RenderError: there never were any.
        """
        try:
            stamp = tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in map(os.stat, self._paths))
            if stamp != self._stamp:
                self._stamp = stamp
                self._config = self._read()
        except (OSError, RenderError) as error:
            if self._config is None:
                raise RenderError(f"cannot read the proxy's settings: {error}") from None
            _log.warn("settings not reloaded", error=error)
        if self._config is None:
            raise RenderError("cannot read the proxy's settings")
        return self._config

    def _read(self) -> proxy_config.Config:
        values = manifest.parse(self._paths[0].read_text())
        if not isinstance(values, dict):
            raise RenderError(f"{self._paths[0]} is no YAML mapping")
        defaults = charts.chart_values(charts.chart_dir("linkerd-control-plane"))
        return proxy_config.from_values(
            charts.merge_values(defaults, values),
            control_plane_ns=self._namespace,
            trust_anchors_pem=self._paths[1].read_text(),
        )


class Cluster:
    """What the webhook knows of namespaces and owners.

    Args:
        kube: Where it asks.
        lookup_s: For one question: the API server gives up on the webhook after ten seconds, and
            then lets the pod start outside of the mesh.
    """

    def __init__(self, kube: KubeClient, lookup_s: float = 3.0) -> None:
        self._kube = kube
        self._lookup_s = lookup_s
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._owners: OrderedDict[str, Subject] = OrderedDict()
        self.synced = asyncio.Event()

    async def follow(self) -> None:
        """Keeps the annotations of all namespaces, for ever."""
        async for event in self._kube.watch(NAMESPACES, None):
            match event:
                case Reset(objects=objects):
                    self._namespaces = {o["metadata"]["name"]: _annotations(o) for o in objects}
                    self.synced.set()
                case Applied(object=found):
                    self._namespaces[found["metadata"]["name"]] = _annotations(found)
                case Deleted(object=found):
                    self._namespaces.pop(found["metadata"]["name"], None)

    async def annotations(self, namespace: str) -> Mapping[str, str]:
        """Returns a namespace's annotations; asks when the watch has not told of it yet.

        Raises:
            KubeError: nobody tells; a guess could leave a pod outside of the mesh for good, while
                what is refused is tried again by its controller.
        """
        if namespace not in self._namespaces:
            return _annotations(await self._get(NAMESPACES, namespace))
        return self._namespaces[namespace]

    async def owner(self, document: dict[str, Any], namespace: str) -> Subject | None:
        """Returns the topmost controller of a pod, None for a pod on its own."""
        direct = _controller(document, namespace)
        resource = _SELF_REFERRING.get(direct.kind) if direct else None
        if direct is None or resource is None:
            return direct
        known = self._owners.get(direct.uid)
        if known is not None:
            self._owners.move_to_end(direct.uid)
            return known
        try:
            above = _controller(await self._get(resource, direct.name, namespace), namespace)
        except KubeError as error:
            _log.warn("owner not found", owner=direct.name, error=error.message)
            return direct
        self._owners[direct.uid] = found = above or direct
        if len(self._owners) > _OWNERS_MAX:
            self._owners.popitem(last=False)
        return found

    async def _get(
        self, resource: Resource, name: str, namespace: str | None = None
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._lookup_s):
                return await self._kube.get(resource, name, namespace)
        except TimeoutError:
            raise Unavailable(f"no answer about {name} in {self._lookup_s:g} s") from None


class Webhook:
    """Decides on AdmissionRequests."""

    def __init__(
        self, files: ConfigFiles, cluster: Cluster, events: Recorder, registry: CollectorRegistry
    ) -> None:
        self._files, self._cluster, self._events = files, cluster, events
        config_labels = tuple(_label(key) for key in keys.INHERITED if key != keys.INJECT)
        labels = ("owner_kind", "namespace", "annotation_at", *dict.fromkeys(config_labels))
        self._labels = labels
        self._requests = Counter(
            "proxy_inject_admission_requests",
            "A counter for number of admission requests to proxy injector.",
            labels,
            registry=registry,
        )
        self._responses = Counter(
            "proxy_inject_admission_responses",
            "A counter for number of admission responses from proxy injector.",
            (*labels, "skip", "skip_reason"),
            registry=registry,
        )

    async def decide(self, request: dict[str, Any]) -> admission.Response:
        """Returns the verdict, which is always "allowed".

        Raises:
            KubeError: the namespace cannot be read.
        """
        config = self._files.current()
        document = request.get("object") or {}
        namespace = str(request.get("namespace") or "")
        annotations = await self._cluster.annotations(namespace)
        kind = (request.get("kind") or {}).get("kind")
        if kind == "Service":
            service = decisions.decide_service(document, config, namespace_annotations=annotations)
            return admission.Response(patch=service.patch)
        owner = await self._cluster.owner(document, namespace)
        decision = decisions.decide_pod(
            {"kind": kind, **document},
            config,
            namespace=namespace,
            namespace_annotations=annotations,
            owner=pod.Owner(owner.kind, owner.name) if owner else None,
            created_by=f"linkerd/proxy-injector {VERSION}",
        )
        self._record(decision, owner, namespace, {**annotations, **_annotations(document)})
        return admission.Response(patch=decision.patch)

    def _record(
        self,
        decision: decisions.Decision,
        owner: Subject | None,
        namespace: str,
        annotations: Mapping[str, str],
    ) -> None:
        for problem in decision.problems:
            _log.warn("annotation ignored", namespace=namespace, problem=problem)
        kind = owner.kind.lower() if owner else "pod"
        present = {_label(key) for key in keys.INHERITED if key in annotations}
        labels = [kind, namespace, decision.annotated_at]
        labels += ["true" if name in present else "false" for name in self._labels[3:]]
        self._requests.labels(*labels).inc()
        skip = "false" if decision.injected else "true"
        self._responses.labels(*labels, skip, ",".join(decision.skipped)).inc()
        reason, message = decision.event
        if owner is not None:
            self._events.record(owner, reason, message)
        _log.debug(
            "pod reviewed",
            owner=f"{kind}/{owner.name}" if owner else kind,
            namespace=namespace,
            injected=decision.injected,
            skipped=",".join(decision.skipped),
        )


def _annotations(document: Mapping[str, Any]) -> Mapping[str, str]:
    return (document.get("metadata") or {}).get("annotations") or {}


def _controller(document: Mapping[str, Any], namespace: str) -> Subject | None:
    for reference in (document.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("controller"):
            return Subject(
                kind=reference["kind"],
                name=reference["name"],
                namespace=namespace,
                api_version=reference.get("apiVersion", "v1"),
                uid=reference.get("uid", ""),
            )
    return None


def _label(key: str) -> str:
    return key.rpartition("/")[2].replace("-", "_")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the injector until `stop`.

    Raises:
        RenderError: linkerd-config cannot be used.
        OSError: the webhook's certificate or address cannot be used.
    """
    registry = metrics.registry()
    ready = Readiness("caches", "webhook")
    async with (
        admin.serve(*settings.metrics_addr, registry=registry, readiness=ready),
        KubeClient(load(settings.kubeconfig), observer=ApiMetrics(registry)) as kube,
    ):
        files = ConfigFiles(settings.values, settings.trust_anchors, settings.linkerd_namespace)
        files.current()
        cluster, events = Cluster(kube), Recorder(kube, "linkerd-proxy-injector")
        webhook = Webhook(files, cluster, events, registry)
        tasks: set[asyncio.Task[Any]] = set()
        runtime.spawn(cluster.follow(), name="namespaces", into=tasks)
        runtime.spawn(events.run(), name="events", into=tasks)
        try:
            async with admission.serve(
                webhook.decide,
                *settings.addr,
                cert=f"{settings.tls_dir}/tls.crt",
                key=f"{settings.tls_dir}/tls.key",
                minimum=ssl.TLSVersion.TLSv1_3,
            ) as port:
                _log.info("proxy injector started", port=port)
                ready.done("webhook")
                await cluster.synced.wait()
                ready.done("caches")
                await stop.wait()
        finally:
            for task in list(tasks):
                task.cancel()


def main(argv: Sequence[str]) -> int:
    """Runs `linkerd proxy-injector`; returns the exit status."""
    try:
        settings = parse(Settings, argv)
    except LinkerdError as error:
        log.configure()
        _log.error("wrong flags", error=error.message)
        return error.exit_code
    log.configure(settings.log_level, settings.log_format)
    return runtime.run(lambda stop: serve(settings, stop))

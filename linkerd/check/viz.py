"""Checks of the viz extension and of what its Prometheus sees.

Source: linkerd2 viz/pkg/healthcheck/healthcheck.go (questions, order, texts).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from linkerd.check import certificates, cluster, proxies, versions
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, Probe, Skip, failed
from linkerd.errors import CheckFailed, NotFound
from linkerd.kube.resources import (
    API_SERVICES,
    AUTHORIZATION_POLICIES,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
)

COMPONENTS = ("web", "tap", "metrics-api", "tap-injector")
_EXTENSION = "linkerd.io/extension"
_TAP_API = "v1alpha1.tap.linkerd.io"
_INSTALL = "`linkerd viz install | kubectl apply -f -` installs it"
_PUT_BACK = "`linkerd viz install | kubectl apply -f -` puts back what is missing"
_TELL_MORE = "`kubectl -n linkerd-viz get pods` and `kubectl -n linkerd-viz get events` tell more"
_ALLOW = "`linkerd viz allow-scrapes -n NAMESPACE | kubectl apply -f -` allows it"
_NOT_CURRENT = "some proxies are not running the current version:"


@dataclass(frozen=True)
class MetricsProbes:
    """What only metrics-api can answer; the caller knows how to reach it."""

    self_check: Probe
    metrics_present: Probe


def categories(
    mesh: Mesh, metrics: MetricsProbes, *, with_data_plane: bool = False
) -> list[Category]:
    """Returns `viz check`; with `with_data_plane`, `viz check --proxy`."""
    view = _Viz(mesh)
    data_plane = [_data_plane(view, metrics)] if with_data_plane else []
    return [_extension(view, metrics), *data_plane]


class _Viz:
    """The extension as found in the cluster; every probe looks again."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.kube = mesh.kube

    async def namespace(self) -> str:
        found = await self.kube.list(NAMESPACES, label_selector=f"{_EXTENSION}=viz")
        if not found:
            raise CheckFailed(
                "could not find the linkerd-viz extension: "
                "no namespace has the label linkerd.io/extension=viz"
            )
        return str(found[0]["metadata"]["name"])

    async def pods(self) -> list[cluster.Object]:
        pods = await self.kube.list(PODS, await self.namespace())
        return [pod for pod in pods if cluster.phase(pod) not in ("Succeeded", "Failed")]

    async def components(self) -> list[str]:
        """Which of `COMPONENTS` are installed; tap and its injector can be left out."""
        found = await self.kube.list(DEPLOYMENTS, await self.namespace())
        names = {body["metadata"]["name"] for body in found}
        return [name for name in COMPONENTS if name in names or name in ("web", "metrics-api")]

    async def has_tap(self) -> None:
        if "tap" not in await self.components():
            raise Skip

    async def namespace_exists(self) -> None:
        await self.namespace()

    async def client(self) -> None:
        if not [
            pod for pod in await self.pods() if pod["metadata"]["name"].startswith("metrics-api")
        ]:
            raise CheckFailed("no metrics-api pod to connect to")

    async def roles(self) -> None:
        await self.mesh.require(CLUSTER_ROLES, await self._role_names())

    async def bindings(self) -> None:
        names = await self._role_names()
        if "tap" in await self.components():
            names.append(f"linkerd-{await self.namespace()}-tap-auth-delegator")
            names = [name for name in names if not name.endswith("-tap-admin")]
        await self.mesh.require(CLUSTER_ROLE_BINDINGS, names)

    async def _role_names(self) -> list[str]:
        prefix = f"linkerd-{await self.namespace()}"
        names = [f"{prefix}-metrics-api"]
        components = await self.components()
        if "tap" in components:
            names += [f"{prefix}-tap", f"{prefix}-tap-admin"]
        if "tap-injector" in components:
            names.append("linkerd-tap-injector")
        return names

    async def tap_certificate_valid(self) -> None:
        await self.has_tap()
        namespace = await self.namespace()
        cert = await certificates.serving_certificate(self.mesh, "tap-k8s-tls", "", namespace)
        try:
            body = await self.kube.get(API_SERVICES, _TAP_API)
        except NotFound:
            raise CheckFailed(f'apiservices "{_TAP_API}" not found') from None
        bundle = base64.b64decode(body["spec"].get("caBundle") or "")
        certificates.require_served(cert, bundle, f"tap.{namespace}.svc", datetime.now(UTC))

    async def tap_certificate_lasting(self) -> None:
        await self.has_tap()
        namespace = await self.namespace()
        cert = await certificates.serving_certificate(self.mesh, "tap-k8s-tls", "", namespace)
        certificates.require_lasting(cert, datetime.now(UTC), "certificate")

    async def tap_available(self) -> None:
        await self.has_tap()
        body = await self.kube.get(API_SERVICES, _TAP_API)
        for condition in (body.get("status") or {}).get("conditions") or ():
            if condition["type"] == "Available":
                if condition["status"] == "True":
                    return
                raise CheckFailed(f"{condition.get('reason')}: {condition.get('message')}")
        raise CheckFailed(f"{_TAP_API} is not available yet")

    async def injected(self) -> None:
        bare = [
            pod["metadata"]["name"]
            for pod in await self.pods()
            if cluster.proxy_container(pod) is None
        ]
        if bare:
            raise failed("could not find proxy container for pods:", bare)

    async def running(self) -> None:
        pods = await self.pods()
        for name in await self.components():
            own = [pod for pod in pods if cluster.labels_of(pod).get("component") == name]
            own = own or [pod for pod in pods if pod["metadata"]["name"].startswith(f"{name}-")]
            if not own:
                raise CheckFailed(f'No running pods for "{name}"')
            cluster.require_ready(own)

    async def healthy(self) -> None:
        cluster.require_proxies(pod for pod in await self.pods() if cluster.proxy_container(pod))

    async def current(self) -> None:
        versions.require_asked(self.mesh.expected_version)
        pods, expected = await self.pods(), self.mesh.expected_version
        cluster.require_same_version(pods, expected, _NOT_CURRENT)

    async def same(self) -> None:
        first = f"some proxies do not run the version of the cli ({self.mesh.version}):"
        cluster.require_same_version(await self.pods(), self.mesh.version, first)

    async def prometheus(self) -> None:
        namespace = await self.namespace()
        body = await self.kube.get(NAMESPACES, namespace)
        if "viz.linkerd.io/external-prometheus" in cluster.annotations_of(body):
            raise Skip
        prefix = f"linkerd-{namespace}-prometheus"
        await self.mesh.require(CLUSTER_ROLES, [prefix])
        await self.mesh.require(CLUSTER_ROLE_BINDINGS, [prefix])
        pods = [p for p in await self.pods() if p["metadata"]["name"].startswith("prometheus-")]
        if not pods:
            raise CheckFailed("no running pods for prometheus")
        cluster.require_ready(pods)

    async def data_namespace_exists(self) -> None:
        await proxies.namespace_exists(self.mesh)

    async def scrape_allowed(self) -> None:
        denied = []
        for pod in await self.mesh.data_plane_pods():
            if cluster.proxy_env(pod, "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY") != "deny":
                continue
            namespace = pod["metadata"]["namespace"]
            name = "prometheus-scrape"
            if await self.kube.get_or_none(AUTHORIZATION_POLICIES, name, namespace) is None:
                denied.append(cluster.full_name(pod))
        if denied:
            raise failed("prometheus may not be authorized to scrape the following pods:", denied)


def _extension(view: _Viz, metrics: MetricsProbes) -> Category:
    def fatal(question: str, anchor: str, probe: Any, **kind: Any) -> Check:
        return Check(question, f"l5d-{anchor}", probe, fatal=True, **kind)

    def warn(question: str, anchor: str, probe: Any, **kind: Any) -> Check:
        return Check(question, f"l5d-{anchor}", probe, warning=True, **kind)

    return Category(
        "linkerd-viz",
        (
            fatal(
                "linkerd-viz Namespace exists",
                "viz-ns-exists",
                view.namespace_exists,
                remedy=_INSTALL,
            ),
            fatal(
                "can initialize the client",
                "viz-existence-client",
                view.client,
                retry=True,
                remedy=_TELL_MORE,
            ),
            fatal("linkerd-viz ClusterRoles exist", "viz-cr-exists", view.roles, remedy=_PUT_BACK),
            fatal(
                "linkerd-viz ClusterRoleBindings exist",
                "viz-crb-exists",
                view.bindings,
                remedy=_PUT_BACK,
            ),
            fatal(
                "tap API server has valid cert",
                "tap-cert-valid",
                view.tap_certificate_valid,
                remedy=_PUT_BACK,
            ),
            warn(
                "tap API server cert is valid for at least 60 days",
                "tap-cert-not-expiring-soon",
                view.tap_certificate_lasting,
            ),
            warn("tap API service is running", "tap-api", view.tap_available, retry=True),
            warn("linkerd-viz pods are injected", "viz-pods-injection", view.injected),
            warn(
                "viz extension pods are running",
                "viz-pods-running",
                view.running,
                retry=True,
                surface=True,
                remedy=_TELL_MORE,
            ),
            warn("viz extension proxies are healthy", "viz-proxy-healthy", view.healthy),
            warn("viz extension proxies are up-to-date", "viz-proxy-cp-version", view.current),
            warn(
                "viz extension proxies and cli versions match", "viz-proxy-cli-version", view.same
            ),
            warn(
                "prometheus is installed and configured correctly",
                "viz-prometheus",
                view.prometheus,
                remedy=_PUT_BACK,
            ),
            fatal("viz extension self-check", "viz-metrics-api", metrics.self_check, retry=True),
        ),
    )


def _data_plane(view: _Viz, metrics: MetricsProbes) -> Category:
    return Category(
        "linkerd-viz-data-plane",
        (
            Check(
                "data plane namespace exists",
                "l5d-data-plane-exists",
                view.data_namespace_exists,
                fatal=True,
            ),
            Check(
                "prometheus is authorized to scrape data plane pods",
                "l5d-viz-data-plane-prom-authz",
                view.scrape_allowed,
                warning=True,
                remedy=_ALLOW,
            ),
            Check(
                "data plane proxy metrics are present in Prometheus",
                "l5d-data-plane-prom",
                metrics.metrics_present,
                warning=True,
                retry=True,
            ),
        ),
    )

"""Which categories a command asks, always in one order.

Source: linkerd2 cli/cmd/check.go, pkg/healthcheck (sets, order).
"""

from __future__ import annotations

from linkerd.check import certificates, cni, existence, gateway, kubernetes, proxies, versions
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category


def connection(mesh: Mesh) -> list[Category]:
    """What every set begins with: Kubernetes answers and is recent enough."""
    return [kubernetes.api(mesh), kubernetes.version(mesh), gateway.crds(mesh)]


def before_install(
    mesh: Mesh, manifests: kubernetes.Manifests, *, with_cni: bool = False
) -> list[Category]:
    """`check --pre`; with `with_cni`, `check --pre --linkerd-cni-enabled`."""
    setup = kubernetes.before_install(mesh, manifests)
    plugin = [cni.plugin(mesh, before_install=True)] if with_cni else []
    return [*connection(mesh), setup, *plugin, versions.client(mesh)]


def crds(mesh: Mesh) -> list[Category]:
    """`check --crds`."""
    return [*connection(mesh), existence.crds(mesh), versions.client(mesh)]


def control_plane(mesh: Mesh) -> list[Category]:
    """`check`."""
    return [
        *connection(mesh),
        existence.control_plane(mesh),
        existence.config(mesh),
        cni.plugin(mesh),
        certificates.identity(mesh),
        certificates.webhooks(mesh),
        versions.client(mesh),
        versions.control_plane(mesh),
        proxies.control_plane(mesh),
        existence.high_availability(mesh),
        existence.extensions(mesh),
    ]


def data_plane(mesh: Mesh) -> list[Category]:
    """`check --proxy`."""
    return [
        *connection(mesh),
        existence.control_plane(mesh),
        existence.config(mesh),
        cni.plugin(mesh),
        certificates.identity(mesh),
        certificates.webhooks(mesh),
        certificates.data_plane(mesh),
        versions.client(mesh),
        proxies.control_plane(mesh),
        proxies.data_plane(mesh),
        existence.high_availability(mesh),
    ]

"""Which categories a command asks, always in one order.

Source: linkerd2 cli/cmd/check.go, pkg/healthcheck (sets, order).
"""

from __future__ import annotations

from linkerd.check import certificates, existence, kubernetes, proxies, versions
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category


def connection(mesh: Mesh) -> list[Category]:
    """What every set begins with: Kubernetes answers and is recent enough."""
    return [kubernetes.api(mesh), kubernetes.version(mesh)]


def before_install(mesh: Mesh, manifests: kubernetes.Manifests) -> list[Category]:
    """`check --pre`."""
    setup = kubernetes.before_install(mesh, manifests)
    return [*connection(mesh), setup, versions.client(mesh)]


def crds(mesh: Mesh) -> list[Category]:
    """`check --crds`."""
    return [*connection(mesh), existence.crds(mesh), versions.client(mesh)]


def control_plane(mesh: Mesh) -> list[Category]:
    """`check`."""
    return [
        *connection(mesh),
        existence.control_plane(mesh),
        existence.config(mesh),
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
        certificates.identity(mesh),
        certificates.webhooks(mesh),
        certificates.data_plane(mesh),
        versions.client(mesh),
        proxies.control_plane(mesh),
        proxies.data_plane(mesh),
        existence.high_availability(mesh),
    ]

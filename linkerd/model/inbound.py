"""Who may reach a port and how requests are treated there, as values.

`linkerd.translate.inbound` tells them to proxies.
"""

from __future__ import annotations

from dataclasses import dataclass

from linkerd.model.policy import ANYBODY, Authorization, Block, Reference
from linkerd.model.routes import GrpcMatch, HttpMatch, Rule


@dataclass(frozen=True, slots=True)
class InboundRoute:
    """A route of an inbound port; its authorizations extend the server's."""

    reference: Reference
    hosts: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    authorizations: tuple[Authorization, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitOverride:
    """Requests per second for each of some identities."""

    per_s: int
    identities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests per second: of all clients, of each client, of certain clients; None for any."""

    reference: Reference
    total_per_s: int | None = None
    identity_per_s: int | None = None
    overrides: tuple[LimitOverride, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundServer:
    """The policy of one port of one workload.

    `protocol` is a Server's `proxyProtocol`: unknown, HTTP/1, HTTP/2, gRPC, opaque or TLS.
    """

    reference: Reference
    protocol: str = "unknown"
    authorizations: tuple[Authorization, ...] = ()
    http_routes: tuple[InboundRoute, ...] = ()
    grpc_routes: tuple[InboundRoute, ...] = ()
    rate_limit: RateLimit | None = None


DEFAULT_HTTP_ROUTE = InboundRoute(
    Reference(default="default"), rules=(Rule((HttpMatch(path=("prefix", "/")),)),)
)
DEFAULT_GRPC_ROUTE = InboundRoute(
    Reference(default="default"), rules=(Rule((GrpcMatch(rpc=("", "")),)),)
)


def probe_route(paths: tuple[str, ...], networks: tuple[Block, ...]) -> InboundRoute:
    """Returns the route of a kubelet's probes: GET of exact paths, open to `networks`."""
    reference = Reference(default="probe")
    matches = tuple(HttpMatch(path=("exact", path), method="GET") for path in paths)
    allowed = Authorization(reference, networks, ANYBODY)
    return InboundRoute(reference, rules=(Rule(matches),), authorizations=(allowed,))

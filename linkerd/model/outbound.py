"""Where a target's traffic goes, as values: what `linkerd.translate.outbound` tells proxies."""

from __future__ import annotations

from dataclasses import dataclass

from linkerd.model.policy import NO_TIMEOUTS, Accrual, Bias, Retry, Timeouts
from linkerd.model.routes import NO_ROUTES, Routes


@dataclass(frozen=True, slots=True)
class OutboundService:
    """The policy for a port of a Service.

    `protocol` is detect, opaque, http1 or http2; `authority` is what balancers resolve. The
    settings are the Service's: routes that have none of their own were given them already.
    """

    namespace: str
    name: str
    port: int
    authority: str
    protocol: str = "detect"
    accrual: Accrual | None = None
    timeouts: Timeouts = NO_TIMEOUTS
    http_retry: Retry | None = None
    grpc_retry: Retry | None = None
    bias: Bias | None = None
    routes: Routes = NO_ROUTES


@dataclass(frozen=True, slots=True)
class OutboundEgress:
    """The policy for an address that an EgressNetwork covers; `allow` is its traffic policy."""

    namespace: str
    name: str
    ip: str
    port: int
    allow: bool = False
    protocol: str = "detect"
    accrual: Accrual | None = None
    timeouts: Timeouts = NO_TIMEOUTS
    http_retry: Retry | None = None
    grpc_retry: Retry | None = None
    routes: Routes = NO_ROUTES


@dataclass(frozen=True, slots=True)
class Fallback:
    """Traffic that leaves the cluster: forward to the original address."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class UndefinedPort:
    """A service's address with a port that it does not declare: forbidden."""

    namespace: str
    name: str
    port: int


Outbound = OutboundService | OutboundEgress | Fallback | UndefinedPort

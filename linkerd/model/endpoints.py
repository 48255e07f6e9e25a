"""What the destination service answers, as values: endpoints of a service, and profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WEIGHT = 10_000
"""Source: linkerd2 controller/api/destination/endpoint_translator.go."""

Labels = tuple[tuple[str, str], ...]
"""Metric labels, sorted by name."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that requests can be sent to.

    `meshed` says that its proxy may be told a protocol; `hint` is "h2", "opaque" or "" then.
    `opaque_transport_port` is the proxy's inbound port, 0 for none. `zone` is not in `labels`,
    because what it means depends on who asks.
    """

    ip: str
    port: int
    labels: Labels = ()
    identity: str = ""
    uri_identity: str = ""
    server_name: str = ""
    meshed: bool = False
    hint: str = ""
    opaque_transport_port: int = 0
    authority_override: str = ""
    zone: str | None = None
    weight: int = WEIGHT
    opaque: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """(ip, port)."""
        return self.ip, self.port


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """The endpoints of one service port for one class of callers."""

    labels: Labels = ()
    endpoints: Mapping[tuple[str, int], Endpoint] = field(default_factory=dict)
    client_zone: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What `GetProfile` answers.

    `service` is (namespace, name, port) of the parent, None for an endpoint's profile.
    `profile` is (namespace, name) of the ServiceProfile, None for none.
    """

    fqdn: str = ""
    service: tuple[str, str, int] | None = None
    profile: tuple[str, str] | None = None
    opaque: bool = False
    endpoint: Endpoint | None = None
    client_zone: str = ""
    rules: Rules | None = None
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """A ServiceProfile's spec, parsed: see `linkerd.model.profiles`."""

    routes: tuple[Route, ...] = ()
    retry_ratio: float = 0.2
    min_retries_per_s: int = 10
    ttl_s: float = 10.0
    overrides: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A condition on requests or responses.

    `kind` is all, any, not, path, method or status; `of` holds the parts of the first three.
    """

    kind: str
    of: tuple[Match, ...] = ()
    text: str = ""
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class ResponseClass:
    """How responses that match are classified."""

    condition: Match
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a ServiceProfile; `timeout_s` 0 means none."""

    name: str
    condition: Match
    responses: tuple[ResponseClass, ...] = ()
    is_retryable: bool = False
    timeout_s: float = 0.0

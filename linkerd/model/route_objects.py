"""HTTPRoute, GRPCRoute, TLSRoute and TCPRoute as the API holds them, in one shape for all five kinds.

Fields that a kind does not have stay absent. What they mean is decided in `linkerd.model.routes`.
Source: gateway-api apis/v1, apis/v1alpha2; linkerd2 policy-controller/k8s/api/src/policy/httproute.rs.
"""

from __future__ import annotations

from collections.abc import Iterator

from linkerd.model.objects import Meta, Network, Struct, TargetRef


class ParentRef(Struct, frozen=True):
    """What a route attaches to."""

    name: str = ""
    kind: str | None = None
    group: str | None = None
    namespace: str | None = None
    port: int | None = None
    section_name: str | None = None


class Value(Struct, frozen=True):
    """A name with a value: a header to write, or to compare by `type`."""

    name: str = ""
    value: str = ""
    type: str | None = None


class PathMatch(Struct, frozen=True):
    """Compares a path."""

    type: str | None = None
    value: str | None = None


class MethodMatch(Struct, frozen=True):
    """Compares the service and method of a gRPC request."""

    type: str | None = None
    service: str | None = None
    method: str | None = None


class Match(Struct, frozen=True):
    """Compares requests; `method` is a text for HTTP."""

    path: PathMatch | None = None
    headers: tuple[Value, ...] | None = None
    query_params: tuple[Value, ...] | None = None
    method: str | MethodMatch | None = None


class HeaderModifier(Struct, frozen=True):
    """Changes headers."""

    set: tuple[Value, ...] | None = None
    add: tuple[Value, ...] | None = None
    remove: tuple[str, ...] | None = None


class PathModifier(Struct, frozen=True):
    """Changes a path."""

    type: str = ""
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RequestRedirect(Struct, frozen=True):
    """Answers with a redirection."""

    scheme: str | None = None
    hostname: str | None = None
    path: PathModifier | None = None
    port: int | None = None
    status_code: int | None = None


class UrlRewrite(Struct, frozen=True):
    """Changes where a request says it goes."""

    hostname: str | None = None
    path: PathModifier | None = None


class Fraction(Struct, frozen=True):
    """A share."""

    numerator: int = 0
    denominator: int | None = None


class RequestMirror(Struct, frozen=True):
    """Sends requests to a second backend as well: all, a percentage or a fraction of them."""

    backend_ref: BackendRef
    percent: int | None = None
    fraction: Fraction | None = None


class Filter(Struct, frozen=True):
    """A filter; those of other types are only known by their name."""

    type: str = ""
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    request_mirror: RequestMirror | None = None


class BackendRef(Struct, frozen=True):
    """Where a rule sends requests."""

    name: str = ""
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    port: int | None = None
    weight: int | None = None
    filters: tuple[Filter, ...] | None = None


class Timeouts(Struct, frozen=True):
    """Timeouts of a rule, as texts."""

    request: str | None = None
    backend_request: str | None = None


class Rule(Struct, frozen=True):
    """One rule."""

    matches: tuple[Match, ...] | None = None
    filters: tuple[Filter, ...] | None = None
    backend_refs: tuple[BackendRef, ...] | None = None
    timeouts: Timeouts | None = None


class RouteSpec(Struct, frozen=True):
    """spec of a route."""

    parent_refs: tuple[ParentRef, ...] | None = None
    hostnames: tuple[str, ...] | None = None
    rules: tuple[Rule, ...] | None = None


class Condition(Struct, frozen=True, omit_defaults=True):
    """A condition of a status."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None
    observed_generation: int | None = None


class ParentStatus(Struct, frozen=True):
    """What one controller says of a route at one parent."""

    parent_ref: ParentRef = ParentRef()
    controller_name: str = ""
    conditions: tuple[Condition, ...] | None = None


class RouteStatus(Struct, frozen=True):
    """status of a route."""

    parents: tuple[ParentStatus, ...] | None = None


class Route(Struct, frozen=True):
    """A route of any kind."""

    metadata: Meta = Meta()
    spec: RouteSpec = RouteSpec()
    status: RouteStatus | None = None

    @property
    def parents(self) -> tuple[ParentRef, ...]:
        """What it attaches to."""
        return self.spec.parent_refs or ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Its rules."""
        return self.spec.rules or ()

    @property
    def backends(self) -> Iterator[BackendRef]:
        """Everything that it sends requests to, copies included."""
        for rule in self.rules:
            own = rule.backend_refs or ()
            yield from own
            for filters in (rule.filters, *(each.filters for each in own)):
                for each in filters or ():
                    if each.request_mirror is not None:
                        yield each.request_mirror.backend_ref

    @property
    def statuses(self) -> tuple[ParentStatus, ...]:
        """What controllers said of it."""
        return (self.status.parents or ()) if self.status is not None else ()


class EgressNetworkSpec(Struct, frozen=True):
    """spec of an EgressNetwork."""

    networks: tuple[Network, ...] | None = None
    traffic_policy: str = "Deny"


class ConditionStatus(Struct, frozen=True):
    """A status that is only conditions."""

    conditions: tuple[Condition, ...] | None = None
    target_ref: TargetRef | None = None


class EgressNetwork(Struct, frozen=True):
    """policy.linkerd.io EgressNetwork."""

    metadata: Meta = Meta()
    spec: EgressNetworkSpec = EgressNetworkSpec()
    status: ConditionStatus | None = None


class Limit(Struct, frozen=True):
    """A rate."""

    requests_per_second: int = 0


class LimitOverride(Struct, frozen=True):
    """A rate for certain clients."""

    requests_per_second: int = 0
    client_refs: tuple[TargetRef, ...] | None = None


class RateLimitSpec(Struct, frozen=True):
    """spec of an HTTPLocalRateLimitPolicy."""

    target_ref: TargetRef = TargetRef()
    total: Limit | None = None
    identity: Limit | None = None
    overrides: tuple[LimitOverride, ...] | None = None


class RateLimit(Struct, frozen=True):
    """policy.linkerd.io HTTPLocalRateLimitPolicy."""

    metadata: Meta = Meta()
    spec: RateLimitSpec = RateLimitSpec()
    status: ConditionStatus | None = None


def accepted(conditions: tuple[Condition, ...] | None) -> bool:
    """Whether conditions say Accepted."""
    return any(each.type == "Accepted" and each.status == "True" for each in conditions or ())

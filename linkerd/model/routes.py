"""Routes as values: what requests they match, how they change them and where they send them.

`http`, `grpc` and `plain` turn the rules of a route object into values. A route that says
something which has no form on the wire is refused as a whole, as Linkerd does: a proxy must not
follow half of it.
Source: linkerd2 policy-controller/k8s/index/src/routes/{http,grpc}.rs,
outbound/index/{http,grpc,tls,tcp}.rs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from linkerd.model import annotations as settings_of
from linkerd.model import regexes
from linkerd.model import route_objects as objects
from linkerd.model.policy import (
    GATEWAY_GROUP,
    NO_TIMEOUTS,
    POLICY_GROUP,
    Reference,
    Retry,
    Timeouts,
)
from linkerd.model.ports import PORT_MAX

CONTROLLER = "linkerd.io/policy-controller"

KINDS: dict[str, tuple[str, str]] = {
    "httproutes.policy.linkerd.io": (POLICY_GROUP, "HTTPRoute"),
    "httproutes.gateway.networking.k8s.io": (GATEWAY_GROUP, "HTTPRoute"),
    "grpcroutes.gateway.networking.k8s.io": (GATEWAY_GROUP, "GRPCRoute"),
    "tlsroutes.gateway.networking.k8s.io": (GATEWAY_GROUP, "TLSRoute"),
    "tcproutes.gateway.networking.k8s.io": (GATEWAY_GROUP, "TCPRoute"),
}
"""The kinds of routes as indices name them → group and kind."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD = re.compile(r"[\t\x20-\x7e\x80-\uffff]*")
_REDIRECT_STATUS = 302
_WEIGHT_MAX = 1_000_000


class Unsupported(ValueError):
    """A route says something that proxies cannot be told."""


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """Compares a header or a query parameter."""

    name: str
    value: str
    regex: bool = False


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """Compares a request; `path` is (exact, prefix or regex; value), None for any."""

    path: tuple[str, str] | None = None
    headers: tuple[ValueMatch, ...] = ()
    queries: tuple[ValueMatch, ...] = ()
    method: str = ""


@dataclass(frozen=True, slots=True)
class GrpcMatch:
    """Compares a gRPC request; `rpc` is (service, method), empty for any, None when not given."""

    rpc: tuple[str, str] | None = None
    headers: tuple[ValueMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """Changes the headers of requests, or of responses."""

    response: bool = False
    add: tuple[tuple[str, str], ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answers with a redirection; `path` is (full or prefix; value)."""

    scheme: str = ""
    host: str = ""
    path: tuple[str, str] | None = None
    port: int = 0
    status: int = _REDIRECT_STATUS


@dataclass(frozen=True, slots=True)
class Failure:
    """Answers with a failure: an HTTP status or a gRPC code."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Changes where a request says it goes; `path` is (full or prefix; value)."""

    host: str = ""
    path: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a part of the requests goes: a balancer, the original address, or nowhere.

    `authority` is what the balancer resolves; `forward` sends to the original address; with
    neither, `error` is the answer. `reference` is the object, or the default `invalid`.
    """

    reference: Reference
    weight: int = 1
    authority: str = ""
    forward: bool = False
    error: str = ""
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirror:
    """Sends `numerator` of `denominator` requests to a second backend and drops its answers."""

    backend: Backend
    numerator: int = 1
    denominator: int = 1


Filter = HeaderChange | Redirect | Failure | Rewrite | Mirror


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; without backends it leads to the parent's default one."""

    matches: tuple[HttpMatch, ...] | tuple[GrpcMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backends: tuple[Backend, ...] = ()
    timeouts: Timeouts = NO_TIMEOUTS
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One route; `hosts` are names, also `*.suffix`; none is any."""

    reference: Reference
    hosts: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of a parent by kind, each in the order in which they are tried."""

    http: tuple[Route, ...] = ()
    grpc: tuple[Route, ...] = ()
    tls: tuple[Route, ...] = ()
    tcp: tuple[Route, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.http or self.grpc or self.tls or self.tcp)


NO_ROUTES = Routes()


Resolve = Callable[[objects.BackendRef], Backend]
"""What a reference to a backend leads to, without the filters of that reference."""


def order(route: objects.Route) -> tuple[bool, str, str, str]:
    """The key by which routes are tried: age, then name, then namespace to be sure."""
    meta = route.metadata
    created = meta.creation_timestamp
    return created is None, created or "", meta.name, meta.namespace


def http(route: objects.Route, resolve: Resolve) -> tuple[Rule, ...]:
    """Returns the rules of an HTTPRoute for outbound requests.

    Raises:
        ValueError: it is not valid, or cannot be told to proxies.
    """
    notes = route.metadata.annotations or {}
    timeouts, retry = settings_of.timeouts(notes), settings_of.http_retry(notes)
    return tuple(
        Rule(
            tuple(http_match(each) for each in rule.matches or ()),
            _filters(rule.filters, resolve),
            _backends(rule.backend_refs, resolve),
            _timeouts(timeouts, rule.timeouts),
            retry,
        )
        for rule in route.rules
    )


def grpc(route: objects.Route, resolve: Resolve) -> tuple[Rule, ...]:
    """Returns the rules of a GRPCRoute for outbound requests.

    Raises:
        ValueError: it is not valid, or cannot be told to proxies.
    """
    notes = route.metadata.annotations or {}
    timeouts, retry = settings_of.timeouts(notes), settings_of.grpc_retry(notes)
    return tuple(
        Rule(
            tuple(grpc_match(each) for each in rule.matches or ()),
            _for_grpc(_filters(rule.filters, resolve)),
            _backends(rule.backend_refs, resolve, is_grpc=True),
            timeouts,
            retry,
        )
        for rule in route.rules
    )


def plain(route: objects.Route, resolve: Resolve) -> tuple[Rule, ...]:
    """Returns the one rule of a TLSRoute or TCPRoute.

    Raises:
        ValueError: it has several, or none.
    """
    if len(route.rules) != 1:
        raise Unsupported(f"{len(route.rules)} rules, where exactly one is supported")
    return (Rule(backends=_backends(route.rules[0].backend_refs, resolve)),)


def inbound_http(route: objects.Route) -> tuple[Rule, ...]:
    """Returns the rules of an HTTPRoute for inbound requests: matches and filters.

    Changes of response headers are left out, as there is no message for them.

    Raises:
        ValueError: it is not valid, or cannot be told to proxies.
    """
    return tuple(
        Rule(
            tuple(http_match(each) for each in rule.matches or ()),
            tuple(
                each
                for each in filters(rule.filters)
                if not (isinstance(each, HeaderChange) and each.response)
            ),
        )
        for rule in route.rules
    )


def inbound_grpc(route: objects.Route) -> tuple[Rule, ...]:
    """Returns the rules of a GRPCRoute for inbound requests.

    Raises:
        ValueError: it is not valid, or cannot be told to proxies.
    """
    return tuple(
        Rule(
            tuple(grpc_match(each) for each in rule.matches or ()),
            only_requests(filters(rule.filters)),
        )
        for rule in route.rules
    )


def http_match(match: objects.Match) -> HttpMatch:
    """Returns what a match of an HTTPRoute means.

    Raises:
        ValueError: it is not valid.
    """
    if isinstance(match.method, objects.MethodMatch):
        raise ValueError("method must be a text")
    return HttpMatch(
        None if match.path is None else _path(match.path),
        _values(match.headers, header=True),
        _values(match.query_params, header=False),
        match.method or "",
    )


def grpc_match(match: objects.Match) -> GrpcMatch:
    """Returns what a match of a GRPCRoute means.

    Raises:
        ValueError: it is not valid, or compares methods by a regular expression.
    """
    method = match.method
    if isinstance(method, str):
        raise ValueError("method must have service or method")
    if method is not None and method.type not in (None, "Exact"):
        raise Unsupported(f"unsupported GRPCRoute method match type: {method.type}")
    rpc = None if method is None else (method.service or "", method.method or "")
    return GrpcMatch(rpc, _values(match.headers, header=True))


def filters(items: Iterable[objects.Filter] | None) -> tuple[Filter, ...]:
    """Returns what filters mean for inbound requests, which go where they are.

    Raises:
        ValueError: one is not valid, or of a type that cannot be told to proxies.
    """
    return tuple(_filter(each) for each in items or ())


def _filters(items: Iterable[objects.Filter] | None, resolve: Resolve) -> tuple[Filter, ...]:
    """What filters mean for outbound requests."""
    found: list[Filter] = []
    for each in items or ():
        if each.type == "URLRewrite" and each.url_rewrite is not None:
            found.append(_rewrite(each.url_rewrite))
        elif each.type == "RequestMirror" and each.request_mirror is not None:
            found.append(_mirror(each.request_mirror, resolve))
        else:
            found.append(_filter(each))
    return tuple(found)


def _for_grpc(items: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """The filters that outbound gRPC routes have on the wire."""
    return tuple(each for each in items if isinstance(each, HeaderChange | Mirror))


def only_requests(items: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """Returns the filters that inbound gRPC routes have on the wire: changes of request headers."""
    return tuple(each for each in items if isinstance(each, HeaderChange) and not each.response)


def seconds(text: str) -> float:
    """Returns the seconds in a duration of a route: `1h30m`, `500ms`, `1.5s`, `0`.

    Raises:
        ValueError: `text` is none.
    Source: gateway-api GEP-2257; Go time.ParseDuration.
    """
    found = re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+|0", text)
    if found is None:
        raise ValueError(f"{text!r} is no duration such as 500ms or 1h30m")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    return settings_of.bounded_s(sum(float(number) * units[unit] for number, unit in parts))


def weight_of(backend: objects.BackendRef) -> int:
    """Returns the weight of a backend, 1 when none is given."""
    return 1 if backend.weight is None else min(max(backend.weight, 0), _WEIGHT_MAX)


def _timeouts(noted: Timeouts, timeouts: objects.Timeouts | None) -> Timeouts:
    """The annotations', with the rule's own request timeout if they have none; 0 means none."""
    if noted.request_s is not None or timeouts is None or timeouts.request is None:
        return noted
    own = seconds(timeouts.request)
    return Timeouts(own, noted.response_s, noted.idle_s) if own else noted


def _backends(
    items: Iterable[objects.BackendRef] | None, resolve: Resolve, *, is_grpc: bool = False
) -> tuple[Backend, ...]:
    found: list[Backend] = []
    for each in items or ():
        backend = resolve(each)
        if each.filters and not backend.error:
            try:
                own = _filters(each.filters, resolve)
            except ValueError as error:
                reference = Reference(default="invalid")
                problem = f"unsupported backend filter: {error}"
                backend = Backend(reference, backend.weight, error=problem)
            else:
                backend = replace(backend, filters=_for_grpc(own) if is_grpc else own)
        found.append(backend)
    return tuple(found)


def _path(match: objects.PathMatch) -> tuple[str, str]:
    value = "/" if match.value is None else match.value
    if match.type == "RegularExpression":
        return "regex", _regex(value)
    if match.type not in (None, "Exact", "PathPrefix"):
        raise Unsupported(f"unsupported path match type: {match.type}")
    return ("exact" if match.type == "Exact" else "prefix"), _absolute("HttpPathMatch paths", value)


def _values(items: Iterable[objects.Value] | None, *, header: bool) -> tuple[ValueMatch, ...]:
    found: list[ValueMatch] = []
    for each in items or ():
        name = _token(each.name) if header else each.name
        if each.type == "RegularExpression":
            found.append(ValueMatch(name, _regex(each.value), regex=True))
        elif each.type in (None, "Exact"):
            found.append(ValueMatch(name, _field(each.value) if header else each.value))
        else:
            raise Unsupported(f"unsupported match type: {each.type}")
    return tuple(found)


def _filter(item: objects.Filter) -> Filter:
    match item.type:
        case "RequestHeaderModifier":
            return _header_change(item.request_header_modifier, response=False)
        case "ResponseHeaderModifier":
            return _header_change(item.response_header_modifier, response=True)
        case "RequestRedirect" if item.request_redirect is not None:
            return _redirect(item.request_redirect)
    raise Unsupported(f"{item.type} filter is not supported")


def _header_change(change: objects.HeaderModifier | None, *, response: bool) -> HeaderChange:
    change = change or objects.HeaderModifier()
    return HeaderChange(
        response,
        tuple((_token(each.name), _field(each.value)) for each in change.add or ()),
        tuple((_token(each.name), _field(each.value)) for each in change.set or ()),
        tuple(_token(name) for name in change.remove or ()),
    )


def _redirect(redirect: objects.RequestRedirect) -> Redirect:
    status = redirect.status_code or _REDIRECT_STATUS
    if not 100 <= status <= 999:
        raise ValueError(f"invalid status code {status}")
    path = _new_path("RequestRedirect", redirect.path)
    port = redirect.port if redirect.port and 1 <= redirect.port <= PORT_MAX else 0
    return Redirect(redirect.scheme or "", redirect.hostname or "", path, port, status)


def _rewrite(rewrite: objects.UrlRewrite) -> Rewrite:
    return Rewrite(rewrite.hostname or "", _new_path("URLRewrite", rewrite.path))


def _mirror(mirror: objects.RequestMirror, resolve: Resolve) -> Mirror:
    """The share, as a fraction; a backend that is not there answers nobody, like the mirrored."""
    numerator, denominator = 1, 1
    if mirror.fraction is not None:
        numerator = mirror.fraction.numerator
        denominator = 100 if mirror.fraction.denominator is None else mirror.fraction.denominator
    elif mirror.percent is not None:
        numerator, denominator = mirror.percent, 100
    if not 0 <= numerator <= denominator or denominator < 1:
        raise ValueError(f"RequestMirror filter has no share: {numerator}/{denominator}")
    return Mirror(resolve(mirror.backend_ref), numerator, denominator)


def _new_path(kind: str, path: objects.PathModifier | None) -> tuple[str, str] | None:
    if path is None:
        return None
    if path.replace_full_path is not None:
        return "full", _absolute(f"{kind} filters", path.replace_full_path)
    if path.replace_prefix_match is not None:
        return "prefix", _absolute(f"{kind} filters", path.replace_prefix_match)
    raise ValueError(f"{kind} filter must contain either replace_full_path or replace_prefix_match")


def _absolute(what: str, path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{what} must be absolute (begin with `/`); {path!r} is not")
    return path


def _regex(pattern: str) -> str:
    problem = regexes.problem(pattern)
    if problem is not None:
        raise ValueError(f"invalid regular expression {pattern!r}: {problem}")
    return pattern


def _token(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"invalid HTTP header name {name!r}")
    return name.lower()


def _field(value: str) -> str:
    if not _FIELD.fullmatch(value):
        raise ValueError(f"invalid HTTP header value {value!r}")
    return value

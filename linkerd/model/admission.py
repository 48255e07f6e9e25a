"""What the policy controller's webhook accepts: object → the reason to refuse it, or None.

Source: linkerd2 policy-controller/runtime/src/admission.rs.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from linkerd.model import annotations as settings_of
from linkerd.model import objects, route_objects, routes
from linkerd.model.policy import DEFAULT_POLICIES, GATEWAY_GROUP, POLICY_GROUP

T = TypeVar("T")

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_IDENTITY = re.compile(rf"\*|(\*\.)?{_LABEL}(\.{_LABEL})*\.?")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]+((/[A-Za-z0-9._-]+)*)")
_TARGETS = (
    (POLICY_GROUP, "server"),
    (POLICY_GROUP, "httproute"),
    (GATEWAY_GROUP, "httproute"),
    (GATEWAY_GROUP, "grpcroute"),
    ("", "namespace"),
)


class _Refused(Exception):
    """Ends a validation with its reason."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is refused; `malformed` when it is not even of its kind's form."""

    reason: str
    malformed: bool = False


def refusal(group: str, kind: str, object: Mapping[str, Any]) -> Refusal | None:
    """Returns why an object is refused, None if it is accepted.

    Args:
        group: Of its kind.
        kind: Compared without case.
        object: As it would be stored.
    """
    check = _CHECKS.get((group.lower(), kind.lower()))
    if check is None:
        return Refusal(f"unsupported resource type: {group}/{kind}")
    if not isinstance(object.get("spec"), Mapping):
        return Refusal("admission request missing 'spec'", malformed=True)
    try:
        check(object)
    except _Refused as refused:
        return Refusal(str(refused))
    except msgspec.MsgspecError as error:
        return Refusal(f"{kind} is malformed: {error}", malformed=True)
    except ValueError as error:
        return Refusal(str(error))
    return None


def _spec(object: Mapping[str, Any], kind: type[T]) -> T:
    return msgspec.convert(object.get("spec") or {}, kind)


def _server(object: Mapping[str, Any]) -> None:
    spec = _spec(object, objects.ServerSpec)
    if isinstance(spec.port, int) and not 1 <= spec.port <= 65535:
        raise _Refused(f"port {spec.port} is not 1..65535")
    if not spec.port:
        raise _Refused("port must not be empty")
    if (spec.pod_selector is None) == (spec.external_workload_selector is None):
        raise _Refused("exactly one of podSelector and externalWorkloadSelector must be set")
    if spec.access_policy is not None and spec.access_policy not in DEFAULT_POLICIES:
        raise _Refused(
            f"Invalid 'accessPolicy' field: {spec.access_policy!r} is none of "
            f"{', '.join(DEFAULT_POLICIES)}"
        )


def _server_authorization(object: Mapping[str, Any]) -> None:
    spec = _spec(object, objects.ServerAuthorizationSpec)
    tls = spec.client.mesh_tls
    if tls is not None:
        if spec.client.unauthenticated:
            raise _Refused("`unauthenticated` must be false if `mesh_tls` is specified")
        if tls.unauthenticated_tls and (tls.identities or tls.service_accounts):
            raise _Refused(
                "`unauthenticatedTLS` be false if any `identities` or `service_accounts` is specified"
            )
    _networks(spec.client.networks or ())


def _authorization_policy(object: Mapping[str, Any]) -> None:
    spec = _spec(object, objects.AuthorizationPolicySpec)
    namespace = str((object.get("metadata") or {}).get("namespace") or "")
    target = spec.target_ref
    group = "" if target.group == "core" else target.group.lower()
    if (group, target.kind.lower()) not in _TARGETS:
        raise _Refused(f"invalid targetRef kind: {_canonical(target)}")
    if target.kind.lower() == "namespace" and target.name != namespace:
        raise _Refused(f"cannot target another namespace: {target.name}")
    references = spec.required_authentication_refs or ()
    counts = Counter(_authentication(each) for each in references)
    if counts["MeshTLSAuthentication"] > 1:
        raise _Refused("only a single MeshTLSAuthentication may be set")
    if counts["ServiceAccount"] > 1:
        raise _Refused("only a single ServiceAccount may be set")
    if counts["MeshTLSAuthentication"] + counts["ServiceAccount"] > 1:
        raise _Refused("a MeshTLSAuthentication and ServiceAccount may not be set together")
    if counts["NetworkAuthentication"] > 1:
        raise _Refused("only a single NetworkAuthentication may be set")
    others = [_canonical(each) for each in references if not _authentication(each)]
    if others:
        raise _Refused(f"unsupported authentication kind(s): {', '.join(others)}")


def _authentication(reference: objects.TargetRef) -> str:
    """The kind of an authentication that policies may refer to, empty for others."""
    return {
        f"meshtlsauthentication.{POLICY_GROUP}": "MeshTLSAuthentication",
        f"networkauthentication.{POLICY_GROUP}": "NetworkAuthentication",
        "serviceaccount": "ServiceAccount",
    }.get(_canonical(reference).lower(), "")


def _mesh_tls_authentication(object: Mapping[str, Any]) -> None:
    spec = _spec(object, objects.MeshTLSAuthenticationSpec)
    for identity in spec.identities or ():
        if not _is_identity(identity):
            raise _Refused(f"id {identity} is invalid: neither a DNS-like name nor a SPIFFE ID")
    for reference in spec.identity_refs or ():
        kind = _canonical(reference).lower()
        if kind == "namespace":
            if reference.namespace is not None:
                raise _Refused(
                    "Namespace identity_ref is cluster-scoped and cannot have a namespace"
                )
        elif kind != "serviceaccount":
            raise _Refused(f"invalid identity target kind: {_canonical(reference)}")


def _is_identity(text: str) -> bool:
    spiffe = _SPIFFE.fullmatch(text)
    if spiffe is not None:
        segments = spiffe.group(1).split("/")[1:]
        return not any(segment in (".", "..") for segment in segments)
    return _IDENTITY.fullmatch(text) is not None


def _network_authentication(object: Mapping[str, Any]) -> None:
    networks = _spec(object, objects.NetworkAuthenticationSpec).networks or ()
    if not networks:
        raise _Refused("at least one network must be specified")
    _networks(networks)


def _networks(networks: tuple[objects.Network, ...]) -> None:
    for network in networks:
        block = _block(network.cidr)
        for text in network.except_ or ():
            hole = _block(text)
            if block.version == hole.version and block.subnet_of(hole):  # type: ignore[arg-type]
                raise _Refused(f"cidr '{network.cidr}' is completely negated by exception '{text}'")
            if block.version != hole.version or not hole.subnet_of(block):  # type: ignore[arg-type]
                raise _Refused(f"cidr '{network.cidr}' does not include exception '{text}'")


def _block(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _egress_network(object: Mapping[str, Any]) -> None:
    spec = object.get("spec") or {}
    if spec.get("networks") is not None:
        networks = msgspec.convert(spec["networks"], tuple[objects.Network, ...])
        if not networks:
            raise _Refused("at least one network must be specified")
        _networks(networks)
    if spec.get("trafficPolicy") not in ("Allow", "Deny"):
        raise _Refused(f"invalid trafficPolicy {spec.get('trafficPolicy')!r}")


def _policy_http_route(object: Mapping[str, Any]) -> None:
    spec = _route_spec(object, settings_of.http_retry)
    for rule in spec.rules or ():
        for match in rule.matches or ():
            routes.http_match(match)
        routes.filters(rule.filters)
        if rule.timeouts is not None:
            _timeouts(rule.timeouts)


def _gateway_http_route(object: Mapping[str, Any]) -> None:
    spec = _route_spec(object, settings_of.http_retry)
    for rule in spec.rules or ():
        for match in rule.matches or ():
            routes.http_match(match)
        _known_filters(rule.filters)
        _ports(rule.backend_refs)


def _grpc_route(object: Mapping[str, Any]) -> None:
    spec = _route_spec(object, settings_of.grpc_retry)
    for rule in spec.rules or ():
        for match in rule.matches or ():
            routes.grpc_match(match)
        _known_filters(rule.filters)
        _ports(rule.backend_refs)


def _route_spec(
    object: Mapping[str, Any], retry: Callable[[Mapping[str, str]], Any]
) -> route_objects.RouteSpec:
    """The spec of a route, once what all kinds have in common is checked."""
    spec = _spec(object, route_objects.RouteSpec)
    _egress_parents(spec)
    if any(_is_outbound(parent) for parent in spec.parent_refs or ()):
        notes = (object.get("metadata") or {}).get("annotations") or {}
        retry(notes)
        settings_of.accrual(notes)
        settings_of.timeouts(notes)
    return spec


def _egress_parents(spec: route_objects.RouteSpec) -> None:
    for parent in spec.parent_refs or ():
        if _is_egress_network(parent) and parent.port is None:
            raise _Refused("cannot target an EgressNetwork without specifying a port")


def _is_egress_network(parent: route_objects.ParentRef) -> bool:
    return (parent.kind or "").lower() == "egressnetwork" and (
        (parent.group or "").lower() == POLICY_GROUP
    )


def _is_outbound(parent: route_objects.ParentRef) -> bool:
    is_service = (parent.kind or "").lower() == "service"
    return _is_egress_network(parent) or (
        is_service and (parent.group or "").lower() in ("", "core")
    )


def _known_filters(filters: tuple[route_objects.Filter, ...] | None) -> None:
    """Checks the filters of both directions; those of other types may be meant for others."""
    known = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect")
    routes.filters(each for each in filters or () if each.type in known)


def _ports(backends: tuple[route_objects.BackendRef, ...] | None) -> None:
    for backend in backends or ():
        is_service = backend.kind in (None, "Service") and backend.group in (None, "", "core")
        if is_service and not backend.port:
            raise _Refused("invalid backendRef: cannot reference a Service without a port")


def _timeouts(timeouts: route_objects.Timeouts) -> None:
    found: dict[str, float] = {}
    for name, text in (("backendRequest", timeouts.backend_request), ("request", timeouts.request)):
        if text is None:
            continue
        if text.startswith("-"):
            raise _Refused(f"{name} timeout must not be negative")
        found[name] = routes.seconds(text)
    if len(found) == 2 and found["backendRequest"] > found["request"]:
        raise _Refused(
            f"backendRequest timeout ({timeouts.backend_request}) must not be greater than "
            f"request timeout ({timeouts.request})"
        )


def _tls_route(object: Mapping[str, Any]) -> None:
    _one_rule(object, "TlsRoute")


def _tcp_route(object: Mapping[str, Any]) -> None:
    _one_rule(object, "TcpRoute")


def _one_rule(object: Mapping[str, Any], kind: str) -> None:
    spec = _spec(object, route_objects.RouteSpec)
    _egress_parents(spec)
    if len(spec.rules or ()) != 1:
        raise _Refused(f"{kind} supports a single rule only")


def _rate_limit(object: Mapping[str, Any]) -> None:
    spec = _spec(object, route_objects.RateLimitSpec)
    target = spec.target_ref
    if (target.group.lower(), target.kind.lower()) != (POLICY_GROUP, "server"):
        raise _Refused(f"invalid targetRef kind: {_canonical(target)}")
    total = spec.total.requests_per_second if spec.total is not None else None
    limits = {"total": total}
    if spec.identity is not None:
        limits["identity"] = spec.identity.requests_per_second
    _limits(limits, total)
    for override in spec.overrides or ():
        _limits({"override": override.requests_per_second}, total)
        for reference in override.client_refs or ():
            if _canonical(reference).lower() != "serviceaccount":
                raise _Refused("overrides.clientRefs must target a ServiceAccount")


def _limits(limits: Mapping[str, int | None], total: int | None) -> None:
    for name, limit in limits.items():
        if limit is None:
            continue
        if limit <= 0:
            raise _Refused(f"{name}.requestsPerSecond must be greater than 0")
        if total is not None and limit > total:
            raise _Refused(
                f"{name}.requestsPerSecond must be less than or equal to total.requestsPerSecond"
            )


def _canonical(reference: objects.TargetRef) -> str:
    """`Kind` for core kinds, else `Kind.group`."""
    group = "" if reference.group == "core" else reference.group
    return f"{reference.kind}.{group}" if group else reference.kind


_CHECKS: dict[tuple[str, str], Callable[[Mapping[str, Any]], None]] = {
    (POLICY_GROUP, "server"): _server,
    (POLICY_GROUP, "serverauthorization"): _server_authorization,
    (POLICY_GROUP, "authorizationpolicy"): _authorization_policy,
    (POLICY_GROUP, "meshtlsauthentication"): _mesh_tls_authentication,
    (POLICY_GROUP, "networkauthentication"): _network_authentication,
    (POLICY_GROUP, "egressnetwork"): _egress_network,
    (POLICY_GROUP, "httproute"): _policy_http_route,
    (POLICY_GROUP, "httplocalratelimitpolicy"): _rate_limit,
    (GATEWAY_GROUP, "httproute"): _gateway_http_route,
    (GATEWAY_GROUP, "grpcroute"): _grpc_route,
    (GATEWAY_GROUP, "tlsroute"): _tls_route,
    (GATEWAY_GROUP, "tcproute"): _tcp_route,
}

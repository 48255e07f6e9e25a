"""What the policy controller's webhook accepts: object → the reason to refuse it, or None.

Source: linkerd2 policy-controller/runtime/src/admission.rs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from linkerd.model import annotations as settings_of
from linkerd.model import objects
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


def refusal(group: str, kind: str, object: Mapping[str, Any]) -> str | None:
    """Returns why an object is refused, None if it is accepted.

    Args:
        group: Of its kind.
        kind: Compared without case.
        object: As it would be stored.
    """
    check = _CHECKS.get((group.lower(), kind.lower()))
    if check is None:
        return f"unsupported resource type: {group}/{kind}"
    try:
        check(object)
    except _Refused as refused:
        return str(refused)
    except ValueError as error:  # msgspec.ValidationError is one
        return f"{kind} is malformed: {error}"
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
        raise _Refused(f"invalid accessPolicy {spec.access_policy!r}")


def _server_authorization(object: Mapping[str, Any]) -> None:
    spec = _spec(object, objects.ServerAuthorizationSpec)
    tls = spec.client.mesh_tls
    if tls is not None:
        if spec.client.unauthenticated:
            raise _Refused("`unauthenticated` must be false if `mTLS` is specified")
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
        raise _Refused(f"invalid targetRef kind: {target.group}/{target.kind}")
    if target.kind.lower() == "namespace" and target.name != namespace:
        raise _Refused("cannot target another namespace")
    kinds = [each.kind.lower() for each in spec.required_authentication_refs or ()]
    for kind in kinds:
        if kind not in ("meshtlsauthentication", "networkauthentication", "serviceaccount"):
            raise _Refused(f"unsupported authentication kind: {kind}")
    if kinds.count("meshtlsauthentication") > 1:
        raise _Refused("only a single MeshTLSAuthentication may be set")
    if kinds.count("serviceaccount") > 1:
        raise _Refused("only a single ServiceAccount may be set")
    if "meshtlsauthentication" in kinds and "serviceaccount" in kinds:
        raise _Refused("a MeshTLSAuthentication and ServiceAccount may not be set together")
    if kinds.count("networkauthentication") > 1:
        raise _Refused("only a single NetworkAuthentication may be set")


def _mesh_tls_authentication(object: Mapping[str, Any]) -> None:
    spec = _spec(object, objects.MeshTLSAuthenticationSpec)
    for identity in spec.identities or ():
        if not _is_identity(identity):
            raise _Refused(f"invalid identity {identity!r}")
    for reference in spec.identity_refs or ():
        kind = reference.kind.lower()
        if kind == "namespace" and reference.namespace is None:
            continue
        if kind != "serviceaccount":
            raise _Refused(f"invalid identityRef kind: {reference.group}/{reference.kind}")


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
            if block.version != hole.version or not hole.subnet_of(block):  # type: ignore[arg-type]
                raise _Refused(f"cidr '{network.cidr}' does not include exception '{text}'")
            if hole == block:
                raise _Refused(f"cidr '{network.cidr}' is completely negated by exception '{text}'")


def _block(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _egress_network(object: Mapping[str, Any]) -> None:
    spec = object.get("spec") or {}
    if "networks" in spec:
        networks = msgspec.convert(spec["networks"] or [], tuple[objects.Network, ...])
        if not networks:
            raise _Refused("networks must not be empty")
        _networks(networks)
    if spec.get("trafficPolicy") not in ("Allow", "Deny"):
        raise _Refused(f"invalid trafficPolicy {spec.get('trafficPolicy')!r}")


def _route(object: Mapping[str, Any]) -> None:
    """Rules that all HTTP-like routes share: parents' ports and annotations."""
    spec = object.get("spec") or {}
    parents = spec.get("parentRefs") or ()
    for parent in parents:
        if str(parent.get("kind", "")).lower() == "egressnetwork" and not parent.get("port"):
            raise _Refused("an EgressNetwork parent must have a port")
    if any(str(each.get("kind", "")).lower() in ("service", "egressnetwork") for each in parents):
        notes = (object.get("metadata") or {}).get("annotations") or {}
        settings_of.timeouts(notes)
        settings_of.http_retry(notes)
        settings_of.grpc_retry(notes)
    for rule in spec.get("rules") or ():
        for match in rule.get("matches") or ():
            _route_match(match)


def _route_match(match: Mapping[str, Any]) -> None:
    path = match.get("path") or {}
    kind, value = path.get("type", "PathPrefix"), str(path.get("value", "/"))
    if kind != "RegularExpression" and not value.startswith("/"):
        raise _Refused(f"path {value!r} must be absolute")
    patterns = [value] if kind == "RegularExpression" else []
    for key in ("headers", "queryParams"):
        patterns += [
            str(each.get("value", ""))
            for each in match.get(key) or ()
            if each.get("type") == "RegularExpression"
        ]
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise _Refused(f"invalid regular expression {pattern!r}: {error}") from None


def _one_rule(object: Mapping[str, Any]) -> None:
    if len((object.get("spec") or {}).get("rules") or ()) != 1:
        raise _Refused("exactly one rule must be specified")


def _rate_limit(object: Mapping[str, Any]) -> None:
    spec = object.get("spec") or {}
    target = spec.get("targetRef") or {}
    if str(target.get("kind", "")).lower() != "server":
        raise _Refused(f"invalid targetRef kind: {target.get('kind')}")
    total = (spec.get("total") or {}).get("requestsPerSecond")
    limits = [total, (spec.get("identity") or {}).get("requestsPerSecond")]
    for override in spec.get("overrides") or ():
        limits.append(override.get("requestsPerSecond"))
        for reference in override.get("clientRefs") or ():
            if str(reference.get("kind", "")).lower() != "serviceaccount":
                raise _Refused(f"invalid clientRef kind: {reference.get('kind')}")
    for limit in limits:
        if limit is not None and limit <= 0:
            raise _Refused("requestsPerSecond must be greater than 0")
        if limit is not None and total is not None and limit > total:
            raise _Refused("requestsPerSecond must not exceed the total's")


_CHECKS: dict[tuple[str, str], Callable[[Mapping[str, Any]], None]] = {
    (POLICY_GROUP, "server"): _server,
    (POLICY_GROUP, "serverauthorization"): _server_authorization,
    (POLICY_GROUP, "authorizationpolicy"): _authorization_policy,
    (POLICY_GROUP, "meshtlsauthentication"): _mesh_tls_authentication,
    (POLICY_GROUP, "networkauthentication"): _network_authentication,
    (POLICY_GROUP, "egressnetwork"): _egress_network,
    (POLICY_GROUP, "httproute"): _route,
    (POLICY_GROUP, "httplocalratelimitpolicy"): _rate_limit,
    (GATEWAY_GROUP, "httproute"): _route,
    (GATEWAY_GROUP, "grpcroute"): _route,
    (GATEWAY_GROUP, "tlsroute"): _one_rule,
    (GATEWAY_GROUP, "tcproute"): _one_rule,
}

"""What a ServiceProfile must look like to be admitted; strict, unknown fields are errors.

Source: linkerd2 pkg/profiles/profiles.go Validate (rules, texts); regular expressions are checked
here too, so that a broken one does not reach proxies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from linkerd.settings import duration_s

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DEPTH_MAX = 32


class _Broken(Exception):
    """Carries the text of the first rule that is broken."""


def problem(document: Mapping[str, Any]) -> str | None:
    """Returns why a ServiceProfile may not be admitted, None when it may."""
    try:
        _profile(document)
    except _Broken as broken:
        return str(broken)
    return None


def _profile(document: Mapping[str, Any]) -> None:
    _only(document, ("apiVersion", "kind", "metadata", "spec", "status"), "ServiceProfile")
    name = str((document.get("metadata") or {}).get("name") or "")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise _Broken(f'ServiceProfile "{name}" has invalid name: not a DNS-1123 subdomain')
    where = f'ServiceProfile "{name}"'
    spec = _mapping(document.get("spec"), f"{where} spec")
    _only(spec, ("routes", "retryBudget", "dstOverrides", "opaquePorts"), where)
    for route in spec.get("routes") or ():
        _route(route, where)
    budget = spec.get("retryBudget")
    if budget is not None:
        _budget(_mapping(budget, f"{where} retryBudget"), where)


def _route(value: Any, where: str) -> None:
    if value is None:
        raise _Broken(f"{where} has a null route")
    route = _mapping(value, f"{where} route")
    _only(route, ("name", "condition", "isRetryable", "timeout", "responseClasses"), where)
    if not route.get("name"):
        raise _Broken(f"{where} has a route with no name")
    if route.get("timeout"):
        _duration(route["timeout"], f"{where} has a route with an invalid timeout")
    if route.get("condition") is None:
        raise _Broken(f"{where} has a route with no condition")
    _request(route["condition"], where, 0)
    for value in route.get("responseClasses") or ():
        response = _mapping(value, f"{where} response class")
        _only(response, ("condition", "isFailure"), where)
        if response.get("condition") is None:
            raise _Broken(f"{where} has a response class with no condition")
        _response(response["condition"], where, 0)


def _request(value: Any, where: str, depth: int) -> None:
    match = _mapping(value, f"{where} condition")
    _only(match, ("pathRegex", "method", "all", "any", "not"), where)
    if not any(match.get(key) for key in ("pathRegex", "method", "all", "any", "not")):
        raise _Broken(f"{where} has a request match with no field set")
    if match.get("pathRegex"):
        _regex(match["pathRegex"], where)
    _nested(match, where, depth, _request)


def _response(value: Any, where: str, depth: int) -> None:
    match = _mapping(value, f"{where} condition")
    _only(match, ("status", "all", "any", "not"), where)
    if not any(match.get(key) for key in ("status", "all", "any", "not")):
        raise _Broken(f"{where} has a response match with no field set")
    if match.get("status"):
        _status(_mapping(match["status"], f"{where} status"), where)
    _nested(match, where, depth, _response)


def _nested(
    match: Mapping[str, Any], where: str, depth: int, rule: Callable[[Any, str, int], None]
) -> None:
    if depth >= _DEPTH_MAX:
        raise _Broken(f"{where} nests conditions deeper than {_DEPTH_MAX}")
    for key in ("all", "any"):
        for child in match.get(key) or ():
            rule(child, where, depth + 1)
    if match.get("not"):
        rule(match["not"], where, depth + 1)


def _status(status: Mapping[str, Any], where: str) -> None:
    _only(status, ("min", "max"), where)
    low, high = status.get("min") or 0, status.get("max") or 0
    for bound in (low, high):
        if not isinstance(bound, int) or (bound and not 100 <= bound <= 599):
            raise _Broken(f"{where} has a response status {bound} that is not in 100..599")
    if high and low > high:
        raise _Broken(f"{where} has a response status whose min {low} exceeds its max {high}")


def _budget(budget: Mapping[str, Any], where: str) -> None:
    _only(budget, ("retryRatio", "minRetriesPerSecond", "ttl"), where)
    ratio = budget.get("retryRatio") or 0
    if not isinstance(ratio, int | float) or ratio < 0:
        raise _Broken(f"{where} RetryBudget RetryRatio must be non-negative: {ratio}")
    if not budget.get("ttl"):
        raise _Broken(f"{where} RetryBudget missing TTL field")
    _duration(budget["ttl"], f"{where} RetryBudget: invalid ttl")


def _duration(value: Any, problem: str) -> None:
    try:
        duration_s(str(value))
    except ValueError:
        raise _Broken(f'{problem}: time: invalid duration "{value}"') from None


def _regex(value: Any, where: str) -> None:
    try:
        re.compile(str(value))
    except re.error as error:
        raise _Broken(f"{where} has an invalid pathRegex {value!r}: {error}") from None


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Broken(f"{what} is not an object")
    return value


def _only(value: Mapping[str, Any], fields: tuple[str, ...], where: str) -> None:
    unknown = [key for key in value if key not in fields]
    if unknown:
        raise _Broken(f'{where}: unknown field "{unknown[0]}"')

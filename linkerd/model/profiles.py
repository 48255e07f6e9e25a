"""ServiceProfile specs → `Rules`; what does not parse makes the whole profile invalid.

Source: linkerd2 pkg/profiles/profiles.go (validation), controller/api/destination/
profile_translator.go (meaning); Go time.ParseDuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from linkerd.errors import WireError
from linkerd.model.endpoints import Match, ResponseClass, Route, Rules
from linkerd.model.objects import ServiceProfileSpec

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DEPTH_MAX = 16


def rules(spec: ServiceProfileSpec, namespace: str, cluster_domain: str) -> Rules:
    """Returns the parsed spec.

    Args:
        spec: As stored.
        namespace: Of the profile.
        cluster_domain: Such as cluster.local.

    Raises:
        WireError: a route, budget or override is wrong; names it.
    """
    budget = spec.retry_budget or {}
    try:
        return Rules(
            routes=tuple(_route(each) for each in spec.routes or ()),
            retry_ratio=float(budget.get("retryRatio", 0.2)),
            min_retries_per_s=int(budget.get("minRetriesPerSecond", 10)),
            ttl_s=seconds(str(budget["ttl"])) if budget.get("ttl") else 10.0,
            overrides=tuple(
                (str(each["authority"]).rstrip("."), _weight(each.get("weight", "1")))
                for each in spec.dst_overrides or ()
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"service profile in {namespace} is malformed: {error}") from None


def seconds(text: str) -> float:
    """Returns the seconds in a Go duration.

    Raises:
        ValueError: `text` is none.
    """
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration")
    return sum(float(m.group(1)) * _UNIT_S[m.group(2)] for m in _PART.finditer(text))


def _route(entry: Mapping[str, Any]) -> Route:
    return Route(
        name=str(entry["name"]),
        condition=_match(entry["condition"], 0),
        responses=tuple(
            ResponseClass(_response(each["condition"], 0), bool(each.get("isFailure", False)))
            for each in entry.get("responseClasses") or ()
        ),
        is_retryable=bool(entry.get("isRetryable", False)),
        timeout_s=seconds(str(entry["timeout"])) if entry.get("timeout") else 0.0,
    )


def _match(entry: Mapping[str, Any], depth: int) -> Match:
    if depth > _DEPTH_MAX:
        raise ValueError("condition is nested too deeply")
    parts = [
        Match(key, tuple(_match(each, depth + 1) for each in entry[key]))
        for key in ("all", "any")
        if entry.get(key) is not None
    ]
    if entry.get("method"):
        parts.append(Match("method", text=str(entry["method"]).upper()))
    if entry.get("pathRegex"):
        parts.append(Match("path", text=str(entry["pathRegex"])))
    if entry.get("not") is not None:
        parts.append(Match("not", (_match(entry["not"], depth + 1),)))
    return _combined(parts)


def _response(entry: Mapping[str, Any], depth: int) -> Match:
    if depth > _DEPTH_MAX:
        raise ValueError("condition is nested too deeply")
    parts = [
        Match(key, tuple(_response(each, depth + 1) for each in entry[key]))
        for key in ("all", "any")
        if entry.get(key) is not None
    ]
    if entry.get("status") is not None:
        status = entry["status"]
        low, high = int(status.get("min") or 0), int(status.get("max") or 0)
        parts.append(Match("status", low=low or high, high=high or low))
    if entry.get("not") is not None:
        parts.append(Match("not", (_response(entry["not"], depth + 1),)))
    return _combined(parts)


def _combined(parts: list[Match]) -> Match:
    if not parts:
        raise ValueError("a condition must have at least one of all, any, not and a match")
    return parts[0] if len(parts) == 1 else Match("all", tuple(parts))


def _weight(quantity: Any) -> int:
    """A quantity such as 1, "900m" or "0.5" in thousandths, times ten, as proxies expect."""
    text = str(quantity)
    if text.endswith("m"):
        return int(float(text[:-1]) * 10)
    return int(float(text) * 10_000)

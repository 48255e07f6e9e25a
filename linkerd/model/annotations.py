"""Settings that Services, EgressNetworks and routes carry as annotations.

Timeouts, retries, failure accrual and the bias of balancers. Each function parses one group; on
Services and EgressNetworks a group that does not parse counts as absent, a route is refused.
Source: linkerd2 policy-controller/k8s/index/src/outbound/index.rs, …/index/http.rs, grpc.rs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from linkerd.model.policy import Accrual, Bias, Retry, Timeouts

_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_GRPC = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
_STATUS = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")
_ACCRUAL = "balancer.linkerd.io/failure-accrual"
_ALPHA = "balancer.alpha.linkerd.io/failure-accrual"
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_BIAS = "balancer.alpha.linkerd.io/load-biaser"
_DURATION_MAX_S = 315_576_000_000.0
_U32_MAX = 0xFFFFFFFF
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

Annotations = Mapping[str, str]


def seconds(text: str) -> float:
    """Returns the seconds in `500ms`, `3s`, `2m`, `1h`, `1d` or `0`.

    Raises:
        ValueError: `text` is none of them.
    """
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 500ms or 3s")
    return bounded_s(int(match.group(1)) * _UNIT_S[match.group(2)])


def bounded_s(duration_s: float) -> float:
    """Returns a duration if a protobuf Duration can hold it.

    Raises:
        ValueError: it is longer.
    """
    if duration_s > _DURATION_MAX_S:
        raise ValueError("a duration of more than 10000 years")
    return duration_s


def timeouts(annotations: Annotations) -> Timeouts:
    """Returns the timeouts.

    Raises:
        ValueError: one does not parse.
    """
    found = {
        key: seconds(annotations[f"timeout.linkerd.io/{key}"])
        for key in ("request", "response", "idle")
        if f"timeout.linkerd.io/{key}" in annotations
    }
    return Timeouts(found.get("request"), found.get("response"), found.get("idle"))


def http_retry(annotations: Annotations) -> Retry | None:
    """Returns how HTTP requests are retried, None for not at all.

    Raises:
        ValueError: a value does not parse.
    """
    limit, timeout_s = _retry_limits(annotations)
    conditions = annotations.get("retry.linkerd.io/http")
    if limit is None and timeout_s is None and conditions is None:
        return None
    statuses: list[tuple[int, int]] = []
    for word in (conditions or "").split(","):
        statuses += _statuses(word.strip())
    return Retry(limit or 1, timeout_s, tuple(statuses))


def grpc_retry(annotations: Annotations) -> Retry | None:
    """Returns how gRPC requests are retried, None for not at all.

    Raises:
        ValueError: a value does not parse.
    """
    limit, timeout_s = _retry_limits(annotations)
    conditions = annotations.get("retry.linkerd.io/grpc")
    if limit is None and timeout_s is None and conditions is None:
        return None
    words = [word.strip().lower() for word in (conditions or "").split(",") if word.strip()]
    for word in words:
        if word not in _GRPC:
            raise ValueError(f"{word!r} is none of {', '.join(_GRPC)}")
    return Retry(limit or 1, timeout_s, grpc=tuple(words))


def accrual(annotations: Annotations) -> Accrual | None:
    """Returns the failure accrual, None for none.

    Raises:
        ValueError: a value does not parse or contradicts another.
    """
    mode = annotations.get(_ACCRUAL)
    if mode is None:
        return None
    if mode not in ("consecutive", "unified"):
        raise ValueError(f"{_ACCRUAL}={mode!r} is neither consecutive nor unified")
    found = Accrual(
        max_failures=int(annotations.get(f"{_ACCRUAL}-consecutive-max-failures", "7")),
        min_penalty_s=seconds(annotations.get(f"{_ACCRUAL}-consecutive-min-penalty", "1s")),
        max_penalty_s=seconds(annotations.get(f"{_ACCRUAL}-consecutive-max-penalty", "60s")),
        jitter=float(annotations.get(f"{_ACCRUAL}-consecutive-jitter-ratio", "0.5")),
        unified=mode == "unified",
        success_rate=float(annotations.get(f"{_ALPHA}-success-rate-threshold", "0.8")),
        window_s=seconds(annotations.get(f"{_ALPHA}-success-rate-window", "10s")),
        min_requests=int(annotations.get(f"{_ALPHA}-success-rate-min-requests", "5")),
        honor_retry_after=_flag(annotations.get(f"{_ALPHA}-honor-retry-after", "false")),
    )
    if not 0 <= found.max_failures <= _U32_MAX:
        raise ValueError("max-failures is out of range")
    if found.max_penalty_s <= 0 or found.min_penalty_s > found.max_penalty_s:
        raise ValueError("min-penalty exceeds max-penalty")
    if not 0 <= found.jitter <= 100:
        raise ValueError("jitter-ratio is not 0..100")
    if found.unified and found.success_rate:
        if not 0 <= found.success_rate <= 1:
            raise ValueError("success-rate-threshold is not 0..1")
        if found.window_s < 0.01 or not 0 <= found.min_requests <= 1_000_000:
            raise ValueError("window is below 10ms or min-requests above 1000000")
    return found


def bias(annotations: Annotations) -> Bias | None:
    """Returns how balancers penalize endpoints that fail, None for not at all.

    Raises:
        ValueError: a value does not parse or is out of range.
    """
    if not _flag(annotations.get("balancer.alpha.linkerd.io/penalize-failures", "false")):
        return None
    found = Bias(
        seconds(annotations.get(f"{_BIAS}-penalty", "5s")),
        seconds(annotations.get(f"{_BIAS}-max-retry-after", "300s")),
    )
    if found.penalty_s * 1000 > _U32_MAX:
        raise ValueError("load-biaser-penalty is longer than 49.7 days")
    return found


def _retry_limits(annotations: Annotations) -> tuple[int | None, float | None]:
    limit = annotations.get("retry.linkerd.io/limit")
    number = None if limit is None else int(limit)
    if number is not None and not 0 <= number <= 0xFFFF:
        raise ValueError(f"retry limit {limit} is not 0..65535")
    timeout = annotations.get("retry.linkerd.io/timeout")
    timeout_s = None if timeout is None else seconds(timeout)
    return number or None, timeout_s or None


def _statuses(word: str) -> list[tuple[int, int]]:
    if not word:
        return []
    if word.lower() == "5xx":
        return [(500, 599)]
    if word.lower() == "gateway-error":
        return [(502, 504)]
    match = _STATUS.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no status such as 5xx, gateway-error, 503 or 500-504")
    low = int(match.group(1))
    high = int(match.group(2) or low)
    if low > high:
        raise ValueError(f"{word!r} is an empty range")
    return [(low, high)]


def _flag(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text in _TRUE

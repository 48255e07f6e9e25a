"""How a daemon fares with the Kubernetes API: its requests, and how late its watches are.

Source: linkerd2 pkg/prometheus/prometheus.go, controller/api/destination/watcher/prometheus.go
(names, labels, buckets).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_CLIENT = "k8s"
_SECONDS = tuple(step * scale / 100 for scale in (1, 10, 100, 1000) for step in range(1, 6))
_LAG_SECONDS = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000)

DESTINATION_LAGS = {
    "endpoints": "endpoints",
    "endpointslices": "endpointslices",
    "services": "services",
    "servers": "servers",
    "pods": "pods",
    "externalworkloads": "externalworkload",
    "serviceprofiles": "serviceprofiles",
}
"""Kinds whose lag the destination service tells: plural → Linkerd's name."""


class ApiMetrics:
    """The `Observer` of a daemon's client.

    Args:
        registry: Where its families are.
        lags: Kinds whose watches are measured: plural → name in the family.
    """

    def __init__(self, registry: CollectorRegistry, lags: Mapping[str, str] | None = None) -> None:
        labels = ("client", "code", "method")
        self._requests = Counter(
            "http_client_requests", "Answers of the API.", labels, registry=registry
        )
        self._errors = Counter(
            "http_client_errors",
            "Requests without an answer.",
            ("client", "method"),
            registry=registry,
        )
        self._seconds = Histogram(
            "http_client_request_latency_seconds",
            "Time until an answer began.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self._open = Gauge(
            "http_client_in_flight_requests",
            "Requests whose answer has not begun.",
            ("client",),
            registry=registry,
        ).labels(_CLIENT)
        self._lags = {
            kind: Histogram(
                f"{name}_informer_lag_seconds",
                "Time between a change and its watch event; the API tells whole seconds.",
                buckets=_LAG_SECONDS,
                registry=registry,
            )
            for kind, name in (lags or {}).items()
        }

    def asked(self) -> None:
        """See `linkerd.kube.http.Observer`."""
        self._open.inc()

    def answered(self, method: str, status: int, seconds: float) -> None:
        """See `linkerd.kube.http.Observer`."""
        self._open.dec()
        verb = method.lower()
        if status == 0:
            self._errors.labels(_CLIENT, verb).inc()
            return
        self._requests.labels(_CLIENT, str(status), verb).inc()
        self._seconds.labels(_CLIENT, str(status), verb).observe(seconds)

    def lag(self, kind: str) -> Callable[[float], None] | None:
        """See `linkerd.kube.http.Observer`."""
        lag = self._lags.get(kind)
        if lag is None:
            return None
        # Clocks of two machines may differ.
        return lambda seconds: lag.observe(max(0.0, seconds))

"""The registry of a daemon's metrics and its text; each daemon's families live beside it.

Names, labels and buckets equal Linkerd's where it has them; our own carry the prefix `l5dx_`.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Linkerd has no `_created` families, and they double the text.
disable_created_metrics()  # type: ignore[no-untyped-call]


def registry() -> CollectorRegistry:
    """Returns a registry with `process_*`; a program makes one and passes it to its parts."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


def text(registry: CollectorRegistry) -> bytes:
    """Returns the Prometheus exposition of `registry`."""
    return generate_latest(registry)

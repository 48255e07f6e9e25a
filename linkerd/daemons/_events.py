"""Kubernetes events that daemons record: queued, bounded, dropped rather than waited for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from linkerd import log
from linkerd.errors import KubeError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import EVENTS
from linkerd.model.buckets import Buckets

_QUEUE_MAX = 256
_BURST = 25
_REFILL_S = 300.0
_OBJECTS_MAX = 4096

_log = log.logger(__name__)


@dataclass(frozen=True)
class Subject:
    """The object that an event is about; `api_version` as in its manifest."""

    kind: str
    name: str
    namespace: str
    api_version: str = "v1"
    uid: str = ""


class Recorder:
    """Records events in the background; when the API server is slow, the newest are dropped.

    So are those of an object that has many: a burst of 25, then one each five minutes.
    Source: kubernetes/client-go tools/record/events_cache.go (EventSourceObjectSpamFilter).
    """

    def __init__(self, kube: KubeClient, component: str) -> None:
        self._kube = kube
        self._component = component
        self._queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_QUEUE_MAX)
        self._spam = Buckets(_BURST, 1 / _REFILL_S, _OBJECTS_MAX)

    def record(self, subject: Subject, reason: str, message: str, *, warning: bool = False) -> None:
        """Queues one event of type Normal or Warning."""
        if not self._spam.take((subject.kind, subject.namespace, subject.name), time.monotonic()):
            return
        now = datetime.now(UTC)
        stamp = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{subject.name}.{int(now.timestamp() * 1e6):x}",
                "namespace": subject.namespace,
            },
            "involvedObject": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                "name": subject.name,
                "namespace": subject.namespace,
                **({"uid": subject.uid} if subject.uid else {}),
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": self._component},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            self._queue.put_nowait((subject.namespace, body))
        except asyncio.QueueFull:
            _log.debug("event dropped", reason=reason, object=subject.name)

    async def run(self) -> None:
        """Sends queued events for ever; a refused one is logged and forgotten."""
        while True:
            namespace, body = await self._queue.get()
            try:
                await self._kube.create(EVENTS, body, namespace)
            except KubeError as error:
                _log.debug("event refused", reason=body["reason"], error=error.message)

"""Events: what `kubectl describe` shows of a pod's life; repeated ones are counted.

Best effort: a bounded queue, dropped when the API is away.
Source: kubernetes/client-go tools/record (names, counting).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from linkerd import log
from linkerd.errors import KubeError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import EVENTS

#: Events that wait to be written; more are dropped.
QUEUED_MAX = 1000
#: Distinct events whose repetitions are counted.
REMEMBERED_MAX = 2000

_log = log.logger(__name__)


class Recorder:
    """Writes the events of one component."""

    def __init__(self, kube: KubeClient, component: str, host: str) -> None:
        self._kube = kube
        self._source = {"component": component, "host": host}
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUED_MAX)
        self._written: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def record(
        self,
        subject: Mapping[str, Any],
        reason: str,
        message: str,
        *,
        warning: bool = False,
        field: str = "",
    ) -> None:
        """Queues one event.

        Args:
            subject: The object that it is about.
            reason: One word, such as `Pulled`.
            message: For people.
            warning: Warning rather than Normal.
            field: Part of the object, such as `spec.containers{web}`.
        """
        meta = subject["metadata"]
        involved = {
            "apiVersion": subject.get("apiVersion", "v1"),
            "kind": subject.get("kind", "Pod"),
            "name": meta["name"],
            "namespace": meta.get("namespace", "default"),
            "uid": meta.get("uid", ""),
        }
        if field:
            involved["fieldPath"] = field
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name']}.{time.time_ns():x}",
                "namespace": involved["namespace"],
            },
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source["host"],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        if not self._queue.full():
            self._queue.put_nowait(event)

    async def run(self) -> None:
        """Writes queued events until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._write(event)
            except KubeError as error:
                _log.debug("event not written", reason=event["reason"], error=error.message)

    async def _write(self, event: dict[str, Any]) -> None:
        involved = event["involvedObject"]
        key = (involved["uid"], involved.get("fieldPath", ""), event["reason"], event["message"])
        name, count = self._written.pop(key, ("", 0))
        namespace = event["metadata"]["namespace"]
        if name:
            patch = {"count": count + 1, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._kube.patch(EVENTS, name, patch, namespace)
            except KubeError:
                name = ""
        if not name:
            count = 0
            name = event["metadata"]["name"]
            await self._kube.create(EVENTS, event, namespace)
        self._written[key] = (name, count + 1)
        while len(self._written) > REMEMBERED_MAX:
            self._written.popitem(last=False)

"""Watching many proxies at once: one Observe per pod, again each second, joined in one stream.

Pods that appear later are followed, pods that go are dropped; a proxy that refuses is asked again
with growing pauses. The joined queue is bounded: events that nobody reads in time are dropped.
Source: linkerd2 viz/tap/api/grpc_server.go (limit per window of one second).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable

import grpc
import grpc.aio

from linkerd import log
from linkerd.gen import tap_pb2, tap_pb2_grpc
from linkerd.runtime import spawn
from linkerd.viz.objects import Pod

_QUEUE_MAX = 4096
_WINDOW_S = 1.0
_PAUSE_MAX_S = 10.0
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A channel per tap, so that the end of a tap ends its connections.
    ("grpc.use_local_subchannel_pool", 1),
)

_log = log.logger(__name__)

Pods = Callable[[], Iterable[Pod]]
Ask = Callable[[int], tap_pb2.ObserveRequest]


class Observing:
    """One tap over the pods of a resource.

    Args:
        pods: The pods there are now; asked each second.
        ask: Limit of a window → what to ask of each proxy.
        identity: A pod → the identity that its proxy must prove.
        max_rps: Requests per second of all pods together.
        port: Of the proxies' tap server.
    """

    def __init__(
        self,
        pods: Pods,
        ask: Ask,
        identity: Callable[[Pod], str],
        *,
        max_rps: float,
        port: int,
    ) -> None:
        self._pods = pods
        self._ask = ask
        self._identity = identity
        self._max_rps = max_rps
        self._port = port
        self._events: asyncio.Queue[tap_pb2.TapEvent] = asyncio.Queue(_QUEUE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._share = 1
        self.dropped = 0
        """Events that the reader was too slow for."""

    async def events(self) -> AsyncGenerator[tap_pb2.TapEvent, None]:
        """Yields what the proxies report, until closed."""
        spawn(self._follow(), name="tap-pods", into=self._tasks)
        try:
            while True:
                yield await self._events.get()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        watched: dict[tuple[str, str, str], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                pods = {
                    (pod.metadata.namespace, pod.metadata.name, pod.addresses[0]): pod
                    for pod in self._pods()
                }
                self._share = max(1, int(self._max_rps / max(1, len(pods))))
                for key in watched.keys() - pods.keys():
                    watched.pop(key).cancel()
                for key in pods.keys() - watched.keys():
                    watched[key] = group.create_task(self._watch(pods[key]))
                await asyncio.sleep(_WINDOW_S)

    async def _watch(self, pod: Pod) -> None:
        ip = pod.addresses[0]
        target = f"[{ip}]:{self._port}" if ":" in ip else f"{ip}:{self._port}"
        metadata = (("l5d-require-id", self._identity(pod)),)
        loop = asyncio.get_running_loop()
        pause_s = _WINDOW_S
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            stub = tap_pb2_grpc.TapStub(channel)
            while True:
                ends = loop.time() + _WINDOW_S
                try:
                    async for event in stub.Observe(self._ask(self._share), metadata=metadata):
                        self._take(event)
                    pause_s = _WINDOW_S
                except grpc.aio.AioRpcError as error:
                    _log.info(
                        "pod cannot be tapped",
                        namespace=pod.metadata.namespace,
                        pod=pod.metadata.name,
                        code=error.code().name,
                        detail=error.details(),
                    )
                    pause_s = min(pause_s * 2, _PAUSE_MAX_S)
                    ends = loop.time() + pause_s
                await asyncio.sleep(max(0.0, ends - loop.time()))

    def _take(self, event: tap_pb2.TapEvent) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait(event)
            return
        self.dropped += 1

"""A local port that leads to a deployment of viz, whichever of its pods runs; outlives each."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from linkerd import runtime
from linkerd.cli.viz import _extension
from linkerd.errors import LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.streams import PortForward

_RETRY_S = 0.3
_AGAIN_S = 30.0
"""How long a connection waits for a new pod when the one before went away."""
_FRESH_S = 1.0
"""How long a pod is believed to run since it was looked at."""


class Way:
    """The session with one pod, and with the next when that one is gone."""

    def __init__(
        self, kube: KubeClient, args: argparse.Namespace, deployment: str, port: int
    ) -> None:
        self._kube, self._args = kube, args
        self._deployment, self._port = deployment, port
        self._forward: PortForward | None = None
        self._pod = ""
        self._looked = 0.0
        self._finding = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(
        self, wait_s: float, on_wait: Callable[[str], None] | None = None
    ) -> PortForward:
        """Returns a session that stands.

        Args:
            wait_s: How long to look for a pod that takes one.
            on_wait: Told once why there is none yet.

        Raises:
            LinkerdError: there was none in time; says why.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        async with self._finding:
            while True:
                try:
                    if self._forward is None or loop.time() - self._looked > _FRESH_S:
                        self._forward = await self._find(self._forward)
                        self._looked = loop.time()
                    await self._forward.open()
                    return self._forward
                except LinkerdError as error:
                    self._forward = None
                    if loop.time() >= deadline:
                        raise
                    if on_wait is not None:
                        on_wait(error.message)
                        on_wait = None
                await asyncio.sleep(_RETRY_S)

    async def _find(self, before: PortForward | None) -> PortForward:
        namespace = await _extension.namespace(self._kube, self._args)
        pod = await _extension.running_pod(self._kube, namespace, self._deployment)
        if before is not None and pod == self._pod:
            return before
        if before is not None:
            await before.__aexit__()
        self._pod = pod
        return PortForward(self._kube, pod, namespace, self._port)

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Carries local connections while it lasts; yields the port.

        Raises:
            OSError: the port cannot be bound.
        """
        server = await asyncio.start_server(self._accept, host, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._forward is not None:
                await self._forward.__aexit__()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        runtime.spawn(self._carry(reader, writer), name="dashboard connection", into=self._tasks)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            forward = await self.open(_AGAIN_S)
        except LinkerdError:
            writer.close()
            return
        await forward.serve(reader, writer)

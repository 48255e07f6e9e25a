"""Probes and lifecycle hooks of one pod's containers while they run.

What a probe's verdict means is decided here; ending a container is the pod's own business.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Any, Protocol

from linkerd import runtime
from linkerd.local.node import probes
from linkerd.local.node.lifecycle import Container
from linkerd.local.node.parts import Parts

_OUTPUT_MAX = 64 * 1024
_HOOK_S = 24 * 3600.0


class Pod(Protocol):
    """What tending needs of the pod whose containers it looks after."""

    name: str
    node: Parts
    ip: str
    ending: bool

    def touch(self) -> None:
        """Hears that a container's readiness changed."""

    def event(
        self, reason: str, text: str, container: Container | None = None, *, warning: bool = False
    ) -> None:
        """Records an event."""

    def exit_event(self, container: Container) -> asyncio.Event:
        """Returns what is set when the container's present run ends."""

    def kill(self, container: Container, grace_s: float | None) -> None:
        """Ends one container."""


class Tending:
    """The probes of one pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._probes: dict[str, set[asyncio.Task[Any]]] = {}

    def follow(self, container: Container) -> None:
        """Starts a running container's probes, from where they stand."""
        own = self._probes.setdefault(container.name, set())
        startup = container.spec.get("startupProbe")
        if not startup or container.started:
            self._began(container)
            return

        def report(ok: bool, _: str) -> None:
            if ok:
                asyncio.get_running_loop().call_soon(self._startup_passed, container)
            else:
                self._give_up(container, "startup")

        self._probe(container, startup, "Startup", report, own, eager=True)

    def _startup_passed(self, container: Container) -> None:
        self.stop(container.name)
        if container.running:
            self._began(container)

    def _began(self, container: Container) -> None:
        own = self._probes.setdefault(container.name, set())
        container.started = True
        readiness, liveness = (
            container.spec.get("readinessProbe"),
            container.spec.get("livenessProbe"),
        )
        if readiness:

            def report(ok: bool, _: str) -> None:
                if container.ready != ok:
                    container.ready = ok
                    self._pod.touch()

            eager = not container.ready
            self._probe(container, readiness, "Readiness", report, own, eager=eager)
        else:
            container.ready = True
        if liveness:

            def live(ok: bool, _: str) -> None:
                if not ok:
                    self._give_up(container, "liveness")

            self._probe(container, liveness, "Liveness", live, own, eager=False)
        self._pod.touch()

    def _probe(
        self,
        container: Container,
        probe: Mapping[str, Any],
        kind: str,
        report: Any,
        own: set[asyncio.Task[Any]],
        *,
        eager: bool,
    ) -> None:
        def failed(why: str) -> None:
            self._pod.event("Unhealthy", f"{kind} probe failed: {why}", container, warning=True)

        follow = probes.follow(
            probe, lambda: self._check(container, probe), report, failed, eager=eager
        )
        runtime.spawn(follow, name=f"{kind} {self._pod.name}/{container.name}", into=own)

    async def _check(self, container: Container, probe: Mapping[str, Any]) -> probes.Outcome:
        ports = {
            port["name"]: port["containerPort"]
            for port in container.spec.get("ports") or ()
            if port.get("name")
        }

        async def execute(command: list[str], timeout: float) -> tuple[int, str]:
            return await self.execute(container, command, timeout)

        return await probes.check(probe, self._pod.ip, ports, execute)

    async def execute(
        self, container: Container, command: list[str], timeout_s: float | None
    ) -> tuple[int, str]:
        """Runs a command in a container; returns exit code and the first of its output.

        Raises:
            LocalError: it could not be started.
            TimeoutError: it was killed after `timeout_s`.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            id, done = await self._pod.node.zygote.execute(
                container.id,
                {**self._pod.node.join[container.id], "argv": command},
                (null, writer, writer),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(null)
            os.close(writer)
        try:
            async with asyncio.timeout(timeout_s):
                output = await _read_all(reader)
                return await done, output.decode("utf-8", "replace")
        except (TimeoutError, asyncio.CancelledError):
            self._pod.node.zygote.signal(id, signal.SIGKILL)
            raise

    async def hook(self, container: Container, hook: Mapping[str, Any]) -> probes.Outcome:
        """Runs a lifecycle hook, or gives up when the container ends."""
        if hook.get("sleep"):
            await asyncio.sleep(float(hook["sleep"].get("seconds") or 0))
            return probes.Outcome(True)
        handler = {**hook, "timeoutSeconds": _HOOK_S}
        check = asyncio.ensure_future(self._check(container, handler))
        gone = asyncio.ensure_future(self._pod.exit_event(container).wait())
        try:
            await asyncio.wait((check, gone), return_when=asyncio.FIRST_COMPLETED)
            if check.done():
                return check.result()
            return probes.Outcome(False, "the container ended")
        finally:
            for task in (check, gone):
                task.cancel()
            await asyncio.gather(check, gone, return_exceptions=True)

    def _give_up(self, container: Container, kind: str) -> None:
        """A liveness or startup probe failed for good: the container ends, restarts by policy."""
        asyncio.get_running_loop().call_soon(self.stop, container.name)
        if not container.running or self._pod.ending:
            return
        text = f"Container {container.name} failed {kind} probe, will be restarted"
        self._pod.event("Killing", text, container)
        probe = container.spec.get(f"{kind}Probe") or {}
        self._pod.kill(container, probe.get("terminationGracePeriodSeconds"))

    def stop(self, name: str) -> None:
        """Ends a container's probes."""
        for task in list(self._probes.get(name, ())):
            task.cancel()

    def close(self) -> None:
        """Ends all probes."""
        for name in self._probes:
            self.stop(name)


async def _read_all(fd: int) -> bytes:
    """Returns what a pipe carries until its end, the first part if it is long; closes it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    try:
        kept = b""
        while data := await reader.read(_OUTPUT_MAX):
            kept += data[: _OUTPUT_MAX - len(kept)]
        return kept
    finally:
        transport.close()

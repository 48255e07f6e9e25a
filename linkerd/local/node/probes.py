"""Probes: one check (http, tcp, exec, grpc), and the counting that turns checks into a verdict.

For its first half minute a readiness or startup probe that has not succeeded yet is repeated sooner
than its period, so that pods become ready when they are and not up to a period later; failures only
count at the pace of the spec.
Source: Kubernetes pkg/kubelet/prober (worker.go, pkg/probe).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.errors import LocalError

_EAGER_S = 0.1
_EAGER_MAX_S = 0.5
_EAGER_FOR_S = 30.0
_BODY_BYTES = 10 * 1024
_HEAD_BYTES = 64 * 1024

Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""(command, timeout_s) → (exit code, output) in the container."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check's result and, if it failed, why."""

    ok: bool
    why: str = ""


@dataclass(slots=True)
class Verdict:
    """Successes and failures in a row; `changed` says what they add up to."""

    success_threshold: int
    failure_threshold: int
    successes: int = 0
    failures: int = 0

    def take(self, ok: bool) -> bool | None:
        """Counts one result; returns the verdict once its threshold is reached, else None."""
        if ok:
            self.successes, self.failures = self.successes + 1, 0
            return True if self.successes >= self.success_threshold else None
        self.successes, self.failures = 0, self.failures + 1
        return False if self.failures >= self.failure_threshold else None


async def follow(
    probe: Mapping[str, Any],
    check: Callable[[], Awaitable[Outcome]],
    report: Callable[[bool, str], None],
    on_failure: Callable[[str], None],
    *,
    eager: bool,
) -> None:
    """Checks for ever at the probe's pace.

    Args:
        probe: Of the spec, with its defaults.
        check: One check.
        report: Called with each verdict (may repeat) and the last failure's text.
        on_failure: Called with the text of each failure that counts.
        eager: Whether to check sooner than the period until the first success.
    """
    period = float(probe.get("periodSeconds") or 10)
    verdict = Verdict(
        int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3)
    )
    loop = asyncio.get_running_loop()
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    due = loop.time()
    gap, eager_until = _EAGER_S, due + _EAGER_FOR_S
    while True:
        outcome = await check()
        now = loop.time()
        if outcome.ok or now >= due:
            if not outcome.ok:
                on_failure(outcome.why)
            result = verdict.take(outcome.ok)
            if result is not None:
                report(result, outcome.why)
            eager = eager and not outcome.ok
            due = max(due + period, now)
        wait = max(0.0, due - loop.time())
        if eager and now < eager_until:
            wait, gap = min(wait, gap), min(gap * 1.5, _EAGER_MAX_S)
        await asyncio.sleep(wait)


async def check(
    probe: Mapping[str, Any],
    ip: str,
    ports: Mapping[str, int],
    execute: Execute,
) -> Outcome:
    """Checks once.

    Args:
        probe: A probe, or a lifecycle hook's handler.
        ip: The pod's address.
        ports: The container's named ports.
        execute: Runs a command in the container.
    """
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout):
            if probe.get("exec"):
                code, output = await execute(list(probe["exec"].get("command") or ()), timeout)
                return Outcome(code == 0, output.strip())
            if probe.get("httpGet"):
                return await _http(probe["httpGet"], ip, ports)
            if probe.get("tcpSocket"):
                target = probe["tcpSocket"]
                _, writer = await asyncio.open_connection(
                    target.get("host") or ip, port_of(target["port"], ports)
                )
                writer.close()
                return Outcome(True)
            if probe.get("grpc"):
                return await _grpc(probe["grpc"], ip, timeout)
    except TimeoutError:
        return Outcome(False, f"context deadline exceeded after {timeout:g}s")
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        return Outcome(False, f"dial tcp {ip}: connect: {why}")
    except LocalError as error:
        return Outcome(False, error.message)
    return Outcome(False, "probe has no handler that is known")


def port_of(port: Any, ports: Mapping[str, int]) -> int:
    """Returns the number of a port given by number or name.

    Raises:
        LocalError: the container has no port of this name.
    """
    if isinstance(port, int):
        return port
    if str(port).isdigit():
        return int(port)
    if port not in ports:
        raise LocalError(f"container has no port named {port}")
    return ports[port]


async def _http(target: Mapping[str, Any], ip: str, ports: Mapping[str, int]) -> Outcome:
    host, port = target.get("host") or ip, port_of(target["port"], ports)
    tls = str(target.get("scheme") or "HTTP").upper() == "HTTPS"
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_HEAD_BYTES)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.33", "Accept": "*/*"}
        for item in target.get("httpHeaders") or ():
            headers[item["name"]] = item["value"]
        path = str(target.get("path") or "/")
        lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join([*lines, "Connection: close", "", ""])).encode("latin-1"))
        await writer.drain()
        words = (await reader.readline()).split(b" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            return Outcome(False, "malformed HTTP response")
        code = int(words[1])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.read(_BODY_BYTES)
        ok = 200 <= code < 400
        return Outcome(ok, "" if ok else f"HTTP probe failed with statuscode: {code}")
    finally:
        writer.close()


async def _grpc(target: Mapping[str, Any], ip: str, timeout: float) -> Outcome:
    import grpc.aio  # late: few pods use it

    request = b""
    service = str(target.get("service") or "").encode()
    if service:
        request = b"\x0a" + bytes((len(service),)) + service
    async with grpc.aio.insecure_channel(f"{ip}:{target['port']}") as channel:
        call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await call(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return Outcome(False, f"health rpc failed: {error.code().name} {error.details()}")
    serving = answer[:2] == b"\x08\x01"
    return Outcome(serving, "" if serving else "service unhealthy (responded with NOT_SERVING)")

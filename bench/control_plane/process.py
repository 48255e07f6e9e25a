"""A daemon under test and the driver of its load, as processes that the kernel accounts for."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_READY_S = 120.0


class Daemon:
    """One process of the control plane."""

    def __init__(self, process: asyncio.subprocess.Process, admin: int, ports: dict[str, int]):
        self._process = process
        self._admin = admin
        self.ports = ports
        self.ready_s = 0.0
        self.synced_s = 0.0

    def cpu_ns(self) -> int:
        """Run time of all its threads."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir())

    def rss_mb(self) -> float:
        """Resident memory, VmRSS."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def pss_mb(self) -> dict[str, float]:
        """Rss, Pss and Pss_Anon of smaps_rollup."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        pairs = (line.split(":") for line in text.splitlines()[1:])
        kb = {name: int(rest.split()[0]) for name, rest in pairs}
        return {name: kb[name] / 1024 for name in ("Rss", "Pss", "Pss_Anon")}

    async def metrics(self) -> str:
        """Returns what its admin port says of it."""
        return (await http(self._admin, "/metrics"))[1]


async def http(port: int, path: str) -> tuple[int, str]:
    """Returns status and body of a GET on loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@contextlib.asynccontextmanager
async def daemon(
    name: str, *flags: str, admin: str, ports: dict[str, str], log: Path
) -> AsyncIterator[Daemon]:
    """Starts a daemon and yields it when it is ready.

    Args:
        name: As `python -m linkerd.daemons` knows it.
        flags: Besides the addresses.
        admin: The flag of its admin address.
        ports: Name → flag of its other addresses.
        log: Where its output goes.
    """
    chosen = {key: _free_port() for key in ("admin", *ports)}
    addresses = [f"{admin}=127.0.0.1:{chosen['admin']}"]
    addresses += [f"{flag}=127.0.0.1:{chosen[key]}" for key, flag in ports.items()]
    started = time.monotonic()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "linkerd.daemons", name, *addresses, *flags),
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    running = Daemon(process, chosen["admin"], chosen)
    try:
        async with asyncio.timeout(_READY_S):
            while not await _ready(chosen["admin"]):
                if process.returncode is not None:
                    raise RuntimeError(f"{name} ended, see {log}")
                await asyncio.sleep(0.01)
        running.ready_s = time.monotonic() - started
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _ready(port: int) -> bool:
    try:
        return (await http(port, "/ready"))[0] == 200
    except (OSError, IndexError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Driver:
    """`loadgen control`, which holds streams and answers commands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> dict[str, Any]:
        """Returns what it prints next."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline() or b"{}")
        return answer

    async def ask(self, command: str) -> dict[str, Any]:
        """Sends a command and returns its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()
        return await self.line()


@contextlib.asynccontextmanager
async def driver(
    port: int, path: str, requests: list[bytes], folder: Path, **options: object
) -> AsyncIterator[Driver]:
    """Runs the load generator against a port while the context is open."""
    words = ["control", "--address", f"127.0.0.1:{port}", "--path", path]
    for number, request in enumerate(requests):
        file = folder / f"request-{number}"
        file.write_bytes(request)
        words += ["--request", str(file)]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    program = os.environ.get("LOADGEN") or str(ROOT / "target/release/loadgen")
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 1024 * 1024,
    )
    try:
        yield Driver(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

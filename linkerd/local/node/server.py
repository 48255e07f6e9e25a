"""The node's kubelet API on `<state>/node.sock`: logs, exec, attach, port-forward.

    GET  /containerLogs/{namespace}/{pod}/{container}?follow=&tailLines=&sinceSeconds=&…
    *    /exec/{namespace}/{pod}/{container}?command=…&stdin=&stdout=&stderr=&tty=
    *    /attach/{namespace}/{pod}/{container}
    *    /portForward/{namespace}/{pod}

The API server has authorized the caller and passes bytes through; one request per connection.
Source: kubernetes pkg/kubelet/server/server.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from linkerd import log
from linkerd.errors import LocalError
from linkerd.local.node import channels, forward, logs
from linkerd.local.node.upgrade import Refused, Request, accept, read_request

_HEAD_BYTES_MAX = 64 * 1024

_log = log.logger(__name__)


class Pods(Protocol):
    """What the server asks of the node; unknown names raise `Refused` (404)."""

    def log_file(self, namespace: str, pod: str, container: str, *, previous: bool) -> Path:
        """Returns the log file of a container's current or previous run."""

    def is_running(self, namespace: str, pod: str, container: str) -> bool:
        """Returns whether a container runs; False for unknown ones."""

    async def execute_in(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: list[str],
        fds: tuple[int, int, int],
        *,
        tty: bool,
    ) -> tuple[str, asyncio.Future[int]]:
        """Starts a command in a container; returns its id and a future of its exit code."""

    async def stdin_of(self, namespace: str, pod: str, container: str) -> int:
        """Returns a descriptor of a container's stdin, -1 if it has none."""

    def signal(self, id: str, number: int) -> None:
        """Signals what `execute_in` started."""

    def network(self, namespace: str, pod: str) -> int:
        """Returns a descriptor of a running pod's network namespace."""


async def serve(pods: Pods, path: Path) -> asyncio.Server:
    """Returns a server that listens on the unix socket `path`, replacing what was there."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _one(pods, reader, writer)
        except (ConnectionError, EOFError):
            pass
        except Refused as refusal:
            with contextlib.suppress(ConnectionError):
                await _answer(writer, refusal.status, refusal.message.encode())
        finally:
            writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = await asyncio.start_unix_server(handle, str(path), limit=_HEAD_BYTES_MAX)
    os.chmod(path, 0o600)
    return server


async def _one(pods: Pods, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await read_request(reader)
    match request.path:
        case ("containerLogs", namespace, pod, container):
            await _logs(pods, request, writer, (namespace, pod, container))
        case ("exec", namespace, pod, container):
            await _exec(pods, request, reader, writer, (namespace, pod, container))
        case ("attach", namespace, pod, container):
            await _attach(pods, request, reader, writer, (namespace, pod, container))
        case ("portForward", namespace, pod):
            network = pods.network(namespace, pod)
            names = forward.WEBSOCKET_PROTOCOLS if request.is_websocket else forward.SPDY_PROTOCOLS
            link, _ = await accept(request, reader, writer, names)
            await forward.Forwarder(link, network).run()
        case _:
            raise Refused(404, f"/{'/'.join(request.path)} is not served")


async def _logs(
    pods: Pods, request: Request, writer: asyncio.StreamWriter, at: tuple[str, str, str]
) -> None:
    wanted = wanted_of(request, time.time())
    file = pods.log_file(*at, previous=request.flag("previous"))
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n"
    )
    async for chunk in logs.read(file, wanted, lambda: pods.is_running(*at)):
        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def wanted_of(request: Request, now: float) -> logs.Wanted:
    """Returns which log lines a request's query asks for.

    Raises:
        Refused: a number is none.
    """

    def number(name: str) -> int | None:
        text = request.first(name)
        if text and not text.isdigit():
            raise Refused(400, f"{name}={text}: expected a whole number")
        return int(text) if text else None

    since = number("sinceSeconds")
    started = now - since if since is not None else 0.0
    since_time = request.first("sinceTime")
    if since_time:
        try:
            started = datetime.datetime.fromisoformat(since_time.replace("Z", "+00:00")).timestamp()
        except ValueError:
            raise Refused(400, f"sinceTime={since_time}: expected an RFC 3339 time") from None
    return logs.Wanted(
        number("tailLines"),
        started,
        number("limitBytes"),
        request.flag("timestamps"),
        request.flag("follow"),
    )


async def _open(
    request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, tty: bool
) -> channels.Channels:
    names = channels.WEBSOCKET_PROTOCOLS if request.is_websocket else channels.SPDY_PROTOCOLS
    link, _ = await accept(request, reader, writer, names)
    if request.is_websocket:
        return channels.MessageChannels(link)
    streams = channels.StreamChannels(link)
    wanted = {channels.STATUS}
    for name, channel in (("stdin", channels.STDIN), ("stdout", channels.STDOUT)):
        if request.flag(name) or request.flag(_short(name)):
            wanted.add(channel)
    if not tty and (request.flag("stderr") or request.flag("error")):
        wanted.add(channels.STDERR)
    await streams.open(wanted)
    return streams


def _short(name: str) -> str:
    return {"stdin": "input", "stdout": "output"}[name]


async def _exec(
    pods: Pods,
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    at: tuple[str, str, str],
) -> None:
    argv = request.query.get("command") or []
    if not argv:
        raise Refused(400, "you must specify at least 1 command")
    if not pods.is_running(*at):
        raise Refused(400, f"container {at[2]} of pod {at[0]}/{at[1]} is not running")
    tty = request.flag("tty")
    client = await _open(request, reader, writer, tty=tty)
    stdio = channels.Stdio(tty=tty, stdin=request.flag("stdin") or request.flag("input"))
    try:
        stdin, stdout, stderr = stdio.theirs
        id, done = await pods.execute_in(*at, argv, (stdin, stdout, stderr), tty=tty)
        stdio.given()
        await channels.join(client, stdio, done, lambda: pods.signal(id, signal.SIGKILL))
    except LocalError as refusal:
        await _tell(client, channels.failure(refusal.message))
    finally:
        stdio.close()


async def _attach(
    pods: Pods,
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    at: tuple[str, str, str],
) -> None:
    """Shows what a running container prints from now on, and feeds its stdin."""
    if not pods.is_running(*at):
        raise Refused(400, f"container {at[2]} of pod {at[0]}/{at[1]} is not running")
    client = await _open(request, reader, writer, tty=False)
    stdin = await pods.stdin_of(*at) if request.flag("stdin") else -1
    file = pods.log_file(*at, previous=False)
    output = asyncio.ensure_future(_show(pods, client, file, at))
    try:
        while (received := await client.receive()) is not None:
            channel, data = received
            if channel == channels.STDIN and stdin >= 0:
                if not data:
                    break
                await channels.write_fd(stdin, data)
        await output
    finally:
        output.cancel()
        await asyncio.gather(output, return_exceptions=True)
        if stdin >= 0:
            os.close(stdin)


async def _show(
    pods: Pods, client: channels.Channels, file: Path, at: tuple[str, str, str]
) -> None:
    wanted = logs.Wanted(tail=0, follow=True)
    async for chunk in logs.read(file, wanted, lambda: pods.is_running(*at)):
        await client.send(channels.STDOUT, chunk)
    await _tell(client, channels.status_of(0))


async def _tell(client: channels.Channels, status: Mapping[str, Any]) -> None:
    await client.send(channels.STATUS, json.dumps(status).encode())
    await client.close()


async def _answer(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(
        b"HTTP/1.1 %d Refused\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n" % (status, len(body)) + body
    )
    await writer.drain()

"""A small Kubernetes API on loopback: list, watch, get, create, replace, patch, delete, faults.

Not a model of Kubernetes: just enough of its wire for the client and the daemons. The same tests
may run against `linkerd local`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.ports import free_port

Object = dict[str, Any]


_ROUTES = ("httproutes", "grpcroutes", "tlsroutes", "tcproutes")


class Api:
    """Objects by path, whatever their group; `version` grows with each change.

    Kinds and groups in `absent` are not served.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.version = 100
        self.oldest = 0
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.absent: set[str] = set()
        self.page = 0
        self.port = free_port()
        self._events: list[tuple[int, str, str, Object]] = []
        self._changed = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def apply(self, plural: str, item: Object) -> None:
        """Creates or changes an object and tells the watches."""
        meta = item["metadata"]
        key = (plural, meta.get("namespace", ""), meta["name"])
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self._record(kind, key, item)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Deletes an object and tells the watches."""
        key = (plural, namespace, name)
        self._record("DELETED", key, self.objects[key])

    def forget_history(self) -> None:
        """Makes every earlier version too old to resume from."""
        self.oldest = self.version
        self._events.clear()

    def refuse(self, method: str) -> int:
        """Returns the status to refuse a request with, 0 to answer it."""
        return 0

    async def start(self) -> None:
        """Listens, on the same port each time."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stops listening and breaks all connections."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        await asyncio.sleep(0)

    def _record(self, kind: str, key: tuple[str, str, str], item: Object) -> None:
        self.version += 1
        item = json.loads(json.dumps(item))
        item["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = item
        self._events.append((self.version, kind, key[0], item))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        headers = {
            line.partition(":")[0].lower(): line.partition(":")[2].strip()
            for line in head.split("\r\n")[1:]
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append((method, target, headers, body))
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        group = "" if parts[0] == "api" else parts[1]
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if not parts and group not in self.absent:
            return await _answer(writer, 200, {"resources": [{"name": n} for n in _ROUTES]})
        namespace = ""
        if len(parts) > 2 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0] if parts else "", parts[1] if len(parts) > 1 else ""
        if plural in self.absent or group in self.absent:
            return await _answer(writer, 404, {"reason": "NotFound", "message": "no such kind"})
        if query.get("watch"):
            await self._watch(writer, plural, int(query["resourceVersion"]))
            return False
        refusal = self.refuse(method)
        if refusal:
            return await _answer(writer, refusal, {"message": "not now"})
        status, answer = self._do(method, plural, namespace, name, query, body)
        return await _answer(writer, status, answer)

    def _do(
        self,
        method: str,
        plural: str,
        namespace: str,
        name: str,
        query: dict[str, str],
        body: bytes,
    ) -> tuple[int, Object]:
        key = (plural, namespace, name)
        if method == "GET" and not name:
            return self._list(plural, namespace, query)
        if method == "POST":
            item = json.loads(body)
            key = (plural, namespace, item["metadata"]["name"])
            if key in self.objects:
                return 409, {"reason": "AlreadyExists", "message": f"{plural} exists"}
            item["metadata"].setdefault("namespace", namespace)
            self.apply(plural, item)
            return 201, self.objects[key]
        if key not in self.objects:
            return 404, {"reason": "NotFound", "message": f'{plural} "{name}" not found'}
        if method == "PUT":
            item = json.loads(body)
            wanted = item["metadata"].get("resourceVersion")
            if wanted and wanted != self.objects[key]["metadata"]["resourceVersion"]:
                return 409, {"reason": "Conflict", "message": "the object has been modified"}
            self.apply(plural, item)
        elif method == "PATCH":
            self.apply(plural, _merged(self.objects[key], json.loads(body)))
        elif method == "DELETE":
            item = self.objects[key]
            self.delete(*key)
            return 200, item
        return 200, self.objects[key]

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> tuple[int, Object]:
        items = [
            item
            for key, item in sorted(self.objects.items())
            if key[0] == plural and namespace in ("", key[1])
        ]
        start = int(query.get("continue", "0"))
        size = self.page or len(items) or 1
        rest = str(start + size) if start + size < len(items) else ""
        metadata = {"resourceVersion": str(self.version), "continue": rest}
        return 200, {"metadata": metadata, "items": items[start : start + size]}

    async def _watch(self, writer: asyncio.StreamWriter, plural: str, version: int) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            if version < self.oldest:
                # Of an open watch too: what it had not been told yet is forgotten.
                _chunk(writer, {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return
            changed = self._changed
            fresh = [
                {"type": kind, "object": item}
                for number, kind, of, item in list(self._events)
                if of == plural and number > version
            ]
            version = max(version, self.version)
            if not self.deliver(writer, fresh):
                return
            await writer.drain()
            await changed.wait()

    def deliver(self, writer: asyncio.StreamWriter, events: list[Object]) -> bool:
        """Writes what a watch brings; returns whether the watch goes on."""
        for event in events:
            _chunk(writer, event)
        return True


def _merged(target: Object, patch: Object) -> Object:
    """Source: RFC 7396."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _chunk(writer: asyncio.StreamWriter, event: Object) -> None:
    line = json.dumps(event).encode() + b"\n"
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


async def _answer(writer: asyncio.StreamWriter, status: int, answer: Object) -> bool:
    body = json.dumps(answer).encode()
    head = (
        f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return True


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Api]:
    """Serves an empty API while the context is open."""
    api = Api()
    await api.start()
    try:
        yield api
    finally:
        await api.stop()

"""List and watch as a state machine, and the thin loop that feeds it.

    list pages ──► Reset(objects) ──► watch ──► Applied | Deleted …
        ▲                               │
        └── 410, or an error status ────┘   a closed or broken watch resumes where it was

`Watcher` is pure: it says what to ask next and turns answers into events. `run` does the asking
and never raises for anything the server or the network does. Objects that do not decode are
skipped with a warning, so that one bad object cannot stop a daemon.
Source: kubernetes/client-go tools/cache/reflector.go, kube-rs/kube kube-runtime/src/watcher.rs.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from linkerd import log
from linkerd.errors import KubeError
from linkerd.kube.http import Streamed
from linkerd.kube.resources import Resource

T = TypeVar("T")

PAGE = 500
"""Objects per list page."""

_BACKOFF_MIN_S = 0.2
_BACKOFF_MAX_S = 10.0
_ABSENT_RETRY_S = 10.0
_WATCH_S = (240, 360)
_RELIST_S = 10.0
_LISTS_BURST = 3
"""At most so many lists of a kind in as many times so long: no fault makes a storm of them."""

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Reset(Generic[T]):
    """All objects there are now; whatever else was known is gone."""

    objects: list[T]


@dataclass(frozen=True, slots=True)
class Applied(Generic[T]):
    """An object was created or changed."""

    object: T


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """An object is gone; its last state."""

    object: T


Event = Reset[T] | Applied[T] | Deleted[T]


@dataclass(frozen=True, slots=True)
class AskList:
    """List from here: `token` continues an earlier page."""

    token: str = ""


@dataclass(frozen=True, slots=True)
class AskWatch:
    """Watch from here."""

    resource_version: str


class _ListMeta(msgspec.Struct, rename="camel", gc=False):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str = ""
    object: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class _Versioned(msgspec.Struct, gc=False):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


class _Field(msgspec.Struct, gc=False):
    time: datetime | None = None


class _Fields(msgspec.Struct, rename="camel", gc=False):
    managed_fields: list[_Field] | None = None


class _Managed(msgspec.Struct, gc=False):
    metadata: _Fields = msgspec.field(default_factory=_Fields)


class _Status(msgspec.Struct, gc=False):
    code: int = 0
    message: str = ""


_PAGE = msgspec.json.Decoder(_Page)
_LINE = msgspec.json.Decoder(_Line)
_VERSIONED = msgspec.json.Decoder(_Versioned)
_STATUS = msgspec.json.Decoder(_Status)
_MANAGED = msgspec.json.Decoder(_Managed)


@dataclass(slots=True)
class Watcher(Generic[T]):
    """The state between requests.

    Args:
        decode: Bytes of one object → object; raises msgspec.MsgspecError.
        what: The kind, for logs.
        lag: Told how many seconds late a change is heard of.
    """

    decode: Callable[[bytes], T]
    what: str
    lag: Callable[[float], None] | None = None
    _version: str = ""
    _token: str = ""
    _listed: list[T] = field(default_factory=list)
    _absent: bool = False

    def ask(self) -> AskList | AskWatch:
        """Returns the next request to make."""
        return AskWatch(self._version) if self._version else AskList(self._token)

    def page(self, body: bytes) -> Reset[T] | None:
        """Takes one page of a list; returns the reset after the last page.

        Raises:
            msgspec.MsgspecError: `body` is no list.
        """
        page = _PAGE.decode(body)
        for raw in page.items or ():
            item = self._decoded(bytes(raw))
            if item is not None:
                self._listed.append(item)
        self._token = page.metadata.continue_
        if self._token:
            return None
        listed, self._listed = self._listed, []
        self._version = page.metadata.resource_version
        self._absent = False
        return Reset(listed)

    def line(self, line: bytes) -> Applied[T] | Deleted[T] | None:
        """Takes one line of a watch; returns its event, None for bookmarks and what is skipped.

        An ERROR line makes the next request a list.

        Raises:
            msgspec.MsgspecError: `line` is no watch event.
        """
        entry = _LINE.decode(line)
        raw = bytes(entry.object)
        if entry.type == "ERROR":
            status = _STATUS.decode(raw)
            _log.debug("watch ended by server", kind=self.what, code=status.code)
            self.relist()
            return None
        version = _VERSIONED.decode(raw).metadata.resource_version
        if _precedes(version, self._version):
            # What came before is lost: only a list tells what is true.
            _log.warn("watch went backwards", kind=self.what, version=version)
            self.relist()
            return None
        if version:
            self._version = version
        if entry.type == "BOOKMARK":
            return None
        item = self._decoded(raw)
        if item is None:
            return None
        if entry.type == "DELETED":
            return Deleted(item)
        if entry.type == "MODIFIED" and self.lag is not None:
            changed = _changed(raw)
            if changed is not None:
                self.lag(time.time() - changed)
        return Applied(item)

    def refused(self, status: int) -> Reset[T] | None:
        """Takes an error status of a list or watch.

        Returns:
            An empty reset when the kind is not served (404), once; else None.
        """
        if status not in (0, 429):
            self.relist()
        if status == 404 and not self._absent:
            self._absent = True
            return Reset([])
        return None

    def relist(self) -> None:
        """Makes the next request a list from its start."""
        self._version = self._token = ""
        self._listed = []

    def _decoded(self, raw: bytes) -> T | None:
        try:
            return self.decode(raw)
        except msgspec.MsgspecError as error:
            _log.warn("object does not decode", kind=self.what, error=error)
            return None


def _changed(raw: bytes) -> float | None:
    """Returns when an object was changed last, by its managed fields; Unix seconds."""
    try:
        fields = _MANAGED.decode(raw).metadata.managed_fields or ()
    except msgspec.MsgspecError:
        return None
    return max((each.time.timestamp() for each in fields if each.time), default=None)


def _precedes(version: str, other: str) -> bool:
    """Whether a resource version is older; those of one kind that are numbers can be compared.

    Source: Kubernetes KEP-5504 (comparable resource versions).
    """
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)


class Source(Protocol):
    """What `run` needs of a client."""

    async def list_page(self, params: dict[str, str]) -> bytes:
        """Returns one page; raises KubeError."""

    def open_watch(
        self, params: dict[str, str]
    ) -> contextlib.AbstractAsyncContextManager[Streamed]:
        """Opens a watch; raises KubeError."""


async def run(
    source: Source,
    resource: Resource,
    decode: Callable[[bytes], T],
    lag: Callable[[float], None] | None = None,
) -> AsyncIterator[Event[T]]:
    """Yields a Reset first, then events, for ever; see the module."""
    watcher = Watcher(decode, resource.plural, lag)
    wait_s, failing = _BACKOFF_MIN_S, False
    listed_s = deque([-math.inf] * _LISTS_BURST, maxlen=_LISTS_BURST)
    while True:
        ask = watcher.ask()
        delivered = False
        problem: str = ""
        absent = opened = False
        try:
            if isinstance(ask, AskList):
                if not ask.token:
                    next_s = listed_s[0] + _RELIST_S * _LISTS_BURST
                    await asyncio.sleep(max(0.0, next_s - time.monotonic()))
                reset = watcher.page(await source.list_page(_list_params(ask)))
                delivered = True
                if reset is not None:
                    listed_s.append(time.monotonic())
                    yield reset
            else:
                async with source.open_watch(_watch_params(ask)) as stream:
                    opened = True
                    async for line in stream.lines():
                        event = watcher.line(line)
                        delivered = isinstance(watcher.ask(), AskWatch)
                        if event is not None:
                            yield event
                        if not delivered:
                            break
        except KubeError as error:
            problem = error.message
            absent = error.status == 404
            empty = watcher.refused(error.status)
            if empty is not None:
                _log.warn("kind is not served", kind=resource.plural, group=resource.group)
                yield empty
        except msgspec.MsgspecError as error:
            problem = str(error)
            watcher.relist()
        if problem and opened:
            # Servers end watches at will; it is an outage only if the next request fails too.
            _log.debug("watch broke off", kind=resource.plural, error=problem)
        elif problem and not absent and not failing:
            _log.warn("watch failing, will retry", kind=resource.plural, error=problem)
        elif failing and not problem:
            _log.info("watch recovered", kind=resource.plural)
        failing = bool(problem) and not absent and not opened
        if delivered:
            wait_s = _BACKOFF_MIN_S
        if absent:
            await asyncio.sleep(_ABSENT_RETRY_S * random.uniform(0.8, 1.2))
        elif problem or not delivered:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, _BACKOFF_MAX_S)


def _list_params(ask: AskList) -> dict[str, str]:
    params = {"limit": str(PAGE)}
    if ask.token:
        params["continue"] = ask.token
    return params


def _watch_params(ask: AskWatch) -> dict[str, str]:
    return {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": ask.resource_version,
        "timeoutSeconds": str(random.randint(*_WATCH_S)),
    }


def decoder(decode: Any) -> Callable[[bytes], Any]:
    """Returns bytes → object for what a caller of `watch` passes.

    Args:
        decode: None for plain dicts, a msgspec type, or a callable of bytes.
    """
    if decode is None:
        return msgspec.json.Decoder(dict[str, Any]).decode
    if isinstance(decode, type):
        return msgspec.json.Decoder(decode).decode
    return decode  # type: ignore[no-any-return]

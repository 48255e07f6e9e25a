"""The HTTP/2 that a gRPC server needs, and no more: frames, windows, streams, limits.

    Endpoint ── listens, counts streams, drains
      └ Connection ── one socket: reads frames, gathers what its streams write, one write per turn
          └ Stream ── one call; a subclass says what a request does

Of its own because a stream costs half a kilobyte and a message to it two microseconds, against 25
and 30 in grpc.aio. A stream that its reader does not empty holds the rest of one message and is not
asked for more, so nothing here grows with a slow reader.
Limits answer the known floods: header blocks, control frames, resets, bodies, streams.
Source: RFC 9113; gRPC's doc/PROTOCOL-HTTP2.md for the framing of messages.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable

from linkerd.errors import WireError
from linkerd.serve import hpack

STREAMS_MAX = 100_000
"""Of one endpoint, all connections together."""

BODY_BYTES_MAX = 64 * 1024

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_BYTES_MAX = 16_384
_WINDOW = 65_535
_WINDOW_MAX = 2**31 - 1
_BLOCK_BYTES_MAX = 32 * 1024
_CREDIT_BYTES = 32 * 1024
_OUT_BYTES = 256 * 1024
_PING_AFTER_S = 120.0
_PING_WITHIN_S = 20.0
_CONTROL_PER_S = 5000
_UNREAD_BYTES = 4 * 1024 * 1024
_BACKLOG = 4096

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW_UPDATE, _MORE = (
    range(10)
)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20
_NO_ERROR, _PROTOCOL_ERROR, _INTERNAL_ERROR, _FLOW_ERROR = 0x0, 0x1, 0x2, 0x3
_STREAM_CLOSED, _SIZE_ERROR, _REFUSED_STREAM = 0x5, 0x6, 0x7
_COMPRESSION_ERROR, _CALM = 0x9, 0xB
_INITIAL_WINDOW_SIZE = 0x4

_FRAME = struct.Struct(">HBBBL")
_MESSAGE = struct.Struct(">HBBBLBL")
_PREFIX = struct.Struct(">BL")
_SETTING = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


class _Broken(Exception):
    """The connection cannot go on."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Stream:
    """One request and its answer."""

    __slots__ = (
        "_pending",
        "_trailers",
        "body",
        "complete",
        "connection",
        "fields",
        "id",
        "window",
    )

    def __init__(self, connection: Connection, id: int, fields: list[hpack.Field]) -> None:
        self.connection = connection
        self.id = id
        self.window = connection.peer_window
        self.fields = fields
        self.body = b""
        self.complete = False
        self._pending: deque[memoryview | bytes] | None = None
        self._trailers: bytes | None = None

    def requested(self) -> None:
        """Is called when the whole request has arrived."""

    def writable(self) -> None:
        """Is called when what was sent has left, or may leave after the connection was choked."""

    def closed(self) -> None:
        """Is called once when the peer gave up on the stream, or its connection is gone."""

    @property
    def choked(self) -> bool:
        """Whether more to send has to wait; `writable` is called when that is over."""
        if self._pending is not None:
            return True
        if self.connection.paused:
            self.connection.waiting[self] = None
            return True
        return False

    def head(self, block: bytes) -> None:
        """Sends the response's headers."""
        self.connection.write(_frame(_HEADERS, _END_HEADERS, self.id, block))

    def send(self, message: bytes) -> None:
        """Sends a message with gRPC's prefix; it waits, uncopied, where windows are closed."""
        size = len(message) + 5
        connection = self.connection
        if (
            self._pending is None
            and size <= self.window
            and size <= connection.window
            and size <= _FRAME_BYTES_MAX
            and not connection.paused
        ):
            self.window -= size
            connection.window -= size
            out = connection.out
            out.append(_MESSAGE.pack(size >> 8, size & 255, _DATA, 0, self.id, 0, len(message)))
            out.append(message)
            if not connection.scheduled:
                connection.schedule()
            return
        if self._pending is None:
            self._pending = deque()
        self._pending += (_PREFIX.pack(0, len(message)), memoryview(message))
        self.drain()

    def finish(self, trailers: bytes) -> None:
        """Ends the answer with trailers, after all that was sent."""
        if self._pending is not None:
            self._trailers = trailers
            return
        self.connection.write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, self.id, trailers))
        if not self.complete:
            self.connection.write(_frame(_RST_STREAM, 0, self.id, _NUMBER.pack(_NO_ERROR)))
        self.connection.forget(self)

    def drain(self) -> bool:
        """Writes what windows allow; returns whether nothing is left."""
        pending, connection = self._pending, self.connection
        if pending is None:
            return True
        while pending:
            room = min(self.window, connection.window, _FRAME_BYTES_MAX)
            if room <= 0 or connection.paused:
                if self.window > 0:
                    connection.waiting[self] = None
                return False
            parts: list[memoryview | bytes] = []
            size = 0
            while pending and size < room:
                piece = pending.popleft()
                if len(piece) > room - size:
                    pending.appendleft(piece[room - size :])
                    piece = piece[: room - size]
                parts.append(piece)
                size += len(piece)
            self.window -= size
            connection.window -= size
            connection.out.append(_FRAME.pack(size >> 8, size & 255, _DATA, 0, self.id))
            connection.out += parts
            connection.held += size
            if connection.held >= _OUT_BYTES:
                connection.flush()
            elif not connection.scheduled:
                connection.schedule()
        self._pending = None
        if self._trailers is not None:
            self.finish(self._trailers)
        return True


class Connection(asyncio.Protocol):
    """One peer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.out: list[bytes | memoryview] = []
        self.held = 0
        self.scheduled = False
        self.paused = False
        self.window = _WINDOW
        self.peer_window = _WINDOW
        self.waiting: dict[Stream, None] = {}
        self.streams: dict[int, Stream] = {}
        self.peer = ""
        self._endpoint = endpoint
        self._decoder = hpack.Decoder()
        self._rest = b""
        self._greeted = False
        self._last = 0
        self._block: tuple[int, int, bytearray] | None = None
        self._consumed = 0
        self._control_left = 0
        self._control_since_s = float("-inf")
        self._heard_s = 0.0
        self._leaving = False
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the peer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_OUT_BYTES)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else ""
        self._endpoint.connections.add(self)
        self._heard_s = self._endpoint.now()
        self._watch(_PING_AFTER_S)
        # Requests are small, but a thousand of them may come at once.
        self.write(_frame(_SETTINGS, 0, 0))
        self.write(_frame(_WINDOW_UPDATE, 0, 0, _NUMBER.pack(_OUT_BYTES * 4)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells every stream."""
        if self._timer is not None:
            self._timer.cancel()
        self._endpoint.connections.discard(self)
        self._leaving = True
        self.paused = True
        streams = list(self.streams.values())
        self.streams.clear()
        self.waiting.clear()
        self._endpoint.streams -= len(streams)
        for stream in streams:
            stream.closed()
        self._endpoint.left()

    def pause_writing(self) -> None:
        """Stops the streams."""
        self.paused = True

    def resume_writing(self) -> None:
        """Lets the streams go on."""
        self.paused = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Takes bytes."""
        self._heard_s = self._endpoint.now()
        data = self._rest + data if self._rest else data
        try:
            self._rest = self._read(data)
        except _Broken as broken:
            self._break(broken.code, str(broken))
        except hpack.HpackError as error:
            self._break(_COMPRESSION_ERROR, error.message)

    # the streams' side

    def write(self, frame: bytes) -> None:
        """Adds a frame to this turn's write."""
        self.out.append(frame)
        if self.paused and self._transport.get_write_buffer_size() > _UNREAD_BYTES:
            self.abort()  # it asks and asks, and reads no answer
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Has what was gathered written at the end of this turn of the loop."""
        self.scheduled = True
        self._endpoint.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hands on what was gathered."""
        self.scheduled = False
        if self.out:
            data = b"".join(self.out)
            self.out.clear()
            self.held = 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def reset(self, stream: Stream, code: int) -> None:
        """Breaks a stream off."""
        self.write(_frame(_RST_STREAM, 0, stream.id, _NUMBER.pack(code)))
        self.forget(stream)
        stream.closed()

    def forget(self, stream: Stream) -> None:
        """Takes a stream that has ended off the books."""
        if self.streams.pop(stream.id, None) is not None:
            self._endpoint.streams -= 1
            self.waiting.pop(stream, None)
            if self._leaving and not self.streams:
                self._close()

    def leave(self) -> None:
        """Takes no more streams and closes after the last one."""
        if not self._leaving:
            self._leaving = True
            self.write(_frame(_GOAWAY, 0, 0, _NUMBER.pack(self._last) + _NUMBER.pack(_NO_ERROR)))
            if not self.streams:
                self._close()

    def abort(self) -> None:
        """Closes at once."""
        self._transport.abort()

    # frames

    def _read(self, data: bytes) -> bytes:
        at, end = 0, len(data)
        if not self._greeted:
            if end < len(_PREFACE) and _PREFACE.startswith(data):
                return data
            if not data.startswith(_PREFACE):
                raise _Broken(_PROTOCOL_ERROR, "no HTTP/2")
            self._greeted = True
            at = len(_PREFACE)
        while end - at >= 9:
            high, low, kind, flags, id = _FRAME.unpack_from(data, at)
            size = high << 8 | low
            if size > _FRAME_BYTES_MAX:
                raise _Broken(_SIZE_ERROR, "a frame is too long")
            if end - at < 9 + size:
                break
            self._take(kind, flags, id & _WINDOW_MAX, data[at + 9 : at + 9 + size])
            at += 9 + size
            if self._transport.is_closing():
                return b""
        return data[at:]

    def _take(self, kind: int, flags: int, id: int, payload: bytes) -> None:
        if self._block is not None and kind != _MORE:
            raise _Broken(_PROTOCOL_ERROR, "a header block is interrupted")
        if kind == _DATA:
            self._data(flags, id, payload)
        elif kind == _HEADERS:
            self._open_block(flags, id, payload)
        elif kind == _WINDOW_UPDATE:
            self._credit(id, payload)
        elif kind == _MORE:
            self._continue_block(flags, id, payload)
        else:
            self._calm()
            if kind == _RST_STREAM:
                self._reset(id, payload)
            elif kind == _SETTINGS:
                self._settings(flags, id, payload)
            elif kind == _PING:
                self._ping(flags, id, payload)
            elif kind == _PUSH:
                raise _Broken(_PROTOCOL_ERROR, "a client pushes")
            # GOAWAY and PRIORITY change nothing for a server, unknown kinds are passed over.

    def _data(self, flags: int, id: int, payload: bytes) -> None:
        self._consumed += len(payload)
        if self._consumed >= _CREDIT_BYTES:
            self.write(_frame(_WINDOW_UPDATE, 0, 0, _NUMBER.pack(self._consumed)))
            self._consumed = 0
        if id == 0 or id > self._last:
            raise _Broken(_PROTOCOL_ERROR, "data without a stream")
        stream = self.streams.get(id)
        if stream is None or stream.complete:
            self._calm()
            return
        if not payload and not flags & _END_STREAM:
            self._calm()
        body = _unpadded(flags, payload)
        stream.body = stream.body + body if stream.body else body
        if len(stream.body) > BODY_BYTES_MAX:
            self.reset(stream, _CALM)
        elif flags & _END_STREAM:
            stream.complete = True
            stream.requested()

    def _open_block(self, flags: int, id: int, payload: bytes) -> None:
        if id & 1 == 0:
            raise _Broken(_PROTOCOL_ERROR, "not a client's stream")
        payload = _unpadded(flags, payload)
        if flags & _PRIORITIZED:
            payload = payload[5:]
        if flags & _END_HEADERS:
            self._headers(flags, id, payload)
        else:
            self._block = flags, id, bytearray(payload)

    def _continue_block(self, flags: int, id: int, payload: bytes) -> None:
        if self._block is None or self._block[1] != id:
            raise _Broken(_PROTOCOL_ERROR, "a continuation of nothing")
        first, _, block = self._block
        block += payload
        if len(block) > _BLOCK_BYTES_MAX or not payload:
            raise _Broken(_CALM, "a header block is too long")
        if flags & _END_HEADERS:
            self._block = None
            self._headers(first, id, bytes(block))

    def _headers(self, flags: int, id: int, block: bytes) -> None:
        fields = self._decoder.decode(block)
        stream = self.streams.get(id)
        if stream is None:
            if id <= self._last:
                self._calm()  # of a stream that we have ended
                return
            self._last = id
            endpoint = self._endpoint
            if self._leaving or endpoint.streams >= STREAMS_MAX:
                self.write(_frame(_RST_STREAM, 0, id, _NUMBER.pack(_REFUSED_STREAM)))
                return
            stream = self.streams[id] = endpoint.accept(self, id, fields)
            endpoint.streams += 1
        elif not flags & _END_STREAM or stream.complete:
            raise _Broken(_PROTOCOL_ERROR, "headers in the middle of a stream")
        if flags & _END_STREAM:
            stream.complete = True
            stream.requested()

    def _reset(self, id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Broken(_SIZE_ERROR, "a reset of a wrong size")
        if id == 0 or id > self._last:
            raise _Broken(_PROTOCOL_ERROR, "a reset of no stream")
        stream = self.streams.get(id)
        if stream is not None:
            self.forget(stream)
            stream.closed()

    def _settings(self, flags: int, id: int, payload: bytes) -> None:
        if id != 0 or len(payload) % 6 or (flags & _ACK and payload):
            raise _Broken(_SIZE_ERROR, "settings of a wrong form")
        if flags & _ACK:
            return
        self.write(_frame(_SETTINGS, _ACK, 0))
        window = dict(_SETTING.iter_unpack(payload)).get(_INITIAL_WINDOW_SIZE, self.peer_window)
        if window > _WINDOW_MAX:
            raise _Broken(_FLOW_ERROR, "a window is too large")
        more = window - self.peer_window
        self.peer_window = window
        if more == 0:
            return
        for stream in list(self.streams.values()):
            stream.window += more
            if more > 0 and stream.drain():
                stream.writable()

    def _ping(self, flags: int, id: int, payload: bytes) -> None:
        if id != 0 or len(payload) != 8:
            raise _Broken(_SIZE_ERROR, "a ping of a wrong form")
        if not flags & _ACK:
            self.write(_frame(_PING, _ACK, 0, payload))

    def _credit(self, id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Broken(_SIZE_ERROR, "a window update of a wrong size")
        more = _NUMBER.unpack(payload)[0] & _WINDOW_MAX
        if id == 0:
            self.window += more
            if more == 0 or self.window > _WINDOW_MAX:
                raise _Broken(_FLOW_ERROR, "a window of the connection is too large")
            self._go_on()
            return
        stream = self.streams.get(id)
        if stream is None:
            if id > self._last:
                raise _Broken(_PROTOCOL_ERROR, "a window of no stream")
            return
        stream.window += more
        if more == 0 or stream.window > _WINDOW_MAX:
            self.reset(stream, _FLOW_ERROR)
        elif stream.drain():
            stream.writable()

    def _go_on(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for stream in waiting:
            if self.paused or self.window <= 0:
                self.waiting[stream] = None
            elif stream.drain():
                stream.writable()

    def _calm(self) -> None:
        """Counts a frame that costs its sender nothing."""
        now = self._endpoint.now()
        if now - self._control_since_s >= 1.0:
            # A client may well give up on all its streams at once.
            self._control_left = _CONTROL_PER_S + len(self.streams)
            self._control_since_s = now
        self._control_left -= 1
        if self._control_left < 0:
            raise _Broken(_CALM, "too many control frames")

    def _watch(self, after_s: float) -> None:
        self._timer = self._endpoint.loop.call_later(after_s, self._look)

    def _look(self) -> None:
        silent_s = self._endpoint.now() - self._heard_s
        if silent_s >= _PING_AFTER_S + _PING_WITHIN_S:
            self.abort()
        elif silent_s >= _PING_AFTER_S:
            self.write(_frame(_PING, 0, 0, b"linkerd\0"))
            self._watch(_PING_WITHIN_S)
        else:
            self._watch(_PING_AFTER_S - silent_s)

    def _break(self, code: int, why: str) -> None:
        text = why.encode()
        last = _NUMBER.pack(self._last) + _NUMBER.pack(code)
        self.write(_frame(_GOAWAY, 0, 0, last + text))
        self._rest = b""
        self._close()

    def _close(self) -> None:
        self.flush()
        self._transport.close()


class Endpoint:
    """All connections of a listener.

    Args:
        accept: Makes the stream of a request whose headers have come.
    """

    def __init__(self, accept: Callable[[Connection, int, list[hpack.Field]], Stream]) -> None:
        self.accept = accept
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.connections: set[Connection] = set()
        self.streams = 0
        self._empty = asyncio.Event()
        self._server: asyncio.Server

    async def listen(self, host: str, port: int) -> int:
        """Listens; returns the port.

        Raises:
            OSError: the address cannot be bound.
        """
        self._server = await self.loop.create_server(
            lambda: Connection(self), host, port, backlog=_BACKLOG
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self, grace_s: float) -> None:
        """Lets open streams end for a while, then breaks them off."""
        self._server.close()
        for connection in list(self.connections):
            connection.leave()
        try:
            async with asyncio.timeout(grace_s):
                while self.connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for connection in list(self.connections):
                connection.abort()
            await asyncio.sleep(0)

    def left(self) -> None:
        """Notes that a connection is gone."""
        if not self.connections:
            self._empty.set()


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _Broken(_PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def message_of(body: bytes) -> bytes:
    """Returns the one message of a request's body.

    Raises:
        WireError: there is not exactly one, or it is compressed.
    """
    if len(body) < 5 or len(body) != 5 + int.from_bytes(body[1:5], "big"):
        raise WireError("the request is not one message")
    if body[0]:
        raise WireError("compressed messages are not understood")
    return body[5:]

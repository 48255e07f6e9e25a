"""The cases of gRPC's interoperability test, with plain octets for messages: server and client.

`python -m tests.scorecard.interop serve PORT` · `… call HOST:PORT` prints a JSON object of case to
what was wrong with it, empty when nothing was.

Source: grpc doc/interop-test-descriptions.md (cases).
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc

_SERVICE = "score.Interop"
_INITIAL, _TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
_SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
# Sizes of the original's large unary and streams.
_REQUEST, _RESPONSE, _SIZES = 271_828, 314_159, (31_415, 9, 2_653, 58_979)


def _echo_metadata(context: grpc.ServicerContext) -> None:
    for name, value in context.invocation_metadata() or ():
        if name == _INITIAL:
            context.send_initial_metadata(((name, value),))
        elif name == _TRAILING:
            context.set_trailing_metadata(((name, value),))


def _unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The request's first word is the answer's size, or what to do instead."""
    word = request.split(b" ", 1)[0].decode()
    _echo_metadata(context)
    if word == "status":
        context.abort(grpc.StatusCode.UNKNOWN, "test status message")
    if word == "special":
        context.abort(grpc.StatusCode.UNKNOWN, _SPECIAL)
    if word == "sleep":
        time.sleep(2)
    return bytes(int(word)) if word.isdigit() else b""


def _collect(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    return str(sum(len(request) for request in requests)).encode()


def _spread(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    for size in request.split():
        yield bytes(int(size))


def _converse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    _echo_metadata(context)
    for request in requests:
        if request == b"status":
            context.abort(grpc.StatusCode.UNKNOWN, "test status message")
        yield request


def serve(port: int) -> None:
    """Serves until killed."""
    server = grpc.server(futures.ThreadPoolExecutor(16))
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Collect": grpc.stream_unary_rpc_method_handler(_collect),
        "Spread": grpc.unary_stream_rpc_method_handler(_spread),
        "Converse": grpc.stream_stream_rpc_method_handler(_converse),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


class _Client:
    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target)
        path = f"/{_SERVICE}/"
        self.unary: Any = self.channel.unary_unary(path + "Unary")
        self.collect: Any = self.channel.stream_unary(path + "Collect")
        self.spread: Any = self.channel.unary_stream(path + "Spread")
        self.converse: Any = self.channel.stream_stream(path + "Converse")

    def empty_unary(self) -> bool:
        return bool(self.unary(b"0", timeout=20) == b"")

    def large_unary(self) -> bool:
        answer = self.unary(b"%d " % _RESPONSE + bytes(_REQUEST), timeout=20)
        return len(answer) == _RESPONSE

    def client_streaming(self) -> bool:
        sizes = (27_182, 8, 1_828, 45_904)
        return bool(self.collect(iter([bytes(size) for size in sizes]), timeout=20) == b"74922")

    def server_streaming(self) -> bool:
        words = " ".join(map(str, _SIZES)).encode()
        return [len(part) for part in self.spread(words, timeout=20)] == list(_SIZES)

    def ping_pong(self) -> bool:
        sizes = iter(_SIZES)
        call = self.converse((bytes(size) for size in sizes), timeout=20)
        return [len(part) for part in call] == list(_SIZES)

    def empty_stream(self) -> bool:
        return not list(self.converse(iter(()), timeout=20))

    def cancel_after_begin(self) -> bool:
        def wait() -> Iterator[bytes]:
            time.sleep(1)
            yield b"x"

        call = self.collect.future(wait(), timeout=20)
        call.cancel()
        return bool(call.code() is grpc.StatusCode.CANCELLED)

    def cancel_after_first_response(self) -> bool:
        def one() -> Iterator[bytes]:
            yield b"x"
            time.sleep(1)

        call = self.converse(one(), timeout=20)
        next(call)
        call.cancel()
        return bool(call.code() is grpc.StatusCode.CANCELLED)

    def timeout_on_sleeping_server(self) -> bool:
        return (
            self._code(lambda: self.unary(b"sleep", timeout=0.3))
            is grpc.StatusCode.DEADLINE_EXCEEDED
        )

    def status_code_and_message(self) -> bool:
        codes = [
            self._status(lambda: self.unary(b"status", timeout=20)),
            self._status(lambda: list(self.converse(iter([b"status"]), timeout=20))),
        ]
        return codes == [(grpc.StatusCode.UNKNOWN, "test status message")] * 2

    def special_status_message(self) -> bool:
        return self._status(lambda: self.unary(b"special", timeout=20)) == (
            grpc.StatusCode.UNKNOWN,
            _SPECIAL,
        )

    def unimplemented_method(self) -> bool:
        call: Any = self.channel.unary_unary(f"/{_SERVICE}/Missing")
        return self._code(lambda: call(b"", timeout=20)) is grpc.StatusCode.UNIMPLEMENTED

    def unimplemented_service(self) -> bool:
        call: Any = self.channel.unary_unary("/score.Missing/Unary")
        return self._code(lambda: call(b"", timeout=20)) is grpc.StatusCode.UNIMPLEMENTED

    def custom_metadata(self) -> bool:
        sent = ((_INITIAL, "test_initial_metadata_value"), (_TRAILING, b"\xab\xab\xab"))
        _, call = self.unary.with_call(b"10", metadata=sent, timeout=20)
        both = (dict(call.initial_metadata()), dict(call.trailing_metadata()))
        return both[0].get(_INITIAL) == sent[0][1] and both[1].get(_TRAILING) == sent[1][1]

    def client_compressed_unary(self) -> bool:
        request = b"%d " % _RESPONSE + bytes(_REQUEST)
        answer = self.unary(request, timeout=20, compression=grpc.Compression.Gzip)
        return len(answer) == _RESPONSE

    def concurrent_large_unary(self) -> bool:
        request = b"%d " % _RESPONSE + bytes(_REQUEST)
        calls = [self.unary.future(request, timeout=60) for _ in range(50)]
        return all(len(call.result()) == _RESPONSE for call in calls)

    def long_stream(self) -> bool:
        messages = [b"%d" % n for n in range(5000)]
        return list(self.converse(iter(messages), timeout=60)) == messages

    @staticmethod
    def _code(call: Callable[[], object]) -> grpc.StatusCode:
        return _Client._status(call)[0]

    @staticmethod
    def _status(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
        try:
            call()
        except grpc.RpcError as error:
            status: Any = error
            return status.code(), status.details()
        return grpc.StatusCode.OK, ""


def call(target: str) -> dict[str, str]:
    """Runs every case; what was wrong with it, or nothing."""
    client, found = _Client(target), {}
    for name in [name for name in vars(_Client) if not name.startswith("_")]:
        try:
            found[name] = "" if getattr(client, name)() else "another result"
        except (grpc.RpcError, StopIteration) as error:
            found[name] = str(error)[:200]
    return found


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(json.dumps(call(sys.argv[2])))

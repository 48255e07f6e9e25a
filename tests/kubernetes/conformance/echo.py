"""The echo image of the Gateway API's mesh tests: a server, and the client that the tests run in it.

    server --port=8080 --tls=8443 --grpc=7070 --tcp=9090    one listener each, flags repeatable
    client http://echo/path --method=GET -H name:value --count=3

Both print what they know as `Key=value` lines; the tests search them for keys. The client prints one
block for each request with an empty line between, exits with 0 for every status, and follows no
redirect. It stands in for `registry.k8s.io/gateway-api/echo-advanced`; only its flags and the keys
are that image's.
Source: gateway-api conformance/utils/echo (the keys), conformance/mesh/manifests.yaml (the flags).
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import http.server
import os
import signal
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_S = 10.0
_RPC = "/l5d.test.Echo/Echo"
_PORT = 8080
_GRPC_WORKERS = 8
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Lines = Iterable[tuple[str, str]]


def main(argv: list[str]) -> int:
    """Runs the client if called by that name, else the server."""
    if Path(argv[0]).name == "client":
        return client(argv[1:])
    serve(argv[1:])
    return 0


def _text(lines: Lines) -> str:
    return "".join(f"{key}={value}\n" for key, value in lines)


def _request_lines(headers: Lines) -> list[tuple[str, str]]:
    return [("RequestHeader", f"{name}:{value}") for name, value in headers]


# the server


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers every request with what arrived."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        address = self.request.getsockname()
        body = _text(
            [
                ("ServicePort", str(address[1])),
                ("Host", self.headers.get("Host", "")),
                ("URL", self.path),
                ("Method", self.command),
                ("Proto", self.request_version),
                ("IP", self.client_address[0]),
                *_request_lines(self.headers.items()),
                ("Hostname", socket.gethostname()),
            ]
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def __getattr__(self, name: str) -> Any:
        if name.removeprefix("do_") in _METHODS:
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(f"Hostname={socket.gethostname()}\n".encode())
        for line in self.rfile:
            self.wfile.write(line)


def serve(argv: list[str]) -> None:
    """Listens until told to end, at 8080 if no port is given; flags that say nothing of ports are taken and ignored."""
    parser = argparse.ArgumentParser(prog="server")
    for name in ("--port", "--tls", "--grpc", "--tcp"):
        parser.add_argument(name, type=int, action="append", default=[])
    flags, _ = parser.parse_known_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    servers: list[socketserver.BaseServer] = []
    for port in flags.port or (_PORT,):
        server = _Server(("", port), _Echo)
        if port in flags.tls:
            server.socket = _certified().wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        servers.append(server)
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    servers += [socketserver.ThreadingTCPServer(("", port), _Tcp) for port in flags.tcp]
    for port in flags.grpc:
        _serve_grpc(port)
    for one in servers:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    # The first process of a container dies of no signal that it does not handle.
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


def _serve_grpc(port: int) -> None:
    import grpc

    def echo(_: bytes, context: grpc.ServicerContext) -> bytes:
        headers = [(name, str(value)) for name, value in context.invocation_metadata()]
        lines = [("ServicePort", str(port)), ("Proto", "GRPC"), *_request_lines(headers)]
        return _text([*lines, ("Hostname", socket.gethostname())]).encode()

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            return grpc.unary_unary_rpc_method_handler(echo)

    server = grpc.server(ThreadPoolExecutor(_GRPC_WORKERS), handlers=[Handler()])
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    _kept.append(server)


_kept: list[object] = []
"""gRPC servers end when nobody holds them."""


def _certified() -> ssl.SSLContext:
    """Returns a server's context with a certificate made for this run."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "echo")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(private + certificate.public_bytes(pem))
        file.flush()
        context.load_cert_chain(file.name)
    return context


# the client


def client(argv: list[str]) -> int:
    """Sends the requests and prints the answers; returns 1 when one has no answer."""
    parser = argparse.ArgumentParser(prog="client")
    parser.add_argument("url")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("-H", dest="headers", action="append", default=[])
    flags = parser.parse_args(argv)
    headers = [tuple(each.split(":", 1)) for each in flags.headers]
    ask = _ask_grpc if flags.url.startswith("grpc:") else _ask_http
    try:
        blocks = ask(flags, [(name, value) for name, value in headers])
        sys.stdout.write("\n".join(blocks))
    except (OSError, http.client.HTTPException) as error:
        print(f"{flags.url}: {error}", file=sys.stderr)
        return 1
    return 0


def _ask_http(flags: argparse.Namespace, headers: list[tuple[str, str]]) -> list[str]:
    url = urlsplit(flags.url)
    if url.scheme == "https":
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            url.netloc, timeout=_TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=_TIMEOUT_S)
    path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
    own_host = any(name.lower() == "host" for name, _ in headers)
    blocks = []
    for _ in range(flags.count):
        connection.putrequest(flags.method, path, skip_host=own_host, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        lines = [("StatusCode", str(response.status))]
        lines += [("ResponseHeader", f"{name}:{value}") for name, value in response.getheaders()]
        # An answer of somebody else may have any body.
        blocks.append(_text(lines) + response.read().decode(errors="replace").strip() + "\n")
    return blocks


def _ask_grpc(flags: argparse.Namespace, headers: list[tuple[str, str]]) -> list[str]:
    import grpc

    metadata = tuple((name.lower(), value) for name, value in headers)
    blocks = []
    with grpc.insecure_channel(urlsplit(flags.url).netloc) as channel:
        call: Any = channel.unary_unary(_RPC)
        for _ in range(flags.count):
            try:
                body, done = call.with_call(b"", metadata=metadata, timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                code = error.code().value[0]
                blocks.append(_text([("StatusCode", str(code)), ("Error", str(error.details()))]))
                continue
            lines = [("StatusCode", "200")]
            lines += [
                ("ResponseHeader", f"{name}:{value}") for name, value in done.initial_metadata()
            ]
            blocks.append(_text(lines) + body.decode())
    return blocks


if __name__ == "__main__":
    status = main(sys.argv)
    sys.stdout.flush()
    # gRPC's threads would be waited for.
    os._exit(status)

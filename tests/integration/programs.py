"""Small servers and clients that tests run in pods: `programs.py NAME …`.

http TEXT PORT      answers every request with TEXT and the client's identity header
flaky TEXT PORT     the same, but every second request fails with 503
slow TEXT PORT      the same, three seconds late
echo PORT           sends back what it gets
banner TEXT PORT    speaks first: sends TEXT, then echoes, as SMTP and MySQL do
idle                does nothing, for clients started by exec
talk HOST PORT TEXT sends TEXT, prints what comes until the peer falls silent or closes
"""

from __future__ import annotations

import http.server
import itertools
import signal
import socket
import socketserver
import sys
import time

_FIRST_S, _SILENCE_S = 30.0, 3.0


def serve_http(text: str, port: str, *, flaky: bool = False, late_s: float = 0) -> None:
    requests = itertools.count()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(late_s)
            who = self.headers.get("l5d-client-id", "nobody")
            body = f"{text} {self.headers.get('x-marker', '')} for {who}\n".encode()
            self.send_response(503 if flaky and next(requests) % 2 else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http.server.ThreadingHTTPServer(("", int(port)), Handler).serve_forever()


def serve_tcp(port: str, banner: bytes = b"") -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(banner)
            while data := self.request.recv(65536):
                self.request.sendall(data)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer(("", int(port)), Handler).serve_forever()


def talk(host: str, port: str, text: str) -> None:
    with socket.create_connection((host, int(port)), timeout=10) as peer:
        peer.settimeout(_FIRST_S)
        peer.sendall(text.encode())
        try:
            while data := peer.recv(65536):
                sys.stdout.buffer.write(data)
                peer.settimeout(_SILENCE_S)
        except TimeoutError:
            pass


def main(argv: list[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    match argv:
        case ["http", text, port]:
            serve_http(text, port)
        case ["flaky", text, port]:
            serve_http(text, port, flaky=True)
        case ["slow", text, port]:
            serve_http(text, port, late_s=3)
        case ["echo", port]:
            serve_tcp(port)
        case ["banner", text, port]:
            serve_tcp(port, text.encode())
        case ["talk", host, port, text]:
            talk(host, port, text)
        case ["idle"]:
            while True:
                signal.pause()
        case _:
            sys.exit(f"no such program: {argv}")


if __name__ == "__main__":
    main(sys.argv[1:])

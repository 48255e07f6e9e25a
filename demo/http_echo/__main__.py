"""Runs http-echo: `python -m demo.http_echo -listen=:5678 -text=hello`.

Source: hashicorp/http-echo main.go (flags `-listen`, `-text`, `-status-code`, variable `ECHO_TEXT`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from .. import http  # noqa: TID252 - the package is installed as linkerd._demo


def main(argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="http-echo", allow_abbrev=False)
    parser.add_argument("-listen", "--listen", default=":5678", help="address and port")
    parser.add_argument("-text", "--text", default=os.environ.get("ECHO_TEXT", ""))
    parser.add_argument("-status-code", "--status-code", type=int, default=200)
    args = parser.parse_args(argv)
    host, colon, port = args.listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        parser.error(f"-listen={args.listen}: expected host:port")
    if not args.text:
        print("Missing -text option or ECHO_TEXT env var!", file=sys.stderr)
        return 127
    asyncio.run(serve(host, int(port), args.text, args.status_code))
    return 0


async def serve(host: str, port: int, text: str, status: int) -> None:
    """Answers every request with `text`, a line end and `status`."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    body = (text + "\n").encode()

    async def echo(_: http.Request) -> http.Response:
        return http.Response(status, body, headers=(("X-App-Name", "http-echo"),))

    server = await http.serve(echo, host, port)
    print(f"server is listening on {host}:{port}", flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

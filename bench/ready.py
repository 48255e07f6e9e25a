"""Prints how many milliseconds a command takes until it is ready; then ends it.

Runs inside the namespace and as the user that the command shall have:
`ready.py PORT PATH COMMAND…`. With an empty path, ready means that the port accepts.
"""

import socket
import subprocess
import sys
import time

WITHIN_S = 20.0
PAUSE_S = 0.0005


def main(port: int, path: str, command: list[str]) -> int:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port, path):
            if process.poll() is not None or time.perf_counter() - began > WITHIN_S:
                return 1
            time.sleep(PAUSE_S)
        print((time.perf_counter() - began) * 1000)
        return 0
    finally:
        process.kill()
        process.wait()


def is_ready(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as peer:
            if not path:
                return True
            peer.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            return b" 200 " in peer.recv(64)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))

"""A real API server process for tests, and kubectl against it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from linkerd.local.paths import Paths

KUBECTL = shutil.which("kubectl")
START_S = 60.0


class LocalServer:
    """One process of `linkerd.local.apiserver` over a state folder; may be killed and restarted."""

    def __init__(self, state: Path) -> None:
        self.paths = Paths(state)
        self._process: subprocess.Popen[bytes] | None = None
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(64)
        self.port: int = self._sock.getsockname()[1]

    def start(self) -> None:
        """Starts the process and waits until it is ready."""
        number = self._sock.fileno()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "linkerd.local.apiserver",
                "--state",
                str(self.paths.state),
                "--listen-fd",
                str(number),
                "--log-level",
                "warn",
            ],
            pass_fds=(number,),
        )
        with httpx2.Client(verify=False, timeout=START_S) as probe:
            # The socket is open already, so the connection waits until the server accepts.
            assert probe.get(f"https://127.0.0.1:{self.port}/readyz").status_code == 200

    def kill(self) -> None:
        """Ends the process as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ends the process and frees the port."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._sock.close()

    def client(self, token: str | None = None) -> httpx2.Client:
        """Returns an HTTP client with a token, the admin's by default; "" sends none."""
        bearer = self.paths.token("admin").read_text() if token is None else token
        context = ssl.create_default_context(cafile=str(self.paths.ca_cert))
        return httpx2.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=context,
            headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
            timeout=60.0,
        )

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Returns what kubectl prints; it must succeed."""
        code, out, err = self.try_kubectl(*words, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(words)}: {err}"
        return out

    def try_kubectl(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """Returns kubectl's exit code, output and errors."""
        assert KUBECTL is not None
        done = subprocess.run(
            [KUBECTL, "--cache-dir", str(self.paths.state / "kubectl"), *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "KUBECONFIG": str(self.paths.kubeconfig)},
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def get(self, *words: str) -> Any:
        """Returns what `kubectl get … -o json` prints, decoded."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))


@contextmanager
def running(state: Path) -> Iterator[LocalServer]:
    """A started server, stopped at the end."""
    server = LocalServer(state)
    try:
        server.start()
        yield server
    finally:
        server.stop()

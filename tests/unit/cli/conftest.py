"""A real API server on loopback, without a node: pods stay pending, everything else is real."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state of a cluster whose API answers; LINKERD_LOCAL_HOME and KUBECONFIG name it."""
    home = tmp_path_factory.mktemp("local")
    state = home / "default"
    state.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    reader, writer = os.pipe()
    port = listener.getsockname()[1]
    flags = [f"--state={state}", f"--listen-fd={listener.fileno()}", f"--ready-fd={writer}"]
    log = home / "apiserver.log"
    # A file: a pipe that nobody empties would stop the server once it is full.
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "linkerd.local.apiserver", *flags, f"--port={port}"],
            pass_fds=(listener.fileno(), writer),
            stderr=output,
        )
    os.close(writer)
    listener.close()
    ready = os.read(reader, 1)
    os.close(reader)
    if not ready:
        process.wait()
        pytest.fail(log.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINKERD_LOCAL_HOME", str(home))
        patch.setenv("KUBECONFIG", str(state / "kubeconfig"))
        yield state
    process.terminate()
    process.wait()

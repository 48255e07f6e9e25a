"""Own programs on `linkerd local`: `run` in one line, and images of an imported archive."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.test_own_kubectl import Shell, shell

__all__ = ["shell"]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root"),
    pytest.mark.timeout(200),
]
_LINKERD = [sys.executable, "-c", "from linkerd.cli.main import main; raise SystemExit(main())"]
_DEADLINE_S = 60.0


def until(holds: Callable[[], bool], wanted: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, wanted
        time.sleep(0.1)


def test_a_program_is_served_from_its_folder_until_it_is_interrupted(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "page").write_text("from here")
    serve = [sys.executable, "-u", "-m", "http.server", "9000"]
    words = ["local", "run", "--name", "site", "--port", "9000", "-n", "own", "--", *serve]
    process = subprocess.Popen(
        [*_LINKERD, *words], cwd=tmp_path, env=shell.environment | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"{address}/page", timeout=5) as answer:
                    return bool(answer.read() == b"from here")
            except OSError:
                return False

        until(answers, "the program answers")
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Serving HTTP")
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=_DEADLINE_S)
    assert 0 == process.returncode, err
    assert "" == shell.kubectl("get", "deploy,svc", "-n", "own", "-o", "name")
    assert "linkerd.local/" not in shell.linkerd("local", "image", "list").stdout


def test_an_imported_image_has_its_own_files(shell: Shell, tmp_path: Path) -> None:
    program = "/bin/sh"
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    files = [word for word in linked.stdout.split() if word.startswith("/")]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for file in (program, *files):
            tar.add(os.path.realpath(file), file)
    config = {"config": {"Entrypoint": [program], "Cmd": ["-c", "echo from the image; read x"]}}
    manifest = [{"Config": "c", "RepoTags": ["own/image:v1"], "Layers": ["l"]}]
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in (
            ("manifest.json", json.dumps(manifest).encode()),
            ("c", json.dumps(config).encode()),
            ("l", layer.getvalue()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    done = shell.linkerd("local", "image", "import", str(archive))
    assert "image own/image:v1 imported\n" == done.stdout, done.stderr
    shell.kubectl("run", "imported", "--image", "own/image:v1", "--restart", "Never")
    until(lambda: "from the image" in shell.kubectl("logs", "imported"), "it runs")
    shell.kubectl("delete", "pod", "imported", "--now")
    done = shell.linkerd("local", "image", "remove", "own/image:v1")
    assert "image own/image:v1 removed\n" == done.stdout

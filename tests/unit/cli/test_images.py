"""The image table: what pods of the embedded cluster run; excludes running it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from linkerd.cli.local import images
from linkerd.cli.main import main
from linkerd.errors import LocalError
from linkerd.local.paths import Paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A state with a proxy on PATH."""
    binary = tmp_path / "bin" / "linkerd-proxy"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(binary.parent), prepend=":")
    monkeypatch.setenv("LINKERD_LOCAL_HOME", str(tmp_path))
    return Paths(tmp_path / "default")


def _images_of(path: str) -> set[str]:
    found = set()
    for body in yaml.safe_load_all(Path("demo", path).read_text()):
        spec = body.get("spec") or {}
        pod = spec.get("template", {}).get("spec") or (spec if body["kind"] == "Pod" else {})
        found |= {container["image"] for container in pod.get("containers") or ()}
    return found


@pytest.mark.parametrize("path", ["emojivoto/emojivoto.yml", "http_echo/http-echo.yml"])
def test_the_demos_images_are_known(paths: Paths, path: str) -> None:
    known = images.table()
    unknown = {i for i in _images_of(path) if i not in known and i.rpartition(":")[0] not in known}
    assert not unknown


def test_every_entry_has_the_joints_keys_and_a_program(paths: Paths) -> None:
    for name, entry in images.table().items():
        assert {"entrypoint", "cmd", "env", "user"} == entry.keys() - {"links"}, name
        program = [*entry["entrypoint"], *entry["cmd"]][0]
        assert Path(program).exists(), name


def test_an_added_image_survives_the_next_start_and_ours_are_renewed(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main(["local", "image", "add", "shop/cart:v1", "--env", "A=b", "--", "cart", "-x"])
    entries = images.own_and_users(paths)
    assert {"entrypoint": ["cart", "-x"], "cmd": [], "env": {"A": "b"}, "user": None} == entries[
        "shop/cart:v1"
    ]
    stale = {**images.stored(paths), "prom/prometheus": {}}
    paths.images_table.write_text(json.dumps(stale))
    assert images.own_and_users(paths)["prom/prometheus"]
    capsys.readouterr()
    assert 0 == main(["local", "image", "list"])
    assert "cart -x" in capsys.readouterr().out


def test_the_program_that_a_manifest_names_is_on_path(paths: Paths) -> None:
    entry = images.table()["docker.l5d.io/buoyantio/emojivoto-web"]
    done = subprocess.run(
        ["/usr/bin/env", "-i", f"PATH={entry['env']['PATH']}", "emojivoto-vote-bot"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "WEB_HOST must be set\n" == done.stderr


def test_a_missing_proxy_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(LocalError, match="linkerd-proxy is neither at"):
        images.table()

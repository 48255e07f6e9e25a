"""Our entry in the user's kubeconfig comes and goes and leaves the rest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from linkerd.cli.local import _kubeconfig
from linkerd.errors import LocalError

OWN: dict[str, Any] = {
    "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "x", "user": {"token": "secret"}}],
    "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
}
OTHER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
    "users": [{"name": "work", "user": {}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "work"}}],
    "current-context": "work",
    "preferences": {"colors": True},
}


@pytest.mark.parametrize("before", [{}, OTHER])
def test_removing_undoes_adding(before: dict[str, Any]) -> None:
    added = _kubeconfig.merged(before, OWN, "linkerd-local")
    assert "linkerd-local" == added["current-context"]
    removed = _kubeconfig.without(added, "linkerd-local")
    for section in ("clusters", "users", "contexts"):
        assert before.get(section, []) == removed[section]
    assert before.get("current-context", "") == removed["current-context"]


def test_adding_twice_keeps_one_entry() -> None:
    once = _kubeconfig.merged(OTHER, OWN, "linkerd-local")
    assert once == _kubeconfig.merged(once, OWN, "linkerd-local")


def test_the_file_is_made_private_and_keeps_foreign_keys(tmp_path: Path) -> None:
    own, file = tmp_path / "own", tmp_path / "deep" / "config"
    own.write_text(yaml.safe_dump(OWN))
    _kubeconfig.add(file, own, "linkerd-local")
    assert 0o600 == file.stat().st_mode & 0o777
    file.write_text(yaml.safe_dump(OTHER))
    _kubeconfig.add(file, own, "linkerd-local")
    assert {"colors": True} == yaml.safe_load(file.read_text())["preferences"]
    _kubeconfig.remove(file, "linkerd-local")
    assert OTHER == yaml.safe_load(file.read_text())


def test_a_broken_file_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("{ not yaml")
    with pytest.raises(LocalError, match="cannot read kubeconfig"):
        _kubeconfig.add(file, file, "linkerd-local")
    assert "{ not yaml" == file.read_text()


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/home/a"}, "/home/a/.kube/config"),
        ({"HOME": "/home/a", "KUBECONFIG": "/x:/y"}, "/x"),
        ({"HOME": "/home/a", "KUBECONFIG": ""}, "/home/a/.kube/config"),
    ],
)
def test_the_file_is_the_one_that_kubectl_writes(environ: dict[str, str], path: str) -> None:
    assert Path(path) == _kubeconfig.users_file(environ)

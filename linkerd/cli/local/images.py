"""List the images that the local cluster can run: each name stands for a local command."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linkerd.errors import LocalError

if TYPE_CHECKING:
    from linkerd.local.paths import Paths

SUMMARY = "List the images that the local cluster can run"

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Images of tutorials that are nothing but a system with a shell.
_SYSTEMS = ("alpine", "busybox", "debian", "ubuntu")
_EMOJIVOTO = ("docker.l5d.io/buoyantio", "ghcr.io/buoyantio", "buoyantio")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a line per image: its name and its command."""
    from linkerd.cli.local._cluster import paths

    files = paths(args)
    entries = {**table(), **stored(files)}
    width = max(len(name) for name in entries)
    print(f"{'IMAGE':{width}}   COMMAND")
    for name, entry in sorted(entries.items()):
        words = [*(entry.get("entrypoint") or ()), *(entry.get("cmd") or ())]
        if entry.get("root"):
            words = ["imported:", *words]
        print(f"{name:{width}}   {shlex.join(words)}")
    return 0


#: What the proxy's binary is called where manifests name other programs.
_PROXY_NAMES = ("linkerd-await", "linkerd2-network-validator")


def table() -> dict[str, Any]:
    """Returns our own images and the demos': name → entrypoint, cmd, env, user.

    Raises:
        LocalError: `linkerd-proxy` is not installed.
    """
    environment = _environment()
    python = [sys.executable, "-m"]

    def entry(*entrypoint: str, cmd: tuple[str, ...] = ()) -> dict[str, Any]:
        return {
            "entrypoint": list(entrypoint),
            "cmd": list(cmd),
            "env": environment,
            "user": None,
        }

    proxy = proxy_binary()
    daemons = [*python, "linkerd.daemons"]
    images = {
        "cr.l5d.io/linkerd/controller": entry(*daemons),
        "cr.l5d.io/linkerd/policy-controller": entry(*daemons, "policy"),
        "cr.l5d.io/linkerd/proxy": {
            **entry(proxy),
            "links": {f"/usr/lib/linkerd/{name}": proxy for name in _PROXY_NAMES},
        },
        "cr.l5d.io/linkerd/proxy-init": entry(proxy, "init"),
        "prom/prometheus": entry(*daemons, "prometheus"),
        "hashicorp/http-echo": entry(*python, "linkerd._demo.http_echo"),
        "curlimages/curl": entry(_find("curl", "/usr/bin/curl")),
    }
    for daemon in ("metrics-api", "tap", "web"):
        images[f"cr.l5d.io/linkerd/{daemon}"] = entry(*daemons, daemon)
    for registry in _EMOJIVOTO:
        for program in ("web", "emoji-svc", "voting-svc"):
            name = f"{registry}/emojivoto-{program}"
            images[name] = entry(*python, "linkerd._demo.emojivoto", program)
    for system in _SYSTEMS:
        images[system] = entry(cmd=("/bin/sh",))
    return images


def stored(paths: Paths) -> dict[str, Any]:
    """Returns the cluster's table as it is on disk; empty before its first start.

    Raises:
        LocalError: the file cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(paths.images_table.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise LocalError(f"cannot read {paths.images_table}: {error}") from None
    return found


def write(paths: Paths, entries: dict[str, Any]) -> None:
    """Writes the cluster's table; pods that start from now on use it.

    Raises:
        LocalError: the disk refused.
    """
    fresh = paths.images_table.with_suffix(".new")
    try:
        paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_text(json.dumps(entries, indent=2))
        fresh.replace(paths.images_table)
    except OSError as error:
        raise LocalError(f"cannot write {paths.images_table}: {error.strerror}") from None


def own_and_users(paths: Paths) -> dict[str, Any]:
    """Returns the table for a start: what the user added, and ours as they are now."""
    return {**stored(paths), **table()}


def proxy_binary() -> str:
    """Returns the path of `linkerd-proxy`: beside this Python, else on PATH.

    Raises:
        LocalError: it is in neither place.
    """
    beside = os.path.join(os.path.dirname(sys.executable), "linkerd-proxy")
    found = beside if os.access(beside, os.X_OK) else _find("linkerd-proxy", "")
    if not found:
        raise LocalError(
            f"linkerd-proxy is neither at {beside} nor on PATH",
            hint="`make build` builds it; `pip install .` installs it",
        )
    return found


def _find(program: str, default: str) -> str:
    import shutil

    return shutil.which(program) or default


def _environment() -> dict[str, str]:
    package = Path(__file__).parents[2]
    # Programs that manifests start by name, then our own interpreter.
    programs = f"{package / '_demo' / 'bin'}:{os.path.dirname(sys.executable)}"
    return {
        "PATH": f"{programs}:{_SYSTEM_PATH}",
        "PYTHONPATH": str(package.parent),
        "PYTHONUNBUFFERED": "1",
        # One arena keeps a pod of many threads small.
        "MALLOC_ARENA_MAX": "2",
    }

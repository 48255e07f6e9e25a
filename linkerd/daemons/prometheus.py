"""prometheus: runs a Prometheus that has no Kubernetes discovery as if it had.

    prometheus daemon ──watch──► pods, nodes ──► <data>/discovery/*.json ──► Prometheus (child)

Takes Prometheus' own command line. The configuration is read once, rewritten to read files of
targets, and passed on; signals are passed on, and the child's end is ours. Embedded clusters use
this with Debian's Prometheus; others run the image with everything inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from linkerd import log, runtime
from linkerd.errors import SettingsError
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import NODES, PODS, Resource
from linkerd.kube.watch import Applied, Reset
from linkerd.viz import discovery

_CONFIG = "--config.file"
_DATA = "--storage.tsdb.path"
_SETTLE_S = 0.5
_STOP_S = 20.0

_log = log.logger(__name__)

Objects = dict[str, dict[str, Any]]


def main(argv: Sequence[str]) -> int:
    """Runs until a signal or until Prometheus ends; returns the exit status."""
    log.configure()
    return runtime.run(lambda stop: _serve(list(argv), stop))


async def _serve(argv: list[str], stop: asyncio.Event) -> None:
    source, data = _flag(argv, _CONFIG), _flag(argv, _DATA)
    folder = Path(data or tempfile.mkdtemp(prefix="prometheus-")) / "discovery"
    folder.mkdir(parents=True, exist_ok=True)
    kube_config = load()
    config, needed = discovery.rewritten(_read(source), str(folder), kube_config.namespace)
    for one in needed:
        _write(folder / one.file, [])
    target = folder / "prometheus.yml"
    # Paths in the file are relative to it; the original's folder is where rules lie.
    config["rule_files"] = [
        str(Path(source).parent / pattern) for pattern in config.get("rule_files") or ()
    ]
    target.write_text(yaml.safe_dump(config, sort_keys=False))
    passed = [word for word in argv if not word.startswith(_CONFIG)]
    program = shutil.which("prometheus")
    if program is None:
        raise SettingsError("prometheus is not installed", hint="apt-get install prometheus")
    child = await asyncio.create_subprocess_exec(program, f"{_CONFIG}={target}", *passed)
    try:
        async with KubeClient(kube_config) as kube, asyncio.TaskGroup() as group:
            tasks = [group.create_task(_discover(kube, needed, folder))] if needed else []
            ended = group.create_task(child.wait())
            stopped = group.create_task(stop.wait())
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, ended, stopped):
                task.cancel()
    finally:
        await _end(child)
    if not stop.is_set():
        raise SettingsError(f"prometheus ended with status {child.returncode}")


async def _end(child: asyncio.subprocess.Process) -> None:
    """Asks Prometheus to close its database, and insists after a while."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def _discover(kube: KubeClient, needed: Sequence[discovery.Discovery], folder: Path) -> None:
    """Keeps the files of targets current; changes within half a second are written at once."""
    pods: Objects = {}
    nodes: Objects = {}
    changed = asyncio.Event()
    roles = {one.role for one in needed}
    async with asyncio.TaskGroup() as group:
        if "pod" in roles:
            group.create_task(_follow(kube, PODS, pods, changed))
        if "node" in roles:
            group.create_task(_follow(kube, NODES, nodes, changed))
        while True:
            await changed.wait()
            changed.clear()
            for one in needed:
                _write(folder / one.file, discovery.targets(one, pods.values(), nodes.values()))
            await asyncio.sleep(_SETTLE_S)


async def _follow(
    kube: KubeClient, resource: Resource, objects: Objects, changed: asyncio.Event
) -> None:
    async for event in kube.watch(resource):
        if isinstance(event, Reset):
            objects.clear()
            objects.update((_key(obj), obj) for obj in event.objects)
        elif isinstance(event, Applied):
            objects[_key(event.object)] = event.object
        else:
            objects.pop(_key(event.object), None)
        changed.set()


def _key(obj: dict[str, Any]) -> str:
    meta = obj["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def _write(path: Path, groups: list[discovery.Group]) -> None:
    """Replaces the file in one step; Prometheus reads it when it changes."""
    text = json.dumps(groups)
    if path.exists() and path.read_text() == text:
        return
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text)
    os.replace(fresh, path)
    _log.debug("targets written", file=path.name, groups=len(groups))


def _flag(argv: Sequence[str], flag: str) -> str:
    """The value of `--flag=value` or `--flag value`; empty without it."""
    for place, word in enumerate(argv):
        if word.startswith(flag + "="):
            return word.partition("=")[2]
        if word == flag and place + 1 < len(argv):
            return argv[place + 1]
    return ""


def _read(path: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read {path or _CONFIG}: {error}") from None
    if not isinstance(config, dict):
        raise SettingsError(f"{path}: not a configuration of Prometheus")
    return config

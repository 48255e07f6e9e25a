"""Show what runs of the local cluster; exit code 1 when nothing does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Show what runs of the local cluster"

_ANSWER_S = 3.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints its address, files and processes."""
    from linkerd.cli.local import _cluster, _tables
    from linkerd.local import supervisor

    paths = _cluster.paths(args)
    status = supervisor.status(paths)
    if not status.running:
        print(f"local cluster {args.cluster!r} is not running")
        return 1
    print(f"local cluster {args.cluster!r} runs at https://127.0.0.1:{status.port}")
    print(f"kubeconfig: {paths.kubeconfig} (context {_cluster.context(args)})")
    print(f"logs: {paths.logs}")
    for note in status.notes:
        print(f"note: {note}")
    print()
    rows = [
        [
            name,
            str(pid),
            f"{supervisor.resident_kib(pid) / 1024:.0f} MB",
            _restarts(supervisor.restarts(paths, name)),
        ]
        for name, pid in sorted(status.processes.items())
    ]
    print(_tables.aligned([["PROCESS", "PID", "MEMORY", "RESTARTS"], *rows]), end="")
    print(f"\n{_pods(args)}")
    return 0


def _restarts(record: str) -> str:
    count, _, rest = record.partition(" ")
    when, _, code = rest.rpartition(" ")
    return f"{count} (last {when}, exit code {code})" if count else "0"


def _pods(args: argparse.Namespace) -> str:
    """Says how the pods are, or that the API does not answer."""
    import asyncio

    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster
    from linkerd.errors import LinkerdError
    from linkerd.kube.resources import PODS

    async def main(kube: KubeClient) -> str:
        async with asyncio.timeout(_ANSWER_S):
            pods = await kube.list(PODS)
        done = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Succeeded"]
        bad = [pod for pod in pods if pod not in done and not _ready(pod)]
        names = (f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in bad)
        text = f"{len(pods)} pods, {len(pods) - len(done) - len(bad)} ready, {len(done)} completed"
        return text + "".join(f"\nnot ready: {name}" for name in names)

    try:
        return _connect.run(_cluster.config(args), main)
    except (LinkerdError, TimeoutError) as error:
        return f"the API does not answer: {getattr(error, 'message', 'timed out')}"


def _ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

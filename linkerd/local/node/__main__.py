"""`python -m linkerd.local.node --state DIR [--outside-fd N]`, in the node's network namespace."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from linkerd import log, runtime
from linkerd.errors import LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.local.node.kubelet import Kubelet
from linkerd.local.node.outside import Outside
from linkerd.local.paths import Paths
from linkerd.settings import parse, setting, usage


@dataclass(frozen=True)
class Settings:
    """How the node is started."""

    state: str = setting("", "folder of the cluster's state (required)")
    outside_fd: int = setting(-1, "inherited descriptor of the host's network, see node.outside")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "form of log lines", choices=log.FORMATS)


def main(argv: list[str]) -> int:
    """Runs the node; returns the exit code."""
    if {"-h", "--help"} & set(argv):
        print(usage(Settings, "python -m linkerd.local.node"))
        return 0
    try:
        settings = parse(Settings, argv)
    except LinkerdError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    if not settings.state:
        print("error: --state is required", file=sys.stderr)
        return 2
    log.configure(settings.log_level, settings.log_format)
    paths = Paths(Path(settings.state).absolute())
    outside = Outside(settings.outside_fd) if settings.outside_fd >= 0 else None

    async def run(stop: asyncio.Event) -> None:
        async with KubeClient(load(str(paths.component_kubeconfig("node")))) as kube:
            await Kubelet(paths, kube, outside).run(stop)

    return runtime.run(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

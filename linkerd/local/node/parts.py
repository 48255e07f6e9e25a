"""What the node has once and its pods share."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linkerd.kube.client import KubeClient
from linkerd.local.node import host
from linkerd.local.node.addresses import Addresses
from linkerd.local.node.cluster import Cluster
from linkerd.local.node.events import Recorder
from linkerd.local.node.images import ImageTable
from linkerd.local.node.zygote_client import Listing, ZygoteClient
from linkerd.local.paths import NODE_NAME, Paths

Object = dict[str, Any]


class Parts:
    """The parts of a node that workers, volumes and requests reach for.

    Attributes:
        exits: By the id of a container, who is told of its end.
        join: By the id of a container, what the zygote needs to run a command inside.
    """

    def __init__(
        self,
        paths: Paths,
        kube: KubeClient,
        *,
        changed: Callable[[str, str, str], None],
        listed: Callable[[Listing], None],
        exited: Callable[[Object], None],
    ) -> None:
        self.paths = paths
        self.kube = kube
        self.recorder = Recorder(kube, "kubelet", NODE_NAME)
        self.images = ImageTable(paths.images_table)
        self.cluster = Cluster(changed)
        self.addresses = Addresses()
        self.capacity = host.capacity()
        self.hostname = socket.gethostname()
        self.host_resolv = read("/etc/resolv.conf")
        self.view = host.view(read("/proc/self/mountinfo"), host.needed_paths())
        self.exits: dict[str, Callable[[Object], None]] = {}
        self.join: dict[str, Object] = {}
        self.zygote = ZygoteClient(str(paths.state / "node" / "zygote.sock"), listed, exited)


def read(path: str) -> str:
    """Returns the text of a file of the machine, nothing when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

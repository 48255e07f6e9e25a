"""Waiting for the control plane: what is made before it runs gets no proxy, and says nothing.

Source: linkerd2 cli/cmd/inject.go, viz/cmd/install.go (what is waited for, text).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from linkerd.check import cluster
from linkerd.errors import CheckFailed

_RETRY_S = 1.0


async def wait(mesh: cluster.Mesh, components: Iterable[str], wait_s: float) -> None:
    """Returns when each component has a ready pod; says once on stderr that it waits.

    Raises:
        CheckFailed: one has none after `wait_s` seconds.
        KubeError: the pods cannot be listed.
    """
    wanted = tuple(components)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    told = False
    while True:
        try:
            cluster.require_components(await mesh.control_plane_pods(), wanted)
            return
        except CheckFailed as error:
            if loop.time() >= deadline:
                raise
            why = error.message.split("\n")[0]
        if not told:
            print(f"Waiting for control plane to become available: {why}", file=sys.stderr)
            told = True
        await asyncio.sleep(_RETRY_S)

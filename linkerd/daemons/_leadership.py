"""A process's part in the election of the one that writes something.

The lease belongs to the Deployment of the control plane, so that it goes when that goes.
Source: linkerd2 policy-controller/runtime/src/lease.rs, controller/cmd/destination/main.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from linkerd.errors import LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.leases import Election
from linkerd.kube.resources import DEPLOYMENTS


class Leadership:
    """Takes part in an election while `run` runs.

    Args:
        kube: The cluster.
        lease: Its name.
        namespace: The control plane's.
        deployment: Owner of the lease.
    """

    def __init__(self, kube: KubeClient, lease: str, namespace: str, deployment: str) -> None:
        self._kube, self._lease = kube, lease
        self._namespace, self._deployment = namespace, deployment
        self._election: Election | None = None

    @property
    def leads(self) -> bool:
        """Whether this process holds the lease."""
        return self._election is not None and self._election.leader

    async def run(self, won: Callable[[], None]) -> None:
        """Takes part, for ever; calls `won` each time the lease is taken."""
        async with Election(
            self._kube,
            self._lease,
            self._namespace,
            os.environ.get("HOSTNAME") or socket.gethostname(),
            metadata={
                "labels": {
                    "linkerd.io/control-plane-component": "destination",
                    "linkerd.io/control-plane-ns": self._namespace,
                },
                **await self._owner(),
            },
            on_change=lambda leads: won() if leads else None,
        ) as self._election:
            await asyncio.Event().wait()

    async def _owner(self) -> dict[str, Any]:
        with contextlib.suppress(LinkerdError):
            owner = await self._kube.get_or_none(DEPLOYMENTS, self._deployment, self._namespace)
            if owner is not None:
                reference = {
                    "apiVersion": DEPLOYMENTS.api_version,
                    "kind": DEPLOYMENTS.kind,
                    "name": self._deployment,
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
                return {"ownerReferences": [reference]}
        return {}

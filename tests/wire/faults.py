"""A Kubernetes API that misbehaves by a seed: what watches and lists meet in bad weather."""

from __future__ import annotations

import asyncio
import json
from random import Random

from tests.wire.api import Api, Object

_SHARE = 0.3
"""How many deliveries of a watch are faulty."""


class FaultyApi(Api):
    """Duplicates, swaps, truncates and drops events, sends 410s, refuses; until `calm` is set."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.calm = False
        self.faults: dict[str, int] = {}
        self.lists = 0

    def refuse(self, method: str) -> int:
        if not self.calm and self.random.random() < _SHARE / 2:
            return self._noted(self.random.choice((429, 500, 503)), "refused")
        self.lists += method == "GET"
        return 0

    def deliver(self, writer: asyncio.StreamWriter, events: list[Object]) -> bool:
        if self.calm or self.random.random() > _SHARE:
            return super().deliver(writer, events)
        kind = self.random.choice(
            ("duplicates", "swaps", "truncates", "drops", "gone", "nonsense", "bookmarks", "breaks")
        )
        self._noted(0, kind)
        if kind == "duplicates":
            return super().deliver(writer, [*events, *events[-1:]])
        if kind == "swaps":
            return super().deliver(writer, events[::-1])
        if kind == "bookmarks":
            version = {"metadata": {"resourceVersion": str(self.version)}}
            return super().deliver(writer, [*events, {"type": "BOOKMARK", "object": version}])
        if kind == "gone":
            # The events are lost: only a new list can tell them.
            error = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
            return super().deliver(writer, [error])
        if kind == "truncates":
            whole = b"".join(json.dumps(event).encode() + b"\n" for event in events)
            piece = whole[: self.random.randrange(len(whole) + 1)]
            if piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        elif kind == "nonsense":
            writer.write(b'b\r\n{"type": 1}\r\n\r\n')
        elif kind == "breaks":
            writer.write(b"ffffffffffff\r\n")
        writer.transport.abort() if kind == "drops" else writer.close()
        return False

    async def partition(self) -> None:
        """Is out of reach for a moment."""
        self._noted(0, "partitions")
        await self.stop()
        await asyncio.sleep(0.05)
        await self.start()

    def _noted(self, status: int, kind: str) -> int:
        self.faults[kind] = self.faults.get(kind, 0) + 1
        return status

"""R31: whoever is cut off or goes, there is never more than one leader, and soon there is one.

Not covered: what leaders write (`test_recovery.py`), clocks that disagree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from linkerd.errors import Unavailable
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.kube.leases import Election, Terms
from tests.wire.api import Api, serving

TERMS = Terms(duration_s=0.4, renew_s=0.1, retry_s=0.02)
ROUNDS = 12
WAIT_S = 40.0


class Line(KubeClient):
    """A client whose line to the API server can be cut."""

    cut = False

    async def request(self, *words: Any, **more: Any) -> Any:
        if self.cut:
            raise Unavailable("the line is cut")
        return await super().request(*words, **more)


class Candidate:
    """One replica, which notes whether somebody led when it began to."""

    def __init__(self, name: str, line: Line, all_of_them: list[Candidate], terms: Terms) -> None:
        self.name, self.line, self._all = name, line, all_of_them
        self.clashes: list[str] = []
        self.election = Election(line, "writer", "ns", name, terms=terms, on_change=self._changed)

    @property
    def leads(self) -> bool:
        return self.election.leader

    def _changed(self, leads: bool) -> None:
        if leads:
            others = [one.name for one in self._all if one is not self and one.leads]
            self.clashes += others


@contextlib.asynccontextmanager
async def candidates(api: Api, count: int, terms: Terms = TERMS) -> AsyncIterator[list[Candidate]]:
    async with contextlib.AsyncExitStack() as stack:
        found: list[Candidate] = []
        for number in range(count):
            line = await stack.enter_async_context(Line(KubeConfig(f"http://127.0.0.1:{api.port}")))
            found.append(Candidate(f"replica-{number}", line, found, terms))
        for one in found:
            await stack.enter_async_context(one.election)
        yield found


async def leader(of: list[Candidate], *, other_than: Candidate | None = None) -> Candidate:
    async with asyncio.timeout(WAIT_S):
        while True:
            found = [one for one in of if one.leads]
            assert len(found) <= 1, [one.name for one in found]
            if found and found[0] is not other_than:
                return found[0]
            await asyncio.sleep(0.005)


async def test_a_leader_that_is_cut_off_stops_before_the_next_begins() -> None:
    async with serving() as api, candidates(api, 3) as replicas:
        current = await leader(replicas)
        for _ in range(ROUNDS):
            current.line.cut = True
            following = await leader(replicas, other_than=current)
            current.line.cut = False
            current = following
        assert [[], [], []] == [one.clashes for one in replicas]


async def test_a_leader_that_goes_hands_over_at_once() -> None:
    # A claim that would outlast this test: only what is given up is taken over.
    terms = Terms(duration_s=600.0, renew_s=200.0, retry_s=0.02)
    async with serving() as api, candidates(api, 2, terms) as replicas:
        first = await leader(replicas)
        await first.election.__aexit__(None, None, None)
        lease = next(item for key, item in api.objects.items() if key[0] == "leases")
        assert first.name != lease["spec"]["holderIdentity"]
        assert first is not await leader(replicas, other_than=first)

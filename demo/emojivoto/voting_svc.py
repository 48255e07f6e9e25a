"""voting-svc: counts votes, and fails for the doughnut.

Image v11 fails every vote for the doughnut; `FAILURE_RATE`, when set, is the share that fails.
Votes live in memory and are lost on restart.
Source: BuoyantIO/emojivoto emojivoto-voting-svc (behaviour).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from . import emoji, rpc, settings
from .gen import emojivoto_pb2 as pb

_FAILING = ":doughnut:"


def methods(
    metrics: rpc.Metrics, failure_rate: float = 1.0, delay_s: float = 0.0
) -> dict[str, rpc.Method]:
    """Returns the methods of `emojivoto.v1.VotingService` over an empty ballot.

    Args:
        metrics: Counts the votes.
        failure_rate: Share of the doughnut's votes that fail, 0..1.
        delay_s: How long each vote takes.
    """
    votes: Counter[str] = Counter()

    def vote_for(shortcode: str) -> Callable[[pb.VoteRequest], Awaitable[pb.VoteResponse]]:
        async def vote(_: pb.VoteRequest) -> pb.VoteResponse:
            if delay_s:
                await asyncio.sleep(delay_s)
            if shortcode == _FAILING and random.random() < failure_rate:
                raise rpc.Failure("ERROR")
            votes[shortcode] += 1
            metrics.votes[shortcode] += 1
            return pb.VoteResponse()

        return vote

    async def results(_: pb.ResultsRequest) -> pb.ResultsResponse:
        ranked = [pb.VotingResult(Shortcode=code, Votes=n) for code, n in votes.most_common()]
        return pb.ResultsResponse(results=ranked)

    table: dict[str, rpc.Method] = {
        name: (pb.VoteRequest, vote_for(shortcode)) for shortcode, name in emoji.RPC.items()
    }
    return table | {"Results": (pb.ResultsRequest, results)}


async def main() -> None:
    """Serves on `GRPC_PORT`, metrics on `PROM_PORT`."""
    grpc_port, prom_port = settings.port("GRPC_PORT"), settings.port("PROM_PORT", 8801)
    metrics = rpc.Metrics()
    table = methods(
        metrics, settings.number("FAILURE_RATE", 1.0), settings.duration_s("ARTIFICIAL_DELAY")
    )
    await rpc.serve("VotingService", table, metrics, grpc_port, prom_port)

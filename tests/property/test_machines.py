"""Indices as state machines: long lives of a cluster, with readers of every pace.

A few short lives in each run; `make test-deep` goes ten thousand steps in lives of two hundred.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from linkerd.index.cluster import Cluster, EndpointsKey
from linkerd.index.inbound import Inbound, InboundSettings
from linkerd.index.outbound import OutboundIndex, OutboundSettings
from linkerd.index.workloads import MeshSettings
from linkerd.model.endpoints import EndpointSet
from linkerd.translate.destination import Params, updates
from tests.property.test_indices import (
    DESTINATION,
    ENDPOINTS,
    INBOUND,
    OUTBOUND,
    PORTS,
    PROFILES,
    TARGETS,
    answered,
    client,
    told,
)

STEPS = int(os.environ.get("MACHINE_STEPS", "500"))
LIFE = 50 if STEPS <= 500 else 200
"""Steps of one life; a generated case has no entropy for many more."""


class Reader:
    """A stream: what it saw last, and its client's view."""

    def __init__(self, key: EndpointsKey) -> None:
        self.key = key
        self.seen: EndpointSet | None = None
        self.view: dict[tuple[str, int], bytes] = {}

    def read(self, index: Cluster) -> None:
        now, _ = index.endpoints(self.key)
        client(self.view, updates(self.seen, now, Params()))
        self.seen = now
        assert told(now) == self.view


def machine(
    kinds: dict[str, st.SearchStrategy[Any]],
    make: Callable[[], Any],
    questions: Callable[[Any], list[tuple[Callable[[Any], Any], list[Any]]]],
    readers: list[EndpointsKey],
) -> type[RuleBasedStateMachine]:
    """Returns a machine over one index.

    Args:
        kinds: Names of kinds → objects.
        make: Makes an empty index.
        questions: Index → (method, keys) pairs whose answers must not depend on history.
        readers: Keys that readers follow.
    """
    chosen = st.one_of(
        *(st.tuples(st.just(kind), objects_of) for kind, objects_of in kinds.items())
    )
    lists = st.one_of(
        *(
            st.tuples(st.just(kind), st.lists(objects_of, max_size=3))
            for kind, objects_of in kinds.items()
        )
    )

    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.index = make()
            self.objects: dict[tuple[str, tuple[str, str]], Any] = {}
            self.readers = [Reader(key) for key in readers]

        @rule(what=chosen)
        def apply(self, what: tuple[str, Any]) -> None:
            kind, item = what
            self.index.apply(kind, item)
            self.objects[kind, item.metadata.key] = item

        @rule(what=chosen)
        def apply_twice(self, what: tuple[str, Any]) -> None:
            self.apply(what)
            before = [self._answers(self.index)]
            self.index.apply(*what)
            assert before == [self._answers(self.index)]

        @rule(what=chosen)
        def delete(self, what: tuple[str, Any]) -> None:
            kind, item = what
            self.index.delete(kind, item)
            self.objects.pop((kind, item.metadata.key), None)

        @rule(what=lists)
        def reset(self, what: tuple[str, list[Any]]) -> None:
            kind, items = what
            self.index.reset(kind, items)
            self.objects = {key: value for key, value in self.objects.items() if key[0] != kind}
            self.objects |= {(kind, each.metadata.key): each for each in items}

        @rule(number=st.integers(0, max(0, len(readers) - 1)))
        def read(self, number: int) -> None:
            for reader in self.readers[number : number + 1]:
                reader.read(self.index)

        @rule(order=st.randoms(use_true_random=False))
        def compare_with_scratch(self, order: Any) -> None:
            scratch = make()
            pairs = sorted(self.objects.items(), key=lambda pair: pair[0])
            order.shuffle(pairs)
            for (kind, _), item in pairs:
                scratch.apply(kind, item)
            assert self._answers(scratch) == self._answers(self.index)

        @invariant()
        def holds_what_there_is(self) -> None:
            for reader in self.readers:
                assert reader.seen is None or told(reader.seen) == reader.view

        def teardown(self) -> None:
            for reader in self.readers:
                reader.read(self.index)

        def _answers(self, index: Any) -> list[Any]:
            return [answered(ask, key) for ask, keys in questions(index) for key in keys]

    return Life


_SETTINGS = settings(
    max_examples=STEPS // LIFE, stateful_step_count=LIFE, deadline=None, print_blob=True
)

TestDestination = machine(
    DESTINATION,
    lambda: Cluster(MeshSettings()),
    lambda index: [(index.endpoints, ENDPOINTS), (index.profile, PROFILES)],
    ENDPOINTS[:8],
).TestCase
TestDestination.settings = _SETTINGS

TestInbound = machine(
    INBOUND, lambda: Inbound(InboundSettings()), lambda index: [(index.server, PORTS)], []
).TestCase
TestInbound.settings = _SETTINGS

TestOutbound = machine(
    OUTBOUND,
    lambda: OutboundIndex(OutboundSettings()),
    lambda index: [(index.target, TARGETS)],
    [],
).TestCase
TestOutbound.settings = _SETTINGS

"""Services and endpoints → NAT table → nf_tables batches: incremental equals from scratch."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from linkerd.local.node import nat, services
from linkerd.local.node.nat import Backends, Frontend
from linkerd.local.node.nftables import Batch
from tests.unit.local.node.builders import a_service, a_slice, an_endpoint

WEB = Frontend("10.96.0.7", "TCP", 80)
ENDING = {"ready": False, "serving": True, "terminating": True}


def table(found: list[Any], slices: list[Any]) -> dict[Frontend, Backends]:
    return services.table(found, slices, node_ip="10.244.0.1", own=("10.96.0.10",))


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([], ()),
        ([an_endpoint("10.244.0.5")], (("10.244.0.5", 8080),)),
        (
            [an_endpoint("10.244.0.6"), an_endpoint("10.244.0.5")],
            (("10.244.0.5", 8080), ("10.244.0.6", 8080)),
        ),
        ([an_endpoint("10.244.0.5", ready=False)], ()),
        ([an_endpoint("10.244.0.5", conditions=ENDING)], (("10.244.0.5", 8080),)),
        (
            [an_endpoint("10.244.0.5", conditions=ENDING), an_endpoint("10.244.0.6")],
            (("10.244.0.6", 8080),),
        ),
    ],
    ids=["none", "one", "sorted", "unready", "ending when nothing else", "ready before ending"],
)
def test_ready_endpoints_are_used(endpoints: list[Any], expected: tuple[Any, ...]) -> None:
    assert {WEB: Backends(expected)} == table([a_service()], [a_slice(*endpoints)])


def test_node_ports_affinity_and_what_the_node_answers_itself() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    found = table(
        [
            a_service(ports=ports, sessionAffinity="ClientIP"),
            a_service("dns", "10.96.0.10"),
            a_service("headless", "None"),
        ],
        [a_slice(an_endpoint("10.244.0.5"))],
    )
    backends = Backends((("10.244.0.5", 8080),), affinity=True)
    assert {WEB: backends, Frontend("10.244.0.1", "TCP", 30080): backends} == found


class Kernel:
    """Plays batches back: which chains, sets and elements there are."""

    def __init__(self) -> None:
        self.chains: set[bytes] = set()
        self.elements: dict[bytes, set[bytes]] = {}
        self.rules: dict[bytes, int] = {}

    def play(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            length, kind, _, _, _ = struct.unpack_from("=IHHII", data, at)
            fields = dict(_attributes(data[at + 20 : at + length]))
            self._apply(kind & 0xFF if kind > 0x20 else -1, fields)
            at += length

    def _apply(self, kind: int, fields: dict[int, bytes]) -> None:
        match kind:
            case 2:
                self.__init__()  # type: ignore[misc]
            case 3:
                assert fields[3] not in self.chains
                self.chains.add(fields[3])
            case 5:
                assert not self.rules.get(fields[3])
                self.chains.remove(fields[3])
            case 6:
                assert fields[2] in self.chains
                self.rules[fields[2]] = self.rules.get(fields[2], 0) + 1
            case 8:
                self.rules[fields[2]] = 0
            case 9:
                self.elements[fields[2]] = set()
            case 12 | 14:
                keys = {dict(_attributes(e))[1][4:] for _, e in _attributes(fields[3])}
                held = self.elements[fields[2]]
                if kind == 12:
                    assert not keys & held
                    held |= keys
                else:
                    assert keys <= held
                    held -= keys

    def named(self) -> Any:
        sets = {k: v for k, v in self.elements.items() if not k.startswith(b"__map")}
        return self.chains, sets, {k: v for k, v in self.rules.items() if v}


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found.append((kind & 0x3FFF, data[at + 4 : at + length]))
        at += (length + 3) & ~3
    return found


def test_any_sequence_of_changes_leaves_the_rules_that_the_last_table_alone_would() -> None:
    draw = random.Random(7)
    kernel, current, sequence = Kernel(), None, 1
    for _ in range(200):
        wanted = {
            Frontend(f"10.96.0.{n}", "TCP", 80): Backends(
                tuple((f"10.244.0.{i}", 80) for i in range(draw.randrange(4)))
            )
            for n in draw.sample(range(8), draw.randrange(8))
        }
        batch = Batch(nat.TABLE, sequence)
        nat.plan(batch, current, wanted)
        data, _, sequence = batch.finish()
        kernel.play(data)
        current = wanted
        scratch = Kernel()
        batch = Batch(nat.TABLE, 1)
        nat.plan(batch, None, wanted)
        scratch.play(batch.finish()[0])
        assert scratch.named() == kernel.named()


def test_an_unchanged_table_needs_no_message() -> None:
    wanted = {WEB: Backends((("10.244.0.5", 80),))}
    batch = Batch(nat.TABLE, 1)
    nat.plan(batch, wanted, dict(wanted))
    assert 0 == len(batch)

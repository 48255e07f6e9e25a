"""Addresses, probes' verdicts, and what containers see of the host."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from linkerd.errors import LocalError, WireError
from linkerd.local.node import host, probes, request
from linkerd.local.node.addresses import Addresses


def test_addresses_are_not_used_again_at_once() -> None:
    addresses = Addresses("10.0.0.0/29")
    taken = [addresses.take()[0] for _ in range(4)]
    assert ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"] == taken
    addresses.give("10.0.0.2")
    assert "10.0.0.6" == addresses.take()[0]
    assert "10.0.0.2" == addresses.take()[0]
    with pytest.raises(LocalError, match="are in use"):
        addresses.take()


def test_reserved_addresses_are_passed_over() -> None:
    addresses = Addresses("10.0.0.0/29")
    addresses.reserve("10.0.0.3")
    assert ["10.0.0.4", "10.0.0.5"] == [addresses.take()[0] for _ in range(2)]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("+", [True]),
        ("---", [None, None, False]),
        ("--+---", [None, None, True, None, None, False]),
    ],
)
def test_a_verdict_takes_its_thresholds(results: str, expected: list[bool | None]) -> None:
    verdict = probes.Verdict(success_threshold=1, failure_threshold=3)
    assert expected == [verdict.take(result == "+") for result in results]


async def test_a_probe_that_has_not_succeeded_yet_is_repeated_before_its_period() -> None:
    results = iter([False, False, True])
    reported: list[bool] = []

    async def check() -> probes.Outcome:
        return probes.Outcome(next(results), "not yet")

    failures: list[str] = []
    done = asyncio.Event()

    def report(ok: bool, _: str) -> None:
        reported.append(ok)
        done.set()

    probe = {"periodSeconds": 60, "failureThreshold": 3}
    follow = asyncio.ensure_future(probes.follow(probe, check, report, failures.append, eager=True))
    async with asyncio.timeout(60):
        await done.wait()
    follow.cancel()
    assert ([True], ["not yet"]) == (reported, failures)


async def _serve(answer: bytes) -> tuple[asyncio.Server, int]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    started = await asyncio.start_server(accept, "127.0.0.1", 0)
    return started, started.sockets[0].getsockname()[1]


async def _never(command: list[str], timeout_s: float) -> tuple[int, str]:
    raise AssertionError(f"{command} {timeout_s}")


@pytest.mark.parametrize(
    ("status", "ok", "why"),
    [
        (200, True, ""),
        (302, True, ""),
        (503, False, "HTTP probe failed with statuscode: 503"),
    ],
)
async def test_http_probes(status: int, ok: bool, why: str) -> None:
    started, port = await _serve(b"HTTP/1.1 %d X\r\n\r\n" % status)
    probe = {"httpGet": {"port": "web", "path": "/ready"}}
    async with started:
        found = await probes.check(probe, "127.0.0.1", {"web": port}, _never)
    assert probes.Outcome(ok, why) == found


async def test_a_refused_connection_fails_a_probe_with_its_reason() -> None:
    started, port = await _serve(b"")
    started.close()
    await started.wait_closed()
    found = await probes.check({"tcpSocket": {"port": port}}, "127.0.0.1", {}, _never)
    assert probes.Outcome(False, "dial tcp 127.0.0.1: connect: connection refused") == found


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
24 22 8:2 / /home rw - ext4 /dev/vdb rw
25 22 0:22 / /dev/shm rw - tmpfs tmpfs rw
26 22 8:3 /x /etc/hosts rw - ext4 /dev/vda rw
27 22 8:4 / /mnt/my\\040disk rw - xfs /dev/vdc rw
"""


def test_other_file_systems_and_what_lies_in_private_folders_are_shown_to_containers() -> None:
    found = host.view(MOUNTS, ["/usr/lib/python", "/tmp/venv"])
    assert ("/home", "/mnt/my disk", "/tmp/venv") == found.through


def test_folders_that_only_their_owner_may_enter_are_found_along_links(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "bin" / "tool").touch()
    link = tmp_path / "link"
    link.symlink_to(closed / "bin" / "tool")
    closed.chmod(0o700)
    assert str(closed) in host.closed_folders([str(link)])


def test_a_request_head_is_parsed() -> None:
    raw = b"GET /exec/ns/pod/c?command=sh&command=-c&tty=1 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    found = request.parse(raw)
    assert ("/exec/ns/pod/c", ["sh", "-c"]) == (found.path, found.query["command"])
    assert ("websocket", True, False) == (
        found.headers["upgrade"],
        found.flag("tty"),
        found.flag("stdin", "input"),
    )


@pytest.mark.parametrize("raw", [b"", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nbroken\r\n\r\n"])
def test_a_head_that_is_no_http_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        request.parse(raw)

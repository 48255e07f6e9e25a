"""Daemons in bad weather: what their streams say in the end is what the API says (R07, R08, R17, R31).

Real processes against an API that misbehaves; nothing stale is served after it recovered, and the one
that writes statuses hands over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from linkerd.gen import destination_pb2 as pb
from linkerd.gen import destination_pb2_grpc
from linkerd.translate.net import ip_text
from tests.ports import free_port
from tests.wire.api import Api, serving
from tests.wire.faults import FaultyApi

pytestmark = pytest.mark.timeout(120)

WAIT_S = 60.0


@contextlib.asynccontextmanager
async def a_daemon(
    api: Api, folder: Path, name: str, *flags: str, host: str = "one"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a daemon against the API."""
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}],
                "users": [{"name": "x", "user": {"token": "t"}}],
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "linkerd.daemons", name, "--kubeconfig", str(config), *flags),
        env={**os.environ, "HOSTNAME": host},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class View:
    """What a stream of `Get` has told."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.changed = asyncio.Event()

    async def follow(self, port: int) -> None:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        async with channel:
            await channel.channel_ready()
            stub = destination_pb2_grpc.DestinationStub(channel)
            call: Any = stub.Get(pb.GetDestination(path="web.ns.svc.cluster.local:80"))
            async for update in call:
                self.apply(update)
                self.changed.set()

    def apply(self, update: pb.Update) -> None:
        match update.WhichOneof("update"):
            case "add":
                self.known |= {ip_text(each.addr.ip) for each in update.add.addrs}
            case "remove":
                self.known -= {ip_text(each.ip) for each in update.remove.addrs}
            case "no_endpoints":
                self.known.clear()

    async def until(self, wanted: set[str]) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.known != wanted:
                self.changed.clear()
                await self.changed.wait()


def a_service(api: Api) -> None:
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}
    api.apply("services", {"metadata": {"name": "web", "namespace": "ns"}, "spec": spec})


def members(api: Api, count: int, first: int = 0) -> set[str]:
    """Puts pods behind the service; returns their addresses."""
    ips = [f"10.244.{n >> 8}.{n & 255}" for n in range(first, first + count)]
    for ip in ips:
        api.apply(
            "pods",
            {
                "metadata": {"name": f"pod-{ip}", "namespace": "ns"},
                "status": {"phase": "Running", "podIP": ip},
            },
        )
    targets = [
        {
            "addresses": [ip],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": f"pod-{ip}", "namespace": "ns"},
        }
        for ip in ips
    ]
    api.apply(
        "endpointslices",
        {
            "metadata": {
                "name": "web-1",
                "namespace": "ns",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": targets,
        },
    )
    return set(ips)


@contextlib.asynccontextmanager
async def viewed(api: Api, folder: Path) -> AsyncIterator[View]:
    port, admin = free_port(), free_port()
    flags = (f"-addr=127.0.0.1:{port}", f"-metrics-addr=127.0.0.1:{admin}")
    async with a_daemon(api, folder, "destination", *flags):
        view = View()
        task = asyncio.create_task(view.follow(port))
        try:
            yield view
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("seed", range(2))
async def test_streams_end_up_with_the_truth(tmp_path: Path, seed: int) -> None:
    api = FaultyApi(seed)
    await api.start()
    a_service(api)
    try:
        async with viewed(api, tmp_path) as view:
            for step in range(60):
                members(api, api.random.randrange(1, 6), api.random.randrange(8))
                if step % 25 == 24:
                    await api.partition()
                if step % 20 == 19:
                    api.forget_history()
                await asyncio.sleep(0.02)
            api.calm = True
            await view.until(members(api, 3, 20))
    finally:
        await api.stop()


async def test_an_outage_serves_what_was_known_and_nothing_stale_after_it(tmp_path: Path) -> None:
    """R07: 30 % of the endpoints are replaced while nobody can tell."""
    async with serving() as api:
        a_service(api)
        async with viewed(api, tmp_path) as view:
            before = members(api, 10)
            await view.until(before)
            await api.stop()
            after = members(api, 10, 3)
            api.forget_history()
            await asyncio.sleep(0.2)
            assert before == view.known
            await api.start()
            await view.until(after)


async def test_a_daemon_that_starts_during_an_outage_waits_for_the_truth(tmp_path: Path) -> None:
    """An answer from an empty index would take traffic away: none is given before the lists."""
    async with serving() as api:
        a_service(api)
        wanted = members(api, 3)
        await api.stop()
        async with viewed(api, tmp_path) as view:
            await asyncio.sleep(0.5)
            assert not view.known
            await api.start()
            await view.until(wanted)


def a_route(name: str) -> dict[str, Any]:
    parent = {"group": "core", "kind": "Service", "name": "web", "port": 80}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "ns", "generation": 1},
        "spec": {"parentRefs": [parent], "rules": [{}]},
    }


def status_writes(api: Api, name: str) -> int:
    return sum(
        method == "PATCH" and f"/httproutes/{name}/status" in target
        for method, target, _, _ in api.requests
    )


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  (the other side is a process)
            await asyncio.sleep(0.02)


async def test_the_writer_of_statuses_hands_over(tmp_path: Path) -> None:
    """R31: one writes, without flapping; when it goes, the other goes on."""
    async with serving() as api, contextlib.AsyncExitStack() as stack:
        api.absent.add("policy.linkerd.io")
        a_service(api)
        replicas = []
        for host in ("one", "two"):
            flags = (
                "--admission-controller-disabled=true",
                f"--grpc-addr=127.0.0.1:{free_port()}",
                f"--admin-addr=127.0.0.1:{free_port()}",
            )
            daemon = a_daemon(api, tmp_path, "policy", *flags, host=host)
            replicas.append(await stack.enter_async_context(daemon))
            await until(lambda: any(key[0] == "leases" for key in api.objects))
        for number in range(5):
            api.apply("httproutes", a_route(f"early-{number}"))
        await until(lambda: all(status_writes(api, f"early-{n}") for n in range(5)))
        assert "one" == holder(api)
        replicas[0].send_signal(signal.SIGTERM)
        await replicas[0].wait()
        for number in range(5):
            api.apply("httproutes", a_route(f"late-{number}"))
        await until(lambda: all(status_writes(api, f"late-{n}") for n in range(5)))
        assert "two" == holder(api)
        names = [f"{when}-{n}" for when in ("early", "late") for n in range(5)]
        # A second one may be under way before the first one's event is back.
        assert {1, 2} >= {status_writes(api, name) for name in names}


def holder(api: Api) -> str:
    lease = next(item for key, item in api.objects.items() if key[0] == "leases")
    held: str = lease["spec"]["holderIdentity"]
    return held

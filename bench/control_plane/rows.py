"""The rows of the table; each returns figures and the raw samples behind them."""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.control_plane import load
from bench.control_plane.cluster import NAMESPACE, Cluster
from bench.control_plane.process import Daemon, daemon, driver
from linkerd.gen import destination_pb2
from linkerd.kube.resources import ENDPOINT_SLICES

_GET = "/io.linkerd.proxy.destination.Destination/Get"
_SETTLE_S = 1.5
_QUIET_MS = 1500


@dataclass
class Bench:
    """What every row needs."""

    cluster: Cluster
    folder: Path
    quick: bool
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def daemon(self, name: str) -> AsyncIterator[Daemon]:
        """Runs one daemon against the cluster; yields it when it is ready."""
        admin, ports, flags = _FLAGS[name]
        places = {"dir": str(self.folder), "kubeconfig": str(self.cluster.kubeconfig)}
        chosen = [flag.format(**places) for flag in flags]
        log = self.folder / f"{name}.log"
        async with daemon(name, *chosen, admin=admin, ports=ports, log=log) as running:
            yield running

    async def flip(self, name: str, *, ready: bool) -> None:
        """Sets the readiness of a service's first endpoint."""
        piece = self.slices[name]
        piece["endpoints"][0]["conditions"]["ready"] = ready
        piece["metadata"].pop("resourceVersion", None)
        self.slices[name] = await self.cluster.kube.replace(ENDPOINT_SLICES, piece)

    def get(self, service: str) -> list[bytes]:
        """The request of `Get` for a service."""
        request = destination_pb2.GetDestination(
            path=f"{service}.{NAMESPACE}.svc.cluster.local:80",
            context_token=json.dumps({"ns": NAMESPACE, "nodeName": "node-1"}),
        )
        return [request.SerializeToString()]


_KUBE = "-kubeconfig={kubeconfig}"
_FLAGS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "destination": ("-metrics-addr", {"grpc": "-addr"}, (_KUBE,)),
    "policy": (
        "--admin-addr",
        {"grpc": "--grpc-addr", "https": "--server-addr"},
        (
            "--kubeconfig={kubeconfig}",
            "--server-tls-key={dir}/linkerd-policy-validator-k8s-tls/tls.key",
            "--server-tls-certs={dir}/linkerd-policy-validator-k8s-tls/tls.crt",
        ),
    ),
    "identity": (
        "-admin-addr",
        {"grpc": "-addr"},
        (
            _KUBE,
            "-identity-issuer-dir={dir}/linkerd-identity-issuer",
            "-identity-trust-anchors={dir}/linkerd-identity-trust-roots/ca-bundle.crt",
        ),
    ),
    "proxy-injector": (
        "-metrics-addr",
        {"https": "-addr"},
        (
            _KUBE,
            "-tls-dir={dir}/linkerd-proxy-injector-k8s-tls",
            "-values={dir}/linkerd-config/values",
            "-trust-anchors={dir}/linkerd-identity-trust-roots/ca-bundle.crt",
        ),
    ),
}


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[round((len(values) - 1) * share)]


async def idle(bench: Bench) -> dict[str, Any]:
    """Start to ready, and memory at rest."""
    found: dict[str, Any] = {}
    for name in _FLAGS:
        starts = []
        for _ in range(1 if bench.quick else 3):
            async with bench.daemon(name) as running:
                starts.append(running.ready_s)
                await asyncio.sleep(_SETTLE_S)
                memory = running.pss_mb()
        found[name] = {
            "ready_s": statistics.median(starts),
            "rss_mb": memory["Rss"],
            "memory_mb": memory,
            "samples_ready_s": starts,
        }
    return found


async def fan_out(bench: Bench) -> dict[str, Any]:
    """One endpoint's change to 1,000 streams on 20 connections."""
    rounds = 10 if bench.quick else 40
    cpu: list[float] = []
    lasts: list[float] = []
    async with (
        bench.daemon("destination") as running,
        driver(
            running.ports["grpc"],
            _GET,
            bench.get("ten"),
            bench.folder,
            connections=20,
            streams=1000,
        ) as streams,
    ):
        opened = await streams.line()
        await asyncio.sleep(_SETTLE_S)
        messages = opened["messages"] // opened["streams"]
        quiet = running.cpu_ns()
        await asyncio.sleep(1.0)
        quiet = running.cpu_ns() - quiet
        for number in range(rounds):
            await asyncio.sleep(0.1)
            before, began = running.cpu_ns(), time.monotonic_ns()
            await bench.flip("ten", ready=bool(number % 2))
            messages += 1
            report = await streams.ask(f"messages {messages}")
            await asyncio.sleep(0.02)
            cpu.append((running.cpu_ns() - before) / 1e6)
            lasts.append((report["last_ns"]["max"] - began) / 1e6)
            if not report["complete"]:
                raise RuntimeError(f"not delivered: {report}")
    return {
        "cpu_ms": statistics.median(cpu),
        "last_p50_ms": _quantile(lasts, 0.5),
        "last_p99_ms": _quantile(lasts, 0.99),
        "ended": report["ended"],
        "idle_cpu_ms_per_s": quiet / 1e6,
        "samples_cpu_ms": cpu,
        "samples_last_ms": lasts,
    }


async def open_many(bench: Bench) -> dict[str, Any]:
    """10,000 streams with their first update."""
    async with bench.daemon("destination") as running:
        await asyncio.sleep(_SETTLE_S)
        memory, cpu = running.rss_mb(), running.cpu_ns()
        async with driver(
            running.ports["grpc"],
            _GET,
            bench.get("ten"),
            bench.folder,
            connections=20,
            streams=10_000,
        ) as streams:
            opened = await streams.line()
            cpu = running.cpu_ns() - cpu
            await asyncio.sleep(0.5)
            grown = running.rss_mb() - memory
    return {
        "seconds": (opened["first_ns"] - opened["started_ns"]) / 1e9,
        "cpu_s": cpu / 1e9,
        "kb_per_stream": grown * 1024 / 10_000,
        "refused": opened["ended"],
        "why": opened["why"],
    }


async def churn(bench: Bench) -> dict[str, Any]:
    """Changes as fast as the API takes them, 1,000 streams."""
    seconds = 3.0 if bench.quick else 10.0
    async with (
        bench.daemon("destination") as running,
        driver(
            running.ports["grpc"],
            _GET,
            bench.get("ten"),
            bench.folder,
            connections=20,
            streams=1000,
            members="yes",
        ) as streams,
    ):
        await streams.line()
        began = time.monotonic()
        cpu = running.cpu_ns()
        changes = 0
        while time.monotonic() - began < seconds:
            await bench.flip("ten", ready=bool(changes % 2))
            changes += 1
        await bench.flip("ten", ready=False)
        last = time.monotonic_ns()
        missing = await streams.ask("members 9")
        cpu = running.cpu_ns() - cpu
        await bench.flip("ten", ready=True)
        await streams.ask("members 10")
    return {
        "changes_per_s": changes / seconds,
        "converged_ms": (missing["last_ns"]["max"] - last) / 1e6,
        "complete": missing["complete"],
        "sizes": missing["sizes"],
        "cut": missing["ended"],
        "messages_per_stream": missing["messages"] / 1000,
        "cpu_s": cpu / 1e9,
    }


async def large_service(bench: Bench) -> dict[str, Any]:
    """1,000 watchers of a service with 1,000 endpoints."""
    async with bench.daemon("destination") as running:
        await asyncio.sleep(_SETTLE_S)
        cpu = running.cpu_ns()
        async with driver(
            running.ports["grpc"],
            _GET,
            bench.get("thousand"),
            bench.folder,
            connections=20,
            streams=1000,
            members="yes",
        ) as streams:
            opened = await streams.line()
            done = await streams.ask("members 1000")
            cpu = running.cpu_ns() - cpu
            memory = running.rss_mb()
    return {
        "seconds": (done["last_ns"]["max"] - opened["started_ns"]) / 1e9,
        "cpu_s": cpu / 1e9,
        "rss_mb": memory,
        "ended": done["ended"],
        "complete": done["complete"],
    }


async def admission(bench: Bench) -> dict[str, Any]:
    """Pods reviewed by the injector over HTTPS, one client and eight."""
    reviews = 200 if bench.quick else 1000
    found: dict[str, Any] = {}
    async with bench.daemon("proxy-injector") as running:
        port = running.ports["https"]
        await load.reviews(port, 50, 1)
        for clients in (1, 8):
            cpu = running.cpu_ns()
            samples = await load.reviews(port, reviews, clients)
            cpu = running.cpu_ns() - cpu
            found[f"clients_{clients}"] = {
                "cpu_ms": cpu / 1e6 / reviews,
                "p50_ms": _quantile(samples, 0.5),
                "p99_ms": _quantile(samples, 0.99),
                "samples_ms": samples,
            }
    return found


async def certify(bench: Bench) -> dict[str, Any]:
    """Certificates for a proxy, the TokenReview included."""
    calls = 200 if bench.quick else 1000
    # A caller that asks more than twenty times is refused.
    requests = [
        load.certify_request(await bench.cluster.token("identity.l5d.io", 3600 + number))
        for number in range(calls // 10)
    ]
    async with bench.daemon("identity") as running:
        warm = {"connections": 1, "streams": 4}
        path = "/io.linkerd.proxy.identity.Identity/Certify"
        port = running.ports["grpc"]
        async with driver(port, path, requests, bench.folder, unary=50, **warm) as first:
            await first.line()
        cpu = running.cpu_ns()
        async with driver(port, path, requests, bench.folder, unary=calls, **warm) as second:
            report = await second.line()
        cpu = running.cpu_ns() - cpu
    samples = [each / 1e6 for each in report["samples_ns"]]
    return {
        "cpu_ms": cpu / 1e6 / calls,
        "p99_ms": _quantile(samples, 0.99),
        "per_s": calls / report["seconds"],
        "failure": report["failure"],
        "samples_ms": samples,
    }


async def large_cluster(bench: Bench) -> dict[str, Any]:
    """10,000 pods and 2,000 services: start to synced, and memory."""
    pods, services = (1000, 200) if bench.quick else (10_000, 2_000)
    await bench.cluster.pods(
        (f"spare-{i}", f"spare-{i % services}", f"10.{200 + (i >> 16)}.{i >> 8 & 255}.{i & 255}")
        for i in range(pods)
    )
    await bench.cluster.services(services)
    found: dict[str, Any] = {"pods": pods, "services": services}
    for name in ("destination", "policy", "proxy-injector"):
        async with bench.daemon(name) as running:
            cpu = running.cpu_ns()
            await asyncio.sleep(_SETTLE_S)
            memory = running.pss_mb()
            found[name] = {
                "ready_s": running.ready_s,
                "rss_mb": memory["Rss"],
                "memory_mb": memory,
                "cpu_s": cpu / 1e9,
            }
    return found


ROWS = {
    "idle": idle,
    "fan_out": fan_out,
    "open_many": open_many,
    "churn": churn,
    "large_service": large_service,
    "admission": admission,
    "certify": certify,
    "large_cluster": large_cluster,
}

"""The viz extension's daemons on the embedded API server, as processes, with a real Prometheus.

Covers the whole path: pods in Kubernetes → discovery → scrapes → metrics-api → the CLI's tables
and the dashboard's stream. Needs no root: the pod is an object, its proxy an exporter of the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge

from linkerd.errors import KubeError
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.viz import install
from tests.ports import free_port

NS = "emojivoto"
SERVER = "emoji.emojivoto.serviceaccount.identity.linkerd.cluster.local"
LABELS = {
    "app": "web",
    "linkerd.io/control-plane-ns": "linkerd",
    "linkerd.io/proxy-deployment": "web",
}

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus")


def a_workload(kind: str, name: str, owner: tuple[str, str] | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": NS}
    if owner:
        meta["ownerReferences"] = [
            {
                "apiVersion": "apps/v1",
                "kind": owner[0],
                "name": owner[1],
                "uid": "1",
                "controller": True,
            }
        ]
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": meta,
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }


def a_pod(admin_port: int) -> dict[str, Any]:
    identity = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local"
    owned = a_workload("ReplicaSet", "x", ("ReplicaSet", "web-1"))["metadata"]["ownerReferences"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-1-a",
            "namespace": NS,
            "labels": LABELS,
            "ownerReferences": owned,
        },
        "spec": {
            "containers": [{"name": "web", "image": "web"}],
            "initContainers": [
                {
                    "name": "linkerd-proxy",
                    "image": "proxy:v1",
                    "restartPolicy": "Always",
                    "env": [{"name": "LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "value": identity}],
                    "ports": [{"name": "linkerd-admin", "containerPort": admin_port}],
                }
            ],
        },
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    }


def a_proxy() -> tuple[CollectorRegistry, Counter]:
    """What a proxy exports: requests that came in, a connection that goes out."""
    registry = CollectorRegistry()
    responses = Counter("response", "r", ["direction", "classification", "tls"], registry=registry)
    responses.labels("inbound", "success", "true").inc(0)
    connections = Gauge(
        "tcp_open_connections",
        "c",
        ["direction", "peer", "dst_namespace", "dst_deployment", "server_id"],
        registry=registry,
    )
    connections.labels("outbound", "dst", NS, "emoji", SERVER).set(1)
    return registry, responses


class Bed:
    """The processes of one test."""

    def __init__(self, state: Path) -> None:
        self.state = state
        names = ("api", "prometheus", "metrics", "metrics-admin", "web", "web-admin")
        self.ports = {name: free_port() for name in names}
        self.kubeconfig = state / "cluster" / "kubeconfig"
        self.kubeconfig.parent.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []

    def at(self, name: str) -> str:
        """The address of a process."""
        return f"127.0.0.1:{self.ports[name]}"

    def start(self, *argv: str) -> None:
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        with (self.state / f"{len(self._processes)}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen([sys.executable, "-m", *argv], stdout=log, stderr=log, env=env)
            )

    def start_api(self) -> None:
        folder, port = str(self.kubeconfig.parent), str(self.ports["api"])
        self.start("linkerd.local.apiserver", "--state", folder, "--port", port)

    def start_viz(self) -> None:
        config = self.state / "prometheus.yml"
        documents = yaml.safe_load_all(install.render())
        found = next(d for d in documents if d["metadata"]["name"] == "prometheus-config")
        config.write_text(found["data"]["prometheus.yml"].replace("10s", "1s"))
        self.start(
            "linkerd.daemons",
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={self.state / 'data'}",
            f"--web.listen-address={self.at('prometheus')}",
        )
        self.start(
            "linkerd.daemons",
            "metrics-api",
            f"-addr={self.at('metrics')}",
            f"-metrics-addr={self.at('metrics-admin')}",
            f"-prometheus-url=http://{self.at('prometheus')}",
        )
        self.start(
            "linkerd.daemons",
            "web",
            f"-addr={self.at('web')}",
            f"-metrics-addr={self.at('web-admin')}",
            f"-linkerd-metrics-api-addr={self.at('metrics')}",
        )

    def linkerd(self, *argv: str) -> str:
        """What a command prints."""
        flags = ["--kubeconfig", str(self.kubeconfig), "--api-addr", self.at("metrics")]
        command = "import sys; from linkerd.cli.main import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", command, "viz", *argv, *flags],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def stop(self) -> list[int]:
        for process in self._processes:
            process.terminate()
        return [process.wait(20) for process in self._processes]


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    bed = Bed(tmp_path)
    try:
        yield bed
    finally:
        bed.stop()


async def eventually(check: Any, timeout_s: float = 40.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await check()
        except (KubeError, OSError, AssertionError, httpx2.HTTPError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def test_traffic_of_a_pod_is_seen_by_cli_and_dashboard(bed: Bed) -> None:
    registry, responses = a_proxy()
    bed.start_api()

    async def connect() -> KubeClient:
        assert bed.kubeconfig.exists()
        kube = KubeClient(load(bed.kubeconfig))
        await kube.get(NAMESPACES, "default")
        return kube

    kube: KubeClient = await eventually(connect)
    async with (
        kube,
        admin.serve("127.0.0.1", 0, registry=registry, readiness=Readiness()) as port,
        httpx2.AsyncClient(base_url=f"http://{bed.at('web')}", trust_env=False) as http,
    ):
        await kube.create(NAMESPACES, {"metadata": {"name": NS}})
        await kube.create(DEPLOYMENTS, a_workload("Deployment", "web"))
        await kube.create(REPLICA_SETS, a_workload("ReplicaSet", "web-1", ("Deployment", "web")))
        bed.start_viz()
        # The pod comes last: discovery has to follow changes.
        stored = await kube.create(PODS, a_pod(port))
        await kube.update_status(PODS, {**stored, "status": a_pod(port)["status"]})

        async def seen() -> dict[str, Any]:
            responses.labels("inbound", "success", "true").inc()
            query = {"resource_type": "deployment", "namespace": NS, "tcp_stats": "true"}
            answer = (await http.get("/api/tps-reports", params=query)).json()
            assert "ok" in answer, answer
            (row,) = answer["ok"]["statTables"][0]["podGroup"]["rows"]
            assert int(row.get("stats", {}).get("successCount", 0)) > 3, row
            return dict(row)

        row = await eventually(seen)
        assert ("web", "1") == (row["resource"]["name"], row["meshedPodCount"])

        header, line = bed.linkerd("stat", "deploy", "-n", NS).splitlines()
        assert "NAME MESHED SUCCESS RPS" == " ".join(header.split()[:4])
        assert ["web", "1/1", "100.00%"] == line.split()[:3]

        async def connected() -> dict[str, Any]:
            edges = json.loads(bed.linkerd("edges", "deploy", "-n", NS, "-o", "json"))
            assert 1 == len(edges), edges
            return dict(edges[0])

        edge = await eventually(connected)
        assert ("web", "emoji", "web.emojivoto", "emoji.emojivoto") == (
            edge["src"],
            edge["dst"],
            edge["client_id"],
            edge["server_id"],
        )

        async with http.stream("GET", "/api/stream", params={"kind": "namespace"}) as stream:
            async for text in stream.aiter_lines():
                if text.startswith("data: "):
                    rows = {r["name"]: r for r in json.loads(text[6:])["rows"]}
                    assert (1, 1.0) == (rows[NS]["meshed"], rows[NS]["success"])
                    break
    assert [0, 0, 0, 0] == bed.stop()

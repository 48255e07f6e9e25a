"""The destination service and the policy controller on the embedded API server, as processes.

Covers: answers, pushed updates, an API server that dies and comes back. Needs no root: pods are
objects only, nothing runs in them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from linkerd.errors import KubeError
from linkerd.gen import destination_pb2 as dst
from linkerd.gen import (
    destination_pb2_grpc,
    inbound_pb2,
    inbound_pb2_grpc,
    outbound_pb2,
    outbound_pb2_grpc,
)
from linkerd.install.install import render_crds
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    ENDPOINT_SLICES,
    EXTERNAL_WORKLOADS,
    HTTP_ROUTES,
    LEASES,
    NAMESPACES,
    PODS,
    POLICY_HTTP_ROUTES,
    SECRETS,
    SERVERS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from linkerd.translate.net import ip_text, tcp_address
from tests.ports import free_port

NS = "emojivoto"
OURS = "endpointslice.kubernetes.io/managed-by=linkerd-external-workloads-controller"
AUTHORITY = "web-svc.emojivoto.svc.cluster.local:80"


def a_pod(name: str, ip: str) -> dict[str, Any]:
    proxy = {"LINKERD2_PROXY_INBOUND_LISTEN_ADDR": "0.0.0.0:4143"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NS,
            "labels": {
                "app": "web",
                "pod-template-hash": "abc12",
                "linkerd.io/control-plane-ns": "linkerd",
            },
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc12", "uid": "1"}
            ],
        },
        "spec": {
            "serviceAccountName": "web",
            "containers": [
                {
                    "name": "web",
                    "image": "web",
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}},
                },
                {
                    "name": "linkerd-proxy",
                    "image": "proxy",
                    "env": [{"name": key, "value": value} for key, value in proxy.items()],
                },
            ],
        },
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    }


def a_slice(pods: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-svc-1",
            "namespace": NS,
            "labels": {"kubernetes.io/service-name": "web-svc"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [ip],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": name, "namespace": NS},
            }
            for name, ip in pods.items()
        ],
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web-svc", "namespace": NS},
    "spec": {
        "selector": {"app": "web"},
        "clusterIP": "10.96.7.7",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    },
}
SERVER = {
    "apiVersion": "policy.linkerd.io/v1beta3",
    "kind": "Server",
    "metadata": {"name": "web-http", "namespace": NS},
    "spec": {
        "port": "http",
        "podSelector": {"matchLabels": {"app": "web"}},
        "proxyProtocol": "HTTP/1",
        "accessPolicy": "all-authenticated",
    },
}


class Bed:
    """The processes and clients of one test."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.ports = {name: free_port() for name in ("dst", "dst-admin", "policy", "policy-admin")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str) -> None:
        log = (self.state / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", *argv], stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def start_api(self) -> None:
        state = str(self.state / "cluster")
        self.start("api", "linkerd.local.apiserver", "--state", state, "--port", str(self.port))

    def start_daemons(self) -> None:
        kubeconfig = str(self.state / "cluster" / "kubeconfig")
        self.start(
            "destination",
            "linkerd.daemons",
            "destination",
            f"-addr=127.0.0.1:{self.ports['dst']}",
            f"-metrics-addr=127.0.0.1:{self.ports['dst-admin']}",
            "-outbound-transport-mode=transport-header",
            f"-kubeconfig={kubeconfig}",
        )
        self.start(
            "policy",
            "linkerd.daemons",
            "policy",
            f"--grpc-addr=127.0.0.1:{self.ports['policy']}",
            f"--admin-addr=127.0.0.1:{self.ports['policy-admin']}",
            "--admission-controller-disabled",
            "--probe-networks=0.0.0.0/0",
            "--default-opaque-ports=3306",
            f"--kubeconfig={kubeconfig}",
        )

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> dict[str, int]:
        codes = {}
        for process in self._processes.values():
            process.terminate()
        for name, process in self._processes.items():
            codes[name] = process.wait(20)
        return codes


async def eventually(check: Any, timeout_s: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await check()
        except (KubeError, OSError, AssertionError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


async def scrape(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def is_ready(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ready HTTP/1.1\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b" 200 " in answer


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    bed = Bed(tmp_path)
    (tmp_path / "cluster").mkdir()
    bed.start_api()
    try:
        yield bed
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            bed.stop()


async def prepare(bed: Bed) -> KubeClient:
    kubeconfig = bed.state / "cluster" / "kubeconfig"

    async def connect() -> KubeClient:
        assert kubeconfig.exists()
        kube = KubeClient(load(kubeconfig))
        await kube.get(NAMESPACES, "default")
        return kube

    kube: KubeClient = await eventually(connect)
    for document in yaml.load_all(
        render_crds({"installGatewayAPI": True}), Loader=yaml.CSafeLoader
    ):
        if document:
            await kube.create(CUSTOM_RESOURCE_DEFINITIONS, document)
    for name in (NS, "linkerd"):
        await kube.create(NAMESPACES, {"metadata": {"name": name}})
    await kube.create(SERVICE_ACCOUNTS, {"metadata": {"name": "web", "namespace": NS}})
    await kube.create(SERVICES, SERVICE)
    await add_pod(kube, "web-1", "10.244.0.5")
    await kube.create(ENDPOINT_SLICES, a_slice({"web-1": "10.244.0.5"}))
    bed.start_daemons()
    await eventually(lambda: is_ready(bed.ports["dst-admin"]))
    await eventually(lambda: is_ready(bed.ports["policy-admin"]))
    return kube


async def add_pod(kube: KubeClient, name: str, ip: str) -> None:
    pod = a_pod(name, ip)
    stored = await kube.create(PODS, pod)
    await kube.update_status(PODS, {**stored, "status": pod["status"]})


async def read(call: Any) -> Any:
    async with asyncio.timeout(20):
        return await call.read()


def addresses(entries: Any) -> list[tuple[str, int]]:
    return [(ip_text(each.ip), each.port) for each in entries]


async def test_destination_answers_and_pushes(bed: Bed) -> None:
    kube = await prepare(bed)
    async with kube, grpc.aio.insecure_channel(f"127.0.0.1:{bed.ports['dst']}") as channel:
        stub = destination_pb2_grpc.DestinationStub(channel)
        call = stub.Get(dst.GetDestination(path=AUTHORITY))
        (endpoint,) = (await read(call)).add.addrs
        assert [("10.244.0.5", 8080)] == addresses([endpoint.addr])
        assert "web.emojivoto.serviceaccount.identity.linkerd.cluster.local" == (
            endpoint.tls_identity.dns_like_identity.name
        )
        assert 4143 == endpoint.protocol_hint.opaque_transport.inbound_port
        assert endpoint.protocol_hint.HasField("h2")
        assert ("web", "web-1") == (
            endpoint.metric_labels["deployment"],
            endpoint.metric_labels["pod"],
        )

        await add_pod(kube, "web-2", "10.244.0.6")
        await kube.replace(ENDPOINT_SLICES, a_slice({"web-1": "10.244.0.5", "web-2": "10.244.0.6"}))
        update = await read(call)
        assert [("10.244.0.6", 8080)] == addresses(each.addr for each in update.add.addrs)

        by_ip = stub.GetProfile(dst.GetDestination(path="10.96.7.7:80"))
        profile = await read(by_ip)
        assert "web-svc.emojivoto.svc.cluster.local" == profile.fully_qualified_name
        assert not profile.opaque_protocol
        note = {"metadata": {"annotations": {"config.linkerd.io/opaque-ports": "http"}}}
        await kube.patch(SERVICES, "web-svc", note, NS)
        assert (await read(by_ip)).opaque_protocol

        by_pod = stub.GetProfile(dst.GetDestination(path="10.244.0.6:8080"))
        pod_profile = await read(by_pod)
        assert "web-2" == pod_profile.endpoint.metric_labels["pod"]

        page = await scrape(bed.ports["dst-admin"])
        labels = 'cluster="local",hostname="",namespace="emojivoto",nodename="",port="80"'
        for series in (
            f'endpoints_subscribers{{{labels},service="web-svc"}} 1.0',
            f'endpoints_pods{{{labels},service="web-svc"}} 2.0',
            f'endpoints_updates{{{labels},service="web-svc"}} 1.0',
            'service_subscribers{name="web-svc",namespace="emojivoto"} 1.0',
            "workload_subscribers 1.0",
            'pod_cache_size{cluster="local"} 2.0',
            'endpointslices_cache_size{cluster="local"} ',
            'http_client_requests_total{client="k8s",code="200",method="get"} ',
            "services_informer_lag_seconds_count ",
        ):
            assert series in page, series

        for path, code in (
            ("10.244.0.6:80", grpc.StatusCode.INVALID_ARGUMENT),
            ("example.com:80", grpc.StatusCode.INVALID_ARGUMENT),
            ("nope.emojivoto.svc.cluster.local:80", grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await read(stub.Get(dst.GetDestination(path=path)))
            assert code == refused.value.code()


async def test_external_workloads_become_endpoints(bed: Bed) -> None:
    kube = await prepare(bed)
    async with kube, grpc.aio.insecure_channel(f"127.0.0.1:{bed.ports['dst']}") as channel:
        service = {
            "metadata": {"name": "vms", "namespace": NS},
            "spec": {
                "selector": {"app": "vm"},
                "clusterIP": "10.96.7.8",
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
        }
        await kube.create(SERVICES, service)
        stub = destination_pb2_grpc.DestinationStub(channel)
        target = dst.GetDestination(path="vms.emojivoto.svc.cluster.local:80")
        call = await eventually(lambda: opened(stub.Get(target)))
        workload = {
            "apiVersion": EXTERNAL_WORKLOADS.api_version,
            "kind": "ExternalWorkload",
            "metadata": {"name": "vm-1", "namespace": NS, "labels": {"app": "vm"}},
            "spec": {
                "meshTLS": {"identity": "spiffe://root/vm", "serverName": "vm.root"},
                "ports": [{"name": "http", "port": 8080}],
                "workloadIPs": [{"ip": "192.0.2.7"}],
            },
        }
        made = await kube.create(EXTERNAL_WORKLOADS, workload)
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        await kube.update_status(EXTERNAL_WORKLOADS, {**made, "status": ready})
        (endpoint,) = (await read(call)).add.addrs
        assert [("192.0.2.7", 8080)] == addresses([endpoint.addr])
        assert "spiffe://root/vm" == endpoint.tls_identity.uri_like_identity.uri
        await kube.delete(EXTERNAL_WORKLOADS, "vm-1", NS)
        assert [("192.0.2.7", 8080)] == addresses((await read(call)).remove.addrs)
        await eventually(lambda: no_slices(kube))


async def test_a_linked_cluster_is_followed(bed: Bed) -> None:
    """The cluster is linked to itself, under another name and with other domains."""
    kube = await prepare(bed)
    async with kube, grpc.aio.insecure_channel(f"127.0.0.1:{bed.ports['dst']}") as channel:
        labels = {
            "multicluster.linkerd.io/remote-discovery": "east",
            "multicluster.linkerd.io/remote-service": "web-svc",
        }
        mirror = {
            "metadata": {"name": "web-svc-east", "namespace": NS, "labels": labels},
            "spec": {"clusterIP": "10.96.7.9", "ports": [{"name": "http", "port": 80}]},
        }
        await kube.create(SERVICES, mirror)
        stub = destination_pb2_grpc.DestinationStub(channel)
        target = dst.GetDestination(path="web-svc-east.emojivoto.svc.cluster.local:80")
        kubeconfig = (bed.state / "cluster" / "kubeconfig").read_bytes()
        secret = {
            "metadata": {
                "name": "cluster-credentials-east",
                "namespace": "linkerd",
                "labels": {"multicluster.linkerd.io/cluster-name": "east"},
                "annotations": {
                    "multicluster.linkerd.io/trust-domain": "east.trust",
                    "multicluster.linkerd.io/cluster-domain": "east.local",
                },
            },
            "type": "mirror.linkerd.io/remote-kubeconfig",
            "data": {"kubeconfig": base64.b64encode(kubeconfig).decode()},
        }
        await kube.create(SECRETS, secret)

        async def first() -> tuple[Any, Any]:
            call = stub.Get(target)
            try:
                return call, await read(call)
            except grpc.aio.AioRpcError as error:
                raise AssertionError(error.details()) from error

        call, update = await eventually(first)
        (endpoint,) = update.add.addrs
        assert ("east", "web-svc", "web.emojivoto.serviceaccount.identity.linkerd.east.trust") == (
            endpoint.metric_labels["target_cluster"],
            endpoint.metric_labels["target_service"],
            endpoint.tls_identity.dns_like_identity.name,
        )
        assert "cluster_store_size 1.0" in await scrape(bed.ports["dst-admin"])
        await kube.delete(SECRETS, "cluster-credentials-east", "linkerd")
        assert [("10.244.0.5", 8080)] == addresses((await read(call)).remove.addrs)


async def no_slices(kube: KubeClient) -> None:
    assert [] == await kube.list(ENDPOINT_SLICES, NS, label_selector=OURS)


async def opened(call: Any) -> Any:
    try:
        assert (await read(call)).HasField("no_endpoints")
    except grpc.aio.AioRpcError as error:
        raise AssertionError(error.details()) from error
    return call


async def test_policy_answers_and_pushes(bed: Bed) -> None:
    kube = await prepare(bed)
    async with kube, grpc.aio.insecure_channel(f"127.0.0.1:{bed.ports['policy']}") as channel:
        inbound = inbound_pb2_grpc.InboundServerPoliciesStub(channel)
        outbound = outbound_pb2_grpc.OutboundPoliciesStub(channel)
        workload = '{"ns":"emojivoto","pod":"web-1"}\n'
        watch = inbound.WatchPort(inbound_pb2.PortSpec(workload=workload, port=8080))
        server = await read(watch)
        assert "all-unauthenticated" == server.labels["name"]
        assert ["default", "probe"] == [
            route.metadata.default for route in server.protocol.detect.http_routes
        ]
        await kube.create(SERVERS, SERVER)
        server = await read(watch)
        assert "web-http" == server.labels["name"]
        assert server.protocol.HasField("http1")
        assert ["all-authenticated"] == [each.metadata.default for each in server.authorizations]
        once = await inbound.GetPort(inbound_pb2.PortSpec(workload=workload, port=8080))
        assert server == once
        await kube.delete(SERVERS, "web-http", NS)
        assert "all-unauthenticated" == (await read(watch)).labels["name"]

        target = outbound_pb2.TrafficSpec(
            source_workload=workload, addr=tcp_address("10.96.7.7", 80)
        )
        policy = await read(outbound.Watch(target))
        backend = (
            policy.protocol.detect.http1.routes[0].rules[0].backends.first_available.backends[0]
        )
        assert AUTHORITY == backend.backend.balancer.discovery.dst.path
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(
                inbound.WatchPort(inbound_pb2.PortSpec(workload="emojivoto:nope", port=8080))
            )
        assert grpc.StatusCode.NOT_FOUND == refused.value.code()


def a_route(resource: Resource, name: str, parent: dict[str, Any], **rule: Any) -> dict[str, Any]:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": NS},
        "spec": {"parentRefs": [parent], "rules": [rule]},
    }


async def test_routes_are_accepted_then_served(bed: Bed) -> None:
    kube = await prepare(bed)
    async with kube, grpc.aio.insecure_channel(f"127.0.0.1:{bed.ports['policy']}") as channel:
        outbound = outbound_pb2_grpc.OutboundPoliciesStub(channel)
        target = outbound_pb2.TrafficSpec(
            source_workload="emojivoto:web-1", addr=tcp_address("10.96.7.7", 80)
        )
        watch = outbound.Watch(target)
        assert "http" == (await read(watch)).protocol.detect.http1.routes[0].metadata.default

        parent = {"kind": "Service", "group": "core", "name": "web-svc", "port": 80}
        backends = [{"name": "web-svc", "port": 80, "weight": 9}, {"name": "web-v2", "port": 80}]
        for resource, name in ((HTTP_ROUTES, "split"), (POLICY_HTTP_ROUTES, "own")):
            await kube.create(resource, a_route(resource, name, parent, backendRefs=backends))
            while name not in (
                route.metadata.resource.name
                for route in (await read(watch)).protocol.detect.http1.routes
            ):
                pass
            stored = await kube.get(resource, name, NS)
            (status,) = stored["status"]["parents"]
            assert "linkerd.io/policy-controller" == status["controllerName"]
            assert [("Accepted", "True"), ("ResolvedRefs", "False")] == [
                (each["type"], each["status"]) for each in status["conditions"]
            ]
        policy = await outbound.Get(target)
        first, second = (
            policy.protocol.detect.http1.routes[0].rules[0].backends.random_available.backends
        )
        assert (9, AUTHORITY) == (first.weight, first.backend.backend.balancer.discovery.dst.path)
        assert 500 == second.backend.filters[0].failure_injector.status
        page = await scrape(bed.ports["policy-admin"])
        for series in (
            "resource_status_patches_total 2.0",
            'inbound_index_http_route_index_size{namespace="emojivoto"} 2.0',
            'outbound_index_service_port_route_index_size{namespace="emojivoto"} 1.0',
            'inbound_index_pod_index_size{namespace="emojivoto"} 1.0',
        ):
            assert series in page, series
        lease = await kube.get(LEASES, "policy-controller-write", "linkerd")
        assert lease["spec"]["holderIdentity"]

        await kube.delete(HTTP_ROUTES, "split", NS)
        assert ["own"] == [
            route.metadata.resource.name
            for route in (await read(watch)).protocol.detect.http1.routes
        ]


async def test_a_killed_api_server_leaves_no_stale_answers(bed: Bed) -> None:
    kube = await prepare(bed)
    async with kube, grpc.aio.insecure_channel(f"127.0.0.1:{bed.ports['dst']}") as channel:
        stub = destination_pb2_grpc.DestinationStub(channel)
        call = stub.Get(dst.GetDestination(path=AUTHORITY))
        await read(call)
        bed.kill("api")
        again = stub.Get(dst.GetDestination(path=AUTHORITY))
        assert [("10.244.0.5", 8080)] == addresses(e.addr for e in (await read(again)).add.addrs)
        bed.start_api()
        await eventually(lambda: kube.get(NAMESPACES, "default"))
        await add_pod(kube, "web-2", "10.244.0.6")
        await kube.replace(ENDPOINT_SLICES, a_slice({"web-2": "10.244.0.6"}))
        view = {("10.244.0.5", 8080)}
        while view != {("10.244.0.6", 8080)}:  # the pod's and the slice's watch come back each
            update = await read(call)
            view |= set(addresses(each.addr for each in update.add.addrs))
            view -= set(addresses(update.remove.addrs))
        assert {0} == set(bed.stop().values())

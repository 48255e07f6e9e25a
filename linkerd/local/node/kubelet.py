"""The node: watches pods that are bound to it and runs them; keeps services, DNS and itself going.

API watches ──► Cluster ──► NAT, DNS zone, volumes
pods        ──► Worker each ──► zygote
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linkerd import __version__, log, runtime
from linkerd.errors import Conflict, KubeError, NotFound
from linkerd.kube.client import MERGE, KubeClient
from linkerd.kube.resources import LEASES, NODES, PODS, SERVICES
from linkerd.kube.watch import Deleted, Reset
from linkerd.local import running
from linkerd.local.node import border, dns, host, services, users, volumes
from linkerd.local.node.cluster import WATCHED
from linkerd.local.node.nat import Nat
from linkerd.local.node.outside import Outside
from linkerd.local.node.parts import Parts, read
from linkerd.local.node.resolver import Resolver
from linkerd.local.node.server import Server
from linkerd.local.node.worker import Worker
from linkerd.local.node.zygote_client import Listing
from linkerd.local.paths import (
    CLUSTER_DOMAIN,
    DNS_SERVICE_IP,
    HOST_IP,
    HOST_NAME,
    NODE_IP,
    NODE_NAME,
    Paths,
)

_LEASE_S = 40
_RENEW_S = 10
#: Each minute: checks for clock skew compare the heartbeat with their own clock.
_RENEWALS_PER_HEARTBEAT = 6
#: Changes of services within this time become one change of the rules.
_COALESCE_S = 0.005

Object = dict[str, Any]
_log = log.logger(__name__)


class Kubelet:
    """Follows what is bound to the node, and has it run."""

    def __init__(self, paths: Paths, kube: KubeClient, outside: Outside | None) -> None:
        self._node = Parts(
            paths, kube, changed=self._changed, listed=self._listed, exited=self._exited
        )
        self._workers: dict[str, Worker] = {}
        self._border = None if outside is None else border.Border(outside, self._ports_refused)
        self._nat = Nat(None if self._border is None else (NODE_IP, border.EGRESS_PORT))
        self._resolver = Resolver(self._zone, outside)
        self._zone_cache: dns.Zone | None = None
        self._nat_due = False
        self._listing: Listing | None = None
        self._zygote_there = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the node until `stop` is set; containers go on without it."""
        self._check_readable()
        server = Server(self._node, self._worker)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._node.zygote.run()),
                group.create_task(self._node.recorder.run()),
                *(
                    group.create_task(self._node.cluster.follow(self._node.kube, kind))
                    for kind in WATCHED
                ),
                group.create_task(self._follow_pods()),
                group.create_task(runtime.forever("dns", self._serve_dns)),
                group.create_task(runtime.forever("node object", self._node_object)),
                group.create_task(runtime.forever("dns service", self._dns_service)),
                group.create_task(server.serve()),
                group.create_task(runtime.forever("border", self._serve_border)),
            ]
            await stop.wait()
            for task in [*tasks, *self._tasks]:
                task.cancel()

    def _worker(self, namespace: str, name: str) -> Worker | None:
        for worker in self._workers.values():
            if worker.namespace == namespace and worker.name == name:
                return worker
        return None

    # --- pods

    async def _follow_pods(self) -> None:
        await self._node.cluster.known()
        await self._zygote_there.wait()
        async for event in self._node.kube.watch(PODS, field_selector=f"spec.nodeName={NODE_NAME}"):
            if isinstance(event, Reset):
                self._reset(event.objects)
            elif isinstance(event, Deleted):
                self._gone(event.object["metadata"]["uid"])
            else:
                self._apply(event.object)

    def _reset(self, pods: list[Object]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid in self._workers.keys() - present:
            self._gone(uid)
        for pod in pods:
            ip = (pod.get("status") or {}).get("podIP")
            if ip and not pod["spec"].get("hostNetwork") and not _terminal(pod):
                self._node.addresses.reserve(ip)
        for data, _ in (self._listing or Listing()).pods.values():
            self._node.addresses.reserve(data["ip"])
        for pod in pods:
            self._apply(pod)
        listing, self._listing = self._listing, None
        if listing is not None:
            self._drop_orphans(listing, present)

    def _drop_orphans(self, listing: Listing, present: set[str]) -> None:
        """Ends what an earlier node process left of pods that the API does not have any more."""
        for record in listing.containers:
            if record["pod"] not in present and not record["data"].get("exec"):
                self._node.zygote.signal(record["id"], 9)
                self._node.exits.pop(record["id"], None)
                self._node.zygote.forget(record["id"])
        for uid, (data, fd) in listing.pods.items():
            if uid not in present:
                os.close(fd)
                self._node.addresses.give(data["ip"])
                self._node.zygote.release(uid)

    def _apply(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is not None:
            worker.update(pod)
            return
        if _terminal(pod):
            if pod["metadata"].get("deletionTimestamp"):
                runtime.spawn(self._finish(pod), name="finish pod", into=self._tasks)
            return
        worker = Worker(self._node, pod)
        listing = self._listing or Listing()
        records = [r for r in listing.containers if r["pod"] == uid and not r["data"].get("exec")]
        worker.adopt(records, listing.pods.get(uid))
        self._workers[uid] = worker
        worker.begin()

    async def _finish(self, pod: Object) -> None:
        meta = pod["metadata"]
        with contextlib.suppress(KubeError):
            await self._node.kube.delete(PODS, meta["name"], meta["namespace"], grace_s=0)

    def _gone(self, uid: str) -> None:
        """The API forgot the pod: whatever still runs is ended without grace."""
        worker = self._workers.get(uid)
        if worker is None:
            return
        if worker.over:
            del self._workers[uid]
            worker.close()
            return
        worker.end(0.0)
        runtime.spawn(self._after(worker), name="end pod", into=self._tasks)

    async def _after(self, worker: Worker) -> None:
        await worker.ended()
        if self._workers.pop(worker.uid, None) is not None:
            worker.close()

    # --- the zygote

    def _listed(self, listing: Listing) -> None:
        """The zygote is there, anew or again."""
        if self._zygote_there.is_set():
            held = {record["id"] for record in listing.containers if record["exit"] is None}
            if not any(id in held for id in self._node.exits):
                for worker in list(self._workers.values()):
                    worker.lost()
            for record in listing.containers:
                if record["exit"] is not None and record["id"] in self._node.exits:
                    self._exited({"id": record["id"], **record["exit"]})
            for _, fd in listing.pods.values():
                os.close(fd)
            return
        self._listing = listing
        self._zygote_there.set()

    def _exited(self, event: Object) -> None:
        found = self._node.exits.get(event["id"])
        if found is None:
            self._node.zygote.forget(event["id"])
            return
        found(event)

    # --- services and DNS

    def _changed(self, kind: str, namespace: str, name: str) -> None:
        if kind in ("Service", "EndpointSlice"):
            self._zone_cache = None
            if not self._nat_due:
                self._nat_due = True
                asyncio.get_running_loop().call_later(_COALESCE_S, self._apply_nat)
            return
        for worker in self._workers.values():
            if namespace and worker.namespace != namespace:
                continue
            wanted = {
                reference
                for volume in worker.pod["spec"].get("volumes") or ()
                for reference in volumes.references(volume)
            }
            if not namespace or (kind, name) in wanted or not worker.volumes.made:
                runtime.spawn(worker.refresh(), name="refresh", into=self._tasks)

    def _apply_nat(self) -> None:
        self._nat_due = False
        if not self._node.cluster.has("Service", "EndpointSlice"):
            return
        table = services.table(
            self._node.cluster.all("Service"),
            self._node.cluster.all("EndpointSlice"),
            node_ip=NODE_IP,
            own=(DNS_SERVICE_IP,),
        )
        try:
            self._nat.apply(table)
        except OSError as error:
            _log.error("service rules refused", error=error)
        if self._border is not None:
            self._border.node_ports(
                front.port for front in table if front.ip == NODE_IP and front.protocol == "TCP"
            )

    def _ports_refused(self, problems: Mapping[int, str]) -> None:
        """Tells whom it concerns that the host's loopback does not have a node port."""
        notes = []
        for service in self._node.cluster.all("Service"):
            meta = service["metadata"]
            for port in (service.get("spec") or {}).get("ports") or ():
                why = problems.get(port.get("nodePort") or 0)
                if why is not None:
                    text = f"port {port['nodePort']} of 127.0.0.1 cannot be opened: {why}"
                    notes.append(f"{text} (service {meta['namespace']}/{meta['name']})")
                    self._node.recorder.record(service, "NodePortUnavailable", text, warning=True)
        with contextlib.suppress(OSError):
            running.write_atomically(self._node.paths.pids / "node.notes", "\n".join(notes))

    def _zone(self) -> dns.Zone:
        if self._zone_cache is None:
            self._zone_cache = dns.build(
                CLUSTER_DOMAIN,
                self._node.cluster.all("Service"),
                self._node.cluster.all("EndpointSlice"),
            )
            self._zone_cache.addresses[HOST_NAME] = [HOST_IP]
        return self._zone_cache

    async def _serve_dns(self) -> None:
        await self._node.cluster.known()
        await self._resolver.serve(DNS_SERVICE_IP)

    async def _serve_border(self) -> None:
        if self._border is None:
            await asyncio.Event().wait()
        else:
            await self._border.serve()

    async def _dns_service(self) -> None:
        """Makes the Service object that the cluster's DNS is known by."""
        ports = [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        ]
        labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": {"clusterIP": DNS_SERVICE_IP, "ports": ports},
        }
        with contextlib.suppress(Conflict):
            await self._node.kube.create(SERVICES, body, "kube-system")
        await asyncio.Event().wait()

    # --- the node's own objects

    async def _node_object(self) -> None:
        """Registers the node and renews its lease."""
        labels = {
            "kubernetes.io/hostname": NODE_NAME,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": host.architecture(),
            "node-role.kubernetes.io/control-plane": "",
            "topology.kubernetes.io/region": "local",
            "topology.kubernetes.io/zone": "local",
        }
        meta = {"name": NODE_NAME, "labels": labels}
        body: Object = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {}}
        try:
            await self._node.kube.create(NODES, body)
        except Conflict:
            await self._node.kube.patch(
                NODES, NODE_NAME, {"metadata": {"labels": labels}}, type=MERGE
            )
        status = self._node_status()
        await self._report(status)
        for turn in itertools.count(1):
            await self._renew()
            await asyncio.sleep(_RENEW_S)
            if turn % _RENEWALS_PER_HEARTBEAT == 0:
                now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                for condition in status["conditions"]:
                    condition["lastHeartbeatTime"] = now
                await self._report({"conditions": status["conditions"]})

    async def _report(self, status: Object) -> None:
        await self._node.kube.patch(
            NODES, NODE_NAME, {"status": status}, type=MERGE, subresource="status"
        )

    async def _renew(self) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        spec = {"holderIdentity": NODE_NAME, "leaseDurationSeconds": _LEASE_S, "renewTime": now}
        try:
            await self._node.kube.patch(LEASES, NODE_NAME, {"spec": spec}, "kube-node-lease")
        except NotFound:
            meta = {"name": NODE_NAME, "namespace": "kube-node-lease"}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
            await self._node.kube.create(LEASES, {**body, "spec": spec}, "kube-node-lease")

    def _node_status(self) -> Object:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        size = {
            "cpu": str(int(self._node.capacity["cpu"])),
            "memory": f"{int(self._node.capacity['memory']) // 1024}Ki",
            "pods": "500",
        }
        conditions = [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "enough memory"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "enough disk"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "enough process ids"),
            ("Ready", "True", "KubeletReady", "the node is ready"),
        ]
        return {
            "addresses": [
                {"type": "InternalIP", "address": NODE_IP},
                {"type": "Hostname", "address": NODE_NAME},
            ],
            "capacity": size,
            "allocatable": size,
            "conditions": [
                {
                    "type": kind,
                    "status": value,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
                for kind, value, reason, message in conditions
            ],
            "nodeInfo": {
                "architecture": host.architecture(),
                "bootID": read("/proc/sys/kernel/random/boot_id").strip(),
                "containerRuntimeVersion": f"linkerd-local://{__version__}",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.36.0-local",
                "machineID": read("/etc/machine-id").strip(),
                "operatingSystem": "linux",
                "osImage": _os_name(),
                "systemUUID": "",
            },
        }

    def _check_readable(self) -> None:
        if users.here().alone:  # everybody is the one user
            return
        own = str(Path(host.__file__).resolve())
        closed = host.unreadable(own)
        if closed:
            _log.error(
                "pods that do not run as root cannot read the program",
                path=closed,
                hint="make it readable for all, e.g. chmod -R o+rX on the project",
            )


def _terminal(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _os_name() -> str:
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return "Linux"

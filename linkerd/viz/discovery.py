"""Prometheus' discovery of pods and nodes, for a Prometheus that was built without it. Pure.

Debian's Prometheus has no Kubernetes discovery. `rewritten` turns a configuration that asks for it
into one that reads files, and `pod_targets` and `node_targets` say what to write there: the target
groups and `__meta_kubernetes_*` labels that Prometheus itself would make.
Source: prometheus/prometheus discovery/kubernetes/{pod,node}.go (labels).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.errors import SettingsError

_NOT_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_META = "__meta_kubernetes_"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What one file of targets is about."""

    role: str
    """`pod` or `node`."""

    namespaces: frozenset[str]
    """Of pods; empty means all."""

    @property
    def file(self) -> str:
        """Name of the file, the same for equal discoveries."""
        return "-".join([self.role, *sorted(self.namespaces)]) + ".json"


Group = dict[str, Any]
"""A target group: targets and labels."""


def rewritten(
    config: Mapping[str, Any], folder: str, own_namespace: str = ""
) -> tuple[dict[str, Any], list[Discovery]]:
    """Returns the configuration with files for Kubernetes discovery, and which files it needs.

    Args:
        config: A parsed prometheus.yml.
        folder: Where the files will be.
        own_namespace: Of the pod, for `own_namespace: true`.

    Raises:
        SettingsError: a job asks for a role or an option that is not served here.
    """
    result: dict[str, Any] = copy.deepcopy(dict(config))
    needed: dict[Discovery, None] = {}
    for job in result.get("scrape_configs") or ():
        wanted = job.pop("kubernetes_sd_configs", None) or ()
        for entry in wanted:
            discovery = _discovery(job.get("job_name", ""), entry, own_namespace)
            needed[discovery] = None
            files = job.setdefault("file_sd_configs", [])
            files.append({"files": [f"{folder}/{discovery.file}"]})
    return result, list(needed)


def targets(
    discovery: Discovery, pods: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]
) -> list[Group]:
    """Returns the content of one file."""
    if discovery.role == "node":
        groups = [node_targets(node) for node in nodes]
    else:
        wanted = discovery.namespaces
        groups = [
            group
            for pod in pods
            if not wanted or pod["metadata"].get("namespace") in wanted
            for group in pod_targets(pod)
        ]
    return [group for group in groups if group["targets"]]


def pod_targets(pod: Mapping[str, Any]) -> list[Group]:
    """Returns one group per port of a pod's containers; a container without ports is one too."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    address = status.get("podIP") or ""
    if not address:
        return []
    labels = {
        _META + "namespace": meta.get("namespace", ""),
        _META + "pod_name": meta.get("name", ""),
        _META + "pod_ip": address,
        _META + "pod_ready": _ready(status),
        _META + "pod_phase": status.get("phase", ""),
        _META + "pod_node_name": spec.get("nodeName", ""),
        _META + "pod_host_ip": status.get("hostIP", ""),
        _META + "pod_uid": meta.get("uid", ""),
        **_described("pod", meta),
    }
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            labels[_META + "pod_controller_kind"] = owner.get("kind", "")
            labels[_META + "pod_controller_name"] = owner.get("name", "")
    groups = []
    for field, init in (("containers", "false"), ("initContainers", "true")):
        for container in spec.get(field) or ():
            own = {
                **labels,
                _META + "pod_container_name": container.get("name", ""),
                _META + "pod_container_image": container.get("image", ""),
                _META + "pod_container_init": init,
            }
            ports = container.get("ports") or ()
            if not ports:
                groups.append({"targets": [_host(address)], "labels": own})
            for port in ports:
                number = str(port["containerPort"])
                more = {
                    _META + "pod_container_port_number": number,
                    _META + "pod_container_port_name": port.get("name", ""),
                    _META + "pod_container_port_protocol": port.get("protocol", "TCP"),
                }
                groups.append(
                    {"targets": [f"{_host(address)}:{number}"], "labels": {**own, **more}}
                )
    return groups


def node_targets(node: Mapping[str, Any]) -> Group:
    """Returns the group of a node: its kubelet."""
    meta, status = node["metadata"], node.get("status") or {}
    addresses = {entry["type"]: entry["address"] for entry in status.get("addresses") or ()}
    order = ("InternalIP", "ExternalIP", "Hostname")
    address = next((addresses[kind] for kind in order if kind in addresses), "")
    endpoint = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    labels = {
        _META + "node_name": meta.get("name", ""),
        "instance": meta.get("name", ""),
        **_described("node", meta),
    }
    for kind, value in addresses.items():
        labels[_META + "node_address_" + _sanitised(kind)] = value
    found = [f"{_host(address)}:{endpoint or 10250}"] if address else []
    return {"targets": found, "labels": labels}


def _discovery(job: str, entry: Mapping[str, Any], own_namespace: str) -> Discovery:
    role = entry.get("role", "")
    others = set(entry) - {"role", "namespaces"}
    if role not in ("pod", "node") or others:
        wrong = ", ".join(sorted(others)) or f"role {role}"
        raise SettingsError(
            f"job {job}: kubernetes_sd_configs with {wrong} is not served by this Prometheus",
            hint="use the roles pod and node, without selectors",
        )
    namespaces = entry.get("namespaces") or {}
    names = set(namespaces.get("names") or ())
    if namespaces.get("own_namespace") and own_namespace:
        names.add(own_namespace)
    return Discovery(role, frozenset(names))


def _described(what: str, meta: Mapping[str, Any]) -> dict[str, str]:
    """Labels of an object's labels and annotations."""
    found = {}
    for kind in ("label", "annotation"):
        for key, value in (meta.get(kind + "s") or {}).items():
            name = _sanitised(key)
            found[f"{_META}{what}_{kind}_{name}"] = value
            found[f"{_META}{what}_{kind}present_{name}"] = "true"
    return found


def _sanitised(name: str) -> str:
    return _NOT_A_LABEL.sub("_", name)


def _ready(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready":
            return str(condition.get("status", "unknown")).lower()
    return "unknown"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address

"""ClusterIPs and node ports: given out when a service is written, freed when it is gone.

What is in use is read from the stored services, so nothing can leak.
Source: Kubernetes pkg/registry/core/service/storage/alloc.go (rules).
"""

from __future__ import annotations

import ipaddress
import random

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.status import bad_value, invalid
from linkerd.local.paths import SERVICE_CIDR
from linkerd.local.store import Obj, Store

NODE_PORTS = range(30000, 32768)
_NETWORK = ipaddress.ip_network(SERVICE_CIDR)
#: Addresses below are for services that ask for a fixed one, such as DNS.
_FIRST_DYNAMIC = 256
_DRAWS = 64


def allocate(kind: Kind, new: Obj, old: Obj | None, store: Store) -> None:
    """Gives a service its ClusterIP and node ports; leaves other kinds alone.

    Raises:
        ApiError: 422, a wanted address or port is taken or out of range.
    """
    if kind.resource != "services":
        return
    spec, before = new["spec"], (old or {}).get("spec") or {}
    others = [
        entry.decode()["spec"]
        for entry in store.list("services")
        if entry.key != (new["metadata"]["namespace"], new["metadata"]["name"])
    ]
    if spec.get("type") == "ExternalName":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
        return
    _cluster_ip(new, spec, before, {str(s.get("clusterIP")) for s in others})
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        _node_ports(
            new, spec, before, {p.get("nodePort") for s in others for p in s.get("ports") or ()}
        )
    else:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _cluster_ip(obj: Obj, spec: Obj, before: Obj, used: set[str]) -> None:
    held = before.get("clusterIP")
    wanted = spec.get("clusterIP") or held
    if held and held != "None" and spec.get("clusterIP") not in (None, "", held):
        raise _invalid(obj, "spec.clusterIPs[0]", spec["clusterIP"], "may not change once set")
    if not wanted:
        wanted = _free_ip(used)
    elif wanted != "None" and wanted != held:
        if wanted in used:
            raise _invalid(
                obj,
                "spec.clusterIPs",
                wanted,
                "failed to allocate IP " + wanted + ": provided IP is already allocated",
            )
        if not _in_range(wanted):
            raise _invalid(
                obj,
                "spec.clusterIPs",
                wanted,
                f"failed to allocate IP {wanted}: the provided network does not match the "
                f"current range ({SERVICE_CIDR})",
            )
    spec["clusterIP"] = wanted
    spec["clusterIPs"] = [wanted]


def _free_ip(used: set[str]) -> str:
    size = _NETWORK.num_addresses
    for _ in range(_DRAWS):
        address = str(_NETWORK[random.randrange(_FIRST_DYNAMIC, size - 1)])
        if address not in used:
            return address
    return next(
        address
        for number in range(_FIRST_DYNAMIC, size - 1)
        if (address := str(_NETWORK[number])) not in used
    )


def _in_range(text: str) -> bool:
    try:
        return ipaddress.ip_address(text) in _NETWORK
    except ValueError:
        return False


def _node_ports(obj: Obj, spec: Obj, before: Obj, used: set[int | None]) -> None:
    held = {
        (port.get("port"), port.get("protocol")): port.get("nodePort")
        for port in before.get("ports") or ()
    }
    taken = set(used)
    for index, port in enumerate(spec.get("ports") or ()):
        wanted = port.get("nodePort") or held.get((port.get("port"), port.get("protocol")))
        path = f"spec.ports[{index}].nodePort"
        if not wanted:
            wanted = next(p for p in random.sample(NODE_PORTS, len(NODE_PORTS)) if p not in taken)
        elif wanted not in NODE_PORTS:
            raise _invalid(
                obj, path, wanted, "provided port is not in the valid range. The range of valid "
                "ports is 30000-32767",
            )  # fmt: skip
        elif wanted in used:
            raise _invalid(obj, path, wanted, "provided port is already allocated")
        port["nodePort"] = wanted
        taken.add(wanted)


def _invalid(obj: Obj, path: str, value: object, why: str) -> Exception:
    return invalid("Service", "", obj["metadata"]["name"], [bad_value(path, value, why)])

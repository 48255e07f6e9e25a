"""EndpointSlices and Endpoints: which pods stand behind a Service.

Source: kubernetes staging/src/k8s.io/endpointslice/reconciler.go, utils.go (conditions, ports).
"""

from __future__ import annotations

from collections import defaultdict

from linkerd.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from linkerd.local.controllers.facts import (
    Object,
    is_finished,
    is_terminating,
    matches,
    ready_since,
    template_hash,
)
from linkerd.local.controllers.plan import Create, Delete, Plan, Replace, owner_reference
from linkerd.local.controllers.world import Key, World

SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS = "service.kubernetes.io/headless"
_ZONE = "topology.kubernetes.io/zone"
_ENDPOINTS_MAX = 100


def services_of(world: World, pod: Object) -> list[Key]:
    """Returns the keys of the services that select a pod."""
    labels = pod["metadata"].get("labels")
    return [
        Key(SERVICES.plural, service["metadata"]["namespace"], service["metadata"]["name"])
        for service in world.all(SERVICES, pod["metadata"]["namespace"])
        if service["spec"].get("selector")
        and matches({"matchLabels": service["spec"]["selector"]}, labels)
    ]


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the slices and the Endpoints object to write for one service."""
    result = Plan()
    service = world.at(key)
    if service is None or is_terminating(service) or not service["spec"].get("selector"):
        return result
    if service["spec"].get("type") == "ExternalName":
        return result
    pods = _pods(world, service)
    wanted = _slices(world, service, pods)
    existing = {
        item["metadata"]["name"]: item
        for item in world.all(ENDPOINT_SLICES, key.namespace)
        if (item["metadata"].get("labels") or {}).get(SERVICE_NAME) == key.name
        and (item["metadata"].get("labels") or {}).get(_MANAGED_BY) == _MANAGER
    }
    for name, body in wanted.items():
        known = existing.pop(name, None)
        if known is None:
            result.actions.append(Create(ENDPOINT_SLICES, body))
        elif _differs(known, body, ("endpoints", "ports")):
            result.actions.append(Replace(ENDPOINT_SLICES, _over(known, body)))
    result.actions.extend(Delete(ENDPOINT_SLICES, known) for known in existing.values())
    _legacy(result, world, service, wanted)
    return result


def _pods(world: World, service: Object) -> list[Object]:
    selector = {"matchLabels": service["spec"]["selector"]}
    found = [
        pod
        for pod in world.all(PODS, service["metadata"]["namespace"])
        if matches(selector, pod["metadata"].get("labels"))
        and (pod.get("status") or {}).get("podIP")
        and not is_finished(pod)
    ]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def _slices(world: World, service: Object, pods: list[Object]) -> dict[str, Object]:
    by_ports: dict[tuple[tuple[str, str, int | None, str], ...], list[Object]] = defaultdict(list)
    for pod in pods:
        by_ports[_ports(service, pod)].append(_endpoint(world, service, pod))
    if not by_ports:
        by_ports[()] = []
    metadata = service["metadata"]
    result = {}
    for ports, endpoints in by_ports.items():
        for start in range(0, max(len(endpoints), 1), _ENDPOINTS_MAX):
            name = f"{metadata['name']}-{template_hash({'p': ports, 's': start})[:5]}"
            result[name] = _slice(service, name, ports, endpoints[start : start + _ENDPOINTS_MAX])
    return result


def _slice(
    service: Object,
    name: str,
    ports: tuple[tuple[str, str, int | None, str], ...],
    endpoints: list[Object],
) -> Object:
    metadata = service["metadata"]
    labels = {
        **(metadata.get("labels") or {}),
        SERVICE_NAME: metadata["name"],
        _MANAGED_BY: _MANAGER,
    }
    if service["spec"].get("clusterIP") == "None":
        labels[_HEADLESS] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(SERVICES, service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [_port(*port) for port in ports],
    }


def _port(name: str, protocol: str, number: int | None, app_protocol: str) -> Object:
    port: Object = {"name": name, "protocol": protocol, "port": number}
    if app_protocol:
        port["appProtocol"] = app_protocol
    return port


def _endpoint(world: World, service: Object, pod: Object) -> Object:
    spec, status, metadata = pod["spec"], pod["status"], pod["metadata"]
    serving = ready_since(pod) is not None
    terminating = is_terminating(pod)
    unready_too = service["spec"].get("publishNotReadyAddresses", False)
    endpoint: Object = {
        "addresses": [status["podIP"]],
        "conditions": {
            "ready": unready_too or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": spec.get("nodeName"),
        "targetRef": {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = spec["hostname"]
    node = world.get(NODES, spec.get("nodeName") or "")
    zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(_ZONE)
    if zone:
        endpoint["zone"] = zone
    return endpoint


def _ports(service: Object, pod: Object) -> tuple[tuple[str, str, int | None, str], ...]:
    found = []
    for port in service["spec"].get("ports") or ():
        number = _target(port, pod)
        if number is not None:
            protocol = port.get("protocol", "TCP")
            found.append((port.get("name", ""), protocol, number, port.get("appProtocol", "")))
    return tuple(found)


def _target(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    if target.isdigit():
        return int(target)
    sidecars = (c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy"))
    for container in (*pod["spec"]["containers"], *sidecars):
        for declared in container.get("ports") or ():
            same = declared.get("protocol", "TCP") == port.get("protocol", "TCP")
            if declared.get("name") == target and same:
                return int(declared["containerPort"])
    return None


def _legacy(result: Plan, world: World, service: Object, slices: dict[str, Object]) -> None:
    """The old Endpoints object, which people still look at."""
    subsets = []
    for item in slices.values():
        ready: list[Object] = []
        unready: list[Object] = []
        for endpoint in item["endpoints"]:
            if endpoint["conditions"]["terminating"] and not endpoint["conditions"]["ready"]:
                continue
            address = {
                "ip": endpoint["addresses"][0],
                "nodeName": endpoint["nodeName"],
                "targetRef": endpoint["targetRef"],
            }
            (ready if endpoint["conditions"]["ready"] else unready).append(address)
        if ready or unready:
            subset: Object = {"addresses": ready, "notReadyAddresses": unready}
            subset = {name: value for name, value in subset.items() if value}
            subsets.append({**subset, "ports": item["ports"]})
    metadata = service["metadata"]
    body: Object = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {
                **(metadata.get("labels") or {}),
                "endpoints.kubernetes.io/managed-by": "endpoint-controller",
            },
            "ownerReferences": [owner_reference(SERVICES, service)],
        },
        "subsets": subsets,
    }
    known = world.get(ENDPOINTS, metadata["name"], metadata["namespace"])
    if known is None:
        result.actions.append(Create(ENDPOINTS, body))
    elif _differs(known, body, ("subsets",)):
        result.actions.append(Replace(ENDPOINTS, _over(known, body)))


def _differs(known: Object, body: Object, fields: tuple[str, ...]) -> bool:
    return known["metadata"].get("labels") != body["metadata"]["labels"] or any(
        (known.get(name) or []) != body[name] for name in fields
    )


def _over(known: Object, body: Object) -> Object:
    kept = {**known["metadata"], "labels": body["metadata"]["labels"]}
    return {**body, "metadata": kept}

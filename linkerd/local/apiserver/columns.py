"""The columns of `kubectl get`, kind by kind: a name and how to fill a cell.

Source: Kubernetes pkg/printers/internalversion/printers.go (columns and texts).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linkerd.local.apiserver.humane import age, duration, joined, pairs, seconds_since
from linkerd.local.store import Obj

#: (object, now in seconds since the epoch) → the cell.
Cell = Callable[[Obj, float], Any]

_NONE = "<none>"
_UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `wide` ones show with `-o wide` only."""

    name: str
    cell: Cell
    type: str = "string"
    wide: bool = False
    format: str = ""
    description: str = ""


def name(obj: Obj, now: float) -> str:
    """The object's name."""
    return str(obj["metadata"]["name"])


def created(obj: Obj, now: float) -> str:
    """The object's age."""
    return age(obj["metadata"].get("creationTimestamp"), now)


NAME = Column("Name", name, format="name")
AGE = Column("Age", created)


def _at(path: str, default: Any = "") -> Cell:
    parts = path.split(".")

    def cell(obj: Obj, now: float) -> Any:
        value: Any = obj
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        return default if value is None else value

    return cell


def _spec(obj: Obj) -> Obj:
    return obj.get("spec") or {}


def _status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def _text(title: str, cell: Cell) -> Column:
    return Column(title, cell)


def _wide(title: str, cell: Cell) -> Column:
    return Column(title, cell, wide=True)


def _number(title: str, path: str) -> Column:
    return Column(title, _at(path, 0), type="integer")


# --- pods


def _pod_ready(obj: Obj, now: float) -> str:
    spec, status = _spec(obj), _status(obj)
    sidecars = {
        c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"
    }
    total = len(spec.get("containers") or ()) + len(sidecars)
    states = list(status.get("containerStatuses") or ())
    states += [s for s in status.get("initContainerStatuses") or () if s["name"] in sidecars]
    ready = sum(1 for s in states if s.get("ready") and "running" in (s.get("state") or {}))
    return f"{ready}/{total}"


def pod_phase(obj: Obj) -> str:
    """Returns what the STATUS column says of a pod."""
    spec, status = _spec(obj), _status(obj)
    reason = status.get("reason") or status.get("phase") or "Unknown"
    initializing, reason = _init_phase(spec, status, reason)
    if not initializing:
        reason = _container_phase(status, reason)
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Failed", "Succeeded"):
            return "Terminating"
    return str(reason)


def _init_phase(spec: Obj, status: Obj, reason: str) -> tuple[bool, str]:
    declared = {c["name"]: c for c in spec.get("initContainers") or ()}
    for index, state in enumerate(status.get("initContainerStatuses") or ()):
        now = state.get("state") or {}
        terminated, waiting = now.get("terminated"), now.get("waiting")
        sidecar = declared.get(state.get("name"), {}).get("restartPolicy") == "Always"
        if terminated is not None and terminated.get("exitCode") == 0:
            continue
        if sidecar and state.get("started"):
            continue
        if terminated is not None:
            return True, "Init:" + _exit_reason(terminated)
        if waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            return True, "Init:" + str(waiting["reason"])
        return True, f"Init:{index}/{len(declared)}"
    return False, reason


def _exit_reason(terminated: Obj) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _container_phase(status: Obj, reason: str) -> str:
    running = False
    for state in reversed(status.get("containerStatuses") or []):
        now = state.get("state") or {}
        if (now.get("waiting") or {}).get("reason"):
            reason = now["waiting"]["reason"]
        elif now.get("terminated") is not None:
            reason = _exit_reason(now["terminated"])
        elif state.get("ready") and now.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(
            c.get("type") == "Ready" and c.get("status") == "True"
            for c in status.get("conditions") or ()
        )
        return "Running" if ready else "NotReady"
    return reason


def _pod_restarts(obj: Obj, now: float) -> str:
    status = _status(obj)
    spec, states = _spec(obj), list(status.get("initContainerStatuses") or ())
    if not _init_phase(spec, status, "")[0]:  # then only those that go on running count
        sidecars = [
            c["name"]
            for c in spec.get("initContainers") or ()
            if c.get("restartPolicy") == "Always"
        ]
        states = [s for s in states if s["name"] in sidecars]
        states += status.get("containerStatuses") or ()
    count = sum(s.get("restartCount", 0) for s in states)
    ends = [
        since
        for s in states
        if (ended := ((s.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
        and (since := seconds_since(ended, now)) is not None
    ]
    return f"{count} ({duration(min(ends))} ago)" if count and ends else str(count)


def _readiness_gates(obj: Obj, now: float) -> str:
    gates = _spec(obj).get("readinessGates") or ()
    if not gates:
        return _NONE
    met = {c["type"] for c in _status(obj).get("conditions") or () if c.get("status") == "True"}
    return f"{sum(1 for g in gates if g['conditionType'] in met)}/{len(gates)}"


# --- workloads


def _containers(obj: Obj) -> list[Obj]:
    spec = _spec(obj)
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"].get("spec") or {}
    return list(((spec.get("template") or {}).get("spec") or {}).get("containers") or ())


def _workload_wide() -> tuple[Column, ...]:
    return (
        _wide("Containers", lambda obj, now: joined(c.get("name") for c in _containers(obj))),
        _wide("Images", lambda obj, now: joined(c.get("image") for c in _containers(obj))),
        _wide("Selector", lambda obj, now: selector_text(_spec(obj).get("selector"))),
    )


def selector_text(selector: Obj | None) -> str:
    """Returns a selector object as `a=b,c in (d,e)`."""
    if not selector:
        return _NONE
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return pairs(selector)
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or ():
        values = ",".join(e.get("values") or ())
        match e["operator"]:
            case "In":
                parts.append(f"{e['key']} in ({values})")
            case "NotIn":
                parts.append(f"{e['key']} notin ({values})")
            case "Exists":
                parts.append(e["key"])
            case _:
                parts.append("!" + e["key"])
    return joined(parts)


def _fraction(have: str, want: str) -> Cell:
    def cell(obj: Obj, now: float) -> str:
        return f"{_at(have, 0)(obj, now)}/{_at(want, 0)(obj, now)}"

    return cell


def _job_status(obj: Obj, now: float) -> str:
    conditions = {c["type"] for c in _status(obj).get("conditions") or () if c["status"] == "True"}
    for kind, text in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if kind in conditions:
            return text
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return "FailureTarget" if "FailureTarget" in conditions else "Running"


def _job_completions(obj: Obj, now: float) -> str:
    spec, done = _spec(obj), _status(obj).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 1
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(obj: Obj, now: float) -> str:
    status = _status(obj)
    start = seconds_since(status.get("startTime"), now)
    if start is None:
        return ""
    end = seconds_since(status.get("completionTime"), now) or 0
    return duration(start - end)


# --- services


def _service_ip(obj: Obj, now: float) -> str:
    return str(_spec(obj).get("clusterIP") or _NONE)


def _external_ip(obj: Obj, now: float) -> str:
    spec = _spec(obj)
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName"))
    ingress = (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [i.get("ip") or i.get("hostname") for i in ingress]
    addresses += spec.get("externalIPs") or ()
    return joined(addresses, "<pending>" if spec.get("type") == "LoadBalancer" else _NONE)


def _service_ports(obj: Obj, now: float) -> str:
    return joined(
        f"{p['port']}:{p['nodePort']}/{p.get('protocol')}"
        if p.get("nodePort")
        else f"{p.get('port')}/{p.get('protocol')}"
        for p in _spec(obj).get("ports") or ()
    )


def _endpoints(obj: Obj, now: float) -> str:
    return joined(
        (
            f"{address['ip']}:{port['port']}"
            for subset in obj.get("subsets") or ()
            for address in subset.get("addresses") or ()
            for port in subset.get("ports") or ()
        ),
        most=3,
    )


def _slice_endpoints(obj: Obj, now: float) -> str:
    return joined(
        (a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()), "<unset>", 3
    )


def _node_status(obj: Obj, now: float) -> str:
    conditions = {c["type"]: c["status"] for c in _status(obj).get("conditions") or ()}
    text = {"True": "Ready", "False": "NotReady"}.get(conditions.get("Ready", ""), "Unknown")
    return text + (",SchedulingDisabled" if _spec(obj).get("unschedulable") else "")


def _node_roles(obj: Obj, now: float) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return joined(sorted(label[len(prefix) :] for label in labels if label.startswith(prefix)))


def _node_address(kind: str) -> Cell:
    return lambda obj, now: next(
        (a["address"] for a in _status(obj).get("addresses") or () if a["type"] == kind), _NONE
    )


# --- the rest


def _count(field: str) -> Cell:
    return lambda obj, now: len(obj.get(field) or ())


def _involved(obj: Obj, now: float) -> str:
    about = obj.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _last_seen(obj: Obj, now: float) -> str:
    series = obj.get("series") or {}
    return age(
        series.get("lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("eventTime")
        or obj["metadata"].get("creationTimestamp"),
        now,
    )


def _role_of(obj: Obj, now: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind')}/{reference.get('name')}"


def _subjects(kind: str) -> Cell:
    return lambda obj, now: joined(
        (
            f"{s['namespace']}/{s['name']}" if s.get("namespace") else s["name"]
            for s in obj.get("subjects") or ()
            if s.get("kind") == kind
        ),
        "",
    )


def _api_service(obj: Obj, now: float) -> str:
    service = _spec(obj).get("service")
    return f"{service['namespace']}/{service['name']}" if service else "Local"


def _api_available(obj: Obj, now: float) -> str:
    for condition in _status(obj).get("conditions") or ():
        if condition["type"] == "Available":
            good = condition["status"] == "True"
            return "True" if good else f"{condition['status']} ({condition.get('reason')})"
    return "Unknown"


def _yes(value: Any) -> str:
    return "True" if value else "False"


_BINDING = (
    NAME,
    _text("Role", _role_of),
    AGE,
    _wide("Users", _subjects("User")),
    _wide("Groups", _subjects("Group")),
    _wide("ServiceAccounts", _subjects("ServiceAccount")),
)
_ROLE = (NAME, _text("Created At", _at("metadata.creationTimestamp")))
_WEBHOOKS = (NAME, Column("Webhooks", _count("webhooks"), type="integer"), AGE)
_REPLICAS = (
    NAME,
    _number("Desired", "spec.replicas"),
    _number("Current", "status.replicas"),
    _number("Ready", "status.readyReplicas"),
    AGE,
    *_workload_wide(),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        NAME,
        _text("Ready", _pod_ready),
        _text("Status", lambda obj, now: pod_phase(obj)),
        _text("Restarts", _pod_restarts),
        AGE,
        _wide("IP", _at("status.podIP", _NONE)),
        _wide("Node", _at("spec.nodeName", _NONE)),
        _wide("Nominated Node", _at("status.nominatedNodeName", _NONE)),
        _wide("Readiness Gates", _readiness_gates),
    ),
    "services": (
        NAME,
        _text("Type", _at("spec.type")),
        _text("Cluster-IP", _service_ip),
        _text("External-IP", _external_ip),
        _text("Port(s)", _service_ports),
        AGE,
        _wide("Selector", lambda obj, now: pairs(_spec(obj).get("selector"))),
    ),
    "endpoints": (NAME, _text("Endpoints", _endpoints), AGE),
    "endpointslices.discovery.k8s.io": (
        NAME,
        _text("AddressType", _at("addressType")),
        _text(
            "Ports",
            lambda obj, now: joined((p.get("port") for p in obj.get("ports") or ()), "<unset>", 3),
        ),
        _text("Endpoints", _slice_endpoints),
        AGE,
    ),
    "deployments.apps": (
        NAME,
        _text("Ready", _fraction("status.readyReplicas", "spec.replicas")),
        _number("Up-to-date", "status.updatedReplicas"),
        _number("Available", "status.availableReplicas"),
        AGE,
        *_workload_wide(),
    ),
    "replicasets.apps": _REPLICAS,
    "replicationcontrollers": _REPLICAS,
    "statefulsets.apps": (
        NAME,
        _text("Ready", _fraction("status.readyReplicas", "spec.replicas")),
        AGE,
        *_workload_wide()[:2],
    ),
    "daemonsets.apps": (
        NAME,
        _number("Desired", "status.desiredNumberScheduled"),
        _number("Current", "status.currentNumberScheduled"),
        _number("Ready", "status.numberReady"),
        _number("Up-to-date", "status.updatedNumberScheduled"),
        _number("Available", "status.numberAvailable"),
        _text(
            "Node Selector",
            lambda obj, now: pairs(
                ((_spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector")
            ),
        ),
        AGE,
        *_workload_wide(),
    ),
    "jobs.batch": (
        NAME,
        _text("Status", _job_status),
        _text("Completions", _job_completions),
        _text("Duration", _job_duration),
        AGE,
        *_workload_wide(),
    ),
    "cronjobs.batch": (
        NAME,
        _text("Schedule", _at("spec.schedule")),
        _text("Timezone", _at("spec.timeZone", _NONE)),
        _text("Suspend", lambda obj, now: _yes(_spec(obj).get("suspend"))),
        Column("Active", lambda obj, now: len(_status(obj).get("active") or ()), type="integer"),
        _text(
            "Last Schedule",
            lambda obj, now: (
                age(_status(obj)["lastScheduleTime"], now)
                if _status(obj).get("lastScheduleTime")
                else _NONE
            ),
        ),
        AGE,
        *_workload_wide(),
    ),
    "namespaces": (NAME, _text("Status", _at("status.phase")), AGE),
    "nodes": (
        NAME,
        _text("Status", _node_status),
        _text("Roles", _node_roles),
        AGE,
        _text("Version", _at("status.nodeInfo.kubeletVersion")),
        _wide("Internal-IP", _node_address("InternalIP")),
        _wide("External-IP", _node_address("ExternalIP")),
        _wide("OS-Image", _at("status.nodeInfo.osImage", _UNKNOWN)),
        _wide("Kernel-Version", _at("status.nodeInfo.kernelVersion", _UNKNOWN)),
        _wide("Container-Runtime", _at("status.nodeInfo.containerRuntimeVersion", _UNKNOWN)),
    ),
    "configmaps": (
        NAME,
        Column(
            "Data",
            lambda obj, now: len(obj.get("data") or ()) + len(obj.get("binaryData") or ()),
            type="integer",
        ),
        AGE,
    ),
    "secrets": (
        NAME,
        _text("Type", _at("type")),
        Column("Data", _count("data"), type="integer"),
        AGE,
    ),
    "serviceaccounts": (NAME, Column("Secrets", _count("secrets"), type="integer"), AGE),
    "events": (
        _text("Last Seen", _last_seen),
        _text("Type", _at("type")),
        _text("Reason", _at("reason")),
        _text("Object", _involved),
        _wide("Subobject", _at("involvedObject.fieldPath")),
        _wide("Source", _at("source.component")),
        _text("Message", lambda obj, now: str(obj.get("message", "")).strip()),
        _wide("First Seen", lambda obj, now: age(obj.get("firstTimestamp"), now)),
        _wide("Count", _at("count", 1)),
        Column("Name", name, wide=True, format="name"),
    ),
    "leases.coordination.k8s.io": (NAME, _text("Holder", _at("spec.holderIdentity")), AGE),
    "roles.rbac.authorization.k8s.io": _ROLE,
    "clusterroles.rbac.authorization.k8s.io": _ROLE,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "customresourcedefinitions.apiextensions.k8s.io": _ROLE,
    "apiservices.apiregistration.k8s.io": (
        NAME,
        _text("Service", _api_service),
        _text("Available", _api_available),
        AGE,
    ),
    "ingresses.networking.k8s.io": (
        NAME,
        _text("Class", _at("spec.ingressClassName", _NONE)),
        _text(
            "Hosts",
            lambda obj, now: joined(
                (r.get("host") or "*" for r in _spec(obj).get("rules") or ()), "*", 3
            ),
        ),
        _text(
            "Address",
            lambda obj, now: joined(
                (
                    i.get("ip") or i.get("hostname")
                    for i in (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
                ),
                "",
            ),
        ),
        _text("Ports", lambda obj, now: "80, 443" if _spec(obj).get("tls") else "80"),
        AGE,
    ),
    "networkpolicies.networking.k8s.io": (
        NAME,
        _text("Pod-Selector", lambda obj, now: selector_text(_spec(obj).get("podSelector"))),
        AGE,
    ),
    "poddisruptionbudgets.policy": (
        NAME,
        _text("Min Available", _at("spec.minAvailable", "N/A")),
        _text("Max Unavailable", _at("spec.maxUnavailable", "N/A")),
        _number("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ),
    "persistentvolumeclaims": (
        NAME,
        _text("Status", _at("status.phase")),
        _text("Volume", _at("spec.volumeName")),
        _text("Capacity", _at("status.capacity.storage")),
        _text("StorageClass", _at("spec.storageClassName")),
        AGE,
    ),
    "storageclasses.storage.k8s.io": (
        NAME,
        _text("Provisioner", _at("provisioner")),
        _text("ReclaimPolicy", _at("reclaimPolicy")),
        _text("VolumeBindingMode", _at("volumeBindingMode")),
        _text(
            "AllowVolumeExpansion", lambda obj, now: _yes(obj.get("allowVolumeExpansion")).lower()
        ),
        AGE,
    ),
    "priorityclasses.scheduling.k8s.io": (
        NAME,
        _number("Value", "value"),
        _text("Global-Default", lambda obj, now: _yes(obj.get("globalDefault")).lower()),
        AGE,
    ),
    "horizontalpodautoscalers.autoscaling": (
        NAME,
        _text(
            "Reference",
            lambda obj, now: "{kind}/{name}".format(**_spec(obj)["scaleTargetRef"]),
        ),
        _text("MinPods", _at("spec.minReplicas", "<unset>")),
        _number("MaxPods", "spec.maxReplicas"),
        _number("Replicas", "status.currentReplicas"),
        AGE,
    ),
}

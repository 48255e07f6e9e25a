"""Takes out of an object what injection put in.

`config.linkerd.io/…` annotations stay, as they are the user's; so does `linkerd.io/inject:
disabled`. Source: linkerd2 pkg/inject/uninject.go. The one exception is a list of opaque ports
that injection derived from the pod's own: left behind, it would narrow the list of the next proxy.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from linkerd.inject import keys, pod, proxy, workload

Object = dict[str, Any]

_CONTAINERS = (proxy.PROXY, proxy.INIT)
_VOLUMES = (
    proxy.IDENTITY_VOLUME,
    proxy.TOKEN_VOLUME,
    "linkerd-proxy-init-xtables-lock",
)
_PREFIX = "linkerd.io"
_OPAQUE_PORTS = "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"


def uninject(document: Object) -> tuple[Object, bool]:
    """Returns the object without proxy, and whether anything was taken out.

    The object itself when nothing was; otherwise a copy.
    """
    kind = document.get("kind")
    if kind == "Namespace":
        return _without_metadata(document)
    found = workload.parse(document)
    if found is None:
        return document, False
    result = copy.deepcopy(document)
    target = workload.parse(result)
    assert target is not None
    spec = target.template["spec"]
    if _derived_opaque_ports(target):
        del target.template["metadata"]["annotations"][keys.OPAQUE_PORTS]
    changed = _drop(spec, "containers", _CONTAINERS)
    changed |= _drop(spec, "initContainers", _CONTAINERS)
    changed |= _drop(spec, "volumes", _VOLUMES)
    if keys.CONTROL_PLANE_COMPONENT not in target.labels:
        changed |= _clean(target.template.get("metadata"))
        if target.path:
            changed |= _clean(result.get("metadata"))
    return (result, True) if changed else (document, False)


def _derived_opaque_ports(target: workload.Workload) -> bool:
    """Returns whether injection wrote the annotation: then the proxy's list is not taken from it."""
    written = target.annotations.get(keys.OPAQUE_PORTS)
    spec = target.template["spec"]
    entries = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    used = [
        variable.get("value")
        for container in entries
        if container.get("name") == proxy.PROXY
        for variable in container.get("env") or ()
        if variable.get("name") == _OPAQUE_PORTS
    ]
    return written is not None and bool(used) and used != [pod.resolved_ports(spec, written)]


def _without_metadata(document: Object) -> tuple[Object, bool]:
    result = copy.deepcopy(document)
    return (result, True) if _clean(result.get("metadata")) else (document, False)


def _drop(spec: Object, field: str, names: Iterable[str]) -> bool:
    entries = spec.get(field)
    if not isinstance(entries, list):
        return False
    kept = [entry for entry in entries if entry.get("name") not in names]
    if len(kept) == len(entries):
        return False
    if kept or field == "containers":
        spec[field] = kept
    else:
        del spec[field]
    return True


def _clean(metadata: Any) -> bool:
    if not isinstance(metadata, dict):
        return False
    changed = False
    for field in ("annotations", "labels"):
        entries = metadata.get(field)
        if not isinstance(entries, dict):
            continue
        gone = [key for key, value in entries.items() if _is_ours(key, value)]
        for key in gone:
            del entries[key]
        if gone and not entries:
            del metadata[field]
        changed |= bool(gone)
    return changed


def _is_ours(key: str, value: Any) -> bool:
    if key == keys.INJECT and value == keys.DISABLED:
        return False
    return key.startswith(_PREFIX)

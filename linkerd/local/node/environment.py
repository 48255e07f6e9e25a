"""A container's environment and arguments, from its spec and what it refers to. Pure.

Source: Kubernetes pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables),
third_party/forked/golang/expansion (the `$(VAR)` syntax), pkg/kubelet/envvars (service variables).
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from linkerd.errors import LocalError

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
    "n": 1e-9, "u": 1e-6,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]?i?)")

Getter = Callable[[str, str], dict[str, Any] | None]
"""(kind, name) → ConfigMap or Secret of the pod's namespace, None if it does not exist."""


class Missing(LocalError):
    """Something that a container refers to is not there (yet)."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Returns `text` with `$(NAME)` replaced; unknown names stay as they are, `$$` is `$`."""

    def replace(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return values.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


def quantity(text: str | int | float) -> float:
    """Returns the number that a quantity such as `100m` or `64Mi` stands for.

    Raises:
        LocalError: it is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match.group(2) not in _UNITS:
        raise LocalError(f"quantity {text} is malformed")
    return float(match.group(1)) * _UNITS[match.group(2)]


def field_ref(pod: Mapping[str, Any], path: str) -> str:
    """Returns the value of a downward API field of a pod.

    Raises:
        LocalError: there is no such field.
    """
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    match = re.fullmatch(r"metadata\.(labels|annotations)(?:\['(.+)'\])?", path)
    if match:
        entries = meta.get(match.group(1)) or {}
        if match.group(2):
            return str(entries.get(match.group(2), ""))
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(entries.items()))
    simple = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": ",".join(item["ip"] for item in status.get("podIPs") or ()),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": ",".join(item["ip"] for item in status.get("hostIPs") or ()),
    }
    if path not in simple:
        raise LocalError(f"field {path} cannot be read by a container")
    return str(simple[path] or "")


def resource_ref(
    pod: Mapping[str, Any],
    reference: Mapping[str, Any],
    container: str,
    capacity: Mapping[str, float],
) -> str:
    """Returns a container's resource limit or request, in units of the divisor, rounded up.

    A limit that is not set is the node's capacity, a request that is not set 0.

    Raises:
        LocalError: the container or the resource does not exist.
    """
    wanted = reference.get("containerName") or container
    spec = pod["spec"]
    found = next(
        (
            item
            for item in (*spec["containers"], *(spec.get("initContainers") or ()))
            if item["name"] == wanted
        ),
        None,
    )
    side, _, name = str(reference["resource"]).partition(".")
    if found is None or side not in ("limits", "requests"):
        raise LocalError(f"resource {reference['resource']} of container {wanted} does not exist")
    value = ((found.get("resources") or {}).get(side) or {}).get(name)
    number = quantity(value) if value is not None else 0.0
    if value is None and side == "limits":
        number = capacity.get(name, 0.0)
    divisor = quantity(reference.get("divisor") or 1) or 1.0
    return str(math.ceil(round(number / divisor, 6)))


def build(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    *,
    image: Mapping[str, str],
    services: Iterable[Mapping[str, Any]],
    get: Getter,
    capacity: Mapping[str, float],
) -> dict[str, str]:
    """Returns a container's whole environment.

    Args:
        pod: With status.podIP set.
        container: One of its containers.
        image: Variables of the image.
        services: Services whose variables the pod gets.
        get: Looks up config maps and secrets.
        capacity: Of the node, by resource name.

    Raises:
        Missing: a config map, secret or key that is not optional is not there.
    """
    known = service_variables(services)
    own: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            reference = source.get(key)
            if reference:
                prefix = source.get("prefix") or ""
                for key_name, data in _data(kind, reference, get).items():
                    if _NAME.fullmatch(prefix + key_name):
                        own[prefix + key_name] = data.decode("utf-8", "replace")
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            value = _value_from(pod, container, variable["valueFrom"], get, capacity)
            if value is None:
                continue
            own[name] = value
        else:
            own[name] = expand(str(variable.get("value") or ""), {**known, **own})
    return {**image, **known, **own}


def _value_from(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    source: Mapping[str, Any],
    get: Getter,
    capacity: Mapping[str, float],
) -> str | None:
    if source.get("fieldRef"):
        return field_ref(pod, source["fieldRef"]["fieldPath"])
    if source.get("resourceFieldRef"):
        return resource_ref(pod, source["resourceFieldRef"], container["name"], capacity)
    for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        reference = source.get(key)
        if reference:
            data = _data(kind, reference, get)
            if reference["key"] in data:
                return data[reference["key"]].decode("utf-8", "replace")
            if reference.get("optional"):
                return None
            raise Missing(
                f"couldn't find key {reference['key']} in {kind} "
                f"{pod['metadata']['namespace']}/{reference['name']}"
            )
    raise LocalError(f"environment of container {container['name']} has an unknown source")


def _data(kind: str, reference: Mapping[str, Any], get: Getter) -> dict[str, bytes]:
    found = get(kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise Missing(f'{kind.lower()} "{reference["name"]}" not found')
    return data_of(found)


def data_of(found: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the entries of a ConfigMap or Secret as bytes."""
    secret = found.get("kind") == "Secret"
    entries: dict[str, bytes] = {}
    for key, value in (found.get("data") or {}).items():
        entries[key] = _decoded(value) if secret else str(value).encode()
    for key, value in (found.get("binaryData") or {}).items():
        entries[key] = _decoded(value)
    return entries


def service_variables(services: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns `WEB_SERVICE_HOST` and its kin for services that have a ClusterIP."""
    variables: dict[str, str] = {}
    for service in services:
        spec = service.get("spec") or {}
        ip, ports = spec.get("clusterIP"), spec.get("ports") or ()
        if not ip or ip == "None" or not ports:
            continue
        prefix = service["metadata"]["name"].upper().replace("-", "_")
        variables[f"{prefix}_SERVICE_HOST"] = ip
        variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        first = ports[0]
        url = f"{first.get('protocol', 'TCP').lower()}://{ip}:{first['port']}"
        variables[f"{prefix}_PORT"] = url
        for port in ports:
            protocol = port.get("protocol", "TCP")
            if port.get("name"):
                name = port["name"].upper().replace("-", "_")
                variables[f"{prefix}_SERVICE_PORT_{name}"] = str(port["port"])
            base = f"{prefix}_PORT_{port['port']}_{protocol}"
            variables[base] = f"{protocol.lower()}://{ip}:{port['port']}"
            variables[f"{base}_PROTO"] = protocol.lower()
            variables[f"{base}_PORT"] = str(port["port"])
            variables[f"{base}_ADDR"] = ip
    return variables


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except ValueError:
        return b""


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

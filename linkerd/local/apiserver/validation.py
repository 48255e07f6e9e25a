"""Rules of built-in kinds whose breach would surprise a user later: required and fixed fields.

Not every rule of Kubernetes: those that manifests in practice break, with Kubernetes' texts.
Source: Kubernetes pkg/apis/core/validation/validation.go, pkg/apis/apps/validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from linkerd.local.apiserver import schema, selectors
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.status import bad_value, cause, required, unsupported
from linkerd.local.store import Obj

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_ENV_NAME = re.compile(r"[^=\x00-\x1f\x7f]+")
_IMMUTABLE = "field is immutable"


def findings(kind: Kind, new: Obj, old: Obj | None) -> list[Obj]:
    """Returns the rules that an object of a built-in kind breaks; empty when all is well."""
    rule = _RULES.get(kind.resource)
    try:
        return rule(new, old) if rule is not None else []
    except (AttributeError, TypeError, KeyError) as error:
        # A field has another JSON type than its kind says, a list where a map belongs.
        return [cause("FieldValueTypeInvalid", "spec", f"malformed: {error}")]


def _list(obj: Any, name: str) -> list[Any]:
    value = obj.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError(f"{name} must be a list")
    return value


def pod_spec(spec: Obj, path: str, claims: Iterable[Any] = ()) -> list[Obj]:
    """Returns what is wrong with a pod's spec at `path`; `claims` are volumes that it will have."""
    found: list[Obj] = []
    containers = _list(spec, "containers")
    if not containers:
        found.append(required(f"{path}.containers"))
    volumes = {volume.get("name") for volume in _list(spec, "volumes")} | set(claims)
    for index, volume in enumerate(_list(spec, "volumes")):
        if not volume.get("name"):
            found.append(required(f"{path}.volumes[{index}].name"))
    found += _duplicates(_list(spec, "volumes"), f"{path}.volumes")
    named = _list(spec, "initContainers") + containers
    found += _duplicates(named, f"{path}.containers")
    for field in ("initContainers", "containers"):
        for index, container in enumerate(_list(spec, field)):
            found += _container(container, f"{path}.{field}[{index}]", volumes)
    policy = spec.get("restartPolicy")
    if policy not in ("Always", "OnFailure", "Never"):
        found.append(unsupported(f"{path}.restartPolicy", policy, ["Always", "OnFailure", "Never"]))
    return found


def _container(container: Obj, path: str, volumes: set[Any]) -> list[Obj]:
    found: list[Obj] = []
    name = container.get("name")
    if not name:
        found.append(required(f"{path}.name"))
    elif not _DNS_LABEL.fullmatch(name):
        found.append(bad_value(f"{path}.name", name, "a lowercase RFC 1123 label is required"))
    if not container.get("image"):
        found.append(required(f"{path}.image"))
    for index, mount in enumerate(_list(container, "volumeMounts")):
        if not mount.get("mountPath"):
            found.append(required(f"{path}.volumeMounts[{index}].mountPath"))
        if mount.get("name") not in volumes:
            found.append(
                cause(
                    "FieldValueNotFound",
                    f"{path}.volumeMounts[{index}].name",
                    f'Not found: "{mount.get("name")}"',
                )
            )
    for index, variable in enumerate(_list(container, "env")):
        field = f"{path}.env[{index}]"
        if not variable.get("name"):
            found.append(required(f"{field}.name"))
        elif not _ENV_NAME.fullmatch(variable["name"]):
            found.append(bad_value(f"{field}.name", variable["name"], "no environment name"))
        value = variable.get("value")
        if value is not None and not isinstance(value, str):
            found.append(
                cause(
                    "FieldValueTypeInvalid",
                    f"{field}.value",
                    f"Invalid value: {value}: must be a string",
                )
            )
    for index, port in enumerate(_list(container, "ports")):
        found += _port(port.get("containerPort"), f"{path}.ports[{index}].containerPort")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) and not any(
            container[probe].get(kind) for kind in ("httpGet", "tcpSocket", "exec", "grpc")
        ):
            found.append(required(f"{path}.{probe}", "must specify a handler type"))
    return found


def _port(value: Any, path: str) -> list[Obj]:
    if value is None:
        return [required(path)]
    if not isinstance(value, int) or not 1 <= value <= 65535:
        return [bad_value(path, value, "must be between 1 and 65535, inclusive")]
    return []


def _duplicates(items: list[Any], path: str) -> list[Obj]:
    seen: set[Any] = set()
    found = []
    for index, item in enumerate(items):
        name = item.get("name")
        if name in seen:
            found.append(
                cause("FieldValueDuplicate", f"{path}[{index}].name", f'Duplicate value: "{name}"')
            )
        seen.add(name)
    return found


def _pod(new: Obj, old: Obj | None) -> list[Obj]:
    if old is None:
        return pod_spec(new.get("spec") or {}, "spec")
    changed = _without_mutable(new["spec"])
    if not old["spec"].get("nodeName"):
        # A binding sets it, once.
        changed.pop("nodeName", None)
    if changed == _without_mutable(old["spec"]):
        return []
    return [
        cause(
            "FieldValueForbidden",
            "spec",
            "Forbidden: pod updates may not change fields other than "
            "`spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
            "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)",
        )
    ]


def _without_mutable(spec: Obj) -> Obj:
    kept = {
        key: value
        for key, value in spec.items()
        if key
        not in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers")
    }
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [
                {k: v for k, v in container.items() if k not in ("image", "resources")}
                for container in kept[field]
            ]
    return kept


def _workload(new: Obj, old: Obj | None) -> list[Obj]:
    spec = new.get("spec") or {}
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    found: list[Obj] = []
    if not selector:
        found.append(required("spec.selector"))
    else:
        found += _selector(selector, labels)
    if old is not None and new["kind"] != "ReplicationController":
        before = (old.get("spec") or {}).get("selector")
        if before is not None and before != selector:
            found.append(bad_value("spec.selector", str(selector), _IMMUTABLE))
    replicas = spec.get("replicas", 1)
    if not isinstance(replicas, int) or replicas < 0:
        found.append(bad_value("spec.replicas", replicas, "must be greater than or equal to 0"))
    template = (spec.get("template") or {}).get("spec") or {}
    claims = [
        (claim.get("metadata") or {}).get("name") for claim in _list(spec, "volumeClaimTemplates")
    ]
    found += pod_spec(template, "spec.template.spec", claims)
    if template.get("restartPolicy") != "Always":
        found.append(
            unsupported(
                "spec.template.spec.restartPolicy", template.get("restartPolicy"), ["Always"]
            )
        )
    return found


def _selector(selector: Obj, labels: Obj) -> list[Obj]:
    plain = selector.get("matchLabels", selector) if "matchExpressions" not in selector else None
    try:
        parsed = selectors.from_object(
            selector if plain is None or "matchLabels" in selector else {"matchLabels": selector}
        )
    except (KeyError, TypeError, AttributeError):
        return [bad_value("spec.selector", str(selector), "malformed selector")]
    if not parsed.matches(labels):
        return [
            bad_value(
                "spec.template.metadata.labels",
                str(labels),
                "`selector` does not match template `labels`",
            )
        ]
    return []


def _job(new: Obj, old: Obj | None) -> list[Obj]:
    return _job_spec(new.get("spec") or {}, "spec")


def _job_spec(spec: Obj, path: str) -> list[Obj]:
    template = (spec.get("template") or {}).get("spec") or {}
    found = pod_spec(template, f"{path}.template.spec")
    if template.get("restartPolicy") not in ("OnFailure", "Never"):
        found.append(
            unsupported(
                f"{path}.template.spec.restartPolicy",
                template.get("restartPolicy"),
                ["OnFailure", "Never"],
            )
        )
    return found


def _cron_job(new: Obj, old: Obj | None) -> list[Obj]:
    spec = new.get("spec") or {}
    found: list[Obj] = []
    schedule = spec.get("schedule")
    if not schedule:
        found.append(required("spec.schedule"))
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        found.append(
            bad_value(
                "spec.schedule",
                schedule,
                f"expected exactly 5 fields, found {len(schedule.split())}: {schedule.split()}",
            )
        )
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    return found + _job_spec(inner, "spec.jobTemplate.spec")


def _service(new: Obj, old: Obj | None) -> list[Obj]:
    spec = new.get("spec") or {}
    types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
    found: list[Obj] = []
    if spec.get("type") not in types:
        found.append(unsupported("spec.type", spec.get("type"), types))
    if spec.get("type") == "ExternalName":
        return found if spec.get("externalName") else [*found, required("spec.externalName")]
    ports = _list(spec, "ports")
    if not ports and spec.get("clusterIP") != "None":
        found.append(required("spec.ports"))
    seen: set[Any] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        found += _port(port.get("port"), f"{path}.port")
        if len(ports) > 1 and not port.get("name"):
            found.append(required(f"{path}.name"))
        address = (port.get("protocol"), port.get("port"))
        if address in seen:
            found.append(
                cause("FieldValueDuplicate", path, f"Duplicate value: port {port.get('port')}")
            )
        seen.add(address)
    return found


def _data_keys(new: Obj, old: Obj | None) -> list[Obj]:
    found = [
        bad_value(
            f"data[{key}]",
            key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
            "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
            "'[-._a-zA-Z0-9]+')",
        )
        for field in ("data", "binaryData")
        for key in new.get(field) or {}
        if not _CONFIG_KEY.fullmatch(key)
    ]
    fixed = ("data", "binaryData", "immutable")
    if old is not None and old.get("immutable") and any(new.get(f) != old.get(f) for f in fixed):
        text = f"Forbidden: {_IMMUTABLE} when `immutable` is set"
        found.append(cause("FieldValueForbidden", "data", text))
    if old is not None and new["kind"] == "Secret" and new.get("type") != old.get("type"):
        found.append(bad_value("type", new.get("type"), _IMMUTABLE))
    for key, value in (new.get("data") or {}).items():
        if not isinstance(value, str):
            found.append(
                cause(
                    "FieldValueTypeInvalid",
                    f"data[{key}]",
                    f"Invalid value: {value}: must be a string",
                )
            )
    return found


def _binding(new: Obj, old: Obj | None) -> list[Obj]:
    reference = new.get("roleRef") or {}
    found = [required(f"roleRef.{field}") for field in ("kind", "name") if not reference.get(field)]
    if old is not None and old.get("roleRef") != reference:
        found.append(bad_value("roleRef", str(reference), "cannot change roleRef"))
    for index, subject in enumerate(_list(new, "subjects")):
        path = f"subjects[{index}]"
        if not subject.get("name"):
            found.append(required(f"{path}.name"))
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            found.append(required(f"{path}.namespace"))
        kinds = ["ServiceAccount", "User", "Group"]
        if subject.get("kind") not in kinds:
            found.append(unsupported(f"{path}.kind", subject.get("kind"), kinds))
    return found


def _role(new: Obj, old: Obj | None) -> list[Obj]:
    return [
        required(f"rules[{index}].verbs", "verbs must contain at least one value")
        for index, rule in enumerate(_list(new, "rules"))
        if not rule.get("verbs")
    ]


def _crd(new: Obj, old: Obj | None) -> list[Obj]:
    spec = new.get("spec") or {}
    names = spec.get("names") or {}
    found = [required(f"spec.{name}") for name in ("group", "scope") if not spec.get(name)]
    found += [required(f"spec.names.{name}") for name in ("plural", "kind") if not names.get(name)]
    expected = f"{names.get('plural')}.{spec.get('group')}"
    if not found and new["metadata"]["name"] != expected:
        found.append(
            bad_value(
                "metadata.name", new["metadata"]["name"], 'must be spec.names.plural+"."+spec.group'
            )
        )
    versions = _list(spec, "versions")
    if not versions:
        found.append(required("spec.versions"))
    if versions and sum(1 for version in versions if version.get("storage")) != 1:
        found.append(
            bad_value(
                "spec.versions", "", "must have exactly one version marked as storage version"
            )
        )
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        declared = (version.get("schema") or {}).get("openAPIV3Schema")
        if not declared:
            found.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        found += [
            bad_value(where, "", "is no structural schema")
            for where in schema.malformed(declared or {}, f"{path}.schema.openAPIV3Schema")
        ]
        needed = ("name", "type", "jsonPath")
        for field, names in (
            ("additionalPrinterColumns", needed),
            ("selectableFields", ("jsonPath",)),
        ):
            found += [
                required(f"{path}.{field}[{at}].{name}")
                for at, item in enumerate(_list(version, field))
                for name in names
                if not item.get(name)
            ]
        if not version.get("name"):
            found.append(required(f"{path}.name"))
    if (spec.get("conversion") or {}).get("strategy") == "Webhook":
        found.append(unsupported("spec.conversion.strategy", "Webhook", ["None"]))
    return found


def _webhooks(new: Obj, old: Obj | None) -> list[Obj]:
    found: list[Obj] = []
    for index, hook in enumerate(_list(new, "webhooks")):
        path = f"webhooks[{index}]"
        client = hook.get("clientConfig") or {}
        if not hook.get("name"):
            found.append(required(f"{path}.name"))
        if bool(client.get("service")) == bool(client.get("url")):
            found.append(
                required(f"{path}.clientConfig", "exactly one of url or service is required")
            )
        if "v1" not in (hook.get("admissionReviewVersions") or []):
            found.append(
                bad_value(
                    f"{path}.admissionReviewVersions",
                    str(hook.get("admissionReviewVersions")),
                    "must include at least one of v1, v1beta1",
                )
            )
        if hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            found.append(
                unsupported(
                    f"{path}.sideEffects", hook.get("sideEffects"), ["None", "NoneOnDryRun"]
                )
            )
        if hook.get("matchConditions"):
            found.append(
                cause(
                    "FieldValueForbidden",
                    f"{path}.matchConditions",
                    "Forbidden: CEL match conditions are not supported by linkerd local",
                )
            )
    return found


_RULES: dict[str, Callable[[Obj, Obj | None], list[Obj]]] = {
    "pods": _pod,
    "services": _service,
    "configmaps": _data_keys,
    "secrets": _data_keys,
    "replicationcontrollers": _workload,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "daemonsets.apps": _workload,
    "statefulsets.apps": _workload,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "roles.rbac.authorization.k8s.io": _role,
    "clusterroles.rbac.authorization.k8s.io": _role,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
}

"""Rules that hold for the metadata of every object: names, labels, what only the server may set.

Source: Kubernetes apimachinery/pkg/api/validation, pkg/util/validation (rules and texts).
"""

from __future__ import annotations

import datetime
import re
import secrets
import uuid

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.status import bad_value, cause, required
from linkerd.local.store import Obj

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_BASE_MAX = 58

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
    "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or "
    "'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_PATH_NAMED = ("rbac.authorization.k8s.io",)
_LABEL_NAMED = ("namespaces",)

#: Fields of metadata that updates carry over from the stored object.
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
    "name",
    "generateName",
)


def now() -> str:
    """Returns the time as Kubernetes writes it, to the second, UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def later(seconds: float) -> str:
    """Returns the time that many seconds from now."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(base: str) -> str:
    """Returns `base` with five random letters, at most 63 long."""
    return base[:_GENERATED_BASE_MAX] + "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


def stamp_new(kind: Kind, obj: Obj, namespace: str) -> None:
    """Sets what only the server sets on a new object and drops what clients may not set."""
    metadata = obj["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"):
        metadata.pop(name, None)
    if kind.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated_name(metadata["generateName"])
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    if kind.generation:
        metadata["generation"] = 1
    else:
        metadata.pop("generation", None)


def carry_over(old: Obj, new: Obj) -> None:
    """Gives an update the metadata that only the server sets, from the stored object."""
    stored, metadata = old["metadata"], new["metadata"]
    for name in _SERVER_OWNED:
        if name in stored:
            metadata[name] = stored[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)
    metadata["resourceVersion"] = stored["resourceVersion"]


def findings(kind: Kind, obj: Obj) -> list[Obj]:
    """Returns what is wrong with an object's metadata; empty when all is well."""
    metadata = obj["metadata"]
    found: list[Obj] = []
    name = metadata.get("name")
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    elif (why := _name_problem(kind, name)) is not None:
        found.append(bad_value("metadata.name", name, why))
    for field_name in ("labels", "annotations"):
        found += _map_findings(f"metadata.{field_name}", metadata.get(field_name))
    for finalizer in metadata.get("finalizers") or ():
        if not isinstance(finalizer, str) or not finalizer:
            found.append(bad_value("metadata.finalizers", finalizer, "must be a name"))
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                found.append(
                    bad_value(
                        f"metadata.ownerReferences[{index}].{key}", "", f"{key} must not be empty"
                    )
                )
    return found


def update_findings(new: Obj, old: Obj | None) -> list[Obj]:
    """Returns what speaks against a change of metadata; nothing may begin to wait for an end."""
    if old is None or not old["metadata"].get("deletionTimestamp"):
        return []
    before = old["metadata"].get("finalizers") or ()
    added = [one for one in new["metadata"].get("finalizers") or () if one not in before]
    if not added:
        return []
    text = (
        "Forbidden: no new finalizers can be added if the object is being deleted, found new "
        f"finalizers {added}"
    )
    return [cause("FieldValueForbidden", "metadata.finalizers", text)]


def _name_problem(kind: Kind, name: str) -> str | None:
    if kind.group in _PATH_NAMED:
        return "may not contain '/' or '%'" if "/" in name or "%" in name else None
    if kind.resource in ("services", *_LABEL_NAMED):
        pattern, text = (
            (_SERVICE, _SERVICE_TEXT) if kind.resource == "services" else (_LABEL, _LABEL_TEXT)
        )
        if len(name) > 63:
            return "must be no more than 63 characters"
        return None if pattern.fullmatch(name) else text
    if len(name) > 253:
        return "must be no more than 253 characters"
    return None if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_TEXT


def _map_findings(path: str, values: object) -> list[Obj]:
    if values is None:
        return []
    if not isinstance(values, dict):
        return [bad_value(path, str(values), "must be a map of strings")]
    found = []
    for key, value in values.items():
        prefix, slash, name = key.rpartition("/")
        if (slash and not _SUBDOMAIN.fullmatch(prefix)) or not _QUALIFIED.fullmatch(name):
            found.append(bad_value(path, key, "name part must be a qualified name"))
        elif len(name) > 63:
            found.append(bad_value(path, key, "name part must be no more than 63 characters"))
        if not isinstance(value, str):
            found.append(
                cause(
                    "FieldValueTypeInvalid",
                    f"{path}.{key}",
                    f"Invalid value: {value}: must be a string",
                )
            )
        elif path.endswith("labels") and (len(value) > 63 or not _LABEL_VALUE.fullmatch(value)):
            found.append(
                bad_value(
                    path,
                    value,
                    "a valid label must be an empty string or consist of alphanumeric characters, "
                    "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
                    "'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                )
            )
    return found

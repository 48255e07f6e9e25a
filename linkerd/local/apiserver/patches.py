"""JSON patch, merge patch and strategic merge patch as functions over decoded JSON.

None of them changes its arguments.
Source: RFC 6902, RFC 7386; Kubernetes apimachinery/pkg/util/strategicpatch (directives, keys).
"""

from __future__ import annotations

import copy
from typing import Any

from linkerd.local.apiserver.status import ApiError, bad_request


def unprocessable(message: str) -> ApiError:
    """A patch that is well formed but cannot be applied (422)."""
    return ApiError(422, "Invalid", message)


# --- RFC 7386


def merge(target: Any, patch: Any) -> Any:
    """Returns `target` with a merge patch applied: maps merge, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


# --- RFC 6902


def json_patch(target: Any, operations: Any) -> Any:
    """Returns `target` with a JSON patch applied.

    Raises:
        ApiError: 400 when the patch is malformed; 422 when an operation cannot be done.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    result = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("error decoding patch: an operation needs op and path")
        result = _operate(result, operation)
    return result


def _operate(doc: Any, operation: dict[str, Any]) -> Any:
    op, path = operation.get("op"), operation["path"]
    if op in ("add", "replace", "test"):
        if "value" not in operation:
            raise bad_request(f"error decoding patch: {op} of {path} needs a value")
        value = copy.deepcopy(operation["value"])
        if op == "add":
            return _add(doc, path, value)
        if op == "test":
            if _get(doc, path) != value:
                raise unprocessable(f"testing path {path} value failed")
            return doc
        _get(doc, path)
        return _add(_remove(doc, path), path, value) if path else value
    if op == "remove":
        return _remove(doc, path)
    if op in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise bad_request(f"error decoding patch: {op} to {path} needs from")
        value = copy.deepcopy(_get(doc, source))
        return _add(_remove(doc, source) if op == "move" else doc, path, value)
    raise unprocessable(f"Unexpected kind: {op}")


def pointer(path: str) -> list[str]:
    """Returns the parts of a JSON pointer (RFC 6901).

    Raises:
        ApiError: 400, it does not begin with a slash.
    """
    if not path:
        return []
    if not path.startswith("/"):
        raise bad_request(f"error decoding patch: path {path!r} must start with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _get(doc: Any, path: str) -> Any:
    for part in pointer(path):
        doc = _step(doc, part, path)
    return doc


def _step(doc: Any, part: str, path: str) -> Any:
    if isinstance(doc, dict) and part in doc:
        return doc[part]
    if isinstance(doc, list) and part.isdigit() and int(part) < len(doc):
        return doc[int(part)]
    raise unprocessable(
        f"the server rejected our request due to an error in our request: "
        f"doc is missing path: {path}"
    )


def _add(doc: Any, path: str, value: Any) -> Any:
    parts = pointer(path)
    if not parts:
        return value
    parent = doc
    for part in parts[:-1]:
        parent = _step(parent, part, path)
    last = parts[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and (
        last == "-" or (last.isdigit() and int(last) <= len(parent))
    ):
        parent.insert(len(parent) if last == "-" else int(last), value)
    else:
        raise unprocessable(f"add operation does not apply: doc is missing path: {path}")
    return doc


def _remove(doc: Any, path: str) -> Any:
    parts = pointer(path)
    if not parts:
        return None
    parent = doc
    for part in parts[:-1]:
        parent = _step(parent, part, path)
    _step(parent, parts[-1], path)
    if isinstance(parent, dict):
        del parent[parts[-1]]
    else:
        del parent[int(parts[-1])]
    return doc


# --- strategic merge

#: (name of the list's owner or "", name of the list) → the key that identifies its items. The
#: owner distinguishes lists of the same name; "" is any other owner.
MERGE_KEYS: dict[tuple[str, str], str] = {
    ("", "containers"): "name",
    ("", "initContainers"): "name",
    ("", "ephemeralContainers"): "name",
    ("", "volumes"): "name",
    ("", "env"): "name",
    ("", "volumeMounts"): "mountPath",
    ("", "volumeDevices"): "devicePath",
    ("containers", "ports"): "containerPort",
    ("initContainers", "ports"): "containerPort",
    ("ephemeralContainers", "ports"): "containerPort",
    ("spec", "ports"): "port",
    ("", "imagePullSecrets"): "name",
    ("", "hostAliases"): "ip",
    ("", "topologySpreadConstraints"): "topologyKey",
    ("", "resourceClaims"): "name",
    ("status", "conditions"): "type",
    ("status", "addresses"): "type",
    ("status", "podIPs"): "ip",
    ("metadata", "ownerReferences"): "uid",
    ("", "webhooks"): "name",
    ("", "secrets"): "name",
    ("spec", "taints"): "key",
}
#: Lists of plain values that merge as sets.
MERGE_SETS = frozenset({("metadata", "finalizers")})

#: Lists that real strategic merge replaces as a whole although the name occurs above.
_REPLACED = frozenset({("projected", "sources")})


def list_key(owner: str, name: str) -> str | None:
    """Returns the key that identifies items of a list of maps; None if it is replaced whole."""
    if (owner, name) in _REPLACED:
        return None
    return MERGE_KEYS.get((owner, name)) or MERGE_KEYS.get(("", name))


def strategic(target: Any, patch: Any, owner: str = "") -> Any:
    """Returns `target` with a strategic merge patch of a built-in kind applied.

    Args:
        target: The current map.
        patch: The patch; may carry $patch, $retainKeys, $setElementOrder/…, and
            $deleteFromPrimitiveList/… directives.
        owner: The name of the field that holds `target`; for items of a list the list's name.

    Raises:
        ApiError: 400, a directive is unknown or an item lacks its key.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if not k.startswith("$")}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unrecognized $patch directive {directive!r}")
    result = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        keep = set(patch["$retainKeys"])
        result = {key: value for key, value in result.items() if key in keep}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name) or [] if item not in value]
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            order = patch.get(f"$setElementOrder/{key}")
            result[key] = _strategic_list(result.get(key), value, owner, key, order)
        else:
            result[key] = strategic(result.get(key), value, key)
    for key, order in patch.items():
        name = key.partition("/")[2]
        if key.startswith("$setElementOrder/") and name not in patch and name in result:
            result[name] = _ordered(result[name], order, list_key(owner, name))
    return result


def _strategic_list(current: Any, patch: list[Any], owner: str, name: str, order: Any) -> list[Any]:
    current = current if isinstance(current, list) else []
    if (owner, name) in MERGE_SETS:
        merged = current + [item for item in patch if item not in current]
        return _ordered(merged, order, None)
    key = list_key(owner, name)
    if key is None or not all(isinstance(item, dict) for item in patch):
        return copy.deepcopy(patch)
    if any(item.get("$patch") == "replace" and key not in item for item in patch):
        return [copy.deepcopy(item) for item in patch if not (item.keys() <= {"$patch"})]
    result = list(current)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(result) if _same(old, item, key)), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if not _same(old, item, key)]
        elif at is None:
            result.append(strategic({}, item, name))
        else:
            result[at] = strategic(result[at], item, name)
    return _ordered(result, order, key)


def _same(old: Any, item: dict[str, Any], key: str) -> bool:
    if not isinstance(old, dict) or old.get(key) != item.get(key):
        return False
    if key in ("containerPort", "port") and "protocol" in old and "protocol" in item:
        return bool(old["protocol"] == item["protocol"])
    return True


def _ordered(items: list[Any], order: Any, key: str | None) -> list[Any]:
    if not isinstance(order, list):
        return items
    names = [item.get(key) if key and isinstance(item, dict) else item for item in order]
    place = {repr(name): index for index, name in enumerate(names)}

    def rank(pair: tuple[int, Any]) -> tuple[int, int]:
        index, item = pair
        name = item.get(key) if key and isinstance(item, dict) else item
        return place.get(repr(name), len(place)), index

    return [item for _, item in sorted(enumerate(items), key=rank)]

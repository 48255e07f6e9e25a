"""Server-side apply: each manager owns the fields that it applied; what it drops goes away.

Ownership is kept in `metadata.managedFields` in Kubernetes' `fieldsV1` form. Only objects that
were applied at least once carry it: plain updates of other objects track nothing, which no client
of the cluster can tell from an object without conflicts.
Source: Kubernetes sigs.k8s.io/structured-merge-diff (fields, ownership rules), simplified.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.metadata import now
from linkerd.local.apiserver.patches import list_key
from linkerd.local.apiserver.schema import of as schema_of
from linkerd.local.apiserver.status import ApiError
from linkerd.local.store import Obj

#: A field: names of map keys ("f:spec"), items of keyed lists (`k:{"name":"web"}`), set members.
Path = tuple[str, ...]

_IGNORED = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata", "f:name"),
    ("f:metadata", "f:namespace"),
    ("f:metadata", "f:uid"),
    ("f:metadata", "f:resourceVersion"),
    ("f:metadata", "f:generation"),
    ("f:metadata", "f:creationTimestamp"),
    ("f:metadata", "f:managedFields"),
}


class Lists:
    """How lists of a kind merge: by keys, as sets, or not at all."""

    def __init__(self, kind: Kind) -> None:
        self._custom = kind.crd is not None
        self._schema = schema_of(kind) if self._custom else {}

    def keys(self, path: Path) -> tuple[str, ...] | None:
        """Returns the keys of a list's items; () for a set, None for a list owned as a whole."""
        names = [part[2:] for part in path if part.startswith("f:")]
        if names == ["metadata", "finalizers"]:
            return ()
        if self._custom and names[:1] != ["metadata"]:
            return self._declared(path)
        owner = names[-2] if len(names) > 1 else ""
        key = list_key(owner, names[-1]) if names else None
        if key in ("containerPort", "port"):
            return key, "protocol"
        return (key,) if key else None

    def _declared(self, path: Path) -> tuple[str, ...] | None:
        schema: Any = self._schema
        for part in path:
            if part.startswith("f:"):
                name = part[2:]
                inner = (schema.get("properties") or {}).get(name)
                schema = inner if inner is not None else schema.get("additionalProperties")
            else:
                schema = schema.get("items")
            if not isinstance(schema, dict):
                return None
        match schema.get("x-kubernetes-list-type"):
            case "map":
                return tuple(schema.get("x-kubernetes-list-map-keys") or ())
            case "set":
                return ()
        return None


def fields(value: Any, lists: Lists, path: Path = ()) -> dict[Path, Any]:
    """Returns the leaves of an object: path → value; empty maps and whole lists are leaves."""
    found: dict[Path, Any] = {}
    if isinstance(value, dict) and (value or not path):
        for key, inner in value.items():
            found.update(fields(inner, lists, (*path, f"f:{key}")))
        return {p: v for p, v in found.items() if p not in _IGNORED}
    if isinstance(value, list) and (keys := lists.keys(path)) is not None:
        for item in value:
            part = _item_name(item, keys)
            if part is None:
                return {path: value}
            at = (*path, part)
            found[at] = None
            if keys:
                found.update(fields(item, lists, at))
        return found
    return {path: value}


def _item_name(item: Any, keys: tuple[str, ...]) -> str | None:
    if not keys:
        return "v:" + json.dumps(item)
    if not isinstance(item, dict) or keys[0] not in item:
        return None
    named = {key: item[key] for key in sorted(keys) if key in item}
    if "protocol" in keys:
        named.setdefault("protocol", "TCP")
    return "k:" + json.dumps(named, separators=(",", ":"), sort_keys=True)


def encode(paths: set[Path]) -> Obj:
    """Returns paths in the form of `fieldsV1`."""
    root: Obj = {}
    for path in sorted(paths):
        node = root
        for part in path:
            node = node.setdefault(part, {})
        if path and path[-1].startswith("k:"):
            node["."] = {}
    return root


def decode(node: Obj, path: Path = ()) -> set[Path]:
    """Returns the paths that `fieldsV1` holds."""
    if not node and path:
        return {path}
    found: set[Path] = set()
    for part, inner in node.items():
        if part == ".":
            found.add(path)
        else:
            found |= decode(inner, (*path, part))
    return found


def first(kind: Kind, applied: Obj, manager: str) -> Obj:
    """Returns an object to be created by apply, with its manager's ownership."""
    obj = copy.deepcopy(applied)
    obj["metadata"].pop("managedFields", None)
    owned = set(fields(applied, Lists(kind)))
    obj["metadata"]["managedFields"] = [_managed(kind, manager, "Apply", "", owned)]
    return obj


def onto(kind: Kind, old: Obj, applied: Obj, manager: str, force: bool, subresource: str) -> Obj:
    """Returns the stored object with an applied one merged in.

    Fields that the manager applied before and no longer does are removed unless others own them.

    Raises:
        ApiError: 409, another manager owns a field with another value and `force` is false.
    """
    lists = Lists(kind)
    wanted = fields(applied, lists)
    managed = list(old["metadata"].get("managedFields") or ())
    mine, others = _split(managed, manager, subresource)
    current = fields(old, lists)
    conflicts = [
        (entry["manager"], path)
        for entry in others
        for path in decode(entry["fieldsV1"])
        if path in wanted and wanted[path] != {} and current.get(path) != wanted[path]
    ]
    if conflicts and not force:
        raise _conflict(conflicts)
    owned_by_others: set[Path] = set()
    taken = {path for _, path in conflicts}
    for entry in others:
        left = decode(entry["fieldsV1"]) - taken
        entry["fieldsV1"] = encode(left)
        owned_by_others |= left
    dropped = mine - wanted.keys() - owned_by_others
    new: Obj = _merged(_without(old, dropped, lists), applied, lists, ())
    meta = new["metadata"]
    if mine != set(wanted) or conflicts or not managed:
        entry = _managed(kind, manager, "Apply", subresource, set(wanted))
        meta["managedFields"] = [e for e in others if e["fieldsV1"]] + [entry]
    else:
        meta["managedFields"] = managed
    if not applied["metadata"].get("resourceVersion"):
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
    return new


def after_update(
    old: Obj, new: Obj, managed: list[Obj] | None, manager: str, subresource: str
) -> Obj:
    """Returns an updated object with the ownership that a plain update leaves.

    The updater takes over the fields it changed; fields that are gone have no owner.
    """
    if not managed:
        return new
    sent = new["metadata"].get("managedFields")
    if sent == [] or sent == [{}]:
        new["metadata"].pop("managedFields")
        return new
    lists = _AnyLists(managed)
    before, after = fields(old, lists), fields(new, lists)
    changed = {p for p, v in after.items() if p not in before or before[p] != v}
    if subresource == "status":
        changed = {p for p in changed if p[0] == "f:status"}
    elif "status" in old:
        changed = {p for p in changed if p[0] != "f:status"}
    gone = before.keys() - after.keys()
    entries = []
    mine: set[Path] = set()
    for entry in managed:
        owned = decode(entry["fieldsV1"])
        own = (entry["manager"], entry["operation"], entry.get("subresource", "")) == (
            manager,
            "Update",
            subresource,
        )
        if own:
            mine = owned
            continue
        left = owned - changed - gone
        if left:
            entries.append(entry if left == owned else {**entry, "fieldsV1": encode(left)})
    update = (mine | changed) - gone
    if update and manager:
        api_version = new.get("apiVersion") or old["apiVersion"]
        entries.append(_entry(api_version, manager, "Update", subresource, update))
    new["metadata"]["managedFields"] = entries
    return new


class _AnyLists(Lists):
    """Reads from existing ownership which lists are keyed, so that no schema is needed."""

    def __init__(self, managed: list[Obj]) -> None:
        self._keys: dict[Path, tuple[str, ...]] = {}
        for entry in managed:
            for path in decode(entry["fieldsV1"]):
                for index, part in enumerate(path):
                    if part.startswith("k:"):
                        self._keys[path[:index]] = tuple(json.loads(part[2:]))
                    elif part.startswith("v:"):
                        self._keys[path[:index]] = ()

    def keys(self, path: Path) -> tuple[str, ...] | None:
        return self._keys.get(path)


def _split(managed: list[Obj], manager: str, subresource: str) -> tuple[set[Path], list[Obj]]:
    mine: set[Path] = set()
    others: list[Obj] = []
    for entry in managed:
        own = (entry.get("manager"), entry.get("operation"), entry.get("subresource", "")) == (
            manager,
            "Apply",
            subresource,
        )
        if own:
            mine = decode(entry["fieldsV1"])
        else:
            others.append(dict(entry))
    return mine, others


def _managed(kind: Kind, manager: str, operation: str, subresource: str, owned: set[Path]) -> Obj:
    return _entry(kind.api_version, manager, operation, subresource, owned)


def _entry(
    api_version: str, manager: str, operation: str, subresource: str, owned: set[Path]
) -> Obj:
    entry: Obj = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(owned),
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _without(old: Obj, dropped: set[Path], lists: Lists) -> Obj:
    new: Obj = copy.deepcopy(old)
    # Items before what is in them: without its key an item could not be found any more.
    for path in sorted(dropped, key=len):
        _drop(new, path, lists)
    return new


def _drop(obj: Any, path: Path, lists: Lists) -> None:
    holder: Any = obj
    walked: Path = ()
    for part in path[:-1]:
        holder = _child(holder, part, lists, walked)
        walked = (*walked, part)
        if holder is None:
            return
    last = path[-1]
    if isinstance(holder, dict):
        value = holder.get(last[2:])
        # An empty map that the manager applied may hold others' fields by now.
        if not isinstance(value, dict) or not value:
            holder.pop(last[2:], None)
    elif isinstance(holder, list):
        keys = lists.keys(walked)
        # An item goes when its manager dropped it; what others set within it is theirs no more.
        holder[:] = [item for item in holder if _item_name(item, keys or ()) != last]


def _child(holder: Any, part: str, lists: Lists, at: Path) -> Any:
    if part.startswith("f:"):
        return holder.get(part[2:]) if isinstance(holder, dict) else None
    keys = lists.keys(at)
    if not isinstance(holder, list) or keys is None:
        return None
    return next((item for item in holder if _item_name(item, keys) == part), None)


def _merged(old: Any, applied: Any, lists: Lists, path: Path) -> Any:
    if isinstance(applied, dict) and isinstance(old, dict):
        result = dict(old)
        for key, value in applied.items():
            result[key] = _merged(old.get(key), value, lists, (*path, f"f:{key}"))
        return result
    if isinstance(applied, list) and isinstance(old, list):
        keys = lists.keys(path)
        if keys is not None:
            return _merged_list(old, applied, lists, path, keys)
    return copy.deepcopy(applied)


def _merged_list(
    old: list[Any], applied: list[Any], lists: Lists, path: Path, keys: tuple[str, ...]
) -> list[Any]:
    stored = {_item_name(item, keys): item for item in old}
    result = []
    for item in applied:
        name = _item_name(item, keys)
        before = stored.pop(name, None)
        at = (*path, name or "")
        result.append(_merged(before, item, lists, at) if keys else item)
    return [*stored.values(), *result] if not keys else _in_order(old, result, stored, keys)


def _in_order(
    old: list[Any], applied: list[Any], left: dict[str | None, Any], keys: tuple[str, ...]
) -> list[Any]:
    """Keeps applied items in the applied order and puts others' items after them."""
    return [*applied, *(item for item in old if _item_name(item, keys) in left)]


def _conflict(conflicts: list[tuple[str, Path]]) -> ApiError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}"',
            "field": _shown(path),
        }
        for manager, path in sorted(conflicts)
    ]
    count = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
    managers = sorted({manager for manager, _ in conflicts})
    if len(causes) == 1:
        text = f"{causes[0]['message']}: {causes[0]['field']}"
    else:
        parts = [
            f'conflicts with "{m}":\n'
            + "\n".join(f"- {_shown(p)}" for name, p in sorted(conflicts) if name == m)
            for m in managers
        ]
        text = "\n".join(parts)
    return ApiError(
        409,
        "Conflict",
        f"Apply failed with {count}: {text}",
        details={"causes": causes},
    )


def _shown(path: Path) -> str:
    text = ""
    for part in path:
        if part.startswith("f:"):
            text += f".{part[2:]}"
        elif part.startswith("k:"):
            named = json.loads(part[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in named.items()) + "]"
        else:
            text += f"[={part[2:]}]"
    return text

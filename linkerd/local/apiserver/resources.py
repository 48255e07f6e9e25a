"""Create, read, update, delete: the rules every kind shares, from a decoded object to the store.

    create: stamp → default → admit → validate → webhooks → store
    update: carry over → default → admit → validate → webhooks → store (or delete, when the last
            finalizer went)

Between the last look at the store and the write there is no `await`; where admission had to wait,
the write names the version that was read, and patches start over when it changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from linkerd.local.apiserver import crds, defaults, metadata, schema, services, validation
from linkerd.local.apiserver.authn import User
from linkerd.local.apiserver.kinds import CRD_RESOURCE, Kind
from linkerd.local.apiserver.status import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from linkerd.local.apiserver.versions import from_storage, to_storage
from linkerd.local.store import Changed, Entry, Exists, Missing, Obj, Store

_PATCH_TRIES = 8
_NAME_TRIES = 8


@dataclass(slots=True)
class Context:
    """Who asks and how: the options that all writes share; collects warnings for the answer."""

    user: User
    dry_run: bool = False
    manager: str = ""
    validation: str = "Warn"
    subresource: str = ""
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Adds a warning that the client shows to its user."""
        if message not in self.warnings:
            self.warnings.append(message)


class Admission(Protocol):
    """What may change or refuse a write before it is stored."""

    async def admit(
        self, kind: Kind, operation: str, new: Obj | None, old: Obj | None, context: Context
    ) -> Obj | None:
        """Returns the object as mutating webhooks left it; raises ApiError to refuse."""

    async def validate(
        self, kind: Kind, operation: str, new: Obj | None, old: Obj | None, context: Context
    ) -> None:
        """Raises ApiError when a validating webhook refuses."""


BuiltInAdmission = Callable[[Kind, str, Obj, Obj | None, Context, Store], None]
Mutation = Callable[[Obj], Obj]


class Resources:
    """Objects of all kinds over one store."""

    def __init__(self, store: Store, admission: Admission, built_in: BuiltInAdmission) -> None:
        self.store = store
        self._admission = admission
        self._built_in = built_in

    # --- reading

    def entry(self, kind: Kind, namespace: str, name: str) -> Entry:
        """Returns the stored version of an object.

        Raises:
            ApiError: 404.
        """
        entry = self.store.get(kind.storage, namespace, name)
        if entry is None:
            raise not_found(kind.resource, name)
        return entry

    def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """Returns a fresh copy of an object as this version of its kind.

        Raises:
            ApiError: 404.
        """
        return from_storage(kind, self.entry(kind, namespace, name).decode())

    # --- writing

    async def create(self, kind: Kind, namespace: str, obj: Obj, context: Context) -> Obj:
        """Stores a new object and returns it.

        Raises:
            ApiError: anything that speaks against it.
        """
        self._check_namespace(kind, namespace)
        generated = not obj["metadata"].get("name")
        metadata.stamp_new(kind, obj, namespace)
        if kind.has_status:
            obj.pop("status", None)
        obj = await self._admitted(kind, "CREATE", obj, None, context)
        if context.dry_run:
            if self.store.get(kind.storage, *_key(obj)):
                raise already_exists(kind.resource, obj["metadata"]["name"])
            return obj
        self._check_namespace(kind, namespace)
        services.allocate(kind, obj, None, self.store)
        for _ in range(_NAME_TRIES):
            try:
                stored = self.store.create(kind.storage, to_storage(kind, obj))
                return from_storage(kind, stored.decode())
            except Exists:
                if not generated:
                    break
                obj["metadata"]["name"] = metadata.generated_name(obj["metadata"]["generateName"])
        raise already_exists(kind.resource, obj["metadata"]["name"])

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Mutation,
        context: Context,
        *,
        retry: bool,
    ) -> Obj:
        """Changes an object by a function of its current state and returns the new state.

        Args:
            kind: Of the object, in the version that `change` sees.
            namespace: "" for cluster-wide kinds.
            name: Of the object.
            change: Gets a copy of its own. A `metadata.resourceVersion` in its result that is
                not the current one is a conflict.
            context: Who asks and how.
            retry: Whether to start over when somebody else wrote in between.

        Raises:
            ApiError: anything that speaks against it.
        """
        for attempt in range(_PATCH_TRIES):
            entry = self.entry(kind, namespace, name)
            old = from_storage(kind, entry.decode())
            new = change(copy.deepcopy(old))
            wanted = new["metadata"].get("resourceVersion")
            if wanted and wanted != old["metadata"]["resourceVersion"]:
                raise conflict(kind.resource, name)
            uid = new["metadata"].get("uid")
            if uid and uid != old["metadata"]["uid"]:
                raise conflict(
                    kind.resource,
                    name,
                    f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
                    f"{old['metadata']['uid']}",
                )
            pinned = bool(wanted) and not retry
            new = merged_update(kind, old, new, context.subresource)
            if new == old:
                return old
            new = await self._admitted(kind, "UPDATE", new, old, context)
            try:
                return self._store_update(kind, entry, old, new, context)
            except Changed:
                if pinned or attempt == _PATCH_TRIES - 1:
                    break
            except Missing:
                raise not_found(kind.resource, name) from None
        raise conflict(kind.resource, name)

    def _store_update(self, kind: Kind, entry: Entry, old: Obj, new: Obj, context: Context) -> Obj:
        services.allocate(kind, new, old, self.store)
        if kind.generation and _counted(new) != _counted(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if new == old or context.dry_run:
            return new
        gone = _ready_to_go(kind, new)
        stored = self.store.update(kind.storage, to_storage(kind, new), entry.rv)
        if gone:
            stored = self.store.delete(kind.storage, entry.key)
        return from_storage(kind, stored.decode())

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: Obj, context: Context
    ) -> tuple[Obj, bool]:
        """Deletes an object, or marks it when finalizers or a grace period are to be waited for.

        Args:
            kind: Of the object.
            namespace: "" for cluster-wide kinds.
            name: Of the object.
            options: DeleteOptions.
            context: Who asks and how.

        Returns:
            The last state, and whether it is gone.

        Raises:
            ApiError: 404, 409 when a precondition fails, or what admission says.
        """
        old = self.get(kind, namespace, name)
        _check_preconditions(kind, old, options)
        await self._admission.admit(kind, "DELETE", None, old, context)
        await self._admission.validate(kind, "DELETE", None, old, context)
        entry = self.entry(kind, namespace, name)
        old = from_storage(kind, entry.decode())
        _check_preconditions(kind, old, options)
        new = marked_for_deletion(kind, copy.deepcopy(old), options)
        if context.dry_run:
            return (new or old), new is None
        if new is None:
            if kind.resource == CRD_RESOURCE:
                crds.purge(self.store, old)
            return from_storage(kind, self.store.delete(kind.storage, entry.key).decode()), True
        if new == old:
            return old, False
        stored = self.store.update(kind.storage, to_storage(kind, new), entry.rv)
        return from_storage(kind, stored.decode()), False

    # --- steps

    async def _admitted(
        self, kind: Kind, operation: str, new: Obj, old: Obj | None, context: Context
    ) -> Obj:
        self._fill(kind, new)
        if not context.subresource:
            self._built_in(kind, operation, new, old, context, self.store)
        admitted = await self._admission.admit(kind, operation, new, old, context)
        assert admitted is not None
        if admitted is not new:
            self._fill(kind, admitted)
        found = metadata.findings(kind, admitted)
        found += metadata.update_findings(admitted, old)
        found += validation.findings(kind, admitted, old)
        if kind.crd is not None:
            found += schema.findings(kind, admitted)
        if found:
            raise invalid(kind.kind, kind.group, admitted["metadata"].get("name", ""), found)
        await self._admission.validate(kind, operation, admitted, old, context)
        return admitted

    def _fill(self, kind: Kind, obj: Obj) -> None:
        if kind.crd is not None:
            schema.prune(kind, obj)
            schema.fill(kind, obj)
        else:
            defaults.apply(kind, obj)

    def _check_namespace(self, kind: Kind, namespace: str) -> None:
        if not kind.namespaced:
            return
        entry = self.store.get("namespaces", "", namespace)
        if entry is None:
            raise not_found("namespaces", namespace)
        if (entry.decode().get("status") or {}).get("phase") == "Terminating":
            raise ApiError(
                403,
                "Forbidden",
                f"{kind.resource} is forbidden: unable to create new content in namespace "
                f"{namespace} because it is being terminated",
                details={"causes": [{"reason": "NamespaceTerminating", "field": namespace}]},
            )


def merged_update(kind: Kind, old: Obj, new: Obj, subresource: str) -> Obj:
    """Returns what an update may change: all but status, or status alone.

    Source: Kubernetes pkg/registry/*/strategy.go (PrepareForUpdate).
    """
    new["kind"], new["apiVersion"] = kind.kind, kind.api_version
    if subresource in ("status", "finalize", "resize", "ephemeralcontainers"):
        part = "status" if subresource == "status" else "spec"
        result = copy.deepcopy(old)
        if part in new:
            result[part] = new[part]
        else:
            result.pop(part, None)
        if "managedFields" in new["metadata"]:
            result["metadata"]["managedFields"] = new["metadata"]["managedFields"]
        return result
    metadata.carry_over(old, new)
    if kind.resource == "namespaces" and "spec" in old:
        new["spec"] = old["spec"]
    if kind.has_status:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    return new


def marked_for_deletion(kind: Kind, obj: Obj, options: Obj) -> Obj | None:
    """Returns the object as deletion leaves it waiting, None when it can go at once.

    Source: Kubernetes apiserver pkg/registry/rest/delete.go, pkg/registry/core/pod/strategy.go.
    """
    meta = obj["metadata"]
    grace = _grace_s(kind, obj, options)
    finalizers = list(meta.get("finalizers") or ())
    policy = options.get("propagationPolicy")
    if options.get("orphanDependents") is True:
        policy = "Orphan"
    for name, wanted in (("foregroundDeletion", "Foreground"), ("orphan", "Orphan")):
        if policy == wanted and name not in finalizers:
            finalizers.append(name)
        elif policy and policy != wanted and name in finalizers:
            finalizers.remove(name)
    if finalizers or "finalizers" in meta:
        meta["finalizers"] = finalizers
    if kind.resource == "namespaces" and (obj.get("spec") or {}).get("finalizers"):
        obj.setdefault("status", {})["phase"] = "Terminating"
    elif not finalizers and grace == 0:
        return None
    if meta.get("deletionTimestamp") is None:
        meta["deletionTimestamp"] = metadata.later(grace)
        meta["deletionGracePeriodSeconds"] = grace
        if kind.generation:
            meta["generation"] = meta.get("generation", 0) + 1
    elif grace < meta.get("deletionGracePeriodSeconds", 0):
        meta["deletionTimestamp"] = metadata.later(grace)
        meta["deletionGracePeriodSeconds"] = grace
    return obj


def _grace_s(kind: Kind, obj: Obj, options: Obj) -> int:
    if kind.resource != "pods":
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.get("gracePeriodSeconds")
    if wanted is None:
        current = obj["metadata"].get("deletionGracePeriodSeconds")
        wanted = current if current is not None else spec.get("terminationGracePeriodSeconds", 30)
    return max(int(wanted), 0)


def _ready_to_go(kind: Kind, obj: Obj) -> bool:
    meta = obj["metadata"]
    if meta.get("deletionTimestamp") is None or meta.get("finalizers"):
        return False
    if kind.resource == "namespaces":
        return not (obj.get("spec") or {}).get("finalizers")
    return not meta.get("deletionGracePeriodSeconds")


def _check_preconditions(kind: Kind, old: Obj, options: Obj) -> None:
    wanted = options.get("preconditions") or {}
    meta = old["metadata"]
    for name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(name) and wanted[name] != meta.get(name):
            raise conflict(
                kind.resource,
                meta["name"],
                f"Precondition failed: {label} in precondition: {wanted[name]}, {label} in "
                f"object meta: {meta.get(name)}",
            )


def _counted(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _key(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def check_body(kind: Kind, obj: Any, namespace: str, name: str) -> Obj:
    """Returns the body of a create or replace, checked against the address it was sent to.

    Raises:
        ApiError: 400, it is of another kind, namespace or name, or no object at all.
    """
    if not isinstance(obj, dict):
        raise bad_request("the request body is no object")
    for key, wanted in (("kind", kind.kind), ("apiVersion", kind.api_version)):
        given = obj.get(key)
        if given and given != wanted:
            raise bad_request(
                f"the {'API version' if key == 'apiVersion' else 'kind'} in the data ({given}) "
                f"does not match the expected {'API version' if key == 'apiVersion' else 'kind'} "
                f"({wanted})"
            )
    meta = obj.get("metadata")
    if meta is None:
        meta = obj["metadata"] = {}
    if not isinstance(meta, dict):
        raise bad_request("metadata is no map")
    if kind.namespaced and meta.get("namespace") and meta["namespace"] != namespace:
        raise bad_request(
            f"the namespace of the provided object does not match the namespace sent on the "
            f"request ({meta['namespace']} != {namespace})"
        )
    if name:
        if meta.get("name") and meta["name"] != name:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL "
                f"({name})"
            )
        meta["name"] = name
    obj["kind"], obj["apiVersion"] = kind.kind, kind.api_version
    return obj

"""Keeps the served kinds in step with the CustomResourceDefinitions, and tells them so."""

from __future__ import annotations

from linkerd.local.apiserver.kinds import CRD_RESOURCE, Kinds, custom_kinds
from linkerd.local.apiserver.metadata import now
from linkerd.local.store import Change, Obj, Store


def follow(store: Store, kinds: Kinds) -> None:
    """Serves the kinds of every stored CRD from now on, and drops those that go."""
    for entry in store.list(CRD_RESOURCE):
        kinds.set_custom(entry.key[1], custom_kinds(entry.decode()))

    def changed(change: Change) -> None:
        crd = change.entry.decode()
        kinds.set_custom(change.entry.key[1], [] if change.type == "DELETED" else custom_kinds(crd))

    store.listen(CRD_RESOURCE, changed)


def accept(crd: Obj) -> None:
    """Sets the status of a CRD that is served: names accepted, established.

    A CRD that validation is going to refuse is left alone.
    """
    spec = crd["spec"]
    storage = next((v.get("name") for v in spec.get("versions") or () if v.get("storage")), None)
    if storage is None:
        return
    status = crd.setdefault("status", {})
    known = {c["type"]: c for c in status.get("conditions") or ()}
    for kind, reason, message in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        if (known.get(kind) or {}).get("status") != "True":
            known[kind] = {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": now(),
            }
    status["conditions"] = list(known.values())
    status["acceptedNames"] = spec["names"]
    stored = list(status.get("storedVersions") or ())
    if storage not in stored:
        stored.append(storage)
    status["storedVersions"] = stored


def purge(store: Store, crd: Obj) -> None:
    """Deletes every object of a custom kind whose CRD goes; their finalizers are not waited for."""
    resource = f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
    for entry in store.list(resource):
        store.delete(resource, entry.key)

"""The admission that is part of the server: what happens to pods and CRDs before webhooks see them."""

from __future__ import annotations

from linkerd.local.apiserver import crds, pods
from linkerd.local.apiserver.kinds import CRD_RESOURCE, Kind
from linkerd.local.apiserver.resources import Context
from linkerd.local.store import Obj, Store


def admit(
    kind: Kind, operation: str, new: Obj, old: Obj | None, context: Context, store: Store
) -> None:
    """Completes a new or changed object in place.

    Raises:
        ApiError: it is refused.
    """
    if kind.resource == "pods":
        pods.admit(kind, operation, new, old, context, store)
    elif kind.resource == CRD_RESOURCE:
        crds.accept(new)

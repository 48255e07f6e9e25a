"""Objects and kinds as tests name them."""

from __future__ import annotations

from typing import Any

from linkerd.local.apiserver.authn import User
from linkerd.local.apiserver.kinds import Kind, Kinds, custom_kinds
from linkerd.local.apiserver.resources import Context
from linkerd.local.store import Obj

KINDS = Kinds()


def kind(name: str) -> Kind:
    """Returns a built-in kind by name, `Deployment` for instance."""
    return next(k for k in KINDS if k.kind == name)


def a_widget_kind(schema: Obj, **version: Any) -> Kind:
    """Returns a custom kind with a schema."""
    crd = {
        "spec": {
            "group": "example.io",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **version,
                }
            ],
        }
    }
    return custom_kinds(crd)[0]


def a_context(**options: Any) -> Context:
    """Returns the context of a request by the administrator."""
    return Context(User("admin", ("system:masters",)), **options)


def an_object(kind_name: str, name: str, namespace: str = "default", **more: Any) -> Obj:
    """Returns an object with metadata; `labels=` go there, all else beside it."""
    found = kind(kind_name)
    metadata: Obj = {"name": name}
    if found.namespaced:
        metadata["namespace"] = namespace
    if "labels" in more:
        metadata["labels"] = more.pop("labels")
    return {"kind": kind_name, "apiVersion": found.api_version, "metadata": metadata, **more}


def a_pod_spec(*names: str, **more: Any) -> Obj:
    """Returns a pod's spec with containers of these names."""
    containers = [{"name": name, "image": f"{name}:1"} for name in names or ("app",)]
    return {"containers": containers, **more}

"""Namespaces: the default service account and the cluster's CA in each; emptied before they go.

Source: kubernetes pkg/controller/{namespace,serviceaccount}, publisher of kube-root-ca.crt.
"""

from __future__ import annotations

from collections.abc import Callable

from linkerd.kube.resources import CONFIG_MAPS, SERVICE_ACCOUNTS
from linkerd.local.controllers.facts import is_terminating
from linkerd.local.controllers.plan import Create, EmptyNamespace, Merge, Plan
from linkerd.local.controllers.world import Key, World

_CA_MAP = "kube-root-ca.crt"
_AGAIN_S = 1.0


def planner(ca_pem: str) -> Callable[[World, Key, float], Plan]:
    """Returns the controller of a cluster whose CA is `ca_pem`."""

    def plan(world: World, key: Key, now: float) -> Plan:
        """Returns what a namespace lacks; for one that is deleted, that it is to be emptied."""
        result = Plan()
        namespace = world.at(key)
        if namespace is None:
            return result
        if is_terminating(namespace):
            if "kubernetes" in ((namespace.get("spec") or {}).get("finalizers") or ()):
                result.actions.append(EmptyNamespace(namespace))
                # Pods take their grace period: look again until nothing is left.
                result.again(_AGAIN_S)
            return result
        name = key.name
        if world.get(SERVICE_ACCOUNTS, "default", name) is None:
            body = {"metadata": {"name": "default", "namespace": name}}
            result.actions.append(
                Create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", **body})
            )
        data = {"ca.crt": ca_pem}
        known = world.get(CONFIG_MAPS, _CA_MAP, name)
        if known is None:
            body = {"metadata": {"name": _CA_MAP, "namespace": name}}
            result.actions.append(
                Create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", **body, "data": data})
            )
        elif known.get("data") != data:
            result.actions.append(Merge(CONFIG_MAPS, known, {"data": data}))
        return result

    return plan

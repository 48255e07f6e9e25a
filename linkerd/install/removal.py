"""What uninstall and prune print: enough of each object for `kubectl delete -f -` to find it.

`uninstall` names what is cluster-wide and the namespace, which takes the rest along; `prune` names
what an older release left behind. Knows no component: a label selector says what is ours.
Source: linkerd2 cli/cmd/uninstall.go, prune.go, pkg/k8s/resource (kinds, order).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from linkerd.errors import Forbidden, NotFound
from linkerd.inject import manifest
from linkerd.kube import resources
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import Resource

Object = dict[str, Any]

UNINSTALLED: tuple[Resource, ...] = (
    resources.CLUSTER_ROLES,
    resources.CLUSTER_ROLE_BINDINGS,
    resources.ROLES,
    resources.ROLE_BINDINGS,
    resources.CUSTOM_RESOURCE_DEFINITIONS,
    resources.API_SERVICES,
    resources.MUTATING_WEBHOOKS,
    resources.VALIDATING_WEBHOOKS,
    resources.NAMESPACES,
)
"""The kinds that `uninstall` prints, in its order."""

PRUNED: tuple[Resource, ...] = (
    *UNINSTALLED[:-1],
    resources.CONFIG_MAPS,
    resources.SECRETS,
    resources.SERVICES,
    resources.SERVICE_ACCOUNTS,
    resources.DEPLOYMENTS,
    resources.DAEMON_SETS,
    resources.STATEFUL_SETS,
    resources.CRON_JOBS,
    resources.JOBS,
    resources.POD_DISRUPTION_BUDGETS,
    resources.SERVERS,
    resources.SERVER_AUTHORIZATIONS,
    resources.AUTHORIZATION_POLICIES,
    resources.MESH_TLS_AUTHENTICATIONS,
    resources.NETWORK_AUTHENTICATIONS,
    resources.POLICY_HTTP_ROUTES,
    resources.SERVICE_PROFILES,
    resources.NAMESPACES,
)
"""The kinds among which `prune` looks. What controllers made is never among its findings."""


async def labelled(kube: KubeClient, selector: str, kinds: Iterable[Resource]) -> list[Object]:
    """Returns the objects that carry the label, kind by kind; owned ones are left out.

    A kind that the cluster does not serve, or does not show to the caller, has none.
    """
    found: list[Object] = []
    for kind in kinds:
        try:
            bodies = await kube.list(kind, label_selector=selector)
        except (NotFound, Forbidden):
            continue
        found += [body for body in bodies if not body["metadata"].get("ownerReferences")]
    return found


def left_over(present: Iterable[Object], rendered: Iterable[Object]) -> list[Object]:
    """Returns the objects of `present` that `rendered` does not name, in the same order."""
    wanted = {_key(body) for body in rendered if body}
    return [body for body in present if _key(body) not in wanted]


def stub(body: Object) -> Object:
    """Returns what names an object: apiVersion, kind, name and namespace."""
    metadata = {
        key: body["metadata"][key] for key in ("name", "namespace") if body["metadata"].get(key)
    }
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}


def printed(bodies: Sequence[Object], output: str = "yaml") -> str:
    """Returns the stubs as YAML documents, each followed by `---`, or as one JSON text per line."""
    stubs = [stub(body) for body in bodies]
    if output == "json":
        return "".join(json.dumps(one) + "\n" for one in stubs)
    return "".join(manifest.render(one) + "---\n" for one in stubs)


def _key(body: Object) -> tuple[str, str, str, str]:
    # Without the version: an object is the same one in all versions that are served.
    metadata = body["metadata"]
    group = body["apiVersion"].rpartition("/")[0]
    return group, body["kind"], metadata.get("namespace") or "", metadata["name"]

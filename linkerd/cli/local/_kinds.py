"""Which kind a user means by `po`, `deploy`, `pods`, `Pod`, `servers.policy.linkerd.io`.

The kinds of the mesh and of Kubernetes are known here; for others the server is asked.
Source: Kubernetes' short names (kubectl api-resources).
"""

from __future__ import annotations

from linkerd.errors import NotFound, UsageError
from linkerd.kube import resources
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import Resource

_SHORT = {
    "cj": "cronjobs",
    "cm": "configmaps",
    "crd": "customresourcedefinitions",
    "csr": "certificatesigningrequests",
    "deploy": "deployments",
    "ds": "daemonsets",
    "ep": "endpoints",
    "ev": "events",
    "limits": "limitranges",
    "no": "nodes",
    "ns": "namespaces",
    "pdb": "poddisruptionbudgets",
    "po": "pods",
    "rc": "replicationcontrollers",
    "rs": "replicasets",
    "sa": "serviceaccounts",
    "saz": "serverauthorizations",
    "sp": "serviceprofiles",
    "srv": "servers",
    "sts": "statefulsets",
    "svc": "services",
}


def known(word: str) -> Resource | None:
    """Returns the kind that `word` names among those known without asking."""
    lower = word.lower()
    plural, _, group = lower.partition(".")
    plural = _SHORT.get(plural, plural)
    for resource in resources.ALL:
        if plural in (resource.plural, resource.kind.lower()) and group in ("", resource.group):
            return resource
    return None


async def resolve(kube: KubeClient, word: str) -> Resource:
    """Returns the kind that `word` names; asks the server for kinds that are not known here.

    Raises:
        UsageError: the server does not have it either.
    """
    found = known(word)
    if found is not None:
        return found
    plural, _, group = word.lower().partition(".")
    try:
        groups = (await kube.request("GET", "/apis"))["groups"]
    except (NotFound, KeyError):
        groups = []
    for entry in groups:
        if group and entry["name"] != group:
            continue
        version = entry["preferredVersion"]["groupVersion"]
        answer = await kube.request("GET", f"/apis/{version}")
        for kind in answer.get("resources") or ():
            names = {kind["name"], kind["kind"].lower(), kind.get("singularName")}
            if plural in names | set(kind.get("shortNames") or ()) and "/" not in kind["name"]:
                number = version.partition("/")[2]
                return Resource(
                    entry["name"], number, kind["name"], kind["kind"], bool(kind["namespaced"])
                )
    raise UsageError(f'the server doesn\'t have a resource type "{word}"')

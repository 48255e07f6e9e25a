"""What the server serves: its groups, versions and kinds, in the order of kubectl.

Source: Kubernetes' discovery (apimachinery pkg/apis/meta/v1 APIGroupList, APIResourceList).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linkerd.errors import KubeError
from linkerd.kube.resources import root

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient


@dataclass(frozen=True, order=True)
class Served:
    """One kind as a user can name it."""

    api_version: str
    plural: str
    kind: str
    short: tuple[str, ...]
    namespaced: bool
    verbs: tuple[str, ...]

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]


async def versions(kube: KubeClient, *, preferred: bool = False) -> list[str]:
    """Returns `v1`, `apps/v1`, …: all of them, or each group's preferred one."""
    groups = (await kube.request("GET", "/apis"))["groups"]
    found = ["v1"]
    for group in groups:
        entries = [group["preferredVersion"]] if preferred else group["versions"]
        found += [entry["groupVersion"] for entry in entries]
    return sorted(found)


async def kinds(kube: KubeClient) -> list[Served]:
    """Returns each group's kinds of its preferred version; a group that is away is left out."""
    found: list[Served] = []
    for version in await versions(kube, preferred=True):
        try:
            answer = await kube.request("GET", root(version))
        except KubeError:
            continue
        found += [_kind(version, one) for one in answer["resources"] if "/" not in one["name"]]
    return sorted(found, key=lambda one: (one.group, one.plural))


def _kind(version: str, entry: dict[str, Any]) -> Served:
    short, verbs = entry.get("shortNames") or (), entry.get("verbs") or ()
    namespaced = bool(entry["namespaced"])
    return Served(version, entry["name"], entry["kind"], tuple(short), namespaced, tuple(verbs))

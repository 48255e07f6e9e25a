"""Show who the cluster takes you for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Show who the cluster takes you for"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints name and groups."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _tables

    async def main(kube: KubeClient) -> dict[str, Any]:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        answer: dict[str, Any] = await kube.request("POST", path, body=body)
        return answer["status"]["userInfo"]  # type: ignore[no-any-return]

    user = _connect.run(_cluster.config(args), main)
    groups = ",".join(user.get("groups") or ())
    rows = [["ATTRIBUTE", "VALUE"], ["Username", user.get("username", "")], ["Groups", groups]]
    print(_tables.aligned(rows), end="")
    return 0

"""Output Kubernetes resources to uninstall the linkerd-viz extension.

Example:
  linkerd viz uninstall | kubectl delete -f -
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import CheckFailed

if TYPE_CHECKING:
    from linkerd.install.removal import Object
    from linkerd.kube.client import KubeClient

SUMMARY = "Output Kubernetes resources to uninstall the linkerd-viz extension"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    _args.add_output(parser, ("yaml", "json"), default="yaml")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints what to delete."""
    from linkerd.cli import _connect
    from linkerd.install import removal

    found = _connect.run(_connect.config(args), _look)
    if not found:
        raise CheckFailed("No resources found to uninstall")
    print(removal.printed(found, args.output), end="")
    return 0


async def _look(kube: KubeClient) -> list[Object]:
    """The extension's objects, and those that `allow-scrapes` made elsewhere."""
    from linkerd.install import removal
    from linkerd.kube import resources

    scattered = (
        resources.POLICY_HTTP_ROUTES,
        resources.AUTHORIZATION_POLICIES,
        resources.SERVERS,
    )
    selector = "linkerd.io/extension=viz"
    found = await removal.labelled(kube, selector, (*removal.UNINSTALLED, *scattered))
    gone = {body["metadata"]["name"] for body in found if body["kind"] == "Namespace"}
    # What is in the namespace goes with it, except roles in others.
    return [body for body in found if body["metadata"].get("namespace") not in gone]

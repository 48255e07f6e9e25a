"""What inject and uninject share: sources, streams, reports; and the proxy's settings.

Source: linkerd2 cli/cmd/inject.go, inject_util.go (streams, texts, what is asked first).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import Any

from linkerd.check.cluster import Mesh
from linkerd.cli import _connect, _manifests, _running
from linkerd.errors import Forbidden, LinkerdError, UsageError
from linkerd.inject import config as proxy_config
from linkerd.inject.config import Config
from linkerd.inject.documents import Transformed
from linkerd.install import charts, install
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import CONFIG_MAPS

_WAIT_S = 300.0
_HINT = "Validate the install with: `linkerd check`"


def sources(args: argparse.Namespace) -> list[str]:
    """Returns the text of each file that the argument means.

    Raises:
        UsageError: there is no argument, or it cannot be read.
    """
    if not args.source:
        raise UsageError("please specify a kubernetes resource file")
    return _manifests.texts(args.source)


def transform(
    texts: list[str],
    change: Callable[[str], Transformed],
    report: Callable[[list[Any]], str],
) -> int:
    """Prints what `change` makes of the texts; 1 when a document could not be changed."""
    results = [change(text) for text in texts]
    errors = [error for result in results for error in result.errors]
    if errors:
        sys.stdout.flush()
        print("Error transforming resources:\n" + "\n".join(errors), end="", file=sys.stderr)
        return 1
    for result in results:
        print(result.text, end="")
    sys.stdout.flush()
    reports = [one for result in results for one in result.reports]
    print(report(reports), end="", file=sys.stderr)
    return 0


def default_config(args: argparse.Namespace) -> Config:
    """Returns the settings of the chart's defaults."""
    return proxy_config.from_values(
        install.default_values(), control_plane_ns=args.linkerd_namespace
    )


def cluster_config(args: argparse.Namespace) -> Config:
    """Returns the settings of the running control plane.

    Waits until it injects: pods that are made before get no proxy. `--manual` needs no injector.

    Raises:
        UsageError: Kubernetes or the control plane cannot be found.
    """
    try:
        config = _connect.config(args)
    except LinkerdError as error:
        raise UsageError(f"Cannot connect to Kubernetes: {error.message}", hint=_HINT) from None
    wait_s = 0.0 if args.manual else _WAIT_S
    return _connect.run(config, lambda kube: _read(kube, args.linkerd_namespace, wait_s))


async def _read(kube: KubeClient, namespace: str, wait_s: float) -> Config:
    mesh = Mesh(kube, namespace)
    try:
        values = await mesh.config()
        if wait_s:
            with contextlib.suppress(Forbidden):
                await _running.wait(mesh, ["proxy-injector"], wait_s)
        roots = await kube.get_or_none(CONFIG_MAPS, "linkerd-identity-trust-roots", namespace)
    except LinkerdError as error:
        raise UsageError(f"Cannot find Linkerd: {error.message}", hint=_HINT) from None
    anchors = (roots or {}).get("data", {}).get("ca-bundle.crt")
    return proxy_config.from_values(
        charts.merge_values(install.default_values(), values),
        control_plane_ns=namespace,
        trust_anchors_pem=anchors,
    )

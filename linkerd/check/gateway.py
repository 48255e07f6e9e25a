"""Checks of the Gateway API's CRDs, which policies use when they are there.

Linkerd requires them; this mesh does not, so a cluster without them is no failure.
Source: linkerd2 pkg/healthcheck/healthcheck.go (category, question, what has to be served).
"""

from __future__ import annotations

from functools import partial

from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, Skip, failed
from linkerd.kube.resources import CUSTOM_RESOURCE_DEFINITIONS

_GROUP = "gateway.networking.k8s.io"
_KINDS = ("httproutes", "grpcroutes")
_VERSION = "v1"


def crds(mesh: Mesh) -> Category:
    """Category gateway-api-crd; not shown for a cluster that has none of them."""
    question = "Gateway API CRDs are installed"
    check = Check(question, "gateway-api-crd", partial(_installed, mesh), warning=True)
    return Category("gateway-api-crd", (check,))


async def _installed(mesh: Mesh) -> None:
    problems, absent = [], 0
    for kind in _KINDS:
        name = f"{kind}.{_GROUP}"
        body = await mesh.kube.get_or_none(CUSTOM_RESOURCE_DEFINITIONS, name)
        versions = body["spec"].get("versions") or () if body else ()
        served = [version["name"] for version in versions if version.get("served")]
        if body is None:
            absent += 1
            problems.append(f"{name} is missing")
        elif _VERSION not in served:
            problems.append(f"{name} serves {', '.join(served) or 'nothing'}, not {_VERSION}")
    if absent == len(_KINDS):
        raise Skip
    if problems:
        raise failed(
            "the Gateway API is there in part; apply its standard channel 1.1.1 or later:", problems
        )

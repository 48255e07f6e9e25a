"""Workloads and settings for tests of injection, named in the domain's words."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from linkerd.inject import config, workload
from linkerd.install import install

ANCHORS = "-----BEGIN CERTIFICATE-----\nanchors\n-----END CERTIFICATE-----\n"


@lru_cache
def cluster_config() -> config.Config:
    """Returns the chart's settings."""
    return config.from_values(values(), control_plane_ns="linkerd")


def values(**changes: Any) -> dict[str, Any]:
    """Returns complete chart values."""
    return {**install.default_values(), "identityTrustAnchorsPEM": ANCHORS, **changes}


def a_container(name: str = "web", *ports: int | tuple[str, int], **fields: Any) -> dict[str, Any]:
    """Returns a container with ports, which may be named."""
    listed = [
        {"containerPort": port}
        if isinstance(port, int)
        else {"name": port[0], "containerPort": port[1]}
        for port in ports
    ]
    return {"name": name, "image": "web:1", **({"ports": listed} if ports else {}), **fields}


def a_deployment(
    *containers: dict[str, Any],
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Returns the Deployment emojivoto/web."""
    metadata: dict[str, Any] = {"labels": {"app": "web", **(labels or {})}}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "emojivoto"},
        "spec": {
            "template": {
                "metadata": metadata,
                "spec": {"containers": list(containers) or [a_container()], **spec},
            }
        },
    }


def a_pod(
    *containers: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """Returns the pod emojivoto/web."""
    metadata: dict[str, Any] = {"name": "web", "namespace": "emojivoto"}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": list(containers) or [a_container()], **spec},
    }


def parsed(document: dict[str, Any]) -> workload.Workload:
    """Returns the workload that the document is."""
    found = workload.parse(document)
    assert found is not None
    return found


def container(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns a container or init container of a pod spec by name."""
    return next(dict(one) for one in workload.containers(spec) if one["name"] == name)


def environment(spec: dict[str, Any]) -> dict[str, str]:
    """Returns the plain variables of a pod's proxy, without the common prefix."""
    env = container(spec, "linkerd-proxy")["env"]
    return {
        one["name"].removeprefix("LINKERD2_PROXY_"): one["value"] for one in env if "value" in one
    }

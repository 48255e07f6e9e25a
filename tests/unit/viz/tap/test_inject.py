"""Which pods the tap injector changes."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.viz.tap.inject import ENV, patch

IDENTITY = "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local"
PROXY: dict[str, Any] = {"name": "linkerd-proxy", "env": []}


def a_pod(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": "web"} | ({"annotations": annotations} if annotations is not None else {})
    return {"metadata": meta, "spec": spec or {"containers": [{"name": "app"}, PROXY]}}


@pytest.mark.parametrize(
    ("pod", "paths"),
    [
        (
            a_pod(),
            [
                "/metadata/annotations",
                "/metadata/annotations/viz.linkerd.io~1tap-enabled",
                "/spec/containers/1/env/-",
            ],
        ),
        (
            a_pod({"a": "b"}, initContainers=[{"name": "linkerd-proxy"}]),
            [
                "/metadata/annotations/viz.linkerd.io~1tap-enabled",
                "/spec/initContainers/0/env",
                "/spec/initContainers/0/env/-",
            ],
        ),
        (a_pod({"viz.linkerd.io/tap-enabled": "true"}), []),
        (a_pod({"viz.linkerd.io/disable-tap": "true"}), []),
        (a_pod(containers=[{"name": "app"}]), []),
    ],
)
def test_proxies_are_told_who_may_tap(pod: dict[str, Any], paths: list[str]) -> None:
    operations = patch(pod, {}, IDENTITY)
    assert paths == [operation["path"] for operation in operations]
    if paths:
        assert {"name": ENV, "value": IDENTITY} == operations[-1]["value"]


@pytest.mark.parametrize(
    ("own", "patched"), [({}, False), ({"viz.linkerd.io/disable-tap": "f"}, True)]
)
def test_a_namespace_can_forbid_and_a_pod_can_allow(own: dict[str, str], patched: bool) -> None:
    namespace = {"viz.linkerd.io/disable-tap": "true"}
    assert patched == bool(patch(a_pod(own), namespace, IDENTITY))

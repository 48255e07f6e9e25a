"""Injection for any workload: idempotent, and taken back whole by uninject."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from linkerd.inject import admission, documents, jsonpatch, manifest, verdict, workload
from linkerd.inject.uninject import uninject
from tests.unit.inject.workloads import cluster_config

_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_TEXTS = st.dictionaries(_NAMES.map("example.com/".__add__), _NAMES, max_size=3)
_PORTS = st.lists(
    st.fixed_dictionaries({"containerPort": st.sampled_from([587, 3306]) | st.integers(1, 65535)}),
    max_size=3,
)


@st.composite
def _containers(draw: st.DrawFn, minimum: int) -> list[dict[str, Any]]:
    names = draw(st.lists(_NAMES, min_size=minimum, max_size=3, unique=True))
    return [{"name": name, "image": f"{name}:1", "ports": draw(_PORTS)} for name in names]


@st.composite
def _workloads(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": draw(_containers(1))}
    if draw(st.booleans()):
        spec["initContainers"] = [
            {**one, "name": f"init-{one['name']}"} for one in draw(_containers(1))
        ]
    if draw(st.booleans()):
        spec["volumes"] = [{"name": "data", "emptyDir": {}}]
    template: dict[str, Any] = {"spec": spec}
    if draw(st.booleans()):
        entries = {"annotations": draw(_TEXTS), "labels": draw(_TEXTS)}
        template["metadata"] = {key: value for key, value in entries.items() if value}
    kind = draw(st.sampled_from(["Deployment", "StatefulSet", "Job", "CronJob", "Pod"]))
    metadata: dict[str, Any] = {"name": "w", "namespace": "ns"}
    if kind == "Pod":
        merged: dict[str, Any] = {**template.get("metadata", {}), **metadata}
        return {"apiVersion": "v1", "kind": kind, "metadata": merged, "spec": spec}
    outer = {"template": template}
    if kind == "CronJob":
        outer = {"jobTemplate": {"spec": outer}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": outer}


def _manual(document: dict[str, Any]) -> dict[str, Any]:
    options = documents.Options(
        annotations={"linkerd.io/inject": "enabled"},
        manual=True,
        config=cluster_config(),
        created_by="linkerd/cli test",
    )
    result: dict[str, Any] = manifest.parse(
        documents.inject_text(manifest.render(document), options).text
    )
    return result


def _without_empties(value: Any) -> Any:
    """Leaves out maps and lists that are empty: injection makes them where it needs them."""
    if isinstance(value, dict):
        cleaned = {key: _without_empties(one) for key, one in value.items()}
        return {key: one for key, one in cleaned.items() if one not in ({}, [])}
    if isinstance(value, list):
        return [_without_empties(one) for one in value]
    return value


@settings(max_examples=60, deadline=None)
@given(_workloads())
def test_uninject_takes_back_what_inject_added(document: dict[str, Any]) -> None:
    back, changed = uninject(_manual(document))
    assert changed
    assert _without_empties(document) == _without_empties(back)


@settings(max_examples=40, deadline=None)
@given(_workloads())
def test_injecting_again_changes_nothing(document: dict[str, Any]) -> None:
    once = _manual(document)
    assert once == _manual(once)


@settings(max_examples=60, deadline=None)
@given(_workloads())
def test_the_webhook_never_injects_twice_and_leaves_the_rest_alone(
    document: dict[str, Any],
) -> None:
    target = workload.parse(document)
    assert target is not None
    pod = {"kind": "Pod", "metadata": {"name": "w"}, **copy.deepcopy(target.template)}

    def decide(one: dict[str, Any]) -> admission.Decision:
        return admission.decide_pod(
            one,
            cluster_config(),
            namespace="ns",
            namespace_annotations={"linkerd.io/inject": "enabled"},
            owner=None,
            created_by="t",
        )

    injected = jsonpatch.apply(pod, decide(pod).patch)
    assert verdict.has_sidecar(injected["spec"])
    assert decide(injected).skipped == ("sidecar_already_exists",)
    assert pod["spec"]["containers"] == injected["spec"]["containers"]

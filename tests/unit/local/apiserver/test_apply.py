"""Server-side apply: what owners add, keep, lose and dispute."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from linkerd.local.apiserver import apply
from linkerd.local.apiserver.status import ApiError
from linkerd.local.store import Obj
from tests.unit.local.apiserver.builders import a_widget_kind, kind

DEPLOYMENT = kind("Deployment")


def a_manifest(**spec: Any) -> Obj:
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": spec,
    }


def containers(*items: Obj) -> Obj:
    return {"template": {"spec": {"containers": list(items)}}}


def stored(obj: Obj) -> Obj:
    found = copy.deepcopy(obj)
    found["metadata"]["resourceVersion"] = "1"
    return found


def applied(old: Obj, new: Obj, manager: str = "me", force: bool = False) -> Obj:
    return apply.onto(DEPLOYMENT, old, new, manager, force, "")


def test_fields_that_the_manager_drops_go_away() -> None:
    first = a_manifest(replicas=1, paused=True)
    old = stored(apply.first(DEPLOYMENT, first, "me"))
    new = applied(old, a_manifest(replicas=1))
    assert {"replicas": 1} == new["spec"]


def test_fields_of_others_stay() -> None:
    old = stored(apply.first(DEPLOYMENT, a_manifest(replicas=1), "me"))
    both = applied(old, a_manifest(paused=True), "you")
    assert {"replicas": 1, "paused": True} == both["spec"]
    assert {"paused": True} == applied(both, a_manifest(), "me")["spec"]


def test_shared_fields_go_with_their_last_owner() -> None:
    old = stored(apply.first(DEPLOYMENT, a_manifest(replicas=1), "me"))
    shared = applied(old, a_manifest(replicas=1), "you")
    once = applied(shared, a_manifest(), "me")
    assert {"replicas": 1} == once["spec"]
    assert {} == applied(once, a_manifest(), "you")["spec"]


def test_another_value_for_an_owned_field_conflicts() -> None:
    old = stored(apply.first(DEPLOYMENT, a_manifest(replicas=1), "me"))
    with pytest.raises(ApiError) as refusal:
        applied(old, a_manifest(replicas=2), "you")
    assert 409 == refusal.value.status
    assert 'Apply failed with 1 conflict: conflict with "me": .spec.replicas' == str(refusal.value)


def test_force_takes_the_field_over() -> None:
    old = stored(apply.first(DEPLOYMENT, a_manifest(replicas=1, paused=True), "me"))
    new = applied(old, a_manifest(replicas=2), "you", force=True)
    assert 2 == new["spec"]["replicas"]
    after = applied(new, a_manifest(paused=True), "me")
    assert {"replicas": 2, "paused": True} == after["spec"]


def test_items_of_keyed_lists_have_owners_of_their_own() -> None:
    mine = a_manifest(**containers({"name": "app", "image": "app:1"}))
    yours = a_manifest(**containers({"name": "proxy", "image": "proxy:1"}))
    old = stored(apply.first(DEPLOYMENT, mine, "me"))
    both = applied(old, yours, "you")
    names = [c["name"] for c in both["spec"]["template"]["spec"]["containers"]]
    assert ["app", "proxy"] == sorted(names)
    left = applied(both, a_manifest(**containers()), "you")
    assert ["app"] == [c["name"] for c in left["spec"]["template"]["spec"]["containers"]]


def test_applying_the_same_again_changes_nothing() -> None:
    manifest = a_manifest(replicas=1, **containers({"name": "app", "image": "app:1"}))
    old = stored(apply.first(DEPLOYMENT, manifest, "me"))
    assert old == applied(copy.deepcopy(old), manifest)


def test_an_update_takes_the_fields_it_changed() -> None:
    old = stored(apply.first(DEPLOYMENT, a_manifest(replicas=1, paused=True), "me"))
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 5
    updated = apply.after_update(old, new, old["metadata"]["managedFields"], "kubectl", "")
    with pytest.raises(ApiError, match=r'conflict with "kubectl": \.spec\.replicas'):
        applied(updated, a_manifest(replicas=1, paused=True))


def test_objects_that_nobody_applied_track_nothing() -> None:
    obj = a_manifest(replicas=1)
    assert "managedFields" not in apply.after_update(obj, obj, None, "kubectl", "")["metadata"]


def test_lists_of_custom_kinds_merge_as_their_schema_says() -> None:
    items = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["host"],
        "items": {"type": "object"},
    }
    spec = {"type": "object", "properties": {"routes": items, "plain": {"type": "array"}}}
    widget = a_widget_kind({"type": "object", "properties": {"spec": spec}})
    base: Obj = {"kind": "Widget", "apiVersion": "example.io/v1", "metadata": {"name": "w"}}
    old = stored(
        apply.first(widget, {**base, "spec": {"routes": [{"host": "a"}], "plain": [1]}}, "me")
    )
    new = apply.onto(widget, old, {**base, "spec": {"routes": [{"host": "b"}]}}, "you", False, "")
    assert ["a", "b"] == sorted(route["host"] for route in new["spec"]["routes"])
    with pytest.raises(ApiError):
        apply.onto(widget, old, {**base, "spec": {"plain": [2]}}, "you", False, "")


def test_ownership_survives_encoding() -> None:
    manifest = a_manifest(replicas=1, **containers({"name": "app", "image": "app:1"}))
    paths = set(apply.fields(manifest, apply.Lists(DEPLOYMENT)))
    assert paths == apply.decode(apply.encode(paths))

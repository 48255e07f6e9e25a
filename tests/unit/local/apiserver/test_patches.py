"""The three patch forms, with the cases of their specifications."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from linkerd.local.apiserver.patches import json_patch, merge, strategic
from linkerd.local.apiserver.status import ApiError


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "b"}, ["c"], ["c"]),
    ],
)
def test_merge_patch_follows_rfc_7386(target: Any, patch: Any, expected: Any) -> None:
    before = copy.deepcopy(target)
    assert expected == merge(target, patch)
    assert before == target


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "remove", "path": "/a"}], {}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
        ({"x/y~z": 1}, [{"op": "test", "path": "/x~1y~0z", "value": 1}], {"x/y~z": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch_follows_rfc_6902(target: Any, operations: Any, expected: Any) -> None:
    before = copy.deepcopy(target)
    assert expected == json_patch(target, operations)
    assert before == target


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ({"op": "add"}, 400),
        ([{"op": "add", "path": "/a"}], 400),
        ([{"op": "what", "path": "/a", "value": 1}], 422),
        ([{"op": "add", "path": "a", "value": 1}], 400),
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "replace", "path": "/missing", "value": 1}], 422),
        ([{"op": "add", "path": "/list/9", "value": 1}], 422),
        ([{"op": "test", "path": "/list", "value": 1}], 422),
    ],
)
def test_json_patch_that_cannot_be_done_is_refused(operations: Any, status: int) -> None:
    with pytest.raises(ApiError) as refusal:
        json_patch({"list": [1]}, operations)
    assert status == refusal.value.status


POD = {
    "metadata": {"finalizers": ["a"], "labels": {"x": "1"}},
    "spec": {
        "containers": [
            {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}]},
            {"name": "proxy", "image": "proxy:1"},
        ],
        "tolerations": [{"key": "a"}],
    },
}


def patched_pod(patch: Any) -> Any:
    return strategic(POD, patch)


def test_strategic_merge_finds_list_items_by_their_key() -> None:
    patch = {"spec": {"containers": [{"name": "app", "image": "app:2"}, {"name": "new"}]}}
    found = patched_pod(patch)["spec"]["containers"]
    assert ["app", "proxy", "new"] == [container["name"] for container in found]
    assert "app:2" == found[0]["image"]
    assert [{"name": "A", "value": "1"}] == found[0]["env"]


def test_strategic_merge_deletes_items() -> None:
    patch = {"spec": {"containers": [{"name": "proxy", "$patch": "delete"}]}}
    assert ["app"] == [c["name"] for c in patched_pod(patch)["spec"]["containers"]]


def test_strategic_merge_replaces_lists_without_a_key() -> None:
    found = patched_pod({"spec": {"tolerations": [{"key": "b"}]}})
    assert [{"key": "b"}] == found["spec"]["tolerations"]


def test_strategic_merge_replaces_a_list_when_told_to() -> None:
    patch = {"spec": {"containers": [{"$patch": "replace"}, {"name": "only"}]}}
    assert [{"name": "only"}] == patched_pod(patch)["spec"]["containers"]


def test_strategic_merge_orders_items_as_told() -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": "proxy"}, {"name": "app"}]}}
    assert ["proxy", "app"] == [c["name"] for c in patched_pod(patch)["spec"]["containers"]]


def test_strategic_merge_adds_to_sets_and_removes_from_them() -> None:
    assert ["a", "b"] == patched_pod({"metadata": {"finalizers": ["b"]}})["metadata"]["finalizers"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert [] == patched_pod(patch)["metadata"]["finalizers"]


def test_strategic_merge_keeps_only_named_keys() -> None:
    """What kubectl sends when a strategy changes its type."""
    target = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert {"strategy": {"type": "Recreate"}} == strategic(target, patch)


def test_strategic_merge_tells_ports_of_one_number_apart() -> None:
    target = {"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}
    patch = {"spec": {"ports": [{"port": 53, "protocol": "TCP"}]}}
    found = strategic(target, patch)["spec"]["ports"]
    assert ["UDP", "TCP"] == [port["protocol"] for port in found]


def test_strategic_merge_changes_nothing_in_place() -> None:
    before = copy.deepcopy(POD)
    patched_pod({"spec": {"containers": [{"name": "app", "env": [{"name": "B"}]}]}})
    assert before == POD


@pytest.mark.parametrize(
    "patch",
    [{"spec": {"containers": [{"image": "x"}]}}, {"spec": {"$patch": "sideways"}}],
)
def test_malformed_strategic_patch_is_refused(patch: Any) -> None:
    with pytest.raises(ApiError):
        patched_pod(patch)

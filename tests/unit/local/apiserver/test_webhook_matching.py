"""Which webhooks are asked, and what their answers do."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from linkerd.local.apiserver.status import ApiError
from linkerd.local.apiserver.webhooks import Call, matches, patched, refusal
from linkerd.local.store import Obj
from tests.unit.local.apiserver.builders import an_object, kind


def a_hook(**rule: Any) -> Obj:
    whole = {
        "operations": ["CREATE"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["pods"],
        **rule,
    }
    return {"name": "hook", "rules": [whole]}


def a_call(kind_name: str = "Pod", operation: str = "CREATE", subresource: str = "") -> Call:
    obj = an_object(kind_name, "a", labels={"app": "web"})
    return Call(kind(kind_name), operation, obj, None, subresource)


@pytest.mark.parametrize(
    ("hook", "call", "asked"),
    [
        (a_hook(), a_call(), True),
        (a_hook(), a_call("Service"), False),
        (a_hook(resources=["pods", "services"]), a_call("Service"), True),
        (a_hook(resources=["*"]), a_call("Service"), True),
        (a_hook(resources=["*/*"]), a_call("Service"), True),
        (a_hook(resources=["pods/*"]), a_call(), True),
        (a_hook(), a_call(subresource="status"), False),
        (a_hook(resources=["pods/status"]), a_call(subresource="status"), True),
        (a_hook(resources=["*"]), a_call(subresource="status"), False),
        (a_hook(), a_call(operation="UPDATE"), False),
        (a_hook(operations=["*"]), a_call(operation="UPDATE"), True),
        (a_hook(apiGroups=["apps"]), a_call(), False),
        (a_hook(apiVersions=["v2"]), a_call(), False),
        (a_hook(scope="Cluster"), a_call(), False),
        (a_hook(scope="Namespaced"), a_call(), True),
        (a_hook(resources=["namespaces"], scope="Cluster"), a_call("Namespace"), True),
    ],
)
def test_rules_decide(hook: Obj, call: Call, asked: bool) -> None:
    assert asked == matches(hook, call, {})


@pytest.mark.parametrize(
    ("selectors", "asked"),
    [
        ({"namespaceSelector": {"matchLabels": {"inject": "yes"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"inject": "no"}}}, False),
        ({"objectSelector": {"matchLabels": {"app": "web"}}}, True),
        ({"objectSelector": {"matchLabels": {"app": "api"}}}, False),
    ],
)
def test_selectors_decide(selectors: Obj, asked: bool) -> None:
    assert asked == matches({**a_hook(), **selectors}, a_call(), {"inject": "yes"})


def test_either_version_of_an_object_may_be_selected() -> None:
    """Else an update could slip away by dropping the label."""
    old = an_object("Pod", "a", labels={"app": "web"})
    call = Call(kind("Pod"), "UPDATE", an_object("Pod", "a"), old, "")
    hook = {**a_hook(operations=["UPDATE"]), "objectSelector": {"matchLabels": {"app": "web"}}}
    assert matches(hook, call, {})


def encoded(operations: Any) -> str:
    return base64.b64encode(json.dumps(operations).encode()).decode()


def test_patches_are_applied() -> None:
    response = {
        "patchType": "JSONPatch",
        "patch": encoded([{"op": "add", "path": "/spec", "value": 1}]),
    }
    assert {"spec": 1} == patched({}, response)
    assert {"a": 1} == patched({"a": 1}, {})


@pytest.mark.parametrize(
    "response",
    [
        {"patch": encoded([]), "patchType": "Other"},
        {"patch": "no base64!", "patchType": "JSONPatch"},
        {"patch": encoded([{"op": "remove", "path": "/missing"}]), "patchType": "JSONPatch"},
    ],
)
def test_broken_patches_are_the_webhooks_fault(response: Obj) -> None:
    with pytest.raises(ApiError) as error:
        patched({}, response)
    assert 500 == error.value.status


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ({}, 400, 'admission webhook "h" denied the request without explanation'),
        ({"message": "no"}, 400, 'admission webhook "h" denied the request: no'),
        ({"message": "no", "code": 422}, 422, 'admission webhook "h" denied the request: no'),
        ({"message": "no", "code": 200}, 400, 'admission webhook "h" denied the request: no'),
    ],
)
def test_refusals_carry_the_webhooks_words(status: Obj, code: int, message: str) -> None:
    found = refusal("h", status)
    assert (code, message) == (found.status, found.message)

"""Scenarios: custom resources. The definition is made once for the cluster, before them."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.contract.api import APPLY_PATCH, MERGE_PATCH, TABLE, Api
from tests.kubernetes.contract.objects import WIDGETS, a_widget

_V1 = "contract.l5dx.io/v1"
_CRDS = "apiextensions.k8s.io/v1"


def definition(api: Api) -> Any:
    found = api.ask(
        "GET", api.cluster(_CRDS, "customresourcedefinitions", WIDGETS["metadata"]["name"])
    )
    body = found["body"]
    for condition in body["status"]["conditions"]:
        condition.pop("lastTransitionTime", None)
        condition.pop("observedGeneration", None)
    body["status"]["conditions"].sort(key=lambda one: one["type"])
    return found


def discovered(api: Api) -> Any:
    found = api.ask("GET", f"/apis/{_V1}")
    for one in found["body"]["resources"]:
        one.pop("storageVersionHash", None)
        one["verbs"].sort()
    return [found, api.ask("GET", "/apis/contract.l5dx.io")]


def defaults_and_pruning(api: Api) -> Any:
    path = api.grouped(_V1, "widgets")
    body = a_widget(
        "w", size=3, unknown=1, free={"kept": 1}, parts=[{"id": "a", "odd": 2}], port="http"
    )
    return [
        api.ask("POST", path, body),
        api.refusal("POST", path, a_widget("x", size=3, unknown=1), fieldValidation="Strict"),
        api.ask("POST", path, a_widget("y", size=3, unknown=1), fieldValidation="Warn"),
        api.ask("GET", api.grouped("contract.l5dx.io/v1beta1", "widgets", "w")),
    ]


def validation(api: Api) -> Any:
    path = api.grouped(_V1, "widgets")
    wrong: list[dict[str, Any]] = [
        {},
        {"size": 0},
        {"size": 10},
        {"size": "3"},
        {"size": 1.5},
        {"size": 3, "color": "green"},
        {"size": 3, "name": "toolong"},
        {"size": 3, "name": "A1"},
        {"size": 3, "tags": ["a", "b", "c"]},
        {"size": 3, "tags": ["a", "a"]},
        {"size": 3, "parts": [{"weight": 1}]},
        {"size": 3, "parts": [{"id": "a"}, {"id": "a"}]},
        {"size": 3, "when": "yesterday"},
        {"size": 3, "port": 1.5},
        {"size": None},
        {"size": 0, "color": "green"},
    ]
    seen = [api.refusal("POST", path, a_widget("w", **spec)) for spec in wrong]
    whole = {"apiVersion": _V1, "kind": "Widget", "metadata": {"name": "w"}}
    seen += [
        api.refusal("POST", path, whole),
        api.refusal("POST", path, {**whole, "spec": []}),
        api.refusal("POST", path, {**a_widget("w", size=3), "kind": "Gadget"}),
        api.refusal("POST", path, {**a_widget("w", size=3), "apiVersion": "contract.l5dx.io/v2"}),
    ]
    return seen


def status_and_scale(api: Api) -> Any:
    api.make(api.grouped(_V1, "widgets"), {**a_widget("w", size=3), "status": {"ignored": True}})
    one = api.grouped(_V1, "widgets", "w")
    status = api.grouped(_V1, "widgets", "w", "status")
    replicas = api.grouped(_V1, "widgets", "w", "scale")
    patch = {"spec": {"size": 9}, "status": {"replicas": 2}}
    return [
        api.ask("GET", one)["body"].get("status"),
        api.ask("PATCH", status, patch, kind=MERGE_PATCH),
        api.ask("PATCH", one, {"status": {"replicas": 8}}, kind=MERGE_PATCH),
        api.ask("PATCH", one, {"spec": {"size": 4}}, kind=MERGE_PATCH)["body"]["metadata"][
            "generation"
        ],
        api.ask("GET", replicas),
        api.ask("PATCH", replicas, {"spec": {"replicas": 5}}, kind=MERGE_PATCH),
        api.ask("GET", one)["body"]["spec"]["replicas"],
    ]


def applied(api: Api) -> Any:
    one = api.grouped(_V1, "widgets", "w")
    first = a_widget("w", size=3, parts=[{"id": "a"}], tags=["x"])
    second = a_widget("w", size=3, parts=[{"id": "b", "weight": 2}], tags=["y"])
    third = a_widget("w", size=4)
    return [
        api.ask("PATCH", one, body, kind=APPLY_PATCH, fieldManager=manager)
        for manager, body in (("one", first), ("two", second), ("three", third), ("one", third))
    ]


def patched(api: Api) -> Any:
    api.make(api.grouped(_V1, "widgets"), a_widget("w", size=3))
    one = api.grouped(_V1, "widgets", "w")
    return [
        api.ask("PATCH", one, {"spec": {"color": "blue"}}, kind=MERGE_PATCH),
        api.refusal("PATCH", one, {"spec": {"color": "green"}}, kind=MERGE_PATCH),
        api.refusal("PATCH", one, {"spec": {}}, kind="application/strategic-merge-patch+json"),
    ]


def printed(api: Api) -> Any:
    api.make(api.grouped(_V1, "widgets"), a_widget("w", size=3))
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    api.send("PATCH", api.grouped(_V1, "widgets", "w", "status"), status, kind=MERGE_PATCH)
    found = api.send("GET", api.grouped(_V1, "widgets"), accept=TABLE).json()
    columns = [
        {key: one for key, one in column.items() if key != "description"}
        for column in found["columnDefinitions"]
    ]
    return columns, [row["cells"][:-1] for row in found["rows"]]


def bad_definitions(api: Api) -> Any:
    path = api.cluster(_CRDS, "customresourcedefinitions")

    def changed(change: Any) -> Any:
        body = copy.deepcopy(WIDGETS)
        body["metadata"]["name"] = "gears.contract.l5dx.io"
        body["spec"]["names"] = {"plural": "gears", "kind": "Gear"}
        change(body)
        answer = api.refusal("POST", path, body, dryRun="All")
        return answer["status"], answer["reason"], answer["causes"]

    def no_storage(body: Any) -> None:
        body["spec"]["versions"][0]["storage"] = False

    def wrong_name(body: Any) -> None:
        body["metadata"]["name"] = "other.contract.l5dx.io"

    def no_schema(body: Any) -> None:
        del body["spec"]["versions"][0]["schema"]

    def no_type(body: Any) -> None:
        schema = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        del schema["properties"]["spec"]["properties"]["size"]["type"]

    def odd_scope(body: Any) -> None:
        body["spec"]["scope"] = "Global"

    return [changed(one) for one in (no_storage, wrong_name, no_schema, no_type, odd_scope)]

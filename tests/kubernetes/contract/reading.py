"""Scenarios: list, watch, get, discovery, tables."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.contract.api import TABLE, Api, brief
from tests.kubernetes.contract.objects import a_config_map, a_deployment, a_pod, a_service


def label_selectors(api: Api) -> Any:
    path = api.core("configmaps")
    for name, labels in {
        "a": {"app": "web", "tier": "front"},
        "b": {"app": "web"},
        "c": {"app": "db"},
        "d": {},
    }.items():
        api.make(path, a_config_map(name, labels))
    selectors = (
        "app=web",
        "app==web,tier!=front",
        "app!=web",
        "app in (web,db)",
        "app notin (web)",
        "tier",
        "!tier",
        "app,app in (db)",
    )
    wrong = ("app=web,,", "app in web", "=web", "app in (web", "a b")
    return (
        {one: api.names(path, labelSelector=one) for one in selectors},
        [api.refusal("GET", path, labelSelector=one) for one in wrong],
    )


def field_selectors(api: Api) -> Any:
    path = api.core("configmaps")
    for name in ("a", "b"):
        api.make(path, a_config_map(name))
    selectors = ("metadata.name=a", "metadata.name!=a", f"metadata.namespace={api.namespace}")
    return (
        {one: len(api.names(path, fieldSelector=one)) for one in selectors},
        api.refusal("GET", path, fieldSelector="data.x=1"),
        api.refusal("GET", path, fieldSelector="metadata.name"),
        api.refusal("GET", api.core("pods"), fieldSelector="spec.unknown=1"),
    )


def pages(api: Api) -> Any:
    path = api.core("configmaps")
    for number in range(5):
        api.make(path, a_config_map(f"m{number}"))
    seen, token = [], ""
    while True:
        query: dict[str, Any] = {"limit": "2", **({"continue": token} if token else {})}
        answer = api.send("GET", path, **query).json()
        meta = answer["metadata"]
        names = [one["metadata"]["name"] for one in answer["items"]]
        seen.append((names, meta.get("remainingItemCount"), bool(meta.get("continue"))))
        token = meta.get("continue", "")
        if not token:
            break
    return seen, api.refusal("GET", path, **{"limit": "2", "continue": "garbage"})


def list_shape(api: Api) -> Any:
    api.make(api.core("configmaps"), a_config_map("only", {"a": "b"}, key="value"))
    return api.ask("GET", api.core("configmaps"), labelSelector="a=b")


def empty_list(api: Api) -> Any:
    return api.ask("GET", api.core("services"))


def list_versions(api: Api) -> Any:
    path = api.core("configmaps")
    return [
        api.refusal("GET", path, resourceVersion="abc"),
        api.refusal("GET", path, resourceVersionMatch="Exact"),
        api.refusal("GET", path, resourceVersionMatch="Exact", resourceVersion="0"),
        api.refusal("GET", path, resourceVersionMatch="Odd", resourceVersion="1"),
        api.send("GET", path, resourceVersion="0").status_code,
    ]


def get_missing(api: Api) -> Any:
    return [
        api.ask("GET", api.core("configmaps", "missing")),
        api.ask("GET", api.grouped("apps/v1", "deployments", "missing")),
        api.ask("GET", "/api/v1/namespaces/no-such-namespace"),
        api.ask("GET", api.cluster("v1", "nodes", "missing")),
    ]


def unknown_paths(api: Api) -> Any:
    return [
        api.ask("GET", api.core("gadgets")),
        api.ask("GET", "/apis/no.such.group/v1"),
        api.ask("GET", "/apis/apps/v7"),
        api.send("GET", "/no/such/path").status_code,
        api.refusal("POST", api.core("configmaps", "x")),
        api.refusal("PUT", api.core("configmaps"), {}),
        api.refusal("GET", api.core("configmaps", "x", "nosuch")),
    ]


def watch_changes(api: Api) -> Any:
    path = api.core("configmaps")
    version = api.send("GET", path).json()["metadata"]["resourceVersion"]
    with api.watching(path, 3, resourceVersion=version) as events:
        made = api.make(path, a_config_map("a", key="1"))
        made["data"]["key"] = "2"
        api.send("PUT", api.core("configmaps", "a"), made)
        api.send("DELETE", api.core("configmaps", "a"))
    return events


def watch_selected(api: Api) -> Any:
    """An object that begins or ends to match appears and disappears."""
    path = api.core("configmaps")
    version = api.send("GET", path).json()["metadata"]["resourceVersion"]
    with api.watching(path, 3, resourceVersion=version, labelSelector="on=yes") as events:
        for name, labels in (("a", {}), ("b", {"on": "yes"})):
            api.make(path, a_config_map(name, labels))
        patch = {"metadata": {"labels": {"on": "yes"}}}
        merge = "application/merge-patch+json"
        api.send("PATCH", api.core("configmaps", "a"), patch, kind=merge)
        patch["metadata"]["labels"]["on"] = "no"
        api.send("PATCH", api.core("configmaps", "b"), patch, kind=merge)
    return brief(events), [one["metadata"].get("labels") for _, one in events]


def watch_from_nowhere(api: Api) -> Any:
    """Without a version a watch begins with what there is."""
    path = api.core("configmaps")
    api.make(path, a_config_map("a"))
    with api.watching(path, 2) as events:
        api.make(path, a_config_map("b"))
    return brief(events)


def watch_one(api: Api) -> Any:
    path = api.core("configmaps")
    version = api.make(path, a_config_map("a"))["metadata"]["resourceVersion"]
    with api.watching(path, 1, resourceVersion=version, fieldSelector="metadata.name=b") as events:
        api.make(path, a_config_map("c"))
        api.make(path, a_config_map("b"))
    return brief(events)


def watch_refusals(api: Api) -> Any:
    path = api.core("configmaps")
    return [
        api.refusal("GET", path, watch="true", resourceVersion="abc"),
        api.refusal("GET", path, watch="true", labelSelector="a in"),
        api.refusal("GET", path, sendInitialEvents="true"),
    ]


def tables(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), {"metadata": {"name": "default"}})
    api.make(api.core("pods"), a_pod("p"))
    api.make(api.grouped("apps/v1", "deployments"), a_deployment("d"))
    api.make(api.core("services"), a_service("s", clusterIP="None"))
    api.make(api.core("configmaps"), a_config_map("c", key="1"))
    return {
        path.rpartition("/")[2]: _table(api, path)
        for path in (
            api.core("pods"),
            api.core("services"),
            api.core("configmaps"),
            api.core("serviceaccounts"),
            api.core("secrets"),
            api.core("events"),
            api.grouped("apps/v1", "deployments"),
            api.grouped("apps/v1", "replicasets"),
            api.grouped("apps/v1", "daemonsets"),
            api.grouped("apps/v1", "statefulsets"),
            api.grouped("batch/v1", "jobs"),
            api.grouped("batch/v1", "cronjobs"),
            api.grouped("discovery.k8s.io/v1", "endpointslices"),
            api.grouped("coordination.k8s.io/v1", "leases"),
            api.grouped("rbac.authorization.k8s.io/v1", "roles"),
            api.grouped("rbac.authorization.k8s.io/v1", "rolebindings"),
        )
    }


def _table(api: Api, path: str) -> Any:
    found = api.masked(api.send("GET", path, accept=TABLE).json())
    columns = [
        (one["name"], one["type"], one.get("format"), one["priority"])
        for one in found["columnDefinitions"]
    ]
    ages = {at for at, column in enumerate(columns) if column[0] == "Age"}
    rows = [
        [cell for at, cell in enumerate(row["cells"]) if at not in ages]
        for row in found.get("rows") or ()
    ]
    kinds = {row["object"]["kind"] for row in found.get("rows") or ()}
    return {"kind": found["kind"], "columns": columns, "rows": rows, "objects": sorted(kinds)}


def table_of_one(api: Api) -> Any:
    api.make(api.core("configmaps"), a_config_map("c", key="1"))
    path = api.core("configmaps", "c")
    whole = api.ask("GET", path, accept=TABLE, includeObject="Object")["body"]["rows"]
    return (
        [{key: one for key, one in row.items() if key != "cells"} for row in whole],
        api.refusal("GET", api.core("configmaps", "missing"), accept=TABLE),
        api.refusal("GET", path, accept="application/xml"),
    )


def metadata_only(api: Api) -> Any:
    api.make(api.core("configmaps"), a_config_map("c", {"a": "b"}, key="1"))
    one = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    many = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    return (
        api.ask("GET", api.core("configmaps", "c"), accept=one),
        api.ask("GET", api.core("configmaps"), accept=many, labelSelector="a=b"),
    )

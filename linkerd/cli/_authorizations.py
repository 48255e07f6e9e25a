"""Which policies apply to some pods: servers that select them, routes, and who may use them.

Source: linkerd2 pkg/k8s/authz.go, policy-controller (which policy attaches to what).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from linkerd.errors import NotFound
from linkerd.kube import resources
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import Resource

Object = dict[str, Any]

_OPERATORS = {"In": "in", "NotIn": "notin"}
_ANY_ROUTE = "*"


class Row(NamedTuple):
    """One authorization of one server; `route` is `*` when it holds for all of them."""

    route: str
    server: str
    policy: str
    server_authorization: str


class Policies(NamedTuple):
    """The policy objects of one namespace."""

    servers: list[Object]
    routes: list[Object]
    policies: list[Object]
    server_authorizations: list[Object]


async def of_pods(kube: KubeClient, pods: Iterable[Object], namespace: str) -> list[Row]:
    """Returns the authorizations of the servers that select one of the pods, sorted."""
    names = {pod["metadata"]["name"] for pod in pods}
    servers, policy_routes, http, grpc, policies, old = await asyncio.gather(
        *(
            _list(kube, kind, namespace)
            for kind in (
                resources.SERVERS,
                resources.POLICY_HTTP_ROUTES,
                resources.HTTP_ROUTES,
                resources.GRPC_ROUTES,
                resources.AUTHORIZATION_POLICIES,
                resources.SERVER_AUTHORIZATIONS,
            )
        )
    )
    selected = []
    for server in servers:
        text = selector_text(server["spec"].get("podSelector") or {})
        matching = await kube.list(resources.PODS, namespace, label_selector=text)
        if names & {pod["metadata"]["name"] for pod in matching}:
            selected.append(server)
    return rows(Policies(selected, [*policy_routes, *http, *grpc], policies, old))


async def _list(kube: KubeClient, kind: Resource, namespace: str) -> list[Object]:
    try:
        return await kube.list(kind, namespace)
    except NotFound:
        return []  # The CRD is not installed.


def rows(found: Policies) -> list[Row]:
    """Returns a row for each server and each policy that authorizes something of it."""
    table: set[Row] = set()
    for server in found.servers:
        name = server["metadata"]["name"]
        attached = {
            (route["kind"], route["metadata"]["name"])
            for route in found.routes
            for parent in route["spec"].get("parentRefs") or ()
            if (parent.get("kind"), parent.get("name")) == ("Server", name)
        }
        for policy in found.policies:
            target = policy["spec"]["targetRef"]
            kind, of = target.get("kind"), target.get("name")
            if (kind, of) == ("Server", name) or kind == "Namespace":
                table.add(Row(_ANY_ROUTE, name, policy["metadata"]["name"], ""))
            elif (kind, of) in attached:
                table.add(Row(str(of), name, policy["metadata"]["name"], ""))
        for old in found.server_authorizations:
            chosen = old["spec"].get("server") or {}
            labels = server["metadata"].get("labels") or {}
            if chosen.get("name") == name or (
                "selector" in chosen and _matches(chosen["selector"] or {}, labels)
            ):
                table.add(Row(_ANY_ROUTE, name, "", old["metadata"]["name"]))
    return sorted(table, key=lambda row: (row.server, row.route, row.policy, row[3]))


def selector_text(selector: Mapping[str, Any]) -> str:
    """Returns a label selector as the API takes it in a query."""
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression["key"], expression["operator"]
        if operator in _OPERATORS:
            values = ",".join(expression.get("values") or ())
            terms.append(f"{key} {_OPERATORS[operator]} ({values})")
        else:
            terms.append(key if operator == "Exists" else f"!{key}")
    return ",".join(terms)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = expression.get("values") or ()
    return {
        "In": value is not None and value in values,
        "NotIn": value is None or value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(expression["operator"], False)

"""Which policies stand in a row for which server; excludes asking the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.cli._authorizations import Policies, Row, rows, selector_text


def _object(kind: str, name: str, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    return {"kind": kind, "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def _policy(name: str, kind: str, target: str) -> Any:
    return _object("AuthorizationPolicy", name, targetRef={"kind": kind, "name": target})


def test_policies_of_server_namespace_and_route_apply() -> None:
    route = _object("HTTPRoute", "votes", parentRefs=[{"kind": "Server", "name": "web"}])
    other = _object("HTTPRoute", "other", parentRefs=[{"kind": "Server", "name": "api"}])
    found = rows(
        Policies(
            [_object("Server", "web", {"app": "web"})],
            [route, other],
            [
                _policy("of-server", "Server", "web"),
                _policy("of-another", "Server", "api"),
                _policy("of-namespace", "Namespace", "shop"),
                _policy("of-route", "HTTPRoute", "votes"),
                _policy("of-another-route", "HTTPRoute", "other"),
            ],
            [
                _object("ServerAuthorization", "by-name", server={"name": "web"}),
                _object(
                    "ServerAuthorization",
                    "by-label",
                    server={"selector": {"matchLabels": {"app": "web"}}},
                ),
                _object(
                    "ServerAuthorization",
                    "not-by-label",
                    server={"selector": {"matchLabels": {"app": "api"}}},
                ),
            ],
        )
    )
    assert [
        Row("*", "web", "", "by-label"),
        Row("*", "web", "", "by-name"),
        Row("*", "web", "of-namespace", ""),
        Row("*", "web", "of-server", ""),
        Row("votes", "web", "of-route", ""),
    ] == found


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, ""),
        ({"matchLabels": {"a": "b", "c": "d"}}, "a=b,c=d"),
        (
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]},
            "a in (b,c)",
        ),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
    ],
)
def test_a_selector_is_written_as_the_api_takes_it(selector: dict[str, Any], text: str) -> None:
    assert text == selector_text(selector)

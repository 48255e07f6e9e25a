"""Routes from OpenAPI and protobuf; excludes where the command takes its names from."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.cli import _profiles
from linkerd.errors import RenderError
from linkerd.inject import manifest

OPEN_API = """
swagger: "2.0"
basePath: /v1/
paths:
  /books/{id}.json:
    put:
      x-linkerd-retryable: true
      x-linkerd-timeout: 300ms
      responses: {500: {}, 200: {}, default: {}}
    get: {}
  /authors:
    parameters: []
    post: {responses: {"201": {}}}
"""

PROTO = """
syntax = "proto3";
/* package wrong; */
package shop.v1; // a comment { with a brace
message Book { string name = 1; message Inner { } }
service Books {
  option deprecated = false;
  rpc Get(GetRequest) returns (stream Book) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Put (Book) returns (Empty);
  rpc List(Empty) returns (Books) {
    option (google.api.http) = { get: "/books;}" };
  }
}
"""


def _class(status: int, **more: Any) -> dict[str, Any]:
    return {"condition": {"status": {"min": status, "max": status}}, **more}


def test_each_path_and_verb_of_open_api_is_a_route() -> None:
    author, get, put = _profiles.from_open_api(OPEN_API)
    assert ("POST /v1/authors", [_class(201)]) == (author["name"], author["responseClasses"])
    assert {
        "name": "GET /v1/books/{id}.json",
        "condition": {"method": "GET", "pathRegex": r"/v1/books/[^/]*\.json"},
    } == get
    assert [_class(200), _class(500, isFailure=True)] == put["responseClasses"]
    assert (True, "300ms") == (put["isRetryable"], put["timeout"])


def test_each_rpc_of_a_proto_is_a_route() -> None:
    routes = _profiles.from_proto(PROTO)
    assert ["Get", "Put", "List"] == [route["name"] for route in routes]
    assert {"method": "POST", "pathRegex": r"/shop\.v1\.Books/Get"} == routes[0]["condition"]
    assert [True, None, None] == [route.get("isRetryable") for route in routes]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("service A { rpc Get(X) returns (Y);", "ends within service A"),
        ("service A { rpc Get(X) returns", "ends within an rpc"),
        ("service {", "'{' where a name is due"),
        ("service A", "'its end' where '{' is due"),
        ("message A {", "ends within braces"),
    ],
)
def test_a_broken_proto_is_named(text: str, error: str) -> None:
    with pytest.raises(RenderError, match=error):
        _profiles.from_proto(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no paths"),
        ("paths: [1]", "has no paths"),
        ("paths: {/a: 1}", "path /a"),
        ("paths: {/a: {get: x}}", "GET /a"),
        ("a: [", "yaml: line"),
    ],
)
def test_a_broken_open_api_document_is_named(text: str, error: str) -> None:
    with pytest.raises(RenderError, match=error):
        _profiles.from_open_api(text)


def test_the_template_is_a_profile() -> None:
    body = manifest.parse(_profiles.template("web", "shop", "cluster.local"))
    made = _profiles.service_profile("web", "shop", "cluster.local", [])
    assert made["metadata"] == body["metadata"]
    assert body["spec"]["routes"]

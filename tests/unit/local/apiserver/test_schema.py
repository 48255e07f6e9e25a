"""Structural schemas: pruning, defaults, validation."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.local.apiserver import schema
from linkerd.local.store import Obj
from tests.unit.local.apiserver.builders import a_widget_kind


def spec_of(**properties: Any) -> Obj:
    return {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": properties}},
    }


def a_widget(**spec: Any) -> Obj:
    return {
        "apiVersion": "example.io/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "labels": {"any": "thing"}},
        "spec": spec,
    }


def found(property_schema: Obj, value: Any) -> list[tuple[str, str]]:
    kind = a_widget_kind(spec_of(field=property_schema))
    causes = schema.findings(kind, a_widget(field=value))
    return [(cause["field"], cause["reason"]) for cause in causes]


@pytest.mark.parametrize(
    ("property_schema", "good", "bad"),
    [
        ({"type": "string"}, "a", 1),
        ({"type": "integer"}, 1, "1"),
        ({"type": "integer"}, 2.0, 2.5),
        ({"type": "number"}, 1.5, True),
        ({"type": "boolean"}, True, 1),
        ({"type": "array", "items": {"type": "string"}}, ["a"], [1]),
        ({"type": "object"}, {}, []),
        ({"x-kubernetes-int-or-string": True}, "80%", 1.5),
        ({"type": "string", "enum": ["a", "b"]}, "a", "c"),
        ({"type": "string", "pattern": "^a+$"}, "aa", "ab"),
        ({"type": "string", "minLength": 2}, "ab", "a"),
        ({"type": "string", "maxLength": 2}, "ab", "abc"),
        ({"type": "integer", "minimum": 1, "maximum": 3}, 3, 4),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, 1, 0),
        ({"type": "array", "maxItems": 1}, [1], [1, 2]),
        ({"type": "array", "minItems": 1}, [1], []),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 2], [1, 1]),
        ({"type": "object", "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}),
        ({"type": "object", "required": ["a"]}, {"a": 1}, {"b": 1}),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": "b"}, {"a": 1}),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00Z", "soon"),
        ({"type": "string", "format": "ipv4"}, "10.0.0.1", "10.0.0.256"),
        ({"type": "string", "format": "cidr"}, "10.0.0.0/8", "10.0.0.0"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 1, True),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1}, {"a": 1, "b": 1}),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 2, 3),
        ({"not": {"enum": ["x"]}}, "a", "x"),
        ({"type": "string", "nullable": True}, None, 1),
        ({"type": "string"}, "a", None),
    ],
)
def test_schema_accepts_and_refuses(property_schema: Obj, good: Any, bad: Any) -> None:
    assert [] == found(property_schema, good)
    assert found(property_schema, bad)


def test_a_missing_required_field_is_named() -> None:
    kind = a_widget_kind({"type": "object", "required": ["spec"], "properties": {"spec": {}}})
    obj = a_widget()
    del obj["spec"]
    (cause,) = schema.findings(kind, obj)
    assert ("spec", "Required value") == (cause["field"], cause["message"])


def test_defaults_fill_where_the_object_is_silent() -> None:
    inner = {"type": "object", "properties": {"depth": {"default": 2}}}
    kind = a_widget_kind(spec_of(color={"default": "red"}, inner=inner, names={"default": []}))
    obj = a_widget(color="blue", inner={})
    schema.fill(kind, obj)
    assert {"color": "blue", "inner": {"depth": 2}, "names": []} == obj["spec"]


def test_defaults_are_copies() -> None:
    kind = a_widget_kind(spec_of(names={"default": []}))
    one, two = a_widget(), a_widget()
    schema.fill(kind, one)
    one["spec"]["names"].append("x")
    schema.fill(kind, two)
    assert [] == two["spec"]["names"]


def test_unknown_fields_are_pruned_and_named() -> None:
    open_field = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    items = {"type": "array", "items": {"type": "object", "properties": {"a": {}}}}
    kind = a_widget_kind(spec_of(open=open_field, items=items))
    obj = a_widget(open={"any": 1}, items=[{"a": 1, "b": 2}], other=1)
    obj["extra"] = 1
    assert ["extra", "spec.items[0].b", "spec.other"] == sorted(schema.prune(kind, obj))
    assert {"open": {"any": 1}, "items": [{"a": 1}]} == obj["spec"]
    assert {"any": "thing"} == obj["metadata"]["labels"]

"""Helm's `--set` language, against what Helm's own documentation and tests promise."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import UsageError
from linkerd.install import helmset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", {"a": "b"}),
        ("a.b=1,a.c=true", {"a": {"b": 1, "c": True}}),
        ("a=", {"a": ""}),
        ("a=null", {"a": None}),
        ("a=0123", {"a": "0123"}),
        ("a=1.5", {"a": "1.5"}),
        ("a={x,y}", {"a": ["x", "y"]}),
        ("a={}", {"a": [""]}),
        ("a[1].b=c", {"a": [None, {"b": "c"}]}),
        ("a[0]=1,a[1]=2", {"a": [1, 2]}),
        (r"a=x\,y", {"a": "x,y"}),
        (r"a.linkerd\.io/b=c", {"a": {"linkerd.io/b": "c"}}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_assignments(text: str, expected: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    helmset.apply(values, text)
    assert expected == values


def test_later_assignments_lie_over_earlier_ones() -> None:
    values: dict[str, Any] = {"a": {"b": 1, "c": 2}}
    helmset.apply(values, "a.b=3")
    assert {"a": {"b": 3, "c": 2}} == values


def test_set_string_types_nothing() -> None:
    values: dict[str, Any] = {}
    helmset.apply(values, "a=1,b=true,c=null", strings=True)
    assert {"a": "1", "b": "true", "c": "null"} == values


@pytest.mark.parametrize("text", ["a", "=b", "a=1,b", "a..b=1", "a[99999999]=1"])
def test_what_is_no_assignment_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="failed parsing --set data"):
        helmset.apply({}, text)

"""Label and field selectors as text and as objects."""

from __future__ import annotations

import pytest

from linkerd.local.apiserver.selectors import field, from_object, parse_fields, parse_labels
from linkerd.local.apiserver.status import ApiError
from linkerd.local.store import Obj

LABELS = {"app": "web", "tier": "front", "linkerd.io/inject": "enabled", "rank": "3"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=api", False),
        ("app!=api", True),
        ("missing!=x", True),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("missing notin (web)", True),
        ("linkerd.io/inject", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("rank>2,rank<4", True),
        ("rank>3", False),
        ("app=web,!missing,tier in (front),rank", True),
        ("empty=", False),
    ],
)
def test_label_selector_selects(text: str, selected: bool) -> None:
    assert selected == parse_labels(text).matches(LABELS)


@pytest.mark.parametrize("text", ["a b c", "=x", "a in b", "app=web,,", "(a)"])
def test_malformed_label_selector_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_labels(text)
    assert 400 == refusal.value.status


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        (None, False),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["api"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}, True),
    ],
)
def test_selector_object_selects(selector: Obj | None, selected: bool) -> None:
    assert selected == from_object(selector).matches(LABELS)


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("metadata.name=web", True),
        ("metadata.name!=web", False),
        ("status.phase=Running,metadata.name==web", True),
        ("spec.nodeName=", True),
        ("spec.hostNetwork=true", True),
    ],
)
def test_field_selector_selects(text: str, selected: bool) -> None:
    obj = {
        "metadata": {"name": "web"},
        "spec": {"hostNetwork": True},
        "status": {"phase": "Running"},
    }
    assert selected == parse_fields(text, lambda path: True).matches(obj)


def test_field_selector_on_an_unknown_path_is_refused() -> None:
    with pytest.raises(ApiError, match=r'field label not supported: "spec\.other"'):
        parse_fields("spec.other=a", lambda path: path == "metadata.name")


def test_field_of_a_missing_path_is_empty() -> None:
    assert "" == field({"a": "text"}, "a.b.c")

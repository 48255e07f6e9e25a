"""How people write resources, and label selectors."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import UsageError
from linkerd.viz import selector
from linkerd.viz.kinds import Target, canonical, targets


@pytest.mark.parametrize(
    ("friendly", "name"),
    [
        ("deploy", "deployment"),
        ("deployments", "deployment"),
        ("po", "pod"),
        ("ap", "authorizationpolicy"),
        ("authorizationpolicies", "authorizationpolicy"),
        ("ns", "namespace"),
        ("all", "all"),
    ],
)
def test_short_and_plural_forms_are_known(friendly: Any, name: Any) -> None:
    assert name == canonical(friendly)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match=r"from friendly name \[potato\]"):
        canonical("potato")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["deploy"], [Target("deployment", "")]),
        (["deploy/web"], [Target("deployment", "web")]),
        (["po", "a", "b"], [Target("pod", "a"), Target("pod", "b")]),
        (["deploy/a", "sts/b"], [Target("deployment", "a"), Target("statefulset", "b")]),
        (["all"], [Target("all", "")]),
    ],
)
def test_arguments_select_targets(words: Any, found: Any) -> None:
    assert found == targets(words)


@pytest.mark.parametrize(
    "words",
    [[], ["all", "web"], ["all/web"], ["po", "a", "a"], ["po", "deploy/a"], ["po/a/b"], ["x"]],
)
def test_other_arguments_are_refused(words: Any) -> None:
    with pytest.raises(UsageError):
        targets(words)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier", True),
        ("app!=web", False),
        ("app in (web, api)", True),
        ("app notin (web,api)", False),
        ("!missing", True),
        ("missing", False),
    ],
)
def test_selectors_follow_kubernetes(text: Any, matches: Any) -> None:
    assert matches == selector.parse(text)({"app": "web", "tier": "1"})


def test_a_broken_selector_is_refused() -> None:
    with pytest.raises(UsageError):
        selector.parse("a b c")

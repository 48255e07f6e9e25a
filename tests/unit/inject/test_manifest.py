"""YAML as Kubernetes reads it: scalars that PyYAML would take for something else."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import RenderError
from linkerd.inject import manifest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-0x1F", -31),
        ("0o17", 15),
        ("017", 15),
        ("1e3", 1000),
        ("1.5", 1.5),
        ("1_000", 1000),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("true", True),
        ("1.2.3", "1.2.3"),
        ("~", None),
        ('"1"', "1"),
    ],
)
def test_scalars(text: str, expected: Any) -> None:
    assert {"a": expected} == manifest.parse(f"a: {text}")


@pytest.mark.parametrize("value", ["1e3", "0o17", "true", "on", "12:30", "", "~", "a\nb\n", "1_0"])
def test_what_is_written_is_read_back(value: str) -> None:
    assert {"a": value} == manifest.parse(manifest.render({"a": value}))


def test_lines_are_not_folded_and_anchors_not_used() -> None:
    shared = {"k": "word " * 60}
    text = manifest.render({"a": shared, "b": shared})
    assert "&" not in text
    assert 4 == text.count("\n")


def test_broken_yaml_names_its_line() -> None:
    with pytest.raises(RenderError, match=r"error converting YAML to JSON: yaml: line 3"):
        manifest.parse("a: b\nc: [")

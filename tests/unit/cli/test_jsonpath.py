"""Templates of `-o jsonpath`, against what kubectl prints for them."""

from __future__ import annotations

import pytest

from linkerd.cli import _jsonpath as jsonpath
from linkerd.errors import UsageError

DOCUMENT = {
    "kind": "List",
    "items": [
        {
            "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            "replicas": 1,
        },
        {"metadata": {"name": "b}"}, "status": {"phase": "Pending"}, "replicas": 3},
        {"metadata": {"name": "c"}, "status": {}, "replicas": 5},
    ],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (".kind", "List"),
        ("{.items[*].metadata.name}", "a b} c"),
        ("{.items[0].metadata.name}-{.items[-1].metadata.name}", "a-c"),
        ("{.items[7].metadata.name}", ""),
        ("{.items[0:2].replicas}", "1 3"),
        ("{.items[1:].replicas}", "3 5"),
        ("{.items[-1:].replicas}", "5"),
        ("{.items[::2].replicas}", "1 5"),
        (r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "x"),
        ("{.items[0].metadata.labels['app.kubernetes.io/name']}", "x"),
        ("{..phase}", "Running Pending"),
        ('{range .items[*]}{.metadata.name}={.status.phase}{"\\n"}{end}', "a=Running\nb}=Pending\nc=\n"),
        ('{range .items[*]}{range .status.conditions[*]}{.type}{end},{end}{.kind}', "Ready,,,List"),
        ('{.items[?(@.metadata.name=="b}")].replicas}', "3"),
        ("{.items[?(@.metadata.name=='a')].status.conditions[?(@.type == \"Ready\")].status}", "True"),
        ("{.items[?(@.replicas>=3)].metadata.name}", "b} c"),
        ("{.items[?(@.replicas!=3)].metadata.name}", "a c"),
        ("{.items[?(@.status.phase)].metadata.name}", "a b}"),
        ('{.items[?(@.replicas>"x")].metadata.name}', ""),
    ],
)  # fmt: skip
def test_a_template_is_filled_as_kubectl_does(template: str, expected: str) -> None:
    assert expected == jsonpath.compile(template)(DOCUMENT)


@pytest.mark.parametrize(
    "template",
    ["{.a", "{range .a}", "{.a[}", '{.a[?(@.b=="c]}', "{.a[?(@.b==c)]}", "{.a[?()]}", "{end}}{(}"],
)
def test_what_cannot_be_read_says_so(template: str) -> None:
    with pytest.raises(UsageError, match="jsonpath"):
        jsonpath.compile(template)

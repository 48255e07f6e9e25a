"""A document as data: its commands in its order, the lines it shows, and what differs today.

Names, ages, addresses and versions are normalised on both sides; shown lines must come in the
document's order, ours may have more in between. A line that a current mesh does not print any more
stands in `gone` with the reason. Nothing of a document is left out silently.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VERSION_CHECKS = "printed only with `--expected-version`: nothing is asked over the internet"
_OLD_KUBECTL = "left out since 2.12: the CLI has no need of kubectl"

GONE: dict[str, str] = {
    "√ is running the minimum kubectl version": _OLD_KUBECTL,
    "linkerd-version": VERSION_CHECKS,
    "√ can determine the latest version": VERSION_CHECKS,
    "√ cli is up-to-date": VERSION_CHECKS,
    "‼ cli is up-to-date": VERSION_CHECKS,
    "√ control plane is up-to-date": VERSION_CHECKS,
    "‼ control plane is up-to-date": VERSION_CHECKS,
    "‼ control plane proxies are up-to-date": VERSION_CHECKS,
    "‼ data plane is up-to-date": VERSION_CHECKS,
    # Releases before 2.12.
    "pre-kubernetes-capability": "left out since 2.11 with the pod security policies it asked",
    "√ has NET_ADMIN capability": "left out since 2.11 with the pod security policies it asked",
    "√ has NET_RAW capability": "left out since 2.11 with the pod security policies it asked",
    "√ control plane PodSecurityPolicies exist": "Kubernetes has none since 1.25",
    # Releases before 2.11.
    "√ controller pod is running": "the controller went with 2.11: its parts are pods of their own",
    "√ can query the control plane API": "the public API went with 2.11",
    "linkerd-api": "the public API went with 2.11",
    "√ control plane self-check": "the public API went with 2.11",
    "√ [kubernetes] control plane can talk to Kubernetes": "the public API went with 2.11",
    "√ [prometheus] control plane can talk to Prometheus": "asked by `linkerd viz check`",
    "√ tap api service is running": "asked by `linkerd viz check`",
    "√ tap API server has valid cert": "asked by `linkerd viz check`",
    "√ tap API server cert is valid for at least 60 days": "asked by `linkerd viz check`",
    "linkerd-addons": "add-ons became extensions with 2.10",
    "'linkerd-config-addons' config map exists": "add-ons became extensions with 2.10",
    "linkerd-prometheus": "add-ons became extensions with 2.10",
    "√ prometheus add-on service account exists": "add-ons became extensions with 2.10",
    "√ prometheus add-on config map exists": "add-ons became extensions with 2.10",
    "√ prometheus pod is running": "asked by `linkerd viz check`",
    "linkerd-grafana": "Grafana left the extension with 2.12",
    "√ grafana add-on service account exists": "Grafana left the extension with 2.12",
    "√ grafana add-on config map exists": "Grafana left the extension with 2.12",
    "√ grafana pod is running": "Grafana left the extension with 2.12",
}
"""Lines of old `check`s that a current mesh does not print, each with the reason."""

_GONE_PATTERNS = (
    re.compile(r"is running version \S+ but the latest stable version is \S+"),
    re.compile(r"some proxies are not running the current version:"),
    re.compile(r"\* \S+ \(stable-\S+\)"),
    re.compile(r"see https://linkerd\.io/\S+/checks/#l5d-\S*version\S* for hints"),
)
"""What old checks said below a version that was not the latest."""


@dataclass(frozen=True)
class Step:
    """One command of a document.

    `shows` are the document's lines. `replaced` says what stands in for something that cannot be
    had offline; `added` why the document lacks a command that is needed today; `missing` why it
    cannot be run at all: then nothing is. `reruns` is for commands that only look: they are asked
    again until they show everything. `background` commands go on until the document ends; `then`
    is a command that shows what they serve. `screen` gives them a terminal to draw on; `contains`
    are texts within the lines. `typed` goes to the command's terminal. `any_order` is for old
    checks, whose lines moved between categories since.
    """

    command: str
    shows: str = ""
    gone: Mapping[str, str] = field(default_factory=dict)
    replaced: str = ""
    added: str = ""
    missing: str = ""
    reruns: bool = False
    background: bool = False
    then: Sequence[str] = ()
    typed: Sequence[str] = ()
    any_order: bool = False
    screen: bool = False
    contains: Sequence[str] = ()

    def wanted(self) -> list[str]:
        """Returns the normalised lines that the command must show."""
        lines = [line.strip() for line in self.shows.splitlines()]
        return [normal(line) for line in lines if line and not self.reason(line)]

    def reason(self, line: str) -> str:
        """Returns why a line of the document is not shown any more, empty when it is."""
        if re.fullmatch(r"[-=]+", line):
            return "rule"
        if any(pattern.fullmatch(line) for pattern in _GONE_PATTERNS):
            return VERSION_CHECKS
        return {**GONE, **self.gone}.get(line, "")

    def left(self, output: str) -> list[str]:
        """Returns the wanted lines that `output` does not show, or not in this order."""
        absent = [text for text in self.contains if text not in output]
        if absent:
            return absent
        shown = [normal(line) for line in output.splitlines()]
        wanted = self.wanted()
        if self.any_order:
            return [line for line in wanted if line not in shown]
        at = 0
        for place, line in enumerate(wanted):
            try:
                at = shown.index(line, at) + 1
            except ValueError:
                return wanted[place:]
        return []


@dataclass(frozen=True)
class Walk:
    """A document: what it is, in which language and of which release, and its commands.

    `clicks` are what it does in the browser, each with the test in tests/browser that does it.
    """

    title: str
    about: str
    steps: Sequence[Step]
    clicks: Mapping[str, str] = field(default_factory=dict)


_NORMAL = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"(?<=[a-z])-[0-9a-z]{8,10}-[0-9a-z]{5}\b"), "-POD"),
    (re.compile(r"\blinkerd (?=v\d)"), ""),
    (re.compile(r"\b(?:stable|edge)-\d[\w.-]*|\bv?\d+\.\d+\.\d+[\w.+-]*(?=$|\s)"), "VERSION"),
    (re.compile(r"\b\d+\.\d+\.\d+\.\d+(:\d+)?\b"), "IP"),
    (re.compile(r"\bid=\d+:\d+\b"), "id=ID"),
    (re.compile(r"(?<=\s)(?:\d+[dhms])+$"), "AGE"),
    (re.compile(r"\s+"), " "),
)


def normal(line: str) -> str:
    """Returns a line without what differs between two runs: names, ages, addresses, versions."""
    for pattern, replacement in _NORMAL:
        line = pattern.sub(replacement, line)
    return line.strip()


def table(walk: Walk) -> str:
    """Returns the document's commands and their results as Markdown."""
    lines = [f"## {walk.title}", "", walk.about, "", "| Command | Result |", "|---|---|"]
    lines += [f"| {_code(step.command, step.typed)} | {_result(step)} |" for step in walk.steps]
    lines += [f"| {click} | in Chromium: `{test}` |" for click, test in walk.clicks.items()]
    return "\n".join(lines) + "\n"


def _code(command: str, typed: Sequence[str]) -> str:
    text = "\n".join([command, *(f"  {line}" for line in typed)])
    return "<code>" + _escaped(text).replace("\n", "<br>") + "</code>"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("`", "&#96;")


def _result(step: Step) -> str:
    if step.missing:
        return f"**not yet**: {step.missing}"
    words = ["as shown" if step.shows else "succeeds"]
    if step.any_order:
        words = ["as shown, in another order"]
    if step.added:
        words = [f"not in the document: {step.added}"]
    if step.contains:
        words.append(f"with {', '.join(_code(one, ()) for one in step.contains)}")
    if step.then:
        words.append(f"then {', '.join(_code(one, ()) for one in step.then)} succeeds")
    if step.replaced:
        words.append(f"replaced: {step.replaced}")
    reasons: dict[str, list[str]] = {}
    for line in (line.strip() for line in step.shows.splitlines()):
        reason = line and step.reason(line)
        if reason and reason != "rule":
            reasons.setdefault(reason, []).append(line)
    for reason, gone in reasons.items():
        names = ", ".join(f"<code>{_escaped(line)}</code>" for line in dict.fromkeys(gone))
        words.append(f"without {names}: {reason}")
    return "; ".join(words).replace("|", "&#124;")

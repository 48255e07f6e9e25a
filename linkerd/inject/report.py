"""What `inject` and `uninject` tell on stderr, in Linkerd's words.

Source: linkerd2 cli/cmd/inject.go generateReport, cli/cmd/uninject.go (texts, order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from linkerd.inject.verdict import Facts

OK, WARNING = "\N{SQUARE ROOT}", "\N{DOUBLE EXCLAMATION MARK}"


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to one object; `kind` is lower-case, empty when the document has none.

    `outcome` is injected, annotated, uninjected or skipped; `supported` tells whether the kind can
    be injected or annotated at all.
    """

    kind: str
    name: str
    outcome: str
    supported: bool = False
    facts: Facts = field(default_factory=Facts)

    @property
    def title(self) -> str:
        """`deployment/web`."""
        return f"{self.kind}/{self.name}"

    @property
    def line(self) -> str:
        """The summary's line."""
        if not self.kind:
            return 'document missing "kind" field, skipped'
        return f'{self.kind} "{self.name}" {self.outcome}'


def injected(reports: Sequence[Report], *, verbose: bool = False) -> str:
    """Returns the report of `inject`."""
    lines = [""]
    disabled = [r.title for r in reports if r.facts.disabled]
    host = [r.title for r in reports if r.facts.host_network]
    sidecar = [r.title for r in reports if r.facts.sidecar]
    udp = [r.title for r in reports if r.facts.udp]
    token = [r.title for r in reports if r.facts.no_token]
    usable = any(r.outcome in ("injected", "annotated") for r in reports)

    def say(problem: str | None, fine: str) -> None:
        if problem is not None:
            lines.append(f"{WARNING} {problem}")
        elif verbose:
            lines.append(f"{OK} {fine}")

    say(
        f'"hostNetwork: true" detected in {", ".join(host)}' if host else None,
        "pods do not use host networking",
    )
    say(
        f"known 3rd party sidecar detected in {', '.join(sidecar)}" if sidecar else None,
        "pods do not have a 3rd party proxy or initContainer already injected",
    )
    say(
        f'"linkerd.io/inject: disabled" annotation set on {", ".join(disabled)}'
        if disabled
        else None,
        "pods are not annotated to disable injection",
    )
    say(
        None if usable or disabled else "no supported objects found",
        "at least one resource can be injected or annotated",
    )
    verb = "uses" if len(udp) == 1 else "use"
    say(
        f'{", ".join(udp)} {verb} "protocol: UDP"' if udp else None,
        "pod specs do not include UDP ports",
    )
    say(
        f'automountServiceAccountToken set to "false" in {", ".join(token)}' if token else None,
        'pods do not have automountServiceAccountToken set to "false" '
        "or service account token projection is enabled",
    )
    if len(lines) > 1:
        lines.append("")
    lines += [r.line for r in reports]
    return "\n".join([*lines, "", ""])


def uninjected(reports: Sequence[Report]) -> str:
    """Returns the report of `uninject`."""
    return "\n".join(["", *(r.line for r in reports), "", ""])

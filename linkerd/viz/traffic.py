"""Who calls whom: outbound samples → edges between workloads, with rates and health. Pure.

One question covers a graph or the neighbours of one resource; callers outside the mesh are known
only from what their peers receive without identity.
Source: labels as linkerd2-proxy app/core/src/metrics.rs; thresholds as linkerd2 web/app.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from linkerd.errors import UsageError
from linkerd.settings import duration_s
from linkerd.viz import queries
from linkerd.viz.kinds import KINDS
from linkerd.viz.prometheus import Sample

_WORKLOADS = (
    "deployment",
    "statefulset",
    "daemonset",
    "cronjob",
    "job",
    "replicaset",
    "replicationcontroller",
    "pod",
)
OUTSIDE = "outside"
"""Pseudo kind of callers and servers that are not in the mesh."""


class Node(NamedTuple):
    """One end of an edge."""

    kind: str
    namespace: str
    name: str


def query(selected: queries.Object, window: str) -> dict[str, str]:
    """Returns what to ask about all traffic from and to a resource, or of a namespace.

    Args:
        selected: A resource, a namespace, or a namespace without name for everything.
        window: Prometheus duration.

    Raises:
        UsageError: calls are not labelled with that kind.
    """
    kind = KINDS.get(selected.kind)
    if kind is None or not (kind.owns_pods or kind.name == "service"):
        raise UsageError(f"unsupported resource type [{selected.kind}]")
    source = queries.Matchers().equal("direction", "outbound")
    inbound = queries.Matchers().equal("direction", "inbound").equal("tls", "no_identity")
    inbound.differ("route_name", "probe")
    for side in (source, inbound):
        # Scrapes and taps of proxies are not the workloads' traffic.
        side.unlike("target_port", "4190|4191")
    target = source.copy()
    queries.destination(target, selected, "")
    if kind.name != "service":
        queries.own(source, selected)
        queries.own(inbound, selected)
    sides = (
        [target] if kind.name == "service" else list({str(m): m for m in (source, target)}.values())
    )
    own_pods = ("pod",) if kind.name == "pod" else ()
    workloads = [KINDS[name].label for name in _WORKLOADS[:-1]]
    names = [*workloads, *own_pods]
    by = ["namespace", *names, "dst_namespace", *(f"dst_{name}" for name in names)]
    by += ["dst_service", "tls"]
    parts = [(side, by) for side in sides]
    if not own_pods:
        open_sides = sides if kind.name == "namespace" else [target]
        parts += [(_without_owner(side, workloads), [*by, "pod"]) for side in open_sides]
    asked = {
        "requests": _either(
            queries.increase("response_total", side, (*by, "classification"), window)
            for side, by in parts
        ),
        "tcp": _either(
            f"sum(tcp_open_connections{side.copy().equal('peer', 'dst')}) by ({', '.join(by)})"
            for side, by in parts
        ),
        "p99": _either(
            "histogram_quantile(0.99, sum(irate(response_latency_ms_bucket"
            f"{side}[{window}])) by (le, {', '.join(by)}))"
            for side, by in parts
        ),
    }
    if kind.name != "service":
        plain = ["namespace", *names]
        asked["outside"] = queries.increase(
            "response_total", inbound, (*plain, "classification"), window
        )
    return asked


def _without_owner(side: queries.Matchers, workloads: list[str]) -> queries.Matchers:
    """Returns the part of a side whose callers are pods that nobody owns: they show as pods."""
    bare = side.copy()
    for label in workloads:
        bare.absent(label)
    return bare


def _either(parts: Iterable[str]) -> str:
    return " or ".join(parts)


class _Edge:
    __slots__ = ("failure", "p99", "secured", "success", "tcp")

    def __init__(self) -> None:
        self.success = self.failure = self.tcp = 0.0
        self.p99: float | None = None
        self.secured: bool | None = None


def edges(
    answers: Mapping[str, Iterable[Sample]], window: str, *, pods: bool = False
) -> list[dict[str, Any]]:
    """Returns edges as the dashboard shows them, ordered by their ends.

    Each has `src` and `dst` (kind, namespace, name), `rps`, `success` (0..1, None without
    traffic), `p99` in milliseconds, `tcp` open connections and `tls`.
    """
    found: dict[tuple[Node, Node], _Edge] = defaultdict(_Edge)
    for name, samples in answers.items():
        for sample in samples:
            labels = sample.labels
            if name == "outside":
                ends = Node(OUTSIDE, "", "outside the mesh"), _node(labels, "", pods)
            else:
                ends = _node(labels, "", pods), _node(labels, "dst_", pods)
            if not ends[0].name or not ends[1].name:
                continue
            _take(found[ends], name, sample)
    seconds = duration_s(window)
    shown = []
    for (source, target), edge in sorted(found.items()):
        total = edge.success + edge.failure
        if not total and not edge.tcp:
            continue
        shown.append(
            {
                "src": source._asdict(),
                "dst": target._asdict(),
                "rps": total / seconds,
                "success": edge.success / total if total else None,
                "p99": round(edge.p99) if edge.p99 is not None and total else None,
                "tcp": round(edge.tcp),
                "tls": bool(edge.secured),
            }
        )
    return shown


def _take(edge: _Edge, name: str, sample: Sample) -> None:
    if name == "tcp":
        edge.tcp += sample.value
    elif name == "p99":
        edge.p99 = max(edge.p99 or 0.0, sample.value)
    elif sample.labels.get("classification") == "success":
        edge.success += sample.value
    else:
        edge.failure += sample.value
    if name in ("requests", "tcp") and sample.value:
        secured = sample.labels.get("tls") == "true"
        edge.secured = secured if edge.secured is None else edge.secured and secured


def _node(labels: Mapping[str, str], prefix: str, pods: bool) -> Node:
    namespace = labels.get(f"{prefix}namespace", "")
    order = ("pod", *_WORKLOADS) if pods else _WORKLOADS
    for kind in order:
        name = labels.get(prefix + KINDS[kind].label, "")
        if name:
            return Node(kind, namespace, name)
    service = labels.get(f"{prefix}service", "")
    if service:
        return Node("service", namespace, service)
    return Node("", namespace, "")

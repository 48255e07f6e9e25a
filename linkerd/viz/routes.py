"""ServiceProfiles and samples per route → the tables of `viz routes`. Pure.

Source: linkerd2 viz/metrics-api/top_routes.go, viz/cmd/routes.go (labels, columns, keys, texts).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linkerd.errors import UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.settings import duration_s
from linkerd.viz import queries, tables
from linkerd.viz.cluster import Cluster
from linkerd.viz.kinds import KINDS
from linkerd.viz.objects import Pod, Service
from linkerd.viz.prometheus import Sample

DEFAULT = "[DEFAULT]"
"""Name of the row of requests that match no route."""

NO_PROFILES = "No Service Profiles found for selected resources"


@dataclass(frozen=True, slots=True)
class Profile:
    """The routes of one service."""

    fqdn: str
    service: str
    routes: tuple[str, ...]


def profiles(bodies: Iterable[Mapping[str, Any]]) -> dict[str, Profile]:
    """Returns profiles by the name that they are about; of several the last counts."""
    found = {}
    for body in bodies:
        name = str(body["metadata"]["name"])
        routes = (body.get("spec") or {}).get("routes") or ()
        found[name] = Profile(
            name, name.partition(".")[0], tuple(str(r.get("name", "")) for r in routes)
        )
    return found


def services_of(cluster: Cluster, kind: str, namespace: str, name: str) -> list[Service]:
    """Returns the services that send traffic to a resource, or the service itself."""
    if kind == "service":
        return [obj for obj in cluster.objects(kind, namespace, name) if isinstance(obj, Service)]
    pods = {
        (pod.metadata.namespace, pod.metadata.name)
        for obj in cluster.objects(kind, namespace, name)
        for pod in cluster.pods_of(kind, obj)
    }
    found = []
    for obj in cluster.objects("service", name if kind == "namespace" else namespace):
        members: Sequence[Pod] = cluster.pods_of("service", obj)
        if isinstance(obj, Service) and any(
            (pod.metadata.namespace, pod.metadata.name) in pods for pod in members
        ):
            found.append(obj)
    return found


def relevant(
    known: Mapping[str, Profile], services: Iterable[Service], cluster_domain: str
) -> list[Profile]:
    """Returns the profiles of services, ordered by name."""
    names = sorted(
        f"{obj.metadata.name}.{obj.metadata.namespace}.svc.{cluster_domain}" for obj in services
    )
    return [known[name] for name in names if name in known]


def query(
    selected: queries.Object, found: Sequence[Profile], window: str, *, outbound: bool
) -> dict[str, str]:
    """Returns what to ask of Prometheus about the routes of one resource.

    Args:
        selected: Whose proxies measured; for a service, its clients', as for its statistics.
        found: Whose routes.
        window: Prometheus duration.
        outbound: Ask what its clients saw: then retried attempts count on their own.
    """
    by_clients = outbound or selected.kind == "service"
    matchers = queries.Matchers().equal("direction", "outbound" if by_clients else "inbound")
    if selected.kind != "service":
        queries.own(matchers, selected)
    names = "|".join(queries.escaped(profile.fqdn) for profile in found)
    matchers.regex("dst", rf"({names})(:\d+)?")
    by = ("rt_route", "dst", "classification")
    asked = {"requests": queries.increase("route_response_total", matchers, by, window)}
    if outbound:
        asked["actual"] = queries.increase("route_actual_response_total", matchers, by, window)
    buckets = f"irate(route_response_latency_ms_bucket{matchers}[{window}])"
    for name, quantile in queries.QUANTILES.items():
        asked[name] = f"histogram_quantile({quantile}, sum({buckets}) by (le, dst, rt_route))"
    return asked


def table(
    resource: str,
    found: Sequence[Profile],
    answers: Mapping[str, Iterable[Sample]],
    window: str,
) -> pb.RouteTable:
    """Returns the table of one resource: all routes, and what matched none."""
    rows = {
        (profile.service, route): pb.RouteTable.Row(
            route=route, authority=profile.service, time_window=window
        )
        for profile in found
        for route in (*sorted(profile.routes), DEFAULT)
    }
    for name, samples in answers.items():
        for sample in samples:
            service = sample.labels.get("dst", "").partition(".")[0]
            row = rows.get((service, sample.labels.get("rt_route") or DEFAULT))
            if row is not None:
                _take(row.stats, name, sample)
    return pb.RouteTable(resource=resource, rows=list(rows.values()))


def _take(stats: pb.BasicStats, name: str, sample: Sample) -> None:
    count = max(0, round(sample.value))
    success = sample.labels.get("classification") == "success"
    if name in queries.QUANTILES:
        setattr(stats, f"latency_ms_{name}", count)
    elif name == "actual":
        if success:
            stats.actual_success_count += count
        else:
            stats.actual_failure_count += count
    elif success:
        stats.success_count += count
    else:
        stats.failure_count += count


@dataclass(frozen=True, slots=True)
class _Measured:
    success: float | None = None
    rps: float = 0.0
    actual_success: float | None = None
    actual_rps: float = 0.0
    latencies: tuple[int | None, int | None, int | None] = field(default=(None, None, None))


def _measured(row: pb.RouteTable.Row) -> _Measured:
    stats = row.stats
    seconds = duration_s(row.time_window)
    total = stats.success_count + stats.failure_count
    actual = stats.actual_success_count + stats.actual_failure_count
    if not total:
        return _Measured(actual_rps=actual / seconds)
    return _Measured(
        stats.success_count / total,
        total / seconds,
        stats.actual_success_count / actual if actual else None,
        actual / seconds,
        (stats.latency_ms_p50, stats.latency_ms_p95, stats.latency_ms_p99),
    )


def text(found: Sequence[pb.RouteTable], *, wide: bool = False) -> str:
    """Returns the tables; a line with its resource before each when there are several."""
    blocks = []
    for each in found:
        header = f"==> {each.resource} <==\n" if len(found) > 1 else ""
        blocks.append(header + _block(each, wide))
    return "\n".join(blocks)


def _block(found: pb.RouteTable, wide: bool) -> str:
    rates = ["SUCCESS", "RPS"]
    if wide:
        rates = ["EFFECTIVE_SUCCESS", "EFFECTIVE_RPS", "ACTUAL_SUCCESS", "ACTUAL_RPS"]
    lines = [["ROUTE", "SERVICE", *rates, "LATENCY_P50", "LATENCY_P95", "LATENCY_P99"]]
    for row in found.rows:
        measured = _measured(row)
        cells = [row.route, row.authority, _percent(measured.success), f"{measured.rps:.1f}rps"]
        if wide:
            cells += [_percent(measured.actual_success), f"{measured.actual_rps:.1f}rps"]
        lines.append([*cells, *(tables.cell("{}ms", each) for each in measured.latencies)])
    return tables.aligned(lines, 2)


def _percent(share: float | None) -> str:
    return tables.cell("{:.2f}%", None if share is None else share * 100)


def as_json(found: Iterable[pb.RouteTable], *, wide: bool = False) -> str:
    """Returns an object from resource to its rows."""
    document = {}
    for each in found:
        rows = []
        for row in each.rows:
            measured = _measured(row)
            entry: dict[str, Any] = {"route": row.route, "authority": row.authority}
            if wide:
                entry |= {
                    "effective_success": measured.success,
                    "effective_rps": measured.rps,
                    "actual_success": measured.actual_success,
                    "actual_rps": measured.actual_rps,
                }
            else:
                entry |= {"success": measured.success, "rps": measured.rps}
            for name, value in zip(queries.QUANTILES, measured.latencies, strict=True):
                entry[f"latency_ms_{name}"] = value
            rows.append(entry)
        document[each.resource] = rows
    return json.dumps(document, indent=2) + "\n"


def check(kind: str) -> None:
    """Requires that a kind can have routes.

    Raises:
        UsageError: it cannot.
    """
    found = KINDS.get(kind)
    if found is None or not (found.owns_pods or kind == "service"):
        raise UsageError(f"unsupported resource type [{kind}]")

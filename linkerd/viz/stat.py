"""Samples and pods → the rows of a statistics table. Pure.

Source: linkerd2 viz/metrics-api/stat_summary.go (which rows, rounding, pod errors).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from linkerd.gen import viz_pb2 as pb
from linkerd.viz.cluster import Cluster
from linkerd.viz.kinds import KINDS
from linkerd.viz.objects import Pod
from linkerd.viz.prometheus import Sample
from linkerd.viz.queries import QUANTILES, Object, StatQuery
from linkerd.viz.selector import Selector

Row = pb.StatTable.PodGroup.Row
RowKey = tuple[str, str]
"""Namespace and name; the namespace is empty for namespaces."""


class Measured:
    """The answers to one `StatQuery`, by row."""

    def __init__(self, query: StatQuery, answers: Mapping[str, Sequence[Sample]]) -> None:
        self.basic: dict[RowKey, pb.BasicStats] = defaultdict(pb.BasicStats)
        self.tcp: dict[RowKey, pb.TcpStats] = defaultdict(pb.TcpStats)
        self.server: dict[RowKey, pb.ServerStats] = defaultdict(pb.ServerStats)
        self._key = query.key
        for name, samples in answers.items():
            for sample in samples:
                self._take(name, sample)

    @property
    def keys(self) -> set[RowKey]:
        """The rows for which there is anything."""
        return {*self.basic, *self.tcp, *self.server}

    def _take(self, name: str, sample: Sample) -> None:
        key = self._row_key(sample)
        if not key[1]:
            return  # traffic of something that is not of this kind
        count = _count(sample.value)
        if name == "requests":
            if sample.labels.get("classification") == "success":
                self.basic[key].success_count += count
            else:
                self.basic[key].failure_count += count
        elif name in QUANTILES:
            setattr(self.basic[key], f"latency_ms_{name}", count)
        elif name == "tcp_open":
            self.tcp[key].open_connections = count
        elif name == "tcp_read":
            self.tcp[key].read_bytes_total = count
        elif name == "tcp_write":
            self.tcp[key].write_bytes_total = count
        elif name == "allow":
            self.server[key].allowed_count = count
        elif name == "deny":
            self.server[key].denied_count = count

    def _row_key(self, sample: Sample) -> RowKey:
        values = [sample.labels.get(label, "") for label in self._key]
        return (values[0], values[1]) if len(values) == 2 else ("", values[0])


def rows(
    cluster: Cluster,
    selected: Object,
    measured: Measured,
    *,
    window: str,
    control_plane_ns: str,
    matches: Selector,
    filtered: bool,
) -> list[Row]:
    """Returns the rows of workloads, pods, namespaces or services, ordered by namespace and name.

    Args:
        cluster: The objects there are.
        selected: What the request asked for.
        measured: What Prometheus knows.
        window: Goes into the rows.
        control_plane_ns: Whose pods count as meshed.
        matches: The request's label selector.
        filtered: Whether the request has a `to` or `from`: then only rows with traffic count.
    """
    found = []
    name = selected.name
    for obj in cluster.objects(selected.kind, selected.namespace, name, matches):
        meta = obj.metadata
        key = (meta.namespace, meta.name)
        if filtered and key not in measured.keys:
            continue
        row = _row(selected.kind, key, window, measured)
        if KINDS[selected.kind].owns_pods:
            _count_pods(row, cluster.pods_of(selected.kind, obj), control_plane_ns)
            if isinstance(obj, Pod):
                row.status = obj.display_status
        found.append(row)
    return sorted(found, key=lambda row: (row.resource.namespace, row.resource.name))


def authority_rows(measured: Measured, *, window: str) -> list[Row]:
    """Returns a row for each authority that was asked for, ordered by namespace and name."""
    return [_row("authority", key, window, measured) for key in sorted(measured.keys)]


def policy_rows(
    selected: Object, names: Iterable[RowKey], measured: Measured, *, window: str
) -> list[Row]:
    """Returns the rows of authorization policy resources, ordered by namespace and name.

    Args:
        selected: What the request asked for.
        names: The resources there are.
        measured: What Prometheus knows.
        window: Goes into the rows.
    """
    found = []
    for key in sorted(names):
        row = _row(selected.kind, key, window, measured)
        if key in measured.server:
            row.srv_stats.CopyFrom(measured.server[key])
        if selected.kind == "server":
            row.srv_stats.srv.CopyFrom(row.resource)
        elif selected.kind == "httproute":
            row.srv_stats.route.CopyFrom(row.resource)
        else:
            row.srv_stats.authz.CopyFrom(row.resource)
        found.append(row)
    return found


def _row(kind: str, key: RowKey, window: str, measured: Measured) -> Row:
    row = Row(
        resource=pb.Resource(namespace=key[0], type=kind, name=key[1]),
        time_window=window,
    )
    if key in measured.basic:
        row.stats.CopyFrom(measured.basic[key])
    if key in measured.tcp:
        row.tcp_stats.CopyFrom(measured.tcp[key])
    return row


def _count_pods(row: Row, pods: Iterable[Pod], control_plane_ns: str) -> None:
    for pod in pods:
        if pod.status.phase == "Succeeded":
            continue
        if pod.status.phase == "Failed":
            row.failed_pod_count += 1
        else:
            row.running_pod_count += 1
            if pod.meshed(control_plane_ns):
                row.meshed_pod_count += 1
        errors = _errors(pod)
        if errors.errors:
            row.errors_by_pod[pod.metadata.name].CopyFrom(errors)


def _errors(pod: Pod) -> pb.PodErrors:
    """Why containers of the pod are not ready."""
    result = pb.PodErrors()
    if pod.status.phase == "Succeeded":
        return result
    for status in pod.statuses:
        if status.ready:
            continue
        for reason in (
            status.state.waiting,
            status.state.terminated,
            status.last_state.waiting,
            status.last_state.terminated,
        ):
            # An init container that has done its work is no error.
            if reason is None or (reason.reason == "Completed" and reason.exit_code == 0):
                continue
            error = result.errors.add().container
            error.container = status.name
            error.image = status.image
            error.reason = reason.reason
            error.message = reason.message
    return result


def _count(value: float) -> int:
    return max(0, round(value))

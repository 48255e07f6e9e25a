"""A statistics request → the PromQL that answers it. Pure.

All are instant queries. Building blocks and label choices are Linkerd's, so that any Prometheus
that scrapes Linkerd's proxies answers them.
Source: linkerd2 viz/metrics-api/stat_summary.go, viz/metrics-api/prometheus.go, edges.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from linkerd.errors import UsageError
from linkerd.viz.kinds import KINDS, Kind

QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
"""Field suffix → quantile."""


@dataclass(frozen=True, slots=True)
class Object:
    """What a request asks for: a kind, maybe narrowed by namespace and name."""

    kind: str
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class StatQuery:
    """What to ask of Prometheus, and where in the answer a row's key is."""

    queries: Mapping[str, str] = field(default_factory=dict)
    """By what each measures: requests, p50, p95, p99, tcp_open, tcp_read, tcp_write, allow, deny."""

    key: tuple[str, ...] = ()
    """Labels of namespace and name; only the name for namespaces."""


class Matchers:
    """Label matchers in order of addition, rendered as PromQL."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def equal(self, label: str, value: str) -> Matchers:
        """Requires `label` to be `value`; an empty value requires nothing."""
        if value:
            self._parts[label] = f"{label}={quoted(value)}"
        return self

    def regex(self, label: str, pattern: str) -> Matchers:
        """Requires the whole of `label` to match."""
        self._parts[label] = f"{label}=~{quoted(pattern)}"
        return self

    def differ(self, label: str, value: str) -> Matchers:
        """Requires `label` not to be `value`."""
        self._parts[label] = f"{label}!={quoted(value)}"
        return self

    def unlike(self, label: str, pattern: str) -> Matchers:
        """Requires the whole of `label` not to match."""
        self._parts[label] = f"{label}!~{quoted(pattern)}"
        return self

    def present(self, label: str) -> Matchers:
        """Requires `label` not to be empty."""
        self._parts[label] = f'{label}!=""'
        return self

    def absent(self, label: str) -> Matchers:
        """Requires `label` to be empty."""
        self._parts[label] = f'{label}=""'
        return self

    def copy(self) -> Matchers:
        """Returns independent matchers with the same content."""
        twin = Matchers()
        twin._parts = dict(self._parts)
        return twin

    def __str__(self) -> str:
        return "{" + ", ".join(self._parts.values()) + "}"


def quoted(value: str) -> str:
    """Returns `value` as a PromQL string; nothing in it can leave the quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def stat(
    selected: Object,
    window: str,
    *,
    to: Object | None = None,
    from_: Object | None = None,
    tcp: bool = False,
    cluster_domain: str = "cluster.local",
) -> StatQuery:
    """Returns the queries for the rows of `selected`.

    Args:
        selected: What the rows are about.
        window: Prometheus duration over which requests are counted.
        to: Only traffic that the selected resources send there.
        from_: Only traffic that comes to the selected resources from there.
        tcp: Whether to ask for connections and bytes too.
        cluster_domain: Suffix of service names.

    Raises:
        UsageError: the combination of kinds cannot be measured.
    """
    kind = KINDS.get(selected.kind)
    if kind is None:
        raise UsageError(f"unsupported resource type [{selected.kind}]")
    _refuse(kind, to, from_)
    if kind.policy:
        return _policy(kind, selected, window, tcp)
    if kind.name == "authority":
        return _authorities(selected, window, to, from_, cluster_domain)
    if kind.name == "service":
        return _service(selected, window, to, from_, tcp, cluster_domain)
    matchers = Matchers()
    if to is not None:
        matchers.equal("direction", "outbound")
        own(matchers, selected)
        destination(matchers, to, cluster_domain)
        key, peer = _key(kind), "dst"
    elif from_ is not None:
        matchers.equal("direction", "outbound")
        destination(matchers, selected, cluster_domain)
        own(matchers, from_)
        key, peer = _key(kind, "dst_"), "dst"
    else:
        matchers.equal("direction", "inbound")
        own(matchers, selected)
        key, peer = _key(kind), "src"
    return StatQuery(_all(matchers, key, window, peer if tcp else ""), key)


def edges(kind: str) -> str:
    """Returns the query for the open connections between resources of a kind.

    Raises:
        UsageError: connections are not labelled with that kind.
    """
    found = KINDS.get(kind)
    if found is None or not found.owns_pods:
        raise UsageError(f"unsupported resource type [{kind}]")
    source, destination = found.label, "dst_" + found.label
    matchers = Matchers().equal("direction", "outbound").present(source).present(destination)
    labels = [source, destination, "pod", "server_id", "namespace", "dst_namespace"]
    by = ", ".join(dict.fromkeys([*labels, "no_tls_reason"]))
    return f"sum(tcp_open_connections{matchers}) by ({by})"


def process_starts(namespace: str) -> str:
    """Returns the query for the Unix time at which each pod's proxy started."""
    matchers = Matchers().equal("namespace", namespace)
    return f"max(process_start_time_seconds{matchers}) by (pod, namespace)"


def _refuse(kind: Kind, to: Object | None, from_: Object | None) -> None:
    other = to or from_
    if other is None:
        return
    if other.kind == "all" or KINDS.get(other.kind) is None:
        raise UsageError(f"unsupported resource type [{other.kind}]")
    if kind.policy or KINDS[other.kind].policy:
        policy = kind.name if kind.policy else other.kind
        raise UsageError(
            f"'from' and 'to' queries are not supported with {policy}: it has inbound metrics only"
        )
    if from_ is not None and from_.kind in ("service", "authority"):
        raise UsageError(
            f"{from_.kind} is not supported as a target on 'from' queries, or 'to' queries"
        )


def own(matchers: Matchers, selected: Object) -> None:
    """Requires a series to be measured by proxies of the selected resources."""
    if selected.kind == "namespace":
        matchers.equal("namespace", selected.name)
    else:
        matchers.equal("namespace", selected.namespace)
        matchers.equal(KINDS[selected.kind].label, selected.name)


def destination(matchers: Matchers, selected: Object, cluster_domain: str) -> None:
    """Requires traffic to go to the selected resources; services without a domain by label."""
    if selected.kind == "service" and not cluster_domain:
        matchers.equal("dst_namespace", selected.namespace).equal("dst_service", selected.name)
    elif selected.kind == "service":
        _authority(matchers, selected, cluster_domain)
    elif selected.kind == "authority":
        matchers.equal("authority", selected.name)
    elif selected.kind == "namespace":
        matchers.equal("dst_namespace", selected.name)
    else:
        matchers.equal("dst_namespace", selected.namespace)
        matchers.equal("dst_" + KINDS[selected.kind].label, selected.name)


def _authority(matchers: Matchers, selected: Object, cluster_domain: str) -> None:
    name = escaped(selected.name) if selected.name else ".+"
    namespace = escaped(selected.namespace) if selected.namespace else "[^.]+"
    matchers.regex("authority", rf"^{name}\.{namespace}\.svc\.{escaped(cluster_domain)}.*")


def escaped(text: str) -> str:
    """Returns `text` so that a regular expression takes it literally (RE2)."""
    return "".join(c if c.isalnum() or c in "-_" else "\\" + c for c in text)


def _key(kind: Kind, prefix: str = "") -> tuple[str, ...]:
    if kind.name == "namespace":
        return (prefix + "namespace",)
    return (prefix + "namespace", prefix + kind.label)


def _authorities(
    selected: Object, window: str, to: Object | None, from_: Object | None, cluster_domain: str
) -> StatQuery:
    """What clients ask for: only they know it, as servers' proxies do not tell authorities apart."""
    matchers = Matchers().equal("direction", "outbound").present("authority")
    matchers.equal("authority", selected.name)
    own(matchers, from_ or Object("pod", selected.namespace))
    if to is not None:
        destination(matchers, to, cluster_domain)
    key = ("namespace", "authority")
    return StatQuery(http(matchers, key, window), key)


def _service(
    selected: Object,
    window: str,
    to: Object | None,
    from_: Object | None,
    tcp: bool,
    cluster_domain: str,
) -> StatQuery:
    matchers = Matchers().equal("direction", "outbound")
    _authority(matchers, selected, cluster_domain)
    if to is not None:
        if to.kind == "service":
            raise UsageError(
                "service is not supported as a target on 'from' queries, or 'to' queries"
            )
        destination(matchers, to, cluster_domain)
    if from_ is not None:
        own(matchers, from_)
    key = ("dst_namespace", "dst_service")
    queries = _all(matchers, key, window, "dst" if tcp else "")
    if tcp:
        # Connections carry no authority; discovery labels them with the service.
        plain = Matchers().equal("direction", "outbound")
        plain.equal("dst_namespace", selected.namespace).equal("dst_service", selected.name)
        if from_ is not None:
            own(plain, from_)
        queries |= _tcp(plain, key, window, "dst")
    return StatQuery(queries, key)


def _policy(kind: Kind, selected: Object, window: str, tcp: bool) -> StatQuery:
    matchers = Matchers().equal("namespace", selected.namespace)
    key: tuple[str, ...]
    if kind.name == "server":
        matchers.equal("srv_kind", "server").equal("srv_name", selected.name)
        key = ("namespace", "srv_name")
    elif kind.name == "httproute":
        matchers.equal("route_kind", "HTTPRoute").equal("route_name", selected.name)
        key = ("namespace", "route_name")
    else:
        matchers.equal("authz_kind", kind.name).equal("authz_name", selected.name)
        key = ("namespace", "authz_name")
    responses = matchers.copy().equal("direction", "inbound")
    queries = http(responses, key, window)
    queries["allow"] = increase("inbound_http_authz_allow_total", matchers, key, window)
    queries["deny"] = increase("inbound_http_authz_deny_total", matchers, key, window)
    if tcp and kind.name == "server":
        queries |= _tcp(responses, key, window, "src")
    return StatQuery(queries, key)


def _all(matchers: Matchers, key: Iterable[str], window: str, peer: str) -> dict[str, str]:
    queries = http(matchers, key, window)
    return queries | _tcp(matchers, key, window, peer) if peer else queries


def http(matchers: Matchers, key: Iterable[str], window: str) -> dict[str, str]:
    """Returns the queries for counts and latencies of responses, by the labels of `key`."""
    by = ", ".join(key)
    grown = f"increase(response_total{matchers}[{window}])"
    queries = {"requests": f"sum({grown}) by ({by}, classification, tls)"}
    buckets = f"irate(response_latency_ms_bucket{matchers}[{window}])"
    for name, quantile in QUANTILES.items():
        queries[name] = f"histogram_quantile({quantile}, sum({buckets}) by (le, {by}))"
    return queries


def _tcp(matchers: Matchers, key: Iterable[str], window: str, peer: str) -> dict[str, str]:
    bytes_ = matchers.copy().equal("peer", peer)
    return {
        "tcp_open": f"sum(tcp_open_connections{matchers}) by ({', '.join(key)})",
        "tcp_read": increase("tcp_read_bytes_total", bytes_, key, window),
        "tcp_write": increase("tcp_write_bytes_total", bytes_, key, window),
    }


def increase(metric: str, matchers: Matchers, key: Iterable[str], window: str) -> str:
    """Returns the query for how much a counter grew, by the labels of `key`."""
    return f"sum(increase({metric}{matchers}[{window}])) by ({', '.join(key)})"

"""What the dashboards show: one table of panels and their queries. Pure.

`grafana` turns it into files for Grafana and into what our own viewer needs. Only timeseries and
stat panels, no script.
Source: linkerd2 grafana/dashboards (uids, titles, sections, queries).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from linkerd.errors import NotFound
from linkerd.viz.kinds import KINDS

_RI = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: queries with their legends."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    """Grafana's name of a unit: percentunit, reqps, ms, s, bytes, Bps, short."""

    stat: bool = False
    """One number instead of lines."""


@dataclass(frozen=True, slots=True)
class Section:
    """Panels below a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; `variables` are names of labels, each narrowed by those before it."""

    uid: str
    title: str
    variables: tuple[str, ...]
    sections: tuple[Section, ...]

    def panel(self, number: int) -> Panel:
        """Returns a panel by its place, counted over all sections.

        Raises:
            NotFound: there is none.
        """
        panels = [panel for section in self.sections for panel in section.panels]
        if not 0 <= number < len(panels):
            raise NotFound(f"dashboard {self.uid} has no panel {number}")
        return panels[number]


def _rate(metric: str, matchers: str, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum(irate({metric}{{{matchers}}}[{_RI}])){grouped}"


def _share(matchers: str, by: str = "") -> str:
    good = _rate("response_total", f'classification="success",{matchers}', by)
    return f"{good} / {_rate('response_total', matchers, by)}"


def _latencies(matchers: str, by: str, legend: str, *quantiles: str) -> tuple[tuple[str, str], ...]:
    buckets = _rate("response_latency_ms_bucket", matchers, f"le,{by}" if by else "le")
    return tuple(
        (
            f"histogram_quantile({quantile}, {buckets})",
            f"P{quantile[2:].ljust(2, '0')} {legend}".strip(),
        )
        for quantile in quantiles
    )


def _three(matchers: str, by: str, legend: str) -> tuple[Panel, ...]:
    return (
        Panel("SUCCESS RATE", ((_share(matchers, by), legend),), "percentunit"),
        Panel("REQUEST RATE", ((_rate("request_total", matchers, by), legend),), "reqps"),
        Panel("P95 LATENCY", _latencies(matchers, by, legend, "0.95"), "ms"),
    )


def _tcp(matchers: str, by: str, legend: str) -> tuple[Panel, ...]:
    failures = f'sum(increase(tcp_close_total{{{matchers},errno!=""}}[{_RI}])) by ({by},errno)'
    return (
        Panel("TCP CONNECTION FAILURES", ((failures, f"{legend} {{{{errno}}}}"),)),
        Panel(
            "TCP CONNECTIONS OPEN",
            ((f"sum(tcp_open_connections{{{matchers}}}) by ({by})", legend),),
        ),
        Panel(
            "TCP BYTES READ",
            ((_rate("tcp_read_bytes_total", matchers, by), legend),),
            "Bps",
        ),
    )


def _workload(kind: str) -> Dashboard:
    label = KINDS[kind].label
    own = f'namespace="$namespace",{label}="${label}"'
    inbound = f'direction="inbound",{own}'
    outbound = f'direction="outbound",{own}'
    callers = f'direction="outbound",dst_namespace="$namespace",dst_{label}="${label}"'
    secured = _rate("request_total", f'{inbound},tls="true"', label)
    plain = _rate("request_total", f'{inbound},tls!="true"', label)
    return Dashboard(
        f"linkerd-{kind}",
        f"Linkerd {kind.capitalize()}",
        ("namespace", label),
        (
            Section(
                "",
                (
                    Panel("SUCCESS RATE", ((_share(inbound), ""),), "percentunit", stat=True),
                    Panel(
                        "REQUEST RATE", ((_rate("request_total", inbound), ""),), "reqps", stat=True
                    ),
                    Panel(
                        f"INBOUND {kind.upper()}S",
                        ((f"count(count(request_total{{{callers}}}) by (namespace,{label}))", ""),),
                        stat=True,
                    ),
                    Panel(
                        f"OUTBOUND {kind.upper()}S",
                        (
                            (
                                f"count(count(request_total{{{outbound}}}) by (namespace,dst_{label}))",
                                "",
                            ),
                        ),
                        stat=True,
                    ),
                ),
            ),
            Section(
                "INBOUND TRAFFIC",
                (
                    Panel(
                        "SUCCESS RATE",
                        ((_share(inbound, label), f"{{{{{label}}}}}"),),
                        "percentunit",
                    ),
                    Panel(
                        "REQUEST RATE",
                        ((secured, f"🔒{{{{{label}}}}}"), (plain, f"{{{{{label}}}}}")),
                        "reqps",
                    ),
                    Panel("LATENCY", _latencies(inbound, label, "", "0.5", "0.95", "0.99"), "ms"),
                    *_tcp(inbound, "peer", "{{peer}}"),
                ),
            ),
            Section("INBOUND BY CALLER", _three(callers, label, f"{{{{{label}}}}}")),
            Section(
                "OUTBOUND TRAFFIC",
                (
                    *_three(outbound, f"dst_{label}", f"→ {{{{dst_{label}}}}}"),
                    *_tcp(outbound, "peer", "{{peer}}"),
                ),
            ),
            Section(
                "POLICY AND ROUTES",
                (
                    Panel(
                        "AUTHORIZED",
                        (
                            (
                                _rate(
                                    "inbound_http_authz_allow_total", own, "authz_kind,authz_name"
                                ),
                                "{{authz_kind}}/{{authz_name}}",
                            ),
                        ),
                        "reqps",
                    ),
                    Panel(
                        "DENIED",
                        (
                            (
                                _rate("inbound_http_authz_deny_total", own, "srv_name"),
                                "{{srv_name}}",
                            ),
                        ),
                        "reqps",
                    ),
                    Panel(
                        "OUTBOUND ROUTES",
                        (
                            (
                                _rate(
                                    "outbound_http_route_request_statuses_total",
                                    own,
                                    "parent_name,route_name,http_status",
                                ),
                                "{{parent_name}} {{route_name}} {{http_status}}",
                            ),
                        ),
                        "reqps",
                    ),
                ),
            ),
        ),
    )


def _top(uid: str, title: str, variables: tuple[str, ...], scope: str, by: str) -> Dashboard:
    inbound = f'direction="inbound"{scope}'
    monitored = f'process_start_time_seconds{{namespace!=""{scope}}}'
    counts = [
        Panel(
            "NAMESPACES MONITORED", ((f"count(count({monitored}) by (namespace))", ""),), stat=True
        )
    ]
    deployments = f'process_start_time_seconds{{deployment!=""{scope}}}'
    counts.append(
        Panel(
            "DEPLOYMENTS MONITORED",
            ((f"count(count({deployments}) by (namespace, deployment))", ""),),
            stat=True,
        )
    )
    return Dashboard(
        uid,
        title,
        variables,
        (
            Section(
                "",
                (
                    Panel(
                        "GLOBAL SUCCESS RATE", ((_share(inbound), ""),), "percentunit", stat=True
                    ),
                    Panel(
                        "GLOBAL REQUEST VOLUME",
                        ((_rate("request_total", inbound), ""),),
                        "reqps",
                        stat=True,
                    ),
                    *(counts if not scope else counts[1:]),
                ),
            ),
            Section("TOP LINE", _three(inbound, by, f"{{{{{by}}}}}")),
            Section(
                "BY DEPLOYMENT",
                _three(
                    f'{inbound},deployment!=""',
                    "namespace,deployment",
                    "{{namespace}}/{{deployment}}",
                ),
            ),
        ),
    )


def _service() -> Dashboard:
    own = 'direction="outbound",dst_namespace="$namespace",dst_service="$service"'
    return Dashboard(
        "linkerd-service",
        "Linkerd Service",
        ("namespace", "service"),
        (
            Section(
                "",
                (
                    Panel("SUCCESS RATE", ((_share(own), ""),), "percentunit", stat=True),
                    Panel("REQUEST RATE", ((_rate("request_total", own), ""),), "reqps", stat=True),
                    Panel("P95 LATENCY", _latencies(own, "", "", "0.95"), "ms", stat=True),
                ),
            ),
            Section("TOP-LINE TRAFFIC", _three(own, "dst_service", "{{dst_service}}")),
            Section(
                "INBOUND TRAFFIC BY DEPLOYMENT",
                _three(f'{own},deployment!=""', "deployment", "{{deployment}}"),
            ),
            Section("INBOUND TRAFFIC BY POD", _three(f'{own},pod!=""', "pod", "{{pod}}")),
        ),
    )


def _authority() -> Dashboard:
    own = 'direction="outbound",authority="$authority"'
    return Dashboard(
        "linkerd-authority",
        "Linkerd Authority",
        ("authority",),
        (
            Section("TOP-LINE TRAFFIC", _three(own, "authority", "{{authority}}")),
            Section(
                "INBOUND TRAFFIC BY DEPLOYMENT",
                _three(f'{own},deployment!=""', "deployment", "{{deployment}}"),
            ),
        ),
    )


def _route() -> Dashboard:
    own = 'namespace="$namespace",parent_name!=""'
    routes = "parent_name,route_name"
    legend = "{{parent_name}} {{route_name}}"
    total = _rate("outbound_http_route_request_statuses_total", own, routes)
    good = _rate(
        "outbound_http_route_request_statuses_total", f'{own},http_status!~"5..",error=""', routes
    )
    return Dashboard(
        "linkerd-route",
        "Linkerd Route",
        ("namespace",),
        (
            Section(
                "OUTBOUND ROUTES",
                (
                    Panel("SUCCESS RATE", ((f"{good} / {total}", legend),), "percentunit"),
                    Panel("REQUEST RATE", ((total, legend),), "reqps"),
                    Panel(
                        "BACKENDS",
                        (
                            (
                                _rate(
                                    "outbound_http_route_backend_requests_total",
                                    own,
                                    "route_name,backend_name",
                                ),
                                "{{route_name}} → {{backend_name}}",
                            ),
                        ),
                        "reqps",
                    ),
                ),
            ),
        ),
    )


def _multicluster() -> Dashboard:
    own = 'direction="outbound",dst_target_cluster!=""'
    return Dashboard(
        "linkerd-multicluster",
        "Linkerd Multicluster",
        (),
        (
            Section(
                "TOP-LINE TRAFFIC", _three(own, "dst_target_cluster", "{{dst_target_cluster}}")
            ),
            Section(
                "TRAFFIC BY TARGET SERVICE",
                _three(own, "dst_target_service", "{{dst_target_service}}"),
            ),
            Section(
                "GATEWAYS",
                (
                    Panel(
                        "ALIVE",
                        (
                            (
                                "sum(gateway_alive) by (target_cluster_name)",
                                "{{target_cluster_name}}",
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


def _health() -> Dashboard:
    proxies = 'job="linkerd-proxy"'
    own = 'job="linkerd-controller"'
    return Dashboard(
        "linkerd-health",
        "Linkerd Health",
        (),
        (
            Section(
                "DATA PLANE",
                (
                    Panel(
                        "MEMORY USAGE",
                        (
                            (
                                f"sum(process_resident_memory_bytes{{{proxies}}}) by (namespace)",
                                "{{namespace}}",
                            ),
                        ),
                        "bytes",
                    ),
                    Panel(
                        "CPU USAGE",
                        (
                            (
                                _rate("process_cpu_seconds_total", proxies, "namespace"),
                                "{{namespace}}",
                            ),
                        ),
                        "percentunit",
                    ),
                    Panel(
                        "OPEN FILE DESCRIPTORS",
                        ((f"sum(process_open_fds{{{proxies}}}) by (namespace)", "{{namespace}}"),),
                    ),
                    Panel(
                        "CERTIFICATES EXPIRE IN",
                        (
                            (
                                "min(control_identity_cert_expiration_timestamp_seconds) "
                                "by (namespace) - time()",
                                "{{namespace}}",
                            ),
                        ),
                        "s",
                    ),
                ),
            ),
            Section(
                "CONTROL PLANE TRAFFIC",
                _three(
                    'direction="inbound",control_plane_ns!="",namespace=~"linkerd.*"',
                    "pod",
                    "{{pod}}",
                ),
            ),
            Section(
                "CONTROL PLANE PROCESSES",
                (
                    Panel(
                        "PROCESS MEMORY",
                        (
                            (
                                f"sum(process_resident_memory_bytes{{{own}}}) by (component)",
                                "{{component}}",
                            ),
                        ),
                        "bytes",
                    ),
                    Panel(
                        "PROCESS CPU",
                        ((_rate("process_cpu_seconds_total", own, "component"), "{{component}}"),),
                        "percentunit",
                    ),
                    Panel(
                        "OPEN FILE DESCRIPTORS",
                        ((f"sum(process_open_fds{{{own}}}) by (component)", "{{component}}"),),
                    ),
                    Panel(
                        "GRPC CALLS",
                        (
                            (
                                _rate("grpc_server_handled_total", own, "component,grpc_method"),
                                "{{component}} {{grpc_method}}",
                            ),
                        ),
                        "reqps",
                    ),
                ),
            ),
        ),
    )


def _prometheus() -> Dashboard:
    own = 'job="prometheus"'
    return Dashboard(
        "prometheus",
        "Prometheus",
        (),
        (
            Section(
                "PROMETHEUS",
                (
                    Panel(
                        "SAMPLES APPENDED",
                        ((_rate("prometheus_tsdb_head_samples_appended_total", own), ""),),
                    ),
                    Panel("HEAD SERIES", ((f"sum(prometheus_tsdb_head_series{{{own}}})", ""),)),
                    Panel("MEMORY", ((f"process_resident_memory_bytes{{{own}}}", ""),), "bytes"),
                    Panel("TARGETS", (("sum(up) by (job)", "{{job}}"),)),
                    Panel(
                        "SCRAPE DURATION",
                        (("max(scrape_duration_seconds) by (job)", "{{job}}"),),
                        "s",
                    ),
                ),
            ),
        ),
    )


_WORKLOADS = (
    "deployment",
    "daemonset",
    "statefulset",
    "job",
    "cronjob",
    "replicaset",
    "replicationcontroller",
    "pod",
)

DASHBOARDS: Mapping[str, Dashboard] = {
    dashboard.uid: dashboard
    for dashboard in (
        _top("linkerd-top-line", "Linkerd Top Line", (), "", "namespace"),
        _top(
            "linkerd-namespace",
            "Linkerd Namespace",
            ("namespace",),
            ',namespace="$namespace"',
            "deployment",
        ),
        *map(_workload, _WORKLOADS),
        _service(),
        _authority(),
        _route(),
        _multicluster(),
        _health(),
        _prometheus(),
    )
}
"""All dashboards by uid."""

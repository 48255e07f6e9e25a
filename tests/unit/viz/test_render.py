"""Tables and JSON of `viz stat` and `viz edges`."""

from __future__ import annotations

import json
from typing import Any

from linkerd.gen import viz_pb2 as pb
from linkerd.viz import render
from linkerd.viz.stat import Row


def a_row(
    name: str = "web",
    kind: str = "deployment",
    *,
    ok: int = 0,
    bad: int = 0,
    tcp: int | None = None,
    meshed: int = 1,
    **fields: Any,
) -> Row:
    row = Row(
        resource=pb.Resource(namespace="emojivoto", type=kind, name=name),
        time_window="1m",
        meshed_pod_count=meshed,
        running_pod_count=1,
        **fields,
    )
    if ok or bad:
        row.stats.CopyFrom(
            pb.BasicStats(
                success_count=ok,
                failure_count=bad,
                latency_ms_p50=1,
                latency_ms_p95=20,
                latency_ms_p99=300,
            )
        )
    if tcp is not None:
        row.tcp_stats.CopyFrom(
            pb.TcpStats(open_connections=tcp, read_bytes_total=600, write_bytes_total=60)
        )
    return row


def test_stat_prints_linkerds_columns() -> None:
    rows = [a_row("web", ok=90, bad=30, tcp=3), a_row("emoji", ok=120, tcp=12), a_row("vote-bot")]
    assert (
        "NAME       MESHED   SUCCESS      RPS   LATENCY_P50   LATENCY_P95   LATENCY_P99   TCP_CONN\n"
        "emoji         1/1   100.00%   2.0rps           1ms          20ms         300ms         12\n"
        "vote-bot      1/1         -        -             -             -             -          -\n"
        "web           1/1    75.00%   2.0rps           1ms          20ms         300ms          3\n"
    ) == render.stat_table(rows)


def test_all_namespaces_and_wide_add_columns() -> None:
    text = render.stat_table([a_row(ok=6, tcp=1)], all_namespaces=True, wide=True)
    header, line = text.splitlines()
    assert [
        "NAMESPACE",
        "NAME",
        "MESHED",
        "SUCCESS",
        "RPS",
        "LATENCY_P50",
        "LATENCY_P95",
        "LATENCY_P99",
        "TCP_CONN",
        "READ_BYTES/SEC",
        "WRITE_BYTES/SEC",
    ] == header.split()
    assert ["emojivoto", "web", "1/1"] == line.split()[:3]
    assert ["1", "10.0B/s", "1.0B/s"] == line.split()[-3:]


def test_several_kinds_are_blocks_with_prefixes() -> None:
    text = render.stat_table([a_row("web-1", "pod", status="Running"), a_row("web")])
    first, second = text.split("\n\n")
    assert first.startswith("NAME ")
    assert "deploy/web" in first
    assert second.splitlines()[0].split()[:3] == ["NAME", "STATUS", "MESHED"]
    assert "po/web-1   Running" in second


def test_a_service_is_not_meshed() -> None:
    line = render.stat_table([a_row("web-svc", "service", ok=1)]).splitlines()[1]
    assert ["web-svc", "-", "100.00%"] == line.split()[:3]


def test_tcp_is_shown_without_http() -> None:
    line = render.stat_table([a_row(tcp=5)]).splitlines()[1]
    assert ["web", "1/1", "-", "-", "-", "-", "-", "5"] == line.split()


def test_unmeshed_workloads_are_shown_on_request() -> None:
    rows = [a_row(meshed=0), a_row("web-svc", "service", meshed=0)]
    assert ["web-svc"] == [row.resource.name for row in render.shown(rows)]
    assert 2 == len(render.shown(rows, unmeshed=True))
    assert 2 == len(render.shown(rows, from_=True))


def test_json_has_linkerds_keys() -> None:
    (entry,) = json.loads(render.stat_json([a_row(ok=90, bad=30, tcp=3)]))
    assert {
        "namespace": "emojivoto",
        "kind": "deployment",
        "name": "web",
        "meshed": "1/1",
        "success": 0.75,
        "rps": 2.0,
        "latency_ms_p50": 1,
        "latency_ms_p95": 20,
        "latency_ms_p99": 300,
        "tcp_open_connections": 3,
        "tcp_read_bytes_rate": 10.0,
        "tcp_write_bytes_rate": 1.0,
    } == entry


def test_json_without_data_has_nulls() -> None:
    (entry,) = json.loads(render.stat_json([a_row()]))
    assert (None, None, None) == (entry["success"], entry["rps"], entry["latency_ms_p50"])
    assert "tcp_open_connections" not in entry


def an_edge(**fields: Any) -> pb.Edge:
    return pb.Edge(
        src=pb.Resource(namespace="emojivoto", name="web"),
        dst=pb.Resource(namespace="emojivoto", name="emoji"),
        **fields,
    )


def test_edges_print_linkerds_columns() -> None:
    secured = an_edge(client_id="web.emojivoto", server_id="emoji.emojivoto")
    assert (
        "SRC   DST     SRC_NS      DST_NS      SECURED\n"
        "web   emoji   emojivoto   emojivoto   √\n"
        "web   emoji   emojivoto   emojivoto   Not HTTP\n"
    ) == render.edges_table([secured, an_edge(no_identity_msg="Not HTTP")])
    assert (
        "SRC   DST     SRC_NS      DST_NS      CLIENT_ID       SERVER_ID         SECURED\n"
        "web   emoji   emojivoto   emojivoto   web.emojivoto   emoji.emojivoto   √\n"
    ) == render.edges_table([secured], wide=True)

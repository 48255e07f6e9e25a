"""Rows of statistics from samples and pods."""

from __future__ import annotations

from typing import Any

from linkerd.viz import queries, selector, stat
from linkerd.viz.queries import Object
from tests.unit.viz.builders import a_pod, emojivoto, sample

WEB = {"namespace": "emojivoto", "deployment": "web"}


def rows(
    selected: Object,
    answers: Any = None,
    *,
    filtered: bool = False,
    labels: str = "",
    cluster: Any = None,
) -> Any:
    measured = stat.Measured(queries.stat(selected, "1m", tcp=True), answers or {})
    return stat.rows(
        cluster or emojivoto(),
        selected,
        measured,
        window="1m",
        control_plane_ns="linkerd",
        matches=selector.parse(labels),
        filtered=filtered,
    )


def test_a_deployment_counts_the_pods_of_its_replica_sets() -> None:
    bot, web = rows(Object("deployment", "emojivoto"))
    assert ("vote-bot", 0, 1, 0) == (
        bot.resource.name,
        bot.meshed_pod_count,
        bot.running_pod_count,
        bot.failed_pod_count,
    )
    assert ("web", 2, 2, 1) == (
        web.resource.name,
        web.meshed_pod_count,
        web.running_pod_count,
        web.failed_pod_count,
    )


def test_requests_of_all_kinds_of_tls_add_up_by_classification() -> None:
    answers = {
        "requests": [
            sample(10.4, **WEB, classification="success", tls="true"),
            sample(5, **WEB, classification="success", tls="no_identity"),
            sample(2, **WEB, classification="failure", tls="true"),
        ],
        "p50": [sample(3, **WEB)],
        "p99": [sample(99.6, **WEB)],
        "tcp_open": [sample(4, **WEB)],
        "tcp_read": [sample(600, **WEB)],
    }
    (web,) = rows(Object("deployment", "emojivoto", "web"), answers)
    assert (15, 2, 3, 0, 100) == (
        web.stats.success_count,
        web.stats.failure_count,
        web.stats.latency_ms_p50,
        web.stats.latency_ms_p95,
        web.stats.latency_ms_p99,
    )
    assert (4, 600, 0) == (
        web.tcp_stats.open_connections,
        web.tcp_stats.read_bytes_total,
        web.tcp_stats.write_bytes_total,
    )


def test_a_row_without_samples_has_no_stats() -> None:
    (web,) = rows(Object("deployment", "emojivoto", "web"))
    assert not web.HasField("stats")
    assert not web.HasField("tcp_stats")


def test_samples_of_other_kinds_do_not_count() -> None:
    answers = {"requests": [sample(1, namespace="emojivoto", classification="success")]}
    assert not any(row.HasField("stats") for row in rows(Object("deployment"), answers))


def test_a_filtered_question_lists_only_rows_with_traffic() -> None:
    answers = {"requests": [sample(1, **WEB, classification="success")]}
    found = rows(Object("deployment", "emojivoto"), answers, filtered=True)
    assert ["web"] == [row.resource.name for row in found]


def test_a_namespace_is_keyed_by_its_name_alone() -> None:
    answers = {"requests": [sample(7, namespace="emojivoto", classification="success")]}
    (row,) = rows(Object("namespace"), answers)
    assert ("", "emojivoto", 2, 3, 7) == (
        row.resource.namespace,
        row.resource.name,
        row.meshed_pod_count,
        row.running_pod_count,
        row.stats.success_count,
    )


def test_a_label_selector_narrows_the_objects() -> None:
    assert ["web-1-a"] == [row.resource.name for row in rows(Object("pod"), labels="app in (web)")]


def test_a_pod_tells_its_status_and_why_it_is_not_ready() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    status = {"name": "app", "image": "app:v1", "ready": False, "state": waiting}
    cluster = emojivoto()
    cluster.apply("pod", a_pod("web-1-a", statuses=[status]))
    (row,) = rows(Object("pod", "emojivoto", "web-1-a"), cluster=cluster)
    (error,) = row.errors_by_pod["web-1-a"].errors
    assert "CrashLoopBackOff" == row.status
    assert ("app", "app:v1", "CrashLoopBackOff", "back-off") == (
        error.container.container,
        error.container.image,
        error.container.reason,
        error.container.message,
    )


def test_a_deleted_pod_no_longer_counts() -> None:
    cluster = emojivoto()
    assert 2 == rows(Object("deployment", "", "web"), cluster=cluster)[0].running_pod_count
    cluster.delete("pod", a_pod("web-1-b"))
    assert 1 == rows(Object("deployment", "", "web"), cluster=cluster)[0].running_pod_count


def test_policy_rows_carry_denials() -> None:
    query = queries.stat(Object("server", "emojivoto"), "1m")
    key = {"namespace": "emojivoto", "srv_name": "http"}
    measured = stat.Measured(query, {"allow": [sample(9, **key)], "deny": [sample(3, **key)]})
    names = [("emojivoto", "http"), ("emojivoto", "grpc")]
    grpc, http = stat.policy_rows(Object("server"), names, measured, window="1m")
    assert ("grpc", 0) == (grpc.resource.name, grpc.srv_stats.denied_count)
    assert (9, 3) == (http.srv_stats.allowed_count, http.srv_stats.denied_count)

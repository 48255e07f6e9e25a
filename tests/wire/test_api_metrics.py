"""What a daemon's metrics tell of its requests to the API, and of how late it hears of changes.

Not covered: that daemons pass the observer on; the integration tests look at a real page.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from linkerd import metrics
from linkerd.daemons._api_metrics import DESTINATION_LAGS, ApiMetrics
from linkerd.errors import NotFound, Unavailable
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.kube.resources import PODS
from linkerd.kube.watch import Applied
from tests.ports import free_port
from tests.wire.api import serving


def lines(text: str, family: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(family)]


async def test_requests_are_counted_by_their_answers() -> None:
    registry = metrics.registry()
    async with serving() as api:
        api.apply("pods", {"metadata": {"name": "web", "namespace": "ns"}})
        config = KubeConfig(server=f"http://127.0.0.1:{api.port}")
        async with KubeClient(config, observer=ApiMetrics(registry)) as kube:
            await kube.get(PODS, "web", "ns")
            with pytest.raises(NotFound):
                await kube.get(PODS, "db", "ns")
            await api.stop()
            with pytest.raises(Unavailable):
                await kube.get(PODS, "web", "ns")
            await api.start()
    page = metrics.text(registry).decode()
    assert [
        'http_client_requests_total{client="k8s",code="200",method="get"} 1.0',
        'http_client_requests_total{client="k8s",code="404",method="get"} 1.0',
    ] == lines(page, "http_client_requests_total")
    assert ['http_client_in_flight_requests{client="k8s"} 0.0'] == lines(
        page, "http_client_in_flight_requests"
    )
    labels = '{client="k8s",code="200",method="get"} 1.0'
    assert [f"http_client_request_latency_seconds_count{labels}"] == [
        line for line in lines(page, "http_client_request_latency_seconds_count") if "200" in line
    ]


async def test_requests_without_an_answer_are_errors() -> None:
    registry = metrics.registry()
    port = free_port()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", port):
        config = KubeConfig(server=f"http://127.0.0.1:{port}")
        async with KubeClient(config, observer=ApiMetrics(registry)) as kube:
            with pytest.raises(Unavailable):
                await kube.get(PODS, "web", "ns")
    page = metrics.text(registry).decode()
    assert ['http_client_errors_total{client="k8s",method="get"} 1.0'] == lines(
        page, "http_client_errors_total"
    )


async def test_the_lag_of_changes_is_that_of_their_last_manager() -> None:
    registry = metrics.registry()
    now = datetime.now(UTC)
    times = [now - timedelta(hours=hours) for hours in (30, 2)]
    fields = [{"manager": "x", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ")} for time in times]
    pod = {"metadata": {"name": "web", "namespace": "ns", "managedFields": fields}}
    async with serving() as api, asyncio.timeout(30):
        config = KubeConfig(server=f"http://127.0.0.1:{api.port}")
        observer = ApiMetrics(registry, DESTINATION_LAGS)
        async with KubeClient(config, observer=observer) as kube:
            api.apply("pods", pod)
            seen = 0
            async for event in kube.watch(PODS):
                # What was listed or created is not late; changes are.
                seen += isinstance(event, Applied)
                if seen == 1:
                    break
                api.apply("pods", pod)
    page = metrics.text(registry).decode()
    assert ["pods_informer_lag_seconds_count 1.0"] == lines(page, "pods_informer_lag_seconds_count")
    assert ["externalworkload_informer_lag_seconds_count 0.0"] == lines(
        page, "externalworkload_informer_lag_seconds_count"
    )
    (total,) = lines(page, "pods_informer_lag_seconds_sum")
    assert 7000 < float(total.split()[1]) < 8000


def test_every_daemon_tells_of_its_process() -> None:
    page = metrics.text(metrics.registry()).decode()
    for name in (
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    ):
        assert 1 == len(lines(page, f"{name} ")), name

"""A tiny client of Prometheus' HTTP API: instant queries and the scrape interval."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx2
import yaml

from linkerd.errors import MetricsError, UsageError
from linkerd.settings import duration_s

_TIMEOUT_S = 20.0
_CONCURRENT_MAX = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of an instant vector."""

    labels: Mapping[str, str]
    value: float
    """Never NaN: Prometheus' "no data" is 0 here, as in Linkerd."""


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one series over time."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Unix seconds and values; never NaN, such points are missing."""


class Prometheus:
    """One Prometheus server; use as an async context manager.

    Args:
        url: Its address, maybe with a path prefix.
        user: Name for basic authentication; empty for none.
        password: Its password.
    """

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        auth = (user, password) if user else None
        # The environment's proxies are not for addresses inside the cluster.
        self._http = httpx2.AsyncClient(
            base_url=url.rstrip("/") + "/", auth=auth, timeout=_TIMEOUT_S, trust_env=False
        )
        self._turn = asyncio.Semaphore(_CONCURRENT_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def query(self, promql: str) -> list[Sample]:
        """Returns the instant vector of `promql` now.

        Raises:
            MetricsError: Prometheus is out of reach or refuses the query.
        """
        data = await self._ask("POST", "api/v1/query", {"query": promql})
        return [
            Sample(entry["metric"], _number(entry["value"][1])) for entry in data["result"] or ()
        ]

    async def query_range(
        self, promql: str, start: float, end: float, step_s: float
    ) -> list[Series]:
        """Returns the values of `promql` between two Unix times.

        Raises:
            MetricsError: Prometheus is out of reach or refuses the query.
        """
        form = {
            "query": promql,
            "start": f"{start:.3f}",
            "end": f"{end:.3f}",
            "step": f"{step_s:g}",
        }
        data = await self._ask("POST", "api/v1/query_range", form)
        return [
            Series(
                entry["metric"],
                [
                    (float(at), float(text))
                    for at, text in entry["values"]
                    if text not in ("NaN", "+Inf", "-Inf")
                ],
            )
            for entry in data["result"] or ()
        ]

    async def query_all(self, queries: Mapping[str, str]) -> dict[str, list[Sample]]:
        """Returns the answers to several queries, asked at the same time, by their names."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {name: group.create_task(self.query(q)) for name, q in queries.items()}
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return {name: task.result() for name, task in tasks.items()}

    async def scrape_interval_s(self) -> float | None:
        """Returns the global scrape interval in seconds, None when it cannot be known."""
        try:
            data = await self._ask("GET", "api/v1/status/config", {})
            config = yaml.safe_load(data["yaml"])
            return duration_s(config["global"]["scrape_interval"])
        except (MetricsError, KeyError, TypeError, ValueError, yaml.YAMLError):
            return None

    async def check_window(self, window: str) -> None:
        """Refuses a window in which there cannot be two samples.

        Raises:
            UsageError: the window is no duration or shorter than the scrape interval.
        """
        try:
            seconds = duration_s(window)
        except ValueError as error:
            raise UsageError(f"invalid time window {window!r}: expected {error}") from None
        interval_s = await self.scrape_interval_s()
        if interval_s is not None and seconds < interval_s:
            raise UsageError(
                f"time window ({window}) must be at least as long as the Prometheus scrape "
                f"interval ({interval_s:g}s)"
            )

    async def _ask(self, method: str, path: str, form: dict[str, str]) -> Any:
        try:
            async with self._turn:
                response = await self._http.request(method, path, data=form or None)
        except httpx2.HTTPError as error:
            raise MetricsError(f"cannot ask prometheus: {error or type(error).__name__}") from None
        try:
            body = response.json()
        except ValueError:  # somebody between answers, the proxy for instance
            reason = response.headers.get("l5d-proxy-error") or response.reason_phrase
            status = f"status {response.status_code}"
            raise MetricsError(f"cannot ask prometheus: {status}: {reason}") from None
        if response.status_code != 200 or body.get("status") != "success":
            reason = body.get("error") or f"status {response.status_code}"
            raise MetricsError(f"prometheus refused a query: {reason}")
        return body["data"]


def _number(text: str) -> float:
    value = float(text)
    return 0.0 if math.isnan(value) else value

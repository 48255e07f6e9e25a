"""`make demo`: a local cluster with the mesh, viz and emojivoto, and what a user would look at.

Uses the commands that a user types, and the project's own client; no kubectl. A second run on a
running cluster changes nothing and shows it again. What can overlap does: the checks run while
Prometheus collects its first samples.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio

from linkerd.cli.local import _apply, _background, _kubeconfig
from linkerd.cli.viz import _extension
from linkerd.errors import LinkerdError
from linkerd.inject import documents, keys, manifest
from linkerd.install import install
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import CONFIG_MAPS, DEPLOYMENTS, PODS
from linkerd.local import supervisor
from linkerd.local.paths import Paths, default_state
from linkerd.viz import client, render
from linkerd.viz import install as viz_install
from linkerd.viz.kinds import Target

ROOT = Path(__file__).resolve().parent.parent
EMOJIVOTO = ROOT / "demo" / "emojivoto" / "emojivoto.yml"
LINKERD = [sys.executable, "-c", "from linkerd.cli.main import main; raise SystemExit(main())"]

_READY_S = 180.0
_TRAFFIC_S = 120.0
_RETRY_S = 0.3
_DASHBOARD_S = 30.0
_DASHBOARD_PORT = 50750
_ANSWER_S = 3.0

Objects = list[dict[str, Any]]
Lacking = Callable[[grpc.aio.Channel], Awaitable[list[str]]]
#: Prometheus looks more often than by default, so that the first statistics come sooner.
VIZ_VALUES = {"prometheus": {"globalConfig": {"scrape_interval": "3s", "scrape_timeout": "3s"}}}


class DemoFailed(Exception):
    """The demo cannot go on; says what failed and what to look at."""


class Steps:
    """Progress lines with times: one as a step ends, on a terminal also while it runs."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._terminal = sys.stdout.isatty()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times what is done inside."""
        began = time.monotonic()
        if self._terminal:
            print(f"  {name} …", end="", flush=True)
        try:
            yield
        except BaseException:
            self._line(f"× {name}", began)
            raise
        self._line(f"√ {name}", began)

    def total_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started

    def _line(self, text: str, began: float) -> None:
        clear = "\r\033[K" if self._terminal else ""
        print(f"{clear}{text:46} {time.monotonic() - began:5.1f} s", flush=True)


class Demo:
    """One run over one cluster."""

    def __init__(self) -> None:
        self.paths = Paths(default_state())
        self.steps = Steps()
        self.since = datetime.now(UTC).replace(microsecond=0)
        self.resumed = False
        self.environment = {**os.environ, "KUBECONFIG": str(self.paths.kubeconfig)}

    async def run(self) -> None:
        """Does all steps; raises DemoFailed."""
        fresh = not supervisor.status(self.paths).running
        self.resumed = fresh and self.paths.store.exists()
        with self.steps.step("local cluster"):
            if fresh:
                await self.linkerd("local", "start")
        async with KubeClient(load(self.paths.kubeconfig)) as kube:
            with self.steps.step("control plane"):
                if await _missing(kube, CONFIG_MAPS, "linkerd-config", "linkerd"):
                    await self.apply(kube, _objects(install.render_crds()))
                    options = install.InstallOptions()
                    await self.apply(kube, _objects(install.render_control_plane(options)))
                await self.ready(kube, "linkerd")
            with self.steps.step("viz and emojivoto, meshed by linkerd inject"):
                if await _missing(kube, DEPLOYMENTS, "metrics-api", "linkerd-viz"):
                    await self.apply(kube, _objects(viz_install.render(VIZ_VALUES)))
                    await self.injecting_tap(kube)
                await self.apply(kube, _objects(meshed(EMOJIVOTO)))
                await self.ready(kube, "linkerd-viz", "emojivoto")
            dashboard = asyncio.create_task(self.dashboard())
            checking = asyncio.create_task(
                self.linkerd("check", "--proxy", "--wait", "60s", may_fail=True)
            )
            with self.steps.step("first statistics"):
                await self.traffic(kube, _without_traffic)
            total_s = self.steps.total_s() if fresh else 0.0
            with self.steps.step("first failed vote, the doughnut's"):
                await self.traffic(kube, _without_failure)
            stat = ("viz", "stat", "deploy", "-n", "emojivoto")
            edges = ("viz", "edges", "deploy", "-n", "emojivoto")
            tables = asyncio.gather(self.linkerd(*stat), self.linkerd(*edges))
            self.show("linkerd check --proxy", await checking)
            for words, output in zip((stat, edges), await tables, strict=True):
                self.show(f"linkerd {' '.join(words)}", output)
            self.farewell(await dashboard, total_s)

    async def linkerd(self, *words: str, may_fail: bool = False) -> str:
        """Runs the command and returns what it printed to stdout."""
        process = await asyncio.create_subprocess_exec(
            *LINKERD,
            *words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ if words[0] == "local" else self.environment,
        )
        out, err = await process.communicate()
        if process.returncode and not may_fail:
            raise DemoFailed(f"`linkerd {' '.join(words)}` failed:\n{err.decode().strip()}")
        return out.decode()

    async def apply(self, kube: KubeClient, bodies: Objects) -> None:
        """Applies manifests in order."""
        async for body, outcome in _apply.apply(kube, bodies):
            if isinstance(outcome, LinkerdError):
                name = f"{body['kind']}/{body['metadata']['name']}"
                raise DemoFailed(f"{name} was refused: {outcome.message}")

    async def ready(self, kube: KubeClient, *namespaces: str) -> None:
        """Waits until every deployment of the namespaces is available, as it is now."""

        async def waiting() -> list[str]:
            found = [one for ns in namespaces for one in await kube.list(DEPLOYMENTS, ns)]
            pods = [one for ns in namespaces for one in await kube.list(PODS, ns)]
            left = [_name(one) for one in found if not _available(one)]
            left += [_name(one) for one in pods if self.resumed and _from_before(one, self.since)]
            return left if found else ["nothing"]

        if await _until(waiting, _READY_S):
            lines = [line for ns in namespaces for line in await _unready_pods(kube, ns)]
            raise DemoFailed(
                f"not ready after {_READY_S:.0f} s:\n" + "\n".join(lines) + "\n"
                "`linkerd local get pods -A` shows all pods, `linkerd local logs POD -n NAMESPACE "
                "-c CONTAINER` their logs"
            )

    async def injecting_tap(self, kube: KubeClient) -> None:
        """Waits for the tap injector: pods that are made before it cannot be tapped."""

        async def waiting() -> list[str]:
            found = await kube.get_or_none(DEPLOYMENTS, "tap-injector", "linkerd-viz")
            return [] if found is not None and _available(found) else ["tap-injector"]

        if await _until(waiting, _READY_S):
            raise DemoFailed(f"the tap injector is not ready after {_READY_S:.0f} s")

    async def traffic(self, kube: KubeClient, lacking: Lacking) -> None:
        """Waits until statistics show what `lacking` asks for.

        Asks in this process: a command each time would take the CPU from what is waited for.
        """
        args = argparse.Namespace(api_addr=None, viz_namespace=None)
        missing = ["anything"]
        deadline = time.monotonic() + _TRAFFIC_S
        while missing and time.monotonic() < deadline:
            with contextlib.suppress(LinkerdError):
                async with _extension.metrics_api(kube, args) as channel:
                    missing = await _until(lambda: lacking(channel), _TRAFFIC_S)
            if missing:
                await asyncio.sleep(_RETRY_S)
        if missing:
            raise DemoFailed(
                f"no statistics of {', '.join(missing)} after {_TRAFFIC_S:.0f} s\n"
                "`linkerd viz check` and `linkerd local logs deploy/metrics-api -n linkerd-viz` "
                "tell more"
            )

    async def dashboard(self) -> str:
        """Starts the dashboard's port-forward beside the cluster and returns its address."""
        log = self.paths.logs / "dashboard.log"
        if _background.running(self.paths, "dashboard"):
            address = await self._address(log)
            if await _answers(address):
                return address
        for port in (_DASHBOARD_PORT, 0):
            words = ["viz", "dashboard", "--show", "url", "--port", str(port)]
            log = _background.start(self.paths, "dashboard", words, self.environment)
            if address := await self._address(log):
                return address
        raise DemoFailed(f"the dashboard did not start:\n{log.read_text().strip()}")

    async def _address(self, log: Path) -> str:
        deadline = time.monotonic() + _DASHBOARD_S
        while time.monotonic() < deadline:
            if address := _address_in(log):
                return address
            if not _background.running(self.paths, "dashboard"):
                return ""
            await asyncio.sleep(0.1)
        return ""

    def show(self, command: str, output: str) -> None:
        """Prints a command and its output, as a terminal would show them."""
        print(f"\n$ {command}\n{output.rstrip()}", flush=True)

    def farewell(self, dashboard: str, total_s: float) -> None:
        """Prints what to do next."""
        file = _kubeconfig.users_file(os.environ)
        print(
            f"""
Dashboard:  {dashboard}
PATH:       export PATH="{Path(sys.executable).parent}:$PATH"
kubectl:    kubectl --context linkerd-local get pods -A    (in {file})
End it:     linkerd local stop    (linkerd local delete forgets it)"""
        )
        if total_s:
            print(f"\nFrom nothing running to the first statistics: {total_s:.1f} s")


def meshed(path: Path) -> str:
    """Returns what `linkerd inject` prints for a file."""
    options = documents.Options(annotations={keys.INJECT: keys.ENABLED})
    return documents.inject_text(path.read_text(), options).text


def _address_in(log: Path) -> str:
    found = re.search(r"http://\S+:\d+", log.read_text()) if log.exists() else None
    return found[0] if found else ""


async def _answers(address: str) -> bool:
    host, _, port = address.removeprefix("http://").partition(":")
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return b" 200 " in line


def _objects(text: str) -> Objects:
    return [body for body in manifest.parse_all(text) if body]


def _name(body: dict[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _available(deployment: dict[str, Any]) -> bool:
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    observed = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
    updated, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    return bool(observed and updated >= wanted and ready >= wanted)


def _from_before(pod: dict[str, Any], moment: datetime) -> bool:
    """Whether a pod's state is of the cluster's last run: what it says was true then."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        running = (status.get("state") or {}).get("running")
        if running is None or datetime.fromisoformat(running["startedAt"]) < moment:
            return True
    return False


async def _missing(kube: KubeClient, resource: Any, name: str, namespace: str) -> bool:
    return await kube.get_or_none(resource, name, namespace) is None


async def _unready_pods(kube: KubeClient, namespace: str) -> list[str]:
    lines = []
    for pod in await kube.list(PODS, namespace):
        status = pod.get("status") or {}
        statuses = [
            *(status.get("initContainerStatuses") or ()),
            *(status.get("containerStatuses") or ()),
        ]
        states = [f"{one['name']}: {_state(one)}" for one in statuses if not one.get("ready")]
        if states or status.get("phase") != "Running":
            lines.append(f"  {_name(pod)} {status.get('phase')} {'; '.join(states)}")
    return lines


def _state(status: dict[str, Any]) -> str:
    kind, detail = next(iter((status.get("state") or {"unknown": {}}).items()))
    return " ".join(filter(None, (kind, detail.get("reason"), detail.get("message"))))


async def _without_traffic(channel: grpc.aio.Channel) -> list[str]:
    rows, edges = await asyncio.gather(
        client.stat_summary(channel, Target("deployment", ""), "emojivoto"),
        client.edges(channel, "deployment", "emojivoto"),
    )
    measured = {row.resource.name for row in rows if render.stats(row).success is not None}
    secured = {(e.src.name, e.dst.name) for e in edges if not e.no_identity_msg}
    missing = [name for name in ("emoji", "voting", "web") if name not in measured]
    wanted = (("vote-bot", "web"), ("web", "emoji"), ("web", "voting"))
    return missing + [f"edge {src} to {dst}" for src, dst in wanted if (src, dst) not in secured]


async def _without_failure(channel: grpc.aio.Channel) -> list[str]:
    rows = await client.stat_summary(channel, Target("deployment", ""), "emojivoto")
    failing = {row.resource.name for row in rows if (render.stats(row).success or 1.0) < 1.0}
    return [f"failed votes at {name}" for name in ("voting", "web") if name not in failing]


async def _until(
    waiting: Callable[[], Awaitable[list[str]]], limit_s: float, *, pause_s: float = _RETRY_S
) -> list[str]:
    """Asks until nothing is waited for; returns what still is after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        left = await waiting()
        if not left or time.monotonic() >= deadline:
            return left
        await asyncio.sleep(pause_s)


def main() -> int:
    """Runs the demo."""
    try:
        asyncio.run(Demo().run())
    except (DemoFailed, LinkerdError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        print("The cluster is left as it is; `linkerd local stop` ends it.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

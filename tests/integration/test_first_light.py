"""The first hour of a newcomer: emojivoto unmeshed, injected, measured, and the cluster ended.

One cluster, walked in one test from start to end as a reader of the README would; what holds on
the way is asserted there. Policy, protocols and recovery are in `test_mesh.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.mesh import ROOT, Mesh, ready_containers, until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root"),
    pytest.mark.timeout(300),
]

EMOJIVOTO = ROOT / "demo" / "emojivoto" / "emojivoto.yml"
NS = "emojivoto"


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    try:
        yield mesh
    finally:
        mesh.delete()


def _rows(table: str) -> dict[str, list[str]]:
    """Returns the cells of each row of a printed table, by the first one."""
    return {line.split()[0]: line.split() for line in table.splitlines()[1:] if line.strip()}


def _percent(cell: str) -> float:
    return float(cell.rstrip("%")) if cell.endswith("%") else -1.0


def _left_behind(mesh: Mesh) -> list[str]:
    """Returns what still runs or is mounted of a cluster."""
    state = str(mesh.paths.state)
    processes = subprocess.run(["pgrep", "-af", state], capture_output=True, text=True).stdout
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if state in line]
    sockets = [str(path) for path in mesh.paths.state.rglob("*.sock")]
    return [*processes.splitlines(), *mounts, *sockets]


def _host_network() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout


def test_from_unmeshed_to_measured_and_gone(mesh: Mesh) -> None:
    network = _host_network()
    mesh.start()
    assert "runs already" in mesh.refused("local", "start")
    mesh.linkerd("check", "--pre")
    mesh.install()

    # Unmeshed: one container each.
    manifests = EMOJIVOTO.read_text()
    mesh.apply(manifests)
    mesh.wait(NS)
    assert {"1/1"} == {ready_containers(pod) for pod in mesh.pods(NS)}

    # Injected: the namespace and four deployments; two containers, by the webhook.
    injected = mesh.inject(manifests)
    assert 5 == injected.count("linkerd.io/inject: enabled")
    mesh.install_viz()
    mesh.apply(injected)
    mesh.wait(NS, "linkerd-viz")
    pods = mesh.pods(NS)
    assert (4, {"2/2"}) == (len(pods), {ready_containers(pod) for pod in pods})

    # Measured: the doughnut fails, everything else succeeds.
    def measured() -> bool:
        rows = _rows(mesh.linkerd("viz", "stat", "deploy", "-n", NS, check=False))
        cells = [_percent(rows[name][2]) for name in ("emoji", "voting", "web") if name in rows]
        return len(cells) == 3 and min(cells) >= 0 and max(cells[1:]) < 100

    until(measured, "statistics with a failed vote", timeout_s=120)
    rows = _rows(mesh.linkerd("viz", "stat", "deploy", "-n", NS))
    assert {"1/1"} == {row[1] for row in rows.values()}
    assert "100.00%" == rows["emoji"][2]
    assert _percent(rows["web"][2]) < 100
    _assert_only_the_doughnut_fails(mesh)

    # Secured: every edge, with the identities of both ends.
    edges = json.loads(mesh.linkerd("viz", "edges", "deploy", "-n", NS, "-o", "json"))
    found = {(edge["src"], edge["dst"]): edge for edge in edges}
    # The bot has no service account of its own.
    for src, dst, client in (
        ("vote-bot", "web", "default"),
        ("web", "emoji", "web"),
        ("web", "voting", "web"),
    ):
        edge = found[src, dst]
        assert "" == edge["no_tls_reason"]
        assert (f"{client}.{NS}", f"{dst}.{NS}") == (edge["client_id"], edge["server_id"])

    output = mesh.linkerd("check", "--proxy", "-n", NS)
    assert output.rstrip().endswith("Status check results are √")
    _assert_the_dashboard_answers(mesh)

    # Gone: no process, mount, socket or link.
    mesh.linkerd("local", "stop")
    assert [] == _left_behind(mesh)
    assert network == _host_network()


def _assert_only_the_doughnut_fails(mesh: Mesh) -> None:
    """Asks the proxy of `voting` itself, so that nothing in between can smooth it over."""
    metrics = mesh.linkerd("diagnostics", "proxy-metrics", "-n", NS, "deploy/voting")
    inbound = [
        line
        for line in metrics.splitlines()
        if line.startswith("response_total{") and 'direction="inbound"' in line
    ]
    statuses = {
        (found[1], "success" if 'classification="success"' in line else "failure")
        for line in inbound
        if (found := re.search(r'grpc_status="(\d*)"', line)) and 'target_port="4191"' not in line
    }
    assert ("0", "success") in statuses
    assert {outcome for status, outcome in statuses if status not in ("", "0")} == {"failure"}


def _assert_the_dashboard_answers(mesh: Mesh) -> None:
    command = [str(Path(sys.executable).parent / "linkerd"), "viz", "dashboard", "--show", "url"]
    started = subprocess.Popen(
        [*command, "--port", "0"], env=mesh.environment, stdout=subprocess.PIPE, text=True
    )
    with started as shown:
        try:
            assert shown.stdout is not None
            address = ""
            while not address:
                line = shown.stdout.readline()
                assert line, "the dashboard ended"
                address = (re.findall(r"http://\S+:\d+", line) or [""])[0]
            with urllib.request.urlopen(address, timeout=10) as page:
                assert 200 == page.status
                assert b"<html" in page.read().lower()
        finally:
            shown.terminate()

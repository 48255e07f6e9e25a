"""Endpoints outside the mesh behind one service: what dies, or goes wrong, behind the client's proxy."""

import json
import subprocess

from tests.scorecard.mesh import DIRECT, SERVER_IP, SERVICE_IP, TESTKIT, Mesh, default_world

# The service that has an endpoint on each of `DIRECT`.
PORT = 9000
AUTHORITY = f"many.score.svc.cluster.local:{PORT}"


def world() -> dict[str, object]:
    """The default world, and the service."""
    made = default_world()
    services = made["services"]
    assert isinstance(services, list)
    endpoints = [{"address": f"{SERVER_IP}:{port}"} for port in DIRECT]
    services.append(
        {"address": f"{SERVICE_IP}:{PORT}", "authority": AUTHORITY, "endpoints": endpoints}
    )
    return made


def start(mesh: Mesh, port: int) -> subprocess.Popen[bytes]:
    """An echo server on a port of the server pod that no proxy sees."""
    file = mesh.folder / f"backend-{port}.json"
    file.write_text(json.dumps({"echo": [{"listen": f"0.0.0.0:{port}", "kind": "http"}]}))
    label = f"backend-{port}"
    process = mesh.server.start(label, [str(TESTKIT), "serve", str(file)], 1)
    mesh.server.wait_for_port(label, port, process)
    return process

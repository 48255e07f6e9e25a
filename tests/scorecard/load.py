"""Runs the project's load generator in the client pod."""

import json
import subprocess

from tests.scorecard.mesh import ROOT, SERVICE_IP, Mesh

LOADGEN = ROOT / "target" / "release" / "loadgen"


def running(
    mesh: Mesh, port: int, words: list[str], seconds: float, rate: float | None
) -> subprocess.Popen[bytes]:
    """Load on a port of the service for `seconds`, at `rate` requests a second or as fast as it goes."""
    command = ["ip", "netns", "exec", mesh.client.name, "taskset", "-c", "1", str(LOADGEN)]
    command += ["--url", f"http://{SERVICE_IP}:{port}/status/200", "--seconds", str(seconds)]
    command += words
    if rate is not None:
        command += ["--rate", f"{rate:.0f}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def report(load: subprocess.Popen[bytes]) -> dict[str, float]:
    """What the load generator has counted, when it is done."""
    text, _ = load.communicate()
    made: dict[str, float] = json.loads(text)
    return made

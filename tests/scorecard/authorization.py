"""R22: nobody gets in whom the policy keeps out, in any spelling; nobody is kept out who may come in.

200,000 pairs of a policy and a request go to the proxy's own functions (`testkit decide`) and to an
oracle that shares no code with them; a part of them travels as real requests through a real proxy.
"""

import contextlib
import dataclasses
import json
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.scorecard import oracle
from tests.scorecard.mesh import (
    CLIENT_ID,
    OUTSIDE_IP,
    SERVER_ID,
    SERVER_IP,
    SERVICE_IP,
    TESTKIT,
    Mesh,
    default_world,
    read_all,
)
from tests.scorecard.recorder import Recorder
from tests.scorecard.rows import Line, at_least, exactly

SEED = 20_260_801
POLICIES, EACH = 2000, 100
LIVE_POLICIES, LIVE_EACH, LIVE_PORT = 30, 50, 20000
VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "authorization.json"

Pair = tuple[oracle.Policy, list[oracle.Request]]


def draw(seed: int, policies: int, each: int) -> list[Pair]:
    """The same pairs for the same seed."""
    rng = random.Random(seed)
    drawn = []
    for _ in range(policies):
        policy = oracle.draw_policy(rng)
        drawn.append((policy, [oracle.draw_request(rng, policy) for _ in range(each)]))
    return drawn


def case(policy: oracle.Policy, requests: list[oracle.Request]) -> dict[str, object]:
    """A line for `testkit decide`."""
    octets = oracle.message(policy).SerializeToString(deterministic=True)
    return {"policy": octets.hex(), "requests": [dataclasses.asdict(r) for r in requests]}


def render() -> str:
    """The vectors for the proxy's tests, a policy a line."""
    lines = []
    for policy, requests in draw(SEED, 60, 20):
        expected = [oracle.decide(policy, request) for request in requests]
        lines.append(json.dumps({"case": case(policy, requests), "expected": expected}))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def check() -> Iterator[Line]:
    """The functions, then the process."""
    yield from _functions()
    yield from _process()


def _functions() -> Iterator[Line]:
    pairs = draw(SEED, POLICIES, EACH)
    begun = time.monotonic()
    text = "".join(json.dumps(case(*pair)) + "\n" for pair in pairs)
    done = subprocess.run(
        [TESTKIT, "decide"], input=text, capture_output=True, text=True, check=True
    )
    took = time.monotonic() - begun
    opened, closed, canonical = [], [], 0
    for (policy, requests), line in zip(pairs, done.stdout.splitlines(), strict=True):
        for request, decided in zip(requests, json.loads(line), strict=True):
            expected = oracle.decide(policy, request)
            plain = oracle.is_canonical(request)
            canonical += plain
            if decided.startswith("allow") and not expected.startswith("allow"):
                opened.append(f"{request}")
            elif plain and decided != expected:
                closed.append(f"{request}: {decided}, not {expected}")
    yield at_least("R22", "pairs", len(pairs) * EACH, "decisions", 200_000, f"{took:.1f} s")
    yield exactly(
        "R22", "allowed-against-oracle", len(opened), "decisions", 0, "; ".join(opened[:2])
    )
    yield exactly(
        "R22", "canonical-decided-otherwise", len(closed), "decisions", 0, "; ".join(closed[:2])
    )
    yield at_least("R22", "canonical-pairs", canonical, "decisions", 50_000)


def _process() -> Iterator[Line]:
    """Requests from outside the mesh and from the client pod; a spoofed identity changes nothing."""
    pairs = draw(SEED + 1, LIVE_POLICIES, LIVE_EACH)
    world = _world([policy for policy, _ in pairs])
    # Watched from the start: a port is under the default policy until its own has come.
    ports = ",".join(str(LIVE_PORT + i) for i in range(len(pairs)))
    env = {"INBOUND_PORTS": ports, "INBOUND_DEFAULT_POLICY": "deny"}
    with Mesh(world=world, env=env) as mesh:
        recorders = [Recorder(mesh.server, LIVE_PORT + i) for i in range(len(pairs))]
        jobs = [
            (i, dataclasses.replace(request, ip=ip, identity=identity))
            for i, (_, requests) in enumerate(pairs)
            for n, request in enumerate(requests)
            for ip, identity in [((OUTSIDE_IP, None), ("10.231.0.1", CLIENT_ID))[n % 2]]
        ]
        with ThreadPoolExecutor(8) as pool:
            reached = list(pool.map(lambda job: _reaches(mesh, job[0], job[1]), jobs))
        opened, closed = [], []
        for (i, request), got in zip(jobs, reached, strict=True):
            wanted = oracle.decide(pairs[i][0], request).startswith("allow")
            if got and not wanted:
                opened.append(str(request))
            elif wanted and not got and oracle.is_canonical(request):
                closed.append(str(request))
        spoofed = sum(
            any(name == "l5d-client-id" and value == "spoofed" for name, value in seen.headers)
            for recorder in recorders
            for seen in recorder.seen
        )
        for recorder in recorders:
            recorder.close()
        yield at_least("R22", "live-pairs", len(jobs), "requests", 1000)
        yield exactly(
            "R22", "live-allowed-against-oracle", len(opened), "requests", 0, "; ".join(opened[:2])
        )
        yield exactly(
            "R22", "live-canonical-denied", len(closed), "requests", 0, "; ".join(closed[:2])
        )
        yield exactly("R22", "live-spoofed-identities", spoofed, "requests", 0)


def _world(policies: list[oracle.Policy]) -> dict[str, object]:
    world = default_world()
    services, servers = world["services"], world["servers"]
    assert isinstance(services, list)
    assert isinstance(servers, list)
    for i, policy in enumerate(policies):
        port = LIVE_PORT + i
        octets = oracle.message(policy).SerializeToString(deterministic=True)
        servers.append({"port": port, "name": f"drawn-{i}", "message": octets.hex()})
        endpoint = {"address": f"{SERVER_IP}:{port}", "identity": SERVER_ID, "h2": True}
        services.append(
            {
                "address": f"{SERVICE_IP}:{port}",
                "authority": f"drawn.score.svc.cluster.local:{port}",
                "protocol": "http1",
                "endpoints": [{**endpoint, "inbound_port": 4143}],
            }
        )
    return world


def _reaches(mesh: Mesh, number: int, request: oracle.Request) -> bool:
    """Whether the application answers the request."""
    meshed = request.identity is not None
    source, ip = (mesh.client, SERVICE_IP) if meshed else (mesh.outside, SERVER_IP)
    target = request.path + (f"?{request.query}" if request.query else "")
    lines = [f"{request.method} {target} HTTP/{'1.1' if request.authority else '1.0'}"]
    if request.authority:
        lines.append(f"Host: {request.authority}")
    lines += [f"{name}: {value}" for name, value in request.headers]
    lines += ["l5d-client-id: spoofed", "Connection: close", "Content-Length: 0", "", ""]
    try:
        with contextlib.closing(source.connect(ip, LIVE_PORT + number)) as peer:
            peer.sendall("\r\n".join(lines).encode())
            return read_all(peer).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
    except OSError:
        return False


if __name__ == "__main__":
    VECTORS.write_text(render())

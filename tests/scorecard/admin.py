"""R28: what the admin port tells and does, from afar and from the pod itself.

Source: CVE-2024-40632 (shutdown through an application), linkerd2-proxy linkerd/app/admin.
"""

from collections.abc import Iterator

from tests.scorecard.mesh import Host, Mesh
from tests.scorecard.rows import Line, exactly

# What anybody may see.
_OPEN = {"/live", "/ready", "/metrics"}
_PATHS = (
    "/", "/live", "/ready", "/metrics", "/shutdown", "/env.json", "/proxy-log-level", "/logs.json",
    "/tasks", "/debug/pprof/heap.pb.gz", "/debug/pprof", "/debug/pprof/profile", "/config", "/quit",
    "/quitquitquit", "/healthz", "/stats", "/admin", "/live/../shutdown", "/live/..%2fshutdown",
    "//shutdown", "/shutdown/", "/SHUTDOWN", "/%73hutdown", "/shutdown?x", "/live;/shutdown",
    "/live%00/shutdown", "/env.json?LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", "/env%2ejson",
)  # fmt: skip
_METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE")
# Headers with which a client may try to look local.
_FORGED = (
    "x-forwarded-for: 127.0.0.1", "forwarded: for=127.0.0.1", "x-real-ip: 127.0.0.1",
    "l5d-client-id: admin", "via: 1.1 localhost", "l5d-orig-proto: HTTP/1.1",
)  # fmt: skip


def check() -> Iterator[Line]:
    """Every path and method from a stranger and from the client pod, then from the pod itself."""
    with Mesh() as mesh:
        for label, source in (("stranger", mesh.outside), ("meshed-pod", mesh.client)):
            told = _from_afar(mesh, source)
            seen = sum(mesh.admin(mesh.server, path, source)[0] == 200 for path in _OPEN)
            yield exactly("R28", f"{label}-sees-what-is-open", seen, "paths", len(_OPEN))
            yield exactly("R28", f"{label}-sees", len(told), "paths", 0, "; ".join(told[:4]))
        forged = [
            f"{path} with {header}"
            for path in ("/shutdown", "/env.json", "/proxy-log-level")
            for header in _FORGED
            if 200
            <= mesh.admin(mesh.server, path, mesh.outside, headers=f"host: a\r\n{header}")[0]
            < 300
        ]
        yield exactly("R28", "forged-local", len(forged), "paths", 0, "; ".join(forged[:4]))
        hosts = [
            host
            for host in ("localhost", "127.0.0.1:4191", "localhost:4191", "[::1]:4191")
            if mesh.admin(mesh.server, "/env.json", mesh.outside, headers=f"host: {host}")[0] == 200
        ]
        yield exactly("R28", "host-of-loopback", len(hosts), "hosts", 0)
        status = mesh.admin(mesh.server, "/shutdown", method="POST")[0]
        yield exactly("R28", "shutdown-without-opt-in", status, "status", 404)
        yield exactly(
            "R28", "shutdown-by-get", mesh.admin(mesh.server, "/shutdown")[0], "status", 405
        )
        secrets = _secrets(mesh)
        yield exactly("R28", "secrets-shown", len(secrets), "pages", 0, "; ".join(secrets))
        ports = _listening(mesh)
        yield exactly(
            "R28", "ports-from-afar", len(ports - {4143, 4190, 4191}), "ports", 0, str(ports)
        )
        yield exactly("R28", "crashed", int(not mesh.alive()), "proxies", 0)


def _from_afar(mesh: Mesh, source: Host) -> list[str]:
    told = []
    for path in _PATHS:
        for method in _METHODS:
            status, _ = mesh.admin(mesh.server, path, source, method)
            if 200 <= status < 300 and path not in _OPEN:
                told.append(f"{method} {path} {status}")
    return told


def _secrets(mesh: Mesh) -> list[str]:
    """Pages on which something of the key or the token is, even for the pod itself."""
    folder = mesh.folder / "server"
    token = (folder / "token").read_text()
    key = (folder / "key.p8").read_bytes()
    found = []
    for path in _PATHS:
        body = mesh.admin(mesh.server, path)[1]
        if token in body or key.hex() in body or "PRIVATE KEY" in body:
            found.append(path)
    return found


def _listening(mesh: Mesh) -> set[int]:
    """Ports of the proxy that are open to other hosts."""
    ports = set()
    for line in mesh.server.run("ss -Htlnp").splitlines():
        local, program = line.split()[3], line.split()[-1]
        if "linkerd-proxy" in program and not local.startswith(("127.", "[::1]")):
            ports.add(int(local.rsplit(":", 1)[1]))
    return ports

"""A small mesh in network namespaces: a client pod, a server pod, and a host outside the mesh.

    outside ──veth── server pod ──veth── client pod
    (no proxy)       proxy 4143          proxy 4140
                     control plane       control plane      (scripted: `testkit serve`)
                     applications

The checks run in this process: a socket belongs to the namespace in which it was opened, so
`Mesh.outside.connect(…)` is a peer that the mesh does not know. Needs root.
"""

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from bench.rig import RigError, Side, sh

ROOT = Path(__file__).resolve().parents[2]
PROXY = ROOT / "target" / "release" / "linkerd-proxy"
TESTKIT = ROOT / "target" / "release" / "testkit"
PREFIX = "l5dscore-"
PROXY_UID = 2102
CONTROL = "127.0.0.1:8086"
CLIENT_IP, SERVER_IP, OUTSIDE_IP = "10.231.0.1", "10.231.0.2", "10.231.1.1"
SERVICE_IP = "10.96.0.10"
# Ports of the server pod: what the testkit echoes as HTTP and as bytes, and what a check serves itself.
HTTP, BYTES, OWN, GUARDED = 8080, 8081, 8082, 8083
# Ports of the server pod that pass its proxy by: endpoints that are not meshed.
DIRECT = (9001, 9002, 9003)
SUFFIX = "score.serviceaccount.identity.linkerd.cluster.local"
CLIENT_ID, SERVER_ID = f"client.{SUFFIX}", f"server.{SUFFIX}"
READY_WITHIN_S = 60.0

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_HOME = os.open("/proc/self/ns/net", os.O_RDONLY)


class Host(Side):
    """A namespace in which this process can open sockets."""

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens meanwhile belong to the namespace."""
        handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(handle)
            yield
        finally:
            _enter(_HOME)
            os.close(handle)

    def open(self) -> socket.socket:
        """An unconnected TCP socket of the namespace, without Nagle's delay."""
        with self.inside():
            made = socket.socket()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def connect(self, ip: str, port: int, timeout_s: float = 10.0) -> socket.socket:
        """A connection from the namespace; the time-out stays for reads and writes."""
        made = self.open()
        made.settimeout(timeout_s)
        try:
            made.connect((ip, port))
        except OSError:
            made.close()
            raise
        return made

    def listen(self, port: int, backlog: int = 1024) -> socket.socket:
        """A listener on every address of the namespace."""
        made = self.open()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("0.0.0.0", port))
        made.listen(backlog)
        return made


class Mesh:
    """Two meshed pods and a stranger; a context manager that leaves nothing behind.

    Args:
        world: Keys of the scripted control plane's world that differ from `default_world`.
        env: Proxy settings without their prefix, for both proxies.
        wrap: Words in front of the server proxy's command, such as `prlimit --nofile=128`.
    """

    def __init__(
        self,
        *,
        world: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        wrap: tuple[str, ...] = (),
    ) -> None:
        remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix="l5dscore-"))
        self.folder.chmod(0o755)
        self.authority = self.folder / "authority"
        self._hosts: list[Host] = []
        self.controls: list[subprocess.Popen[bytes]] = []
        try:
            self._build({**default_world(), **(world or {})}, dict(env or {}), wrap)
        except BaseException:
            self.close()
            raise

    def _build(self, world: dict[str, object], env: dict[str, str], wrap: tuple[str, ...]) -> None:
        self.client, self.server, self.outside = (self._host(name) for name in ("c", "s", "o"))
        _join(self.client, CLIENT_IP, self.server, SERVER_IP, "eth0")
        _join(self.outside, OUTSIDE_IP, self.server, "10.231.1.2", "eth1")
        self.client.run(f"ip route add default via {SERVER_IP}")
        self.outside.run("ip route add default via 10.231.1.2")
        self.server.run(f"ip route add default via {CLIENT_IP}")
        config = {"control": CONTROL, "authority": str(self.authority), "world": world}
        (self.folder / "control.json").write_text(json.dumps(config))
        applications = [
            {"listen": f"0.0.0.0:{port}", "kind": kind}
            for port, kind in ((HTTP, "http"), (GUARDED, "http"), (BYTES, "tcp"))
        ]
        (self.folder / "applications.json").write_text(json.dumps({"echo": applications}))
        for side in (self.server, self.client):
            side.run(
                f"{PROXY} init --incoming-proxy-port 4143 --outgoing-proxy-port 4140"
                f" --proxy-uid {PROXY_UID} --log-level error"
                f" --inbound-ports-to-ignore 4190,4191,{DIRECT[0]}-{DIRECT[-1]}"
            )
        start = [str(TESTKIT), "serve", str(self.folder / "applications.json")]
        self.server.start("applications", start, 1)
        self.server_proxy = self._proxy(self.server, SERVER_ID, SERVER_IP, env, wrap)
        self.client_proxy = self._proxy(self.client, CLIENT_ID, CLIENT_IP, env, ())
        for side in (self.server, self.client):
            self._wait_until_ready(side)

    def _wait_until_ready(self, side: Host) -> None:
        wait(lambda: self.admin(side, "/ready")[0] == 200, f"{side.name} is not ready")

    def _host(self, name: str) -> Host:
        host = Host(PREFIX + name, self.folder)
        self._hosts.append(host)
        return host

    def _proxy(
        self, side: Host, identity: str, ip: str, env: dict[str, str], wrap: tuple[str, ...]
    ) -> subprocess.Popen[bytes]:
        """Starts control plane and proxy of a pod, returns the proxy."""
        folder = self.identity(identity)
        self.start_control(side)
        variables = {**_environment(folder, identity, ip), **env}
        named = {f"LINKERD2_PROXY_{key}": value for key, value in variables.items()}
        command = [*wrap, str(PROXY)]
        process = side.start("proxy", command, 0, uid=PROXY_UID, env=named)
        side.wait_for_port("proxy", 4143, process)
        return process

    def start_control(self, side: Host) -> None:
        """Starts the scripted control plane of a pod; it is the last of `controls`."""
        command = [str(TESTKIT), "serve", str(self.folder / "control.json")]
        process = side.start("control", command, 1)
        side.wait_for_port("control", 8086, process)
        self.controls.append(process)

    def identity(self, name: str) -> Path:
        """A folder with a key and a request for `name`, and the trust anchors."""
        folder = self.folder / name.split(".")[0]
        sh(f"{TESTKIT} identity {self.authority} {folder} {name}")
        for file in (folder, *folder.iterdir()):
            shutil.chown(file, PROXY_UID)
        return folder

    def admin(
        self,
        side: Host,
        path: str,
        source: Host | None = None,
        method: str = "GET",
        headers: str = "host: admin",
    ) -> tuple[int, str]:
        """Status and body of an admin request from `source`, by default over loopback; 0 without answer."""
        ip = "127.0.0.1" if source is None else SERVER_IP
        try:
            with contextlib.closing((source or side).connect(ip, 4191, 5.0)) as peer:
                head = f"{method} {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n"
                peer.sendall(f"{head}content-length: 0\r\n\r\n".encode())
                answer = read_all(peer)
        except OSError:
            return 0, ""
        head_bytes, _, body = answer.partition(b"\r\n\r\n")
        words = head_bytes.split(None, 2)
        return (int(words[1]) if len(words) > 1 else 0), body.decode(errors="replace")

    def metric(self, side: Host, name: str, *labels: str) -> float:
        """Sum of a family's series whose text holds all of `labels`."""
        total = 0.0
        for line in self.admin(side, "/metrics")[1].splitlines():
            if line.startswith((name + "{", name + " ")) and all(text in line for text in labels):
                total += float(line.rsplit(" ", 1)[1])
        return total

    @property
    def proxies(self) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """The proxies of server and client."""
        return self.server_proxy, self.client_proxy

    def log(self, side: Host) -> str:
        """Everything that a proxy wrote."""
        return (self.folder / f"{side.name}-proxy.log").read_text(errors="replace")

    def alive(self) -> bool:
        """Whether both proxies and all that belongs to them run, and no proxy panicked."""
        return self.proxies_live() and all(
            process.poll() is None
            for side in (self.client, self.server)
            for process in side.processes
        )

    def proxies_live(self) -> bool:
        """Whether both proxies run and never panicked."""
        calm = not any("panicked" in self.log(side) for side in (self.client, self.server))
        return calm and all(proxy.poll() is None for proxy in self.proxies)

    def close(self) -> None:
        """Ends everything."""
        for host in self._hosts:
            host.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Mesh":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def world_of(port: int, protocol: str) -> dict[str, object]:
    """The default world in which both sides take `port` for `protocol`, without detection."""
    world = default_world()
    for entries in world.values():
        assert isinstance(entries, list)
        for entry in entries:
            if str(entry.get("port") or entry["address"]).endswith(str(port)):
                entry["protocol"] = protocol
    return world


def default_world() -> dict[str, object]:
    """Services and policies of the server pod's ports; `GUARDED` admits the client's identity only."""
    endpoint = {"identity": SERVER_ID, "h2": True, "inbound_port": 4143}
    services, servers = [], []
    for port in (HTTP, BYTES, OWN, GUARDED):
        here = {**endpoint, "address": f"{SERVER_IP}:{port}"}
        name = f"web.score.svc.cluster.local:{port}"
        services.append({"address": f"{SERVICE_IP}:{port}", "authority": name, "endpoints": [here]})
        allow: object = {"identities": [CLIENT_ID]} if port == GUARDED else "all"
        servers.append({"port": port, "name": f"web-{port}", "allow": allow})
    return {"services": services, "servers": servers}


def _environment(folder: Path, identity: str, ip: str) -> dict[str, str]:
    workload = '{"ns":"score","pod":"score"}'
    return {
        "LOG": "warn",
        "CORES": "1",
        "ADMIN_LISTEN_ADDR": "0.0.0.0:4191",
        "INBOUND_LISTEN_ADDR": "0.0.0.0:4143",
        "OUTBOUND_LISTEN_ADDR": "127.0.0.1:4140",
        "CONTROL_LISTEN_ADDR": "0.0.0.0:4190",
        "INBOUND_IPS": ip,
        "INBOUND_DEFAULT_POLICY": "all-unauthenticated",
        "INBOUND_PORTS": f"{HTTP},{BYTES},{OWN},{GUARDED}",
        "POLICY_CLUSTER_NETWORKS": "10.0.0.0/8",
        "DESTINATION_PROFILE_NETWORKS": "10.0.0.0/8",
        "DESTINATION_SVC_ADDR": CONTROL,
        "POLICY_SVC_ADDR": CONTROL,
        "IDENTITY_SVC_ADDR": CONTROL,
        "DESTINATION_CONTEXT": workload,
        "POLICY_WORKLOAD": workload,
        "IDENTITY_DIR": str(folder),
        "IDENTITY_TOKEN_FILE": str(folder / "token"),
        "IDENTITY_TRUST_ANCHORS": (folder / "anchors.pem").read_text(),
        "IDENTITY_LOCAL_NAME": identity,
        "SHUTDOWN_GRACE_PERIOD": "10s",
    }


def _join(one: Host, one_ip: str, other: Host, other_ip: str, device: str) -> None:
    sh(f"ip link add {device} netns {one.name} type veth peer name {device} netns {other.name}")
    for host, ip in ((one, one_ip), (other, other_ip)):
        host.run(f"ip address add {ip}/24 dev {device}")
        host.run(f"ip link set {device} up")


def _enter(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace: root is needed")


def remove_leftovers() -> None:
    """Deletes what a killed run left."""
    for line in sh("ip netns list").splitlines():
        name = line.split()[0]
        if name.startswith(PREFIX):
            for pid in sh(f"ip netns pids {name}").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            sh(f"ip netns delete {name}")


def wait(condition: Callable[[], bool], failure: str, within_s: float = READY_WITHIN_S) -> None:
    """Returns when `condition` holds; raises `RigError` otherwise."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RigError(failure)
        time.sleep(0.05)


def read_all(peer: socket.socket, limit: int = 16 << 20) -> bytes:
    """What comes until the peer closes, breaks off, or is silent for the socket's time-out."""
    parts: list[bytes] = []
    with contextlib.suppress(OSError):
        while limit > 0 and (part := peer.recv(65536)):
            parts.append(part)
            limit -= len(part)
    return b"".join(parts)


def in_background(task: Callable[[], None]) -> threading.Thread:
    """Runs `task` in a thread that does not keep the process alive."""
    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    return thread


def build() -> None:
    """Builds the programs under test."""
    command = ["cargo", "build", "--locked", "--release", "--quiet"]
    packages = ["-plinkerd-proxy", "-plinkerd-proxy-testkit", "-plinkerd-proxy-loadgen"]
    subprocess.run([*command, *packages], cwd=ROOT, check=True)

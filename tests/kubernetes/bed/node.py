"""The inside of a bed: runs as first process of its PID namespace, in a network of its own.

    unshare ── init (PID 1: reaps) ── node ─┬─ etcd ── kube-apiserver ── the rest when it is ready
                                            ├─ containerd ── shims ── pods
                                            └─ relay: the machine's loopback → API server

A component that dies is started again, as an init system would. When PID 1 dies, by whatever
signal, the kernel ends everything here, and network, mounts and processes are gone with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from tests.kubernetes.bed import build, configs, manifests, pods
from tests.kubernetes.bed.paths import API_PORT, DNS_SERVICE_IP, NODE_GATEWAY, NODE_IP, Paths

#: Marks that `up` waits for.
READY = "ready"
FAILED = "failed"
_START_S = 60.0
_RESTART_S = 0.5
_PAUSE_S = 0.05
_RELAY_BYTES = 65536
_MS_PRIVATE_REC = (1 << 18) | (1 << 14)


def main(argv: list[str]) -> int:
    """Runs the node of the bed `argv[0]`; `argv[1]` is the descriptor of the host's listener.

    With `api` as third word only etcd and the API server run.
    """
    # Orphans of containerd come to PID 1: a parent that only waits keeps them from piling up.
    child = os.fork()
    if child:
        return _reap(child)
    paths = Paths(argv[0])
    try:
        _prepare(paths)
        listener = socket.socket(fileno=int(argv[1]))
        asyncio.run(_run(paths, listener, api_only=argv[2:] == ["api"]))
    except* (OSError, ValueError) as group:
        reasons = "; ".join(map(str, _leaves(group)))
        (paths.root / FAILED).write_text(f"{reasons}\n")
    return 1


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


def _reap(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _prepare(paths: Paths) -> None:
    """Makes mounts and network ours. Nothing of this outlives the namespaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount(b"none", b"/", None, _MS_PRIVATE_REC, None)
    # Sockets of shims, runc's state, named networks, iptables' lock.
    _run_all(
        "mount -t tmpfs tmpfs /run",
        "mkdir -p /run/netns /run/lock /run/overlay/upper /run/overlay/work",
        # The CNI library caches below /var/lib, kubelet links logs below /var/log.
        "mount -t overlay overlay -o lowerdir=/var,upperdir=/run/overlay/upper,"
        "workdir=/run/overlay/work /var",
        "ip link set lo up",
        "ip link add node0 type bridge",
        f"ip address add {NODE_IP}/24 dev node0",
        "ip link set node0 up",
        # Components look for an address on the way out; nothing is there.
        f"ip route add default via {NODE_GATEWAY} dev node0",
    )
    _set("net/ipv4/ip_forward", "1")
    _set("net/bridge/bridge-nf-call-iptables", "1")
    _make_cgroups(paths)
    for folder in (paths.logs, paths.root / "cni", paths.root / "pod-logs"):
        folder.mkdir(parents=True, exist_ok=True)


def _make_cgroups(paths: Paths) -> None:
    """Makes the pods' cgroup in every hierarchy: kubelet expects its root to be there."""
    for hierarchy in cgroup_hierarchies():
        if (hierarchy / "cgroup.subtree_control").exists() and hierarchy.name != "unified":
            offered = (hierarchy / "cgroup.controllers").read_text().split()
            wanted = " ".join(f"+{one}" for one in offered)
            (hierarchy / "cgroup.subtree_control").write_text(wanted)
        own = hierarchy / paths.cgroup.lstrip("/")
        own.mkdir(exist_ok=True)
        # The first version's cpusets start empty, and nothing may run in an empty one.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (
                hierarchy.name != "unified"
                and (own / name).exists()
                and (hierarchy / name).exists()
            ):
                (own / name).write_text((hierarchy / name).read_text())


def cgroup_hierarchies() -> list[Path]:
    """Returns where this machine's cgroup hierarchies are mounted; one for version 2."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted({Path(words[1]) for words in mounts if words[2] in ("cgroup", "cgroup2")})


def _run_all(*commands: str) -> None:
    for command in commands:
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{command}: {done.stderr.strip()}")


def _set(name: str, value: str) -> None:
    path = Path("/proc/sys", name)
    if not path.exists() and name.startswith("net/bridge"):
        subprocess.run(["modprobe", "br_netfilter"], capture_output=True, check=False)
    if path.exists():
        path.write_text(value)


async def _run(paths: Paths, listener: socket.socket, *, api_only: bool) -> None:
    binaries = build.binaries()
    for name, text in configs.files(paths).items():
        target = paths.config / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    async with asyncio.TaskGroup() as group:
        await _relay(listener, group)
        group.create_task(_keep(paths, "etcd", configs.etcd(paths)))
        group.create_task(_keep(paths, "apiserver", configs.apiserver(paths, binaries)))
        if api_only:
            await _api_ready(paths)
            (paths.root / READY).touch()
            return
        group.create_task(_keep(paths, "containerd", configs.containerd(paths)))
        await asyncio.gather(_import(paths, binaries), _api_ready(paths))
        for name, command in (
            ("kubelet", configs.kubelet(paths, binaries)),
            ("controller-manager", configs.controller_manager(paths, binaries)),
            ("scheduler", configs.scheduler(paths, binaries)),
            ("kube-proxy", configs.kube_proxy(paths, binaries)),
        ):
            group.create_task(_keep(paths, name, command))
        await _furnish(paths, binaries)
        (paths.root / READY).touch()


async def _keep(paths: Paths, name: str, command: list[str]) -> None:
    environment = {**os.environ, "HOME": str(paths.root)}
    # containerd's default PATH for shims, runc and CNI.
    environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    while True:
        with (paths.logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, env=environment, cwd=paths.root
            )
            (paths.root / f"{name}.pid").write_text(f"{process.pid}\n")
            status = await process.wait()
            log.write(f"bed: {name} ended with {status}, starting it again\n".encode())
        await asyncio.sleep(_RESTART_S)


async def _import(paths: Paths, binaries: Path) -> None:
    """Builds and imports the bed's own images; without the first no pod's network exists."""
    archive = paths.root / "bed-images.tar"
    await asyncio.to_thread(pods.archive, archive, binaries)
    await _until(paths.containerd_socket.exists, "containerd")
    await _command(*ctr(paths), "images", "import", str(archive))
    archive.unlink()


def ctr(paths: Paths) -> list[str]:
    """Returns containerd's command for the images and containers that kubelet sees."""
    return ["ctr", "--address", str(paths.containerd_socket), "--namespace", "k8s.io"]


async def _api_ready(paths: Paths) -> None:
    context = ssl.create_default_context(cafile=paths.certificate("ca"))
    context.load_cert_chain(paths.certificate("admin"), paths.key("admin"))
    deadline = time.monotonic() + _START_S
    while not await _asks_ready(context):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the API server is not ready after {_START_S:g} s")
        await asyncio.sleep(_PAUSE_S)


async def _asks_ready(context: ssl.SSLContext) -> bool:
    try:
        reader, writer = await asyncio.open_connection(NODE_IP, API_PORT, ssl=context)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: bed\r\nConnection: close\r\n\r\n")
        return (await reader.read(64)).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        writer.close()


async def _furnish(paths: Paths, binaries: Path) -> None:
    """Installs DNS and waits for the node."""
    kubectl = [str(binaries / "kubectl"), f"--kubeconfig={paths.config}/admin.kubeconfig"]
    await _command(*kubectl, "apply", "-f", "-", stdin=manifests.base())
    # Pods are refused until their namespace has a service account.
    for condition in ("create sa/default", "create node/bed", "condition=Ready node/bed"):
        await _command(*kubectl, "wait", *f"--for={condition}".split(), "--timeout=60s")
    rollout = ("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    await _command(*kubectl, *rollout)
    await _until(_dns_answers, f"DNS at {DNS_SERVICE_IP}")


def _dns_answers() -> bool:
    try:
        with socket.create_connection((DNS_SERVICE_IP, 53), timeout=1):
            return True
    except OSError:
        return False


async def _until(holds: object, what: str) -> None:
    assert callable(holds)
    deadline = time.monotonic() + _START_S
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} after {_START_S:g} s")
        await asyncio.sleep(_PAUSE_S)


async def _command(*words: str, stdin: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate(stdin.encode())
    if process.returncode:
        raise OSError(f"{' '.join(words)}: {errors.decode().strip()}")


async def _relay(listener: socket.socket, group: asyncio.TaskGroup) -> None:
    """Passes connections to the machine's loopback on to the API server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(NODE_IP, API_PORT)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))

    await asyncio.start_server(serve, sock=listener)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_RELAY_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1:]))

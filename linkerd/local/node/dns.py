"""The cluster's names: services and endpoints → zone; query bytes → answer bytes. Pure.

    web.shop.svc.cluster.local          A       ClusterIP, or every ready pod of a headless service
    a.web.shop.svc.cluster.local        A       an endpoint's hostname, or its dashed address
    _http._tcp.web.shop.svc…            SRV     port and target
    10-244-0-7.shop.pod.cluster.local   A       the address itself
    ext.shop.svc.cluster.local          CNAME   of an ExternalName service
    7.0.244.10.in-addr.arpa             PTR

Source: the Kubernetes DNS specification (github.com/kubernetes/dns docs/specification.md);
RFC 1035 §4.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from linkerd.errors import WireError

A, CNAME, SOA, PTR, SRV, AAAA, ANY = 1, 5, 6, 12, 33, 28, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
#: Seconds that clients may keep an answer.
TTL_S = 5
UDP_BYTES_MAX = 1232
_IN = 1
_NAME_BYTES_MAX = 255
_LABEL_BYTES_MAX = 63


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks; `name` is lower-case without the last dot."""

    id: int
    flags: int
    name: str
    type: int
    raw: bytes


@dataclass(slots=True)
class Zone:
    """Every name of the cluster; rebuilt whenever services or endpoints change."""

    domain: str
    addresses: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    services: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    pointers: dict[str, str] = field(default_factory=dict)
    parents: set[str] = field(default_factory=set)

    def owns(self, name: str) -> bool:
        """Returns whether the cluster, and no other server, answers for a name."""
        if name == self.domain or name.endswith(f".{self.domain}"):
            return True
        return name in self.pointers or name in self.addresses

    def exists(self, name: str) -> bool:
        """Returns whether there is a record of any type at or below a name."""
        return (
            name in self.addresses
            or name in self.aliases
            or name in self.services
            or name in self.parents
        )


def build(domain: str, services: Iterable[Any], slices: Iterable[Any]) -> Zone:
    """Returns the zone for the cluster's Service and EndpointSlice objects."""
    zone = Zone(domain)
    endpoints: dict[tuple[str, str], list[Any]] = {}
    for item in slices:
        meta = item["metadata"]
        name = (meta.get("labels") or {}).get("kubernetes.io/service-name")
        if name and item.get("addressType", "IPv4") == "IPv4":
            endpoints.setdefault((meta["namespace"], name), []).append(item)
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        fqdn = f"{meta['name']}.{meta['namespace']}.svc.{domain}"
        if spec.get("type") == "ExternalName":
            zone.aliases[fqdn] = str(spec.get("externalName", "")).rstrip(".").lower()
        elif spec.get("clusterIP") and spec["clusterIP"] != "None":
            _cluster_service(zone, fqdn, spec)
        else:
            _headless(zone, fqdn, endpoints.get((meta["namespace"], meta["name"]), []))
    for name in (*zone.addresses, *zone.aliases, *zone.services):
        parent = name
        while parent := parent.partition(".")[2]:
            if parent in zone.parents:
                break
            zone.parents.add(parent)
    zone.parents |= {domain, f"svc.{domain}", f"pod.{domain}"}
    return zone


def _cluster_service(zone: Zone, fqdn: str, spec: Any) -> None:
    ip = spec["clusterIP"]
    zone.addresses[fqdn] = [ip]
    zone.pointers[ipaddress.ip_address(ip).reverse_pointer] = fqdn
    for port in spec.get("ports") or ():
        if port.get("name"):
            name = f"_{port['name']}._{port.get('protocol', 'TCP').lower()}.{fqdn}"
            zone.services[name] = [(port["port"], fqdn)]


def _headless(zone: Zone, fqdn: str, slices: list[Any]) -> None:
    ips: dict[str, None] = {}
    for item in slices:
        for endpoint in item.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for ip in endpoint.get("addresses") or ():
                ips[ip] = None
                host = endpoint.get("hostname") or ip.replace(".", "-")
                name = f"{host}.{fqdn}"
                zone.addresses.setdefault(name, []).append(ip)
                if endpoint.get("hostname"):
                    zone.pointers[ipaddress.ip_address(ip).reverse_pointer] = name
                for port in item.get("ports") or ():
                    if port.get("name"):
                        srv = f"_{port['name']}._{port.get('protocol', 'TCP').lower()}.{fqdn}"
                        zone.services.setdefault(srv, []).append((port["port"], name))
    if ips:
        zone.addresses[fqdn] = list(ips)
    else:
        zone.parents.add(fqdn)


def parse(data: bytes) -> Question:
    """Returns the question of a query.

    Raises:
        WireError: `data` is no query with one question.
    """
    if len(data) < 12:
        raise WireError(f"dns query of {len(data)} bytes")
    id, flags, questions = struct.unpack_from(">HHH", data)
    if flags & 0x8000 or questions != 1:
        raise WireError("dns message is no query with one question")
    labels: list[str] = []
    at = 12
    while True:
        if at >= len(data):
            raise WireError("dns name is cut short")
        length = data[at]
        at += 1
        if length == 0:
            break
        if length > _LABEL_BYTES_MAX or at + length > len(data) or at > 12 + _NAME_BYTES_MAX:
            raise WireError("dns name is malformed")
        labels.append(data[at : at + length].decode("latin-1").lower())
        at += length
    if at + 4 > len(data):
        raise WireError("dns question is cut short")
    (kind,) = struct.unpack_from(">H", data, at)
    return Question(id, flags, ".".join(labels), kind, data[12 : at + 4])


def answer(zone: Zone, question: Question, *, bytes_max: int = UDP_BYTES_MAX) -> bytes | None:
    """Returns the response, `None` when another server has to be asked.

    A response that would exceed `bytes_max` is cut and says so, so that the client asks by TCP.
    """
    if question.flags >> 11 & 0xF:
        return failure(question, NOTIMP)
    name, kind = question.name, question.type
    records: list[bytes] = []
    extra: list[bytes] = []
    while name in zone.aliases and len(records) < 8:
        target = zone.aliases[name]
        records.append(_record(name, CNAME, _name(target)))
        name = target
    if records and not zone.owns(name):
        return _response(question, NOERROR, records, extra, bytes_max)
    if name in zone.pointers:
        if kind in (PTR, ANY):
            records.append(_record(name, PTR, _name(zone.pointers[name])))
        return _response(question, NOERROR, records, extra, bytes_max)
    if not zone.owns(name):
        return None
    ips = zone.addresses.get(name) or _pod_address(zone, name)
    if kind in (A, ANY):
        records += [_record(name, A, ipaddress.ip_address(ip).packed) for ip in ips]
    if kind in (SRV, ANY):
        for port, target in zone.services.get(name, ()):
            rdata = struct.pack(">HHH", 0, 100, port) + _name(target)
            records.append(_record(name, SRV, rdata))
            extra += [
                _record(target, A, ipaddress.ip_address(ip).packed)
                for ip in zone.addresses.get(target, ())
            ]
    code = NOERROR if records or ips or zone.exists(name) else NXDOMAIN
    return _response(question, code, records, extra, bytes_max)


def failure(question: Question, code: int) -> bytes:
    """Returns a response without records."""
    flags = 0x8080 | question.flags & 0x7900 | code
    return struct.pack(">6H", question.id, flags, 1, 0, 0, 0) + question.raw


def _pod_address(zone: Zone, name: str) -> list[str]:
    suffix = f".pod.{zone.domain}"
    dashed, _, _ = name.removesuffix(suffix).partition(".")
    if not name.endswith(suffix):
        return []
    try:
        return [str(ipaddress.IPv4Address(dashed.replace("-", ".")))]
    except ValueError:
        return []


def _response(
    question: Question, code: int, records: list[bytes], extra: list[bytes], bytes_max: int
) -> bytes:
    flags = 0x8480 | question.flags & 0x0100 | code
    authority: list[bytes] = []
    if not records:
        domain = question.name
        rdata = _name("ns.dns") + _name("hostmaster") + struct.pack(">5I", 1, 7200, 1800, 86400, 5)
        authority = [_record(domain.split(".", 1)[-1] or ".", SOA, rdata)]
    body = b"".join(records) + b"".join(authority)
    counts = [1, len(records), len(authority), 0]
    if 12 + len(question.raw) + len(body) > bytes_max:
        return struct.pack(">6H", question.id, flags | 0x0200, 1, 0, 0, 0) + question.raw
    if 12 + len(question.raw) + len(body) + sum(map(len, extra)) <= bytes_max:
        body += b"".join(extra)
        counts[3] = len(extra)
    return struct.pack(">6H", question.id, flags, *counts) + question.raw + body


def _record(name: str, kind: int, rdata: bytes) -> bytes:
    return _name(name) + struct.pack(">HHIH", kind, _IN, TTL_S, len(rdata)) + rdata


def _name(name: str) -> bytes:
    labels = [label.encode("latin-1", "replace") for label in name.split(".") if label]
    return b"".join(bytes((len(label[:63]),)) + label[:63] for label in labels) + b"\0"

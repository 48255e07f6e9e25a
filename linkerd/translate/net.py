"""Addresses, durations and labels as the wire writes them."""

from __future__ import annotations

import ipaddress

from google.protobuf.duration_pb2 import Duration

from linkerd.gen import net_pb2

_HALF = (1 << 64) - 1


def ip_address(text: str) -> net_pb2.IPAddress:
    """Returns the message of an address; each half of an IPv6 address is one number.

    Raises:
        ValueError: `text` is no address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return net_pb2.IPAddress(ipv4=int(address))
    number = int(address)
    return net_pb2.IPAddress(ipv6=net_pb2.IPv6(first=number >> 64, last=number & _HALF))


def ip_text(message: net_pb2.IPAddress) -> str:
    """Returns the address in a message as text, empty when it holds none."""
    kind = message.WhichOneof("ip")
    if kind == "ipv4":
        return str(ipaddress.IPv4Address(message.ipv4))
    if kind == "ipv6":
        return str(ipaddress.IPv6Address(message.ipv6.first << 64 | message.ipv6.last))
    return ""


def tcp_address(ip: str, port: int) -> net_pb2.TcpAddress:
    """Returns the message of an address and port."""
    return net_pb2.TcpAddress(ip=ip_address(ip), port=port)


def ip_network(text: str) -> net_pb2.IPNetwork:
    """Returns the message of a block; a single address is a block of one.

    Raises:
        ValueError: `text` is no block.
    """
    network = ipaddress.ip_network(text, strict=False)
    return net_pb2.IPNetwork(
        ip=ip_address(str(network.network_address)), prefix_len=network.prefixlen
    )


def duration(seconds: float) -> Duration:
    """Returns the message of a duration."""
    nanos = round(seconds * 1_000_000_000)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)

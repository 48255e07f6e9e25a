"""The pod network: one veth pair per pod, point to point, no bridge.

    node namespace                                   pod namespace
    lo   10.244.0.1/32 10.96.0.10/32                 lo   127.0.0.1
         route 10.96.0.0/12 dev lo src 10.244.0.1    eth0 10.244.0.7/32
    v3f… route 10.244.0.7/32                         route 10.244.0.1 dev eth0, default via it

ClusterIPs work from pods, from the node and back into the same pod (`nat` masquerades that case).
A pod namespace has no name and no file: it lives while a process or a descriptor holds it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from linkerd.local.node import linux
from linkerd.local.node.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkSocket,
    attribute,
    nested,
    text,
    u32,
)

_RTM_NEWLINK = 16
_RTM_NEWADDR = 20
_RTM_NEWROUTE = 24
_IFF_UP = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINKINFO = 18
_IFLA_NET_NS_FD = 28
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_VETH_INFO_PEER = 1
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PREFSRC = 7
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_SCOPE_UNIVERSE = 0
_SCOPE_LINK = 253
_SIOCGIFINDEX = 0x8933
_MTU = 1500


class Rtnetlink:
    """Links, addresses and routes of the namespace in which it was made."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_ROUTE)

    def close(self) -> None:
        """Closes the socket."""
        self._netlink.close()

    def veth(self, name: str, peer: str, peer_namespace: int) -> None:
        """Makes a veth pair; `peer` appears in the namespace behind `peer_namespace`.

        Raises:
            OSError: the kernel refused; EEXIST when `name` is taken.
        """
        other = _ifinfo(0, 0) + text(_IFLA_IFNAME, peer) + u32(_IFLA_MTU, _MTU)
        body = (
            _ifinfo(0, _IFF_UP)
            + text(_IFLA_IFNAME, name)
            + u32(_IFLA_MTU, _MTU)
            + nested(
                _IFLA_LINKINFO,
                text(_IFLA_INFO_KIND, "veth"),
                nested(
                    _IFLA_INFO_DATA,
                    attribute(_VETH_INFO_PEER, other + u32(_IFLA_NET_NS_FD, peer_namespace)),
                ),
            )
        )
        self._netlink.request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"veth {name}")

    def up(self, index: int) -> None:
        """Sets a link up."""
        self._netlink.request(_RTM_NEWLINK, 0, _ifinfo(index, _IFF_UP), f"link {index} up")

    def address(self, index: int, ip: str) -> None:
        """Gives a link a /32 address of global scope; that it has it already is fine.

        Raises:
            OSError: the kernel refused.
        """
        raw = socket.inet_aton(ip)
        body = (
            struct.pack("=BBBBI", socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
            + attribute(_IFA_LOCAL, raw)
            + attribute(_IFA_ADDRESS, raw)
        )
        try:
            flags = NLM_F_CREATE | NLM_F_EXCL
            self._netlink.request(_RTM_NEWADDR, flags, body, f"address {ip}")
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise

    def route(
        self, index: int, cidr: str, *, via: str | None = None, source: str | None = None
    ) -> None:
        """Routes a network to a link, in place of another route to it.

        Args:
            index: The link.
            cidr: Destination; `0.0.0.0/0` is the default route.
            via: Gateway; none means that the destination is on the link.
            source: Preferred source address.

        Raises:
            OSError: the kernel refused.
        """
        ip, _, bits = cidr.partition("/")
        body = struct.pack(
            "=BBBBBBBBI",
            socket.AF_INET,
            int(bits),
            0,
            0,
            _RT_TABLE_MAIN,
            _RTPROT_BOOT,
            _SCOPE_UNIVERSE if via else _SCOPE_LINK,
            1,
            0,
        )
        if bits != "0":
            body += attribute(_RTA_DST, socket.inet_aton(ip))
        body += u32(_RTA_OIF, index)
        if via:
            body += attribute(_RTA_GATEWAY, socket.inet_aton(via))
        if source:
            body += attribute(_RTA_PREFSRC, socket.inet_aton(source))
        flags = NLM_F_CREATE | NLM_F_REPLACE
        self._netlink.request(_RTM_NEWROUTE, flags, body, f"route {cidr}")


def prepare_node(node_ip: str, dns_ip: str, service_cidr: str) -> None:
    """Makes the calling thread's fresh namespace the node's: addresses, routes, forwarding.

    Raises:
        OSError: the kernel refused.
    """
    rtnetlink = Rtnetlink()
    rtnetlink.up(1)
    for ip in (node_ip, dns_ip):
        rtnetlink.address(1, ip)
    rtnetlink.route(1, service_cidr, source=node_ip)
    rtnetlink.close()
    _sysctl("ipv4/ip_forward", "1")
    _sysctl("ipv4/ip_unprivileged_port_start", "0")


def make_pod(ip: str, veth: str, node_ip: str) -> int:
    """Makes a pod's network namespace, wires it up, and returns a descriptor of it.

    Must run in the node's namespace, on a thread whose namespaces may change for a moment;
    it never awaits, so an event loop's thread is fine.

    Args:
        ip: The pod's address.
        veth: Name of the node's end, at most 15 characters, never used before.
        node_ip: The node's address, the pod's gateway.

    Raises:
        OSError: the kernel refused; nothing is left behind.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    outside = Rtnetlink()
    pod = -1
    try:
        linux.unshare(linux.CLONE_NEWNET)
        try:
            pod = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            _sysctl("ipv4/ip_unprivileged_port_start", "0")
            with contextlib.suppress(OSError):  # groups that a user namespace does not have
                _sysctl("ipv4/ping_group_range", "0 2147483647")
            inside = Rtnetlink()
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            inside.up(1)
        finally:
            linux.setns(home, linux.CLONE_NEWNET)
        outside.veth(veth, "eth0", pod)
        index = socket.if_nametoindex(veth)
        outside.route(index, f"{ip}/32", source=node_ip)
        eth0 = _index(probe, "eth0")
        probe.close()
        inside.up(eth0)
        inside.address(eth0, ip)
        inside.route(eth0, f"{node_ip}/32")
        inside.route(eth0, "0.0.0.0/0", via=node_ip)
        inside.close()
    except OSError:
        if pod >= 0:
            os.close(pod)
        raise
    finally:
        outside.close()
        os.close(home)
    return pod


def socket_in(namespace: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Returns an IPv4 socket that lives in another network namespace.

    Raises:
        OSError: the namespace cannot be entered.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(namespace, linux.CLONE_NEWNET)
        try:
            return socket.socket(socket.AF_INET, kind)
        finally:
            linux.setns(home, linux.CLONE_NEWNET)
    finally:
        os.close(home)


def _index(probe: socket.socket, name: str) -> int:
    """Returns the index of a link in the namespace of `probe`."""
    request = struct.pack("16s16x", name.encode())
    return int(struct.unpack_from("=i", fcntl.ioctl(probe, _SIOCGIFINDEX, request), 16)[0])


def _ifinfo(index: int, flags: int) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, flags)


def _sysctl(name: str, value: str) -> None:
    Path("/proc/sys/net", name).write_text(value, encoding="ascii")

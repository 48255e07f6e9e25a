"""Sockets in the host's network, made for a node that has a network of its own.

as root           the node enters the host's network namespace for a moment (`link.socket_in`)
as another user   that is forbidden; a process that stayed outside makes them and passes them on
"""

from __future__ import annotations

import array
import os
import socket
import stat
import struct

from linkerd.local.node import link

_ANSWER = struct.pack("ll", 2, 0)
_STREAM, _DATAGRAM = b"s", b"d"


class Outside:
    """The host's network.

    Args:
        fd: Its namespace, or a socket to the process that serves `answer`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._served = stat.S_ISSOCK(os.fstat(fd).st_mode)

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Returns a blocking IPv4 socket in the host's network.

        Raises:
            OSError: there is no way to it.
        """
        if not self._served:
            return link.socket_in(self._fd, kind)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _ANSWER)
            request = _DATAGRAM if kind == socket.SOCK_DGRAM else _STREAM
            with theirs, socket.socket(fileno=os.dup(self._fd)) as there:
                socket.send_fds(there, [request], [theirs.fileno()])
            _, fds, _, _ = socket.recv_fds(ours, 16, 1)
        if not fds:
            raise ConnectionError("the process that makes sockets in the host's network is gone")
        return socket.socket(fileno=fds[0])


def answer(there: socket.socket) -> bool:
    """Answers one request that came through a socket; False when nobody can ask any more."""
    data, ancillary, _, _ = there.recvmsg(
        16, socket.CMSG_SPACE(array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
    )
    if not data:
        return False
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    for fd in fds:
        wanted = socket.SOCK_DGRAM if data == _DATAGRAM else socket.SOCK_STREAM
        with socket.socket(fileno=fd) as back, socket.socket(socket.AF_INET, wanted) as made:
            try:
                socket.send_fds(back, [b"+"], [made.fileno()])
            except OSError:  # who asked did not wait
                continue
    return True

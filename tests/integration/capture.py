"""Prints, as one JSON line, what crosses the interfaces of this network namespace until its stdin ends.

    capture.py MARKER IP PORT…

`marker` says whether MARKER's bytes were seen in the clear, `tls` how many TLS application-data
records began a segment to or from these ports of IP, `segments` how many segments with data were seen there.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys

# What one bridge port passes to another never gets as far as the taps of a single protocol.
_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_TLS_APPLICATION_DATA = b"\x17\x03\x03"
_BUFFER_BYTES = 16 * 1024 * 1024
# Linux; the module does not name it. Not bounded by what ordinary users may have.
_SO_RCVBUFFORCE = 33


def main(marker: str, host: str, *ports: str) -> None:
    wanted = {(host, int(port)) for port in ports}
    seen = {"marker": False, "tls": 0, "segments": 0}
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    print("listening", flush=True)
    # What crossed before the end is in the tap's buffer, and is read first.
    while tap in (ready := select.select([tap, sys.stdin], [], [])[0]) or not ready:
        packet, origin = tap.recvfrom(65536)
        if origin[1] != _ETH_P_IP or packet[9] != socket.IPPROTO_TCP:
            continue
        header = (packet[0] & 0x0F) * 4
        source, target = struct.unpack_from(">HH", packet, header)
        addresses = {
            (socket.inet_ntoa(packet[12:16]), source),
            (socket.inet_ntoa(packet[16:20]), target),
        }
        if not wanted & addresses:
            continue
        data = packet[header + (packet[header + 12] >> 4) * 4 :]
        if data:
            seen["segments"] += 1
            seen["marker"] = seen["marker"] or marker.encode() in data
            seen["tls"] += data.startswith(_TLS_APPLICATION_DATA)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])

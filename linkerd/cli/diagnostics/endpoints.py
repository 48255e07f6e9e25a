"""Introspect Linkerd's service discovery state.

Examples:
  linkerd diagnostics endpoints web-svc.emojivoto.svc.cluster.local:80
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import Unavailable, UsageError

if TYPE_CHECKING:
    import grpc.aio

    from linkerd.kube.client import KubeClient

SUMMARY = "Introspect Linkerd's service discovery state"
USAGE = "AUTHORITIES"
_PORT = 8086
_TIMEOUT_S = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "authorities", nargs="+", metavar="AUTHORITY", help="host:port of a service"
    )
    parser.add_argument("--destination-pod", default="", metavar="POD", help="which pod to ask")
    parser.add_argument("--token", default="", help="context token of the request")
    _args.add_output(parser, ("table", "json"))


def run(args: argparse.Namespace) -> int:
    """Prints a table per authority, or JSON."""
    wrong = [word for word in args.authorities if not word.rpartition(":")[2].isdigit()]
    if wrong:
        raise UsageError(f"invalid authority {wrong[0]!r}: expected host:port")
    from linkerd.cli import _connect
    from linkerd.cli.local import _tables

    found = _connect.run(_connect.config(args), lambda kube: _ask(kube, args))
    if args.output == "json":
        print(json.dumps([entry for _, entries in found for entry in entries], indent=2))
        return 0
    if not any(entries for _, entries in found):
        print("No endpoints found.", file=sys.stderr)
        return 0
    tables = []
    for service, entries in found:
        rows = [
            [str(e[k]) for k in ("namespace", "ip", "port", "pod")] + [service] for e in entries
        ]
        if rows:
            tables.append(_tables.aligned([["NAMESPACE", "IP", "PORT", "POD", "SERVICE"], *rows]))
    print("\n".join(tables), end="")
    return 0


async def _ask(
    kube: KubeClient, args: argparse.Namespace
) -> list[tuple[str, list[dict[str, Any]]]]:
    from linkerd.cli import _workloads

    found = []
    async with _workloads.control_plane(
        kube, args.linkerd_namespace, _PORT, pod=args.destination_pod
    ) as channel:
        for authority in args.authorities:
            entries = await _endpoints(channel, authority, args.token)
            found.append((_service(authority), entries))
    return found


async def _endpoints(channel: grpc.aio.Channel, authority: str, token: str) -> list[dict[str, Any]]:
    import grpc.aio

    from linkerd.gen import destination_pb2 as pb
    from linkerd.gen import destination_pb2_grpc

    request = pb.GetDestination(scheme="k8s", path=authority, context_token=token)
    stream = destination_pb2_grpc.DestinationStub(channel).Get(request)
    entries: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            async for update in stream:
                if update.HasField("add"):
                    entries = _added(update.add, _service(authority))
                    break
                if update.HasField("no_endpoints"):
                    break
    except TimeoutError:
        pass  # a service without endpoints may keep silent
    except grpc.aio.AioRpcError as error:
        raise Unavailable(f"{authority}: {error.details()}") from None
    finally:
        stream.cancel()
    return entries


def _added(update: Any, service: str) -> list[dict[str, Any]]:
    import ipaddress

    entries = []
    for address in update.addrs:
        labels = {**update.metric_labels, **address.metric_labels}
        ip = ipaddress.ip_address(address.addr.ip.ipv4)
        entry: dict[str, Any] = {
            "namespace": labels.get("namespace", ""),
            "ip": str(ip),
            "port": address.addr.port,
            "pod": labels.get("pod", ""),
            "service": service,
            "weight": address.weight,
            "labels": labels,
        }
        entries.append(entry)
    return sorted(entries, key=lambda entry: (entry["pod"], entry["ip"]))


def _service(authority: str) -> str:
    parts = authority.rpartition(":")[0].split(".")
    return ".".join(parts[:2])

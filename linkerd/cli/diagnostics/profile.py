"""Introspect Linkerd's discovery state of a service: the first profile that proxies would get.

Examples:
  linkerd diagnostics profile 10.20.2.4:8080
  linkerd diagnostics profile web-svc.emojivoto.svc.cluster.local:80
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING, Any

from linkerd.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Introspect Linkerd's discovery state of a service"
USAGE = "ADDRESS"
_PORT = 8086
_TIMEOUT_S = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("address", metavar="ADDRESS", help="host:port or ip:port")
    parser.add_argument("--destination-pod", default="", metavar="POD", help="which pod to ask")
    parser.add_argument("--token", default="", help="context token of the request")


def run(args: argparse.Namespace) -> int:
    """Prints the profile as JSON."""
    host, _, port = args.address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise UsageError(f"invalid address {args.address!r}: expected host:port")
    from linkerd.cli import _connect

    found = _connect.run(_connect.config(args), lambda kube: _ask(kube, args))
    print(json.dumps(found, indent=2))
    return 0


async def _ask(kube: KubeClient, args: argparse.Namespace) -> Any:
    import grpc.aio
    from google.protobuf import json_format

    from linkerd.cli import _workloads
    from linkerd.gen import destination_pb2 as pb
    from linkerd.gen import destination_pb2_grpc

    async with _workloads.control_plane(
        kube, args.linkerd_namespace, _PORT, pod=args.destination_pod
    ) as channel:
        request = pb.GetDestination(scheme="k8s", path=args.address, context_token=args.token)
        stream = destination_pb2_grpc.DestinationStub(channel).GetProfile(request)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async for message in stream:
                    return json_format.MessageToDict(message, preserving_proto_field_name=True)
        except TimeoutError:
            raise Unavailable(f"{args.address}: no profile within {_TIMEOUT_S:.0f} s") from None
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{args.address}: {error.details()}") from None
        finally:
            stream.cancel()
    raise Unavailable(f"{args.address}: the stream ended without a profile")

"""Introspect Linkerd's policy state of a pod's or a service's port.

Examples:
  linkerd diagnostics policy -n emojivoto po/web-5f86686c4d-58p7k 8080
  linkerd diagnostics policy -n emojivoto svc/web-svc 80
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import Unavailable, UsageError

if TYPE_CHECKING:
    import grpc.aio

    from linkerd.kube.client import KubeClient

SUMMARY = "Introspect Linkerd's policy state"
USAGE = "RESOURCE PORT"
_PORT = 8090
_TIMEOUT_S = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("resource", metavar="RESOURCE", help="po/NAME or svc/NAME")
    parser.add_argument("port", type=int, metavar="PORT")
    parser.add_argument("--destination-pod", default="", metavar="POD", help="which pod to ask")
    parser.add_argument("--token", default="default:diagnostics", help="token of the request")
    _args.add_namespace(parser, "namespace of the resource")
    _args.add_output(parser, ("yaml", "json"), default="yaml")


def run(args: argparse.Namespace) -> int:
    """Prints the policy."""
    from linkerd.cli import _connect
    from linkerd.viz import kinds

    target = kinds.targets([args.resource])[0]
    if target.kind not in ("pod", "service") or not target.name:
        raise UsageError(f"invalid resource type {target.kind}; must be one of Pod or Service")
    if not 0 < args.port <= 65535:
        raise UsageError(f"invalid port {args.port}")
    config = _connect.config(args)
    args.namespace = args.namespace or config.namespace
    policy = _connect.run(config, lambda kube: _ask(kube, args, target.kind, target.name))
    if args.output == "json":
        import json

        print(json.dumps(policy, indent=2))
    else:
        from linkerd.inject import manifest

        print(manifest.render(policy), end="")
    return 0


async def _ask(kube: KubeClient, args: argparse.Namespace, kind: str, name: str) -> Any:
    import grpc.aio
    from google.protobuf import json_format

    from linkerd.cli import _workloads

    async with _workloads.control_plane(
        kube, args.linkerd_namespace, _PORT, pod=args.destination_pod
    ) as channel:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if kind == "pod":
                    message = await _inbound(channel, args, name)
                else:
                    message = await _outbound(kube, channel, args, name)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{kind} {name}: {error.details()}") from None
        except TimeoutError:
            raise Unavailable(f"{kind} {name}: no policy within {_TIMEOUT_S:.0f} s") from None
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


async def _inbound(channel: grpc.aio.Channel, args: argparse.Namespace, name: str) -> Any:
    import json

    from linkerd.gen import inbound_pb2 as pb
    from linkerd.gen import inbound_pb2_grpc

    workload = json.dumps({"ns": args.namespace, "pod": name})
    stub = inbound_pb2_grpc.InboundServerPoliciesStub(channel)
    return await stub.GetPort(pb.PortSpec(workload=workload, port=args.port))


async def _outbound(
    kube: KubeClient, channel: grpc.aio.Channel, args: argparse.Namespace, name: str
) -> Any:
    import ipaddress

    from linkerd.gen import outbound_pb2 as pb
    from linkerd.gen import outbound_pb2_grpc
    from linkerd.kube.resources import SERVICES

    service = await kube.get(SERVICES, name, args.namespace)
    address = service["spec"].get("clusterIP") or "None"
    if address == "None":
        raise UsageError(f"service {name} is headless: ask for one of its pods")
    spec = pb.TrafficSpec(source_workload=args.token)
    spec.addr.ip.ipv4 = int(ipaddress.IPv4Address(address))
    spec.addr.port = args.port
    return await outbound_pb2_grpc.OutboundPoliciesStub(channel).Get(spec)

"""Make a Service for a workload, a pod or another Service.

Examples:
  linkerd local kubectl expose deploy/web --port 80 --target-port 8080 -n shop
  linkerd local kubectl expose pod client --port 8080 --name client-svc
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Make a Service for a workload or a pod"
USAGE = "TYPE NAME | TYPE/NAME"
_TYPES = ["ClusterIP", "NodePort", "LoadBalancer"]
_PROTOCOLS = ["TCP", "UDP", "SCTP"]

Object = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="for instance deploy/web")
    parser.add_argument("--port", type=int, metavar="PORT", help="default: the containers' ports")
    parser.add_argument("--target-port", default="", metavar="PORT", help="default: the same")
    parser.add_argument("--name", default="", metavar="NAME", help="default: the workload's")
    parser.add_argument("--type", choices=_TYPES, default="ClusterIP", metavar="TYPE",
                        help=f"{', '.join(_TYPES)} (default ClusterIP)")  # fmt: skip
    parser.add_argument("--protocol", choices=_PROTOCOLS, default="TCP", metavar="PROTOCOL",
                        help=f"{', '.join(_PROTOCOLS)} (default TCP)")  # fmt: skip
    parser.add_argument("--selector", default="", metavar="LABELS", help="default: the workload's")
    parser.add_argument("-l", "--labels", default="", metavar="LABELS", help="of the Service")
    _args.add_namespace(parser, "namespace of the workload")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Creates it."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects
    from linkerd.kube.resources import SERVICES

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        for one in await _objects.find(kube, args.words, namespace):
            if one.namespace is None:
                raise UsageError(f"cannot expose a {one.resource.kind}")
            body = service(args, await kube.get(one.resource, one.name, one.namespace))
            await kube.create(SERVICES, body, one.namespace)
            print(f"service/{body['metadata']['name']} exposed")
        return 0

    return _connect.run(config, main)


def service(args: argparse.Namespace, body: Object) -> Object:
    """Returns the Service that selects what `body` selects.

    Raises:
        UsageError: no port is known, or it has no labels to be selected by.
    """
    kind, spec, metadata = body["kind"], body.get("spec") or {}, body["metadata"]
    template = spec if kind == "Pod" else (spec.get("template") or {}).get("spec") or {}
    selector: Any = metadata.get("labels") if kind == "Pod" else spec.get("selector")
    if kind not in ("Pod", "Service", "ReplicationController"):
        selector = (selector or {}).get("matchLabels")
    if args.selector:
        selector = _pairs(args.selector)
    if not selector:
        raise UsageError(f"cannot expose a {kind}: it selects nothing by labels")
    numbers = [args.port] if args.port else _ports(spec, template)
    if not numbers:
        raise UsageError("couldn't find port via --port flag or introspection")
    ports = [_port(args, number, named=len(numbers) > 1) for number in numbers]
    made: Object = {"name": args.name or metadata["name"]}
    if labels := _pairs(args.labels) if args.labels else metadata.get("labels"):
        made["labels"] = labels
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": made,
        "spec": {"selector": selector, "ports": ports, "type": args.type},
    }


def _ports(spec: Object, template: Object) -> list[int]:
    containers = template.get("containers") or ()
    found = [port["containerPort"] for one in containers for port in one.get("ports") or ()]
    return found or [port["port"] for port in spec.get("ports") or () if "port" in port]


def _port(args: argparse.Namespace, number: int, *, named: bool) -> Object:
    target = args.target_port or number
    port: Object = {"protocol": args.protocol, "port": number}
    port["targetPort"] = int(target) if str(target).isdigit() else target
    return {"name": f"port-{number}", **port} if named else port


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if any(not sign for _, sign, _ in pairs):
        raise UsageError(f"{text}: expected KEY=VALUE,…")
    return {key: value for key, _, value in pairs}

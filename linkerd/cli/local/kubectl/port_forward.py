"""Carry local connections to a port of a pod, of a workload's pod or of a service's pod.

Example:
  linkerd local kubectl -n emojivoto port-forward svc/web-svc 8080:80
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import LocalError, UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Carry local connections to a port of a pod"
USAGE = "POD|TYPE/NAME [LOCAL:]PORT..."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("pod", metavar="POD", help="pod, or svc/web for one of its pods")
    parser.add_argument("ports", nargs="+", metavar="PORT", help="8080:80, 80, or :80 for any")
    parser.add_argument("--address", default="localhost", metavar="ADDRESS", help="to listen on")
    _args.add_namespace(parser, "namespace of the pod")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Forwards until Ctrl-C."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    pairs = [_pair(text) for text in args.ports]
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        from linkerd.cli.local import _kinds, _pods
        from linkerd.kube import streams
        from linkerd.kube.resources import SERVICES

        pod = await _pods.find(kube, args.pod, namespace)
        service = None
        kind, slash, name = args.pod.partition("/")
        if slash and (await _kinds.resolve(kube, kind)) == SERVICES:
            service = await kube.get(SERVICES, name, namespace)
        host = "127.0.0.1" if args.address == "localhost" else args.address
        async with contextlib.AsyncExitStack() as stack:
            for local, wanted in pairs:
                port = target(wanted, service, pod)
                own = int(wanted) if local is None and wanted.isdigit() else local or 0
                forward = streams.port_forward(
                    kube, pod["metadata"]["name"], namespace, port, host=host, local_port=own
                )
                try:
                    _, bound = await stack.enter_async_context(forward)
                except OSError as error:
                    raise LocalError(f"cannot listen on {host}:{own}: {error.strerror}") from None
                print(f"Forwarding from {host}:{bound} -> {port}", flush=True)
            await asyncio.Event().wait()
        return 0

    return _connect.run(config, main)


def _pair(text: str) -> tuple[int | None, str]:
    local, colon, port = text.rpartition(":")
    if not port or (local and not local.isdigit()):
        raise UsageError(f"invalid port {text!r}", hint="write 8080:80, 80 or :80")
    return (int(local or 0) if colon else None), port


def target(wanted: str, service: dict[str, Any] | None, pod: dict[str, Any]) -> int:
    """Returns the pod's port that a number or name means; a service's is led to its targetPort.

    Raises:
        UsageError: there is no such port.
    """
    if service is not None:
        for port in service["spec"].get("ports") or ():
            if wanted in (str(port["port"]), port.get("name")):
                wanted = str(port.get("targetPort") or port["port"])
                break
        else:
            name = service["metadata"]["name"]
            raise UsageError(f"Service {name} does not have a service port {wanted}")
    if wanted.isdigit():
        return int(wanted)
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == wanted:
                return int(port["containerPort"])
    raise UsageError(f"pod {pod['metadata']['name']} has no port {wanted}")

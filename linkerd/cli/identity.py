"""Display the certificate(s) of one or more selected pod(s).

Examples:
  linkerd identity -n emojivoto -l app=web-svc
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import LinkerdError, UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Display the certificate(s) of one or more selected pod(s)"
USAGE = "[PODS]"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("pods", nargs="*", metavar="POD", help="name of a pod")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    _args.add_namespace(parser, "namespace of the pods")


def run(args: argparse.Namespace) -> int:
    """Prints each pod's certificate; 1 when one could not be fetched."""
    if not args.pods and not args.selector:
        raise UsageError("Provide the pod name argument or use the selector flag")
    from linkerd.cli import _connect

    config = _connect.config(args)
    namespace = args.namespace or config.namespace
    return _connect.run(config, lambda kube: _show(kube, args, namespace))


async def _show(kube: KubeClient, args: argparse.Namespace, namespace: str) -> int:
    from linkerd.cli import _certificates
    from linkerd.kube.resources import PODS

    if args.pods:
        pods = [await kube.get(PODS, name, namespace) for name in args.pods]
    else:
        pods = await kube.list(PODS, namespace, label_selector=args.selector)
    if not pods:
        raise UsageError(f"no pods found in {namespace}")
    failed = 0
    for number, pod in enumerate(pods, 1):
        name = pod["metadata"]["name"]
        print(f"\nPOD {name} ({number} of {len(pods)})\n")
        try:
            certificate = await _certificates.of_pod(kube, pod)
        except LinkerdError as error:
            failed = 1
            print(f"Error: {error.message}", file=sys.stderr)
            if error.hint:
                print(error.hint, file=sys.stderr)
        else:
            print(_certificates.as_text(certificate))
    return failed

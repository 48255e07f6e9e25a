"""Ask whether you, or someone else, may do something; the exit code is the answer too.

Examples:
  linkerd local kubectl auth can-i create pods -n emojivoto
  linkerd local kubectl auth can-i watch pods.tap.linkerd.io -A --as system:serviceaccount:linkerd-viz:web
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Ask whether an action is allowed"
USAGE = "VERB TYPE[/NAME] | VERB /PATH"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("verb", metavar="VERB", help="get, list, create, … or *")
    parser.add_argument("what", metavar="TYPE", help="for instance pods, deploy/web or /metrics")
    parser.add_argument("--subresource", default="", metavar="NAME", help="for instance log")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit code answers")
    _args.add_namespace(parser, "namespace where", all=True)
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints yes or no; 0 is yes."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    config = _cluster.config(args)
    namespace = _connect.namespace(args, config, all=True)

    async def main(kube: KubeClient) -> bool:
        spec = await _question(kube, args, namespace)
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": spec,
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer: dict[str, Any] = await kube.request("POST", path, body=body)
        return bool((answer.get("status") or {}).get("allowed"))

    allowed = _connect.run(config, main)
    if not args.quiet:
        print("yes" if allowed else "no")
    return 0 if allowed else 1


async def _question(
    kube: KubeClient, args: argparse.Namespace, namespace: str | None
) -> dict[str, Any]:
    import sys

    from linkerd.cli.local import _kinds

    if args.what.startswith("/"):
        return {"nonResourceAttributes": {"verb": args.verb, "path": args.what}}
    kind, _, name = args.what.partition("/")
    group, plural, namespaced = "", kind, True
    if kind == "*":
        group = "*"
    else:
        try:
            found = await _kinds.resolve(kube, kind)
            group, plural, namespaced = found.group, found.plural, found.namespaced
        except UsageError as error:
            if not args.quiet:
                print(f"Warning: {error.message}", file=sys.stderr)
    attributes = {"verb": args.verb, "group": group, "resource": plural, "name": name,
                  "subresource": args.subresource,
                  "namespace": namespace or "" if namespaced else ""}  # fmt: skip
    return {"resourceAttributes": {key: value for key, value in attributes.items() if value}}

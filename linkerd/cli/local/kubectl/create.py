"""Create objects from files, or a namespace, deployment or config map from flags.

Examples:
  linkerd local kubectl create ns emojivoto
  linkerd local kubectl create deployment web --image hashicorp/http-echo --port 8080
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Create objects from files or flags"
USAGE = "-f FILE | namespace NAME | deployment NAME --image IMAGE | configmap NAME"
_KINDS = {
    "ns": "namespace", "namespace": "namespace", "deploy": "deployment",
    "deployment": "deployment", "cm": "configmap", "configmap": "configmap",
    "sa": "serviceaccount", "serviceaccount": "serviceaccount",
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="*", metavar="TYPE NAME", help="for instance ns emojivoto")
    parser.add_argument("-f", "--filename", action="append", default=[], metavar="FILE",
                        help="file, folder, - or https address")  # fmt: skip
    parser.add_argument("--image", default="", help="of a deployment's container")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="of a deployment")
    parser.add_argument("--port", type=int, metavar="PORT", help="that a deployment's pods serve")
    parser.add_argument("--from-literal", action="append", default=[], metavar="KEY=VALUE",
                        help="entry of a config map; may be repeated")  # fmt: skip
    parser.add_argument("--dry-run", choices=["none", "client"], default="none", metavar="HOW",
                        help="client: print what would be created")  # fmt: skip
    parser.add_argument("-o", "--output", choices=["yaml", "name"], default="name", metavar="FORMAT",
                        help="with --dry-run, one of: name, yaml")  # fmt: skip
    _args.add_namespace(parser, "namespace of objects that name none")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Creates them and prints their names."""
    from linkerd.cli import _connect, _manifests
    from linkerd.cli.local import _cluster, _objects

    bodies = [body for source in args.filename for body in _manifests.objects(source)]
    if args.words:
        bodies.append(manifest(args))
    if not bodies:
        raise UsageError("expected a type and a name, or -f FILE")
    if args.dry_run == "client":
        from linkerd.inject.manifest import render

        for body in bodies:
            name = f"{body['kind'].lower()}/{body['metadata']['name']} created (dry run)\n"
            print(render(body) if args.output == "yaml" else name, end="")
        return 0
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        for body in bodies:
            one = await _objects.of(kube, body, namespace)
            await kube.create(one.resource, body, one.namespace)
            print(f"{one} created", flush=True)
        return 0

    return _connect.run(config, main)


def manifest(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the object that type, name and flags describe.

    Raises:
        UsageError: the type is none of ours, or the name or image is missing.
    """
    kind = _KINDS.get(args.words[0])
    if kind is None:
        raise UsageError(
            f"cannot create a {args.words[0]} from flags", hint="write a file: -f FILE"
        )
    if len(args.words) != 2:
        raise UsageError(f"expected one name after {args.words[0]}")
    name = args.words[1]
    metadata: dict[str, Any] = {"name": name}
    if kind == "deployment":
        if not args.image:
            raise UsageError('required flag(s) "image" not set')
        return _deployment(args, name)
    if kind == "configmap":
        pairs = [pair.partition("=") for pair in args.from_literal]
        data = {key: value for key, _, value in pairs}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    kinds = {"namespace": "Namespace", "serviceaccount": "ServiceAccount"}
    return {"apiVersion": "v1", "kind": kinds[kind], "metadata": metadata}


def _deployment(args: argparse.Namespace, name: str) -> dict[str, Any]:
    labels = {"app": name}
    plain = args.image.rpartition("/")[2].partition(":")[0]
    container: dict[str, Any] = {"name": plain, "image": args.image}
    if args.rest:
        container["command"] = args.rest
    if args.port:
        container["ports"] = [{"containerPort": args.port}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }

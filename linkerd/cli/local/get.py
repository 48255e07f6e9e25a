"""Show objects of the local cluster, as tables made by its API server.

Examples:
  linkerd local get pods -A
  linkerd local get deploy web -n emojivoto -o yaml
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Show objects of the local cluster"
USAGE = "TYPE [NAME...]"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE [NAME]", help="for instance pods")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    _args.add_namespace(parser, "namespace of the objects", all=True)
    _args.add_output(parser, ("table", "wide", "yaml", "json", "name"))
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the objects."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    config = _cluster.config(args)
    namespace = _connect.namespace(args, config, all=True)
    kinds, names = _split(args.words)
    if names and (args.all_namespaces or args.selector):
        raise UsageError("a name cannot be given together with -A or -l")

    async def main(kube: KubeClient) -> bool:
        from linkerd.cli.local import _kinds

        shown = False
        for kind in kinds:
            resource = await _kinds.resolve(kube, kind)
            for name in names or [""]:
                path = resource.path(namespace, name)
                params = {"labelSelector": args.selector} if args.selector else {}
                accept = _TABLE if args.output in ("table", "wide") else "application/json"
                answer = await kube.request("GET", path, params, accept=accept)
                if accept != _TABLE:
                    answer = _as_list(answer, resource.api_version, resource.kind)
                shown |= _show(answer, args, many=len(kinds) > 1)
        return shown

    if not _connect.run(config, main):
        where = "" if namespace is None else f" in {namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
    return 0


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "/" in words[0]:
        pairs = [word.partition("/") for word in words]
        if len({kind for kind, _, _ in pairs}) > 1:
            raise UsageError("names of several types cannot be mixed")
        return [pairs[0][0]], [name for _, _, name in pairs]
    return words[0].split(","), words[1:]


def _as_list(answer: dict[str, Any], api_version: str, kind: str) -> dict[str, Any]:
    """The answer as kubectl prints it: a List of whole objects, without managed fields."""
    items = answer.get("items")
    if items is None:
        return _without_managers(answer)
    whole = [{"apiVersion": api_version, "kind": kind, **_without_managers(i)} for i in items]
    return {"apiVersion": "v1", "kind": "List", "items": whole}


def _without_managers(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    return {**body, "metadata": metadata}


def _show(answer: dict[str, Any], args: argparse.Namespace, *, many: bool) -> bool:
    from linkerd.cli.local import _tables

    if answer.get("kind") == "Table":
        options = {"wide": args.output == "wide", "namespaces": args.all_namespaces}
        text = _tables.render(answer, **options)
        print(text + ("\n" if many and text else ""), end="")
        return bool(text)
    items = answer.get("items", [answer])
    if args.output == "name":
        for item in items:
            print(f"{item['kind'].lower()}/{item['metadata']['name']}")
    elif args.output == "json":
        import json

        print(json.dumps(answer, indent=4))
    else:
        from linkerd.inject import manifest

        print(manifest.render(answer), end="")
    return bool(items)

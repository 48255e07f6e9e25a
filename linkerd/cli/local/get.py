"""Show objects of the local cluster, as tables made by its API server.

Examples:
  linkerd local get pods -A
  linkerd local get deploy web -n emojivoto -o yaml
  linkerd local get pods -n emojivoto --watch
  linkerd local get svc web-svc -n emojivoto -o jsonpath='{.spec.clusterIP}'
  linkerd local get events -n emojivoto --sort-by .lastTimestamp
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.kube.resources import Resource

SUMMARY = "Show objects of the local cluster"
USAGE = "TYPE [NAME...]"
_TABLES = ("table", "wide")
_ALL = (
    "pods",
    "replicationcontrollers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "horizontalpodautoscalers",
    "cronjobs",
    "jobs",
)
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE [NAME]", help="for instance pods")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument("--field-selector", default="", metavar="SELECTOR",
                        help="for instance metadata.name=web")  # fmt: skip
    parser.add_argument("-w", "--watch", action="store_true", help="go on with every change")
    parser.add_argument("--sort-by", default="", metavar="PATH", help="for instance .metadata.name")
    parser.add_argument("--no-headers", action="store_true", help="only the rows of a table")
    parser.add_argument("--show-labels", action="store_true", help="labels as the last column")
    _args.add_namespace(parser, "namespace of the objects", all=True)
    parser.add_argument("-o", "--output", default="table", metavar="FORMAT",
                        help="table (the default), wide, yaml, json, name, jsonpath=TEMPLATE or "
                        "custom-columns=TITLE:PATH,…")  # fmt: skip
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
    if args.watch and (len(kinds) > 1 or len(names) > 1 or args.output not in _TABLES):
        raise UsageError("--watch shows a table of one type or one object")
    show = _shower(args, many=len(kinds) > 1)

    async def main(kube: KubeClient) -> bool:
        from linkerd.cli.local import _kinds

        shown = False
        for kind in kinds:
            resource = await _kinds.resolve(kube, kind)
            for name in names or [""]:
                answer = await _asked(kube, resource, namespace, name, args)
                _sort(answer, args.sort_by)
                shown |= show(_with_kind(answer, resource) if len(kinds) > 1 else answer)
                if args.watch:
                    await _follow(kube, resource, namespace, name, args, show)
        return shown

    if not _connect.run(config, main):
        where = "" if namespace is None else f" in {namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
    return 0


async def _asked(
    kube: KubeClient, resource: Resource, namespace: str | None, name: str, args: argparse.Namespace
) -> dict[str, Any]:
    selectors = {"labelSelector": args.selector, "fieldSelector": args.field_selector}
    params = {} if name else {key: value for key, value in selectors.items() if value}
    accept = _TABLE if args.output in _TABLES else "application/json"
    if args.sort_by and accept == _TABLE:
        params["includeObject"] = "Object"
    answer: dict[str, Any] = await kube.request(
        "GET", resource.path(namespace, name), params, accept=accept
    )
    if accept == _TABLE:
        return answer
    return _as_list(answer, resource.api_version, resource.kind)


async def _follow(
    kube: KubeClient,
    resource: Resource,
    namespace: str | None,
    name: str,
    args: argparse.Namespace,
    show: Callable[[dict[str, Any]], bool],
) -> None:
    """Shows an object's row again whenever the object changed; for ever."""
    from linkerd.errors import NotFound
    from linkerd.kube.watch import Applied

    fields = f"metadata.name={name}" if name else args.field_selector
    async for event in kube.watch(
        resource, namespace, label_selector=args.selector, field_selector=fields
    ):
        if isinstance(event, Applied):
            metadata = event.object["metadata"]
            with contextlib.suppress(NotFound):
                where = metadata.get("namespace")
                show(await _asked(kube, resource, where, metadata["name"], args))


def _sort(answer: dict[str, Any], path: str) -> None:
    """Orders rows or items by what is at a path; those without come first."""
    if not path:
        return
    from linkerd.cli import _jsonpath

    fill = _jsonpath.compile(path)

    def key(entry: dict[str, Any]) -> tuple[float, str]:
        found = fill(entry.get("object", entry))
        number = found.replace(".", "", 1).isdigit()
        return (float(found), "") if number else (0.0, found)

    for name in ("rows", "items"):
        answer.get(name, []).sort(key=key)


def _with_kind(answer: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """A table among those of other kinds names its objects `deployment.apps/web`."""
    from linkerd.cli.local import _objects

    if "rows" in answer:
        shown = _objects.kind_of(resource.group, resource.kind)
        titles = [column["name"] for column in answer["columnDefinitions"]]
        at = titles.index("Name")
        for row in answer["rows"]:
            row["cells"][at] = f"{shown}/{row['cells'][at]}"
    return answer


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "/" in words[0]:
        pairs = [word.partition("/") for word in words]
        if len({kind for kind, _, _ in pairs}) > 1:
            raise UsageError("names of several types cannot be mixed")
        return [pairs[0][0]], [name for _, _, name in pairs]
    kinds = words[0].split(",")
    return list(_ALL) if kinds == ["all"] else kinds, words[1:]


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


def _shower(args: argparse.Namespace, *, many: bool) -> Callable[[dict[str, Any]], bool]:
    """Returns what prints an answer as `-o` asks, and tells whether there was anything.

    Raises:
        UsageError: there is no such format.
    """
    if args.output in _TABLES:
        return _table_shower(args, many=many)
    if args.output in ("name", "json", "yaml"):
        return functools.partial(_show_objects, output=args.output)
    kind, equals, template = args.output.partition("=")
    if kind not in ("jsonpath", "custom-columns") or not equals:
        raise UsageError(
            f"output format {args.output!r} not recognized:"
            " use table, wide, yaml, json, name, jsonpath=… or custom-columns=…"
        )
    if kind == "custom-columns":
        return _column_shower(template, header=not args.no_headers)
    from linkerd.cli import _jsonpath

    fill = _jsonpath.compile(template)

    def filled(answer: dict[str, Any]) -> bool:
        print(fill(answer), end="")
        return True

    return filled


def _column_shower(columns: str, *, header: bool) -> Callable[[dict[str, Any]], bool]:
    from linkerd.cli import _jsonpath
    from linkerd.cli.local import _tables

    pairs = [column.partition(":") for column in columns.split(",")]
    if not all(colon and path for _, colon, path in pairs):
        raise UsageError(f"custom-columns={columns}: expected TITLE:PATH,…")
    titles = [title for title, _, _ in pairs]
    fills = [_jsonpath.compile(path) for _, _, path in pairs]

    def show(answer: dict[str, Any]) -> bool:
        items = answer.get("items", [answer])
        rows = [[fill(item) or "<none>" for fill in fills] for item in items]
        text = _tables.aligned([titles, *rows])
        print(text if header else text.partition("\n")[2], end="")
        return bool(rows)

    return show


def _table_shower(args: argparse.Namespace, *, many: bool) -> Callable[[dict[str, Any]], bool]:
    from linkerd.cli.local import _tables

    options = {
        "wide": args.output == "wide",
        "namespaces": args.all_namespaces,
        "labels": args.show_labels,
    }
    widths: list[int] = []

    def show(answer: dict[str, Any]) -> bool:
        header = not args.no_headers and (many or not widths)
        text = _tables.render(answer, header=header, widths=widths, **options)
        print(text + ("\n" if many and text else ""), end="", flush=True)
        if many:
            widths.clear()
        return bool(text)

    return show


def _show_objects(answer: dict[str, Any], *, output: str) -> bool:
    from linkerd.cli.local import _objects

    items = answer.get("items", [answer])
    if output == "name":
        for item in items:
            group = item["apiVersion"].rpartition("/")[0]
            print(f"{_objects.kind_of(group, item['kind'])}/{item['metadata']['name']}")
    elif output == "json":
        import json

        print(json.dumps(answer, indent=4))
    else:
        from linkerd.inject import manifest

        print(manifest.render(answer), end="")
    return bool(items)

"""Show one object of the local cluster whole, and what happened to it.

Example:
  linkerd local describe pod web-5f86686c4d-58p7k -n emojivoto
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Show one object of the local cluster whole, and its events"
USAGE = "TYPE NAME | TYPE/NAME"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE NAME", help="for instance pod web")
    _args.add_namespace(parser, "namespace of the object")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints its YAML and a table of its events."""
    words = args.words[0].split("/", 1) if len(args.words) == 1 else args.words
    if len(words) != 2:
        raise UsageError("expected TYPE NAME or TYPE/NAME")
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _tables
    from linkerd.inject import manifest

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    body, events = _connect.run(config, lambda kube: _read(kube, words[0], words[1], namespace))
    body["metadata"].pop("managedFields", None)
    print(manifest.render(body), end="")
    if events:
        rows = [[_text(event, key) for key in ("lastTimestamp", "type", "reason", "message")]
                for event in events]  # fmt: skip
        print(
            "---\n" + _tables.aligned([["LAST SEEN", "TYPE", "REASON", "MESSAGE"], *rows]), end=""
        )
    return 0


async def _read(
    kube: KubeClient, kind: str, name: str, namespace: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from linkerd.cli.local import _kinds
    from linkerd.kube.resources import EVENTS

    resource = await _kinds.resolve(kube, kind)
    body = await kube.get(resource, name, namespace)
    events = await kube.list(EVENTS, namespace if resource.namespaced else None)
    own = [
        one for one in events if one.get("involvedObject", {}).get("uid") == body["metadata"]["uid"]
    ]
    return body, sorted(own, key=lambda one: _text(one, "lastTimestamp"))


def _text(event: dict[str, Any], key: str) -> str:
    return str(event.get(key) or "").replace("\n", " ")

"""What can stand next on a command line; the code that `completion` prints asks this.

linkerd __complete viz stat deploy -n em   →   emojivoto
"""

from __future__ import annotations

import argparse
import asyncio

from linkerd.cli import _args, _tree
from linkerd.errors import LinkerdError

_TIMEOUT_S = 2.0
_KINDS_OF = {("viz", name) for name in ("authz", "edges", "routes", "stat", "tap", "top")}


def candidates(words: list[str]) -> list[str]:
    """Returns the sorted words that may replace the last of `words`, which is begun or empty."""
    *before, begun = words or [""]
    found = _tree.find(before)
    if not _tree.exists(found.path):
        return []
    if _tree.is_group(found.path):
        offered = _tree.children(found.path)
        return [word for word in offered if word.startswith(begun)]
    parser = _args.parser_of(found.path, _tree.load(found.path))
    known = {name: action for action in parser._actions for name in action.option_strings}
    last = known.get(before[-1]) if before else None
    if last is not None and last.nargs != 0 and last.const is None:
        offered = _values(last, parser, found.flags)
    elif begun.startswith("-"):
        offered = [name for name in known if name.startswith("--")]
    elif found.path in _KINDS_OF:
        from linkerd.viz import kinds

        offered = [kind.name for kind in kinds.KINDS.values()]
    else:
        offered = []
    return sorted(word for word in offered if word.startswith(begun))


def _values(flag: argparse.Action, parser: argparse.ArgumentParser, given: list[str]) -> list[str]:
    if flag.choices:
        return [str(choice) for choice in flag.choices]
    names = " ".join(flag.option_strings)
    try:
        if "namespace" in names:
            args, _ = parser.parse_known_args(given[:-1])
            return _namespaces(args)
    except (LinkerdError, TimeoutError):
        pass  # nothing to offer without a cluster
    return []


def _namespaces(args: argparse.Namespace) -> list[str]:
    from linkerd.cli import _connect
    from linkerd.kube.client import KubeClient
    from linkerd.kube.resources import NAMESPACES

    async def read(kube: KubeClient) -> list[str]:
        async with asyncio.timeout(_TIMEOUT_S):
            return [body["metadata"]["name"] for body in await kube.list(NAMESPACES)]

    return _connect.run(_connect.config(args), read)

"""Change an object in your editor ($KUBE_EDITOR, $EDITOR, else vi).

Example:
  linkerd local kubectl edit deploy/web -n emojivoto
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Change an object in your editor"
USAGE = "TYPE NAME | TYPE/NAME"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="for instance deploy/web")
    _args.add_namespace(parser, "namespace of the object")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Replaces the object with what the editor leaves; a version that changed meanwhile is kept."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects
    from linkerd.inject import manifest

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        found = await _objects.find(kube, args.words, namespace)
        if len(found) != 1:
            raise UsageError("expected one object")
        one = found[0]
        body = await kube.get(one.resource, one.name, one.namespace)
        body["metadata"].pop("managedFields", None)
        before = manifest.render(body)
        after = _edited(before)
        if after == before:
            print("Edit cancelled, no changes made.")
            return 0
        documents: list[dict[str, Any]] = [each for each in manifest.parse_all(after) if each]
        if len(documents) != 1:
            raise UsageError("expected one document")
        await kube.replace(one.resource, documents[0])
        print(f"{one} edited")
        return 0

    return _connect.run(config, main)


def _edited(text: str) -> str:
    editor = os.environ.get("KUBE_EDITOR") or os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w+", prefix="linkerd-edit-", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        try:
            done = subprocess.run([*shlex.split(editor), file.name], check=False)
        except OSError as error:
            raise UsageError(f"editor {editor}: {error.strerror}", hint="set EDITOR") from None
        if done.returncode:
            raise UsageError(f"editor {editor} ended with exit code {done.returncode}")
        with open(file.name, encoding="utf-8") as changed:  # editors replace the file
            return changed.read()

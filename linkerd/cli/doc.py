"""Output a reference of all commands, with their flags, and of the annotations, in YAML."""

from __future__ import annotations

import argparse
from typing import Any

SUMMARY = "Output a reference of all commands and annotations in YAML"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares no flags."""


def run(args: argparse.Namespace) -> int:
    """Prints the reference."""
    from linkerd.inject import keys, manifest

    names = {*keys.INHERITED, *keys.NATIVE_SIDECAR, keys.WAIT_BEFORE_EXIT}
    annotations = [{"Name": name} for name in sorted(names)]
    body = {"CLIReference": list(_commands(())), "AnnotationsReference": annotations}
    print(manifest.render(body), end="")
    return 0


def _commands(path: tuple[str, ...]) -> list[dict[str, Any]]:
    from linkerd.cli import _tree

    found: list[dict[str, Any]] = []
    for name in _tree.children(path):
        here = (*path, name)
        found += _commands(here) if _tree.is_group(here) else [_command(here)]
    return found


def _command(path: tuple[str, ...]) -> dict[str, Any]:
    from linkerd.cli import _args, _tree

    module = _tree.load(path)
    options = [
        {
            "name": names[-1].lstrip("-"),
            "shorthand": names[0].lstrip("-") if len(names) > 1 else "",
            "usage": help,
        }
        for names, help in _args.options(path, module)
    ]
    name = " ".join(path)
    text = (module.__doc__ or "").strip()
    return {"Name": name, "Synopsis": module.SUMMARY, "Description": text, "Options": options}

"""Flags that become chart values: Linkerd's own by the tables of `install.flags`, Helm's as Helm's.

Source: linkerd2 cli/cmd/options.go, pkg/flags (names); helm `--set`, `--set-string`, `--set-file`,
`--values` (order: files first, then sets, later ones win).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args, _gone
from linkerd.errors import RenderError, UsageError

_SHORT = {"proxy-version": ("-v",)}

if TYPE_CHECKING:
    from linkerd.install.flags import Flag


def add_flags(parser: argparse.ArgumentParser, flags: Iterable[Flag], *switches: str) -> None:
    """Adds the flags of a table, and boolean ones by name; absent ones stay absent."""
    group = parser.add_argument_group("Flags for chart values")
    for flag in flags:
        _add(group, flag.name, flag.kind, f"value {flag.path}")
    for name in switches:
        _add(group, name, bool, "")
    _add(group, "registry", str, "registry of the images")
    for old, new in _gone.DEPRECATED.items():
        _add(group, old, str, f"deprecated: use --{new}")


def _add(group: argparse._ArgumentGroup, name: str, kind: type, help: str) -> None:
    options: dict[str, Any] = {"dest": f"value:{name}", "default": None, "help": help}
    if kind is bool:
        group.add_argument(
            f"--{name}", nargs="?", const=True, type=_args.boolean, metavar="", **options
        )
    else:
        names = [*_SHORT.get(name, ()), f"--{name}"]
        group.add_argument(*names, type=kind, metavar=name.rpartition("-")[2].upper(), **options)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Returns flag name → value of those that the user gave, old names as the new ones."""
    found = {key.partition(":")[2]: value for key, value in vars(args).items() if ":" in key}
    for old, new in _gone.DEPRECATED.items():
        value = found.pop(old, None)
        if value is not None:
            notice = f"Flag --{old} has been deprecated, use --{new} instead"
            print(notice, file=sys.stderr)
            found[new] = found.get(new) or value
    return {name: value for name, value in found.items() if value is not None}


def add_helm_flags(parser: argparse.ArgumentParser) -> None:
    """Adds Helm's flags for values, and `-o`."""
    for name, help in (
        ("set", "key=value of the chart"),
        ("set-string", "key=text of the chart"),
        ("set-file", "key=path of a file with the value"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], metavar="K=V", help=help)
    parser.add_argument(
        "-f", "--values", action="append", default=[], metavar="FILE", help="YAML file with values"
    )
    parser.add_argument(
        "-o", "--output", choices=["yaml", "json"], default="yaml", metavar="FORMAT",
        help="yaml or json (default yaml)",
    )  # fmt: skip


def helm_values(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of Helm's flags, merged.

    Raises:
        UsageError: a file or an assignment cannot be read.
    """
    from linkerd.inject import manifest
    from linkerd.install import charts, helmset

    merged: dict[str, Any] = {}
    for path in args.values:
        try:
            body = manifest.parse(read(path))
        except RenderError as error:
            raise UsageError(f"{path}: {error.message}") from None
        if body is not None and not isinstance(body, Mapping):
            raise UsageError(f"{path} is not a mapping of values")
        merged = charts.merge_values(merged, body or {}, keep_null=True)
    for text in args.set:
        helmset.apply(merged, text)
    for text in args.set_string:
        helmset.apply(merged, text, strings=True)
    for text in args.set_file:
        key, _, path = text.partition("=")
        helmset.assign(merged, key, read(path))
    return merged


def read(path: str) -> str:
    """Returns the text of a file that a flag names.

    Raises:
        UsageError: it cannot be read.
    """
    from linkerd.cli import _manifests

    return _manifests.texts(path)[0]


def print_manifest(text: str, output: str) -> None:
    """Prints YAML as it is, or one JSON document per object."""
    if output == "yaml":
        print(text, end="")
        return
    from linkerd.inject import manifest

    for body in manifest.parse_all(text):
        if body:
            print(json.dumps(body))

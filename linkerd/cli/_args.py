"""Flags: one parser per command, made only for the command that runs.

Errors and help read like Linkerd's (cobra's) because scripts and eyes know those.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

from linkerd.cli import _gone, _tree
from linkerd.errors import UsageError

_NAMESPACE = re.compile(r"[a-zA-Z0-9-]+")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError in cobra's words and prints help in its order."""

    def error(self, message: str) -> NoReturn:
        """Raises the error instead of leaving the process."""
        raise UsageError(_in_cobras_words(message), hint=f"run '{self.prog} --help' for usage")

    def format_help(self) -> str:
        """Returns description, usage, flags of the command, flags of all commands."""
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        formatter.add_usage(
            self.usage, self._actions, self._mutually_exclusive_groups, "Usage:\n  "
        )
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        return formatter.format_help()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with a wide first column, as wide as the terminal is.

    argparse makes a formatter per flag; it must not look up the terminal's size each time, nor
    import what it does that with.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=_width())

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return "" if action.nargs == "?" else super()._format_args(action, default_metavar)


@functools.cache
def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    try:
        return (int(columns) if columns.isdigit() else os.get_terminal_size().columns) - 2
    except OSError:
        return 78


def parse(path: tuple[str, ...], module: ModuleType, words: list[str]) -> argparse.Namespace:
    """Returns the command's arguments from the words that are not its name.

    Raises:
        UsageError: a flag or argument is unknown, missing or malformed.
    """
    parser = parser_of(path, module)
    args, unknown = parser.parse_known_intermixed_args(list(_like_gos(parser, words)))
    for word in unknown:
        if word.startswith("--"):
            flag = word.partition("=")[0]
            if flag in _gone.FLAGS:
                raise UsageError(f"the {flag} flag is no longer supported: {_gone.FLAGS[flag]}")
            parser.error(f"unknown flag: {flag}")
        if word.startswith("-") and word != "-":
            parser.error(f"unknown shorthand flag: {word[1]!r} in {word}")
    if unknown:
        parser.error(f"unexpected argument {unknown[0]!r}")
    for name in ("linkerd_namespace", "cni_namespace"):
        if not _NAMESPACE.fullmatch(getattr(args, name)):
            raise UsageError(f"{getattr(args, name)} is not a valid namespace")
    return args


def _like_gos(parser: Parser, words: list[str]) -> Iterator[str]:
    """Yields the words as argparse takes them: Go's `--ha=true` and `--native-sidecar web.yml`."""
    for word in words:
        name, equals, value = word.partition("=")
        action = parser._option_string_actions.get(name)
        if equals and isinstance(action, argparse._StoreTrueAction):
            if _boolean(value, name):
                yield name
        elif not equals and action is not None and action.nargs == "?":
            yield f"{word}=true"
        else:
            yield word


def help_text(path: tuple[str, ...], module: ModuleType) -> str:
    """Returns the text of `--help` of a command or a group."""
    if not _tree.is_group(path):
        return parser_of(path, module).format_help()
    prog = " ".join(("linkerd", *path))
    names = _tree.children(path)
    width = max(map(len, names)) + 2
    listing = "".join(f"  {name:{width}}{_tree.load((*path, name)).SUMMARY}\n" for name in names)
    return (
        f"{module.SUMMARY}\n\nUsage:\n  {prog} [command]\n\nAvailable Commands:\n{listing}\n"
        f'{_flags_only()}\nUse "{prog} [command] --help" for more information about a command.\n'
    )


def options(path: tuple[str, ...], module: ModuleType) -> list[tuple[Sequence[str], str]]:
    """Returns the names and the help of each of a command's own flags."""
    parser = parser_of(path, module)
    shared = {id(action) for action in parser._action_groups[-1]._group_actions}
    return [
        (action.option_strings, action.help or "")
        for action in parser._actions
        if action.option_strings and id(action) not in shared
    ]


def add_output(
    parser: argparse.ArgumentParser, formats: Sequence[str], default: str = "table"
) -> None:
    """Adds `-o/--output` with the formats that the command can print."""
    parser.add_argument(
        "-o", "--output", choices=list(formats), default=default, metavar="FORMAT",
        help=f"output format, one of: {', '.join(formats)} (default {default})",
    )  # fmt: skip


def add_namespace(parser: argparse.ArgumentParser, help: str, *, all: bool = False) -> None:
    """Adds `-n/--namespace` and, with `all`, `-A/--all-namespaces`."""
    parser.add_argument("-n", "--namespace", default=None, metavar="NS", help=help)
    if all:
        parser.add_argument(
            "-A", "--all-namespaces", action="store_true", help="look at all namespaces"
        )


def add_boolean(
    parser: argparse._ActionsContainer, *names: str, default: bool | None = False, **options: Any
) -> None:
    """Adds a flag that may be given bare or as `=true` and `=false`; never takes the next word."""
    flag = names[-1]
    parser.add_argument(
        *names, nargs="?", const=True, type=lambda text: _boolean(text, flag), default=default,
        **options,
    )  # fmt: skip


def duration(text: str) -> float:
    """Returns the seconds of a Go duration; for `type=` of a flag."""
    from linkerd.settings import duration_s

    try:
        return duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {error}") from None


def _boolean(text: str, flag: str = "") -> bool:
    if text not in ("true", "false"):
        raise UsageError(f"invalid argument {text!r} for {flag!r}: expected true or false")
    return text == "true"


def parser_of(path: tuple[str, ...], module: ModuleType) -> Parser:
    """Returns the parser of a command's flags and arguments."""
    prog = " ".join(("linkerd", *path))
    arguments = getattr(module, "USAGE", "")
    parser = Parser(
        prog=prog,
        usage=f"{prog} [flags] {arguments}".rstrip(),
        description=(module.__doc__ or "").strip(),
        formatter_class=_Formatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser._positionals.title = "Arguments"
    parser._optionals.title = "Flags"
    module.configure(parser)
    _add_globals(parser)
    return parser


def _flags_only() -> str:
    parser = Parser(prog="linkerd", usage=argparse.SUPPRESS, add_help=False)
    _add_globals(parser)
    formatter = parser._get_formatter()
    group = parser._action_groups[-1]
    formatter.start_section(group.title)
    formatter.add_arguments(group._group_actions)
    formatter.end_section()
    return formatter.format_help()


def _add_globals(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Global Flags")

    def add(*names: str, **options: Any) -> None:
        group.add_argument(*names, **options)

    add("-h", "--help", action="store_true", help="show this help")
    add(
        "-L", "--linkerd-namespace", default=os.environ.get("LINKERD_NAMESPACE") or "linkerd",
        metavar="NS",
        help="namespace of the control plane [$LINKERD_NAMESPACE] (default linkerd)",
    )  # fmt: skip
    add("--cni-namespace", default="linkerd-cni", metavar="NS", help="namespace of the CNI plugin")
    add("--kubeconfig", metavar="FILE", help="path of the kubeconfig file")
    add("--context", metavar="NAME", help="kubeconfig context to use")
    add("--as", dest="impersonate", metavar="USER", help="user to impersonate")
    add(
        "--as-group", dest="impersonate_groups", action="append", default=[], metavar="GROUP",
        help="group to impersonate; may be repeated",
    )  # fmt: skip
    add(
        "--api-addr", metavar="HOST:PORT",
        help="address of the API to talk to directly, without port-forward",
    )  # fmt: skip
    add("--verbose", action="store_true", help="log what happens to stderr")


_ARGPARSE_TO_COBRA: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"argument (?P<flag>\S+): expected (one|at least one) argument"),
     lambda m: f"flag needs an argument: {m['flag'].split('/')[-1]}"),
    (re.compile(r"argument (?P<flag>\S+): invalid choice: (?P<value>.*) \(choose from (?P<all>.*)\)"),
     lambda m: f"{m['flag'].split('/')[-1]} must be one of: {m['all'].replace(chr(39), '')} "
               f"(got {m['value'].strip(chr(39))})"),
    (re.compile(r"argument (?P<flag>\S+): invalid (?P<kind>\w+) value: (?P<value>.*)"),
     lambda m: f"invalid argument {m['value']} for {m['flag']!r}: expected {m['kind']}"),
    (re.compile(r"argument (?P<flag>\S+): ignored explicit argument (?P<value>.*)"),
     lambda m: f"flag {m['flag'].split('/')[-1]} takes no value, got {m['value']}"),
    (re.compile(r"argument (?P<flag>\S+): (?P<text>.*)"),
     lambda m: f"invalid argument for {m['flag'].split('/')[-1]}: {m['text']}"),
    (re.compile(r"the following arguments are required: (?P<names>.*)"),
     lambda m: f"missing argument: {m['names']}"),
)  # fmt: skip


def _in_cobras_words(message: str) -> str:
    for pattern, words in _ARGPARSE_TO_COBRA:
        match = pattern.fullmatch(message)
        if match is not None:
            return words(match)
    return message

"""Which command a line of words means: the command tree is read from this package's folders.

Flags may stand before the command's words, as Linkerd's own parser allows:
`linkerd -n emojivoto viz stat deploy` equals `linkerd viz stat deploy -n emojivoto`.
Source: linkerd2 cli/main.go (behaviour); reference flows of the docs, 2.8 to 2.20.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import NamedTuple

from linkerd.cli import _gone

_ROOT = os.path.dirname(__file__)

# Flags that take no value: the word after them can be a command.
_SWITCHES = frozenset(
    [
        "-A",
        "-h",
        "--all-namespaces",
        "--client",
        "--crds",
        "--force",
        "--ha",
        "--help",
        "--ignore-cluster",
        "--pre",
        "--proxy",
        "--short",
        "--unmeshed",
        "--verbose",
        "--version",
    ]
)

# Spellings of other releases → the words that mean the same here; True: say so on stderr.
ALIASES: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {
    ("stat",): (("viz", "stat"), True),
    ("edges",): (("viz", "edges"), True),
    ("dashboard",): (("viz", "dashboard"), True),
    ("routes",): (("viz", "routes"), True),
    ("tap",): (("viz", "tap"), True),
    ("top",): (("viz", "top"), True),
    ("metrics",): (("diagnostics", "proxy-metrics"), True),
    ("endpoints",): (("diagnostics", "endpoints"), True),
    ("check", "config"): (("check",), False),
    ("dg",): (("diagnostics",), False),
    ("mc",): (("multicluster",), False),
}

# Linkerd's commands that this version does not have yet, and what there is instead.
LATER = {
    (
        "multicluster",
    ): "the control plane follows mirrored and federated services of clusters whose "
    "credentials it is given, but nothing here links clusters",
}


class Found(NamedTuple):
    """What a command line means.

    `path` are the command's words, `flags` the words left for it, `rest` what followed `--`,
    `renamed` the old spelling when it is announced as deprecated.
    """

    path: tuple[str, ...]
    flags: list[str]
    rest: list[str]
    renamed: str = ""


def children(path: tuple[str, ...]) -> list[str]:
    """Returns the sorted commands and groups directly below the group `path`."""
    names = set()
    for entry in os.scandir(_folder(path)):
        name, dot, extension = entry.name.partition(".")
        if name.startswith("_") or name == "main" or extension not in ("", "py"):
            continue
        if dot or os.path.exists(os.path.join(entry.path, "__init__.py")):
            names.add(name.replace("_", "-"))
    return sorted(names)


def is_group(path: tuple[str, ...]) -> bool:
    """Returns whether `path` is a folder of commands."""
    return os.path.isdir(_folder(path))


def exists(path: tuple[str, ...]) -> bool:
    """Returns whether `path` is a command or a group."""
    return is_group(path) or os.path.exists(_folder(path) + ".py")


def load(path: tuple[str, ...]) -> ModuleType:
    """Imports the module of a command or group."""
    return importlib.import_module(".".join(("linkerd.cli", *map(_module_name, path))))


def find(argv: list[str]) -> Found:
    """Returns the command that `argv` names, taking its words from among the flags."""
    words, rest = _split_at_dashes(argv)
    path: tuple[str, ...] = ()
    renamed = ""
    flags: list[str] = []
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            flags.append(word)
            if words and _takes_next(word, words[0], path):
                flags.append(words.pop(0))
            continue
        alias = ALIASES.get((*path, word))
        if alias is not None:
            if alias[1]:
                renamed = word
            path = alias[0]
        elif _names_command((*path, word)) and (is_group(path) or (*path, word) in _gone.COMMANDS):
            path = (*path, word)
        else:
            flags.append(word)
            break
        following = (*path, words[0] if words else "")
        if not is_group(path) and following not in ALIASES and following not in _gone.COMMANDS:
            break
    return Found(path, flags + words, rest, renamed)


def _names_command(path: tuple[str, ...]) -> bool:
    plain = all(part.replace("-", "").isalnum() for part in path)
    known = path in LATER or path in _gone.COMMANDS
    return plain and path != ("main",) and (known or exists(path))


def _takes_next(flag: str, following: str, path: tuple[str, ...]) -> bool:
    if "=" in flag or following.startswith("-") or flag in _SWITCHES:
        return False
    if len(flag) == 2:
        return True
    known_value = flag in _VALUE_FLAGS
    return flag.startswith("--") and (known_value or not _names_command((*path, following)))


_VALUE_FLAGS = frozenset(
    [
        "--api-addr",
        "--as",
        "--as-group",
        "--cni-namespace",
        "--context",
        "--kubeconfig",
        "--linkerd-namespace",
        "--namespace",
        "--output",
        "--viz-namespace",
    ]
)


def _split_at_dashes(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return list(argv), []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _folder(path: tuple[str, ...]) -> str:
    return os.path.join(_ROOT, *map(_module_name, path))


def _module_name(word: str) -> str:
    return word.replace("-", "_")

"""Output shell completion code for the specified shell (bash, zsh or fish).

Example:
  source <(linkerd completion bash)
"""

from __future__ import annotations

import argparse

from linkerd.cli import _tree
from linkerd.errors import UsageError

SUMMARY = "Output shell completion code for the specified shell (bash, zsh or fish)"
USAGE = "[bash|zsh|fish]"

_BASH = """_linkerd() {
  local path="" word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [[ $word == -* ]] || path+=" $word"; done
  case "$path" in
%s  esac
}
complete -F _linkerd linkerd
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("shell", help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Prints the code."""
    groups = [path for path in _paths(()) if _tree.is_group(path)]
    if args.shell == "fish":
        for path in groups:
            for name in _tree.children(path):
                condition = f"__fish_seen_subcommand_from {path[-1]}" if path else "true"
                print(f"complete -c linkerd -f -n '{condition}' -a '{name}'")
        return 0
    if args.shell not in ("bash", "zsh"):
        raise UsageError(f"unsupported shell type (must be bash, zsh or fish): {args.shell}")
    cases = "".join(
        f'    "{"".join(f" {word}" for word in path)}")'
        f' COMPREPLY=($(compgen -W "{" ".join(_tree.children(path))}"'
        ' -- "${COMP_WORDS[COMP_CWORD]}"));;\n'
        for path in groups
    )
    if args.shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    print(_BASH % cases, end="")
    return 0


def _paths(path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if not _tree.is_group(path):
        return [path]
    below = [found for name in _tree.children(path) for found in _paths((*path, name))]
    return [path, *below]

"""Output shell completion code for the specified shell (bash, zsh or fish).

Example:
  source <(linkerd completion bash)
"""

from __future__ import annotations

import argparse

from linkerd.errors import UsageError

SUMMARY = "Output shell completion code for the specified shell (bash, zsh or fish)"
USAGE = "[bash|zsh|fish]"

_BASH = """\
_linkerd() {
  local IFS=$'\\n'
  COMPREPLY=($(linkerd __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -F _linkerd linkerd
"""
_SHELLS = {
    "bash": _BASH,
    "zsh": f"autoload -U +X bashcompinit && bashcompinit\n{_BASH}",
    "fish": """\
function __linkerd
  set -l words (commandline -opc)
  linkerd __complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c linkerd -f -a '(__linkerd)'
""",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("shell", help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Prints the code: it asks this command what can come next."""
    if args.shell not in _SHELLS:
        raise UsageError(f"unsupported shell type (must be bash, zsh or fish): {args.shell}")
    print(_SHELLS[args.shell], end="")
    return 0

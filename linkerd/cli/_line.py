"""One command line: finds the command, parses its flags, runs it."""

from __future__ import annotations

import sys

from linkerd.cli import _args, _gone, _tree
from linkerd.errors import LinkerdError, UsageError

_HELP = {"-h", "--help"}


def run(words: list[str]) -> int:
    """Runs the command that the words mean; returns its exit code.

    Raises:
        LinkerdError: it failed, or there is no such command.
    """
    if words and words[0] == "__complete":
        from linkerd.cli import _complete

        print("\n".join(_complete.candidates(words[1:])))
        return 0
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    found = _tree.find(words)
    if found.path[:2] == ("local", "kubectl"):
        from linkerd.cli.local import kubectl

        kubectl.prefer_installed(words)
    if found.path in _tree.LATER:
        name = " ".join(("linkerd", *found.path))
        raise UsageError(f"this version does not have '{name}' yet", hint=_tree.LATER[found.path])
    if found.path in _gone.COMMANDS:
        name = " ".join(("linkerd", *found.path))
        raise UsageError(f"'{name}' is no more: {_gone.COMMANDS[found.path]}")
    if _tree.is_group(found.path):
        return _group(found)
    module = _tree.load(found.path)
    if _HELP & set(found.flags):
        print(_args.help_text(found.path, module), end="")
        return 0
    args = _args.parse(found.path, module, found.flags)
    if found.renamed:
        now = " ".join(("linkerd", *found.path))
        notice = f"Command \"{found.renamed}\" is deprecated, use instead '{now}'"
        print(notice, file=sys.stderr)
    if args.verbose:
        from linkerd import log

        log.configure("debug")
    args.rest = found.rest
    exit_code: int = module.run(args)
    sys.stdout.flush()
    return exit_code


def explain(error: LinkerdError) -> int:
    """Prints what went wrong and what to do; returns the exit code."""
    sys.stdout.flush()
    if str(error):
        print(f"Error: {error.message}", file=sys.stderr)
    if error.hint:
        print(error.hint, file=sys.stderr)
    # Linkerd knows no exit codes but 0 and 1; scripts test for them.
    return 1


def _group(found: _tree.Found) -> int:
    """Answers a line that names no command: help, a plugin of the user's, or an error."""
    unknown = next((word for word in found.flags if not word.startswith("-")), None)
    if unknown is not None and not _HELP & set(found.flags):
        if not found.path:
            return _plugin(unknown, found)
        raise _unknown(unknown, found.path)
    if "--version" in found.flags and not found.path:
        return run(["version", "--client"])
    print(_args.help_text(found.path, _tree.load(found.path)), end="")
    return 0


def _plugin(name: str, found: _tree.Found) -> int:
    """Runs `linkerd-NAME` from PATH. Source: linkerd2 cli/main.go (behaviour)."""
    import shutil
    import subprocess

    program = shutil.which(f"linkerd-{name}")
    if program is None or name == "proxy":
        raise _unknown(name, ())
    if found.flags[0] != name:
        raise UsageError("Cannot accept flags before Linkerd extension name")
    words = [*found.flags[1:], *(["--", *found.rest] if found.rest else [])]
    return min(1, abs(subprocess.call([program, *words])))


def _unknown(name: str, path: tuple[str, ...]) -> UsageError:
    prog = " ".join(("linkerd", *path))
    hint = getattr(_tree.load(path), "HINT", "") if path else ""
    return UsageError(
        f'unknown command "{name}" for "{prog}"', hint=hint or f"Run '{prog} --help' for usage."
    )

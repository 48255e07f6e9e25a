"""The entry point: runs the command line, turns errors into exit codes.

Exit codes are Linkerd's, 0 and 1, and 130 after Ctrl-C. Data goes to stdout, all else to stderr.
"""

from __future__ import annotations

import os
import sys

import linkerd


def main(argv: list[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["version"] and set(words[1:]) in ({"--client"}, {"--client", "--short"}):
        # Prompts and scripts ask this all the time: it must not cost the import of a parser.
        print(linkerd.VERSION if "--short" in words else f"Client version: {linkerd.VERSION}")
        return 0
    from linkerd.cli import _line
    from linkerd.errors import LinkerdError

    try:
        return _line.run(words)
    except LinkerdError as error:
        return _line.explain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--verbose" in words:
            raise
        print(f"Error: {type(error).__name__}: {error}", file=sys.stderr)
        print("this is a defect; --verbose shows where", file=sys.stderr)
        return 1

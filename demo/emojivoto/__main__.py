"""Runs one of the programs: `python -m demo.emojivoto web|emoji-svc|voting-svc|vote-bot`."""

from __future__ import annotations

import asyncio
import importlib
import sys

PROGRAMS = ("web", "emoji-svc", "voting-svc", "vote-bot")


def main(argv: list[str]) -> int:
    """Runs the program named by the first word until it is told to stop."""
    if len(argv) != 1 or argv[0] not in PROGRAMS:
        print(f"usage: python -m demo.emojivoto {'|'.join(PROGRAMS)}", file=sys.stderr)
        return 2
    if argv[0] == "vote-bot":
        from . import vote_bot

        return vote_bot.main()
    program = importlib.import_module(f".{argv[0].replace('-', '_')}", __package__)
    asyncio.run(program.main())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

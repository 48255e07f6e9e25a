"""`python -m linkerd.local.apiserver --state DIR [--listen-fd N …]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from linkerd import log, runtime
from linkerd.errors import LinkerdError
from linkerd.local.apiserver.server import serve
from linkerd.local.apiserver.settings import Settings, with_repeated_descriptors
from linkerd.local.paths import Paths
from linkerd.settings import parse, usage


def main(argv: list[str]) -> int:
    """Runs one API server; returns its exit code."""
    if {"-h", "--help"} & set(argv):
        print(usage(Settings, "python -m linkerd.local.apiserver"))
        return 0
    try:
        settings = parse(Settings, with_repeated_descriptors(argv))
    except LinkerdError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    if not settings.state:
        print("error: --state is required", file=sys.stderr)
        return 2
    log.configure(settings.log_level, settings.log_format)
    failed: list[LinkerdError] = []
    paths = Paths(Path(settings.state).absolute())

    async def run(stop: asyncio.Event) -> None:
        try:
            await serve(settings, paths, stop)
        except LinkerdError as refusal:
            failed.append(refusal)

    code = runtime.run(run)
    for found in failed:
        print(f"error: {found.message}", file=sys.stderr)
        if found.hint:
            print(f"hint: {found.hint}", file=sys.stderr)
        return found.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m linkerd.daemons NAME [flags]`: every process of the control plane and of viz.

Only the named daemon's module is imported, so that each process holds no more than it needs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

NAMES = (
    "destination",
    "heartbeat",
    "identity",
    "metrics-api",
    "policy",
    "prometheus",
    "proxy-injector",
    "sp-validator",
    "tap",
    "tap-injector",
    "web",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the daemon that the first word names; returns its exit status, 2 for a wrong name."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in NAMES:
        print(f"usage: python -m linkerd.daemons {'|'.join(NAMES)} [flags]", file=sys.stderr)
        return 2
    module = importlib.import_module(f"linkerd.daemons.{words[0].replace('-', '_')}")
    return int(module.main(words[1:]))


if __name__ == "__main__":
    sys.exit(main())

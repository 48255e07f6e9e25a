"""Display outbound traffic stats about one or many resources, by policy resource.

Examples:
  # All deployments of the emojivoto namespace.
  linkerd viz stat-outbound deploy -n emojivoto

  # One of them, as JSON.
  linkerd viz stat-outbound deploy/web -n emojivoto -o json
"""

from __future__ import annotations

import argparse

SUMMARY = "Display outbound traffic stats about one or many resources"
USAGE = "(RESOURCE)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz import _policy_stat

    _policy_stat.add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table, or JSON."""
    from linkerd.cli.viz import _policy_stat
    from linkerd.viz import policy_stat

    selected, answers = _policy_stat.ask(args, policy_stat.outbound_queries)
    rows = policy_stat.outbound(selected, answers)
    show = policy_stat.outbound_json if args.output == "json" else policy_stat.outbound_table
    print(show(rows, args.time_window), end="")
    return 0

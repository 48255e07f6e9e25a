"""Set and remove labels.

Example:
  linkerd local kubectl label ns emojivoto team=votes old-label-
"""

from __future__ import annotations

import argparse

from linkerd.cli.local import _marks

SUMMARY = "Set and remove labels"
USAGE = _marks.USAGE
configure = _marks.configure


def run(args: argparse.Namespace) -> int:
    """Sets and removes them."""
    return _marks.run(args, "labels", "labeled")

"""Set and remove annotations.

Example:
  linkerd local kubectl annotate ns emojivoto linkerd.io/inject=enabled
"""

from __future__ import annotations

import argparse

from linkerd.cli.local import _marks

SUMMARY = "Set and remove annotations"
USAGE = _marks.USAGE
configure = _marks.configure


def run(args: argparse.Namespace) -> int:
    """Sets and removes them."""
    return _marks.run(args, "annotations", "annotated")

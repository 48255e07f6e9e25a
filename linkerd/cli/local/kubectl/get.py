"""See `linkerd local get`, which this is."""

from __future__ import annotations

from linkerd.cli.local import get

__doc__ = get.__doc__
SUMMARY = get.SUMMARY
USAGE = get.USAGE
configure = get.configure
run = get.run

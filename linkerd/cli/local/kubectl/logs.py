"""See `linkerd local logs`, which this is."""

from __future__ import annotations

from linkerd.cli.local import logs

__doc__ = logs.__doc__
SUMMARY = logs.SUMMARY
USAGE = logs.USAGE
configure = logs.configure
run = logs.run

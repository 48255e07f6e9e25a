"""See `linkerd local describe`, which this is."""

from __future__ import annotations

from linkerd.cli.local import describe

__doc__ = describe.__doc__
SUMMARY = describe.SUMMARY
USAGE = describe.USAGE
configure = describe.configure
run = describe.run

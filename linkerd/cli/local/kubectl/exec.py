"""See `linkerd local exec`, which this is."""

from __future__ import annotations

from linkerd.cli.local import exec

__doc__ = exec.__doc__
SUMMARY = exec.SUMMARY
USAGE = exec.USAGE
configure = exec.configure
run = exec.run

"""See `linkerd local apply`, which this is."""

from __future__ import annotations

from linkerd.cli.local import apply

__doc__ = apply.__doc__
SUMMARY = apply.SUMMARY
configure = apply.configure
run = apply.run

"""List the images that the local cluster can run: each name stands for a local command."""

from __future__ import annotations

from linkerd.cli.local import images

SUMMARY = images.SUMMARY
configure = images.configure
run = images.run

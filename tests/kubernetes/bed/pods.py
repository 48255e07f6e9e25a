"""Images of the bed itself: what a node needs before it can run anything of ours."""

from __future__ import annotations

from pathlib import Path

from images import oci
from images.oci import Entry, Image, Run
from tests.kubernetes.bed.configs import COREDNS_IMAGE, PAUSE_IMAGE

_BUSYBOX = Path("/bin/busybox")
_FOREVER = str(2**31 - 1)


def archive(path: Path, binaries: Path) -> None:
    """Writes the archive of the pause image (Debian's static busybox, asleep) and CoreDNS."""
    busybox = oci.layer([Entry("/bin/busybox", _BUSYBOX, mode=0o755)])
    coredns = oci.layer([Entry("/coredns", binaries / "coredns", mode=0o755)])
    images = {
        PAUSE_IMAGE: Image((busybox,), Run(("/bin/busybox", "sleep", _FOREVER))),
        COREDNS_IMAGE: Image((coredns,), Run(("/coredns",))),
    }
    oci.archive(path, images)

"""Check the Linkerd installation for potential problems.

The check command will perform a series of checks to validate that the linkerd CLI and control plane
are configured correctly. If the command encounters a failure it will print additional information
about the failure and exit with a non-zero exit code.

Nothing is asked over the internet; --expected-version says what counts as the latest version.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.check.cluster import Mesh
    from linkerd.check.engine import Category

SUMMARY = "Check the Linkerd installation for potential problems"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("--pre", action="store_true", help="check what an installation needs")
    parser.add_argument("--crds", action="store_true", help="check the CRDs only")
    parser.add_argument("--proxy", action="store_true", help="check the data plane too")
    parser.add_argument(
        "--wait", type=_args.duration, default=300.0, metavar="TIME",
        help="how long to wait for checks to succeed (default 5m0s)",
    )  # fmt: skip
    _args.add_boolean(
        parser, "--linkerd-cni-enabled", help="check that the CNI plugin runs; with --pre"
    )
    parser.add_argument(
        "--expected-version", default="", metavar="VERSION",
        help="what to compare versions with; without it they are not, nobody is asked",
    )  # fmt: skip
    parser.add_argument(
        "--cli-version-override", default="", metavar="VERSION",
        help="version to take for this command's own",
    )  # fmt: skip
    _args.add_namespace(parser, "namespace of the data plane's checks; default all")
    _args.add_output(parser, ("table", "json", "short"))


def run(args: argparse.Namespace) -> int:
    """Asks the categories that the flags choose; 1 when an answer is an error."""
    for other in ("proxy", "crds"):
        if args.pre and getattr(args, other):
            raise UsageError(f"--pre and --{other} flags are mutually exclusive")
    if args.linkerd_cni_enabled and not args.pre:
        raise UsageError("--linkerd-cni-enabled can only be used with --pre")
    from linkerd.check import catalog
    from linkerd.cli import _checks

    def categories(mesh: Mesh) -> list[Category]:
        if args.pre:
            with_cni = args.linkerd_cni_enabled
            return catalog.before_install(mesh, _would_be_installed, with_cni=with_cni)
        if args.crds:
            return catalog.crds(mesh)
        return catalog.data_plane(mesh) if args.proxy else catalog.control_plane(mesh)

    extensions = not (args.pre or args.crds)
    return _checks.run(args, categories, banner="Linkerd core checks", extensions=extensions)


def _would_be_installed() -> list[dict[str, Any]]:
    from linkerd.inject import manifest
    from linkerd.install import install

    text = install.render_control_plane(install.InstallOptions())
    return [body for body in manifest.parse_all(text) if body]

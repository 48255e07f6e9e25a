"""Check the Linkerd Viz extension for potential problems."""

from __future__ import annotations

import argparse

from linkerd.cli import _args

SUMMARY = "Check the Linkerd Viz extension for potential problems"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("--proxy", action="store_true", help="check the data plane too")
    parser.add_argument(
        "--wait", type=_args.duration, default=300.0, metavar="TIME",
        help="how long to wait for checks to succeed (default 5m0s)",
    )  # fmt: skip
    _args.add_namespace(parser, "namespace of the data plane's checks; default all")
    _args.add_output(parser, ("table", "json", "short"))
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Asks the extension's categories; 1 when an answer is an error."""
    from linkerd.check import viz
    from linkerd.cli import _checks
    from linkerd.cli.viz import _probes

    return _checks.run(
        args,
        lambda mesh: viz.categories(
            mesh, _probes.probes(mesh.kube, args), with_data_plane=args.proxy
        ),
        banner="Linkerd extensions checks",
    )

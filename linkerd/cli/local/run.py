"""Run a program of this machine as a meshed service, until Ctrl-C.

The program sees the folder that you are in, with the rights of the cluster. Its Deployment, Service
and image are made, its output is shown, and all of it is removed at the end.

Examples:
  linkerd local run --name web --port 8080 -- ./web
  linkerd local run --name api --port 9000 -n shop --env LEVEL=debug -- python3 api.py
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Run a program of this machine as a meshed service"
USAGE = "--name NAME --port PORT -- COMMAND..."
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("--name", required=True, help="of the deployment and the service")
    parser.add_argument("--port", type=int, required=True, metavar="PORT", help="that it serves")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="variable; NAME alone takes yours; may be repeated")  # fmt: skip
    parser.add_argument("--inject", action=argparse.BooleanOptionalAction, default=True,
                        help="give it a proxy (default)")  # fmt: skip
    _args.add_namespace(parser, "namespace of the service; made if need be")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Runs it; returns when it is removed again."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _program, images

    if not args.rest:
        raise UsageError("no command given", hint="write it after --")
    if not _NAME.fullmatch(args.name):
        raise UsageError(f"{args.name!r} is no name of a service: a-z, 0-9 and dashes")
    if not 0 < args.port <= 65535:
        raise UsageError(f"invalid port {args.port}")
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    paths = _cluster.paths(args)
    program = _program.Program(
        name=args.name,
        namespace=namespace,
        port=args.port,
        command=_found(args.rest),
        env=dict(_variable(text) for text in args.env),
        folder=os.getcwd(),
        inject=args.inject,
    )
    stored = images.stored(paths)
    if program.image in stored:
        raise UsageError(
            f"{args.name} in {namespace} runs already, or ended without being removed",
            hint=f"`linkerd local image remove {program.image}` forgets it",
        )
    images.write(paths, {**stored, program.image: program.entry(dict(os.environ))})

    async def main(kube: KubeClient) -> int:
        return await _program.follow(kube, program)

    try:
        return _connect.run(config, main)
    except KeyboardInterrupt:
        return 0
    finally:
        left = images.stored(paths)
        left.pop(program.image, None)
        images.write(paths, left)
        print(f"{args.name} removed", file=sys.stderr)


def _found(command: list[str]) -> list[str]:
    """Returns the command with the program's full path, which is the same inside."""
    import shutil

    program = shutil.which(command[0])
    if program is None:
        raise UsageError(f"there is no program {command[0]}")
    return [os.path.abspath(program), *command[1:]]


def _variable(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(f"--env {text}: expected NAME=VALUE")
    return name, value if equals else os.environ.get(name, "")

"""What `stat-inbound` and `stat-outbound` share: flags, and the way to Prometheus.

Source: linkerd2 viz/cmd/stat_inbound.go, viz/pkg/prometheus (which address wins).
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.viz.prometheus import Prometheus, Sample
    from linkerd.viz.queries import Object

_PORT = 9090
_EXTERNAL = "viz.linkerd.io/external-prometheus"

Answers = dict[str, "list[Sample]"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("resources", nargs="*", metavar="RESOURCE", help="TYPE or TYPE/NAME")
    parser.add_argument(
        "-t", "--time-window", default="1m", metavar="TIME", help="stat window (default 1m)"
    )
    parser.add_argument(
        "--prometheusURL", default="", metavar="URL", help="address of Prometheus to ask"
    )
    _args.add_namespace(parser, "namespace of the resource")
    _args.add_output(parser, ("table", "json"))
    add_flags(parser)


def ask(
    args: argparse.Namespace, queries_of: Callable[[Object, str], dict[str, str]]
) -> tuple[Object, Answers]:
    """Returns what the arguments select, and Prometheus' answers about it.

    Raises:
        UsageError: they select nothing that has such traffic.
        MetricsError: Prometheus is out of reach or refuses.
    """
    from linkerd.cli import _connect
    from linkerd.viz import kinds, queries

    found = kinds.targets(args.resources)
    if len(found) != 1 or found[0].kind == kinds.ALL:
        raise UsageError("this command takes one resource: TYPE or TYPE/NAME")
    _args.duration(args.time_window)
    config = _connect.config(args)
    namespace = _connect.namespace(args, config) or ""
    selected = queries.Object(found[0].kind, namespace, found[0].name)
    asked = queries_of(selected, args.time_window)

    async def answers(kube: KubeClient) -> Answers:
        async with _prometheus(kube, args) as prometheus:
            return await prometheus.query_all(asked)

    return selected, _connect.run(config, answers)


@contextlib.asynccontextmanager
async def _prometheus(kube: KubeClient, args: argparse.Namespace) -> AsyncIterator[Prometheus]:
    from linkerd.cli.viz import _extension
    from linkerd.kube import streams
    from linkerd.kube.resources import NAMESPACES
    from linkerd.viz.prometheus import Prometheus

    url = args.prometheusURL
    if not url:
        where = await _extension.namespace(kube, args)
        body = await kube.get(NAMESPACES, where)
        url = (body["metadata"].get("annotations") or {}).get(_EXTERNAL) or ""
    if url:
        async with Prometheus(url) as prometheus:
            yield prometheus
        return
    pod = await _extension.running_pod(kube, where, "prometheus")
    async with (
        streams.port_forward(kube, pod, where, _PORT) as (host, port),
        Prometheus(f"http://{host}:{port}") as prometheus,
    ):
        yield prometheus

"""Output service profile config for Kubernetes.

Examples:
  # Output a basic template to apply after modification.
  linkerd profile -n emojivoto --template web-svc

  # Generate a profile from an OpenAPI specification.
  linkerd profile -n emojivoto --open-api web-svc.swagger web-svc

  # Generate a profile from a protobuf definition.
  linkerd profile -n emojivoto --proto Voting.proto vote-svc
"""

from __future__ import annotations

import argparse
import re

from linkerd.cli import _args
from linkerd.errors import LinkerdError, UsageError

SUMMARY = "Output service profile config for Kubernetes"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
USAGE = "(--template | --open-api FILE | --proto FILE) SERVICE"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="name of the service")
    parser.add_argument("--template", action="store_true", help="print a commented sample")
    parser.add_argument("--open-api", metavar="FILE", help="OpenAPI 2.0 document, or -")
    parser.add_argument("--proto", metavar="FILE", help="protobuf definition, or -")
    parser.add_argument("--ignore-cluster", action="store_true", help="do not ask the cluster")
    _args.add_namespace(parser, "namespace of the service; default the context's")
    _args.add_output(parser, ("yaml", "json"), default="yaml")


def run(args: argparse.Namespace) -> int:
    """Prints the ServiceProfile."""
    if sum(map(bool, (args.template, args.open_api, args.proto))) != 1:
        raise UsageError("You must specify exactly one of --template or --open-api or --proto")
    if not args.service:
        raise UsageError("please specify the name of a service")
    from linkerd.cli import _chart_flags, _profiles

    if not _LABEL.fullmatch(args.service):
        raise UsageError(f"invalid service {args.service!r}: expected a DNS label")
    namespace, domain = place(args)
    if args.template:
        text = _profiles.template(args.service, namespace, domain)
    else:
        read = _chart_flags.read(args.open_api or args.proto)
        routes = (_profiles.from_open_api if args.open_api else _profiles.from_proto)(read)
        from linkerd.inject import manifest

        text = manifest.render(_profiles.service_profile(args.service, namespace, domain, routes))
    _chart_flags.print_manifest(text, args.output)
    return 0


def place(args: argparse.Namespace) -> tuple[str, str]:
    """Returns the namespace that the flags mean and the cluster's domain.

    Raises:
        UsageError: the control plane, which knows the domain, cannot be asked.
    """
    if args.ignore_cluster:
        return args.namespace or "default", "cluster.local"
    from linkerd.check.cluster import Mesh
    from linkerd.cli import _connect

    try:
        config = _connect.config(args)
        values = _connect.run(config, lambda kube: Mesh(kube, args.linkerd_namespace).config())
    except LinkerdError as error:
        raise UsageError(
            f"Cannot find Linkerd: {error.message}",
            hint="use --ignore-cluster for a cluster whose domain is cluster.local",
        ) from None
    return args.namespace or config.namespace, str(values.get("clusterDomain") or "cluster.local")

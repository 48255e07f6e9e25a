"""Flags that become chart values: Linkerd's own by the tables of `install.flags`, Helm's as Helm's.

Source: linkerd2 cli/cmd/options.go, pkg/flags (names); helm `--set`, `--set-string`, `--set-file`,
`--values` (order: files first, then sets, later ones win).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args, _gone
from linkerd.errors import RenderError, UsageError

_SHORT = {"proxy-version": ("-v",)}

HELP: dict[str, str] = {
    "admin-port": "port of the proxy's metrics and probes",
    "cluster-domain": "DNS domain of the cluster",
    "cni-image": "image of the CNI plugin",
    "cni-image-version": "tag of the CNI plugin's image",
    "cni-log-level": "log level of the CNI plugin",
    "control-port": "port of the proxy's control interface",
    "controller-gid": "group that the control plane runs as",
    "controller-log-level": "log level of the control plane",
    "controller-replicas": "replicas of the control plane's components",
    "controller-uid": "user that the control plane runs as",
    "default-inbound-policy": "who may call ports that no Server describes",
    "dest-cni-bin-dir": "folder of the nodes for the plugin's program",
    "dest-cni-net-dir": "folder of the nodes for the plugin's settings",
    "disable-h2-upgrade": "carry HTTP/1 between proxies as HTTP/1",
    "disable-heartbeat": "leave the heartbeat CronJob out",
    "enable-debug-sidecar": "add a container with tools for debugging",
    "enable-endpoint-slices": "read EndpointSlices instead of Endpoints",
    "enable-external-profiles": "ask for profiles of names outside the cluster too",
    "identity-clock-skew-allowance": "how far clocks may be apart for certificates",
    "identity-external-ca": "the trust anchors' ConfigMap is made by others",
    "identity-external-issuer": "the issuer's Secret is made by others (kubernetes.io/tls)",
    "identity-issuance-lifetime": "how long a proxy's certificate is valid",
    "identity-trust-domain": "trust domain of identities (default the cluster domain)",
    "image-pull-policy": "Always, IfNotPresent or Never",
    "inbound-port": "port that incoming connections are redirected to",
    "linkerd-cni-enabled": "pods get their redirection from the CNI plugin",
    "linkerd-version": "version of the CNI plugin's manifests",
    "native-sidecar": "make the proxy an init container that stays",
    "opaque-ports": "ports whose bytes are passed through as they are",
    "outbound-port": "port that outgoing connections are redirected to",
    "priority-class-name": "priority class of the CNI plugin's pods",
    "proxy-cpu-limit": "most CPU that a proxy may use",
    "proxy-cpu-request": "CPU that a proxy asks for",
    "proxy-gid": "group that the proxy runs as",
    "proxy-image": "image of the proxy",
    "proxy-log-level": "log level of the proxy",
    "proxy-memory-limit": "most memory that a proxy may use",
    "proxy-memory-request": "memory that a proxy asks for",
    "proxy-uid": "user that the proxy runs as",
    "proxy-version": "tag of the proxy's image",
    "redirect-ports": "the only ports to redirect (default all)",
    "registry": "registry of the images",
    "require-identity-on-inbound-ports": "ports that need a client with an identity",
    "skip-inbound-ports": "ports and ranges that go past the proxy, incoming",
    "skip-outbound-ports": "ports and ranges that go past the proxy, outgoing",
    "use-wait-flag": "wait for the lock of iptables",
    "wait-before-exit-seconds": "how long the proxy stays when its pod must go",
}
"""Flag → what it sets, for `--help`."""

if TYPE_CHECKING:
    from linkerd.install.flags import Flag


def add_flags(parser: argparse.ArgumentParser, flags: Iterable[Flag], *switches: str) -> None:
    """Adds the flags of a table, and boolean ones by name; absent ones stay absent."""
    group = parser.add_argument_group("Flags for chart values")
    for flag in flags:
        _add(group, flag.name, flag.kind)
    for name in switches:
        _add(group, name, bool)
    _add(group, "registry", str)
    for old, new in _gone.DEPRECATED.items():
        _add(group, old, str, f"deprecated: use --{new}")


def _add(group: argparse._ArgumentGroup, name: str, kind: type, help: str = "") -> None:
    options: dict[str, Any] = {"dest": f"value:{name}", "help": help or HELP[name]}
    if kind is bool:
        _args.add_boolean(group, f"--{name}", default=None, **options)
    else:
        names = [*_SHORT.get(name, ()), f"--{name}"]
        group.add_argument(*names, type=kind, metavar=name.rpartition("-")[2].upper(), **options)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Returns flag name → value of those that the user gave, old names as the new ones."""
    found = {key.partition(":")[2]: value for key, value in vars(args).items() if ":" in key}
    for old, new in _gone.DEPRECATED.items():
        value = found.pop(old, None)
        if value is not None:
            notice = f"Flag --{old} has been deprecated, use --{new} instead"
            print(notice, file=sys.stderr)
            found[new] = found.get(new) or value
    return {name: value for name, value in found.items() if value is not None}


def add_helm_flags(parser: argparse.ArgumentParser) -> None:
    """Adds Helm's flags for values, and `-o`."""
    for name, help in (
        ("set", "key=value of the chart"),
        ("set-string", "key=text of the chart"),
        ("set-file", "key=path of a file with the value"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], metavar="K=V", help=help)
    parser.add_argument(
        "-f", "--values", action="append", default=[], metavar="FILE", help="YAML file with values"
    )
    parser.add_argument(
        "-o", "--output", choices=["yaml", "json"], default="yaml", metavar="FORMAT",
        help="yaml or json (default yaml)",
    )  # fmt: skip


def helm_values(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of Helm's flags, merged.

    Raises:
        UsageError: a file or an assignment cannot be read.
    """
    from linkerd.inject import manifest
    from linkerd.install import charts, helmset

    merged: dict[str, Any] = {}
    for path in args.values:
        try:
            body = manifest.parse(read(path))
        except RenderError as error:
            raise UsageError(f"{path}: {error.message}") from None
        if body is not None and not isinstance(body, Mapping):
            raise UsageError(f"{path} is not a mapping of values")
        merged = charts.merge_values(merged, body or {}, keep_null=True)
    for text in args.set:
        helmset.apply(merged, text)
    for text in args.set_string:
        helmset.apply(merged, text, strings=True)
    for text in args.set_file:
        key, _, path = text.partition("=")
        helmset.assign(merged, key, read(path))
    return merged


def read(path: str) -> str:
    """Returns the text of a file that a flag names.

    Raises:
        UsageError: it cannot be read.
    """
    from linkerd.cli import _manifests

    return _manifests.texts(path)[0]


def print_manifest(text: str, output: str) -> None:
    """Prints YAML as it is, or one JSON document per object."""
    if output == "yaml":
        print(text, end="")
        return
    from linkerd.inject import manifest

    for body in manifest.parse_all(text):
        if body:
            print(json.dumps(body))

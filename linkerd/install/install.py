"""What `linkerd install` prints: values from flags, files and generated credentials → manifests.

Precedence, later wins: chart defaults, stored settings (upgrade), HA values, credentials, flags,
values files, `--set`.
Does not talk to a cluster and writes nothing.
Source: linkerd2 cli/cmd/install.go (behaviour).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from linkerd import VERSION
from linkerd.errors import PkiError, UsageError
from linkerd.inject import manifest
from linkerd.install import charts
from linkerd.pki import issue, trust

ORDER = (
    "identity-rbac.yaml",
    "destination-rbac.yaml",
    "heartbeat-rbac.yaml",
    "podmonitor.yaml",
    "proxy-injector-rbac.yaml",
    "config.yaml",
    "config-rbac.yaml",
    "identity.yaml",
    "destination.yaml",
    "heartbeat.yaml",
    "proxy-injector.yaml",
)
"""Templates in the order that `linkerd install` prints them."""


@dataclass(frozen=True)
class InstallOptions:
    """What the user asked for.

    `stored` are the settings of an installation that is upgraded; `flag_values` come from
    `flags.values`; `user_values` from `-f` and `--set`. Credentials are PEM texts: all three or
    none; none generates them, unless the issuer is external or `stored` has some.
    """

    namespace: str = "linkerd"
    ha: bool = False
    stored: Mapping[str, Any] = field(default_factory=dict)
    flag_values: Mapping[str, Any] = field(default_factory=dict)
    user_values: Mapping[str, Any] = field(default_factory=dict)
    trust_anchors_pem: str | None = None
    issuer_cert_pem: str | None = None
    issuer_key_pem: str | None = None
    kube_api_ports: tuple[int, ...] = ()
    now: datetime | None = None


def render_crds(values: Mapping[str, Any] | None = None, *, namespace: str = "linkerd") -> str:
    """Returns what `linkerd install --crds` prints.

    Args:
        values: Laid over the defaults of the chart linkerd-crds (`installGatewayAPI`, …).
        namespace: Of the control plane; a label of the CRDs.

    Raises:
        RenderError: the chart refuses the values.
    """
    directory = charts.chart_dir("linkerd-crds")
    merged = {"cliVersion": VERSION, **(values or {})}
    return charts.render_chart(directory, merged, release="linkerd-crds", namespace=namespace)


def render_control_plane(options: InstallOptions) -> str:
    """Returns what `linkerd install` prints: the chart and the Secret linkerd-config-overrides.

    Raises:
        UsageError: credentials are incomplete.
        PkiError: credentials cannot be used.
        RenderError: the chart refuses the values.
    """
    now = options.now or datetime.now(UTC)
    over = overrides(options, now)
    text = charts.render_chart(
        charts.chart_dir("linkerd-control-plane"),
        {**over, "cliVersion": VERSION, "linkerdVersion": over.get("linkerdVersion", VERSION)},
        release="linkerd",
        namespace=options.namespace,
        order=ORDER,
        now=now,
    )
    return text + "---\n" + manifest.render(_overrides_secret(options.namespace, over))


def default_values(*, ha: bool = False) -> dict[str, Any]:
    """Returns the values of the control plane's chart, with those for high availability if `ha`."""
    directory = charts.chart_dir("linkerd-control-plane")
    values = charts.chart_values(directory)
    if ha:
        values = charts.merge_values(values, charts.chart_values(directory, "values-ha.yaml"))
    values["linkerdVersion"] = VERSION
    return values


def overrides(options: InstallOptions, now: datetime) -> dict[str, Any]:
    """Returns the values that differ from the chart's defaults, credentials included."""
    directory = charts.chart_dir("linkerd-control-plane")
    over = dict(options.stored)
    if options.ha:
        ha = charts.chart_values(directory, "values-ha.yaml")
        over = charts.merge_values(over, ha, keep_null=True)
    for layer in (options.flag_values, options.user_values):
        over = charts.merge_values(over, layer, keep_null=True)
    if options.kube_api_ports:
        over = charts.merge_values(
            {"proxyInit": {"kubeAPIServerPorts": _api_ports(options.kube_api_ports)}},
            over,
            keep_null=True,
        )
    defaults = charts.chart_values(directory)
    _require_shape(over, defaults, "")
    credentials = _credentials(options, charts.merge_values(defaults, over), now)
    return _different(charts.merge_values(credentials, over, keep_null=True), defaults)


def _api_ports(ports: tuple[int, ...]) -> str:
    return ",".join(str(port) for port in dict.fromkeys((443, 6443, *ports)))


def _require_shape(over: Mapping[str, Any], defaults: Mapping[str, Any], path: str) -> None:
    """Raises UsageError for a value that the chart's templates could only misread."""
    for key, value in over.items():
        below, where = defaults.get(key), f"{path}{key}"
        if value is None or below is None:
            continue
        if isinstance(below, Mapping) != isinstance(value, Mapping):
            wanted = "a mapping" if isinstance(below, Mapping) else "no mapping"
            raise UsageError(f"value {where} is {value!r}, expected {wanted}")
        if isinstance(below, Mapping):
            _require_shape(value, below, f"{where}.")
        elif isinstance(below, bool):
            if not isinstance(value, bool):
                raise UsageError(f"value {where} is {value!r}, expected true or false")
        elif isinstance(below, int) and not re.fullmatch(r"-?\d+(\.\d+)?%?", str(value)):
            raise UsageError(f"value {where} is {value!r}, expected a number")


def _different(over: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in over.items():
        below = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            nested = _different(value, below)
            if nested:
                found[key] = nested
        elif key not in defaults or value != below:
            found[key] = value
    return found


def _credentials(
    options: InstallOptions, values: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    identity = values["identity"]
    tls = identity["issuer"]["tls"]
    anchors = options.trust_anchors_pem or values["identityTrustAnchorsPEM"]
    cert = options.issuer_cert_pem or tls["crtPEM"]
    key = options.issuer_key_pem or tls["keyPEM"]
    if identity["issuer"]["scheme"] != "linkerd.io/tls":
        if cert or key:
            raise UsageError(
                "identity issuer certificate and key must not be given with an external issuer"
            )
        if not anchors and not identity["externalCA"]:
            raise UsageError("a trust anchors file must be specified with an external issuer")
        return {"identityTrustAnchorsPEM": anchors}
    if not (anchors or cert or key):
        domain = values["identityTrustDomain"] or values["clusterDomain"]
        made = issue.root(f"identity.{options.namespace}.{domain}", now=now)
        anchors, cert, key = made.cert_pem, made.cert_pem, made.key_pem
    for pem, what in (
        (anchors or identity["externalCA"], "trust anchors"),
        (cert, "certificate"),
        (key, "private key"),
    ):
        if not pem:
            raise UsageError(f"a {what} file must be specified if other credentials are provided")
    issuer = trust.parse_issuer(cert, key)
    if anchors:
        problem = trust.problem(issuer.chain, trust.parse_bundle(anchors), now)
        if problem is not None:
            raise PkiError(f"failed to verify issuer credentials with trust anchors: {problem}")
    return {
        "identityTrustAnchorsPEM": anchors,
        "identity": {"issuer": {"tls": {"crtPEM": cert, "keyPEM": key}}},
    }


def _overrides_secret(namespace: str, over: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "linkerd-config-overrides",
            "namespace": namespace,
            "labels": {"linkerd.io/control-plane-ns": namespace},
        },
        "stringData": {"linkerd-config-overrides": manifest.render(dict(over))},
    }

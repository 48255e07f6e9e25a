"""The flags of install, upgrade and inject that stand for chart values, in one table.

A command declares the flags by their names here and hands over what the user gave;
`values` checks it and returns chart values.
Source: linkerd2 cli/cmd/options.go, pkg/cmd, pkg/flags (names, texts).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.errors import UsageError
from linkerd.install import helmset

LOG_LEVELS = ("panic", "fatal", "error", "warn", "info", "debug", "trace")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
DEFAULT_POLICIES = (
    "all-authenticated",
    "all-unauthenticated",
    "cluster-authenticated",
    "cluster-unauthenticated",
    "deny",
    "audit",
)
_PORTS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_REGISTRY = re.compile(r"[A-Za-z0-9\-./:]+")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|K|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_UNIT = {
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}


@dataclass(frozen=True)
class Flag:
    """One flag: where its value goes in the chart and in pods' annotations.

    `annotation` is the key below `config.linkerd.io/` that `inject` writes, empty for none.
    """

    name: str
    path: str
    kind: type = str
    annotation: str = ""
    check: Callable[[str, str], None] | None = None


def _one_of(choices: tuple[str, ...], *, got: bool = False) -> Callable[[str, str], None]:
    def check(flag: str, value: str) -> None:
        if value not in choices:
            tail = f" (got {value})" if got else ""
            raise UsageError(f"--{flag} must be one of: {', '.join(choices)}{tail}")

    return check


def _ports(flag: str, value: str) -> None:
    if value and not _PORTS.fullmatch(value):
        raise UsageError(f"--{flag}: invalid port or port range {value!r}")
    for part in filter(None, value.split(",")):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if not 0 < first <= last <= 65535:
            raise UsageError(f"--{flag}: invalid port or port range {part!r}")


def _log_level(flag: str, value: str) -> None:
    if not value:
        raise UsageError(f"--{flag} must not be empty")
    level = r"(?:[\w:]+=)?(?:trace|debug|info|warn|error|off)|[\w:\[\]{}]+(?:=\w+)?"
    if not re.fullmatch(rf"(?:{level})(?:,(?:{level}))*", value):
        raise UsageError(f"{value!r} is not a valid proxy log level")


def _registry(flag: str, value: str) -> None:
    if not _REGISTRY.fullmatch(value):
        raise UsageError(
            f"{value!r} is not a valid Docker registry. "
            "The url can contain only letters, numbers, dash, dot, slash and colon"
        )


def _quantity(flag: str, value: str) -> None:
    quantity(value, f"--{flag}")


CONTROL_PLANE = (
    Flag("cluster-domain", "clusterDomain"),
    Flag("identity-trust-domain", "identityTrustDomain"),
    Flag("identity-external-ca", "identity.externalCA", bool),
    Flag("identity-issuance-lifetime", "identity.issuer.issuanceLifetime"),
    Flag("identity-clock-skew-allowance", "identity.issuer.clockSkewAllowance"),
    Flag("linkerd-cni-enabled", "cniEnabled", bool),
    Flag("controller-log-level", "controllerLogLevel", check=_one_of(LOG_LEVELS)),
    Flag("controller-replicas", "controllerReplicas", int),
    Flag("controller-uid", "controllerUID", int),
    Flag("controller-gid", "controllerGID", int),
    Flag("disable-heartbeat", "disableHeartBeat", bool),
    Flag("enable-endpoint-slices", "enableEndpointSlices", bool),
)
"""Flags of install and upgrade only; `disable-h2-upgrade` and `identity-external-issuer` are
translated by `values`."""

PROXY = (
    Flag("proxy-image", "proxy.image.name", annotation="proxy-image"),
    Flag("proxy-version", "proxy.image.version", annotation="proxy-version"),
    Flag(
        "image-pull-policy",
        "imagePullPolicy",
        annotation="image-pull-policy",
        check=_one_of(PULL_POLICIES),
    ),
    Flag("inbound-port", "proxy.ports.inbound", int, "inbound-port"),
    Flag("outbound-port", "proxy.ports.outbound", int, "outbound-port"),
    Flag("control-port", "proxy.ports.control", int, "control-port"),
    Flag("admin-port", "proxy.ports.admin", int, "admin-port"),
    Flag("skip-inbound-ports", "proxyInit.ignoreInboundPorts", str, "skip-inbound-ports", _ports),
    Flag(
        "skip-outbound-ports", "proxyInit.ignoreOutboundPorts", str, "skip-outbound-ports", _ports
    ),
    Flag("proxy-uid", "proxy.uid", int, "proxy-uid"),
    Flag("proxy-gid", "proxy.gid", int, "proxy-gid"),
    Flag("proxy-log-level", "proxy.logLevel", str, "proxy-log-level", _log_level),
    Flag("proxy-cpu-request", "proxy.resources.cpu.request", str, "proxy-cpu-request", _quantity),
    Flag("proxy-cpu-limit", "proxy.resources.cpu.limit", str, "proxy-cpu-limit", _quantity),
    Flag(
        "proxy-memory-request",
        "proxy.resources.memory.request",
        str,
        "proxy-memory-request",
        _quantity,
    ),
    Flag(
        "proxy-memory-limit", "proxy.resources.memory.limit", str, "proxy-memory-limit", _quantity
    ),
    Flag(
        "enable-external-profiles",
        "proxy.enableExternalProfiles",
        bool,
        "enable-external-profiles",
    ),
    Flag(
        "default-inbound-policy",
        "proxy.defaultInboundPolicy",
        str,
        "default-inbound-policy",
        _one_of(DEFAULT_POLICIES, got=True),
    ),
)
"""Flags of install, upgrade and inject; `registry` is translated by `values`."""

INJECT = (
    Flag("native-sidecar", "proxy.nativeSidecar", bool, "proxy-enable-native-sidecar"),
    Flag("wait-before-exit-seconds", "proxy.waitBeforeExitSeconds", int, ""),
    Flag(
        "require-identity-on-inbound-ports",
        "proxy.requireIdentityOnInboundPorts",
        str,
        "proxy-require-identity-inbound-ports",
        _ports,
    ),
    Flag("opaque-ports", "proxy.opaquePorts", str, "opaque-ports"),
)
"""Flags of inject only."""

CNI = (
    Flag("linkerd-version", "linkerdVersion"),
    Flag("registry", "registry", check=_registry),
    Flag("proxy-uid", "proxyUID", int),
    Flag("proxy-gid", "proxyGID", int),
    Flag("inbound-port", "inboundProxyPort", int),
    Flag("outbound-port", "outboundProxyPort", int),
    Flag("control-port", "proxyControlPort", int),
    Flag("admin-port", "proxyAdminPort", int),
    Flag("skip-inbound-ports", "ignoreInboundPorts", check=_ports),
    Flag("skip-outbound-ports", "ignoreOutboundPorts", check=_ports),
    Flag("redirect-ports", "portsToRedirect", check=_ports),
    Flag("cni-image", "image.name"),
    Flag("cni-image-version", "image.version"),
    Flag("cni-log-level", "logLevel", check=_one_of(LOG_LEVELS)),
    Flag("dest-cni-net-dir", "destCNINetDir"),
    Flag("dest-cni-bin-dir", "destCNIBinDir"),
    Flag("priority-class-name", "priorityClassName"),
    Flag("use-wait-flag", "useWaitFlag", bool),
)
"""Flags of install-cni only."""


def quantity(text: str, what: str) -> float:
    """Returns the number of a Kubernetes quantity such as `100m`, `1.5` or `20Mi`.

    Raises:
        UsageError: `text` is none; names `what`.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"{what}: {text!r} is not a quantity")
    return float(match.group(1)) * _UNIT[match.group(2) or ""]


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the chart values that the flags stand for.

    Args:
        given: Flag name → value as typed by its `kind`; only flags that the user gave.

    Raises:
        UsageError: a value is not allowed; the text is Linkerd's.
    """
    found = checked((*CONTROL_PLANE, *PROXY, *INJECT), given)
    if given.get("disable-h2-upgrade"):
        found["enableH2Upgrade"] = False
    if given.get("identity-external-issuer"):
        helmset.assign(found, "identity.issuer.scheme", "kubernetes.io/tls")
    if "registry" in given:
        _registry("registry", given["registry"])
        _use_registry(found, given["registry"], given)
    _limits(given, found)
    return found


def checked(flags: Iterable[Flag], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the chart values of those `flags` that are `given`, as `values` for one table.

    Raises:
        UsageError: a value is not allowed.
    """
    found: dict[str, Any] = {}
    for flag in flags:
        if flag.name in given:
            value = given[flag.name]
            if flag.check is not None:
                flag.check(flag.name, str(value))
            helmset.assign(found, flag.path, value)
    return found


def pod_annotations(
    given: Mapping[str, Any], values: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Returns the `config.linkerd.io/…` annotations that `inject` writes for the flags given.

    Args:
        given: Flag name → value; only flags that the user gave.
        values: The cluster's, when known; a flag that says what they say writes nothing.

    Raises:
        UsageError: a value is not allowed.
    """
    for flag in (*PROXY, *INJECT):
        if flag.check is not None and flag.name in given:
            flag.check(flag.name, str(given[flag.name]))
    found = {
        f"config.linkerd.io/{flag.annotation}": _text(given[flag.name])
        for flag in (*PROXY, *INJECT)
        if flag.annotation
        and flag.name in given
        and (values is None or _text(_at(values, flag.path)) != _text(given[flag.name]))
    }
    if "wait-before-exit-seconds" in given:
        key = "config.alpha.linkerd.io/proxy-wait-before-exit-seconds"
        found[key] = _text(given["wait-before-exit-seconds"])
    if "close-wait-timeout" in given:
        found["config.linkerd.io/close-wait-timeout"] = given["close-wait-timeout"]
    if given.get("enable-debug-sidecar"):
        found["config.linkerd.io/enable-debug-sidecar"] = "true"
    if "registry" in given and "proxy-image" not in given:
        found["config.linkerd.io/proxy-image"] = f"{given['registry'].rstrip('/')}/proxy"
    return found


def _at(values: Mapping[str, Any], path: str) -> Any:
    at: Any = values
    for step in path.split("."):
        at = at.get(step) if isinstance(at, Mapping) else None
    return at


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _use_registry(found: dict[str, Any], registry: str, given: Mapping[str, Any]) -> None:
    images = {
        "controllerImage": "controller",
        "policyController.image.name": "policy-controller",
        "proxyInit.image.name": "proxy-init",
        "debugContainer.image.name": "debug",
    }
    if "proxy-image" not in given:
        images["proxy.image.name"] = "proxy"
    for path, name in images.items():
        helmset.assign(found, path, f"{registry.rstrip('/')}/{name}")


def _limits(given: Mapping[str, Any], found: dict[str, Any]) -> None:
    for resource in ("cpu", "memory"):
        request, limit = (
            given.get(f"proxy-{resource}-request"),
            given.get(f"proxy-{resource}-limit"),
        )
        if request and limit and quantity(limit, "limit") < quantity(request, "request"):
            raise UsageError(
                f"The {resource} limit '{limit}' cannot be lower than "
                f"the {resource} request '{request}'"
            )
    for flag, path in (("request", "minimum"), ("limit", "maximum")):
        text = given.get(f"proxy-cpu-{flag}")
        if text:
            cores = max(1, math.ceil(quantity(text, flag)))
            helmset.assign(found, f"proxy.runtime.workers.{path}", cores)

"""Everything that shapes a proxy: chart values, overridden by annotations.

`from_values` reads the mapping that the ConfigMap linkerd-config holds, once; `overridden` lays a
pod's annotations over it, for each pod. Wrong annotations are told and otherwise ignored, because
a typing error must not keep a pod from starting.
Source: linkerd2 pkg/inject/inject.go applyAnnotationOverrides, pkg/charts/linkerd2/values.go.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from linkerd.errors import RenderError
from linkerd.inject import keys
from linkerd.settings import duration_s

Env = dict[str, Any]

POLICIES = (
    "all-unauthenticated",
    "all-authenticated",
    "cluster-authenticated",
    "cluster-unauthenticated",
    "deny",
    "audit",
)
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_QUANTITY = re.compile(r"\d+(?:\.\d+)?(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?|\d+(?:\.\d+)?e\d+")


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests and limits of one container; empty texts are unset."""

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    storage_request: str = ""
    storage_limit: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its name without tag, its tag, when it is pulled."""

    name: str
    version: str
    pull_policy: str = "IfNotPresent"

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, slots=True)
class Init:
    """What is particular to linkerd-init; `close_wait_s` 0 leaves the kernel's setting alone."""

    image: Image
    iptables_mode: str = "nft"
    log_level: str = ""
    log_format: str = ""
    privileged: bool = False
    run_as_root: bool = False
    user: int = 65534
    group: int = 65534
    close_wait_s: int = 0
    mount_path: str = "/run"
    volume: str = "linkerd-proxy-init-xtables-lock"


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where and as what a proxy reports spans."""

    service_name: str
    collector: str
    collector_account: str
    collector_ns: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one proxy and of what comes with it.

    Timeouts are texts that the proxy reads (`100ms`); ports lists are texts as users write them.
    """

    control_plane_ns: str
    trust_anchors_pem: str
    version: str
    image: Image
    debug_image: Image
    init: Init
    cluster_domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    cluster_networks: str = ""
    disable_ipv6: bool = True
    cni: bool = False
    token_projection: bool = True
    debug: bool = False
    inbound_port: int = 4143
    outbound_port: int = 4140
    control_port: int = 4190
    admin_port: int = 4191
    pod_inbound_ports: str = ""
    skip_inbound_ports: str = ""
    skip_outbound_ports: str = ""
    skip_subnets: str = ""
    opaque_ports: str = ""
    uid: int = 2102
    gid: int = -1
    resources: Resources = field(default_factory=Resources)
    workers_min: int = 1
    workers_max: int | None = None
    workers_ratio: str = ""
    log_level: str = "warn,linkerd=info,hickory=error"
    log_format: str = "plain"
    log_http_headers: str = "off"
    access_log: str = ""
    external_profiles: bool = False
    hostname_labels: bool = False
    require_identity_ports: str = ""
    require_tls_ports: str = ""
    default_policy: str = "all-unauthenticated"
    outbound_connect_timeout: str = "1000ms"
    inbound_connect_timeout: str = "100ms"
    outbound_discovery_timeout: str = "5s"
    inbound_discovery_timeout: str = "90s"
    no_outbound_detect_timeout: bool = False
    no_inbound_detect_timeout: bool = False
    control_streams: tuple[str, str, str] = ("3s", "5m", "1h")
    shutdown_grace_period: str = ""
    shutdown_endpoint: bool = False
    waits: bool = True
    native: bool = True
    gateway: bool = False
    ingress: bool = False
    wait_before_exit_s: int = 0
    startup_probe: Mapping[str, int] = field(default_factory=dict)
    liveness_probe: Mapping[str, int] = field(default_factory=dict)
    readiness_probe: Mapping[str, int] = field(default_factory=dict)
    security_context: Mapping[str, Any] | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    tracing: Tracing | None = None
    validator: Mapping[str, Any] = field(default_factory=dict)
    additional_env: tuple[Env, ...] = ()
    experimental_env: tuple[Env, ...] = ()


def from_values(
    values: Mapping[str, Any], *, control_plane_ns: str, trust_anchors_pem: str | None = None
) -> Config:
    """Returns the settings in chart values that are complete (defaults merged in).

    Args:
        values: The mapping of values.yaml, or of linkerd-config's key `values`.
        control_plane_ns: Namespace of the control plane.
        trust_anchors_pem: Instead of the values' own.

    Raises:
        RenderError: a key is missing or holds another type.
    """
    try:
        return _from_values(values, control_plane_ns, trust_anchors_pem)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RenderError(f"linkerd-config cannot be used: {error!r}") from None


def overridden(config: Config, annotations: Mapping[str, str]) -> tuple[Config, list[str]]:
    """Returns the settings of a pod with these annotations, and what was wrong with them."""
    changes: dict[str, Any] = {}
    problems: list[str] = []
    state = _State(config, changes)
    for key, value in annotations.items():
        apply = _ANNOTATIONS.get(key)
        if apply is None:
            continue
        try:
            apply(state, value)
        except ValueError as error:
            problems.append(f"{key}: {value!r} is ignored: expected {error}")
    for key in keys.NATIVE_SIDECAR:
        if key in annotations:
            try:
                changes["native"] = _bool(annotations[key])
            except ValueError as error:
                problems.append(f"{key}: {annotations[key]!r} is ignored: expected {error}")
            break
    _trace_attributes(config, annotations, changes)
    return (replace(config, **changes) if changes else config), problems


def additional_env(texts: list[str], base: tuple[Env, ...]) -> tuple[Env, ...]:
    """Returns `base` with the JSON lists laid over it by name, later ones winning.

    Raises:
        ValueError: a text is no list of EnvVar.
    """
    merged = {env["name"]: env for env in base}
    for text in texts:
        try:
            listed = json.loads(text)
        except json.JSONDecodeError:
            raise ValueError("a JSON list of environment variables") from None
        if not isinstance(listed, list) or not all(
            isinstance(env, dict) and isinstance(env.get("name"), str) for env in listed
        ):
            raise ValueError("a JSON list of environment variables")
        merged.update((env["name"], env) for env in listed)
    return tuple(merged.values())


def cores(quantity: str) -> int:
    """Returns the whole cores of a CPU quantity, rounded up, at least 1.

    Raises:
        ValueError: it is no quantity.
    """
    match = _CPU.fullmatch(quantity)
    if match is None:
        raise ValueError("a quantity such as 100m or 2")
    amount = float(match.group(1)) / (1000 if match.group(2) else 1)
    return max(1, math.ceil(amount))


class _State:
    """The settings under way: changed ones first, then the base."""

    __slots__ = ("base", "changes")

    def __init__(self, base: Config, changes: dict[str, Any]) -> None:
        self.base, self.changes = base, changes

    def current(self, name: str) -> Any:
        return self.changes.get(name, getattr(self.base, name))

    def nest(self, name: str, /, **changes: Any) -> None:
        self.changes[name] = replace(self.current(name), **changes)


Apply = Callable[[_State, str], None]


def _to(name: str, parse: Callable[[str], Any] = str) -> Apply:
    def apply(state: _State, text: str) -> None:
        state.changes[name] = parse(text)

    return apply


def _nested(name: str, key: str, parse: Callable[[str], Any] = str) -> Apply:
    def apply(state: _State, text: str) -> None:
        state.nest(name, **{key: parse(text)})

    return apply


def _cpu(key: str, workers: str) -> Apply:
    def apply(state: _State, text: str) -> None:
        state.changes[workers] = cores(text)
        state.nest("resources", **{key: text})

    return apply


def _pull_policy(state: _State, text: str) -> None:
    policy = _choice("Always", "IfNotPresent", "Never")(text)
    state.nest("image", pull_policy=policy)
    state.nest("init", image=replace(state.current("init").image, pull_policy=policy))


def _additional_env(state: _State, text: str) -> None:
    state.changes["additional_env"] = additional_env([text], state.base.additional_env)


def _bool(text: str) -> bool:
    if text.lower() in ("true", "1", "t"):
        return True
    if text.lower() in ("false", "0", "f"):
        return False
    raise ValueError("true or false")


def _enabled(text: str) -> bool:
    if text not in ("enabled", "disabled"):
        raise ValueError("enabled or disabled")
    return text == "enabled"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise ValueError("a port")
    return int(text)


def _number(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,10}", text):
        raise ValueError("a whole number")
    return int(text)


def _seconds(text: str) -> int:
    return int(duration_s(text))


def _milliseconds(text: str) -> str:
    # The proxy takes one number and unit; Go's compound durations are written out.
    return f"{int(duration_s(text) * 1000)}ms"


def _amount(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError("a quantity such as 20Mi")
    return text


def _ratio(text: str) -> str:
    try:
        inside = 0.0 < float(text) < 1.0
    except ValueError:
        inside = False
    if not inside:
        raise ValueError("a number between 0 and 1")
    return text


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


_ANNOTATIONS: dict[str, Apply] = {
    keys.CONFIG + name: apply
    for name, apply in {
        "proxy-image": _nested("image", "name"),
        "proxy-version": _nested("image", "version"),
        "image-pull-policy": _pull_policy,
        "debug-image": _nested("debug_image", "name"),
        "debug-image-version": _nested("debug_image", "version"),
        "debug-image-pull-policy": _nested(
            "debug_image", "pull_policy", _choice("Always", "IfNotPresent", "Never")
        ),
        "enable-debug-sidecar": _to("debug", _bool),
        "control-port": _to("control_port", _port),
        "inbound-port": _to("inbound_port", _port),
        "outbound-port": _to("outbound_port", _port),
        "admin-port": _to("admin_port", _port),
        "pod-inbound-ports": _to("pod_inbound_ports"),
        "skip-inbound-ports": _to("skip_inbound_ports"),
        "skip-outbound-ports": _to("skip_outbound_ports"),
        "skip-subnets": _to("skip_subnets"),
        "opaque-ports": _to("opaque_ports"),
        "close-wait-timeout": _nested("init", "close_wait_s", _seconds),
        "proxy-uid": _to("uid", _number),
        "proxy-gid": _to("gid", _number),
        "proxy-cpu-request": _cpu("cpu_request", "workers_min"),
        "proxy-cpu-limit": _cpu("cpu_limit", "workers_max"),
        "proxy-cpu-ratio-limit": _to("workers_ratio", _ratio),
        "proxy-memory-request": _nested("resources", "memory_request", _amount),
        "proxy-memory-limit": _nested("resources", "memory_limit", _amount),
        "proxy-ephemeral-storage-request": _nested("resources", "storage_request", _amount),
        "proxy-ephemeral-storage-limit": _nested("resources", "storage_limit", _amount),
        "proxy-log-level": _to("log_level"),
        "proxy-log-format": _to("log_format"),
        "proxy-log-http-headers": _to("log_http_headers", _choice("off", "insecure")),
        "access-log": _to("access_log"),
        "enable-external-profiles": _to("external_profiles", _bool),
        "proxy-metrics-hostname-labels": _to("hostname_labels", _bool),
        "proxy-require-identity-inbound-ports": _to("require_identity_ports"),
        "default-inbound-policy": _to("default_policy", _choice(*POLICIES)),
        "proxy-outbound-connect-timeout": _to("outbound_connect_timeout", _milliseconds),
        "proxy-inbound-connect-timeout": _to("inbound_connect_timeout", _milliseconds),
        "proxy-outbound-discovery-cache-unused-timeout": _to(
            "outbound_discovery_timeout", _milliseconds
        ),
        "proxy-inbound-discovery-cache-unused-timeout": _to(
            "inbound_discovery_timeout", _milliseconds
        ),
        "proxy-disable-outbound-protocol-detect-timeout": _to("no_outbound_detect_timeout", _bool),
        "proxy-disable-inbound-protocol-detect-timeout": _to("no_inbound_detect_timeout", _bool),
        "shutdown-grace-period": _to("shutdown_grace_period", _milliseconds),
        "proxy-admin-shutdown": _to("shutdown_endpoint", _enabled),
        "proxy-await": _to("waits", _enabled),
        "enable-gateway": _to("gateway", _bool),
        "proxy-additional-env": _additional_env,
    }.items()
}
_ANNOTATIONS[keys.WAIT_BEFORE_EXIT] = _to("wait_before_exit_s", _number)
_ANNOTATIONS[keys.INJECT] = lambda state, text: state.changes.update(
    ingress=text == keys.INGRESS or state.current("ingress")
)


def _trace_attributes(
    config: Config, annotations: Mapping[str, str], changes: dict[str, Any]
) -> None:
    found = {
        key.removeprefix(keys.TRACE_ATTRIBUTE): value
        for key, value in annotations.items()
        if key.startswith(keys.TRACE_ATTRIBUTE)
    }
    if config.tracing is not None and found:
        labels = {**dict(config.tracing.labels), **found}
        changes["tracing"] = replace(config.tracing, labels=tuple(sorted(labels.items())))


def _from_values(values: Mapping[str, Any], ns: str, anchors: str | None) -> Config:
    proxy, init, debug = values["proxy"], values["proxyInit"], values["debugContainer"]["image"]
    version = values["linkerdVersion"]
    pull_policy = values["imagePullPolicy"]
    workers = proxy["runtime"]["workers"]
    domain = values["clusterDomain"]
    streams = proxy["control"]["streams"]
    return Config(
        control_plane_ns=ns,
        trust_anchors_pem=(anchors or values["identityTrustAnchorsPEM"]).strip(),
        version=version,
        image=_image(proxy["image"], version, pull_policy),
        debug_image=_image(debug, version, pull_policy),
        init=Init(
            image=_image(init["image"], version, pull_policy),
            iptables_mode=init["iptablesMode"],
            log_level=init["logLevel"],
            log_format=init["logFormat"],
            privileged=init["privileged"],
            run_as_root=init["runAsRoot"],
            user=init["runAsUser"],
            group=init["runAsGroup"],
            close_wait_s=int(init["closeWaitTimeoutSecs"]),
            mount_path=init["xtMountPath"]["mountPath"],
            volume=init["xtMountPath"]["name"],
        ),
        cluster_domain=domain,
        trust_domain=values["identityTrustDomain"] or domain,
        cluster_networks=values["clusterNetworks"],
        disable_ipv6=values["disableIPv6"],
        cni=values["cniEnabled"],
        token_projection=values["identity"]["serviceAccountTokenProjection"],
        inbound_port=int(proxy["ports"]["inbound"]),
        outbound_port=int(proxy["ports"]["outbound"]),
        control_port=int(proxy["ports"]["control"]),
        admin_port=int(proxy["ports"]["admin"]),
        skip_inbound_ports=str(init["ignoreInboundPorts"]),
        skip_outbound_ports=str(init["ignoreOutboundPorts"]),
        skip_subnets=init["skipSubnets"],
        opaque_ports=str(proxy["opaquePorts"]),
        uid=int(proxy["uid"]),
        gid=int(proxy["gid"]),
        resources=_resources(proxy["resources"]),
        workers_min=int(workers["minimum"]),
        workers_max=int(workers["maximum"]) if workers.get("maximum") else None,
        workers_ratio=str(workers.get("maximumCPURatio") or ""),
        log_level=proxy["logLevel"],
        log_format=proxy["logFormat"],
        log_http_headers=proxy["logHTTPHeaders"] or "off",
        access_log=proxy["accessLog"],
        external_profiles=proxy["enableExternalProfiles"],
        hostname_labels=proxy["metrics"]["hostnameLabels"],
        require_identity_ports=str(proxy["requireIdentityOnInboundPorts"]),
        require_tls_ports=str(proxy["requireTLSOnInboundPorts"]),
        default_policy=proxy["defaultInboundPolicy"],
        outbound_connect_timeout=proxy["outboundConnectTimeout"],
        inbound_connect_timeout=proxy["inboundConnectTimeout"],
        outbound_discovery_timeout=proxy["outboundDiscoveryCacheUnusedTimeout"],
        inbound_discovery_timeout=proxy["inboundDiscoveryCacheUnusedTimeout"],
        no_outbound_detect_timeout=proxy["disableOutboundProtocolDetectTimeout"],
        no_inbound_detect_timeout=proxy["disableInboundProtocolDetectTimeout"],
        control_streams=(streams["initialTimeout"], streams["idleTimeout"], streams["lifetime"]),
        shutdown_grace_period=proxy["shutdownGracePeriod"],
        shutdown_endpoint=proxy["enableShutdownEndpoint"],
        waits=proxy["await"],
        native=proxy["nativeSidecar"],
        wait_before_exit_s=int(proxy["waitBeforeExitSeconds"]),
        startup_probe=proxy["startupProbe"],
        liveness_probe=proxy["livenessProbe"],
        readiness_probe=proxy["readinessProbe"],
        security_context=proxy["securityContext"] or None,
        parameters=_parameters(proxy),
        tracing=_tracing(proxy["tracing"]),
        validator=values["networkValidator"],
        additional_env=tuple(proxy["additionalEnv"]),
        experimental_env=tuple(proxy["experimentalEnv"]),
    )


def _image(image: Mapping[str, Any], version: str, pull_policy: str) -> Image:
    return Image(image["name"], image["version"] or version, image["pullPolicy"] or pull_policy)


def _resources(values: Mapping[str, Any]) -> Resources:
    def one(name: str, side: str) -> str:
        return str((values.get(name) or {}).get(side) or "")

    return Resources(
        cpu_request=one("cpu", "request"),
        cpu_limit=one("cpu", "limit"),
        memory_request=one("memory", "request"),
        memory_limit=one("memory", "limit"),
        storage_request=one("ephemeral-storage", "request"),
        storage_limit=one("ephemeral-storage", "limit"),
    )


def _parameters(proxy: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for direction in ("inbound", "outbound"):
        for scope, protocols in sorted(proxy[direction].items()):
            for protocol, parameters in sorted(protocols.items()):
                for parameter, value in sorted(parameters.items()):
                    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parameter)
                    name = f"{direction}_{scope}_{protocol}_{snake}".upper()
                    found.append((f"LINKERD2_PROXY_{name}", str(value)))
    return tuple(found)


def _tracing(values: Mapping[str, Any]) -> Tracing | None:
    if not values["enabled"]:
        return None
    collector = values["collector"]
    mesh = collector["meshIdentity"]
    return Tracing(
        service_name=values["traceServiceName"],
        collector=collector["endpoint"],
        collector_account=mesh["serviceAccountName"],
        collector_ns=mesh["namespace"],
        labels=tuple(sorted((str(k), str(v)) for k, v in values["labels"].items())),
    )

"""The containers and volumes that injection adds, as the manifest has them.

The control plane's own pods get theirs from the chart (templates/_proxy.tpl); a test proves that
both agree.
Source: linkerd2 charts/partials/templates/_proxy.tpl, _proxy-init.tpl (behaviour).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.inject.config import Config, Resources

Object = dict[str, Any]

PROXY = "linkerd-proxy"
INIT = "linkerd-init"
VALIDATOR = "linkerd-network-validator"
DEBUG = "linkerd-debug"
IDENTITY_VOLUME = "linkerd-identity-end-entity"
TOKEN_VOLUME = "linkerd-identity-token"
PODINFO_VOLUME = "linkerd-podinfo"

IDENTITY_DIR = "/var/run/linkerd/identity/end-entity"
TOKEN_DIR = "/var/run/secrets/tokens"
ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
AUDIENCE = "identity.l5d.io"
TOKEN_S = 86400

_WORKLOAD = '{"ns":"$(_pod_ns)", "pod":"$(_pod_name)"}\n'
_CONTEXT = '{"ns":"$(_pod_ns)", "nodeName":"$(_pod_nodeName)", "pod":"$(_pod_name)"}\n'
_QUIET = ",[{headers}]=off,[{request}]=off"


@dataclass(frozen=True, slots=True)
class Pod:
    """What the containers depend on besides the settings.

    `inbound_ports` and `opaque_ports` are comma lists; `capabilities` and `account_mount` are the
    first container's, None when it has none.
    """

    inbound_ports: str = ""
    opaque_ports: str = ""
    capabilities: Mapping[str, Any] | None = None
    account_mount: Object | None = None


def proxy_container(config: Config, pod: Pod) -> Object:
    """Returns the container linkerd-proxy."""
    admin = config.admin_port
    container: Object = {
        "name": PROXY,
        "image": str(config.image),
        "imagePullPolicy": config.image.pull_policy,
        "env": environment(config, pod),
        "ports": [
            {"containerPort": config.inbound_port, "name": PROXY},
            {"containerPort": admin, "name": "linkerd-admin"},
        ],
        "livenessProbe": _probe("/live", admin, config.liveness_probe),
        "readinessProbe": _probe("/ready", admin, config.readiness_probe),
        "securityContext": _proxy_security(config, pod.capabilities),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(config, pod.account_mount),
        **resources(config.resources),
    }
    if config.native:
        container["restartPolicy"] = "Always"
        if config.waits:
            container["startupProbe"] = _probe("/ready", admin, config.startup_probe)
    else:
        container.update(_lifecycle(config))
    return container


def init_container(config: Config, capabilities: Mapping[str, Any] | None = None) -> Object:
    """Returns the container linkerd-init, which redirects the pod's traffic to the proxy."""
    init = config.init
    privileged = init.privileged or init.close_wait_s > 0
    root = init.run_as_root or init.close_wait_s > 0
    own = ("NET_ADMIN", "NET_RAW")
    added = [name for name in (capabilities or {}).get("add") or () if name not in own]
    dropped = [name for name in (capabilities or {}).get("drop") or () if name not in own]
    return {
        "name": INIT,
        "image": str(init.image),
        "imagePullPolicy": init.image.pull_policy,
        "args": _init_args(config),
        "securityContext": {
            "allowPrivilegeEscalation": privileged,
            "capabilities": {
                "add": [*own, *added],
                **({"drop": dropped} if dropped else {}),
            },
            "privileged": privileged,
            "runAsUser": 0 if root else init.user,
            "runAsGroup": 0 if root else init.group,
            "runAsNonRoot": not root,
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"mountPath": init.mount_path, "name": init.volume}],
        **resources(config.resources),
    }


def validator_container(config: Config) -> Object:
    """Returns the container that waits until the CNI plugin has redirected the pod's traffic."""
    settings = config.validator
    connect = settings.get("connectAddr") or (
        "1.1.1.1:20001" if config.disable_ipv6 else "[fd00::1]:20001"
    )
    listen = settings.get("listenAddr") or f"{_any(config)}:{config.outbound_port}"
    container: Object = {
        "name": VALIDATOR,
        "image": str(config.image),
        "imagePullPolicy": config.image.pull_policy,
        "command": ["/usr/lib/linkerd/linkerd2-network-validator"],
        "args": [
            "--log-format",
            settings["logFormat"],
            "--log-level",
            settings["logLevel"],
            "--connect-addr",
            connect,
            "--listen-addr",
            listen,
            "--timeout",
            settings["timeout"],
        ],
        **resources(config.resources),
    }
    if settings.get("enableSecurityContext"):
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": 65534,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    return container


def debug_container(config: Config) -> Object:
    """Returns the container linkerd-debug."""
    probe = {"exec": {"command": ["true"]}}
    return {
        "name": DEBUG,
        "image": str(config.debug_image),
        "imagePullPolicy": config.debug_image.pull_policy,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "livenessProbe": probe,
        "readinessProbe": probe,
    }


def lock_volume(config: Config) -> Object:
    """Returns the volume that linkerd-init needs with a read-only root."""
    return {"emptyDir": {}, "name": config.init.volume}


def identity_volume() -> Object:
    """Returns the volume, in memory, of the proxy's key and request."""
    return {"emptyDir": {"medium": "Memory"}, "name": IDENTITY_VOLUME}


def token_volume() -> Object:
    """Returns the volume of the token that proves the proxy's identity and nothing else."""
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_S, "path": TOKEN_VOLUME}
    return {"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}


def podinfo_volume() -> Object:
    """Returns the volume of the pod's labels, for trace attributes."""
    labels = {"fieldRef": {"fieldPath": "metadata.labels"}, "path": "labels"}
    return {"downwardAPI": {"items": [labels]}, "name": PODINFO_VOLUME}


def resources(amounts: Resources) -> Object:
    """Returns `{"resources": …}`, empty when nothing is set."""
    sides = {
        "limits": (amounts.cpu_limit, amounts.memory_limit, amounts.storage_limit),
        "requests": (amounts.cpu_request, amounts.memory_request, amounts.storage_request),
    }
    names = ("cpu", "memory", "ephemeral-storage")
    found = {
        side: {name: text for name, text in zip(names, texts, strict=True) if text}
        for side, texts in sides.items()
        if any(texts)
    }
    return {"resources": found} if found else {}


def environment(config: Config, pod: Pod) -> list[Object]:
    """Returns the proxy's environment in Linkerd's order."""
    ns, domain = config.control_plane_ns, config.cluster_domain
    suffix = f"serviceaccount.identity.{ns}.{config.trust_domain}"
    address = _any(config)
    outbound = f"127.0.0.1:{config.outbound_port}"
    both = outbound if config.disable_ipv6 else f"{outbound},[::1]:{config.outbound_port}"
    quiet = "" if config.log_http_headers == "insecure" else _QUIET
    initial, idle, lifetime = config.control_streams
    projected = config.token_projection
    token = f"{TOKEN_DIR}/{TOKEN_VOLUME}" if projected else f"{ACCOUNT_DIR}/token"
    dst_suffix = f"svc.{domain}."
    env: list[Object] = [
        _field("_pod_name", "metadata.name"),
        _field("_pod_ns", "metadata.namespace"),
        _field("_pod_uid", "metadata.uid"),
        _field("_pod_ip", "status.podIP"),
        _field("_pod_nodeName", "spec.nodeName"),
        {"name": "_pod_containerName", "value": PROXY},
        _set("CORES", config.workers_max or config.workers_min),
        _set("CORES_MIN", config.workers_min),
        *_if("CORES_MAX", config.workers_max),
        *_if("CORES_MAX_RATIO", config.workers_ratio),
        *_if("INBOUND_PORTS_REQUIRE_IDENTITY", config.require_identity_ports),
        *_if("INBOUND_PORTS_REQUIRE_TLS", config.require_tls_ports),
        _set("SHUTDOWN_ENDPOINT_ENABLED", _text(config.shutdown_endpoint)),
        _set("LOG", config.log_level + quiet),
        _set("LOG_FORMAT", config.log_format),
        _set("DESTINATION_SVC_ADDR", f"linkerd-dst-headless.{ns}.svc.{domain}.:8086"),
        _set("DESTINATION_PROFILE_NETWORKS", config.cluster_networks),
        _set("POLICY_SVC_ADDR", f"linkerd-policy.{ns}.svc.{domain}.:8090"),
        _set("POLICY_WORKLOAD", _WORKLOAD),
        _set("INBOUND_DEFAULT_POLICY", config.default_policy),
        _set("POLICY_CLUSTER_NETWORKS", config.cluster_networks),
        _set("CONTROL_STREAM_INITIAL_TIMEOUT", initial),
        _set("CONTROL_STREAM_IDLE_TIMEOUT", idle),
        _set("CONTROL_STREAM_LIFETIME", lifetime),
        _set("INBOUND_CONNECT_TIMEOUT", config.inbound_connect_timeout),
        _set("OUTBOUND_CONNECT_TIMEOUT", config.outbound_connect_timeout),
        _set("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", config.outbound_discovery_timeout),
        _set("INBOUND_DISCOVERY_IDLE_TIMEOUT", config.inbound_discovery_timeout),
        *_if("OUTBOUND_DETECT_TIMEOUT", config.no_outbound_detect_timeout and "365d"),
        *_if("INBOUND_DETECT_TIMEOUT", config.no_inbound_detect_timeout and "365d"),
        _set("CONTROL_LISTEN_ADDR", f"{address}:{config.control_port}"),
        _set("ADMIN_LISTEN_ADDR", f"{address}:{config.admin_port}"),
        _set("OUTBOUND_LISTEN_ADDR", outbound),
        _set("OUTBOUND_LISTEN_ADDRS", both),
        _set("INBOUND_LISTEN_ADDR", f"{address}:{config.inbound_port}"),
        _field("LINKERD2_PROXY_INBOUND_IPS", "status.podIPs"),
        _set("INBOUND_PORTS", pod.inbound_ports),
        *_if("INBOUND_GATEWAY_SUFFIXES", config.gateway and dst_suffix),
        *_if("INGRESS_MODE", config.ingress and "true"),
        _set("DESTINATION_PROFILE_SUFFIXES", "." if config.external_profiles else dst_suffix),
        _set("INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
        _set("OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
        _set("INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
        _set("OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
        _set("OUTBOUND_METRICS_HOSTNAME_LABELS", _text(config.hostname_labels)),
        *_trace_env(config),
        *({"name": name, "value": value} for name, value in config.parameters),
        _set("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", pod.opaque_ports),
        _set("DESTINATION_CONTEXT", _CONTEXT),
        _field("_pod_sa", "spec.serviceAccountName"),
        {"name": "_l5d_ns", "value": ns},
        {"name": "_l5d_trustdomain", "value": config.trust_domain},
        _set("IDENTITY_DIR", IDENTITY_DIR),
        _set("IDENTITY_TRUST_ANCHORS", config.trust_anchors_pem + "\n"),
        _set("IDENTITY_TOKEN_FILE", token),
        _set("IDENTITY_SVC_ADDR", f"linkerd-identity-headless.{ns}.svc.{domain}.:8080"),
        _set("IDENTITY_LOCAL_NAME", f"$(_pod_sa).$(_pod_ns).{suffix}"),
        _set("IDENTITY_SVC_NAME", f"linkerd-identity.{ns}.{suffix}"),
        _set("DESTINATION_SVC_NAME", f"linkerd-destination.{ns}.{suffix}"),
        _set("POLICY_SVC_NAME", f"linkerd-destination.{ns}.{suffix}"),
        *_if("ACCESS_LOG", config.access_log),
        *_if("SHUTDOWN_GRACE_PERIOD", config.shutdown_grace_period),
        *config.additional_env,
        *config.experimental_env,
    ]
    return env


def _any(config: Config) -> str:
    return "0.0.0.0" if config.disable_ipv6 else "[::]"


def _text(value: bool) -> str:
    return "true" if value else "false"


def _set(name: str, value: Any) -> Object:
    return {"name": f"LINKERD2_PROXY_{name}", "value": str(value)}


def _if(name: str, value: Any) -> list[Object]:
    return [_set(name, value)] if value else []


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _trace_env(config: Config) -> list[Object]:
    tracing = config.tracing
    if tracing is None:
        return []
    name = (
        f"{tracing.collector_account}.{tracing.collector_ns}.serviceaccount.identity."
        f"{config.control_plane_ns}.{config.trust_domain}"
    )
    extra = "".join(f"{key}={value}\n" for key, value in tracing.labels)
    return [
        _set("TRACE_ATTRIBUTES_PATH", "/var/run/linkerd/podinfo/labels"),
        _set("TRACE_ANNOTATIONS_PATH", "/var/run/linkerd/podinfo/annotations"),
        _set("TRACE_PROTOCOL", "opentelemetry"),
        _set("TRACE_SERVICE_NAME", tracing.service_name),
        _set("TRACE_COLLECTOR_SVC_ADDR", tracing.collector),
        _set("TRACE_COLLECTOR_SVC_NAME", name),
        _set("TRACE_EXTRA_ATTRIBUTES", extra),
    ]


def _probe(path: str, port: int, timing: Mapping[str, int]) -> Object:
    return {"httpGet": {"path": path, "port": port}, **timing}


def _proxy_security(config: Config, capabilities: Mapping[str, Any] | None) -> Object:
    if config.security_context is not None:
        return dict(config.security_context)
    context: Object = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": config.uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if capabilities:
        context["capabilities"] = dict(capabilities)
    if config.gid >= 0:
        context["runAsGroup"] = config.gid
    return context


def _mounts(config: Config, account: Object | None) -> list[Object]:
    mounts: list[Object] = [{"mountPath": IDENTITY_DIR, "name": IDENTITY_VOLUME}]
    if config.token_projection:
        mounts.append({"mountPath": TOKEN_DIR, "name": TOKEN_VOLUME})
    if config.tracing is not None:
        mounts.append({"mountPath": "/var/run/linkerd/podinfo", "name": PODINFO_VOLUME})
    if account is not None:
        mounts.append(dict(account))
    return mounts


def _lifecycle(config: Config) -> Object:
    hooks: Object = {}
    if config.waits:
        await_ready = [
            "/usr/lib/linkerd/linkerd-await",
            "--timeout=2m",
            f"--port={config.admin_port}",
        ]
        hooks["postStart"] = {"exec": {"command": await_ready}}
    if config.wait_before_exit_s > 0:
        sleep = ["/bin/sleep", str(config.wait_before_exit_s)]
        hooks["preStop"] = {"exec": {"command": sleep}}
    return {"lifecycle": hooks} if hooks else {}


def _init_args(config: Config) -> list[str]:
    init = config.init
    binary = {"nft": "iptables-nft", "plain": "iptables"}.get(init.iptables_mode)
    args: list[str] = []
    if binary:
        args += ["--firewall-bin-path", binary, "--firewall-save-bin-path", f"{binary}-save"]
    if config.disable_ipv6:
        args.append("--ipv6=false")
    args += ["--incoming-proxy-port", str(config.inbound_port)]
    args += ["--outgoing-proxy-port", str(config.outbound_port)]
    args += ["--proxy-uid", str(config.uid)]
    if config.gid >= 0:
        args += ["--proxy-gid", str(config.gid)]
    ignored = [str(config.control_port), str(config.admin_port), config.skip_inbound_ports]
    args += ["--inbound-ports-to-ignore", ",".join(filter(None, ignored))]
    optional = {
        "--outbound-ports-to-ignore": config.skip_outbound_ports,
        "--timeout-close-wait-secs": str(init.close_wait_s or ""),
        "--log-format": init.log_format,
        "--log-level": init.log_level,
        "--subnets-to-ignore": config.skip_subnets,
    }
    for flag, value in optional.items():
        if value:
            args += [flag, value]
    return args

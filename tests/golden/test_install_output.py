"""What install prints and inject makes, whole; certificates and what follows from them replaced.

Also: the proxies of the control plane, which the chart renders, equal those that injection makes.
"""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from linkerd.inject import documents, jsonpatch, manifest, pod, proxy, workload
from linkerd.inject.config import Config, from_values, overridden
from linkerd.inject.uninject import uninject
from linkerd.install import charts, install
from tests.golden.expected import check

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
_SECRETS = (
    (re.compile(r"-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----"), r"<\1>"),
    (re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"), "<base64 PEM>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
)
TRACING: dict[str, Any] = {
    "tracing": {
        "enabled": True,
        "collector": {
            "endpoint": "collector.obs:4317",
            "meshIdentity": {"serviceAccountName": "collector", "namespace": "obs"},
        },
    }
}


def _installed(**options: Any) -> str:
    text = install.render_control_plane(install.InstallOptions(now=NOW, **options))
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("install_default.yaml", {}),
        ("install_ha.yaml", {"ha": True}),
        (
            "install_custom.yaml",
            {
                "namespace": "mesh",
                "user_values": {
                    "cniEnabled": True,
                    "disableIPv6": False,
                    "disableHeartBeat": True,
                    "podMonitor": {"enabled": True},
                    "proxy": {"nativeSidecar": False, **TRACING},
                },
            },
        ),
    ],
)
def test_install(name: str, options: dict[str, Any]) -> None:
    check(name, _installed(**options))


def test_install_crds() -> None:
    check("install_crds.yaml", install.render_crds())


def test_install_cni() -> None:
    values = {"ignoreInboundPorts": "25,3000-3010", "repairController": {"enabled": True}}
    chart = charts.chart_dir("linkerd2-cni")
    text = charts.render_chart(chart, values, release="linkerd2-cni", namespace="linkerd-cni")
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    check("install_cni.yaml", text)


def test_inject_manual() -> None:
    values = {**install.default_values(), "identityTrustAnchorsPEM": "ANCHORS\n"}
    options = documents.Options(
        annotations={"linkerd.io/inject": "enabled", "config.linkerd.io/proxy-cpu-request": "100m"},
        manual=True,
        config=from_values(values, control_plane_ns="linkerd"),
        created_by="linkerd/cli test",
    )
    text = manifest.render(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "emojivoto"},
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "web", "image": "web:1", "ports": [{"containerPort": 3306}]}
                        ]
                    }
                }
            },
        }
    )
    check("inject_manual.yaml", documents.inject_text(text, options).text)


_LOCAL = {
    "destination": ("DESTINATION_SVC_ADDR", "POLICY_SVC_ADDR"),
    "identity": ("IDENTITY_SVC_ADDR", "INBOUND_PORTS_REQUIRE_TLS"),
    "proxy-injector": (),
}
_LAYOUTS: dict[str, dict[str, Any]] = {
    "default": {},
    "classic": {"proxy": {"nativeSidecar": False}},
    "ipv6": {"disableIPv6": False},
    "tracing": {"proxy": TRACING},
    "cni": {"cniEnabled": True},
    "tuned": {
        "proxyInit": {"iptablesMode": "plain", "skipSubnets": "10.1.0.0/16", "logLevel": "debug"},
        "proxy": {
            "gid": 5000,
            "accessLog": "json",
            "resources": {"cpu": {"request": "100m", "limit": "2"}, "memory": {"limit": "1Gi"}},
            "runtime": {"workers": {"maximum": 2}},
            "shutdownGracePeriod": "30s",
            "disableInboundProtocolDetectTimeout": True,
            "additionalEnv": [{"name": "EXTRA", "value": "1"}],
        },
    },
}


@pytest.mark.parametrize("component", _LOCAL)
@pytest.mark.parametrize("layout", _LAYOUTS)
def test_the_charts_proxies_equal_injected_ones(layout: str, component: str) -> None:
    """The chart and linkerd/inject/proxy.py state the same container twice; they must agree."""
    user_values = _LAYOUTS[layout]
    rendered = _deployment(component, user_values)
    spec = rendered["spec"]["template"]["spec"]
    injected = _reinjected(rendered, component, user_values)
    assert _find(spec, proxy.PROXY) is not None
    for name in (proxy.PROXY, proxy.INIT, proxy.VALIDATOR):
        expected, actual = _find(spec, name), _find(injected, name)
        assert _comparable(expected, component) == _comparable(actual, component), name
    volumes = {one["name"]: one for one in spec["volumes"]}
    for volume in injected["volumes"]:
        assert volumes[volume["name"]] == volume


def _deployment(component: str, user_values: dict[str, Any]) -> dict[str, Any]:
    text = install.render_control_plane(
        install.InstallOptions(now=NOW, user_values=copy.deepcopy(user_values))
    )
    return next(
        one
        for one in manifest.parse_all(text)
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", f"linkerd-{component}")
    )


def _reinjected(
    rendered: dict[str, Any], component: str, user_values: dict[str, Any]
) -> dict[str, Any]:
    values = charts.merge_values(install.default_values(), user_values)
    values["identityTrustAnchorsPEM"] = "ANCHORS"
    config = from_values(values, control_plane_ns="linkerd")
    if component == "identity":
        annotations = {
            "config.linkerd.io/proxy-enable-native-sidecar": "false",
            "config.linkerd.io/proxy-await": "disabled",
        }
        config, _ = overridden(config, annotations)
    bare, _ = uninject(rendered)
    bare["spec"]["template"]["metadata"]["annotations"] = {}
    bare["spec"]["template"]["spec"]["initContainers"] = []
    target = workload.parse(bare)
    assert target is not None
    for container in bare["spec"]["template"]["spec"]["containers"]:
        container["securityContext"] = {"capabilities": {"drop": ["ALL"]}}
        container["volumeMounts"] = []
    result = jsonpatch.apply(bare, _patch(target, config))
    spec: dict[str, Any] = result["spec"]["template"]["spec"]
    return spec


def _patch(target: workload.Workload, config: Config) -> list[dict[str, Any]]:
    return pod.inject(target, config, created_by="test").patch


def _find(spec: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((dict(one) for one in workload.containers(spec) if one["name"] == name), None)


def _comparable(container: dict[str, Any] | None, component: str) -> dict[str, Any] | None:
    """Leaves out what a control-plane pod has otherwise on purpose."""
    if container is None:
        return None
    result = copy.deepcopy(container)
    result.get("securityContext", {}).get("capabilities", {}).pop("drop", None)
    args = result.get("args", [])
    if "--outbound-ports-to-ignore" in args:
        args[args.index("--outbound-ports-to-ignore") + 1] = "<ports>"
    local = {f"LINKERD2_PROXY_{name}" for name in _LOCAL[component]}
    local |= {"LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"}
    if "env" in result:
        result["env"] = [one for one in result["env"] if one["name"] not in local]
    return result

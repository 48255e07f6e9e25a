"""What install makes of options: credentials, precedence, the secret that upgrade reads."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from linkerd import VERSION
from linkerd.errors import LinkerdError, PkiError, UsageError
from linkerd.inject import config, manifest
from linkerd.install import charts, install
from linkerd.pki import issue, trust

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def _objects(**options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    text = install.render_control_plane(install.InstallOptions(now=NOW, **options))
    return {(o["kind"], o["metadata"]["name"]): o for o in manifest.parse_all(text)}


def _overrides(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    data = objects["Secret", "linkerd-config-overrides"]["stringData"]
    found: dict[str, Any] = manifest.parse(data["linkerd-config-overrides"])
    return found


def test_credentials_are_generated_when_none_are_given() -> None:
    objects = _objects()
    secret = objects["Secret", "linkerd-identity-issuer"]["data"]
    roots = objects["ConfigMap", "linkerd-identity-trust-roots"]["data"]["ca-bundle.crt"]
    issuer = trust.parse_issuer(
        base64.b64decode(secret["crt.pem"]), base64.b64decode(secret["key.pem"])
    )
    assert trust.problem(issuer.chain, trust.parse_bundle(roots), NOW) is None
    expected = "CN=identity.linkerd.cluster.local"
    assert expected == issuer.credential.cert.subject.rfc4514_string()


def test_the_config_map_holds_no_key() -> None:
    values = _objects()["ConfigMap", "linkerd-config"]["data"]["values"]
    assert "PRIVATE KEY" not in values and "keyPEM" not in values
    assert VERSION == manifest.parse(values)["linkerdVersion"]


def test_the_config_map_is_what_the_injector_reads() -> None:
    values = _objects(user_values={"proxy": {"logLevel": "debug"}})
    text = values["ConfigMap", "linkerd-config"]["data"]["values"]
    found = config.from_values(manifest.parse(text), control_plane_ns="linkerd")
    assert "debug" == found.log_level
    assert found.trust_anchors_pem.startswith("-----BEGIN CERTIFICATE")


def test_overrides_hold_only_what_differs() -> None:
    over = _overrides(
        _objects(user_values={"controllerReplicas": 2, "clusterDomain": "cluster.local"})
    )
    assert {"controllerReplicas", "identity", "identityTrustAnchorsPEM"} == set(over)


def test_later_layers_win() -> None:
    objects = _objects(
        ha=True,
        flag_values={"controllerReplicas": 4, "controllerLogLevel": "debug"},
        user_values={"controllerReplicas": 5},
    )
    assert 5 == objects["Deployment", "linkerd-destination"]["spec"]["replicas"]
    assert (
        "Fail"
        == objects["MutatingWebhookConfiguration", "linkerd-proxy-injector-webhook-config"][
            "webhooks"
        ][0]["failurePolicy"]
    )
    assert ("PodDisruptionBudget", "linkerd-identity") in objects


def test_ports_of_the_api_server_are_not_proxied() -> None:
    objects = _objects(kube_api_ports=(443, 8443))
    spec = objects["Deployment", "linkerd-destination"]["spec"]["template"]["spec"]
    assert "443,6443,8443" in spec["initContainers"][0]["args"]


def test_given_credentials_are_used() -> None:
    root = issue.root("root", now=NOW)
    issuer = issue.intermediate("identity.linkerd.cluster.local", root, now=NOW)
    objects = _objects(
        trust_anchors_pem=root.cert_pem,
        issuer_cert_pem=issuer.cert_pem,
        issuer_key_pem=issuer.key_pem,
    )
    roots = objects["ConfigMap", "linkerd-identity-trust-roots"]["data"]["ca-bundle.crt"]
    assert root.cert_pem.strip() == roots


def _bad_credentials() -> list[tuple[dict[str, str], type[LinkerdError], str]]:
    root, other = issue.root("root", now=NOW), issue.root("root", now=NOW)
    return [
        (
            {"issuer_cert_pem": root.cert_pem, "issuer_key_pem": root.key_pem},
            UsageError,
            "a trust anchors file must be specified if other credentials are provided",
        ),
        (
            {"trust_anchors_pem": root.cert_pem, "issuer_key_pem": root.key_pem},
            UsageError,
            "a certificate file must be specified if other credentials are provided",
        ),
        (
            {
                "trust_anchors_pem": other.cert_pem,
                "issuer_cert_pem": root.cert_pem,
                "issuer_key_pem": root.key_pem,
            },
            PkiError,
            "failed to verify issuer credentials with trust anchors",
        ),
    ]


@pytest.mark.parametrize(("given", "error", "expected"), _bad_credentials())
def test_credentials_must_be_whole_and_fit(
    given: dict[str, str], error: type[LinkerdError], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        _objects(**given)


def test_an_external_issuer_brings_its_own_secret() -> None:
    root = issue.root("root", now=NOW)
    objects = _objects(
        user_values={"identity": {"issuer": {"scheme": "kubernetes.io/tls"}}},
        trust_anchors_pem=root.cert_pem,
    )
    assert ("Secret", "linkerd-identity-issuer") not in objects


def test_the_version_of_charts_is_the_packages() -> None:
    for name in ("linkerd-crds", "linkerd-control-plane"):
        chart = charts.chart_values(charts.chart_dir(name), "Chart.yaml")
        assert VERSION == chart["appVersion"]
        assert VERSION == f"v{chart['version']}"
    defaults = charts.chart_values(charts.chart_dir("linkerd-control-plane"))
    assert VERSION == defaults["linkerdVersion"]

"""What an upgrade keeps, takes over and refuses; excludes asking the cluster."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from linkerd.errors import UsageError
from linkerd.inject import manifest
from linkerd.install import install, upgrade
from linkerd.pki import issue

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


def _installed(**options: Any) -> str:
    return install.render_control_plane(install.InstallOptions(now=NOW, **options))


def _upgraded(text: str, **options: Any) -> dict[tuple[str, str], Any]:
    again = install.InstallOptions(now=LATER, stored=upgrade.stored_in(text), **options)
    return _objects(install.render_control_plane(again))


def _objects(text: str) -> dict[tuple[str, str], Any]:
    return {(o["kind"], o["metadata"]["name"]): o for o in manifest.parse_all(text) if o}


def _secret(values: Any) -> dict[str, Any]:
    data = base64.b64encode(manifest.render(values).encode()).decode()
    return {"kind": "Secret", "data": {upgrade.SECRET: data}}


def test_an_upgrade_changes_neither_settings_nor_credentials() -> None:
    text = _installed(user_values={"controllerReplicas": 2, "proxy": {"logLevel": "debug"}})
    before, after = _objects(text), _upgraded(text)
    for key in (
        ("Secret", "linkerd-config-overrides"),
        ("Secret", "linkerd-identity-issuer"),
        ("ConfigMap", "linkerd-identity-trust-roots"),
    ):
        assert before[key] == after[key]
    assert set(before) == set(after)
    assert 2 == after["Deployment", "linkerd-identity"]["spec"]["replicas"]


def test_new_flags_win_over_what_is_stored() -> None:
    text = _installed(flag_values={"controllerReplicas": 2})
    after = _upgraded(text, flag_values={"controllerReplicas": 5}, ha=True)
    assert 5 == after["Deployment", "linkerd-identity"]["spec"]["replicas"]
    stored = upgrade.stored_in(_installed(ha=True))
    assert (True, 3) == (stored["highAvailability"], stored["controllerReplicas"])


def test_new_credentials_replace_the_stored_ones() -> None:
    root = issue.root("root.linkerd.cluster.local", now=NOW)
    values = upgrade.with_credentials(
        upgrade.stored_in(_installed()),
        trust_anchors_pem=root.cert_pem,
        issuer_cert_pem=root.cert_pem,
        issuer_key_pem=root.key_pem,
    )
    text = install.render_control_plane(install.InstallOptions(now=NOW, stored=values))
    roots = _objects(text)["ConfigMap", "linkerd-identity-trust-roots"]["data"]["ca-bundle.crt"]
    assert root.cert_pem.strip() == roots.strip()


def test_an_external_issuer_is_not_ours_to_replace() -> None:
    values = {"identity": {"issuer": {"scheme": "kubernetes.io/tls"}}}
    with pytest.raises(UsageError, match="cannot update issuer certificates"):
        upgrade.with_credentials(values, issuer_cert_pem="x", issuer_key_pem="y")


def test_settings_of_old_releases_are_lifted_out_of_global() -> None:
    old = {"global": {"proxy": {"logLevel": "debug"}, "clusterDomain": "x"}, "proxy": {"uid": 1}}
    assert {"proxy": {"logLevel": "debug", "uid": 1}, "clusterDomain": "x"} == upgrade.stored(
        _secret(old)
    )


@pytest.mark.parametrize(
    ("secret", "error"),
    [
        ({"data": {}}, "has no key"),
        ({"data": {upgrade.SECRET: "?"}}, "cannot be decoded"),
        (_secret([1]), "is not a mapping"),
    ],
)
def test_a_broken_secret_is_named(secret: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        upgrade.stored(secret)


def test_pods_that_would_not_trust_a_new_issuer_are_named() -> None:
    old, new = issue.root("a", now=NOW), issue.root("b", now=NOW)

    def pod(name: str, **variable: Any) -> dict[str, Any]:
        env = [{"name": "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", **variable}]
        return {
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"initContainers": [{"name": "linkerd-proxy", "env": env}]},
        }

    pods = [
        pod("old", value=old.cert_pem),
        pod("both", value=old.cert_pem + new.cert_pem),
        pod("broken", value="nothing"),
        pod("by-reference", valueFrom={}),
    ]
    tls = {"crtPEM": new.cert_pem, "keyPEM": new.key_pem}
    values = {"identity": {"issuer": {"tls": tls}}}
    assert ["shop/broken", "shop/old"] == upgrade.distrusting(pods, values, NOW)

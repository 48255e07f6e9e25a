"""The Secrets that link clusters: what they say, and what they must not."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from linkerd.daemons._clusters import SECRET_TYPE, Secret, link
from linkerd.errors import SettingsError
from linkerd.model.objects import Meta

KUBECONFIG = """
current-context: east
contexts: [{name: east, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://east.example:6443"%s}}]
users: [{name: u, user: {token: secret%s}}]
"""
ANNOTATIONS = {
    "multicluster.linkerd.io/trust-domain": "east.trust",
    "multicluster.linkerd.io/cluster-domain": "east.local",
}
LABELS = {"multicluster.linkerd.io/cluster-name": "east"}


def a_secret(text: str | None = KUBECONFIG % ("", ""), **meta: Any) -> Secret:
    data = None if text is None else {"kubeconfig": base64.b64encode(text.encode()).decode()}
    fields: dict[str, Any] = {"labels": LABELS, "annotations": ANNOTATIONS} | meta
    return Secret(Meta(name="s", namespace="linkerd", **fields), data, SECRET_TYPE)


def test_a_link() -> None:
    found = link(a_secret())
    assert ("east", "east.trust", "east.local", "https://east.example:6443", "secret") == (
        found.name,
        found.trust_domain,
        found.cluster_domain,
        found.config.server,
        found.config.token,
    )


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (a_secret(labels=None), "cluster name"),
        (a_secret(annotations=None), "no trust domain and no cluster domain"),
        (a_secret(None), "no kubeconfig"),
        (a_secret("- a"), "no mapping"),
        (a_secret("clusters: [a]"), "no kubeconfig"),
        (a_secret("{"), "no YAML"),
        (a_secret(KUBECONFIG % (", certificate-authority: /etc/passwd", "")), "files or commands"),
        (a_secret(KUBECONFIG % ("", ", tokenFile: /etc/passwd")), "files or commands"),
        (a_secret(KUBECONFIG % ("", ", exec: {command: sh}")), "files or commands"),
    ],
)
def test_links_that_are_not_followed(secret: Secret, problem: str) -> None:
    """Who may write a Secret must not thereby read files of this pod or run something in it."""
    with pytest.raises(SettingsError, match=problem):
        link(secret)

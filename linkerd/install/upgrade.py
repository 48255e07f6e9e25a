"""What `linkerd upgrade` prints: the stored settings under the user's new ones → manifests.

The stored settings are the Secret linkerd-config-overrides, which every install and upgrade
writes. Does not talk to a cluster.
Source: linkerd2 cli/cmd/upgrade.go (behaviour, texts).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from linkerd.errors import PkiError, UsageError
from linkerd.inject import manifest
from linkerd.install import charts
from linkerd.pki import trust

SECRET = "linkerd-config-overrides"
"""Name of the Secret, and of the only key in it."""

_ANCHORS = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"


def stored(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values in the Secret, those of releases before 2.10 in today's shape.

    Raises:
        UsageError: the Secret holds no such values.
    """
    text = (secret.get("stringData") or {}).get(SECRET)
    if text is None:
        try:
            encoded = (secret.get("data") or {})[SECRET]
            text = base64.b64decode(encoded, validate=True).decode()
        except KeyError:
            raise UsageError(f"secret/{SECRET} has no key {SECRET}") from None
        except ValueError:
            raise UsageError(f"secret/{SECRET} cannot be decoded") from None
    values = manifest.parse(text) or {}
    if not isinstance(values, dict):
        raise UsageError(f"secret/{SECRET} is not a mapping of values")
    return _flattened(values)


def stored_in(text: str) -> dict[str, Any]:
    """Returns the values in a saved output of `linkerd install`.

    Raises:
        UsageError: the Secret is not in it.
    """
    for body in manifest.parse_all(text):
        if not isinstance(body, dict) or body.get("kind") != "Secret":
            continue
        if (body.get("metadata") or {}).get("name") == SECRET:
            return stored(body)
    raise UsageError(f"the manifests hold no secret/{SECRET}", hint="save what install printed")


def with_credentials(
    values: Mapping[str, Any],
    *,
    trust_anchors_pem: str | None = None,
    issuer_cert_pem: str | None = None,
    issuer_key_pem: str | None = None,
) -> dict[str, Any]:
    """Returns the values with those credentials replaced that are given.

    Raises:
        UsageError: an issuer is given although the stored settings say that it is external.
    """
    tls = {"crtPEM": issuer_cert_pem, "keyPEM": issuer_key_pem}
    given = {key: pem for key, pem in tls.items() if pem}
    scheme = ((values.get("identity") or {}).get("issuer") or {}).get("scheme")
    if given and scheme == "kubernetes.io/tls":
        raise UsageError(
            "cannot update issuer certificates if you are using external cert management solution"
        )
    over: dict[str, Any] = {"identity": {"issuer": {"tls": given}}} if given else {}
    if trust_anchors_pem:
        over["identityTrustAnchorsPEM"] = trust_anchors_pem
    return charts.merge_values(values, over)


def distrusting(
    pods: Iterable[Mapping[str, Any]], values: Mapping[str, Any], now: datetime
) -> list[str]:
    """Returns `namespace/name` of the pods whose proxies would not trust the issuer in `values`.

    A proxy keeps the trust anchors that its pod was created with. Pods that name them by
    reference, as the control plane's do, follow the new ones and are left out.

    Raises:
        PkiError: the issuer cannot be read.
    """
    tls = (values.get("identity") or {}).get("issuer", {}).get("tls") or {}
    if not tls.get("crtPEM"):
        return []
    issuer = trust.parse_issuer(tls["crtPEM"], tls["keyPEM"])
    found = []
    for pod in pods:
        anchors = _anchors(pod)
        if not anchors:
            continue
        try:
            problem = trust.problem(issuer.chain, trust.parse_bundle(anchors), now)
        except PkiError as error:
            problem = error.message
        if problem is not None:
            metadata = pod["metadata"]
            found.append(f"{metadata.get('namespace', '')}/{metadata['name']}")
    return sorted(found)


def _anchors(pod: Mapping[str, Any]) -> str:
    spec = pod.get("spec") or {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for variable in container.get("env") or ():
            if container.get("name") == "linkerd-proxy" and variable.get("name") == _ANCHORS:
                return str(variable.get("value") or "")
    return ""


def _flattened(values: dict[str, Any]) -> dict[str, Any]:
    """Lifts what releases before 2.10 kept under `global`."""
    old = values.pop("global", None)
    return charts.merge_values(old, values) if isinstance(old, Mapping) else values

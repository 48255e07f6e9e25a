"""Who calls an aggregated API: the front proxy's headers, believed only with its certificate. Pure.

Source: Kubernetes docs "Configure the Aggregation Layer"; linkerd2 viz/tap/api/server.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from linkerd.errors import Forbidden, SettingsError

CONFIG_MAP = "extension-apiserver-authentication"
CONFIG_NAMESPACE = "kube-system"


@dataclass(frozen=True, slots=True)
class User:
    """A user of the Kubernetes API."""

    name: str
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How the API server passes a caller's name on."""

    ca_pem: str
    names: frozenset[str]
    """Names of which the client certificate must have one; empty accepts all of the CA's."""

    user_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]


def from_config(data: Mapping[str, str]) -> FrontProxy:
    """Returns what a cluster publishes in `extension-apiserver-authentication`.

    Raises:
        SettingsError: it names no certificate authority, so callers cannot be told apart.
    """
    ca_pem = data.get("requestheader-client-ca-file", "")
    if "BEGIN CERTIFICATE" not in ca_pem:
        raise SettingsError(
            f"config map {CONFIG_NAMESPACE}/{CONFIG_MAP} has no requestheader-client-ca-file",
            hint="the API server runs without the aggregation layer",
        )
    return FrontProxy(
        ca_pem,
        frozenset(_list(data, "requestheader-allowed-names")),
        tuple(name.lower() for name in _list(data, "requestheader-username-headers")),
        tuple(name.lower() for name in _list(data, "requestheader-group-headers")),
        tuple(name.lower() for name in _list(data, "requestheader-extra-headers-prefix")),
    )


def _list(data: Mapping[str, str], key: str) -> list[str]:
    try:
        found = json.loads(data.get(key) or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise SettingsError(f"config map {CONFIG_NAMESPACE}/{CONFIG_MAP}: {key} is no JSON list")
    return [str(entry) for entry in found]


def user_of(
    proxy: FrontProxy,
    certificate: Mapping[str, Any] | None,
    fields: Sequence[tuple[str, str]],
) -> User:
    """Returns whom a request is from.

    Unlike the original, a request without a certificate is refused even where the cluster allows
    every name: anyone could write the headers.

    Args:
        proxy: What to believe.
        certificate: Of the client, verified against `proxy.ca_pem`.
        fields: Headers with lower-case names.

    Raises:
        Forbidden: there is no certificate, a wrong one, or no user's name.
    """
    if certificate is None:
        raise Forbidden("no valid client certificate: this API is for the Kubernetes API server")
    names = _certificate_names(certificate)
    if proxy.names and not names & proxy.names:
        allowed = ", ".join(sorted(proxy.names))
        raise Forbidden(
            f"no valid CN found. allowed names: [{allowed}], "
            f"client names: [{', '.join(sorted(names))}]"
        )
    name = next((value for key, value in fields if key in proxy.user_headers and value), "")
    if not name:
        raise Forbidden("the request names no user")
    groups = tuple(value for key, value in fields if key in proxy.group_headers)
    extra: dict[str, list[str]] = {}
    for key, value in fields:
        for prefix in proxy.extra_prefixes:
            if key.startswith(prefix):
                extra.setdefault(unquote(key[len(prefix) :]), []).append(value)
    return User(name, groups, extra)


def _certificate_names(certificate: Mapping[str, Any]) -> set[str]:
    subject = {
        value for rdn in certificate.get("subject", ()) for key, value in rdn if key == "commonName"
    }
    return subject | {v for k, v in certificate.get("subjectAltName", ()) if k == "DNS"}

"""The flags that the chart gives to our daemons are the flags that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from linkerd.daemons import destination, policy
from linkerd.install.install import InstallOptions, render_control_plane
from linkerd.settings import parse


@pytest.fixture(scope="module")
def arguments() -> dict[str, list[str]]:
    """Container name → its arguments."""
    documents = yaml.load_all(render_control_plane(InstallOptions()), Loader=yaml.CSafeLoader)
    return {
        container["name"]: container.get("args") or []
        for document in documents
        if document and document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    }


def test_destination_takes_the_charts_flags(arguments: dict[str, list[str]]) -> None:
    name, *flags = arguments["destination"]
    settings = parse(destination.Settings, flags)
    mesh, http2 = destination._mesh(settings)
    assert ("destination", True, False) == (name, mesh.transport_header, mesh.ipv6)
    assert 3306 in mesh.default_opaque
    assert http2


def test_policy_takes_the_charts_flags(arguments: dict[str, list[str]]) -> None:
    settings = parse(policy.Settings, arguments["policy"])
    assert ("0.0.0.0/0", "::/0") == settings.probe_networks
    assert "/var/run/linkerd/tls/tls.key" == settings.server_tls_key


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("linkerd=info,warn", "info"),
        ("linkerd=debug,info", "debug"),
        ("warn", "warn"),
        ("x", "info"),
    ],
)
def test_rust_style_log_filters_are_reduced_to_a_level(text: str, level: str) -> None:
    reduce: Callable[[str], Any] = policy._level
    assert level == reduce(text)

"""Flags that stand for chart values and annotations, with Linkerd's refusals."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import UsageError
from linkerd.install import flags
from linkerd.install.install import default_values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"proxy-log-level": "debug"}, {"proxy": {"logLevel": "debug"}}),
        ({"disable-h2-upgrade": True}, {"enableH2Upgrade": False}),
        (
            {"identity-external-issuer": True},
            {"identity": {"issuer": {"scheme": "kubernetes.io/tls"}}},
        ),
        (
            {"proxy-cpu-limit": "1500m"},
            {
                "proxy": {
                    "resources": {"cpu": {"limit": "1500m"}},
                    "runtime": {"workers": {"maximum": 2}},
                }
            },
        ),
        ({"skip-inbound-ports": "25,100-200"}, {"proxyInit": {"ignoreInboundPorts": "25,100-200"}}),
    ],
)
def test_a_flag_becomes_a_value(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected == flags.values(given)


def test_a_registry_moves_every_image() -> None:
    found = flags.values({"registry": "my.org/l5d/"})
    assert "my.org/l5d/controller" == found["controllerImage"]
    assert "my.org/l5d/proxy" == found["proxy"]["image"]["name"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"controller-log-level": "loud"},
            "--controller-log-level must be one of: panic, fatal, error, warn, info, debug, trace",
        ),
        ({"proxy-log-level": ""}, "--proxy-log-level must not be empty"),
        (
            {"image-pull-policy": "Sometimes"},
            "--image-pull-policy must be one of: Always, IfNotPresent, Never",
        ),
        (
            {"default-inbound-policy": "open"},
            "--default-inbound-policy must be one of: all-authenticated, all-unauthenticated, "
            "cluster-authenticated, cluster-unauthenticated, deny, audit (got open)",
        ),
        (
            {"proxy-cpu-request": "2", "proxy-cpu-limit": "100m"},
            "The cpu limit '100m' cannot be lower than the cpu request '2'",
        ),
        ({"proxy-memory-limit": "lots"}, "--proxy-memory-limit: 'lots' is not a quantity"),
        ({"skip-inbound-ports": "1-70000"}, "--skip-inbound-ports: invalid port or port range"),
        ({"registry": "my org"}, "is not a valid Docker registry"),
    ],
)
def test_refusals(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags.values(given)
    assert expected in caught.value.message


def test_inject_writes_annotations_for_what_differs_from_the_cluster() -> None:
    given = {"proxy-log-level": "debug", "admin-port": 4191, "enable-external-profiles": True}
    expected = {
        "config.linkerd.io/proxy-log-level": "debug",
        "config.linkerd.io/enable-external-profiles": "true",
    }
    assert expected == flags.pod_annotations(given, default_values())


def test_every_flag_names_a_value_that_the_chart_has() -> None:
    values = default_values()
    for flag in (*flags.CONTROL_PLANE, *flags.PROXY, *flags.INJECT):
        at: Any = values
        for step in flag.path.split("."):
            assert step in at, flag.name
            at = at[step]

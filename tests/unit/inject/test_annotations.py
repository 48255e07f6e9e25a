"""How annotations change the settings of one proxy, and what wrong ones do."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import RenderError
from linkerd.inject import config
from tests.unit.inject.workloads import cluster_config, values

C = "config.linkerd.io/"


@pytest.mark.parametrize(
    ("annotations", "field", "expected"),
    [
        ({C + "proxy-log-level": "debug"}, "log_level", "debug"),
        ({C + "inbound-port": "14143"}, "inbound_port", 14143),
        ({C + "opaque-ports": "db,8000-8010"}, "opaque_ports", "db,8000-8010"),
        ({C + "proxy-cpu-limit": "1500m"}, "workers_max", 2),
        ({C + "proxy-cpu-request": "100m"}, "workers_min", 1),
        ({C + "proxy-await": "disabled"}, "waits", False),
        ({C + "proxy-admin-shutdown": "enabled"}, "shutdown_endpoint", True),
        ({C + "default-inbound-policy": "deny"}, "default_policy", "deny"),
        ({C + "proxy-outbound-connect-timeout": "1m"}, "outbound_connect_timeout", "60000ms"),
        # Proxies read one number and unit, people write Go's durations.
        (
            {C + "proxy-outbound-discovery-cache-unused-timeout": "1m30s"},
            "outbound_discovery_timeout",
            "90000ms",
        ),
        (
            {C + "proxy-inbound-discovery-cache-unused-timeout": "2.5s"},
            "inbound_discovery_timeout",
            "2500ms",
        ),
        (
            {C + "proxy-disable-inbound-protocol-detect-timeout": "true"},
            "no_inbound_detect_timeout",
            True,
        ),
        ({C + "proxy-uid": "2200"}, "uid", 2200),
        ({C + "enable-debug-sidecar": "true"}, "debug", True),
        ({C + "enable-gateway": "true"}, "gateway", True),
        ({C + "skip-outbound-ports": "25,3306"}, "skip_outbound_ports", "25,3306"),
        ({"linkerd.io/inject": "ingress"}, "ingress", True),
        (
            {"config.alpha.linkerd.io/proxy-wait-before-exit-seconds": "30"},
            "wait_before_exit_s",
            30,
        ),
        ({"config.alpha.linkerd.io/proxy-enable-native-sidecar": "false"}, "native", False),
        (
            {
                C + "proxy-enable-native-sidecar": "true",
                "config.alpha.linkerd.io/proxy-enable-native-sidecar": "false",
            },
            "native",
            True,
        ),
    ],
)
def test_an_annotation_overrides_a_setting(
    annotations: dict[str, str], field: str, expected: Any
) -> None:
    found, problems = config.overridden(cluster_config(), annotations)
    assert expected == getattr(found, field)
    assert [] == problems


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inbound-port", "http"),
        ("inbound-port", "70000"),
        ("proxy-cpu-limit", "lots"),
        ("proxy-memory-limit", "1 GB"),
        ("proxy-await", "true"),
        ("default-inbound-policy", "open"),
        ("proxy-outbound-connect-timeout", "fast"),
        ("enable-external-profiles", "maybe"),
        ("proxy-cpu-ratio-limit", "1.5"),
        ("proxy-additional-env", "{}"),
        ("proxy-enable-native-sidecar", "yes"),
    ],
)
def test_a_wrong_annotation_is_told_and_ignored(key: str, value: str) -> None:
    found, problems = config.overridden(cluster_config(), {C + key: value})
    assert cluster_config() == found
    assert 1 == len(problems) and key in problems[0] and "is ignored: expected" in problems[0]


def test_images_are_named_and_versioned_apart() -> None:
    found, _ = config.overridden(
        cluster_config(), {C + "proxy-image": "my/proxy", C + "proxy-version": "v9"}
    )
    assert "my/proxy:v9" == str(found.image)


def test_additional_variables_are_merged_by_name() -> None:
    base: tuple[config.Env, ...] = ({"name": "A", "value": "1"}, {"name": "B", "value": "1"})
    merged = config.additional_env(['[{"name":"B","value":"2"},{"name":"C","value":"3"}]'], base)
    assert {"A": "1", "B": "2", "C": "3"} == {env["name"]: env["value"] for env in merged}


def test_parameters_of_protocols_become_variables() -> None:
    expected = ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s")
    assert expected == cluster_config().parameters[0]


def test_incomplete_values_are_an_error() -> None:
    broken = values()
    del broken["proxy"]
    with pytest.raises(RenderError, match="linkerd-config cannot be used"):
        config.from_values(broken, control_plane_ns="linkerd")

"""What injection adds to a pod, for every setting that changes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from linkerd.inject import config, pod
from tests.unit.inject.workloads import (
    a_container,
    a_deployment,
    a_pod,
    cluster_config,
    container,
    environment,
    parsed,
    values,
)


def _spec(document: dict[str, Any], settings: config.Config | None = None, **options: Any) -> Any:
    target = parsed(document)
    injection = pod.inject(target, settings or cluster_config(), created_by="test", **options)
    result = pod.injected(target, injection)
    return result["spec"]["template"]["spec"] if target.path else result["spec"]


def _names(spec: dict[str, Any], field: str) -> list[str]:
    return [one["name"] for one in spec[field]]


def test_a_native_sidecar_follows_linkerd_init() -> None:
    spec = _spec(a_pod(a_container(), initContainers=[a_container("migrate")]))
    assert ["linkerd-init", "linkerd-proxy", "migrate"] == _names(spec, "initContainers")
    assert ["web"] == _names(spec, "containers")
    proxy = container(spec, "linkerd-proxy")
    assert "Always" == proxy["restartPolicy"]
    assert {"httpGet", "periodSeconds", "failureThreshold", "initialDelaySeconds"} == set(
        proxy["startupProbe"]
    )
    assert "lifecycle" not in proxy


def test_a_classic_sidecar_comes_first_and_is_awaited() -> None:
    settings = replace(cluster_config(), native=False, wait_before_exit_s=5)
    spec = _spec(a_pod(initContainers=[a_container("migrate")]), settings)
    assert ["migrate", "linkerd-init"] == _names(spec, "initContainers")
    assert ["linkerd-proxy", "web"] == _names(spec, "containers")
    hooks = container(spec, "linkerd-proxy")["lifecycle"]
    assert ["/bin/sleep", "5"] == hooks["preStop"]["exec"]["command"]
    assert "--port=4191" in hooks["postStart"]["exec"]["command"]


def test_a_sidecar_that_nobody_awaits_comes_last() -> None:
    spec = _spec(a_pod(), replace(cluster_config(), native=False, waits=False))
    assert ["web", "linkerd-proxy"] == _names(spec, "containers")
    assert "lifecycle" not in container(spec, "linkerd-proxy")


def test_volumes_are_added_once_each() -> None:
    spec = _spec(a_pod(volumes=[{"name": "data", "emptyDir": {}}]))
    expected = [
        "data",
        "linkerd-proxy-init-xtables-lock",
        "linkerd-identity-end-entity",
        "linkerd-identity-token",
    ]
    assert expected == _names(spec, "volumes")


def test_with_cni_a_validator_replaces_init() -> None:
    spec = _spec(a_pod(), replace(cluster_config(), cni=True))
    assert ["linkerd-network-validator", "linkerd-proxy"] == _names(spec, "initContainers")
    assert "linkerd-proxy-init-xtables-lock" not in _names(spec, "volumes")


def test_debug_and_tracing_come_when_asked_for() -> None:
    traced = values()
    traced["proxy"]["tracing"] = {
        **traced["proxy"]["tracing"],
        "enabled": True,
        "collector": {
            "endpoint": "collector:4317",
            "meshIdentity": {"serviceAccountName": "otel", "namespace": "obs"},
        },
    }
    settings = config.from_values(traced, control_plane_ns="linkerd")
    spec = _spec(a_pod(annotations={"config.linkerd.io/enable-debug-sidecar": "true"}), settings)
    assert "linkerd-debug" in _names(spec, "containers")
    assert "linkerd-podinfo" in _names(spec, "volumes")
    env = environment(spec)
    assert (
        "otel.obs.serviceaccount.identity.linkerd.cluster.local" == env["TRACE_COLLECTOR_SVC_NAME"]
    )
    assert "k8s.pod.ip=$(_pod_ip)" in env["TRACE_EXTRA_ATTRIBUTES"]


def test_inbound_ports_are_those_of_containers_and_probes_sorted_as_texts() -> None:
    web = a_container("web", 8080, 443, readinessProbe={"httpGet": {"port": 9000}})
    ported = a_container("side", 100, livenessProbe={"httpGet": {"port": "named"}})
    assert "100,443,8080,9000" == environment(_spec(a_pod(web, ported)))["INBOUND_PORTS"]


def test_default_opaque_ports_are_annotated_in_order_of_declaration() -> None:
    injection = pod.inject(
        parsed(a_deployment(a_container("db", 8080, 6379, 25))), cluster_config(), created_by="test"
    )
    found = [op for op in injection.patch if op["path"].endswith("opaque-ports")]
    assert ["6379,25"] == [op["value"] for op in found]


def test_named_opaque_ports_are_resolved_for_the_proxy() -> None:
    spec = _spec(
        a_pod(
            a_container("db", ("sql", 3307)),
            annotations={"config.linkerd.io/opaque-ports": "sql,4000-4010"},
        )
    )
    assert "3307,4000-4010" == environment(spec)["INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"]


@pytest.mark.parametrize(
    ("path", "metadata"),
    [("no metadata", None), ("no labels", {}), ("null labels", {"labels": None})],
)
def test_missing_metadata_is_made(path: str, metadata: Any) -> None:
    document = a_deployment()
    if metadata is None:
        del document["spec"]["template"]["metadata"]
    else:
        document["spec"]["template"]["metadata"] = metadata
    target = parsed(document)
    result = pod.injected(target, pod.inject(target, cluster_config(), created_by="test"))
    labels = result["spec"]["template"]["metadata"]["labels"]
    assert {
        "linkerd.io/control-plane-ns": "linkerd",
        "linkerd.io/workload-ns": "emojivoto",
    } == labels


def test_a_pod_takes_over_its_namespaces_annotations_but_keeps_its_own() -> None:
    document = a_pod(annotations={"config.linkerd.io/proxy-log-level": "warn"})
    namespace = {
        "linkerd.io/inject": "enabled",
        "config.linkerd.io/proxy-log-level": "debug",
        "config.linkerd.io/skip-inbound-ports": "25",
        "config.linkerd.io/enable-gateway": "true",
        "unrelated": "x",
    }
    target = parsed(document)
    injection = pod.inject(
        target, cluster_config(), created_by="test", namespace_annotations=namespace
    )
    result = pod.injected(target, injection)
    annotations = result["metadata"]["annotations"]
    assert "warn" == annotations["config.linkerd.io/proxy-log-level"]
    assert "25" == annotations["config.linkerd.io/skip-inbound-ports"]
    assert not {"unrelated", "config.linkerd.io/enable-gateway"} & set(annotations)
    assert environment(result["spec"])["LOG"].startswith("warn,")
    assert "4190,4191,25" in container(result["spec"], "linkerd-init")["args"]


def test_additional_variables_of_cluster_namespace_and_pod_are_merged() -> None:
    key = "config.linkerd.io/proxy-additional-env"
    settings = replace(cluster_config(), additional_env=({"name": "A", "value": "cluster"},))
    target = parsed(a_pod(annotations={key: '[{"name":"C","value":"pod"}]'}))
    namespace = {key: '[{"name":"B","value":"ns"},{"name":"C","value":"ns"}]'}
    injection = pod.inject(target, settings, created_by="t", namespace_annotations=namespace)
    env = environment(pod.injected(target, injection)["spec"])
    assert ("cluster", "ns", "pod") == (env["A"], env["B"], env["C"])


def test_the_owner_becomes_a_label() -> None:
    injection = pod.inject(
        parsed(a_pod()), cluster_config(), created_by="t", owner=pod.Owner("StatefulSet", "db")
    )
    found = {op["path"]: op["value"] for op in injection.patch}
    assert "db" == found["/metadata/labels/linkerd.io~1proxy-statefulset"]


def test_capabilities_and_account_mount_are_the_first_containers() -> None:
    mount = {
        "name": "kube-api-access",
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }
    security = {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}}
    spec = _spec(a_pod(a_container(securityContext=security, volumeMounts=[mount])))
    proxy, init = container(spec, "linkerd-proxy"), container(spec, "linkerd-init")
    assert mount in proxy["volumeMounts"]
    assert security["capabilities"] == proxy["securityContext"]["capabilities"]
    expected = {"add": ["NET_ADMIN", "NET_RAW", "SYS_TIME"], "drop": ["ALL"]}
    assert expected == init["securityContext"]["capabilities"]


def test_resources_are_those_that_are_set() -> None:
    annotations = {
        "config.linkerd.io/proxy-cpu-request": "100m",
        "config.linkerd.io/proxy-memory-limit": "250Mi",
    }
    proxy = container(_spec(a_pod(annotations=annotations)), "linkerd-proxy")
    expected = {"limits": {"memory": "250Mi"}, "requests": {"cpu": "100m"}}
    assert expected == proxy["resources"]


def test_closing_connections_early_needs_root() -> None:
    spec = _spec(a_pod(annotations={"config.linkerd.io/close-wait-timeout": "30s"}))
    init = container(spec, "linkerd-init")
    assert ["--timeout-close-wait-secs", "30"] == init["args"][-2:]
    assert (0, True) == (
        init["securityContext"]["runAsUser"],
        init["securityContext"]["privileged"],
    )


def test_a_cron_job_is_patched_where_its_pods_are() -> None:
    document = {
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [a_container()]}}}}},
    }
    injection = pod.inject(parsed(document), cluster_config(), created_by="t")
    assert {"/spec/jobTemplate/spec/template"} == {
        "/".join(op["path"].split("/")[:5]) for op in injection.patch
    }

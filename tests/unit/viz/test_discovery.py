"""Kubernetes discovery for a Prometheus without it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from linkerd.errors import SettingsError
from linkerd.install import charts
from linkerd.viz import discovery, install
from linkerd.viz.discovery import Discovery

POD = {
    "metadata": {
        "name": "web-1",
        "namespace": "emojivoto",
        "uid": "u1",
        "labels": {"linkerd.io/proxy-deployment": "web", "app": "web"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}],
    },
    "spec": {
        "nodeName": "local",
        "containers": [{"name": "web", "image": "w", "ports": [{"containerPort": 80}]}],
        "initContainers": [
            {
                "name": "linkerd-proxy",
                "image": "p",
                "ports": [{"containerPort": 4191, "name": "linkerd-admin"}],
            }
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.244.0.7",
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def test_every_port_is_a_target_with_prometheus_labels() -> None:
    app, proxy = discovery.pod_targets(POD)
    assert ["10.244.0.7:80"] == app["targets"]
    assert ["10.244.0.7:4191"] == proxy["targets"]
    expected = {
        "__meta_kubernetes_namespace": "emojivoto",
        "__meta_kubernetes_pod_name": "web-1",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_ready": "true",
        "__meta_kubernetes_pod_label_linkerd_io_proxy_deployment": "web",
        "__meta_kubernetes_pod_labelpresent_app": "true",
        "__meta_kubernetes_pod_controller_kind": "ReplicaSet",
        "__meta_kubernetes_pod_container_name": "linkerd-proxy",
        "__meta_kubernetes_pod_container_init": "true",
        "__meta_kubernetes_pod_container_port_name": "linkerd-admin",
        "__meta_kubernetes_pod_container_port_number": "4191",
        "__meta_kubernetes_pod_container_port_protocol": "TCP",
    }
    assert expected.items() <= proxy["labels"].items()


def test_a_pod_without_an_address_is_no_target() -> None:
    assert [] == discovery.pod_targets({**POD, "status": {"phase": "Pending"}})


def test_a_node_is_its_kubelet() -> None:
    node = {
        "metadata": {"name": "local", "labels": {"kubernetes.io/os": "linux"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.244.0.1"}]},
    }
    group = discovery.node_targets(node)
    assert ["10.244.0.1:10250"] == group["targets"]
    assert "linux" == group["labels"]["__meta_kubernetes_node_label_kubernetes_io_os"]


def test_namespaces_narrow_the_pods() -> None:
    assert [] == discovery.targets(Discovery("pod", frozenset({"linkerd"})), [POD], [])
    assert 2 == len(discovery.targets(Discovery("pod", frozenset({"emojivoto"})), [POD], []))


def test_the_charts_configuration_is_rewritten_to_files() -> None:
    documents = yaml.safe_load_all(install.render())
    config_map = next(d for d in documents if d["metadata"]["name"] == "prometheus-config")
    config = yaml.safe_load(config_map["data"]["prometheus.yml"])
    found, needed = discovery.rewritten(config, "/data/discovery")
    assert [
        Discovery("node", frozenset()),
        Discovery("pod", frozenset({"linkerd", "linkerd-viz"})),
        Discovery("pod", frozenset()),
    ] == needed
    jobs = {job["job_name"]: job for job in found["scrape_configs"]}
    assert "kubernetes_sd_configs" not in str(found)
    assert [{"files": ["/data/discovery/pod.json"]}] == jobs["linkerd-proxy"]["file_sd_configs"]
    assert "kubernetes_sd_configs" in str(config), "the original is left alone"


@pytest.mark.parametrize("entry", [{"role": "ingress"}, {"role": "pod", "selectors": []}])
def test_what_is_not_served_is_named(entry: dict[str, Any]) -> None:
    config: dict[str, Any] = {
        "scrape_configs": [{"job_name": "mine", "kubernetes_sd_configs": [entry]}]
    }
    with pytest.raises(SettingsError, match="job mine"):
        discovery.rewritten(config, "/d")


def test_the_chart_is_there() -> None:
    assert (charts.chart_dir(install.CHART) / "values-ha.yaml").is_file()

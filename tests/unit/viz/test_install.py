"""The chart linkerd-viz: what tools written for Linkerd rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from linkerd.viz import install
from linkerd.viz.dashboards import DASHBOARDS


def objects(**values: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The rendered objects by kind and name."""
    documents = yaml.safe_load_all(install.render(values))
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize(
    ("name", "image", "ports"),
    [
        ("metrics-api", "cr.l5d.io/linkerd/metrics-api:", {"http": 8085, "admin": 9995}),
        ("web", "cr.l5d.io/linkerd/web:", {"http": 8084, "admin": 9994}),
        ("tap", "cr.l5d.io/linkerd/tap:", {"grpc": 8088, "apiserver": 8089, "admin": 9998}),
        ("tap-injector", "cr.l5d.io/linkerd/tap:", {"tap-injector": 8443, "admin": 9995}),
        ("prometheus", "prom/prometheus:v2.55.1", {"admin": 9090}),
    ],
)
def test_each_component_is_a_meshed_deployment_behind_its_service(
    name: str, image: str, ports: dict[str, int]
) -> None:
    found = objects()
    deployment, service = found["Deployment", name], found["Service", name]
    template = deployment["spec"]["template"]
    assert "enabled" == template["metadata"]["annotations"]["linkerd.io/inject"]
    assert (
        deployment["spec"]["selector"]["matchLabels"].items()
        <= template["metadata"]["labels"].items()
    )
    assert {"linkerd.io/extension": "viz", "component": name} == service["spec"]["selector"]
    assert container(deployment)["image"].startswith(image)
    assert ports == {p["name"]: p["containerPort"] for p in container(deployment)["ports"]}
    assert name == template["spec"]["serviceAccountName"]
    assert ("ServiceAccount", name) in found


def test_the_namespace_is_an_extension() -> None:
    labels = objects()["Namespace", "linkerd-viz"]["metadata"]["labels"]
    assert "viz" == labels["linkerd.io/extension"]


def test_only_metrics_api_may_ask_prometheus_and_only_web_metrics_api() -> None:
    found = objects()
    prometheus = found["AuthorizationPolicy", "prometheus-admin"]["spec"]
    assert [("ServiceAccount", "metrics-api")] == [
        (ref["kind"], ref["name"]) for ref in prometheus["requiredAuthenticationRefs"]
    ]
    web = found["MeshTLSAuthentication", "metrics-api-web"]["spec"]
    assert [{"kind": "ServiceAccount", "name": "web"}] == web["identityRefs"]
    assert "http" == found["Server", "metrics-api"]["spec"]["port"]


def test_an_external_prometheus_replaces_ours() -> None:
    found = objects(prometheusUrl="http://metrics:9090", prometheus={"enabled": False})
    assert not [key for key in found if "prometheus" in key[1]]
    assert (
        "-prometheus-url=http://metrics:9090"
        in container(found["Deployment", "metrics-api"])["args"]
    )
    annotations = found["Namespace", "linkerd-viz"]["metadata"]["annotations"]
    assert "http://metrics:9090" == annotations["viz.linkerd.io/external-prometheus"]


def test_high_availability_adds_budgets_and_resources() -> None:
    documents = list(yaml.safe_load_all(install.render(ha=True)))
    kinds = {(d["kind"], d["metadata"]["name"]) for d in documents}
    assert ("PodDisruptionBudget", "web") in kinds
    web = next(d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "web")
    assert {"cpu": "100m", "memory": "50Mi"} == container(web)["resources"]["requests"]


def test_users_values_win() -> None:
    found = objects(dashboard={"replicas": 3, "enforcedHostRegexp": ".*"}, commonLabels={"a": "b"})
    assert 3 == found["Deployment", "web"]["spec"]["replicas"]
    assert "-enforced-host=.*" in container(found["Deployment", "web"])["args"]
    assert "b" == found["Service", "web"]["metadata"]["labels"]["a"]


def test_no_line_ends_with_blanks() -> None:
    text = install.render(ha=True)
    assert [] == [line for line in text.splitlines() if line != line.rstrip()]


def test_tap_is_an_aggregated_api_with_its_own_certificate() -> None:
    found = objects()
    api = found["APIService", "v1alpha1.tap.linkerd.io"]["spec"]
    assert {"name": "tap", "namespace": "linkerd-viz"} == api["service"]
    assert ("tap.linkerd.io", 1000, 100) == (
        api["group"],
        api["groupPriorityMinimum"],
        api["versionPriority"],
    )
    assert api["caBundle"] == found["Secret", "tap-k8s-tls"]["data"]["tls.crt"]
    assert ("ClusterRoleBinding", "linkerd-linkerd-viz-tap-auth-delegator") in found
    assert (
        "kube-system"
        == (found["RoleBinding", "linkerd-linkerd-viz-tap-auth-reader"]["metadata"]["namespace"])
    )


def test_the_tap_injector_is_asked_again_and_never_blocks_pods() -> None:
    (webhook,) = objects()["MutatingWebhookConfiguration", "linkerd-tap-injector-webhook-config"][
        "webhooks"
    ]
    assert ("Ignore", "IfNeeded") == (webhook["failurePolicy"], webhook["reinvocationPolicy"])
    args = container(objects()["Deployment", "tap-injector"])["args"]
    name = "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local"
    assert ["injector", f"-tap-service-name={name}"] == args[:2]


def test_a_restricted_dashboard_cannot_tap() -> None:
    binding = ("ClusterRoleBinding", "linkerd-linkerd-viz-web-admin")
    assert binding in objects()
    assert binding not in objects(dashboard={"restrictPrivileges": True})


def test_a_restricted_dashboard_runs_no_checks() -> None:
    role = ("ClusterRole", "linkerd-linkerd-viz-web-check")
    assert role in objects()
    assert role not in objects(dashboard={"restrictPrivileges": True})


def test_grafana_comes_with_every_dashboard_only_if_it_is_wanted() -> None:
    assert ("Deployment", "grafana") not in objects()
    found = objects(grafana={"enabled": True})
    boards = {
        next(iter(body["data"])): json.loads(next(iter(body["data"].values())))
        for (kind, name), body in found.items()
        if kind == "ConfigMap" and name.startswith("grafana-dashboard-")
    }
    assert set(DASHBOARDS) == {board["uid"] for board in boards.values()}
    spec = found["Deployment", "grafana"]["spec"]["template"]["spec"]
    (volume,) = (one for one in spec["volumes"] if one["name"] == "dashboards")
    assert len(boards) == len(volume["projected"]["sources"])
    config = found["ConfigMap", "grafana-config"]["data"]
    (source,) = yaml.safe_load(config["datasources.yaml"])["datasources"]
    assert "http://prometheus.linkerd-viz.svc.cluster.local:9090" == source["url"]
    web = container(found["Deployment", "web"])["args"]
    assert "-grafana-addr=grafana.linkerd-viz.svc.cluster.local:3000" in web
    own = objects(grafana={"url": "grafana.other:80"})
    assert "-grafana-addr=grafana.other:80" in container(own["Deployment", "web"])["args"]


def test_certificates_can_come_from_cert_manager() -> None:
    own = {"externalSecret": True, "injectCaFrom": "linkerd-viz/tap"}
    found = objects(tap=own)
    api = found["APIService", "v1alpha1.tap.linkerd.io"]
    assert ("Secret", "tap-k8s-tls") not in found
    assert "caBundle" not in api["spec"]
    annotations = api["metadata"]["annotations"]
    assert "linkerd-viz/tap" == annotations["cert-manager.io/inject-ca-from"]

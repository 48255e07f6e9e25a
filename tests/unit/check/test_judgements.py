"""How pods, versions, ports and certificates are judged; excludes reading them from a cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from linkerd.check import certificates, cluster, proxies, versions
from linkerd.check.engine import Skip
from linkerd.errors import CheckFailed, PkiError
from linkerd.pki import issue

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_pod(
    name: str = "web",
    *,
    component: str = "",
    phase: str = "Running",
    ready: bool = True,
    image: str = "cr.l5d.io/linkerd/proxy:v1",
    sidecar: bool = True,
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    proxy = {"name": "linkerd-proxy", "image": image, "restartPolicy": "Always"}
    app = {"name": "app", "image": "app", "ports": [{"name": "http", "containerPort": 8080}]}
    once = {"name": "linkerd-init", "image": "x"}
    containers = [app] if sidecar else [{**proxy, "restartPolicy": None}, app]
    statuses = [{"name": "linkerd-proxy", "ready": ready}]
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "labels": {"linkerd.io/control-plane-component": component} if component else {},
            "annotations": annotations or {},
        },
        "spec": {"initContainers": [once, proxy] if sidecar else [once], "containers": containers},
        "status": {
            "phase": phase,
            "initContainerStatuses": statuses if sidecar else [],
            "containerStatuses": [{"name": "app", "ready": True}, *([] if sidecar else statuses)],
        },
    }


@pytest.mark.parametrize("sidecar", [True, False])
@pytest.mark.parametrize(
    ("ready", "phase"), [(True, "Running"), (False, "Running"), (True, "Pending")]
)
def test_a_pod_is_ready_when_proxy_and_app_are(sidecar: bool, ready: bool, phase: str) -> None:
    pod = a_pod(sidecar=sidecar, ready=ready, phase=phase)
    assert (ready and phase == "Running") == cluster.is_ready(pod)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("cr.l5d.io/linkerd/proxy:v1", "v1"),
        ("localhost:5000/proxy:stable-2.11.5", "stable-2.11.5"),
        ("proxy@sha256:abc", ""),
        ("proxy", ""),
    ],
)
def test_the_proxys_version_is_its_images_tag(image: str, version: str) -> None:
    assert version == cluster.proxy_version(a_pod(image=image))


@pytest.mark.parametrize(
    ("pods", "problem"),
    [
        ([a_pod("a", component="x")], None),
        ([a_pod("a", component="x", ready=False), a_pod("b", component="x")], None),
        ([], 'No running pods for "linkerd-x"'),
        ([a_pod("a", component="y")], 'No running pods for "linkerd-x"'),
        ([a_pod("a", component="x", phase="Pending")], 'No running pods for "linkerd-x"'),
        (
            [a_pod("a", component="x", ready=False)],
            "pod/a container linkerd-proxy is not ready",
        ),
    ],
)
def test_a_component_needs_one_ready_pod(pods: list[dict[str, Any]], problem: str | None) -> None:
    try:
        cluster.require_components(pods, ["x"])
        found = None
    except CheckFailed as error:
        found = error.message
    assert problem == found


def test_other_versions_are_listed_as_linkerd_does() -> None:
    with pytest.raises(CheckFailed) as caught:
        cluster.require_same_version([a_pod("a"), a_pod("b", image="p:v2")], "v1", "some:")
    assert "some:\n\t* b (v2)" == caught.value.message


@pytest.mark.parametrize(
    ("version", "expected", "problem"),
    [
        ("stable-2.11.1", "stable-2.11.1", None),
        (
            "stable-2.11.1",
            "stable-2.11.4",
            "is running version 2.11.1 but the latest stable version is 2.11.4",
        ),
        (
            "stable-2.11.1",
            "edge-26.1.1",
            "mismatched channels: running stable-2.11.1 but retrieved edge-26.1.1",
        ),
        ("v0.1.0", "v0.2.0", "is running version v0.1.0 but the latest version is v0.2.0"),
    ],
)
def test_versions_compare_within_a_channel(
    version: str, expected: str, problem: str | None
) -> None:
    try:
        versions.require_current(version, expected)
        found = None
    except CheckFailed as error:
        found = error.message
    assert problem == found


def test_without_an_expected_version_nothing_is_asked() -> None:
    with pytest.raises(Skip):
        versions.require_current("v0.1.0", "")


OPAQUE = "config.linkerd.io/opaque-ports"


@pytest.mark.parametrize(
    ("service_ports", "pod_ports", "target", "count"),
    [
        (None, None, 8080, 0),
        ("80", "8080", 8080, 0),
        ("80", "8080", "http", 0),
        ("80", None, 8080, 1),
        (None, "8000-9000", 8080, 1),
        ("443", None, 8080, 0),
    ],
)
def test_opaque_ports_must_agree(
    service_ports: str | None, pod_ports: str | None, target: int | str, count: int
) -> None:
    def annotated(ports: str | None) -> dict[str, str]:
        return {OPAQUE: ports} if ports else {}

    service = {
        "metadata": {"name": "web-svc", "annotations": annotated(service_ports)},
        "spec": {"ports": [{"port": 80, "targetPort": target}]},
    }
    pod = a_pod(annotations=annotated(pod_ports))
    assert count == len(proxies.opaque_mismatches(service, pod))


@pytest.mark.parametrize(
    ("name", "age", "own_ca", "problem"),
    [
        ("x.linkerd.svc", timedelta(1), True, None),
        ("y.linkerd.svc", timedelta(1), True, "certificate is valid for x.linkerd.svc, not y"),
        ("x.linkerd.svc", timedelta(400), True, "certificate not valid anymore. Expired on"),
        ("x.linkerd.svc", timedelta(-1), True, "certificate not valid before:"),
        ("x.linkerd.svc", timedelta(1), False, "x509: certificate signed by unknown authority"),
    ],
)
def test_a_serving_certificate_is_for_its_name_now_and_trusted(
    name: str, age: timedelta, own_ca: bool, problem: str | None
) -> None:
    def made() -> issue.Credential:
        host = "x.linkerd.svc"
        return issue.self_signed(host, dns_names=[host], lifetime_s=365 * 86400.0, now=NOW)

    served = made()
    bundle = served.cert_pem if own_ca else made().cert_pem
    try:
        certificates.require_served(served.cert, bundle.encode(), name, NOW + age)
        found = None
    except CheckFailed as error:
        found = error.message
    assert (found is None) if problem is None else found is not None and found.startswith(problem)


@pytest.mark.parametrize(("days", "lasting"), [(61, True), (59, False)])
def test_a_certificate_should_last_sixty_days(days: int, lasting: bool) -> None:
    cert = issue.self_signed("x", dns_names=["x"], lifetime_s=days * 86400.0, now=NOW).cert
    try:
        certificates.require_lasting(cert, NOW, "certificate")
        found = True
    except CheckFailed:
        found = False
    assert lasting == found


def test_a_pod_in_trouble_says_why() -> None:
    pod = a_pod(ready=False, sidecar=False)
    assert "" == cluster.trouble(pod)
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    pod["status"]["containerStatuses"][1]["state"] = {"waiting": waiting}
    why = "web: linkerd-proxy: ImagePullBackOff: no such image"
    assert why == cluster.trouble(pod)
    with pytest.raises(CheckFailed, match=f"pod/web container linkerd-proxy is not ready\n{why}"):
        cluster.require_ready([pod])


@pytest.mark.parametrize(
    ("key", "why"),
    [("", "cannot read the private key"), ("other", "private key does not match public key")],
)
def test_a_webhooks_key_is_its_certificates(key: str, why: str) -> None:
    served = issue.self_signed("x", dns_names=["x"], now=NOW)
    other = issue.self_signed("other", dns_names=["other"], now=NOW)
    certificates.require_key(served.cert, served.key_pem.encode())
    with pytest.raises(PkiError, match=why):
        certificates.require_key(served.cert, other.key_pem.encode() if key else b"")


@pytest.mark.parametrize(
    ("replicas", "advice"),
    [
        (1, []),
        (
            0,
            [
                "deployment/linkerd-x is scaled to 0:"
                " `kubectl -n l5d scale deploy linkerd-x --replicas=1` starts it"
            ],
        ),
        (
            None,
            [
                "deployment/linkerd-x does not exist:"
                " `linkerd upgrade | kubectl apply -f -` brings it back"
            ],
        ),
    ],
)
def test_a_component_without_pods_says_what_brings_it_back(
    replicas: int | None, advice: list[str]
) -> None:
    body = {"metadata": {"name": "linkerd-x"}, "spec": {"replicas": replicas}}
    assert advice == cluster.absent([] if replicas is None else [body], ["x"], "l5d")


@pytest.mark.parametrize(
    ("state", "last", "crashed"),
    [
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}}, True),
        ({"terminated": {"exitCode": 137}}, {}, True),
        ({"terminated": {"exitCode": 0}}, {}, False),
        ({"running": {}}, {"terminated": {"exitCode": 1}}, False),
        ({"waiting": {"reason": "PodInitializing"}}, {}, False),
    ],
)
def test_containers_that_ended_badly_are_asked_for_their_last_words(
    state: dict[str, Any], last: dict[str, Any], crashed: bool
) -> None:
    entry = {"name": "app", "state": state, "lastState": last}
    pod = {"status": {"containerStatuses": [entry]}}
    assert [entry] * crashed == cluster.crashed(pod)


@pytest.mark.parametrize(
    ("own", "namespace", "spec", "advice"),
    [
        ({"linkerd.io/inject": "enabled"}, {}, {}, ": delete it and create it again"),
        ({}, {"linkerd.io/inject": "enabled"}, {}, ": delete it and create it again"),
        ({"linkerd.io/inject": "disabled"}, {"linkerd.io/inject": "enabled"}, {}, None),
        ({}, {}, {}, None),
        ({"linkerd.io/inject": "enabled"}, {}, {"hostNetwork": True}, ": hostNetwork is enabled"),
        ({}, {"linkerd.io/inject": "enabled"}, {"hostNetwork": True}, None),
    ],
)
def test_a_pod_that_asks_for_a_proxy_and_has_none_is_told_of(
    own: dict[str, str], namespace: dict[str, str], spec: dict[str, Any], advice: str | None
) -> None:
    pod = a_pod(annotations=own)
    assert None is proxies.missing(pod, namespace)
    mount = {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "token"}
    app = {"name": "app", "volumeMounts": [mount]}
    bare = {**pod, "spec": {"containers": [app], **spec}}
    assert advice == proxies.missing(bare, namespace)
    gone = {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert None is proxies.missing({**bare, "metadata": gone}, namespace)

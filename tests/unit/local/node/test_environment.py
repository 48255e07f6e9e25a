"""Environment, arguments, volumes and users from a pod's spec. No disk but pytest's own."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from linkerd.errors import LocalError
from linkerd.local.node import environment, images, linux, spec, volumes
from linkerd.local.node.environment import Missing
from linkerd.local.node.images import Image
from tests.unit.local.node.builders import a_container, a_pod, a_service

Object = dict[str, Any]
OBJECTS = {
    ("ConfigMap", "cm"): {"kind": "ConfigMap", "data": {"a": "1", "not a name!": "2"}},
    ("Secret", "sec"): {"kind": "Secret", "data": {"pw": base64.b64encode(b"s3").decode()}},
}
CAPACITY = {"cpu": 4.0, "memory": 8.0 * 2**30}


def get(kind: str, name: str) -> Object | None:
    return OBJECTS.get((kind, name))


def env_of(container: Object, services: tuple[Object, ...] = ()) -> dict[str, str]:
    pod = a_pod(container)
    pod["metadata"]["labels"] = {"app": "web"}
    pod["status"] = {"podIP": "10.244.0.5", "hostIP": "10.244.0.1"}
    return environment.build(
        pod, container, image={"I": "image"}, services=services, get=get, capacity=CAPACITY
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$A $(", "$A $("),
    ],
)
def test_references_expand(text: str, expected: str) -> None:
    assert expected == environment.expand(text, {"A": "1"})


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ({"value": "$(I) $(FIRST)"}, "$(I) one"),
        ({"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, "10.244.0.5"),
        ({"valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}, "web"),
        ({"valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}}, "1"),
        ({"valueFrom": {"secretKeyRef": {"name": "sec", "key": "pw"}}}, "s3"),
        ({"valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}, "1"),
        ({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}, "4000"),
        (
            {"valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            "64",
        ),
    ],
)
def test_variables(variable: Object, expected: str) -> None:
    resources = {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}
    first = {"name": "FIRST", "value": "one"}
    container = a_container(env=[first, {"name": "X", **variable}], resources=resources)
    assert expected == env_of(container)["X"]


def test_whole_config_maps_with_a_prefix_leave_out_what_is_no_name() -> None:
    container = a_container(envFrom=[{"prefix": "P_", "configMapRef": {"name": "cm"}}])
    assert {"I": "image", "P_a": "1"} == env_of(container)


@pytest.mark.parametrize(
    "reference",
    [
        {"envFrom": [{"secretRef": {"name": "gone"}}]},
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "gone"}}}]},
    ],
)
def test_what_is_missing_and_not_optional_holds_up_the_container(reference: Object) -> None:
    with pytest.raises(Missing, match="gone"):
        env_of(a_container(**reference))


def test_services_show_up_as_variables() -> None:
    found = env_of(a_container(), (a_service("my-web"),))
    assert ("10.96.0.7", "80") == (found["MY_WEB_SERVICE_HOST"], found["MY_WEB_SERVICE_PORT"])
    assert "tcp://10.96.0.7:80" == found["MY_WEB_PORT_80_TCP"]


@pytest.mark.parametrize(
    ("pod", "container", "image", "expected"),
    [
        ({}, {}, "", (0, 0)),
        ({}, {}, "7:8", (7, 8)),
        ({"runAsUser": 5}, {}, "7:8", (5, 8)),
        ({"runAsUser": 5, "runAsGroup": 6}, {"runAsUser": 9}, "7:8", (9, 6)),
    ],
)
def test_users(pod: Object, container: Object, image: str, expected: tuple[int, int]) -> None:
    found = spec.user_of(
        {"securityContext": pod}, a_container(securityContext=container), Image(user=image)
    )
    assert expected == (found.uid, found.gid)


def test_root_is_refused_where_it_must_not_run() -> None:
    with pytest.raises(LocalError, match="runAsNonRoot"):
        spec.user_of({"securityContext": {"runAsNonRoot": True}}, a_container(), Image())


def test_capabilities_drop_before_they_add_and_others_than_root_keep_only_the_added() -> None:
    capabilities = {"add": ["NET_ADMIN"], "drop": ["ALL"]}
    container = a_container(securityContext={"capabilities": capabilities})
    found = spec.rights(container, spec.User(65534, 0, ()))
    wanted = linux.capability_mask(["NET_ADMIN"])
    assert (wanted, wanted) == (found["capabilities"], found["ambient"])


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, ["run", "default"]),
        ({"args": ["x"]}, ["run", "x"]),
        ({"command": ["own"]}, ["own"]),
        ({"command": ["own"], "args": ["$(A)"]}, ["own", "1"]),
    ],
)
def test_commands(container: Object, expected: list[str]) -> None:
    image = Image(entrypoint=("run",), cmd=("default",))
    assert expected == spec.command(a_container(**container), image, {"A": "1"})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nginx", True),
        ("docker.io/library/nginx:1", True),
        ("nginx@sha256:abc", True),
        ("other/nginx", False),
        ("cr.l5d.io/linkerd/proxy:edge", True),
        ("cr.l5d.io/linkerd/proxy", False),
        ("localhost:5000/x:1", True),
    ],
)
def test_image_names(name: str, found: bool) -> None:
    table: Object = {"nginx": {}, "cr.l5d.io/linkerd/proxy:edge": {}, "localhost:5000/x": {}}
    assert found == (images.find(images.parse(table), name) is not None)


def test_resolv_conf_by_policy() -> None:
    host = "search home\nnameserver 192.168.0.1\n"
    pod = a_pod(dnsPolicy="ClusterFirst")
    text = spec.resolv_conf(pod, domain="cluster.local", dns_ip="10.96.0.10", host=host)
    assert (
        "search shop.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\noptions ndots:5\n" == text
    )
    pod["spec"]["dnsPolicy"] = "Default"
    text = spec.resolv_conf(pod, domain="cluster.local", dns_ip="10.96.0.10", host=host)
    assert "search home\nnameserver 192.168.0.1\n" == text


def test_a_projected_volume_gathers_its_sources() -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "audience": "x", "expirationSeconds": 600}},
        {"configMap": {"name": "cm", "items": [{"key": "a", "path": "dir/a", "mode": 0o600}]}},
        {
            "downwardAPI": {
                "items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    volume = {"name": "v", "projected": {"defaultMode": 0o644, "sources": sources}}
    content = volumes.render(volume, a_pod(), get, CAPACITY)
    assert {
        "dir/a": volumes.File(b"1", 0o600),
        "ns": volumes.File(b"shop", 0o644),
    } == content.files
    assert [volumes.TokenRequest("token", "x", 600, 0o644)] == content.tokens
    assert {("ConfigMap", "cm")} == volumes.references(volume)


def test_a_path_that_leads_outside_of_a_volume_is_refused() -> None:
    items = [{"key": "a", "path": "../x"}]
    volume = {"name": "v", "configMap": {"name": "cm", "items": items}}
    with pytest.raises(LocalError, match="leads outside"):
        volumes.render(volume, a_pod(), get, CAPACITY)


def test_a_volume_changes_all_at_once_and_drops_what_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    volumes.write(folder, {"a": volumes.File(b"1", 0o644), "b": volumes.File(b"2", 0o600)}, None)
    first = (folder / "..data").resolve()
    volumes.write(folder, {"a": volumes.File(b"3", 0o644), "d/c": volumes.File(b"4", 0o644)}, None)
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".."))
    assert ["a", "d"] == names
    assert (b"3", b"4") == ((folder / "a").read_bytes(), (folder / "d" / "c").read_bytes())
    assert not first.exists()


def test_a_sub_path_must_stay_inside_even_through_links(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "out").symlink_to(tmp_path)
    with pytest.raises(LocalError, match="leads outside"):
        volumes.inside(tmp_path / "v", "out", make=True)
    assert (tmp_path / "v" / "new").resolve() == volumes.inside(tmp_path / "v", "new", make=True)

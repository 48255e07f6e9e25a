"""Verbs of our own kubectl that need no running pod, against a real API server.

The others are in tests/integration/test_own_kubectl.py.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml

from linkerd.cli.local import _containers
from linkerd.cli.local.kubectl import cp, wait
from linkerd.cli.main import main
from linkerd.errors import UsageError


class Kubectl:
    """Runs a verb in this process and keeps what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, line: str) -> str:
        """Returns what a verb printed, which must succeed."""
        code, out, err = self.tried(line)
        assert code == 0, err
        return out

    def tried(self, line: str) -> tuple[int, str, str]:
        """Returns exit code, stdout and stderr."""
        self._capsys.readouterr()
        code = main(["local", "kubectl", *line.split()])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def kubectl(
    cluster: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Kubectl:
    monkeypatch.setenv("LINKERD_LOCAL_KUBECTL", "own")
    found = Kubectl(capsys)
    if "shop" not in found("get ns -o name"):
        found("create ns shop")
        found("create deployment web --image shop/web:v1 --port 8080 -n shop")
    return found


def test_kinds_and_versions_are_listed(kubectl: Kubectl) -> None:
    lines = [line.split() for line in kubectl("api-resources").splitlines()]
    assert ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"] == lines[0]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in lines
    assert ["namespaces", "ns", "v1", "false", "Namespace"] in lines
    only = kubectl("api-resources --api-group apps --no-headers -o name").split()
    assert "deployments.apps" in only
    assert all(name.endswith(".apps") for name in only)
    assert "pods" not in kubectl("api-resources --namespaced=false -o name").split()
    assert {"v1", "apps/v1"} <= set(kubectl("api-versions").split())


def test_fields_are_explained(kubectl: Kubectl) -> None:
    text = kubectl("explain deploy.spec.template.spec.containers")
    assert text.startswith("GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\n")
    assert "FIELD: containers <[]Container>" in text
    assert "\n  image\t<string>\n" in text
    recursive = kubectl("explain crd.spec --recursive")
    assert "\n  versions\t<[]CustomResourceDefinitionVersion>\n    " in recursive
    assert 'field "nothing" does not exist' in kubectl.tried("explain pods.nothing")[2]
    assert "couldn't find resource" in kubectl.tried("explain nothing.spec")[2]


def test_a_workload_is_exposed_by_a_service(kubectl: Kubectl) -> None:
    assert "service/web exposed\n" == kubectl("expose deploy web -n shop")
    spec = yaml.safe_load(kubectl("get svc/web -n shop -o yaml"))["spec"]
    assert {"app": "web"} == spec["selector"]
    assert [(8080, 8080)] == [(one["port"], one["targetPort"]) for one in spec["ports"]]
    words = "--port 80 --target-port http --name other --type NodePort"
    kubectl(f"expose svc/web -n shop {words}")
    other = yaml.safe_load(kubectl("get svc/other -n shop -o yaml"))["spec"]
    assert ("NodePort", {"app": "web"}, 80, "http") == (
        other["type"], other["selector"], other["ports"][0]["port"],
        other["ports"][0]["targetPort"],
    )  # fmt: skip
    kubectl("create deployment portless --image x -n shop")
    assert "couldn't find port" in kubectl.tried("expose deploy/portless -n shop")[2]


def test_images_and_variables_are_set(kubectl: Kubectl) -> None:
    containers = "jsonpath={.spec.template.spec.containers}"

    def container() -> dict[str, object]:
        (found,) = json.loads(kubectl(f"get deploy/web -n shop -o {containers}"))
        return dict(found)

    done = kubectl("set image deploy/web web=shop/web:v2 -n shop")
    assert ("deployment.apps/web image updated\n", "shop/web:v2") == (done, container()["image"])
    kubectl("set image deploy web *=shop/web:v3 -n shop")
    kubectl("set env deploy/web COLOR=red SIZE=9 -n shop")
    kubectl("set env deploy/web SIZE- -n shop")
    found = container()
    assert ("shop/web:v3", [{"name": "COLOR", "value": "red"}]) == (found["image"], found["env"])
    assert "has no such container" in kubectl.tried("set image deploy/web db=x -n shop")[2]
    assert "expected CONTAINER=IMAGE" in kubectl.tried("set image deploy/web web- -n shop")[2]
    assert "expected TYPE/NAME" in kubectl.tried("set image deploy/web -n shop")[2]


def test_a_pods_and_a_cron_jobs_containers_are_changed_where_they_stand() -> None:
    containers = {"containers": [{"name": "app"}]}

    def image(_: object) -> dict[str, str]:
        return {"image": "x"}

    changed = {"containers": [{"name": "app", "image": "x"}]}
    assert {"spec": changed} == _containers.patch({"kind": "Pod", "spec": containers}, image)
    spec = {"jobTemplate": {"spec": {"template": {"spec": containers}}}}
    wanted = {"spec": {"jobTemplate": {"spec": {"template": {"spec": changed}}}}}
    assert wanted == _containers.patch({"kind": "CronJob", "spec": spec}, image)


def test_permissions_are_asked(kubectl: Kubectl) -> None:
    assert (0, "yes\n", "") == kubectl.tried("auth can-i create deploy -n shop")
    nobody = "--as system:serviceaccount:shop:default"
    assert (1, "no\n", "") == kubectl.tried(f"auth can-i list secrets -n shop {nobody}")
    assert (0, "yes\n", "") == kubectl.tried(f"auth can-i get /version {nobody}")
    assert (1, "", "") == kubectl.tried(f"auth can-i delete ns/shop -q {nobody}")
    code, out, err = kubectl.tried("auth can-i get nothing")
    assert (0, "yes\n") == (code, out)
    assert 'doesn\'t have a resource type "nothing"' in err
    groups = kubectl("auth whoami").splitlines()[2]
    assert "system:masters" in groups


def test_several_kinds_are_named_with_their_kind(kubectl: Kubectl) -> None:
    text = kubectl("get all -n shop")
    assert "deployment.apps/web " in text
    assert "deployment.apps/web\n" in kubectl("get deploy,svc -n shop -o name")


def test_secrets_config_maps_and_jobs_are_made_from_files(kubectl: Kubectl, tmp_path: Path) -> None:
    for name in ("ca.crt", "ca.key"):
        (tmp_path / name).write_text(name)
    kubectl(f"create secret tls anchor --cert {tmp_path}/ca.crt --key {tmp_path}/ca.key -n shop")
    secret = yaml.safe_load(kubectl("get secret anchor -n shop -o yaml"))
    assert ("kubernetes.io/tls", base64.b64encode(b"ca.key").decode()) == (
        secret["type"],
        secret["data"]["tls.key"],
    )
    literal = "create secret generic word --from-literal a=b=c -n shop"
    assert "secret/word created\n" == kubectl(literal)
    kubectl(
        f"create cm files --from-file {tmp_path}/ca.crt --from-file k={tmp_path}/ca.key -n shop"
    )
    data = yaml.safe_load(kubectl("get cm files -n shop -o yaml"))["data"]
    assert {"ca.crt": "ca.crt", "k": "ca.key"} == data
    assert "job.batch/once created\n" == kubectl("create job once --image x -n shop -- true")
    assert "expected secret generic NAME" in kubectl.tried("create secret word -n shop")[2]
    missing = kubectl.tried("create cm none --from-file none.txt -n shop")[2]
    assert "none.txt: No such file" in missing


def test_a_value_is_waited_for(kubectl: Kubectl) -> None:
    path = "jsonpath={.spec.replicas}"
    kubectl(f"wait --for {path}=1 deploy/web -n shop")
    kubectl(f"wait --for {path} deploy/web -n shop")
    code, _, err = kubectl.tried(f"wait --for {path}=7 deploy/web -n shop --timeout 0s")
    assert (1, True) == (code, "timed out waiting" in err)
    assert wait.holds(".a=b")({"a": "b"})
    assert not wait.holds("{.a}=c")({"a": "b"})


def test_a_namespace_is_chosen(kubectl: Kubectl) -> None:
    kubectl("config set-context --current --namespace shop")
    assert "deployment.apps/web" in kubectl("get deploy -o name").split()
    kubectl("config set-context --current --namespace default")
    assert "" == kubectl("get deploy -o name")


def test_objects_are_sorted_and_shown_in_columns_of_choice(kubectl: Kubectl) -> None:
    kubectl("create deployment big --image x --replicas 12 -n shop")
    kubectl("create deployment mid --image x --replicas 3 -n shop")
    sort = "--sort-by .spec.replicas"
    rows = kubectl(f"get deploy -n shop --no-headers {sort}").splitlines()
    assert ["mid", "big"] == [row.split()[0] for row in rows][-2:]
    columns = "custom-columns=NAME:.metadata.name,REPLICAS:.spec.replicas,NONE:.spec.none"
    lines = kubectl(f"get deploy -n shop -o {columns} {sort}").splitlines()
    assert ["NAME", "REPLICAS", "NONE"] == lines[0].split()
    assert ["big", "12", "<none>"] == lines[-1].split()
    assert "expected TITLE:PATH" in kubectl.tried("get deploy -o custom-columns=NAME")[2]


def test_what_is_not_measured_says_so(kubectl: Kubectl) -> None:
    code, _, err = kubectl.tried("top pods -n shop")
    assert (1, True) == (code, "Metrics API not available" in err)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("web:/tmp/x", cp.Remote("", "web", "/tmp/x")),
        ("shop/web:x", cp.Remote("shop", "web", "x")),
        ("deploy/web:x", cp.Remote("deploy", "web", "x")),
        ("./a:b", None),
        ("/a:b", None),
        ("page.html", None),
    ],
)
def test_a_path_in_a_pod_has_a_colon(word: str, expected: cp.Remote | None) -> None:
    assert expected == cp.remote(word)


def test_a_copy_needs_one_pod_and_a_file(kubectl: Kubectl, tmp_path: Path) -> None:
    assert "one of the two" in kubectl.tried("cp a b")[2]
    assert "one of the two" in kubectl.tried("cp web:a web:b")[2]
    assert "doesn't exist" in kubectl.tried(f"cp {tmp_path}/none web:/tmp")[2]
    with pytest.raises(UsageError):
        cp.remote("web:")


def test_a_hostile_archive_writes_nothing_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("logs/good", "logs/../../bad", "/logs/absolute"):
            archive.addfile(member := tarfile.TarInfo(name), io.BytesIO(b""))
            assert member.isfile()
        link = tarfile.TarInfo("logs/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    file.seek(0)
    target = tmp_path / "here"
    with tarfile.open(fileobj=file) as archive:
        cp.unpack(archive, "logs", str(target))
    assert [target / "good"] == [path for path in tmp_path.rglob("*") if path.is_file()]
    assert 3 == capsys.readouterr().err.count("warning: skipping")

"""Commands against a real API server; excludes what needs running pods."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
import yaml

from linkerd.cli import _inject
from linkerd.cli.main import main
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import PODS

EMOJIVOTO = "demo/emojivoto/emojivoto.yml"


class Shell:
    """Runs commands and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch

    def __call__(self, line: str, stdin: str = "") -> tuple[int, str, str]:
        """Returns exit code, stdout and stderr."""
        self._capsys.readouterr()
        self._patch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(line.split())
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def shell(
    cluster: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    return Shell(capsys, monkeypatch)


def test_a_cluster_without_linkerd_is_ready_for_it(shell: Shell) -> None:
    assert (0, "Status check results are √\n", "") == shell("check --pre -o short")
    code, out, _ = shell("version")
    assert (0, "Server version: unavailable") == (code, out.splitlines()[1])
    code, out, _ = shell("check --wait 0s -o json")
    [*_, last] = json.loads(out)["categories"]
    assert (1, "linkerd-existence") == (code, last["categoryName"])
    assert "l5d-existence-linkerd-config" in last["checks"][0]["hint"]
    code, _, err = shell("inject " + EMOJIVOTO)
    assert (1, True) == (code, err.startswith("Error: Cannot find Linkerd"))


def test_installing_in_one_step_prints_the_crds_first(shell: Shell) -> None:
    code, out, err = shell("install")
    assert (0, True) == (code, "no Linkerd CRDs" in err)
    kinds = [body["kind"] for body in yaml.safe_load_all(out) if body]
    crds = kinds.count("CustomResourceDefinition")
    assert 10 == crds
    assert {"CustomResourceDefinition"} == set(kinds[:crds])
    assert "Deployment" in kinds[crds:]


def test_installing_goes_by_the_two_printed_commands(shell: Shell) -> None:
    code, crds, _ = shell("install --crds")
    assert 0 == code
    code, out, _ = shell("local apply -f -", crds)
    assert (0, {"created"}) == (code, {line.split()[-1] for line in out.splitlines()})
    code, manifests, _ = shell("install")
    assert 0 == code
    code, out, err = shell("local apply -f -", manifests)
    assert (0, "") == (code, err)
    code, out, _ = shell("local apply -f -", manifests)
    assert {"unchanged"} == {line.split()[-1] for line in out.splitlines()}
    code, _, err = shell("install")
    assert (1, True) == (code, "ConfigMap/linkerd-config already exists" in err)
    code, out, _ = shell("version")
    assert out.splitlines()[0].split()[-1] == out.splitlines()[1].split()[-1]


def test_upgrading_keeps_the_settings_and_changes_what_is_asked(shell: Shell) -> None:
    code, out, err = shell("upgrade --controller-replicas 2")
    assert (0, "") == (code, err)
    objects = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(out) if o}
    assert 2 == objects["Deployment", "linkerd-identity"]["spec"]["replicas"]
    roots = objects["ConfigMap", "linkerd-identity-trust-roots"]["data"]["ca-bundle.crt"]
    _, stored, _ = shell("local get cm linkerd-identity-trust-roots -n linkerd -o json")
    assert roots == json.loads(stored)["data"]["ca-bundle.crt"]
    code, out, err = shell("upgrade -L elsewhere")
    assert (1, "") == (code, out)
    assert err.startswith('× secrets "linkerd-config-overrides" not found')
    assert "If Linkerd was installed with Helm" in err


def test_pruning_names_what_this_version_does_not_have(shell: Shell) -> None:
    assert (0, "", "") == shell("prune")
    old = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "linkerd-config-addons",
            "namespace": "linkerd",
            "labels": {"linkerd.io/control-plane-ns": "linkerd"},
        },
    }
    shell("local apply -f -", json.dumps(old))
    code, out, _ = shell("prune")
    del old["metadata"]["labels"]  # type: ignore[attr-defined]
    assert (0, [old]) == (code, [body for body in yaml.safe_load_all(out) if body])


def test_uninstalling_prints_what_is_cluster_wide_and_the_namespace(shell: Shell) -> None:
    code, out, err = shell("uninstall")
    assert (0, "") == (code, err)
    kinds = list(dict.fromkeys(body["kind"] for body in yaml.safe_load_all(out) if body))
    assert [
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "Namespace",
    ] == kinds
    code, out, err = shell("uninstall -L elsewhere")
    assert (1, "", "Error: No resources found to uninstall\n") == (code, out, err)


def test_profiles_carry_the_domain_of_the_cluster(shell: Shell) -> None:
    code, out, _ = shell("profile -n shop --proto - web", "service S { rpc Get(A) returns (B); }")
    assert (0, "web.shop.svc.cluster.local") == (code, yaml.safe_load(out)["metadata"]["name"])
    code, _, err = shell("profile -L elsewhere --template web")
    assert (1, True) == (code, err.startswith("Error: Cannot find Linkerd"))


def test_the_control_plane_is_judged_by_its_objects(shell: Shell) -> None:
    """No controllers run here: the first thing missing is a replica set."""
    code, out, _ = shell("check --wait 0s")
    assert 1 == code
    assert "√ 'linkerd-config' config map exists" in out
    assert "× control plane replica sets are ready" in out
    assert out.endswith("Status check results are ×\n")


async def _run_injector() -> None:
    labels = {"linkerd.io/control-plane-component": "proxy-injector"}
    container = {"name": "proxy-injector", "image": "x"}
    metadata = {"name": "injector", "namespace": "linkerd", "labels": labels}
    async with KubeClient(load()) as kube:
        spec = {"containers": [container], "serviceAccountName": "linkerd-proxy-injector"}
        await kube.create(PODS, {"metadata": metadata, "spec": spec}, "linkerd")
        pod = await kube.get(PODS, "injector", "linkerd")
        statuses = [{"name": "proxy-injector", "ready": True}]
        pod["status"] = {"phase": "Running", "containerStatuses": statuses}
        await kube.update_status(PODS, pod)


def test_injecting_waits_for_an_injector(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inject, "_WAIT_S", 0.01)
    code, out, err = shell(f"inject {EMOJIVOTO}")
    assert (1, "") == (code, out)
    assert 'No running pods for "linkerd-proxy-injector"' in err
    assert 0 == shell(f"inject --manual {EMOJIVOTO}")[0]
    asyncio.run(_run_injector())
    assert 0 == shell(f"inject {EMOJIVOTO}")[0]


def test_injecting_takes_lists_and_reports_on_stderr(shell: Shell) -> None:
    code, out, _ = shell(f"local apply -f {EMOJIVOTO}")
    assert (0, 11) == (code, len(out.splitlines()))
    code, deployments, _ = shell("local get deploy -n emojivoto -o yaml")
    code, out, err = shell("inject -", deployments)
    assert 0 == code
    assert [f'deployment "{name}" injected' for name in ("emoji", "vote-bot", "voting", "web")] == [
        line for line in err.splitlines() if line
    ]
    items = next(yaml.safe_load_all(out))["items"]
    templates = [item["spec"]["template"]["metadata"] for item in items]
    assert {"enabled"} == {one["annotations"]["linkerd.io/inject"] for one in templates}
    code, applied, _ = shell("local apply -f -", out)
    assert (0, {"configured"}) == (code, {line.split()[-1] for line in applied.splitlines()})


def test_tables_come_from_the_server(shell: Shell) -> None:
    _, out, _ = shell("local get svc web-svc -n emojivoto")
    header, row = out.splitlines()
    assert ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"] == header.split()
    assert ["web-svc", "ClusterIP"] == row.split()[:2]
    _, out, _ = shell("local get svc -A")
    assert "NAMESPACE" == out.split()[0]
    assert (0, "", "No resources found in default namespace.\n") == shell("local get po")


@pytest.mark.parametrize(
    ("line", "stdin", "error"),
    [
        ("local get nothing", "", 'the server doesn\'t have a resource type "nothing"'),
        ("local get svc nothing", "", 'services "nothing" not found'),
        ("local apply -f -", "", "no objects in stdin"),
        ("local apply -f -", "a: [", "error converting YAML to JSON: yaml: line"),
        ("local apply -f -", "kind: Pod", "-: Pod has no apiVersion"),
        (
            "local apply -f -",
            "{apiVersion: v1, kind: Nothing, metadata: {name: x}}",
            "nothing/x: no kind Nothing in v1",
        ),
        ("viz stat deploy", "", "Cannot connect to Linkerd Viz"),
        ("diagnostics endpoints web:80", "", "Cannot find Linkerd: no running destination pod"),
        ("identity web", "", 'pods "web" not found'),
    ],
)
def test_what_is_not_there_is_one_sentence(
    shell: Shell, line: str, stdin: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkerd.cli.local._apply._KIND_S", 0.0)
    code, out, err = shell(line, stdin)
    assert (1, "") == (code, out)
    assert error in err


def test_the_cni_plugin_is_looked_for_before_an_installation_that_needs_it(shell: Shell) -> None:
    code, out, _ = shell("check --pre --linkerd-cni-enabled --wait 0s")
    assert (1, True) == (code, "× cni plugin ConfigMap exists\n    missing ConfigMaps" in out)
    code, _, err = shell("check --linkerd-cni-enabled")
    assert (1, True) == (code, "--linkerd-cni-enabled can only be used with --pre" in err)


def test_a_gateway_api_is_whole_or_absent(shell: Shell) -> None:
    assert "gateway-api-crd" not in shell("check --crds")[1]
    spec = {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "httproutes", "kind": "HTTPRoute", "listKind": "HTTPRouteList"},
        "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
    }  # fmt: skip
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "httproutes.gateway.networking.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "a test"},
        },
        "spec": spec,
    }
    shell("local apply -f -", json.dumps(crd))
    code, out, _ = shell("check --crds")
    assert 0 == code
    assert "‼ Gateway API CRDs are installed" in out
    assert "* httproutes.gateway.networking.k8s.io serves v1beta1, not v1" in out
    assert "* grpcroutes.gateway.networking.k8s.io is missing" in out

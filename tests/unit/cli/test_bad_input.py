"""Wrong files, values and manifests: one clear sentence, exit code 1, nothing half-made."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from linkerd.cli.main import main

NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: half}}"
UNKNOWN = "{apiVersion: v1, kind: Nothing, metadata: {name: x}}"
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: toys.shop.example}
spec:
  group: shop.example
  names: {kind: Toy, plural: toys, singular: toy, listKind: ToyList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
TOY = "{apiVersion: shop.example/v1, kind: Toy, metadata: {name: ball, namespace: default}}"


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert 1 == main(list(words))
    captured = capsys.readouterr()
    assert "" == captured.out
    assert "defect" not in captured.err
    return captured.err.removeprefix("Error: ").removeprefix("× ")


@pytest.mark.parametrize(
    ("line", "text", "error"),
    [
        ("install --ignore-cluster -f FILE", "a: [", "FILE: error converting YAML to JSON: yaml"),
        ("install --ignore-cluster -f FILE", "- a", "FILE is not a mapping of values"),
        ("install --ignore-cluster -f FILE", "proxy: 3", "value proxy is 3, expected a mapping"),
        (
            "install --ignore-cluster -f FILE",
            "{controllerReplicas: many}",
            "value controllerReplicas is 'many', expected a number",
        ),
        (
            "install --ignore-cluster -f FILE",
            "{cniEnabled: 'false'}",
            "value cniEnabled is 'false', expected true or false",
        ),
        (
            "install --ignore-cluster --identity-trust-anchors-file FILE",
            "nothing",
            "--identity-trust-anchors-file: FILE holds no certificate in PEM format",
        ),
        (
            "upgrade --from-manifests FILE",
            NAMESPACE,
            "the manifests hold no secret/linkerd-config-overrides",
        ),
        (
            "profile --ignore-cluster --open-api FILE web",
            "a: [",
            "error converting YAML to JSON: yaml: line",
        ),
        (
            "profile --ignore-cluster --proto FILE web",
            "service A {",
            "the protobuf file ends within service A",
        ),
        ("inject --ignore-cluster FILE", "a: [", "Error transforming resources:\nerror converting"),
        (
            "inject --ignore-cluster FILE",
            "just text",
            "Error transforming resources:\nerror converting YAML to JSON: a document is no mapping",
        ),
    ],
)
def test_a_wrong_file_is_named(
    line: str, text: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text)
    words = [str(file) if word == "FILE" else word for word in line.split()]
    assert _refused(capsys, *words).startswith(error.replace("FILE", str(file)))


@pytest.mark.parametrize(
    ("documents", "error"),
    [
        ([NAMESPACE, "a: ["], "error converting YAML to JSON: yaml: line"),
        ([NAMESPACE, UNKNOWN], "nothing/x: no kind Nothing in v1"),
        ([NAMESPACE, "{kind: Pod, metadata: {name: x}}"], "-: Pod has no apiVersion"),
        ([NAMESPACE, TOY], "toy.shop.example/ball: no kind Toy in shop.example/v1"),
    ],
)
def test_a_wrong_document_keeps_all_from_being_applied(
    documents: list[str],
    error: str,
    cluster: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("linkerd.cli.local._apply._KIND_S", 0.0)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n---\n".join(documents)))
    assert _refused(capsys, "local", "apply", "-f", "-").startswith(error)
    assert 'namespaces "half" not found' in _refused(capsys, "local", "get", "ns", "half")


def test_a_kind_may_be_defined_beside_its_objects(
    cluster: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n---\n".join([CRD, TOY])))
    assert 0 == main(["local", "apply", "-f", "-"])
    assert "toy.shop.example/ball created" in capsys.readouterr().out


_MAIN = "import sys; from linkerd.cli.main import main; sys.exit(main())"


def _started(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _MAIN, "local", "start", *words],
        env={
            **os.environ,
            "LINKERD_LOCAL_HOME": str(home / "local"),
            "KUBECONFIG": str(home / "kubeconfig"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root")
def test_a_port_in_use_keeps_the_cluster_from_starting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = _started(tmp_path, "--port", str(port))
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"Error: port {port} of 127.0.0.1 is in use")
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]

"""The five documents' commands on a real Kubernetes, with stock kubectl: another engine, same steps.

The node is small and far from any registry, so one policy lets pods ask for less, and the node has
no host name that replicas could insist on not sharing. Everything else is as the documents say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.bed import build, cluster
from tests.kubernetes.mesh import KubernetesMesh
from tests.walkthroughs.steps import Walk
from tests.walkthroughs.terminal import Given, Terminal
from tests.walkthroughs.test_table import WALKS

pytestmark = pytest.mark.timeout(1500)

_SMALL_NODE = """\
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: small-node
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{spec: Object.spec{
          containers: object.spec.containers.map(one, Object.spec.containers{
            name: one.name, imagePullPolicy: "IfNotPresent",
            resources: Object.spec.containers.resources{requests: {"cpu": "1m"}}}),
          initContainers: object.spec.?initContainers.orValue([]).map(one,
            Object.spec.initContainers{name: one.name, imagePullPolicy: "IfNotPresent",
            resources: Object.spec.initContainers.resources{requests: {"cpu": "1m"}}})}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: small-node
spec:
  policyName: small-node
"""


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    """A fresh cluster, and its node's network to type in."""
    mesh = KubernetesMesh(tmp_path, "test-walkthroughs")
    try:
        mesh.start()
        mesh.apply(_SMALL_NODE)
        mesh.kubectl("label", "node", "--all", "kubernetes.io/hostname-")
        yield Given(
            mesh.bed.config / "admin.kubeconfig",
            build.binaries() / "kubectl",
            f"/proc/{cluster.first_process(mesh.bed)}/ns/net",
        )
    finally:
        mesh.delete()


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.title)
def test_a_document_runs_as_printed(given: Given, walk: Walk, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    terminal = Terminal(home, given)
    try:
        terminal.walk(walk)
    finally:
        terminal.close()

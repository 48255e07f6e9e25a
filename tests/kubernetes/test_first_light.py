"""A user's life with the mesh on a real Kubernetes, walked once from the first check to the last.

Everything is typed as in the documents: our command's output piped into stock kubectl. Needs root
for the bed (`tests/kubernetes/bed`), which is the test's own and gone afterwards.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkerd.kube.resources import AUTHORIZATION_POLICIES, SERVERS
from linkerd.pki import issue
from tests.integration.mesh import LINKERD, ROOT, Object, ready_containers, until
from tests.integration.test_first_light import (
    EMOJIVOTO,
    NS,
    _assert_only_the_doughnut_fails,
    _assert_the_dashboard_answers,
    _percent,
    _rows,
)
from tests.kubernetes.bed import build
from tests.kubernetes.mesh import KubernetesMesh

# Each step has a deadline of its own that says what hung; this is for what nobody thought of.
pytestmark = pytest.mark.timeout(1500)

_TAP_S = 30.0
_CHARTS = ROOT / "charts"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesMesh]:
    mesh = KubernetesMesh(tmp_path_factory.mktemp("mesh"), "test-first-light")
    try:
        mesh.start()
        yield mesh
    finally:
        mesh.delete()


class _Authority:
    """A trust anchor with its key, as only its owner has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now = datetime.datetime.now(datetime.UTC)
        self._root = issue.root("root.linkerd.cluster.local", now=self._now)

    def issuer_flags(self, name: str) -> list[str]:
        """Returns our command's flags that install or rotate to a fresh issuer."""
        names = (
            "identity-trust-anchors-file",
            "identity-issuer-certificate-file",
            "identity-issuer-key-file",
        )
        return [
            word
            for flag, path in zip(names, self.issue(name), strict=True)
            for word in (f"--{flag}", str(path))
        ]

    def issue(self, name: str) -> tuple[Path, Path, Path]:
        """Returns the files of the anchor, of a fresh issuer's certificate and of its key."""
        made = issue.intermediate("identity.linkerd.cluster.local", self._root, now=self._now)
        anchor, issuer, key = (self._folder / f"{name}-{one}" for one in ("ca", "issuer", "key"))
        anchor.write_text(self._root.cert_pem)
        issuer.write_text(made.cert_pem)
        key.write_text(made.key_pem)
        return anchor, issuer, key


def test_from_the_first_check_to_the_last(mesh: KubernetesMesh, tmp_path: Path) -> None:
    authority = _Authority(tmp_path)
    mesh.linkerd("check", "--pre")
    mesh.apply(mesh.linkerd("install", "--crds"))
    mesh.apply(mesh.linkerd("install", *authority.issuer_flags("first")))
    mesh.wait("linkerd")
    mesh.install_viz()
    mesh.wait("linkerd-viz")
    mesh.apply(mesh.inject(EMOJIVOTO.read_text()))
    mesh.wait(NS)
    pods = mesh.pods(NS)
    assert (4, {"2/2"}) == (len(pods), {ready_containers(pod) for pod in pods})
    _assert_checks_pass(mesh)
    _assert_measured(mesh)
    _assert_secured(mesh)
    _assert_tapped(mesh)
    _assert_the_dashboard_answers(mesh)
    _assert_policy_denies_and_admits(mesh)
    _assert_the_issuer_rotates(mesh, authority)
    _assert_upgraded(mesh)
    _assert_gone(mesh)


def test_helm_installs_upgrades_and_removes_it(mesh: KubernetesMesh, tmp_path: Path) -> None:
    """By the real Helm in a namespace that Helm makes; the issuer is a Secret as cert-manager's."""
    authority = _Authority(tmp_path)
    anchor, *first = authority.issue("helm")
    values = (
        f"--set-file=identityTrustAnchorsPEM={anchor}",
        "--set=identity.issuer.scheme=kubernetes.io/tls",
    )
    _helm(mesh, "install", "linkerd-crds", str(_CHARTS / "linkerd-crds"), "--create-namespace")
    _give_issuer(mesh, *first)
    control_plane = ("linkerd-control-plane", str(_CHARTS / "linkerd-control-plane"))
    _helm(mesh, "install", *control_plane, *values)
    mesh.wait("linkerd")
    mesh.apply(mesh.inject(EMOJIVOTO.read_text()))
    mesh.wait(NS)
    pods = mesh.pods(NS)
    assert (4, {"2/2"}) == (len(pods), {ready_containers(pod) for pod in pods})
    for words in (("check", "--wait", "60s"), ("check", "--proxy", "-n", NS)):
        output = mesh.linkerd(*words)
        assert output.rstrip().endswith("Status check results are √")
    _assert_a_renewed_secret_is_taken(mesh, authority)
    _helm(mesh, "upgrade", *control_plane, *values, "--set=controllerLogLevel=debug")
    mesh.wait("linkerd")
    arguments = "jsonpath={.spec.template.spec.containers[*].args}"
    found = mesh.kubectl("get", "deploy/linkerd-identity", "-n", "linkerd", "-o", arguments)
    assert "-log-level=debug" in found
    mesh.kubectl("delete", "ns", NS, "--wait=true")
    for release in ("linkerd-control-plane", "linkerd-crds"):
        _helm(mesh, "uninstall", release)
    mesh.kubectl("delete", "ns", "linkerd", "--wait=true")
    assert [] == _left(mesh)


def _give_issuer(mesh: KubernetesMesh, certificate: Path, key: Path) -> None:
    """Writes the issuer's Secret, in the form that cert-manager gives it."""
    words = ("create", "secret", "tls", "linkerd-identity-issuer", "-n", "linkerd")
    files = (f"--cert={certificate}", f"--key={key}")
    mesh.apply(mesh.kubectl(*words, *files, "--dry-run=client", "-o", "yaml"))


def _assert_a_renewed_secret_is_taken(mesh: KubernetesMesh, authority: _Authority) -> None:
    before = _issuers(mesh)
    _, *renewed = authority.issue("renewed")
    _give_issuer(mesh, *renewed)
    until(
        lambda: "IssuerUpdated" in mesh.kubectl("get", "events", "-n", "linkerd"),
        "identity takes the renewed issuer",
        timeout_s=120,
    )
    mesh.kubectl("rollout", "restart", "deploy/web", "-n", NS)
    mesh.wait(NS)
    until(lambda: bool(after := _issuers(mesh)) and not before & after, "the renewed issuer's leaf")


def _helm(mesh: KubernetesMesh, *words: str) -> None:
    program = build.binaries(build.HELM) / "helm"
    command = [str(program), *words, "--namespace=linkerd", "--wait", "--timeout=3m"]
    done = subprocess.run(
        command, env=mesh.environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def _assert_checks_pass(mesh: KubernetesMesh) -> None:
    for words in (("check", "--wait", "60s"), ("check", "--proxy", "-n", NS), ("viz", "check")):
        output = mesh.linkerd(*words)
        assert output.rstrip().endswith("Status check results are √")
        assert "×" not in output
        assert "‼" not in output


def _assert_measured(mesh: KubernetesMesh) -> None:
    """The doughnut fails, everything else succeeds."""

    def measured() -> bool:
        rows = _rows(mesh.linkerd("viz", "stat", "deploy", "-n", NS, check=False))
        cells = [_percent(rows[name][2]) for name in ("emoji", "voting", "web") if name in rows]
        return len(cells) == 3 and min(cells) >= 0 and max(cells[1:]) < 100

    until(measured, "statistics with a failed vote", timeout_s=120)
    rows = _rows(mesh.linkerd("viz", "stat", "deploy", "-n", NS))
    assert {"1/1"} == {row[1] for row in rows.values()}
    assert "100.00%" == rows["emoji"][2]
    _assert_only_the_doughnut_fails(mesh)


def _assert_secured(mesh: KubernetesMesh) -> None:
    edges = json.loads(mesh.linkerd("viz", "edges", "deploy", "-n", NS, "-o", "json"))
    found = {(edge["src"], edge["dst"]): edge for edge in edges}
    for src, dst, client in (
        ("vote-bot", "web", "default"),
        ("web", "emoji", "web"),
        ("web", "voting", "web"),
    ):
        edge = found[src, dst]
        assert "" == edge["no_tls_reason"]
        assert (f"{client}.{NS}", f"{dst}.{NS}") == (edge["client_id"], edge["server_id"])


def _assert_tapped(mesh: KubernetesMesh) -> None:
    """Requests flow by: over the aggregated API, through kube-apiserver."""
    tap = [str(LINKERD), "viz", "tap", "deploy/web", "-n", NS]
    with subprocess.Popen(
        tap, env=mesh.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        limit = threading.Timer(_TAP_S, running.kill)
        limit.start()
        try:
            assert running.stdout is not None
            lines = [running.stdout.readline() for _ in range(3)]
        finally:
            limit.cancel()
            running.terminate()
    assert all(re.match(r"(req|rsp|end) id=\d+:\d+ proxy=(in|out) ", line) for line in lines), lines


def _policies() -> list[Object]:
    """Nobody but `emoji`, which never asks, may ask `voting`."""
    server = {"group": "policy.linkerd.io", "kind": "Server", "name": "voting"}
    emoji = {"kind": "ServiceAccount", "name": "emoji", "namespace": NS}
    return [
        {
            "apiVersion": "policy.linkerd.io/v1beta3",
            "kind": "Server",
            "metadata": {"name": "voting", "namespace": NS},
            "spec": {
                "podSelector": {"matchLabels": {"app": "voting-svc"}},
                "port": "grpc",
                "proxyProtocol": "gRPC",
            },
        },
        {
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "voting", "namespace": NS},
            "spec": {"targetRef": server, "requiredAuthenticationRefs": [emoji]},
        },
    ]


def _vote(mesh: KubernetesMesh) -> int:
    """Votes for something else than a doughnut; returns the status."""
    url = f"http://web-svc.{NS}/api/vote?choice=:joy:"
    program = (
        "import urllib.error, urllib.request\n"
        f"try: print(urllib.request.urlopen({url!r}, timeout=5).status)\n"
        "except urllib.error.HTTPError as refused: print(refused.code)\n"
    )
    (pod,) = mesh.pods(NS, "app=vote-bot")
    name = pod["metadata"]["name"]
    return int(mesh.run_in(name, NS, "python3", "-c", program, container="vote-bot").stdout)


def _assert_policy_denies_and_admits(mesh: KubernetesMesh) -> None:
    assert 200 == _vote(mesh)
    mesh.apply_objects(*_policies())
    until(lambda: _vote(mesh) >= 400, "voting is denied")
    assert "voting" in mesh.linkerd("authz", "-n", NS, "deploy/voting")
    mesh.do(lambda kube: kube.delete(AUTHORIZATION_POLICIES, "voting", NS))
    mesh.do(lambda kube: kube.delete(SERVERS, "voting", NS))
    until(lambda: _vote(mesh) == 200, "voting is admitted")


def _issuers(mesh: KubernetesMesh) -> set[str]:
    """Returns the key ids of the issuers of the certificates that `web`'s pods present."""
    names = [pod["metadata"]["name"] for pod in mesh.pods(NS, "app=web-svc")]
    printed = "".join(mesh.linkerd("identity", "-n", NS, one, check=False) for one in names)
    return set(re.findall(r"keyid:((?:[0-9A-F]{2}:){19}[0-9A-F]{2})", printed))


def _assert_the_issuer_rotates(mesh: KubernetesMesh, authority: _Authority) -> None:
    before = _issuers(mesh)
    assert before
    mesh.apply(mesh.linkerd("upgrade", *authority.issuer_flags("second")))
    mesh.wait("linkerd")
    until(
        lambda: "IssuerUpdated" in mesh.kubectl("get", "events", "-n", "linkerd"),
        "identity takes the new issuer",
        timeout_s=120,
    )
    mesh.kubectl("rollout", "restart", "deploy/web", "-n", NS)
    mesh.wait(NS)
    until(lambda: bool(after := _issuers(mesh)) and not before & after, "the new issuer's leaf")
    assert 200 == _vote(mesh)


def _assert_upgraded(mesh: KubernetesMesh) -> None:
    """An upgrade to the same version keeps all settings, and traffic goes on."""
    config = mesh.kubectl("get", "cm", "linkerd-config", "-n", "linkerd", "-o", "jsonpath={.data}")
    mesh.apply(mesh.linkerd("upgrade", "--crds"))
    mesh.apply(mesh.linkerd("upgrade"))
    mesh.wait("linkerd")
    assert config == mesh.kubectl(
        "get", "cm", "linkerd-config", "-n", "linkerd", "-o", "jsonpath={.data}"
    )
    assert 200 == _vote(mesh)
    _assert_checks_pass(mesh)


def _assert_gone(mesh: KubernetesMesh) -> None:
    mesh.apply(mesh.linkerd("uninject", "-", stdin=EMOJIVOTO.read_text()))
    mesh.kubectl("delete", "ns", NS, "--wait=true")
    mesh.kubectl("delete", "-f", "-", stdin=mesh.linkerd("viz", "uninstall"))
    mesh.kubectl("delete", "-f", "-", stdin=mesh.linkerd("uninstall"))
    deadline = time.monotonic() + 60
    while left := _left(mesh):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def _left(mesh: KubernetesMesh) -> list[str]:
    kinds = (
        "namespaces,clusterroles,clusterrolebindings,customresourcedefinitions,apiservices,"
        "mutatingwebhookconfigurations,validatingwebhookconfigurations"
    )
    names = mesh.kubectl("get", kinds, "-o", "name").split()
    return [name for name in names if "linkerd" in name or NS in name]

"""The Gateway API's mesh conformance tests on the bed: `python -m tests.kubernetes.conformance`.

Starts a bed, installs the Gateway API's CRDs and the mesh, runs the suite of the version in
`tests/kubernetes/bed/conformance/go.mod` with every mesh feature, and writes its report into
docs/conformance. Nothing is skipped: the suite is told of every feature that one of its mesh tests
asks for. Words after `--` go to the suite, `-- --run-test=MeshBasic` for one.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from images import build as images
from images import oci, trees
from images.oci import Entry, Image, Run
from linkerd import VERSION
from tests.integration.mesh import ROOT, a_namespace, an_account
from tests.kubernetes.bed import build, cluster
from tests.kubernetes.mesh import KubernetesMesh

ECHO_IMAGE = "registry.k8s.io/gateway-api/echo-advanced:v1.5.1"
_ECHO = Path(__file__).resolve().parent / "echo.py"
_REPORTS = ROOT / "docs/conformance"
_SUITE_S = 1500
# The suite waits for pods in the gateways' namespaces as well, which it makes for gateways only.
_WAITED_FOR = ("gateway-conformance-app-backend", "gateway-conformance-web-backend")
FEATURES = (
    "Mesh",
    "HTTPRoute",
    "GRPCRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
)
#: Mesh tests of the suite's version 1.6.
_TESTS = 22
_VERDICT = re.compile(r"^    --- (PASS|FAIL|SKIP): TestConformance/(Mesh\S+)", re.MULTILINE)


def main(argv: list[str] | None = None) -> int:
    """Runs the suite; returns 0 if every mesh test passed and none was skipped."""
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes.conformance")
    parser.add_argument("--keep-logs", type=Path, help="write the suite's output to this file")
    parser.add_argument("words", nargs="*", help="after --: flags for the suite")
    args = parser.parse_args(argv)
    cluster.provide()
    kit = build.binaries(build.CONFORMANCE)
    with tempfile.TemporaryDirectory() as home:
        mesh = KubernetesMesh(Path(home), "conformance")
        try:
            _prepare(mesh, kit / "crds", Path(home))
            output, report = _run(mesh, kit / "conformance", Path(home) / "report.yaml", args.words)
        finally:
            mesh.delete()
    if args.keep_logs:
        args.keep_logs.write_text(output)
    return _judge(output, report, whole=not args.words)


def echo_image() -> Image:
    """Returns the image that stands in for the suite's."""
    source = f"#!{trees.PREFIX}/bin/python3\n{_ECHO.read_text()}".encode()
    folder = f"{trees.PREFIX}/bin"
    programs = [Entry(f"{folder}/{name}", source, mode=0o755) for name in ("server", "client")]
    return Image((*images.python_layers()[:2], oci.layer(programs)), Run((f"{folder}/server",)))


def _prepare(mesh: KubernetesMesh, crds: Path, home: Path) -> None:
    _say("starting Kubernetes")
    mesh.start()
    archive = home / "echo.tar"
    oci.archive(archive, {ECHO_IMAGE: echo_image()})
    cluster.load(mesh.bed, [archive])
    _say("installing the Gateway API and the mesh")
    mesh.kubectl("apply", "--server-side", "-f", str(crds))
    mesh.install()
    for name in _WAITED_FOR:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "idle", "namespace": name},
            "spec": {"containers": [{"name": "echo", "image": ECHO_IMAGE}]},
        }
        mesh.apply_objects(a_namespace(name), an_account("default", name), pod)


def _run(mesh: KubernetesMesh, suite: Path, report: Path, words: list[str]) -> tuple[str, str]:
    """Runs the suite; returns what it printed and its report, empty without one."""
    _say("running the suite")
    command = [
        str(suite),
        "-test.v",
        f"-test.timeout={_SUITE_S}s",
        "--conformance-profiles=MESH-HTTP,MESH-GRPC",
        f"--supported-features={','.join(FEATURES)}",
        "--namespace-annotations=linkerd.io/inject=enabled",
        "--organization=independent",
        "--project=linkerd-compatible",
        "--url=none",
        f"--version={VERSION}",
        "--contact=none",
        f"--report-output={report}",
        *words,
    ]
    done = subprocess.run(
        command,
        env=mesh.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SUITE_S + 60,
        check=False,
    )
    return done.stdout, report.read_text() if report.exists() else ""


def _judge(output: str, report: str, *, whole: bool) -> int:
    found = {name: verdict for verdict, name in _VERDICT.findall(output) if "/" not in name}
    for name, verdict in sorted(found.items()):
        _say(f"{verdict}  {name}")
    passed = sum(verdict == "PASS" for verdict in found.values())
    _say(f"{passed} of {_TESTS if whole else len(found)} mesh tests passed")
    if passed < (_TESTS if whole else max(len(found), 1)):
        sys.stdout.write("\n".join(output.splitlines()[-60:]) + "\n")
        return 1
    if whole:
        _REPORTS.mkdir(exist_ok=True)
        (_REPORTS / "standard-mesh.yaml").write_text(report)
    return 0


def _say(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')}  {text}", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())

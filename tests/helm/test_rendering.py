"""Our rendering of the charts against Helm's own: the same objects for the same values.

The real Helm is built from its Go module by `make test-helm`. What is random, and what is a hash of
it, is compared by its shape only. Installing by Helm is in tests/kubernetes.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from linkerd.errors import RenderError
from linkerd.inject import manifest
from linkerd.install import charts, helmset
from tests.kubernetes.bed import build

Object = dict[str, Any]

_CHARTS = build.HERE.parents[2] / "charts"
# PEM in plain and in base64 when `genSelfSignedCert` made it; checksums of such objects.
_RANDOM = (
    re.compile(r"-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----"),
    re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"),
    re.compile(r"\b[0-9a-f]{64}\b"),
)
_TRUST: Object = {
    "identityTrustAnchorsPEM": "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n",
    "identity": {
        "issuer": {
            "crtExpiry": "2027-03-01T12:00:00Z",
            "tls": {
                "crtPEM": "-----BEGIN CERTIFICATE-----\nQg==\n-----END CERTIFICATE-----\n",
                "keyPEM": "-----BEGIN EC PRIVATE KEY-----\nQw==\n-----END EC PRIVATE KEY-----\n",
            },
        }
    },
}
_CASES: dict[str, tuple[str, tuple[str, ...], Object]] = {
    "crds": ("linkerd-crds", (), {}),
    "crds with the Gateway API": ("linkerd-crds", (), {"installGatewayAPI": True}),
    "crds with one of its kinds": ("linkerd-crds", (), {"enableTcpRoutes": True}),
    "control plane": ("linkerd-control-plane", (), _TRUST),
    "highly available": ("linkerd-control-plane", ("values-ha.yaml",), _TRUST),
    "issuer of somebody else": (
        "linkerd-control-plane",
        (),
        {
            "identityTrustAnchorsPEM": _TRUST["identityTrustAnchorsPEM"],
            "identity": {"issuer": {"scheme": "kubernetes.io/tls"}},
        },
    ),
    "much changed": (
        "linkerd-control-plane",
        (),
        {
            **_TRUST,
            "cniEnabled": True,
            "disableIPv6": False,
            "disableHeartBeat": True,
            "podMonitor": {"enabled": True},
            "nodeSelector": {"kubernetes.io/os": "linux", "disk": "fast"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "podLabels": {"team": "mesh"},
            "proxy": {
                "nativeSidecar": False,
                "logLevel": 'warn,linkerd=info,"odd"',
                "resources": {"cpu": {"request": "100m"}, "memory": {"limit": "250Mi"}},
            },
            "proxyInit": {"ignoreOutboundPorts": "25,443", "skipSubnets": "10.0.0.0/8"},
        },
    ),
    "cni": ("linkerd2-cni", (), {}),
    "cni, changed": (
        "linkerd2-cni",
        (),
        {"logLevel": "debug", "proxyUID": 3000, "portsToRedirect": "80,443"},
    ),
    "viz": ("linkerd-viz", (), {}),
    "viz, highly available": ("linkerd-viz", ("values-ha.yaml",), {}),
    "viz without a Prometheus": (
        "linkerd-viz",
        (),
        {"prometheus": {"enabled": False}, "prometheusUrl": "http://p.example.com:9090"},
    ),
}


@pytest.fixture(scope="session")
def helm() -> Path:
    return build.binaries(build.HELM) / "helm"


def _template(helm: Path, chart: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(helm), "template", "mesh", str(_CHARTS / chart), "--namespace", "ns"]
    command += ["--kube-version", f"v{build.version().removeprefix('v')}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _objects(text: str) -> dict[tuple[str, str, str], Object]:
    for pattern in _RANDOM:
        text = pattern.sub("random", text)
    found = [one for one in manifest.parse_all(text) if one]
    keys = [
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for one in found
    ]
    assert len(keys) == len(set(keys))
    return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("case", _CASES)
def test_helm_renders_the_same_objects(case: str, helm: Path, tmp_path: Path) -> None:
    chart, files, values = _CASES[case]
    own = tmp_path / "values.yaml"
    own.write_text(yaml.safe_dump(values))
    words = [word for path in (*(_CHARTS / chart / f for f in files), own) for word in ("-f", path)]
    theirs = _template(helm, chart, *map(str, words))
    assert "" == theirs.stderr
    merged: Object = {}
    for file in files:
        merged = charts.merge_values(merged, charts.chart_values(_CHARTS / chart, file))
    merged = charts.merge_values(merged, values)
    ours = _objects(
        charts.render_chart(_CHARTS / chart, merged, release="mesh", namespace="ns", service="Helm")
    )
    expected = _objects(theirs.stdout)
    assert expected
    assert set(expected) == set(ours)
    for key, one in expected.items():
        assert one == ours[key], key


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("identityTrustAnchorsPEM=", "identityTrustAnchorsPEM is required"),
        ("identity.issuer.scheme=mine", 'unknown identity.issuer.scheme "mine"'),
    ],
)
def test_both_refuse_the_same_values_with_the_same_text(
    values: str, text: str, helm: Path, tmp_path: Path
) -> None:
    own = tmp_path / "values.yaml"
    own.write_text(yaml.safe_dump(_TRUST))
    theirs = _template(helm, "linkerd-control-plane", "-f", str(own), "--set", values)
    assert theirs.returncode
    assert text in theirs.stderr
    over: Object = {}
    path, _, value = values.partition("=")
    at = over
    *folders, last = path.split(".")
    for folder in folders:
        at = at.setdefault(folder, {})
    at[last] = value
    with pytest.raises(RenderError, match=re.escape(text)):
        charts.render_chart(
            _CHARTS / "linkerd-control-plane",
            charts.merge_values(_TRUST, over),
            release="mesh",
            namespace="ns",
            service="Helm",
        )


@pytest.mark.parametrize("chart", sorted(path.name for path in _CHARTS.iterdir()))
def test_helms_linter_finds_nothing(chart: str, helm: Path, tmp_path: Path) -> None:
    own = tmp_path / "values.yaml"
    own.write_text(yaml.safe_dump(_TRUST))
    version = ("--kube-version", build.version())
    command = [str(helm), "lint", "--strict", str(_CHARTS / chart), "-f", str(own), *version]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "a.b=c,d[0]=e,f={x,y}",
        "a=1,b=true,c=null,d=01,e=1.5,f=-7",
        "a=x\\,y,b=c\\.d",
        r"a\.b/c=d",
        "a=,b={}",
        "a[1].b=c,a[0]=d",
        "a[0][1]=x",
        "a=b=c",
        "list={},list[0]=x",
        "a={1,true,x}",
        "old.kept=no",
        "old=null",
        "a= b ,c=d",
        "a={ x , y }",
    ],
)
def test_assignments_mean_what_they_mean_to_helm(
    text: str, strings: bool, helm: Path, tmp_path: Path
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: demo\nversion: 1.2.3\n")
    (tmp_path / "values.yaml").write_text("old: {kept: 1}\n")
    (tmp_path / "templates/one.yaml").write_text("v: {{ .Values | toJson | quote }}\n")
    flag = "--set-string" if strings else "--set"
    command = [str(helm), "template", "x", str(tmp_path), flag, text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    values: Object = {}
    helmset.apply(values, text, strings=strings)
    (ours,) = manifest.parse_all(
        charts.render_chart(tmp_path, values, release="x", namespace="default", service="Helm")
    )
    assert json.loads(yaml.safe_load(done.stdout)["v"]) == json.loads(ours["v"])

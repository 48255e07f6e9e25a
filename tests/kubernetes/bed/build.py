"""Builds the bed's Go programs once per version and keeps them outside the clone.

The folder's name is the hash of everything that decides the result, so a changed version builds anew
and an old clone finds what it built.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
_COMPONENTS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
# Module folder, package, binary.
PROGRAMS = (
    *(("kubernetes", f"k8s.io/kubernetes/cmd/{name}", name) for name in _COMPONENTS),
    ("dns", "dns", "coredns"),
)
_SOURCES = ("kubernetes/go.mod", "kubernetes/go.sum", "dns/go.mod", "dns/go.sum", "dns/main.go")
_SALT = "1"


def cache() -> Path:
    """Returns the folder of what the bed keeps between runs: `$XDG_CACHE_HOME/linkerd-bed`."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "linkerd-bed"


def version() -> str:
    """Returns the Kubernetes version that go.mod asks for: `v1.36.3`."""
    text = (HERE / "kubernetes/go.mod").read_text()
    found = re.search(r"k8s\.io/kubernetes (v\S+)", text)
    if found is None:
        raise LookupError("kubernetes/go.mod names no version of k8s.io/kubernetes")
    return found[1]


def fingerprint() -> str:
    """Returns a hash of the versions, sources and flags of the build."""
    digest = hashlib.sha256(_SALT.encode())
    for name in _SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def binaries() -> Path:
    """Returns the folder with the bed's Go programs; builds them when it is not there.

    About 6 minutes on two idle cores, 2 GB of memory. Only a complete build is kept.

    Raises:
        subprocess.CalledProcessError: `go build` failed.
        FileNotFoundError: there is no Go.
    """
    target = cache() / fingerprint()
    if target.exists():
        return target
    if shutil.which("go") is None:
        raise FileNotFoundError("go is missing: the bed is built from Kubernetes' Go modules")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        for module, package, name in PROGRAMS:
            print(f"building {name}", flush=True)
            _build(HERE / module, package, Path(folder) / "bin" / name)
        try:
            (Path(folder) / "bin").rename(target)
        except OSError:
            # Another run was faster, with the same result.
            if not target.exists():
                raise
    return target


def _build(module: Path, package: str, output: Path) -> None:
    settings = {"gitVersion": version(), "gitMajor": "1", "gitMinor": version().split(".")[1]}
    flags = " ".join(
        f"-X {where}/version.{key}={value}"
        for where in ("k8s.io/component-base", "k8s.io/client-go/pkg")
        for key, value in settings.items()
    )
    command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(output), package]
    # Low priority: hours of other people's tests may run on the same cores.
    subprocess.run(
        ["nice", "-n", "15", *command],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        check=True,
    )

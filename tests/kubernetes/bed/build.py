"""Builds Go programs that tests need once per version and keeps them outside the clone.

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
from dataclasses import dataclass
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
_SALT = "1"


@dataclass(frozen=True)
class Kit:
    """Programs that are built, kept and renewed together.

    Attributes:
        modules: Folders here with a go.mod; what is in them decides the result.
        programs: (module folder, package, binary); a package called `.` is a test program.
        files: (module folder, module, its files, folder in the kit): what programs read.
    """

    modules: tuple[str, ...]
    programs: tuple[tuple[str, str, str], ...]
    files: tuple[tuple[str, str, str, str], ...] = ()


KUBERNETES = Kit(
    ("kubernetes", "dns"),
    (
        *(("kubernetes", f"k8s.io/kubernetes/cmd/{name}", name) for name in _COMPONENTS),
        ("dns", "dns", "coredns"),
    ),
)
HELM = Kit(("helm",), (("helm", "helm.sh/helm/v3/cmd/helm", "helm"),))
CONFORMANCE = Kit(
    ("conformance",),
    (("conformance", ".", "conformance"),),
    (("conformance", "sigs.k8s.io/gateway-api", "config/crd/standard/*.yaml", "crds"),),
)


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


def fingerprint(kit: Kit = KUBERNETES) -> str:
    """Returns a hash of the versions, sources and flags of a build."""
    digest = hashlib.sha256(_SALT.encode())
    for module in kit.modules:
        for path in sorted((HERE / module).iterdir()):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def binaries(kit: Kit = KUBERNETES) -> Path:
    """Returns the folder with a kit's programs; builds them when it is not there.

    Kubernetes takes about 6 minutes on two idle cores and 2 GB of memory, the others 2. Only a
    complete build is kept.

    Raises:
        subprocess.CalledProcessError: `go build` failed.
        FileNotFoundError: there is no Go.
    """
    target = cache() / fingerprint(kit)
    if target.exists():
        return target
    if shutil.which("go") is None:
        raise FileNotFoundError("go is missing: the bed is built from Go modules")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        made = Path(folder) / "bin"
        for module, package, name in kit.programs:
            print(f"building {name}", flush=True)
            _build(HERE / module, package, made / name)
        for module, source, pattern, name in kit.files:
            _copy(HERE / module, source, pattern, made / name)
        try:
            made.rename(target)
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
    what = ("test", "-c") if package == "." else ("build",)
    options = ("-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(output))
    _go(module, *what, *options, package)


def _copy(module: Path, source: str, pattern: str, target: Path) -> None:
    root = Path(_go(module, "list", "-m", "-f", "{{.Dir}}", source).strip())
    target.mkdir(parents=True)
    for path in sorted(root.glob(pattern)):
        (target / path.name).write_bytes(path.read_bytes())


def _go(module: Path, *words: str) -> str:
    # Low priority: hours of other people's tests may run on the same cores.
    return subprocess.run(
        ["nice", "-n", "15", "go", *words],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout

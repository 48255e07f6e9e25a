"""`tests.integration.mesh` on a real Kubernetes: the same questions, another engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

from images import build as images
from images import oci, trees
from images.oci import Entry, Image, Run
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from tests.integration.mesh import PROGRAMS, ROOT, Mesh
from tests.kubernetes.bed import build, cluster
from tests.kubernetes.bed.paths import Paths

#: The proxy of the images; `make test-kubernetes` builds it.
PROXY = Path(os.environ.get("LINKERD_TEST_PROXY") or ROOT / "target/release/linkerd-proxy")
PROGRAMS_IMAGE = "docker.io/lab/programs:latest"
UBUNTU_IMAGE = "docker.io/library/ubuntu:latest"
_CURL = Path("/usr/bin/curl")


class KubernetesMesh(Mesh):
    """A bed of its own, with our images in it."""

    def __init__(self, home: Path, name: str) -> None:
        super().__init__(home)
        self.bed = Paths(name)
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(self.bed.kubeconfig),
            "HOME": str(home),
        }

    def start(self) -> None:
        """Starts the bed and imports the images."""
        cluster.up(self.bed, follow=True)
        cluster.load(self.bed, archives())

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Runs stock kubectl of the bed's version; returns what it printed to stdout."""
        done = subprocess.run(
            [str(build.binaries() / "kubectl"), *words],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, text: str) -> None:
        """Applies manifests as users do."""
        self.kubectl("apply", "-f", "-", stdin=text)

    def remove(self, text: str) -> None:
        """Deletes what manifests name, as users do."""
        self.kubectl("delete", "-f", "-", stdin=text)

    def do(self, work: Callable[[KubeClient], Awaitable[Any]]) -> Any:
        """Runs `work` with a client of the cluster; returns its result."""
        import asyncio

        async def main() -> Any:
            async with KubeClient(load(self.bed.kubeconfig)) as kube:
                return await work(kube)

        return asyncio.run(main())

    def pid(self, process: str) -> int:
        """Returns the machine's id of the node's component, 0 while it does not run."""
        found = subprocess.run(
            ["pgrep", "-f", f"{process} --.*{self.bed.root}/"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        return int(found[0]) if found else 0

    def in_node(self, *command: str) -> subprocess.Popen[bytes]:
        """Starts a command in the node's network namespace."""
        inside = ["nsenter", f"--net=/proc/{cluster.first_process(self.bed)}/ns/net", *command]
        return subprocess.Popen(
            inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def delete(self) -> None:
        """Ends the bed."""
        cluster.down(self.bed)


@cache
def archives() -> list[Path]:
    """Returns the archives of our images and of the tests' own, as the tree stands now."""
    folder = ROOT / "dist/images"
    own = {PROGRAMS_IMAGE: _programs(), UBUNTU_IMAGE: _ubuntu()}
    built = {**images.archives(PROXY), "tests": own}
    for name, content in built.items():
        oci.archive(folder / f"{name}.tar", content)
    return [folder / f"{name}.tar" for name in built]


def _programs() -> Image:
    """Returns Python, curl and `programs.py` under the paths that they have on this machine."""
    python = Entry(sys.executable, target=f"{trees.PREFIX}/bin/python3")
    script = Entry(str(PROGRAMS), PROGRAMS)
    present = {entry.path for entry in trees.python()}
    libraries = [one for one in trees.libraries([_CURL]) if one.path not in present]
    own = oci.layer([python, script, *trees.program(_CURL), *libraries])
    run = Run((f"{trees.PREFIX}/bin/python3", str(PROGRAMS)))
    return Image((images.python_layers()[0], own), run)


def _ubuntu() -> Image:
    """Returns what a document does in a distribution's image: a shell, curl, sleep."""
    programs = [Path("/bin/bash"), _CURL, Path("/bin/sleep")]
    entries = [entry for one in programs for entry in trees.program(one)]
    return Image(
        (oci.layer([*trees.system(), *entries, *trees.libraries(programs)]),), Run(("/bin/bash",))
    )

"""A whole mesh on `linkerd local`, as a user sets it up, and what tests ask of it.

Everything a user would type goes through the `linkerd` command in a process of its own; looking at
objects and running commands in pods goes through our client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from linkerd.inject import manifest
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import DEPLOYMENTS, PODS
from linkerd.kube.streams import Executed, execute
from linkerd.local import supervisor
from linkerd.local.paths import Paths

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs.py"
LINKERD = Path(sys.executable).parent / "linkerd"
_PAUSE_S = 0.1


class Mesh:
    """One local cluster with a home and a kubeconfig of its own."""

    def __init__(self, home: Path) -> None:
        self.paths = Paths(home / "default")
        self.environment = {
            **os.environ,
            "LINKERD_LOCAL_HOME": str(home),
            "KUBECONFIG": str(home / "kubeconfig"),
        }

    def linkerd(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Runs the command; returns what it printed to stdout."""
        done = self._run(words, stdin)
        if check and done.returncode:
            raise AssertionError(f"linkerd {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def refused(self, *words: str, stdin: str = "") -> str:
        """Runs a command that must fail; returns what it printed to stderr."""
        done = self._run(words, stdin)
        assert done.returncode, f"linkerd {' '.join(words)} succeeded: {done.stdout}"
        return done.stderr

    def _run(self, words: Iterable[str], stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(LINKERD), *words],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self) -> None:
        """Starts the cluster, with the images of `programs.py`."""
        self.linkerd("local", "start")
        command = (sys.executable, str(PROGRAMS))
        self.linkerd("local", "image", "add", "lab/programs", "--", *command)

    def install(self) -> None:
        """Installs the control plane and waits for it."""
        self.apply(self.linkerd("install", "--crds"))
        self.apply(self.linkerd("install"))
        self.wait("linkerd")

    def install_viz(self) -> None:
        """Installs viz, with a Prometheus that looks more often than by default."""
        often = ("scrape_interval=2s", "scrape_timeout=2s", "evaluation_interval=2s")
        flags = [word for one in often for word in ("--set", f"prometheus.globalConfig.{one}")]
        self.apply(self.linkerd("viz", "install", *flags))

    def apply(self, text: str) -> None:
        """Applies manifests."""
        self.linkerd("local", "apply", "-f", "-", stdin=text)

    def apply_objects(self, *objects: Object) -> None:
        """Applies objects."""
        self.apply("\n---\n".join(json.dumps(one) for one in objects))

    def remove(self, text: str) -> None:
        """Deletes what manifests name."""
        self.linkerd("local", "kubectl", "delete", "-f", "-", stdin=text)

    @contextlib.contextmanager
    def having(self, *objects: Object) -> Iterator[None]:
        """Has objects while the context is open."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.apply(text)
        try:
            yield
        finally:
            self.remove(text)

    def inject(self, text: str) -> str:
        """Returns what `linkerd inject` makes of manifests."""
        return self.linkerd("inject", "-", stdin=text)

    def wait(self, *namespaces: str, timeout_s: float = 120.0) -> None:
        """Waits until every deployment of the namespaces is rolled out."""
        self.do(lambda kube: self._rolled_out(kube, namespaces, timeout_s))

    async def _rolled_out(
        self, kube: KubeClient, namespaces: Iterable[str], timeout_s: float
    ) -> None:
        wanted = tuple(namespaces)

        async def waiting() -> str:
            found = [one for ns in wanted for one in await kube.list(DEPLOYMENTS, ns)]
            late = [one["metadata"]["name"] for one in found if not rolled_out(one)]
            if late or not found:
                pods = [pod for ns in wanted for pod in await kube.list(PODS, ns)]
                return f"{late}: {[(p['metadata']['name'], p.get('status')) for p in pods]}"
            return ""

        await eventually(waiting, timeout_s)

    def do(self, work: Callable[[KubeClient], Awaitable[Any]]) -> Any:
        """Runs `work` with a client of the cluster; returns its result."""

        async def main() -> Any:
            async with KubeClient(load(self.paths.kubeconfig)) as kube:
                return await work(kube)

        return asyncio.run(main())

    def run_in(self, pod: str, namespace: str, *command: str, container: str = "") -> Executed:
        """Runs a command in a pod (by name) to its end."""
        result: Executed = self.do(
            lambda kube: execute(kube, pod, namespace, command, container=container)
        )
        return result

    def pods(self, namespace: str, selector: str = "") -> list[Object]:
        """Returns the running pods of a namespace, those that are being deleted left out."""
        found: list[Object] = self.do(
            lambda kube: kube.list(PODS, namespace, label_selector=selector)
        )
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def pod(self, namespace: str, app: str) -> str:
        """Returns the name of the only pod with label `app`."""
        (found,) = self.pods(namespace, f"app={app}")
        return str(found["metadata"]["name"])

    def pid(self, process: str) -> int:
        """Returns the process id of one of the cluster's processes, 0 while it does not run."""
        return supervisor.status(self.paths).processes.get(process, 0)

    def in_node(self, *command: str) -> subprocess.Popen[bytes]:
        """Starts a command in the node's network namespace."""
        inside = ["nsenter", f"--net=/proc/{self.pid('supervisor')}/ns/net", *command]
        return subprocess.Popen(
            inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def delete(self) -> None:
        """Ends the cluster and removes its state."""
        self.linkerd("local", "delete")


def rolled_out(deployment: Object) -> bool:
    """Returns whether all replicas of a deployment's latest template are ready, and only those."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    counts = [status.get(f"{name}Replicas", 0) for name in ("updated", "ready", "available")]
    return bool(observed and counts == [wanted] * 3 and status.get("replicas", 0) == wanted)


def ready_containers(pod: Object) -> str:
    """Returns what kubectl prints as READY: `2/2`. Native sidecars count as containers."""
    sidecars = {
        one["name"] for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy")
    }
    status = pod.get("status") or {}
    statuses = [
        *(one for one in status.get("initContainerStatuses") or () if one["name"] in sidecars),
        *(status.get("containerStatuses") or ()),
    ]
    total = len(pod["spec"]["containers"]) + len(sidecars)
    return f"{sum(one['ready'] for one in statuses)}/{total}"


async def eventually(waiting: Callable[[], Awaitable[str]], timeout_s: float = 60.0) -> None:
    """Asks until nothing is waited for; what still is, is the failure's text."""
    deadline = time.monotonic() + timeout_s
    while left := await waiting():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s still waiting for {left}")
        await asyncio.sleep(_PAUSE_S)


def until(holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> float:
    """Asks until `holds`; returns the seconds it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"after {timeout_s:g} s still not: {what}")
        time.sleep(_PAUSE_S)
    return time.monotonic() - began


def a_deployment(
    name: str,
    *args: str,
    image: str = "lab/programs",
    inject: bool = True,
    port: int | None = None,
    namespace: str = "lab",
    annotations: dict[str, str] | None = None,
    readiness: Object | None = None,
) -> Object:
    """Returns a deployment of one replica with a service account of its own name."""
    marks = {"linkerd.io/inject": "enabled" if inject else "disabled", **(annotations or {})}
    container: Object = {"name": name, "image": image, "args": list(args)}
    # No tag means `latest`, which Kubernetes would pull each time.
    container["imagePullPolicy"] = "IfNotPresent"
    if port is not None:
        container["ports"] = [{"containerPort": port}]
        container["readinessProbe"] = readiness or {
            "tcpSocket": {"port": port},
            "periodSeconds": 1,
        }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": marks},
                "spec": {
                    "serviceAccountName": name,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                },
            },
        },
    }


def an_account(name: str, namespace: str = "lab") -> Object:
    """Returns a service account."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def a_service(
    name: str,
    port: int,
    target: int,
    *,
    namespace: str = "lab",
    annotations: dict[str, str] | None = None,
) -> Object:
    """Returns a service of the pods with label `app=<name>`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": target}]},
    }


def a_namespace(name: str) -> Object:
    """Returns a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def documents(text: str) -> list[Object]:
    """Returns the objects of a manifest."""
    return [one for one in manifest.parse_all(text) if one]

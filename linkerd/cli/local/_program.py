"""A program of this machine as a service of the cluster: its objects, its output, its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.errors import Conflict, KubeError, NotFound
from linkerd.kube import streams
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import DEPLOYMENTS, NAMESPACES, PODS, SERVICES
from linkerd.kube.watch import Applied, Reset

_INJECT = "linkerd.io/inject"
_FIELD_MANAGER = "linkerd-local-run"
_GRACE_S = 5
#: Of the user's environment, what a program needs to run as it does in the user's shell.
_KEPT = ("PATH", "HOME", "LANG", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "NODE_PATH", "GOPATH")

Object = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """What is run: `folder` is seen inside as it is outside, and is where the program starts."""

    name: str
    namespace: str
    port: int
    command: list[str]
    env: Mapping[str, str]
    folder: str
    inject: bool

    @property
    def image(self) -> str:
        """The image table's name for it."""
        return f"linkerd.local/{self.namespace}/{self.name}"

    def entry(self, environ: Mapping[str, str]) -> Object:
        """Returns its entry of the image table, given the user's environment."""
        kept = {name: environ[name] for name in _KEPT if name in environ}
        return {"entrypoint": self.command, "cmd": [], "env": kept, "user": None,
                "cwd": self.folder}  # fmt: skip

    def deployment(self) -> Object:
        """Returns its Deployment."""
        labels = {"app": self.name}
        container: Object = {
            "name": self.name,
            "image": self.image,
            "ports": [{"containerPort": self.port}],
            "env": [{"name": name, "value": value} for name, value in self.env.items()],
        }
        spec: Object = {"terminationGracePeriodSeconds": _GRACE_S, "containers": [container]}
        if self.folder != "/":
            container["volumeMounts"] = [{"name": "folder", "mountPath": self.folder}]
            spec["volumes"] = [{"name": "folder", "hostPath": {"path": self.folder}}]
        annotations = {_INJECT: "enabled" if self.inject else "disabled"}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": annotations},
                    "spec": spec,
                },
            },
        }

    def service(self) -> Object:
        """Returns its Service; of type NodePort, so that the host's loopback reaches it too."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "type": "NodePort",
                "selector": {"app": self.name},
                "ports": [{"name": "main", "port": self.port, "targetPort": self.port}],
            },
        }


async def follow(kube: KubeClient, program: Program) -> int:
    """Runs the program and copies its output until it is interrupted; removes it then.

    Raises:
        KubeError: the cluster refused an object.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(Conflict):
        namespace = {"apiVersion": "v1", "kind": "Namespace"}
        await kube.create(NAMESPACES, {**namespace, "metadata": {"name": program.namespace}})
    try:
        await kube.apply(program.deployment(), field_manager=_FIELD_MANAGER)
        service = await kube.apply(program.service(), field_manager=_FIELD_MANAGER)
        port = service["spec"]["ports"][0].get("nodePort")
        inside = f"http://{program.name}.{program.namespace}:{program.port}"
        _tell(f"{inside} in the cluster, http://127.0.0.1:{port} from here; Ctrl-C removes it")
        async for pod, restarts in _runs(kube, program):
            if restarts:
                _tell(f"{program.name} ended and was started again")
            with contextlib.suppress(KubeError):  # the next run follows
                await _copy(kube, program, pod)
    except asyncio.CancelledError:
        return 0
    finally:
        for resource in (DEPLOYMENTS, SERVICES):
            with contextlib.suppress(NotFound):
                await kube.delete(resource, program.name, program.namespace)
    return 0


async def _copy(kube: KubeClient, program: Program, pod: str) -> None:
    log = streams.logs(kube, pod, program.namespace, container=program.name, follow=True)
    async for chunk in log:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


async def _runs(kube: KubeClient, program: Program) -> AsyncIterator[tuple[str, int]]:
    """Yields pod and number of restarts for each start of the program; tells what keeps it."""
    seen: set[tuple[str, int]] = set()
    told = ""
    async for event in kube.watch(PODS, program.namespace, label_selector=f"app={program.name}"):
        found: list[Object] = []
        if isinstance(event, Reset):
            found = event.objects
        elif isinstance(event, Applied):
            found = [event.object]
        for pod in found:
            for status in (pod.get("status") or {}).get("containerStatuses") or ():
                if status["name"] != program.name:
                    continue
                waiting = (status.get("state") or {}).get("waiting") or {}
                text = waiting.get("message") or ""
                if text and text != told:
                    told = text
                    _tell(f"{waiting.get('reason')}: {text}")
                run = (pod["metadata"]["name"], int(status.get("restartCount") or 0))
                if status.get("containerID") and run not in seen:
                    seen.add(run)
                    yield run


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""What the probes know of a cluster: the client, the mesh's names, and how pods are judged."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from linkerd.check.engine import failed
from linkerd.errors import CheckFailed, KubeError, LinkerdError, NotFound
from linkerd.kube import streams
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import CONFIG_MAPS, PODS, Resource

Object = dict[str, Any]

CONTROL_PLANE_NS = "linkerd.io/control-plane-ns"
COMPONENT = "linkerd.io/control-plane-component"
PROXY = "linkerd-proxy"


@dataclass(frozen=True)
class Mesh:
    """One mesh in one cluster, as the command line names it.

    `data_namespace` empty means all namespaces; `version` is the CLI's own; `expected_version`
    empty means that nobody said what the latest is; `cni_namespace` is the CNI plugin's.
    """

    kube: KubeClient
    namespace: str
    data_namespace: str = ""
    version: str = ""
    expected_version: str = ""
    cni_namespace: str = "linkerd-cni"

    async def config(self) -> Object:
        """Returns the values in ConfigMap linkerd-config.

        Raises:
            CheckFailed: it is missing or broken.
        """
        import yaml

        try:
            body = await self.kube.get(CONFIG_MAPS, "linkerd-config", self.namespace)
        except NotFound:
            raise CheckFailed('configmaps "linkerd-config" not found') from None
        try:
            values = yaml.safe_load((body.get("data") or {}).get("values") or "")
        except yaml.YAMLError as error:
            raise CheckFailed(f"linkerd-config cannot be read: {error}") from None
        if not isinstance(values, dict):
            raise CheckFailed("linkerd-config has no values")
        return values

    async def control_plane_pods(self) -> list[Object]:
        """Returns the pods of the control plane."""
        return await self.kube.list(PODS, self.namespace, label_selector=COMPONENT)

    async def data_plane_pods(self) -> list[Object]:
        """Returns the meshed pods outside the control plane that are not finished."""
        selector = f"{CONTROL_PLANE_NS}={self.namespace}"
        pods = await self.kube.list(PODS, self.data_namespace or None, label_selector=selector)
        return [pod for pod in pods if COMPONENT not in labels_of(pod) and phase(pod) in _ALIVE]

    async def last_words(self, pod: Object) -> list[str]:
        """Returns the last line that each crashed container of a pod logged, as far as known."""
        found = []
        for entry in crashed(pod):
            name, container = pod["metadata"]["name"], entry["name"]
            said = b""
            with contextlib.suppress(LinkerdError):
                async for chunk in streams.logs(
                    self.kube, name, self.namespace, container=container, tail=1,
                    previous="terminated" not in (entry.get("state") or {}),
                ):  # fmt: skip
                    said = (said + chunk)[:_LAST_WORDS_BYTES]
            if said.strip():
                found.append(f"{name}: {container} said: {said.decode(errors='replace').strip()}")
        return found

    async def require(self, resource: Resource, names: Iterable[str], namespace: str = "") -> None:
        """Raises CheckFailed naming those of `names` that do not exist."""
        missing = []
        for name in names:
            try:
                await self.kube.get(resource, name, namespace or None)
            except NotFound:
                missing.append(name)
        if missing:
            raise CheckFailed(f"missing {resource.kind}s: {', '.join(missing)}")


_LAST_WORDS_BYTES = 1024
_ALIVE = ("Pending", "Running", "Unknown", "")


def labels_of(body: Object) -> dict[str, str]:
    """Returns an object's labels."""
    return body["metadata"].get("labels") or {}


def annotations_of(body: Object) -> dict[str, str]:
    """Returns an object's annotations."""
    return body["metadata"].get("annotations") or {}


def phase(pod: Object) -> str:
    """Returns a pod's phase."""
    return (pod.get("status") or {}).get("phase") or ""


def containers(pod: Object) -> list[Object]:
    """Returns a pod's containers, native sidecars first."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [*sidecars, *(spec.get("containers") or ())]


def proxy_container(pod: Object) -> Object | None:
    """Returns a pod's proxy container."""
    return next((c for c in containers(pod) if c["name"] == PROXY), None)


def proxy_env(pod: Object, name: str) -> str:
    """Returns a literal variable of a pod's proxy, "" when there is none."""
    container = proxy_container(pod) or {}
    found = (e.get("value") for e in container.get("env") or () if e["name"] == name)
    return next((value for value in found if value), "")


def proxy_version(pod: Object) -> str:
    """Returns the tag of a pod's proxy image, "" for a digest."""
    image = (proxy_container(pod) or {}).get("image", "")
    return "" if "@" in image else image.rpartition(":")[2] if ":" in image else ""


def container_statuses(pod: Object) -> dict[str, Object]:
    """Returns the status of each container and sidecar, by name."""
    status = pod.get("status") or {}
    running = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    wanted = {container["name"] for container in containers(pod)}
    return {entry["name"]: entry for entry in running if entry["name"] in wanted}


def is_ready(pod: Object) -> bool:
    """Returns whether every container of a running pod is ready."""
    statuses = container_statuses(pod)
    names = (container["name"] for container in containers(pod))
    return phase(pod) == "Running" and all(statuses.get(n, {}).get("ready") for n in names)


def crashed(pod: Object) -> list[Object]:
    """Returns the statuses of a pod's containers that ended badly and do not run."""
    status = pod.get("status") or {}
    return [
        entry
        for kind in ("initContainer", "container")
        for entry in status.get(f"{kind}Statuses") or ()
        for state in [entry.get("state") or {}]
        if "running" not in state
        and (state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}).get(
            "exitCode"
        )
    ]


def trouble(pod: Object) -> str:
    """Returns what a pod's containers say of why they do not run, "" when they say nothing."""
    status = pod.get("status") or {}
    statuses = (status.get(f"{kind}Statuses") or () for kind in ("initContainer", "container"))
    lines = []
    for entry in itertools.chain.from_iterable(statuses):
        state = entry.get("state") or {}
        last = (entry.get("lastState") or {}).get("terminated") or {}
        told = state.get("waiting") or state.get("terminated") or last
        reason = told.get("reason") or ""
        if entry.get("ready") or reason in _NO_TROUBLE:
            continue
        message = told.get("message") or f"exit code {last.get('exitCode', told.get('exitCode'))}"
        lines.append(f"{pod['metadata']['name']}: {entry['name']}: {reason}: {message}")
    return "\n".join(lines)


_NO_TROUBLE = ("", "PodInitializing", "ContainerCreating", "Completed")


def full_name(body: Object) -> str:
    """Returns `namespace/name`."""
    metadata = body["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def require_components(pods: list[Object], names: Iterable[str]) -> None:
    """Raises CheckFailed unless each component has a ready pod.

    Source: linkerd2 pkg/healthcheck/healthcheck.go validateControlPlanePods (behaviour, texts).
    """
    for name in names:
        own = [pod for pod in pods if labels_of(pod).get(COMPONENT) == name]
        if not own:
            raise CheckFailed(f'No running pods for "linkerd-{name}"')
        if any(is_ready(pod) for pod in own):
            continue
        if all(phase(pod) != "Running" for pod in own):
            raise CheckFailed(f'No running pods for "linkerd-{name}"')
        for pod in own:
            require_ready([pod])


def absent(deployments: list[Object], names: Iterable[str], namespace: str) -> list[str]:
    """Returns what to do about components whose deployments are gone or want no pods."""
    wanted = {d["metadata"]["name"]: (d.get("spec") or {}).get("replicas", 1) for d in deployments}
    found = []
    for name in (f"linkerd-{one}" for one in names):
        if name not in wanted:
            found.append(
                f"deployment/{name} does not exist:"
                " `linkerd upgrade | kubectl apply -f -` brings it back"
            )
        elif wanted[name] == 0:
            found.append(
                f"deployment/{name} is scaled to 0:"
                f" `kubectl -n {namespace} scale deploy {name} --replicas=1` starts it"
            )
    return found


def require_ready(pods: Iterable[Object]) -> None:
    """Raises CheckFailed naming the first container that is not ready."""
    for pod in pods:
        name, status = pod["metadata"]["name"], phase(pod)
        if status in ("Succeeded", "Failed"):
            continue
        if status != "Running":
            raise CheckFailed(f'pod "{name}" status is {status or "Unknown"}')
        statuses = container_statuses(pod)
        for container in containers(pod):
            if not statuses.get(container["name"], {}).get("ready"):
                why = trouble(pod)
                detail = f"\n{why}" if why else ""
                raise CheckFailed(f"pod/{name} container {container['name']} is not ready{detail}")


def require_proxies(pods: Iterable[Object]) -> None:
    """Raises CheckFailed naming the first pod whose proxy is not ready."""
    for pod in pods:
        if phase(pod) != "Running":
            raise CheckFailed(f'pod "{pod["metadata"]["name"]}" status is {phase(pod)}')
        if not container_statuses(pod).get(PROXY, {}).get("ready"):
            raise CheckFailed(
                f'container "{PROXY}" in pod "{pod["metadata"]["name"]}" is not ready'
            )


def require_same_version(pods: Iterable[Object], version: str, first: str) -> None:
    """Raises CheckFailed with a bullet for each pod whose proxy has another version."""
    others = [
        f"{pod['metadata']['name']} ({proxy_version(pod)})"
        for pod in pods
        if proxy_version(pod) not in (version, "")
    ]
    if others:
        raise failed(first, others)


async def version_of(kube: KubeClient) -> tuple[int, ...]:
    """Returns the API server's version.

    Raises:
        CheckFailed: it does not answer, or not with a version.
    """
    try:
        answer = await kube.request("GET", "/version")
        text = str(answer["gitVersion"])
        return tuple(int(part) for part in text.lstrip("v").split("-")[0].split("+")[0].split("."))
    except (ValueError, KeyError, TypeError):
        raise CheckFailed(f"cannot read the API server's version: {json.dumps(answer)}") from None
    except KubeError as error:
        raise CheckFailed(error.message) from None

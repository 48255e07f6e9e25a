"""The loop of the controllers: watches in, plans out; the only file that does IO.

    watch tasks ──► observe ──► queue (each work once) ──► workers: plan, execute ──► observe

A work that fails is tried again, later each time; its object's next change tries it at once.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any

from linkerd import log
from linkerd.errors import Conflict, KubeError, NotFound
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import EVENTS, NAMESPACES, PODS, Resource
from linkerd.kube.watch import Applied, Reset
from linkerd.local.controllers.facts import Object, stamp
from linkerd.local.controllers.plan import (
    Action,
    Bind,
    Create,
    Delete,
    Emit,
    EmptyNamespace,
    Merge,
    Replace,
    Status,
)
from linkerd.local.controllers.registry import WATCHED, Planner, Work, concerned
from linkerd.local.controllers.world import World

_WORKERS = 8
_RETRY_MIN_S = 0.05
_RETRY_MAX_S = 5.0
_SOURCE = "linkerd-local"

_log = log.logger(__name__)


class Engine:
    """Runs the controllers of one cluster.

    Args:
        kube: The cluster's API, as a user who may do everything.
        planners: Controllers by name.
    """

    def __init__(self, kube: KubeClient, planners: Mapping[str, Planner]) -> None:
        self._kube = kube
        self._planners = planners
        self._world = World()
        self._unsynced = {resource.plural for resource in WATCHED}
        self._synced = asyncio.Event()
        self._queue: asyncio.Queue[Work] = asyncio.Queue()
        self._queued: set[Work] = set()
        self._running: set[Work] = set()
        self._changed: set[Work] = set()
        self._timers: dict[Work, asyncio.TimerHandle] = {}
        self._retry_s: dict[Work, float] = {}

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for resource in WATCHED:
                tasks.create_task(self._watch(resource))
            await self._synced.wait()
            _log.info("controllers synced")
            for _ in range(_WORKERS):
                tasks.create_task(self._work())

    async def _watch(self, resource: Resource) -> None:
        async for event in self._kube.watch(resource):
            if isinstance(event, Reset):
                for gone in self._world.reset(resource, event.objects):
                    self._enqueue_for(resource, gone, gone=True)
                for obj in list(self._world.all(resource)):
                    self._enqueue_for(resource, obj, gone=False)
                self._unsynced.discard(resource.plural)
                if not self._unsynced:
                    self._synced.set()
            elif isinstance(event, Applied):
                self._observe(resource, event.object)
            else:
                self._forget(resource, event.object)

    def _observe(self, resource: Resource, obj: Object) -> None:
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        before = self._world.apply(resource, obj)
        if before is obj:
            return
        if before is not None:
            labels = [each["metadata"].get("labels") for each in (before, obj)]
            if labels[0] != labels[1]:
                self._enqueue_for(resource, before, gone=False)
        self._enqueue_for(resource, obj, gone=False)

    def _forget(self, resource: Resource, obj: Object) -> None:
        self._world.delete(resource, obj)
        self._enqueue_for(resource, obj, gone=True)

    def _enqueue_for(self, resource: Resource, obj: Object, *, gone: bool) -> None:
        for work in concerned(self._world, resource, obj, gone=gone):
            self._enqueue(work)

    def _enqueue(self, work: Work) -> None:
        """Queues work once; work that is under way is looked at again when it is done."""
        if work in self._running:
            self._changed.add(work)
        elif work not in self._queued:
            self._queued.add(work)
            self._queue.put_nowait(work)

    async def _work(self) -> None:
        while True:
            work = await self._queue.get()
            self._queued.discard(work)
            self._running.add(work)
            try:
                await self._do(work)
            finally:
                self._running.discard(work)
            if work in self._changed:
                self._changed.discard(work)
                self._enqueue(work)

    async def _do(self, work: Work) -> None:
        timer = self._timers.pop(work, None)
        if timer is not None:
            timer.cancel()
        plan = self._planners[work.controller](self._world, work.key, time.time())
        try:
            for action in plan.actions:
                await self._execute(action)
        except KubeError as error:
            wait_s = self._retry_s.get(work, _RETRY_MIN_S)
            self._retry_s[work] = min(wait_s * 2, _RETRY_MAX_S)
            if not isinstance(error, Conflict | NotFound):
                _log.warn(
                    "controller failed, will retry",
                    controller=work.controller,
                    object=f"{work.key.namespace}/{work.key.name}",
                    error=error.message,
                )
            self._later(work, wait_s)
        else:
            self._retry_s.pop(work, None)
            if plan.again_s is not None:
                self._later(work, plan.again_s)

    def _later(self, work: Work, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[work] = loop.call_later(seconds, self._due, work)

    def _due(self, work: Work) -> None:
        self._timers.pop(work, None)
        self._enqueue(work)

    async def _execute(self, action: Action) -> None:
        match action:
            case Create(resource, body):
                await self._create(resource, body)
            case Replace(resource, body):
                self._observe(resource, await self._kube.replace(resource, body))
            case Status(resource, body):
                self._observe(resource, await self._kube.update_status(resource, body))
            case Merge(resource, target, patch, subresource):
                metadata = target["metadata"]
                answer = await self._kube.patch(
                    resource,
                    metadata["name"],
                    patch,
                    metadata.get("namespace"),
                    subresource=subresource,
                )
                self._observe(resource, answer)
            case Delete(resource, target):
                await self._delete(resource, target)
            case Bind(pod, node):
                await self._bind(pod, node)
            case Emit():
                await self._emit(action)
            case EmptyNamespace(namespace):
                await self._empty(namespace)

    async def _create(self, resource: Resource, body: Object) -> None:
        try:
            self._observe(resource, await self._kube.create(resource, body))
        except Conflict:
            # It exists although it was not seen: look, so that the next plan knows it.
            metadata = body["metadata"]
            self._observe(
                resource, await self._kube.get(resource, metadata["name"], metadata["namespace"])
            )
        except KubeError as error:
            await self._report(body, error)
            raise

    async def _report(self, body: Object, error: KubeError) -> None:
        """Tells the owner's readers why its object could not be created."""
        for owner in body["metadata"].get("ownerReferences") or ():
            for resource in WATCHED:
                if resource.kind == owner["kind"]:
                    about = {"metadata": {**owner, "namespace": body["metadata"]["namespace"]}}
                    message = f"Error creating: {error.message}"
                    await self._emit(Emit(resource, about, "FailedCreate", message, "Warning"))

    async def _delete(self, resource: Resource, target: Object) -> None:
        metadata = target["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        path = resource.path(metadata.get("namespace"), metadata["name"])
        try:
            answer = await self._kube.request("DELETE", path, {}, options)
        except (NotFound, Conflict):
            self._forget(resource, target)
            return
        waits = isinstance(answer, dict) and answer.get("kind") == resource.kind
        if waits and answer["metadata"].get("deletionTimestamp"):
            self._observe(resource, answer)
        else:
            self._forget(resource, target)

    async def _bind(self, pod: Object, node: str) -> None:
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._kube.create_subresource(PODS, name, "binding", body, namespace)
        except Conflict:
            return
        message = f"Successfully assigned {namespace}/{name} to {node}"
        await self._emit(Emit(PODS, pod, "Scheduled", message))

    async def _emit(self, event: Emit) -> None:
        metadata = event.about["metadata"]
        namespace = metadata.get("namespace") or "default"
        time_text = stamp(time.time())
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": event.resource.api_version,
                "kind": event.resource.kind,
                "name": metadata["name"],
                "namespace": metadata.get("namespace"),
                "uid": metadata.get("uid"),
                "resourceVersion": metadata.get("resourceVersion"),
            },
            "reason": event.reason,
            "message": event.message[:1024],
            "type": event.type,
            "source": {"component": _SOURCE},
            "firstTimestamp": time_text,
            "lastTimestamp": time_text,
            "count": 1,
        }
        try:
            await self._kube.create(EVENTS, body, namespace)
        except KubeError as error:
            _log.debug("event not recorded", reason=event.reason, error=error.message)

    async def _empty(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        left = 0
        for resource in await self._namespaced():
            objects = await self._kube.list(resource, name)
            left += len(objects)
            if any(not obj["metadata"].get("deletionTimestamp") for obj in objects):
                await self._kube.request("DELETE", resource.path(name))
                left += await self._count(resource, name) - len(objects)
        if left:
            return
        body = {**namespace, "spec": {"finalizers": []}}
        await self._kube.request("PUT", NAMESPACES.path(None, name, "finalize"), {}, body)

    async def _count(self, resource: Resource, namespace: str) -> int:
        return len(await self._kube.list(resource, namespace))

    async def _namespaced(self) -> list[Resource]:
        """Returns every namespaced kind that is served and can be deleted, events last."""
        found: dict[str, Resource] = {}
        versions = ["v1"]
        groups = await self._kube.request("GET", "/apis")
        versions += [group["preferredVersion"]["groupVersion"] for group in groups["groups"]]
        for version in versions:
            path = f"/apis/{version}" if "/" in version else f"/api/{version}"
            answer: dict[str, Any] = await self._kube.request("GET", path)
            group, _, number = version.rpartition("/")
            for kind in answer.get("resources") or ():
                plain = "/" not in kind["name"] and kind["namespaced"]
                if plain and {"list", "deletecollection"} <= set(kind["verbs"]):
                    resource = Resource(group, number, kind["name"], kind["kind"])
                    found.setdefault(f"{group}/{kind['name']}", resource)
        return sorted(found.values(), key=lambda kind: kind.plural == "events")


async def serve(kube: KubeClient, planners: Mapping[str, Planner], stop: asyncio.Event) -> None:
    """Runs the controllers until `stop` is set."""
    engine = asyncio.ensure_future(Engine(kube, planners).run())
    stopped = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait({engine, stopped}, return_when=asyncio.FIRST_COMPLETED)
    engine.cancel()
    stopped.cancel()
    if engine in done:
        engine.result()

"""One pod on the node: from its object to running containers, and back to nothing.

    volumes, network ──► lifecycle.steps ──► start, hooks, probes ──► lifecycle.status ──► API
                             ▲                       │
                             └── exits, probe verdicts, timers, deletion

The decisions are `lifecycle`'s; this file executes them one at a time, as kubelet does, so that a
container's postStart hook holds up those after it. A pod's end is a second task that replaces the
first.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import functools
import os
import shutil
import signal
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from linkerd import log, runtime
from linkerd.errors import KubeError, LocalError, NotFound
from linkerd.kube.client import MERGE
from linkerd.kube.resources import PODS
from linkerd.local.node import host, lastwords, lifecycle, link, mounts, spec, tending
from linkerd.local.node.environment import Missing, build
from linkerd.local.node.lifecycle import Container, Ended
from linkerd.local.node.logfile import stamp
from linkerd.local.node.parts import Parts
from linkerd.local.paths import CLUSTER_DOMAIN, DNS_SERVICE_IP, NODE_IP

_RETRY_S = 1.0
_UNKNOWN = "ContainerStatusUnknown"
_OUR_CONDITIONS = frozenset(
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
)

Object = dict[str, Any]
_log = log.logger(__name__)


class Worker:
    """Runs one pod; made when it is bound here, gone when it is gone."""

    def __init__(self, node: Parts, pod: Object) -> None:
        self.pod = pod
        self.node = node
        self.uid: str = pod["metadata"]["uid"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.containers = lifecycle.containers_of(pod)
        self.ip = ""
        self.netns = -1
        self.ending = False
        self.over = False
        self.folder = node.paths.state / "node" / "pods" / self.uid
        self.volumes = mounts.Volumes(self.folder, node)
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_over = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.tending = tending.Tending(self)
        self._exited: dict[str, asyncio.Event] = {}
        self._run_task: asyncio.Task[Any] | None = None
        self._reason: Object = {}
        self._early: dict[str, Object] = {}
        self._deadline: float | None = None
        self._final: str | None = None
        self._published: Object = {}

    # --- what happens to the pod

    def adopt(self, records: list[Object], network: tuple[Object, int] | None) -> None:
        """Takes over what an earlier node process left running; call before `begin`.

        Args:
            records: The zygote's entries of this pod's containers.
            network: The pod's held namespace, if there is one.
        """
        if network is not None:
            data, self.netns = network
            self.ip = data["ip"]
        status = self.pod.get("status") or {}
        entries = {
            entry["name"]: entry
            for key in ("initContainerStatuses", "containerStatuses")
            for entry in status.get(key) or ()
        }
        latest: dict[str, Object] = {}
        for record in sorted(records, key=lambda item: int(item["data"]["attempt"])):
            if record["data"]["container"] in latest:
                self.node.zygote.forget(latest[record["data"]["container"]]["id"])
            latest[record["data"]["container"]] = record
        for container in self.containers.values():
            entry = entries.get(container.name, {})
            container.restarts = int(entry.get("restartCount") or 0)
            if container.name in latest:
                self._adopt(container, latest[container.name], entry)
            elif entry.get("containerID"):
                container.attempt = container.restarts
                container.begun = True
                if (entry.get("state") or {}).get("terminated"):
                    container.ended = _from_api(entry["state"]["terminated"])
                else:
                    container.ended = Ended(255, reason=_UNKNOWN, finished=_now())
        if not latest and any(c.begun for c in self.containers.values()):
            self._start_over()

    def _adopt(self, container: Container, record: Object, entry: Object) -> None:
        container.attempt = int(record["data"]["attempt"])
        container.id = record["id"]
        container.begun = True
        started = _time(record["started_ns"])
        container.since = time.monotonic() - max(0.0, time.time() - record["started_ns"] / 1e9)
        self.node.exits[container.id] = functools.partial(self._exit, container)
        self.node.join[container.id] = record["data"]["join"]
        if record["exit"] is None and record["error"] is None:
            container.running_since = started
            container.started = entry.get("started") is True
            container.ready = entry.get("ready") is True
            self._exited[container.name] = asyncio.Event()
        else:
            exit = record["exit"] or {"code": 128, "signal": 0, "at_ns": record["started_ns"]}
            container.ended = Ended(
                exit["code"],
                exit["signal"],
                started=started,
                finished=_time(exit["at_ns"]),
                id=container.id,
            )

    def begin(self) -> None:
        """Starts working on the pod."""
        self._spawn(self._publish(), "publish")
        self._run_task = self._spawn(self._run(), "run")
        for container in self.containers.values():
            if container.running:
                self.tending.follow(container)
        self.update(self.pod)

    def update(self, pod: Object) -> None:
        """Takes the pod's new state from the API."""
        self.pod = pod
        if self.ip:
            self._status_fields()
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self.end(float(meta.get("deletionGracePeriodSeconds") or 0))
        self._changed.set()

    def end(self, grace_s: float, *, final: str | None = None) -> None:
        """Ends the pod: hooks, SIGTERM, and SIGKILL after `grace_s`. A shorter grace wins."""
        deadline = time.monotonic() + grace_s
        if self._deadline is not None:
            if deadline < self._deadline:
                self._deadline = deadline
                asyncio.get_running_loop().call_later(grace_s, self._kill_all, signal.SIGKILL)
            return
        self._deadline, self._final = deadline, final
        self.ending = True
        if self._run_task is not None:
            self._run_task.cancel()
        self._spawn(self._end(), "end")

    def exit_event(self, container: Container) -> asyncio.Event:
        """Returns what is set when the container's present run ends, set if none runs."""
        gone = self._exited.get(container.name)
        if gone is None:
            gone = asyncio.Event()
            gone.set()
        return gone

    async def ended(self) -> None:
        """Waits until nothing of the pod runs any more."""
        await self._is_over.wait()

    def lost(self) -> None:
        """The zygote died and took all containers and the network with it."""
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1
        if self.over:
            return
        for container in self.containers.values():
            if container.running:
                self.tending.stop(container.name)
                ended = Ended(
                    137, 9, _UNKNOWN, started=container.running_since or "", finished=_now()
                )
                lifecycle.ran(container, ended, time.monotonic(), 0.0)
                self._exited[container.name].set()
        if not self.ending:
            if self._run_task is not None:
                self._run_task.cancel()
            self._start_over()
            self._run_task = self._spawn(self._run(), "run")

    def _start_over(self) -> None:
        """The sandbox is gone: everything runs again, unless the pod must run once only."""
        self.ip = ""
        begun = any(not c.init and c.begun for c in self.containers.values())
        if begun and self.pod["spec"].get("restartPolicy") == "Never":
            return
        for container in self.containers.values():
            if container.begun:
                container.last, container.ended = container.ended, None
                container.restarts += 1
                container.begun = False
                container.retry_at = 0.0

    def _exit(self, container: Container, event: Object) -> None:
        """A container's process ended; news of an earlier one, or again, are none."""
        if container.id != event["id"] or container.ended is not None:
            return
        if not container.running:  # faster than the news of its start: `_start` comes back here
            self._early[container.id] = event
            return
        ended = Ended(
            event["code"],
            event["signal"],
            message=lastwords.read(
                self.folder, container, event["code"], self.folder_of_logs(container.name)
            ),
            started=container.running_since or "",
            finished=_time(event["at_ns"]),
            id=container.id,
        )
        self.tending.stop(container.name)
        now = time.monotonic()
        lifecycle.ran(container, ended, now, now - container.since)
        self._exited[container.name].set()
        again = lifecycle.restarts(container, self.pod["spec"].get("restartPolicy", "Always"))
        if again and container.retry_at > now and not self.ending:
            text = f"Back-off restarting failed container {container.name} in pod {self.name}"
            self.event("BackOff", f"{text}_{self.namespace}({self.uid})", container, warning=True)
        self.touch()

    def touch(self) -> None:
        """Looks at the pod again: something about it changed."""
        self._wake.set()
        self._changed.set()

    async def refresh(self) -> None:
        """Writes volumes again whose sources changed."""
        if self.over or not self.volumes.made:
            self.touch()
            return
        with contextlib.suppress(LocalError, KubeError, OSError):
            await self.volumes.refresh(self.pod)

    # --- running

    async def _run(self) -> None:
        if any(not c.begun for c in self.containers.values()) or not self.volumes.made:
            await self._prepare()
        while True:
            self._wake.clear()
            plan = lifecycle.steps(self.pod, self.containers, time.monotonic())
            if plan.finished:
                final = lifecycle.phase(self.pod, self.containers)
                grace = float(self.pod["spec"].get("terminationGracePeriodSeconds") or 30)
                self.end(grace, final=final)
                return
            for name in plan.start:
                await self._start(self.containers[name])
                self._changed.set()
            if plan.start:
                continue
            left = self._lifetime_left()
            if left is not None and left <= 0:
                self._expire()
                return
            wait = None if plan.wake_at is None else max(0.0, plan.wake_at - time.monotonic())
            if left is not None:
                wait = left if wait is None else min(wait, left)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    def _lifetime_left(self) -> float | None:
        """Returns the seconds until activeDeadlineSeconds ends the pod, None without such."""
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        begun = (self._published or self.pod.get("status") or {}).get("startTime")
        if limit is None or not begun:
            return None if limit is None else float(limit)
        since = calendar.timegm(time.strptime(begun[:19], "%Y-%m-%dT%H:%M:%S"))
        return float(since + limit - time.time())

    def _expire(self) -> None:
        limit = self.pod["spec"]["activeDeadlineSeconds"]
        text = f"Pod was active on the node longer than the specified deadline: {limit}s"
        self._reason = {"reason": "DeadlineExceeded", "message": text}
        self.event("DeadlineExceeded", text)
        self.end(self._grace_s(), final="Failed")

    async def _prepare(self) -> None:
        """Makes network and volumes, waiting for what they refer to."""
        if self.pod["spec"].get("hostNetwork"):
            self.ip = NODE_IP
        elif self.netns < 0:
            self.ip, veth = self.node.addresses.take(self.ip)
            self.netns = link.make_pod(self.ip, veth, NODE_IP)
            self.node.zygote.hold(self.uid, self.netns, {"ip": self.ip, "veth": veth})
        self._status_fields()
        self._changed.set()
        again = False
        while True:
            self._wake.clear()
            try:
                await self.volumes.make(self.pod)
                return
            except (LocalError, KubeError, OSError) as error:
                text = getattr(error, "message", str(error))
                if again:  # at first it may only be late
                    self.event("FailedMount", f"MountVolume.SetUp failed: {text}", warning=True)
                again = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._wake.wait()

    def _status_fields(self) -> None:
        """Lets env and volumes see the addresses before the API shows them."""
        known = self.pod.get("status") or {}
        self.pod = {
            **self.pod,
            "status": {
                **known,
                "podIP": self.ip,
                "podIPs": [{"ip": self.ip}],
                "hostIP": NODE_IP,
                "hostIPs": [{"ip": NODE_IP}],
            },
        }

    async def _start(self, container: Container) -> None:
        now = time.monotonic()
        name = str(container.spec.get("image") or "")
        try:
            image = self.node.images.find(name)
            if image is None:
                self._no_image(container, name)
                return
            message, attempt = self._message(container, image), container.attempt + 1
        except Missing as error:
            self._refuse(container, "CreateContainerConfigError", error.message)
            return
        except (LocalError, OSError) as error:
            text = getattr(error, "message", str(error))
            self._refuse(container, "CreateContainerConfigError", text)
            return
        self.event("Pulled", f'Container image "{name}" already present on machine', container)
        lifecycle.begin(container)
        old, container.id = container.id, f"{self.uid}/{container.name}/{attempt}"
        container.waiting = container.waiting_message = ""
        self._exited[container.name] = asyncio.Event()
        if old:
            self._forget(old)
        self.node.exits[container.id] = functools.partial(self._exit, container)
        self.node.join[container.id] = message["data"]["join"]
        self.event("Created", f"Created container: {container.name}", container)
        try:
            event = await self.node.zygote.start({**message, "id": container.id})
        except LocalError as error:
            lifecycle.ran(
                container,
                Ended(128, reason="StartError", message=error.message, finished=_now()),
                now,
                0.0,
            )
            container.id = ""
            self._exited[container.name].set()
            self.event("Failed", f"Error: {error.message}", container, warning=True)
            return
        container.running_since = _time(event["started_ns"])
        container.since = time.monotonic()
        self.event("Started", f"Started container {container.name}", container)
        early = self._early.pop(container.id, None)
        if early is not None:
            self._exit(container, early)
            return
        hook = (container.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            outcome = await self.tending.hook(container, hook)
            if not outcome.ok:
                text = f"PostStartHook failed: {outcome.why}"
                self.event("FailedPostStartHook", text, container, warning=True)
                await self._kill(container, self._grace_s())
                return
        self.tending.follow(container)

    def _no_image(self, container: Container, name: str) -> None:
        hint = f"add it with `linkerd local image add {name} -- COMMAND…`"
        text = f'Failed to pull image "{name}": it is not in the image table; {hint}'
        again = container.waiting in ("ErrImagePull", "ImagePullBackOff")
        if not again:
            self.event("Failed", text, container, warning=True)
        else:
            self.event("BackOff", f'Back-off pulling image "{name}"', container)
        reason = "ImagePullBackOff" if again else "ErrImagePull"
        lifecycle.refused(container, reason, text, time.monotonic())

    def _refuse(self, container: Container, reason: str, text: str) -> None:
        self.event("Failed", f"Error: {text}", container, warning=True)
        lifecycle.refused(container, reason, text, time.monotonic())

    def _message(self, container: Container, image: Any) -> Object:
        """Returns the zygote's `start` message.

        Raises:
            LocalError: the container's spec cannot be met.
        """
        pod_spec = self.pod["spec"]
        user = spec.user_of(pod_spec, container.spec, image)
        hostname = self.node.hostname if pod_spec.get("hostNetwork") else spec.hostname(self.pod)
        env = build(
            self.pod,
            container.spec,
            image=image.env,
            services=self.node.cluster.services_for(
                self.namespace, pod_spec.get("enableServiceLinks") is not False
            ),
            get=self.node.cluster.getter(self.namespace),
            capacity=self.node.capacity,
        )
        env = spec.environment(env, user, hostname)
        tty = bool(container.spec.get("tty"))
        if tty:
            env = {"TERM": "xterm", **env}
        argv = spec.command(container.spec, image, env)
        programs = [word for word in (argv[0], *image.entrypoint[:1]) if word.startswith("/")]
        rights = spec.rights(container.spec, user)
        cwd = container.spec.get("workingDir") or image.cwd or "/"
        folder = self.folder_of_logs(container.name)
        join = {key: rights[key] for key in rights if key != "privileged"}
        data = {
            "namespace": self.namespace,
            "pod_name": self.name,
            "container": container.name,
            "attempt": container.attempt + 1,
            "join": {**join, "env": env, "cwd": cwd},
        }
        return {
            "pod": self.uid,
            "data": data,
            "hostname": hostname,
            "mounts": [
                *self.volumes.mounts(self.pod, container.spec, env),
                lastwords.mount(self.folder, container),
            ],
            "through": list(self.node.view.through),
            "traverse": host.closed_folders(
                [*host.needed_paths(), *programs, *image.links.values()]
            ),
            "hide": [str(self.node.paths.state)],
            "links": dict(image.links),
            "root": image.root,
            "files": spec.files(
                self.pod,
                self.ip,
                domain=CLUSTER_DOMAIN,
                dns_ip=DNS_SERVICE_IP,
                host_resolv=self.node.host_resolv,
            ),
            "tmpfs": [],
            "stdin": bool(container.spec.get("stdin")),
            "tty": tty,
            "log": str(folder / f"{container.attempt + 1}.log"),
            "cwd": cwd,
            "env": env,
            "argv": argv,
            **rights,
        }

    def folder_of_logs(self, container: str) -> Path:
        """Returns where a container's logs are, one file per run."""
        pod = f"{self.namespace}_{self.name}_{self.uid}"
        return self.node.paths.logs / "pods" / pod / container

    # --- ending

    def _grace_s(self) -> float:
        value = self.pod["spec"].get("terminationGracePeriodSeconds")
        return 30.0 if value is None else float(value)

    def kill(self, container: Container, grace_s: float | None) -> None:
        """Ends one container, with the pod's grace unless another is given; it may restart."""
        grace = self._grace_s() if grace_s is None else float(grace_s)
        self._spawn(self._kill(container, grace), "kill")

    async def _kill(self, container: Container, grace_s: float) -> None:
        """Ends one container: preStop hook, SIGTERM, SIGKILL at the end of the grace."""
        if not container.running:
            return
        deadline = time.monotonic() + grace_s
        gone = self._exited[container.name]
        hook = (container.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(_loop_time(deadline)):
                    outcome = await self.tending.hook(container, hook)
                    if not outcome.ok and not gone.is_set():
                        text = f"PreStopHook failed: {outcome.why}"
                        self.event("FailedPreStopHook", text, container, warning=True)
        self.node.zygote.signal(container.id, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            while not gone.is_set():
                limit = deadline if self._deadline is None else min(deadline, self._deadline)
                async with asyncio.timeout_at(_loop_time(limit)):
                    await gone.wait()
        while not gone.is_set():
            self.node.zygote.signal(container.id, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await gone.wait()

    def _kill_all(self, number: int) -> None:
        for container in self.containers.values():
            if container.running:
                self.node.zygote.signal(container.id, number)

    async def _end(self) -> None:
        assert self._deadline is not None
        for name in self.containers:
            self.tending.stop(name)
        for container in self.containers.values():
            if container.id and not container.running and container.ended is None:
                self.node.zygote.signal(container.id, signal.SIGKILL)  # it was just being started
                self._forget(container.id)
        for group in lifecycle.order_of_end(self.containers):
            for name in group:
                text = f"Stopping container {name}"
                self.event("Killing", text, self.containers[name])
            async with asyncio.TaskGroup() as together:
                for name in group:
                    left = max(0.0, self._deadline - time.monotonic())
                    together.create_task(self._kill(self.containers[name], left))
        self._release()
        self.over = True
        self._is_over.set()
        if self._final is None:
            failed = any(
                c.ended is not None and c.ended.code != 0
                for c in self.containers.values()
                if not c.init
            )
            self._final = "Failed" if failed else "Succeeded"
        self._changed.set()

    def _release(self) -> None:
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1
        self.node.zygote.release(self.uid)
        for container in self.containers.values():
            if container.id:
                self._forget(container.id)
        if self.ip and not self.pod["spec"].get("hostNetwork"):
            self.node.addresses.give(self.ip)
        self.volumes.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self, id: str) -> None:
        self.node.zygote.forget(id)
        self.node.exits.pop(id, None)
        self.node.join.pop(id, None)

    def close(self) -> None:
        """Forgets the pod: it is gone from the API and nothing of it runs."""
        self.tending.close()
        for task in list(self._tasks):
            task.cancel()
        folder = self.folder_of_logs("x").parent
        shutil.rmtree(folder, ignore_errors=True)

    # --- telling

    async def _publish(self) -> None:
        """Writes the status whenever it changes, and the end of a deleted pod."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._publish_once()
            except NotFound:
                continue
            except KubeError as error:
                _log.debug("status not written", pod=self.name, error=error.message)
                await asyncio.sleep(_RETRY_S)
                self._changed.set()

    async def _publish_once(self) -> None:
        status = self.current_status()
        if status != self._published:
            body = {"metadata": {"uid": self.uid}, "status": status}
            await self.node.kube.patch(
                PODS, self.name, body, self.namespace, type=MERGE, subresource="status"
            )
            self._published = status
        if self.over and self.pod["metadata"].get("deletionTimestamp"):
            await self.node.kube.delete(PODS, self.name, self.namespace, grace_s=0)

    def current_status(self) -> Object:
        """Returns the pod's status as of now."""
        from_api = self.pod.get("status") or {}
        base = self._published or from_api
        foreign = [c for c in from_api.get("conditions") or () if c["type"] not in _OUR_CONDITIONS]
        ours = [c for c in base.get("conditions") or () if c["type"] in _OUR_CONDITIONS]
        known = {**from_api, **base, "conditions": [*ours, *foreign]}
        status = lifecycle.status(
            {**self.pod, "status": known},
            self.containers,
            now=_now(),
            mono=time.monotonic(),
            ip=self.ip,
            host_ip=NODE_IP,
            network=self.netns >= 0 or bool(self.pod["spec"].get("hostNetwork")),
            ending=self._final if self.over else None,
        )
        if self.over:
            status |= self._reason
        if self.ending:
            for condition in status["conditions"]:
                if condition["type"] in ("Ready", "ContainersReady") and self.over:
                    condition["status"] = "False"
        return status

    def event(
        self, reason: str, text: str, container: Container | None = None, *, warning: bool = False
    ) -> None:
        """Records an event about the pod or one of its containers."""
        field = ""
        if container is not None:
            kind = "initContainers" if container.init else "containers"
            field = f"spec.{kind}{{{container.name}}}"
        self.node.recorder.record(self.pod, reason, text, warning=warning, field=field)

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[Any]:
        before = set(self._tasks)
        runtime.spawn(work, name=f"{what} {self.namespace}/{self.name}", into=self._tasks)
        return next(iter(self._tasks - before))


def _from_api(terminated: Mapping[str, Any]) -> Ended:
    return Ended(
        int(terminated.get("exitCode") or 0),
        int(terminated.get("signal") or 0),
        str(terminated.get("reason") or ""),
        str(terminated.get("message") or ""),
        str(terminated.get("startedAt") or ""),
        str(terminated.get("finishedAt") or ""),
    )


def _now() -> str:
    return _time(time.time_ns())


def _time(now_ns: int) -> str:
    return stamp(now_ns)[:19] + "Z"


def _loop_time(monotonic: float) -> float:
    loop = asyncio.get_running_loop()
    return loop.time() + max(0.0, monotonic - time.monotonic())

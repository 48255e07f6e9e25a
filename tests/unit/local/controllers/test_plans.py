"""What each controller plans from a world of objects; excludes the engine, which does the IO.

`_settle` plays the API server: it carries plans out on the world until nothing is left to do, so
that a test states a wish and looks at the outcome.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from linkerd.kube.resources import (
    CRON_JOBS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from linkerd.local.controllers.facts import stamp
from linkerd.local.controllers.plan import Bind, Create, Delete, Merge, Replace, Status
from linkerd.local.controllers.registry import WATCHED, Work, concerned, planners
from linkerd.local.controllers.world import World, key_of

Object = dict[str, Any]

NOW = 1_800_000_000.0
STEPS_MAX = 500


class Cluster:
    """A world whose plans are carried out at once; pods become ready when told to."""

    def __init__(self) -> None:
        self.world = World()
        self.now = NOW
        self._numbers = itertools.count(1)
        self._planners = planners("a CA")
        self._queue: list[Work] = []
        node = {"kind": "Node", "metadata": {"name": "local", "labels": {"disk": "ssd"}}}
        self.add(NODES, node)

    def add(self, resource: Resource, obj: Object) -> Object:
        metadata = obj.setdefault("metadata", {})
        if resource.namespaced:
            metadata.setdefault("namespace", "default")
        if "generateName" in metadata:
            metadata["name"] = f"{metadata.pop('generateName')}{next(self._numbers)}"
        metadata.setdefault("uid", f"uid-{next(self._numbers)}")
        metadata.setdefault("creationTimestamp", stamp(self.now))
        metadata.setdefault("generation", 1)
        return self._put(resource, obj)

    def _put(self, resource: Resource, obj: Object) -> Object:
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        self.world.apply(resource, obj)
        self._queue.extend(concerned(self.world, resource, obj, gone=False))
        return obj

    def change(self, resource: Resource, obj: Object, **parts: Any) -> Object:
        return self._put(resource, {**obj, **parts, "metadata": dict(obj["metadata"])})

    def remove(self, resource: Resource, obj: Object) -> None:
        self.world.delete(resource, obj)
        self._queue.extend(concerned(self.world, resource, obj, gone=True))

    def ready(self, *, ip: str = "10.244.0.9") -> None:
        """Makes every active pod ready."""
        for pod in list(self.world.all(PODS)):
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(self.now)}
            status = {"phase": "Running", "podIP": ip, "conditions": [condition]}
            if (pod.get("status") or {}).get("phase") in (None, "Pending"):
                self.change(PODS, pod, status=status)

    def finish(self, phase: str) -> None:
        """Ends every pod that runs or waits."""
        for pod in list(self.world.all(PODS)):
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                self.change(PODS, pod, status={"phase": phase})

    def settle(self) -> list[Object]:
        """Carries plans out until none is left; returns the objects created, in order."""
        created: list[Object] = []
        for _ in range(STEPS_MAX):
            if not self._queue:
                return created
            work = self._queue.pop(0)
            plan = self._planners[work.controller](self.world, work.key, self.now)
            for action in plan.actions:
                self._execute(action, created)
        raise AssertionError("the controllers do not settle")

    def look(self, resource: Resource) -> None:
        """Makes every controller look at the objects of a kind again, as a timer would."""
        for obj in list(self.world.all(resource)):
            self._queue.append(Work(resource.plural, key_of(resource, obj)))

    def _execute(self, action: Any, created: list[Object]) -> None:
        match action:
            case Create(resource, body):
                created.append(self.add(resource, body))
            case Replace(resource, body) | Status(resource, body):
                self._put(resource, body)
            case Merge(resource, target, patch, _):
                known = self.world.at(key_of(resource, target)) or target
                merged = {**known, "metadata": dict(known["metadata"])}
                metadata = patch.get("metadata", {})
                annotations = {
                    **(known["metadata"].get("annotations") or {}),
                    **metadata.get("annotations", {}),
                }
                merged["metadata"]["annotations"] = annotations
                for name in ("ownerReferences", "finalizers"):
                    if name in metadata:
                        merged["metadata"][name] = metadata[name]
                merged["spec"] = {**(known.get("spec") or {}), **patch.get("spec", {})}
                if "status" in patch:
                    merged["status"] = {**(known.get("status") or {}), **patch["status"]}
                self._put(resource, merged)
            case Delete(resource, target):
                self.remove(resource, target)
            case Bind(pod, node):
                self.change(PODS, pod, spec={**pod["spec"], "nodeName": node})

    def names(self, resource: Resource) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in self.world.all(resource))

    def only(self, resource: Resource) -> Object:
        (found,) = self.world.all(resource)
        return found


def a_deployment(image: str = "web:1", replicas: int = 3, **spec: Any) -> Object:
    labels = {"app": "web"}
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            **spec,
        },
    }


def a_service(**spec: Any) -> Object:
    port = {"port": 80, "targetPort": 8080, "name": "http"}
    return {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [port], **spec},
    }


def _images(cluster: Cluster) -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in cluster.world.all(PODS))


def test_a_deployment_becomes_bound_pods() -> None:
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment())
    cluster.settle()
    assert ["local"] * 3 == [pod["spec"]["nodeName"] for pod in cluster.world.all(PODS)]
    cluster.ready()
    cluster.settle()
    status = cluster.only(DEPLOYMENTS)["status"]
    assert (3, 3, 3) == (
        status["readyReplicas"],
        status["availableReplicas"],
        status["updatedReplicas"],
    )
    assert ["NewReplicaSetAvailable"] == [
        entry["reason"] for entry in status["conditions"] if entry["type"] == "Progressing"
    ]


def test_a_rollout_keeps_within_surge_and_unavailability() -> None:
    """Four replicas at 25 %: never more than five pods, never fewer than three available."""
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment(replicas=4))
    cluster.settle()
    cluster.ready()
    cluster.settle()
    deployment = cluster.only(DEPLOYMENTS)
    cluster.change(DEPLOYMENTS, deployment, spec=a_deployment("web:2", 4)["spec"])
    for _ in range(10):
        cluster.settle()
        pods = list(cluster.world.all(PODS))
        running = [p for p in pods if (p.get("status") or {}).get("phase") == "Running"]
        assert len(pods) <= 5
        assert len(running) >= 3
        cluster.ready()
    assert ["web:2"] * 4 == _images(cluster)
    assert (
        "2"
        == cluster.only(DEPLOYMENTS)["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    )


def test_recreate_waits_until_the_old_pods_are_gone() -> None:
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment(strategy={"type": "Recreate"}))
    cluster.settle()
    spec = a_deployment("web:2", strategy={"type": "Recreate"})["spec"]
    old = _images(cluster)
    cluster.change(DEPLOYMENTS, cluster.only(DEPLOYMENTS), spec=spec)
    created = [obj for obj in cluster.settle() if obj["kind"] == "Pod"]
    assert ["web:1"] * 3 == old
    assert ["web:2"] * 3 == _images(cluster)
    assert 3 == len(created)


def test_a_paused_deployment_does_not_roll_but_scales() -> None:
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment())
    cluster.settle()
    spec = a_deployment("web:2", 1, paused=True)["spec"]
    cluster.change(DEPLOYMENTS, cluster.only(DEPLOYMENTS), spec=spec)
    cluster.settle()
    assert ["web:1"] == _images(cluster)


def test_going_back_takes_the_old_replica_set_and_a_new_revision() -> None:
    """`kubectl rollout undo` writes the old template back."""
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment(replicas=1))
    cluster.settle()
    cluster.ready()
    for image in ("web:2", "web:1"):
        cluster.change(DEPLOYMENTS, cluster.only(DEPLOYMENTS), spec=a_deployment(image, 1)["spec"])
        for _ in range(4):
            cluster.settle()
            cluster.ready()
    assert 2 == len(cluster.names(REPLICA_SETS))
    assert ["web:1"] == _images(cluster)
    annotations = cluster.only(DEPLOYMENTS)["metadata"]["annotations"]
    assert "3" == annotations["deployment.kubernetes.io/revision"]


def test_a_stuck_rollout_is_reported_after_its_deadline() -> None:
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment(progressDeadlineSeconds=60))
    cluster.settle()
    cluster.now += 61
    cluster.look(DEPLOYMENTS)
    cluster.settle()
    conditions = cluster.only(DEPLOYMENTS)["status"]["conditions"]
    assert ["ProgressDeadlineExceeded"] == [
        entry["reason"] for entry in conditions if entry["type"] == "Progressing"
    ]


def test_pods_of_a_deleted_deployment_are_collected() -> None:
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment())
    cluster.settle()
    cluster.remove(DEPLOYMENTS, cluster.only(DEPLOYMENTS))
    cluster.settle()
    assert [] == cluster.names(REPLICA_SETS) + cluster.names(PODS)


def test_a_pod_that_vanishes_is_replaced() -> None:
    cluster = Cluster()
    cluster.add(DEPLOYMENTS, a_deployment(replicas=1))
    cluster.settle()
    before = cluster.names(PODS)
    cluster.remove(PODS, cluster.only(PODS))
    cluster.settle()
    assert 1 == len(cluster.names(PODS))
    assert before != cluster.names(PODS)


def test_a_service_lists_its_ready_pods() -> None:
    cluster = Cluster()
    cluster.add(SERVICES, a_service())
    cluster.add(DEPLOYMENTS, a_deployment(replicas=1))
    cluster.settle()
    cluster.ready(ip="10.244.0.7")
    cluster.settle()
    (found,) = [item for item in cluster.world.all(ENDPOINT_SLICES) if item["endpoints"]]
    assert [["10.244.0.7"]] == [endpoint["addresses"] for endpoint in found["endpoints"]]
    assert {"ready": True, "serving": True, "terminating": False} == found["endpoints"][0][
        "conditions"
    ]
    assert [("http", 8080)] == [(port["name"], port["port"]) for port in found["ports"]]


@pytest.mark.parametrize(
    ("publish", "ready"),
    [(False, False), (True, True)],
)
def test_terminating_pods_stay_listed_but_not_ready(publish: bool, ready: bool) -> None:
    """Proxies drain them; only headless services that ask for it keep them ready."""
    cluster = Cluster()
    cluster.add(SERVICES, a_service(publishNotReadyAddresses=publish))
    cluster.add(DEPLOYMENTS, a_deployment(replicas=1))
    cluster.settle()
    cluster.ready()
    cluster.settle()
    pod = cluster.only(PODS)
    pod["metadata"]["deletionTimestamp"] = stamp(NOW)
    cluster.change(PODS, pod)
    cluster.settle()
    endpoints = [
        endpoint
        for item in cluster.world.all(ENDPOINT_SLICES)
        for endpoint in item["endpoints"]
        if endpoint["targetRef"]["name"] == pod["metadata"]["name"]
    ]
    assert [{"ready": ready, "serving": True, "terminating": True}] == [
        endpoint["conditions"] for endpoint in endpoints
    ]


def test_named_target_ports_are_looked_up_in_each_pod() -> None:
    cluster = Cluster()
    port = {"port": 80, "targetPort": "web", "name": "http", "protocol": "TCP"}
    cluster.add(SERVICES, a_service(ports=[port]))
    deployment = a_deployment(replicas=1)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"name": "web", "containerPort": 4000}]
    cluster.add(DEPLOYMENTS, deployment)
    cluster.settle()
    cluster.ready()
    cluster.settle()
    ports = [p["port"] for item in cluster.world.all(ENDPOINT_SLICES) for p in item["ports"]]
    assert [4000] == ports


def a_job(**spec: Any) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    wanted = {"completions": 1, "parallelism": 1, "backoffLimit": 1}
    return {"metadata": {"name": "once"}, "spec": {**wanted, "template": template, **spec}}


def test_a_job_ends_with_its_pod() -> None:
    cluster = Cluster()
    cluster.add(JOBS, a_job())
    cluster.settle()
    cluster.finish("Succeeded")
    cluster.settle()
    status = cluster.only(JOBS)["status"]
    assert ["SuccessCriteriaMet", "Complete"] == [c["type"] for c in status["conditions"]]
    assert 1 == status["succeeded"]


def test_a_job_tries_again_later_and_then_gives_up() -> None:
    cluster = Cluster()
    cluster.add(JOBS, a_job())
    cluster.settle()
    cluster.finish("Failed")
    cluster.settle()
    assert 1 == len(cluster.names(PODS))
    cluster.now += 11
    cluster.look(JOBS)
    cluster.settle()
    assert 2 == len(cluster.names(PODS))
    cluster.finish("Failed")
    cluster.settle()
    conditions = cluster.only(JOBS)["status"]["conditions"]
    assert [("Failed", "BackoffLimitExceeded")] == [(c["type"], c["reason"]) for c in conditions]


@pytest.mark.parametrize(("policy", "jobs"), [("Allow", 2), ("Forbid", 1), ("Replace", 1)])
def test_cron_jobs_start_jobs_on_time(policy: str, jobs: int) -> None:
    """Two times pass while the first job still runs."""
    cluster = Cluster()
    spec = {
        "schedule": "*/5 * * * *",
        "concurrencyPolicy": policy,
        "jobTemplate": {"spec": a_job()["spec"]},
    }
    cluster.add(CRON_JOBS, {"metadata": {"name": "tick"}, "spec": spec})
    for _ in range(2):
        cluster.now += 300
        cluster.look(CRON_JOBS)
        cluster.settle()
    assert jobs == len(cluster.names(JOBS))


def test_stateful_pods_start_one_after_the_other() -> None:
    cluster = Cluster()
    spec = {**a_deployment(replicas=2)["spec"], "serviceName": "web"}
    cluster.add(STATEFUL_SETS, {"metadata": {"name": "db"}, "spec": spec})
    cluster.settle()
    assert ["db-0"] == cluster.names(PODS)
    cluster.ready()
    cluster.settle()
    assert ["db-0", "db-1"] == cluster.names(PODS)


def test_claims_of_a_stateful_pod_come_first_and_are_bound_to_a_volume_each() -> None:
    cluster = Cluster()
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Mi"}}}
    spec = {
        **a_deployment(replicas=1)["spec"],
        "serviceName": "web",
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    cluster.add(STATEFUL_SETS, {"metadata": {"name": "db"}, "spec": spec})
    cluster.settle()
    bound = cluster.only(PERSISTENT_VOLUME_CLAIMS)
    volume = cluster.only(PERSISTENT_VOLUMES)
    assert ("data-db-0", "Bound") == (bound["metadata"]["name"], bound["status"]["phase"])
    assert volume["metadata"]["name"] == bound["spec"]["volumeName"]
    assert "5Mi" == volume["spec"]["capacity"]["storage"]
    (used,) = cluster.only(PODS)["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}} == used
    cluster.remove(PERSISTENT_VOLUME_CLAIMS, bound)
    cluster.settle()
    assert "Released" == cluster.only(PERSISTENT_VOLUMES)["status"]["phase"]


def test_a_pod_that_fits_nowhere_says_so() -> None:
    cluster = Cluster()
    deployment = a_deployment(replicas=1)
    deployment["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "tape"}
    cluster.add(DEPLOYMENTS, deployment)
    cluster.settle()
    (condition,) = cluster.only(PODS)["status"]["conditions"]
    assert ("PodScheduled", "False", "Unschedulable") == (
        condition["type"],
        condition["status"],
        condition["reason"],
    )


def test_an_older_version_never_replaces_a_newer_one() -> None:
    """A watch may deliver what our own write has overtaken."""
    world = World()
    newer = {"metadata": {"name": "a", "uid": "u", "resourceVersion": "9"}}
    older = {"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}}
    world.apply(NODES, newer)
    assert older is world.apply(NODES, older)
    assert newer is world.get(NODES, "a")


def test_every_watched_kind_is_distinct() -> None:
    """The world files objects by plural alone."""
    plurals = [resource.plural for resource in WATCHED]
    assert sorted(set(plurals)) == sorted(plurals)

"""Create, update and delete over a store, without HTTP: the rules that all kinds share."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.local.apiserver import builtin
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.resources import Context, Resources, marked_for_deletion
from linkerd.local.apiserver.status import ApiError
from linkerd.local.store import Obj, Store
from tests.unit.local.apiserver.builders import a_context, a_pod_spec, an_object, kind


class NoWebhooks:
    """The admission of a cluster without webhooks."""

    async def admit(
        self, kind: Kind, operation: str, new: Obj | None, old: Obj | None, context: Context
    ) -> Obj | None:
        return new

    async def validate(
        self, kind: Kind, operation: str, new: Obj | None, old: Obj | None, context: Context
    ) -> None:
        return None


@pytest.fixture
def resources() -> Resources:
    store = Store(":memory:")
    namespace = an_object("Namespace", "default", status={"phase": "Active"})
    store.create("namespaces", namespace)
    return Resources(store, NoWebhooks(), builtin.admit)


async def create(resources: Resources, obj: Obj, **options: Any) -> Obj:
    found = kind(obj["kind"])
    namespace = obj["metadata"].get("namespace", "")
    return await resources.create(found, namespace, obj, a_context(**options))


async def update(resources: Resources, obj: Obj, change: Any, **options: Any) -> Obj:
    meta = obj["metadata"]
    return await resources.update(
        kind(obj["kind"]),
        meta.get("namespace", ""),
        meta["name"],
        change,
        a_context(**options),
        retry=True,
    )


def a_deployment(**spec: Any) -> Obj:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": a_pod_spec()}
    body = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return an_object("Deployment", "web", spec=body)


def setting(**fields: Any) -> Any:
    def change(obj: Obj) -> Obj:
        obj["spec"].update(fields)
        return obj

    return change


async def test_new_objects_get_what_only_the_server_gives(resources: Resources) -> None:
    obj = a_deployment()
    obj["metadata"] |= {"uid": "mine", "generation": 9, "deletionTimestamp": "x"}
    made = (await create(resources, obj))["metadata"]
    assert "mine" != made["uid"]
    assert 1 == made["generation"]
    assert "deletionTimestamp" not in made
    assert made["creationTimestamp"].endswith("Z")


async def test_generated_names_are_unique(resources: Resources) -> None:
    names = set()
    for _ in range(3):
        obj = an_object("ConfigMap", "")
        obj["metadata"]["generateName"] = "made-"
        names.add((await create(resources, obj))["metadata"]["name"])
    assert 3 == len(names)
    assert all(name.startswith("made-") for name in names)


async def test_generation_counts_changes_of_the_spec_only(resources: Resources) -> None:
    obj = await create(resources, a_deployment())
    changed = await update(resources, obj, setting(replicas=3))
    assert 2 == changed["metadata"]["generation"]

    def label(current: Obj) -> Obj:
        current["metadata"]["labels"] = {"a": "b"}
        return current

    assert 2 == (await update(resources, obj, label))["metadata"]["generation"]


async def test_status_and_spec_are_written_apart(resources: Resources) -> None:
    obj = await create(resources, {**a_deployment(), "status": {"replicas": 9}})
    assert "status" not in obj

    def both(current: Obj) -> Obj:
        current["spec"]["replicas"] = 7
        current["status"] = {"replicas": 7}
        return current

    plain = await update(resources, obj, both)
    assert (7, None) == (plain["spec"]["replicas"], plain.get("status"))

    def status(current: Obj) -> Obj:
        current["spec"]["replicas"] = 1
        current["status"] = {"replicas": 7}
        return current

    written = await update(resources, obj, status, subresource="status")
    assert (7, {"replicas": 7}) == (written["spec"]["replicas"], written["status"])
    assert plain["metadata"]["generation"] == written["metadata"]["generation"]


async def test_identity_cannot_be_changed(resources: Resources) -> None:
    obj = await create(resources, a_deployment())

    def forge(current: Obj) -> Obj:
        current["metadata"]["uid"] = "other"
        return current

    with pytest.raises(ApiError) as refusal:
        await update(resources, obj, forge)
    assert 409 == refusal.value.status


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (setting(selector={"matchLabels": {"app": "other"}}), "spec.selector"),
        (setting(replicas=-1), "spec.replicas"),
        (setting(template={"spec": {"containers": []}}), "spec.template.spec.containers"),
    ],
)
async def test_invalid_updates_are_refused(resources: Resources, change: Any, field: str) -> None:
    obj = await create(resources, a_deployment())
    with pytest.raises(ApiError) as refusal:
        await update(resources, obj, change)
    assert 422 == refusal.value.status
    assert field in {cause["field"] for cause in refusal.value.details["causes"]}


async def test_pods_need_their_service_account(resources: Resources) -> None:
    pod = an_object("Pod", "p", spec=a_pod_spec(serviceAccountName="nobody"))
    with pytest.raises(ApiError, match='serviceaccount "nobody" not found'):
        await create(resources, pod)


async def test_objects_need_their_namespace(resources: Resources) -> None:
    with pytest.raises(ApiError, match='namespaces "nowhere" not found'):
        await create(resources, an_object("ConfigMap", "a", "nowhere"))


async def test_services_share_no_address(resources: Resources) -> None:
    seen = set()
    for number in range(20):
        spec = {"ports": [{"port": 80}], "type": "NodePort"}
        made = await create(resources, an_object("Service", f"s{number}", spec=spec))
        seen.add((made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]))
    assert 20 == len({address for address, _ in seen}) == len({port for _, port in seen})


async def test_a_taken_cluster_ip_is_refused(resources: Resources) -> None:
    spec = {"ports": [{"port": 53}], "clusterIP": "10.96.0.10"}
    await create(resources, an_object("Service", "dns", spec=dict(spec)))
    with pytest.raises(ApiError, match="provided IP is already allocated"):
        await create(resources, an_object("Service", "other", spec=dict(spec)))


async def test_a_service_keeps_its_address(resources: Resources) -> None:
    made = await create(resources, an_object("Service", "s", spec={"ports": [{"port": 80}]}))

    def replace(current: Obj) -> Obj:
        current["spec"] = {"ports": [{"port": 81}]}
        return current

    updated = await update(resources, made, replace)
    assert made["spec"]["clusterIP"] == updated["spec"]["clusterIP"]


@pytest.mark.parametrize(
    ("pod", "options", "grace"),
    [
        ({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}, {}, 30),
        ({"spec": {"nodeName": "n"}}, {"gracePeriodSeconds": 5}, 5),
        ({"spec": {"nodeName": "n"}}, {"gracePeriodSeconds": 0}, None),
        ({"spec": {}}, {}, None),
        ({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}, {}, None),
    ],
)
def test_pods_are_given_time_to_end(pod: Obj, options: Obj, grace: int | None) -> None:
    obj = {"metadata": {"name": "p"}, **pod}
    marked = marked_for_deletion(kind("Pod"), obj, options)
    assert grace == (marked and marked["metadata"]["deletionGracePeriodSeconds"])


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)],
)
def test_propagation_policies_leave_finalizers(policy: str, finalizers: list[str] | None) -> None:
    obj: Obj = {"metadata": {"name": "d"}}
    marked = marked_for_deletion(kind("Deployment"), obj, {"propagationPolicy": policy})
    assert finalizers == (marked and marked["metadata"]["finalizers"])


async def test_delete_checks_preconditions(resources: Resources) -> None:
    await create(resources, an_object("ConfigMap", "a"))
    options = {"preconditions": {"uid": "other"}}
    with pytest.raises(ApiError) as refusal:
        await resources.delete(kind("ConfigMap"), "default", "a", options, a_context())
    assert 409 == refusal.value.status


async def test_the_last_finalizer_takes_the_object_along(resources: Resources) -> None:
    obj = an_object("ConfigMap", "a")
    obj["metadata"]["finalizers"] = ["hold"]
    made = await create(resources, obj)
    _, gone = await resources.delete(kind("ConfigMap"), "default", "a", {}, a_context())
    assert not gone

    def release(current: Obj) -> Obj:
        current["metadata"]["finalizers"] = []
        return current

    await update(resources, made, release)
    assert resources.store.get("configmaps", "default", "a") is None

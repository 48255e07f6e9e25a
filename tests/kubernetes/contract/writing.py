"""Scenarios: create, update, delete, every kind of patch, validation, defaults."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.contract.api import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Api,
)
from tests.kubernetes.contract.objects import (
    a_config_map,
    a_deployment,
    a_pod,
    a_service,
    an_account,
)


def create(api: Api) -> Any:
    path = api.core("configmaps")
    generated = {"metadata": {"generateName": "gen-"}, "data": {"a": "b"}}
    made = api.send("POST", path, generated).json()["metadata"]
    return [
        api.ask("POST", path, a_config_map("a", key="1")),
        api.ask("POST", path, a_config_map("a", key="1")),
        (made["name"].startswith("gen-"), len(made["name"]), made["generateName"]),
        api.refusal("POST", path, {"metadata": {}}),
        api.refusal("POST", path, {"metadata": {"name": "b", "resourceVersion": "7"}}),
        api.refusal("POST", path, {"metadata": {"name": "b", "namespace": "other"}}),
        api.refusal("POST", path, {"kind": "Secret", "apiVersion": "v1"}),
        api.refusal("POST", "/api/v1/namespaces/absent/configmaps", a_config_map("a")),
        api.refusal("POST", path, b"{not json"),
        api.refusal("POST", path, b""),
        api.refusal("POST", path, b"[]"),
        api.refusal("POST", path, a_config_map("b"), kind="text/plain"),
    ]


def names_and_labels(api: Api) -> Any:
    path = api.core("configmaps")
    return [
        api.refusal("POST", path, a_config_map(name)) for name in ("Upper", "a_b", "-a", "x" * 254)
    ] + [
        api.refusal("POST", path, a_config_map("a", labels))
        for labels in ({"a b": "c"}, {"a": "b c"}, {"a": "x" * 64}, {"a/b/c": "d"})
    ]


def unknown_fields(api: Api) -> Any:
    path = api.core("configmaps")
    odd = {**a_config_map("a"), "bogus": 1}
    deployment = a_deployment("d")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    deployments = api.grouped("apps/v1", "deployments")
    return [
        api.refusal("POST", path, odd, fieldValidation="Strict"),
        api.ask("POST", path, odd, fieldValidation="Warn"),
        api.refusal("POST", path, odd, fieldValidation="Odd"),
        api.refusal("POST", deployments, deployment, fieldValidation="Strict"),
        api.refusal(
            "POST",
            path,
            b'{"metadata":{"name":"b"},"data":{"a":"1","a":"2"}}',
            fieldValidation="Strict",
        ),
    ]


def wrong_types(api: Api) -> Any:
    return [
        api.refusal("POST", api.core("configmaps"), {**a_config_map("a"), "data": {"k": 1}}),
        api.refusal("POST", api.core("services"), a_service("s", ports=[{"port": "80"}])),
        api.refusal(
            "POST", api.grouped("apps/v1", "deployments"), a_deployment("d", replicas="two")
        ),
    ]


def update(api: Api) -> Any:
    path, one = api.core("configmaps"), api.core("configmaps", "a")
    made = api.make(path, a_config_map("a", key="1"))
    changed = {**made, "data": {"key": "2"}}
    return [
        api.ask("PUT", one, changed),
        api.refusal("PUT", one, changed),
        api.ask("PUT", one, a_config_map("a", key="3")),
        api.refusal("PUT", one, a_config_map("b", key="3")),
        api.refusal("PUT", api.core("configmaps", "absent"), a_config_map("absent")),
        api.refusal("PUT", one, {**made, "metadata": {**made["metadata"], "uid": "x"}}),
    ]


def dry_run(api: Api) -> Any:
    path = api.core("configmaps")
    return [
        api.ask("POST", path, a_config_map("a"), dryRun="All"),
        api.refusal("GET", api.core("configmaps", "a")),
        api.refusal("POST", path, a_config_map("a"), dryRun="Some"),
    ]


def delete(api: Api) -> Any:
    path, one = api.core("configmaps"), api.core("configmaps", "a")
    made = api.make(path, a_config_map("a"))
    wrong = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    right = {"preconditions": {"uid": made["metadata"]["uid"]}}
    for name in ("x", "y", "z"):
        api.make(path, a_config_map(name, {"sweep": name}))
    return [
        api.refusal("DELETE", one, wrong),
        api.ask("DELETE", one, right),
        api.refusal("DELETE", one),
        api.refusal("DELETE", api.core("configmaps", "x"), propagationPolicy="Odd"),
        api.send("DELETE", path, labelSelector="sweep in (x,y)").status_code,
        api.names(path, labelSelector="sweep"),
    ]


def finalizers(api: Api) -> Any:
    path, one = api.core("configmaps"), api.core("configmaps", "a")
    body = a_config_map("a")
    body["metadata"]["finalizers"] = ["contract.l5dx.io/wait"]
    api.make(path, body)
    added = {"metadata": {"finalizers": ["contract.l5dx.io/wait", "contract.l5dx.io/more"]}}
    return [
        api.ask("DELETE", one),
        api.ask("GET", one),
        api.refusal("PATCH", one, added, kind=MERGE_PATCH),
        api.ask("PATCH", one, {"metadata": {"finalizers": None}}, kind=MERGE_PATCH),
        api.refusal("GET", one),
    ]


def merge_patch(api: Api) -> Any:
    path, one = api.core("configmaps"), api.core("configmaps", "a")
    made = api.make(path, a_config_map("a", {"l": "1"}, keep="1", drop="2"))
    return [
        api.ask("PATCH", one, {"data": {"drop": None, "new": "3"}}, kind=MERGE_PATCH),
        api.ask("PATCH", one, {}, kind=MERGE_PATCH),
        api.refusal("PATCH", one, {"metadata": {"name": "b"}}, kind=MERGE_PATCH),
        api.refusal("PATCH", one, {"data": {"n": 1}}, kind=MERGE_PATCH),
        api.refusal("PATCH", one, b"[1]", kind=MERGE_PATCH),
        api.refusal("PATCH", one, b"nonsense", kind=MERGE_PATCH),
        api.refusal(
            "PATCH",
            one,
            {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}},
            kind=MERGE_PATCH,
        ),
        api.refusal("PATCH", api.core("configmaps", "absent"), {}, kind=MERGE_PATCH),
        api.refusal("PATCH", one, {}, kind="application/x-odd"),
    ]


def json_patch(api: Api) -> Any:
    path, one = api.core("configmaps"), api.core("configmaps", "a")
    api.make(path, a_config_map("a", key="1"))
    operations: list[Any] = [
        [{"op": "add", "path": "/data/new", "value": "2"}],
        [{"op": "replace", "path": "/data/new", "value": "3"}],
        [{"op": "copy", "from": "/data/new", "path": "/data/copy"}],
        [{"op": "move", "from": "/data/copy", "path": "/data/moved"}],
        [{"op": "add", "path": "/metadata/labels", "value": {"a~b": "c"}}],
        [{"op": "remove", "path": "/data/moved"}],
        [{"op": "test", "path": "/data/key", "value": "1"}],
        [{"op": "test", "path": "/data/key", "value": "no"}],
        [{"op": "remove", "path": "/data/absent"}],
        [{"op": "add", "path": "/no/such/place", "value": 1}],
        [{"op": "odd", "path": "/data"}],
        {"op": "add"},
    ]
    seen = []
    for patch in operations:
        answer = api.ask("PATCH", one, patch, kind=JSON_PATCH)
        if answer["status"] == 200:
            seen.append((answer["status"], answer["body"].get("data")))
        else:
            seen.append((answer["status"], answer["body"].get("reason")))
    return seen


def strategic_patch(api: Api) -> Any:
    path = api.grouped("apps/v1", "deployments")
    one = api.grouped("apps/v1", "deployments", "d")
    api.make(path, a_deployment("d"))

    def patched(pod: Any) -> Any:
        body = {"spec": {"template": {"spec": pod}}}
        answer = api.ask("PATCH", one, body, kind=STRATEGIC_PATCH)
        if answer["status"] != 200:
            return answer["status"], answer["body"].get("message")
        return answer["body"]["spec"]["template"]["spec"]

    return [
        patched({"containers": [{"name": "web", "image": "nginx:2"}]}),
        patched({"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}),
        patched({"containers": [{"name": "web", "env": [{"name": "A", "$patch": "delete"}]}]}),
        patched({"containers": [{"name": "log", "$patch": "delete"}]}),
        patched({"containers": [{"$patch": "replace"}, {"name": "new", "image": "new"}]}),
        patched({"tolerations": [{"key": "a", "operator": "Exists"}]}),
        patched({"tolerations": [{"key": "b", "operator": "Exists"}]}),
        patched({"nodeSelector": {"a": "b"}}),
        patched({"nodeSelector": None}),
        patched({"containers": [{"image": "nameless"}]}),
    ]


def apply(api: Api) -> Any:
    one = api.core("configmaps", "a")

    def applied(manager: str, body: Any, **query: str) -> Any:
        return api.ask("PATCH", one, body, kind=APPLY_PATCH, fieldManager=manager, **query)

    return [
        applied("first", a_config_map("a", x="1", y="1")),
        applied("first", a_config_map("a", x="1", y="1")),
        applied("first", a_config_map("a", x="2")),
        applied("second", a_config_map("a", x="2", z="1")),
        applied("second", a_config_map("a", x="3", z="1")),
        applied("second", a_config_map("a", x="3", z="1"), force="true"),
        applied("first", a_config_map("a")),
        api.refusal("PATCH", one, a_config_map("a"), kind=APPLY_PATCH),
        api.refusal("PATCH", one, a_config_map("b"), kind=APPLY_PATCH, fieldManager="first"),
        api.refusal("PATCH", one, b": : :", kind=APPLY_PATCH, fieldManager="first"),
        api.refusal("PATCH", one, {"data": {}}, kind=APPLY_PATCH, fieldManager="first"),
    ]


def apply_lists(api: Api) -> Any:
    one = api.grouped("apps/v1", "deployments", "d")

    def containers(answer: Any) -> Any:
        if answer["status"] >= 400:
            return answer["body"]["message"]
        spec = answer["body"]["spec"]["template"]["spec"]
        return [(part["name"], part["image"], part.get("env")) for part in spec["containers"]]

    base, other = a_deployment("d"), a_deployment("d")
    other["spec"]["template"]["spec"]["containers"] = [{"name": "side", "image": "side"}]
    less = a_deployment("d")
    del less["spec"]["template"]["spec"]["containers"][1]
    return [
        containers(api.ask("PATCH", one, body, kind=APPLY_PATCH, fieldManager=manager))
        for manager, body in (("one", base), ("two", other), ("one", less), ("three", less))
    ]


def managers(api: Api) -> Any:
    """Updates record who set which field."""
    path, one = api.core("configmaps"), api.core("configmaps", "a")
    api.send("POST", path, a_config_map("a", x="1"), fieldManager="creator")
    api.send("PATCH", one, {"data": {"y": "1"}}, kind=MERGE_PATCH, fieldManager="patcher")
    api.send("PATCH", one, {"data": {"x": "2"}}, kind=MERGE_PATCH, fieldManager="patcher")
    return api.managers(one)


def appliers(api: Api) -> Any:
    """Who applied which field, beside nobody who updates."""
    one = api.grouped("apps/v1", "deployments", "d")
    body = a_deployment("d", replicas=2)
    api.send("PATCH", one, body, kind=APPLY_PATCH, fieldManager="first")
    more = {**a_deployment("d"), "metadata": {"name": "d", "labels": {"a": "b"}}}
    api.send("PATCH", one, more, kind=APPLY_PATCH, fieldManager="second")
    return api.managers(one)


def status_subresource(api: Api) -> Any:
    api.make(api.grouped("apps/v1", "deployments"), a_deployment("d"))
    one = api.grouped("apps/v1", "deployments", "d")
    status = api.grouped("apps/v1", "deployments", "d", "status")
    patch = {"spec": {"replicas": 7}, "status": {"replicas": 3, "readyReplicas": 2}}
    return [
        api.ask("PATCH", status, patch, kind=MERGE_PATCH)["body"]["status"],
        api.ask("GET", one)["body"]["spec"]["replicas"],
        api.ask("PATCH", one, {"status": {"replicas": 9}}, kind=MERGE_PATCH)["body"]["status"],
        api.ask("GET", one)["body"]["metadata"]["generation"],
    ]


def scale(api: Api) -> Any:
    api.make(api.grouped("apps/v1", "deployments"), a_deployment("d"))
    path = api.grouped("apps/v1", "deployments", "d", "scale")
    return [
        api.ask("GET", path),
        api.ask("PATCH", path, {"spec": {"replicas": 4}}, kind=MERGE_PATCH),
        api.ask("GET", api.grouped("apps/v1", "deployments", "d"))["body"]["spec"]["replicas"],
    ]


def generation(api: Api) -> Any:
    api.make(api.grouped("apps/v1", "deployments"), a_deployment("d"))
    one = api.grouped("apps/v1", "deployments", "d")
    patches: list[Any] = [
        {"metadata": {"labels": {"a": "b"}}},
        {"spec": {"replicas": 1}},
        {"spec": {"replicas": 2}},
        {"status": {"replicas": 1}},
    ]
    return [
        api.ask("PATCH", one, patch, kind=MERGE_PATCH)["body"]["metadata"]["generation"]
        for patch in patches
    ]


def defaults_of_workloads(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("default"))
    job = a_pod("j", restartPolicy="Never")["spec"]
    template = {"metadata": {"labels": {"app": "x"}}, "spec": a_pod("x")["spec"]}
    selector = {"matchLabels": {"app": "x"}}
    bodies = {
        api.core("pods"): a_pod("p"),
        api.grouped("apps/v1", "deployments"): a_deployment("d"),
        api.grouped("apps/v1", "daemonsets"): {
            "metadata": {"name": "ds"},
            "spec": {"selector": selector, "template": template},
        },
        api.grouped("apps/v1", "statefulsets"): {
            "metadata": {"name": "ss"},
            "spec": {"selector": selector, "template": template, "serviceName": "x"},
        },
        api.grouped("apps/v1", "replicasets"): {
            "metadata": {"name": "rs"},
            "spec": {"selector": selector, "template": template},
        },
        api.grouped("batch/v1", "jobs"): {
            "metadata": {"name": "j"},
            "spec": {"template": {"spec": job}},
        },
        api.grouped("batch/v1", "cronjobs"): {
            "metadata": {"name": "c"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": job}}}},
        },
    }
    return {
        path.rpartition("/")[2]: _without_names(api.ask("POST", path, body))
        for path, body in bodies.items()
    }


def _without_names(answer: Any) -> Any:
    """Service account tokens are mounted under a generated name."""
    spec = answer["body"].get("spec") or {}
    for volume in spec.get("volumes") or ():
        if str(volume.get("name", "")).startswith("kube-api-access-"):
            generated = volume["name"]
            volume["name"] = "kube-api-access-<x>"
            for container in spec["containers"]:
                for mount in container.get("volumeMounts") or ():
                    if mount["name"] == generated:
                        mount["name"] = "kube-api-access-<x>"
    return answer


def defaults_of_services(api: Api) -> Any:
    path = api.core("services")
    services = [
        a_service("headless", clusterIP="None"),
        a_service("named", ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]),
        a_service("external", type="ExternalName", externalName="example.com"),
        a_service("bare", selector=None),
    ]
    seen = []
    for body in services:
        answer = api.ask("POST", path, body)
        spec = answer["body"].get("spec") or {}
        if spec.get("clusterIP", "None") not in ("None", ""):
            spec["clusterIP"], spec["clusterIPs"] = "<ip>", ["<ip>"]
        seen.append((answer["status"], spec, answer["body"].get("status")))
    return seen


def invalid_objects(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("default"))
    mismatch = a_deployment("d", selector={"matchLabels": {"app": "other"}})
    no_containers = a_deployment("d")
    no_containers["spec"]["template"]["spec"]["containers"] = []
    twins = a_pod("p")
    twins["spec"]["containers"] *= 2
    bad_port = a_pod("p")
    bad_port["spec"]["containers"][0]["ports"] = [{"containerPort": 70000}]
    mount = a_pod("p")
    mount["spec"]["containers"][0]["volumeMounts"] = [{"name": "no", "mountPath": "/x"}]
    deployments, pods, services = (
        api.grouped("apps/v1", "deployments"),
        api.core("pods"),
        api.core("services"),
    )
    return [
        api.refusal("POST", deployments, mismatch),
        api.refusal("POST", deployments, no_containers),
        api.refusal("POST", pods, twins),
        api.refusal("POST", pods, bad_port),
        api.refusal("POST", pods, mount),
        api.refusal("POST", pods, a_pod("p", serviceAccountName="absent")),
        api.refusal("POST", pods, a_pod("p", restartPolicy="Sometimes")),
        api.refusal("POST", services, a_service("s", ports=[])),
        api.refusal("POST", services, a_service("s", ports=[{"port": 0}])),
        api.refusal("POST", services, a_service("s", ports=[{"port": 1}, {"port": 2}])),
        api.refusal("POST", services, a_service("s", clusterIP="1.2.3.4")),
        api.refusal("POST", services, a_service("1s")),
    ]


def immutable_fields(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("default"))
    api.make(api.grouped("apps/v1", "deployments"), a_deployment("d"))
    api.make(api.core("pods"), a_pod("p"))
    api.make(api.core("services"), a_service("s"))
    frozen = {**a_config_map("c", key="1"), "immutable": True}
    api.make(api.core("configmaps"), frozen)
    selector = {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    node = {"spec": {"hostname": "other"}}
    return [
        api.refusal(
            "PATCH", api.grouped("apps/v1", "deployments", "d"), selector, kind=MERGE_PATCH
        )["status"],
        api.refusal("PATCH", api.core("pods", "p"), node, kind=MERGE_PATCH)["status"],
        api.refusal(
            "PATCH",
            api.core("services", "s"),
            {"spec": {"clusterIP": "10.96.9.9"}},
            kind=MERGE_PATCH,
        )["status"],
        api.refusal("PATCH", api.core("configmaps", "c"), {"data": {"key": "2"}}, kind=MERGE_PATCH),
    ]


def secrets_in_both_forms(api: Api) -> Any:
    body = {"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}}
    return [
        api.ask("POST", api.core("secrets"), body),
        api.refusal("POST", api.core("secrets"), {"metadata": {"name": "t"}, "data": {"a": "!"}}),
    ]

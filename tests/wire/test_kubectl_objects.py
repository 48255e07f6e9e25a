"""Stock kubectl against a real server process: the commands that users type, object side.

Not covered: what needs a node or controllers (pods that run, logs, rollout progress).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.local_server import KUBECTL, LocalServer, running

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: web
        image: nginx:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 80}]
"""

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.io}
spec:
  group: example.io
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1}
              color: {type: string, default: red, enum: [red, blue]}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
  - name: v1beta1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""

WIDGET = '{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"size":3}}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with running(tmp_path_factory.mktemp("state")) as started:
        yield started


def a_deployment(name: str) -> str:
    return DEPLOYMENT.replace("NAME", name)


def test_apply_creates_changes_and_leaves_alone(server: LocalServer) -> None:
    manifest = a_deployment("applied")
    assert server.kubectl("apply", "-f-", stdin=manifest).strip().endswith("created")
    assert server.kubectl("apply", "-f-", stdin=manifest).strip().endswith("unchanged")
    changed = manifest.replace("nginx:1", "nginx:2").replace(', {name: B, value: "2"}', "")
    assert server.kubectl("apply", "-f-", stdin=changed).strip().endswith("configured")
    found = server.get("deployment", "applied")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert [{"name": "A", "value": "1"}] == container["env"]
    assert 2 == found["metadata"]["generation"]


def test_diff_shows_what_apply_would_change(server: LocalServer) -> None:
    server.kubectl("apply", "-f-", stdin=a_deployment("diffed"))
    changed = a_deployment("diffed").replace("nginx:1", "nginx:7")
    code, out, _ = server.try_kubectl("diff", "-f-", stdin=changed)
    assert 1 == code
    assert "nginx:7" in out
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert "nginx:1" == server.kubectl("get", "deployment", "diffed", "-o", image)


def test_tables_have_the_columns_that_users_know(server: LocalServer) -> None:
    server.kubectl("create", "deployment", "tabled", "--image=nginx", "--replicas=2")
    server.kubectl("run", "tabled", "--image=nginx")
    head = server.kubectl("get", "deployment", "tabled").splitlines()[0].split()
    assert ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"] == head
    head = server.kubectl("get", "pod", "-o", "wide").splitlines()[0].split()
    assert ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"] == head[:7]
    row = server.kubectl("get", "pod", "tabled").splitlines()[1].split()
    assert ["tabled", "0/1", "Pending", "0"] == row[:4]
    head = server.kubectl("get", "svc", "-A").splitlines()[0].split()
    assert ["NAMESPACE", "NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"] == head


@pytest.mark.parametrize(
    "words",
    [
        ("create", "namespace", "made"),
        ("create", "configmap", "made", "--from-literal=a=b"),
        ("create", "secret", "generic", "made", "--from-literal=a=b"),
        ("create", "serviceaccount", "made"),
        ("create", "deployment", "made", "--image=nginx", "--port=80"),
        ("create", "job", "made", "--image=busybox", "--", "true"),
        ("create", "cronjob", "made", "--image=busybox", "--schedule=* * * * *"),
        ("create", "role", "made", "--verb=get", "--resource=pods"),
        ("create", "clusterrole", "made", "--verb=get", "--resource=pods"),
        ("create", "rolebinding", "made", "--role=made", "--serviceaccount=default:made"),
        ("create", "poddisruptionbudget", "made", "--selector=app=made", "--min-available=1"),
        ("create", "ingress", "made", "--rule=example.org/=made:80"),
        ("create", "service", "nodeport", "made", "--tcp=80:80"),
        ("create", "quota", "made", "--hard=cpu=1"),
        ("create", "priorityclass", "made", "--value=1"),
    ],
    ids=lambda words: words[1],
)
def test_create_takes_what_kubectl_sends(server: LocalServer, words: tuple[str, ...]) -> None:
    """Since 1.32 kubectl sends these as protobuf."""
    assert "made created" in server.kubectl(*words)


def test_autoscale_takes_what_kubectl_sends(server: LocalServer) -> None:
    server.kubectl("create", "deployment", "scaled", "--image=nginx")
    server.kubectl("autoscale", "deployment", "scaled", "--max=3")
    assert 3 == server.get("hpa", "scaled")["spec"]["maxReplicas"]


def test_protobuf_bodies_keep_every_field(server: LocalServer) -> None:
    server.kubectl("create", "job", "fields", "--image=busybox:1", "--", "echo", "hello")
    found = server.get("job", "fields")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert ["echo", "hello"] == container["command"]
    assert "busybox:1" == container["image"]
    assert 6 == found["spec"]["backoffLimit"]
    assert "fields" == found["spec"]["template"]["metadata"]["labels"]["job-name"]


def test_edits_of_one_object(server: LocalServer) -> None:
    """label, annotate, scale, patch in three forms, set image, rollout restart."""
    server.kubectl("apply", "-f-", stdin=a_deployment("edited"))
    server.kubectl("label", "deployment", "edited", "tier=front")
    server.kubectl("annotate", "deployment", "edited", "note=yes")
    server.kubectl("scale", "deployment", "edited", "--replicas=5")
    server.kubectl("set", "image", "deployment/edited", "web=nginx:3")
    server.kubectl("rollout", "restart", "deployment/edited")
    operation = '[{"op":"add","path":"/metadata/labels/by","value":"json"}]'
    server.kubectl("patch", "deployment", "edited", "--type=json", "-p", operation)
    merge = '{"metadata":{"labels":{"tier":null}}}'
    server.kubectl("patch", "deployment", "edited", "--type=merge", "-p", merge)
    found = server.get("deployment", "edited")
    template = found["spec"]["template"]
    assert {"by": "json"} == found["metadata"]["labels"]
    assert "yes" == found["metadata"]["annotations"]["note"]
    assert 5 == found["spec"]["replicas"]
    assert "nginx:3" == template["spec"]["containers"][0]["image"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    names = server.kubectl("get", "deployment", "-l", "by=json", "-o", "name").split()
    assert ["deployment.apps/edited"] == names


def test_edit_opens_and_saves_the_object(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kubectl("apply", "-f-", stdin=a_deployment("opened"))
    monkeypatch.setenv("EDITOR", "sed -i s/nginx:1/nginx:4/")
    assert "deployment.apps/opened edited" in server.kubectl("edit", "deployment", "opened")


def test_server_side_apply_keeps_owners_apart(server: LocalServer) -> None:
    manifest = a_deployment("owned")
    server.kubectl("apply", "--server-side", "-f-", stdin=manifest)
    other = ("apply", "--server-side", "--field-manager=other", "-f-")
    code, _, err = server.try_kubectl(*other, stdin=manifest.replace("nginx:1", "nginx:2"))
    assert 1 == code
    assert 'conflict with "kubectl": .spec.template.spec.containers[name="web"].image' in err
    server.kubectl(*other, "--force-conflicts", stdin=manifest.replace("nginx:1", "nginx:2"))
    fewer = manifest.replace(', {name: B, value: "2"}', "").replace("        image: nginx:1\n", "")
    server.kubectl("apply", "--server-side", "-f-", stdin=fewer)
    found = server.get("deployment", "owned")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert "nginx:2" == container["image"]
    assert ["A", "B"] == [variable["name"] for variable in container["env"]]


def test_describe_and_explain_print_something_sensible(server: LocalServer) -> None:
    server.kubectl("apply", "-f-", stdin=a_deployment("told"))
    assert "StrategyType:           RollingUpdate" in server.kubectl(
        "describe", "deployment", "told"
    )
    assert "containers" in server.kubectl("explain", "pod.spec")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            '{"apiVersion":"v1","kind":"Foo","metadata":{"name":"a"}}',
            'no matches for kind "Foo" in version "v1"',
        ),
        (
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"BAD_"}}',
            "a lowercase RFC 1123 subdomain",
        ),
        (
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dta":{}}',
            'strict decoding error: unknown field "dta"',
        ),
        (
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":1}}',
            "json: cannot unmarshal number",
        ),
        (
            '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{}]}}',
            "spec.containers[0].name: Required value",
        ),
        (
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"no"}}',
            'namespaces "no" not found',
        ),
        ("apiVersion: v1\n kind: x", "error"),
    ],
)
def test_bad_manifests_get_one_clear_sentence(server: LocalServer, body: str, said: str) -> None:
    code, _, err = server.try_kubectl("create", "-f-", stdin=body)
    assert 0 != code
    assert said in err


def test_a_second_create_says_already_exists(server: LocalServer) -> None:
    server.kubectl("create", "configmap", "twice")
    _, _, err = server.try_kubectl("create", "configmap", "twice")
    assert 'configmaps "twice" already exists' in err


def test_custom_kinds_are_served_at_once(server: LocalServer) -> None:
    server.kubectl("apply", "-f-", stdin=CRD)
    server.kubectl("wait", "--for=condition=Established", "crd/widgets.example.io")
    server.kubectl("apply", "-f-", stdin=WIDGET)
    assert "red" == server.get("wd", "w")["spec"]["color"]
    status = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    server.kubectl("patch", "wd", "w", "--subresource=status", "--type=merge", "-p", status)
    assert ["w", "3", "True"] == server.kubectl("get", "wd").splitlines()[1].split()
    assert "example.io/v1beta1" == server.get("widgets.v1beta1.example.io", "w")["apiVersion"]
    _, _, err = server.try_kubectl("patch", "wd", "w", "--type=merge", "-p", '{"spec":{"size":0}}')
    assert "spec.size in body should be greater than or equal to 1" in err
    server.kubectl("delete", "crd", "widgets.example.io")
    _, _, err = server.try_kubectl("get", "wd")
    assert err


def test_services_get_addresses(server: LocalServer) -> None:
    server.kubectl("create", "deployment", "faced", "--image=nginx")
    server.kubectl("expose", "deployment", "faced", "--port=80", "--type=NodePort")
    spec = server.get("service", "faced")["spec"]
    assert spec["clusterIP"].startswith(("10.9", "10.10", "10.11"))
    assert 30000 <= spec["ports"][0]["nodePort"] < 32768
    assert 80 == spec["ports"][0]["targetPort"]


def test_pods_get_their_token_volume(server: LocalServer) -> None:
    server.kubectl("run", "tokened", "--image=nginx")
    spec = server.get("pod", "tokened")["spec"]
    mount = spec["containers"][0]["volumeMounts"][0]
    assert "/var/run/secrets/kubernetes.io/serviceaccount" == mount["mountPath"]
    sources = spec["volumes"][0]["projected"]["sources"]
    assert ["serviceAccountToken", "configMap", "downwardAPI"] == [next(iter(s)) for s in sources]


def test_permissions_follow_roles(server: LocalServer) -> None:
    server.kubectl("create", "serviceaccount", "reader")
    server.kubectl("create", "role", "reads", "--verb=get,list", "--resource=pods")
    server.kubectl("create", "rolebinding", "r", "--role=reads", "--serviceaccount=default:reader")
    user = "--as=system:serviceaccount:default:reader"
    assert "yes" in server.kubectl("auth", "can-i", "list", "pods", user)
    assert "no" in server.try_kubectl("auth", "can-i", "list", "secrets", user)[1]
    token = server.kubectl("create", "token", "reader").strip()
    with server.client(token) as client:
        assert 200 == client.get("/api/v1/namespaces/default/pods").status_code
        denied = client.get("/api/v1/namespaces/kube-system/pods")
        assert 403 == denied.status_code
        assert (
            'pods is forbidden: User "system:serviceaccount:default:reader" cannot list resource '
            '"pods" in API group "" in the namespace "kube-system"' == denied.json()["message"]
        )


def test_delete_waits_for_finalizers(server: LocalServer) -> None:
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.io/hold"]},
    }
    server.kubectl("create", "-f-", stdin=json.dumps(held))
    server.kubectl("delete", "configmap", "held", "--wait=false")
    assert server.get("configmap", "held")["metadata"]["deletionTimestamp"]
    server.kubectl(
        "patch", "configmap", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    assert "NotFound" in server.try_kubectl("get", "configmap", "held")[2]


def test_namespaces_terminate_in_two_steps(server: LocalServer) -> None:
    server.kubectl("create", "namespace", "ending")
    server.kubectl("delete", "namespace", "ending", "--wait=false")
    assert "Terminating" == server.get("namespace", "ending")["status"]["phase"]
    _, _, err = server.try_kubectl("-n", "ending", "create", "configmap", "late")
    assert "because it is being terminated" in err
    with server.client() as client:
        body = client.get("/api/v1/namespaces/ending").json()
        body["spec"]["finalizers"] = []
        assert 200 == client.put("/api/v1/namespaces/ending/finalize", json=body).status_code
    assert "NotFound" in server.try_kubectl("get", "namespace", "ending")[2]


def test_wait_and_watch_see_changes(server: LocalServer) -> None:
    server.kubectl("create", "deployment", "waited", "--image=nginx")
    server.kubectl("scale", "deployment", "waited", "--replicas=4")
    server.kubectl(
        "wait", "deployment/waited", "--for=jsonpath={.spec.replicas}=4", "--timeout=60s"
    )


def test_objects_survive_a_kill(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        before = server.get("configmap", "kept")
        server.kill()
        server.start()
        assert before == server.get("configmap", "kept")
        server.kubectl("create", "configmap", "later")
        after = server.get("configmap", "later")["metadata"]["resourceVersion"]
        assert int(after) > int(before["metadata"]["resourceVersion"])

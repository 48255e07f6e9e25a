"""An article in English, of release 2.10 on MicroK8s: http-echo called unmeshed, then meshed."""

from __future__ import annotations

import pytest

from tests.walkthroughs.steps import Step, Walk
from tests.walkthroughs.terminal import Terminal

pytestmark = pytest.mark.timeout(1800)

CHECK = """\
kubernetes-api
√ can initialize the client
√ can query the Kubernetes API
kubernetes-version
√ is running the minimum Kubernetes API version
√ is running the minimum kubectl version
linkerd-existence
√ 'linkerd-config' config map exists
√ heartbeat ServiceAccount exist
√ control plane replica sets are ready
√ no unschedulable pods
√ controller pod is running
√ can initialize the client
√ can query the control plane API
linkerd-config
√ control plane Namespace exists
√ control plane ClusterRoles exist
√ control plane ClusterRoleBindings exist
√ control plane ServiceAccounts exist
√ control plane CustomResourceDefinitions exist
√ control plane MutatingWebhookConfigurations exist
√ control plane ValidatingWebhookConfigurations exist
√ control plane PodSecurityPolicies exist
linkerd-identity
√ certificate config is valid
√ trust anchors are using supported crypto algorithm
√ trust anchors are within their validity period
√ trust anchors are valid for at least 60 days
√ issuer cert is using supported crypto algorithm
√ issuer cert is within its validity period
√ issuer cert is valid for at least 60 days
√ issuer cert is issued by the trust anchor
linkerd-webhooks-and-apisvc-tls
√ tap API server has valid cert
√ tap API server cert is valid for at least 60 days
√ proxy-injector webhook has valid cert
√ proxy-injector cert is valid for at least 60 days
√ sp-validator webhook has valid cert
√ sp-validator cert is valid for at least 60 days
linkerd-api
√ control plane pods are ready
√ control plane self-check
√ [kubernetes] control plane can talk to Kubernetes
√ [prometheus] control plane can talk to Prometheus
√ tap api service is running
linkerd-version
√ can determine the latest version
√ cli is up-to-date
control-plane-version
√ control plane and cli versions match
linkerd-prometheus
√ prometheus add-on service account exists
√ prometheus add-on config map exists
√ prometheus pod is running
linkerd-grafana
√ grafana add-on service account exists
√ grafana add-on config map exists
√ grafana pod is running
Status check results are √
"""
HTTP_ECHO = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: http-echo
  namespace: linkerd-test
spec:
  replicas: 1
  selector:
    matchLabels:
      run: http-echo
  template:
    metadata:
      labels:
        run: http-echo
    spec:
      containers:
      - name: http-echo
        image: hashicorp/http-echo
        ports:
        - containerPort: 80
        args:
        - -listen=:80
        - --text=Hello from http-echo
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: http-echo
  namespace: linkerd-test
  labels:
    run: http-echo
spec:
  ports:
  - port: 80
    protocol: TCP
  selector:
    run: http-echo
"""
UBUNTU = """\
apiVersion: v1
kind: Pod
metadata:
  name: ubuntu
  namespace: linkerd-test
  labels:
    app: ubuntu
spec:
  containers:
  - name: ubuntu
    image: ubuntu
    command:
    - "sleep"
    - "604800"
    imagePullPolicy: IfNotPresent
  restartPolicy: Always
"""
HTTP_ECHO_INJECTED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
name: http-echo
namespace: linkerd-test
spec:
replicas: 1
selector:
matchLabels:
run: http-echo
template:
metadata:
annotations:
linkerd.io/inject: enabled
labels:
run: http-echo
spec:
containers:
- args:
- -listen=:80
- --text=Hello from http-echo
image: hashicorp/http-echo
name: http-echo
ports:
- containerPort: 80
"""
SERVICE_INJECTED = """\
apiVersion: v1
kind: Service
metadata:
name: http-echo
namespace: linkerd-test
labels:
run: http-echo
spec:
ports:
- port: 80
protocol: TCP
selector:
run: http-echo
"""
UBUNTU_INJECTED = """\
apiVersion: v1
kind: Pod
metadata:
annotations:
linkerd.io/inject: enabled
labels:
app: ubuntu
name: ubuntu
namespace: linkerd-test
spec:
containers:
- command:
- sleep
- "604800"
image: ubuntu
imagePullPolicy: IfNotPresent
name: ubuntu
restartPolicy: Always
"""
EXEC = "microk8s kubectl --namespace linkerd-test exec ubuntu -it --container=ubuntu -- /bin/bash"
APT = "curl is in the image already, so `apt-get update`, `apt-get install curl -y` are not typed"
APPLY = "microk8s kubectl apply -f -"
INJECT = "microk8s linkerd inject -"
NAMESPACE = "kind: Namespace\napiVersion: v1\nmetadata:\n  name: linkerd-test\n"
READY = Step(
    "kubectl wait -n linkerd-test --for=condition=Ready pod --all --timeout=60s",
    added="a reader waits",
)


def heredoc(command: str, manifest: str) -> str:
    """Returns the command line that the document prints for a manifest."""
    return f"cat <<EOF | {command}\n{manifest}EOF"


WALK = Walk(
    "Service Mesh with Linkerd on MicroK8s (2.10)",
    "English. The manifests lost their line breaks in the document and have them again here; lines "
    "are compared without indentation.",
    [
        Step("linkerd local start", added="the document's readers have a cluster already"),
        Step(
            "microk8s enable linkerd",
            replaced="the add-on is `linkerd install` and `linkerd viz install`",
        ),
        Step("microk8s linkerd check", CHECK, any_order=True),
        Step(
            "microk8s linkerd dashboard",
            """\
Linkerd dashboard available at:
http://localhost:50750
Grafana dashboard available at:
http://localhost:50750/grafana
Opening Linkerd dashboard in the default browser
""",
            background=True,
            then=["curl -fs http://localhost:50750"],
        ),
        Step(
            "microk8s kubectl apply -f "
            "https://raw.githubusercontent.com/linkerd/linkerd-viz/master/k8s/linkerd-viz.yml",
            replaced="linkerd-viz of Linkerd 1 is the viz extension now",
        ),
        Step(heredoc(APPLY, NAMESPACE), "namespace/linkerd-test created"),
        Step(heredoc(APPLY, HTTP_ECHO), "deployment.apps/http-echo created"),
        Step(heredoc(APPLY, SERVICE), "service/http-echo created"),
        Step(heredoc(APPLY, UBUNTU), "pod/ubuntu created"),
        READY,
        Step(EXEC, "Hello from http-echo", typed=["curl http://http-echo"], replaced=APT),
        Step(heredoc(INJECT, HTTP_ECHO), HTTP_ECHO_INJECTED),
        Step(heredoc(f"{INJECT} | {APPLY}", HTTP_ECHO), "deployment.apps/http-echo configured"),
        Step(heredoc(INJECT, SERVICE), SERVICE_INJECTED),
        Step(heredoc(f"{INJECT} | {APPLY}", SERVICE), "service/http-echo unchanged"),
        Step(heredoc(INJECT, UBUNTU), UBUNTU_INJECTED),
        Step(
            "microk8s kubectl delete pod ubuntu -n linkerd-test --grace-period=1",
            added="a pod gets its proxy when it is created: the one without must go first",
        ),
        Step(heredoc(f"{INJECT} | {APPLY}", UBUNTU), "pod/ubuntu created"),
        Step(
            "kubectl get pods -n linkerd-test",
            """\
NAME                         READY   STATUS    RESTARTS   AGE
http-echo-5d8b5bd77c-6vqvt   2/2     Running   0          91s
ubuntu                       2/2     Running   0          91s
""",
            reruns=True,
            added="the document looks at the dashboard here",
        ),
        Step(
            EXEC,
            "\n".join(["Hello from http-echo"] * 10),
            typed=["curl http://http-echo"] * 10,
        ),
    ],
    clicks={
        "Dashboard: the linkerd row's Grafana link, Top Line, Service Metrics, Per-Instance Metrics": (
            "test_documents.py::test_the_grafana_column_leads_to_the_top_line"
        ),
        "Dashboard: the namespace linkerd-test, unmeshed and meshed": (
            "test_documents.py::test_unmeshed_workloads_say_how_to_mesh_them"
        ),
        "Dashboard: the pods ubuntu and http-echo": (
            "test_documents.py::test_the_articles_pods_show_who_called_whom"
        ),
        "Grafana: the dashboards of both pods": (
            "test_documents.py::test_the_articles_pods_show_who_called_whom"
        ),
    },
)


def test_the_document_runs_as_printed(terminal: Terminal) -> None:
    terminal.walk(WALK)

"""A blog in Japanese, of release 2.8: the dashboard still belongs to the control plane."""

from __future__ import annotations

import pytest

from tests.walkthroughs.steps import Step, Walk
from tests.walkthroughs.terminal import Terminal

pytestmark = pytest.mark.timeout(1800)

CHECK_PRE = """\
kubernetes-api
--------------
√ can initialize the client
√ can query the Kubernetes API
kubernetes-version
------------------
√ is running the minimum Kubernetes API version
√ is running the minimum kubectl version
pre-kubernetes-setup
--------------------
√ control plane namespace does not already exist
√ can create non-namespaced resources
√ can create ServiceAccounts
√ can create Services
√ can create Deployments
√ can create CronJobs
√ can create ConfigMaps
√ can create Secrets
√ can read Secrets
√ can read extension-apiserver-authentication configmap
√ no clock skew detected
pre-kubernetes-capability
-------------------------
√ has NET_ADMIN capability
√ has NET_RAW capability
linkerd-version
---------------
√ can determine the latest version
√ cli is up-to-date
Status check results are √
"""
INSTALL = """\
---
###
### Linkerd Namespace
###
---
kind: Namespace
apiVersion: v1
metadata:
name: linkerd
annotations:
linkerd.io/inject: disabled
labels:
linkerd.io/is-control-plane: "true"
config.linkerd.io/admission-webhooks: disabled
linkerd.io/control-plane-ns: linkerd
...
(中略)
...
- configMap:
items:
- key: grafana.ini
path: grafana.ini
- key: datasources.yaml
path: provisioning/datasources/datasources.yaml
- key: dashboards.yaml
path: provisioning/dashboards/dashboards.yaml
name: linkerd-grafana-config
name: grafana-config
- emptyDir:
medium: Memory
name: linkerd-identity-end-entity
"""
_LEFT_OUT = "the document leaves lines out here"
_COMMENT = "a comment"
_GRAFANA = "Grafana left the extension with 2.12"
INSTALL_GONE = {
    "###": _COMMENT,
    "### Linkerd Namespace": _COMMENT,
    "...": _LEFT_OUT,
    "(中略)": _LEFT_OUT,
    "- configMap:": _GRAFANA,
    "items:": _GRAFANA,
    "- key: grafana.ini": _GRAFANA,
    "path: grafana.ini": _GRAFANA,
    "- key: datasources.yaml": _GRAFANA,
    "path: provisioning/datasources/datasources.yaml": _GRAFANA,
    "- key: dashboards.yaml": _GRAFANA,
    "path: provisioning/dashboards/dashboards.yaml": _GRAFANA,
    "name: linkerd-grafana-config": _GRAFANA,
    "name: grafana-config": _GRAFANA,
}
CHECK = """\
kubernetes-api
--------------
√ can initialize the client
√ can query the Kubernetes API
kubernetes-version
------------------
√ is running the minimum Kubernetes API version
√ is running the minimum kubectl version
linkerd-existence
-----------------
√ 'linkerd-config' config map exists
√ heartbeat ServiceAccount exist
√ control plane replica sets are ready
√ no unschedulable pods
√ controller pod is running
√ can initialize the client
√ can query the control plane API
linkerd-config
--------------
√ control plane Namespace exists
√ control plane ClusterRoles exist
√ control plane ClusterRoleBindings exist
√ control plane ServiceAccounts exist
√ control plane CustomResourceDefinitions exist
√ control plane MutatingWebhookConfigurations exist
√ control plane ValidatingWebhookConfigurations exist
√ control plane PodSecurityPolicies exist
√ control plane PodSecurityPolicies exist
linkerd-identity
----------------
√ certificate config is valid
√ trust anchors are using supported crypto algorithm
√ trust anchors are within their validity period
√ trust anchors are valid for at least 60 days
√ issuer cert is using supported crypto algorithm
√ issuer cert is within its validity period
√ issuer cert is valid for at least 60 days
√ issuer cert is issued by the trust anchor
linkerd-api
-----------
√ control plane pods are ready
√ control plane self-check
√ [kubernetes] control plane can talk to Kubernetes
√ [prometheus] control plane can talk to Prometheus
√ tap api service is running
linkerd-version
---------------
√ can determine the latest version
√ cli is up-to-date
control-plane-version
---------------------
√ control plane is up-to-date
√ control plane and cli versions match
linkerd-addons
--------------
'linkerd-config-addons' config map exists
linkerd-grafana
---------------
√ grafana add-on service account exists
√ grafana add-on config map exists
√ grafana pod is running
Status check results are √
"""

WALK = Walk(
    "Linkerdで始めるサービスメッシュ (2.8)",
    "Japanese. The document's manifests lost their indentation, and one line of `linkerd check` its "
    "mark; lines are compared without indentation and with the mark.",
    [
        Step("linkerd local start", added="the document's readers have a cluster already"),
        Step(
            "kubectl version --short",
            "Client Version: v1.16.6-beta.0\nServer Version: v1.15.12-gke.20",
            replaced="the flag went with kubectl 1.28; `kubectl version` prints the same lines",
        ),
        Step("brew install linkerd", replaced="the command is installed already"),
        Step("linkerd version", "Client version: stable-2.8.1\nServer version: unavailable"),
        Step("linkerd check --pre", CHECK_PRE),
        Step("linkerd install", INSTALL, INSTALL_GONE, any_order=True),
        Step("linkerd install | kubectl apply -f -"),
        Step("linkerd check", CHECK, any_order=True),
        Step(
            "linkerd viz install | kubectl apply -f -",
            added="since 2.10 the dashboard is an extension",
        ),
        Step(
            "linkerd dashboard &",
            """\
http://localhost:50750
Grafana dashboard available at:
http://localhost:50750/grafana
Opening Linkerd dashboard in the default browser
""",
            background=True,
            then=["curl -fs http://localhost:50750"],
        ),
        Step(
            "curl -sL https://run.linkerd.io/emojivoto.yml | kubectl apply -f -",
            replaced="the manifests come from `demo/emojivoto/emojivoto.yml`",
        ),
        Step(
            "kubectl get po -n emojivoto",
            """\
NAME READY STATUS RESTARTS AGE
emoji-58d98d997c-vmfkq 1/1 Running 0 3m14s
vote-bot-54d5ff884-55xpf 1/1 Running 0 3m13s
voting-7d5c4f77d-rzqg4 1/1 Running 0 3m11s
web-7bd5fcb58b-85z9g 1/1 Running 0 3m10s
""",
            reruns=True,
        ),
        Step(
            "kubectl -n emojivoto port-forward svc/web-svc 8080:80",
            background=True,
            then=["curl -fs http://localhost:8080"],
        ),
        Step(
            r"""kubectl get -n emojivoto deploy -o yaml \
| linkerd inject - \
| kubectl apply -f -""",
        ),
        Step(
            "kubectl get po -n emojivoto",
            """\
NAME READY STATUS RESTARTS AGE
emoji-64784ff78d-dcmhz 2/2 Running 0 3m10s
vote-bot-779769dcfc-5krf6 2/2 Running 0 3m9s
voting-784769cf6f-4sd77 2/2 Running 0 3m9s
web-86cbd9db6c-b2sr8 2/2 Running 0 3m8s
""",
            reruns=True,
        ),
    ],
    clicks={
        "Dashboard: the namespaces before and after injection": (
            "test_documents.py::test_the_namespaces_show_what_is_meshed_and_how_it_does"
        ),
        "emojivoto's page, a vote for the doughnut": (
            "test_documents.py::test_a_vote_counts_and_the_doughnut_fails"
        ),
        "Grafana": ("test_documents.py::test_the_grafana_column_leads_to_the_top_line"),
    },
)


def test_the_document_runs_as_printed(terminal: Terminal) -> None:
    terminal.walk(WALK)

"""A quick start in Chinese, of release 2.11: from `kubectl version` to the dashboard's Ingress."""

from __future__ import annotations

import pytest

from tests.walkthroughs.steps import Step, Walk
from tests.walkthroughs.terminal import Terminal

pytestmark = pytest.mark.timeout(1800)

CHECK_PRE = """\
Linkerd core checks
===================
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
linkerd-version
---------------
√ can determine the latest version
‼ cli is up-to-date
    is running version 2.11.1 but the latest stable version is 2.11.4
    see https://linkerd.io/2.11/checks/#l5d-version-cli for hints
Status check results are √
"""
CHECK = """\
Linkerd core checks
===================
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
√ control plane pods are ready
√ cluster networks contains all node podCIDRs
linkerd-config
--------------
√ control plane Namespace exists
√ control plane ClusterRoles exist
√ control plane ClusterRoleBindings exist
√ control plane ServiceAccounts exist
√ control plane CustomResourceDefinitions exist
√ control plane MutatingWebhookConfigurations exist
√ control plane ValidatingWebhookConfigurations exist
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
linkerd-webhooks-and-apisvc-tls
-------------------------------
√ proxy-injector webhook has valid cert
√ proxy-injector cert is valid for at least 60 days
√ sp-validator webhook has valid cert
√ sp-validator cert is valid for at least 60 days
√ policy-validator webhook has valid cert
√ policy-validator cert is valid for at least 60 days
linkerd-version
---------------
√ can determine the latest version
‼ cli is up-to-date
    is running version 2.11.1 but the latest stable version is 2.11.4
    see https://linkerd.io/2.11/checks/#l5d-version-cli for hints
control-plane-version
---------------------
√ can retrieve the control plane version
‼ control plane is up-to-date
    is running version 2.11.1 but the latest stable version is 2.11.4
    see https://linkerd.io/2.11/checks/#l5d-version-control for hints
√ control plane and cli versions match
linkerd-control-plane-proxy
---------------------------
√ control plane proxies are healthy
‼ control plane proxies are up-to-date
    some proxies are not running the current version:
        * linkerd-destination-79d6fc496f-dcgfx (stable-2.11.1)
        * linkerd-identity-6b78ff444f-jwp47 (stable-2.11.1)
        * linkerd-proxy-injector-86f7f649dc-v576m (stable-2.11.1)
    see https://linkerd.io/2.11/checks/#l5d-cp-proxy-version for hints
√ control plane proxies and cli versions match
Status check results are √
"""
CHECK_PROXY = """\
Linkerd core checks
===================
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
√ control plane pods are ready
√ cluster networks contains all node podCIDRs
linkerd-config
--------------
√ control plane Namespace exists
√ control plane ClusterRoles exist
√ control plane ClusterRoleBindings exist
√ control plane ServiceAccounts exist
√ control plane CustomResourceDefinitions exist
√ control plane MutatingWebhookConfigurations exist
√ control plane ValidatingWebhookConfigurations exist
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
linkerd-webhooks-and-apisvc-tls
-------------------------------
√ proxy-injector webhook has valid cert
√ proxy-injector cert is valid for at least 60 days
√ sp-validator webhook has valid cert
√ sp-validator cert is valid for at least 60 days
√ policy-validator webhook has valid cert
√ policy-validator cert is valid for at least 60 days
linkerd-identity-data-plane
---------------------------
√ data plane proxies certificate match CA
linkerd-version
---------------
√ can determine the latest version
‼ cli is up-to-date
    is running version 2.11.1 but the latest stable version is 2.11.4
    see https://linkerd.io/2.11/checks/#l5d-version-cli for hints
linkerd-control-plane-proxy
---------------------------
√ control plane proxies are healthy
‼ control plane proxies are up-to-date
    some proxies are not running the current version:
        * linkerd-destination-79d6fc496f-dcgfx (stable-2.11.1)
        * linkerd-identity-6b78ff444f-jwp47 (stable-2.11.1)
        * linkerd-proxy-injector-86f7f649dc-v576m (stable-2.11.1)
    see https://linkerd.io/2.11/checks/#l5d-cp-proxy-version for hints
√ control plane proxies and cli versions match
linkerd-data-plane
------------------
√ data plane namespace exists
√ data plane proxies are ready
‼ data plane is up-to-date
    some proxies are not running the current version:
        * emoji-696d9d8f95-8wrmg (stable-2.11.1)
        * vote-bot-6d7677bb68-c98kb (stable-2.11.1)
        * voting-ff4c54b8d-rdtmk (stable-2.11.1)
        * web-5f86686c4d-qh5bz (stable-2.11.1)
    see https://linkerd.io/2.11/checks/#l5d-data-plane-version for hints
√ data plane and cli versions match
√ data plane pod labels are configured correctly
√ data plane service labels are configured correctly
√ data plane service annotations are configured correctly
√ opaque ports are properly annotated
Status check results are √
"""
EMOJIVOTO_CREATED = """\
namespace/emojivoto created
serviceaccount/emoji created
serviceaccount/voting created
serviceaccount/web created
service/emoji-svc created
service/voting-svc created
service/web-svc created
deployment.apps/emoji created
deployment.apps/vote-bot created
deployment.apps/voting created
deployment.apps/web created
"""
EMOJIVOTO_INJECTED = """\
deployment "emoji" injected
deployment "vote-bot" injected
deployment "voting" injected
deployment "web" injected

deployment.apps/emoji configured
deployment.apps/vote-bot configured
deployment.apps/voting configured
deployment.apps/web configured
"""
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web-ingress
  namespace: linkerd-viz
  annotations:
    nginx.ingress.kubernetes.io/upstream-vhost: $service_name.$namespace.svc.cluster.local:8084
    nginx.ingress.kubernetes.io/configuration-snippet: |
      proxy_set_header Origin "";
      proxy_hide_header l5d-remote-ip;
      proxy_hide_header l5d-server-id;
spec:
  ingressClassName: nginx
  rules:
    - host: linkerd.k8s.local
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  number: 8084
"""
HELM = "`linkerd install` renders the same charts with the same flags, `kubectl apply` installs"
AGAIN = "the document installs once more, another way"
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 "
    "-addext keyUsage=critical,keyCertSign"
)
GRAFANA = "grafana-8d54d5f6d-wwtdz         2/2     Running   0          3h1m"
BUNDLED = "the manifests come from `demo/emojivoto/emojivoto.yml`"

WALK = Walk(
    "Linkerd Service Mesh 快速上手 (2.11)",
    "Chinese. Spaces that do not break, which no shell splits at, are plain ones here.",
    [
        Step("linkerd local start", added="the document's readers have a cluster already"),
        Step(
            "kubectl version --short",
            "Client Version: v1.23.5\nServer Version: v1.22.8",
            replaced="the flag went with kubectl 1.28; `kubectl version` prints the same lines",
        ),
        Step(
            "curl --proto '=https' --tlsv1.2 -sSfL https://run.linkerd.io/install | sh",
            replaced="the command is installed already",
        ),
        Step("brew install linkerd", replaced="the command is installed already"),
        Step("linkerd  version", "Client version: stable-2.11.1\nServer version: unavailable"),
        Step("linkerd check --pre", CHECK_PRE),
        Step("linkerd install | kubectl apply -f -"),
        Step(
            "kubectl get pods -n linkerd",
            """\
NAME                                      READY   STATUS    RESTARTS       AGE
linkerd-destination-79d6fc496f-dcgfx      4/4     Running   0              166m
linkerd-identity-6b78ff444f-jwp47         2/2     Running   0              166m
linkerd-proxy-injector-86f7f649dc-v576m   2/2     Running   0              166m
""",
            reruns=True,
        ),
        Step("linkerd check", CHECK),
        Step("linkerd uninstall | kubectl delete -f -", added=AGAIN),
        Step(
            f"{CERTIFICATE} -subj /CN=root.linkerd.cluster.local -keyout ca.key -out ca.crt",
            added="the document's readers have certificates already",
        ),
        Step(
            f"{CERTIFICATE} -subj /CN=identity.linkerd.cluster.local -CA ca.crt -CAkey ca.key "
            "-keyout issuer.key -out issuer.crt",
            added="the document's readers have certificates already",
        ),
        Step(
            "helm repo add linkerd https://helm.linkerd.io/stable",
            replaced="the charts are those of this repository",
        ),
        Step("""exp=$(date -d '+8760 hour' +"%Y-%m-%dT%H:%M:%SZ")"""),
        Step(
            r"""helm install linkerd2 \
  --set-file identityTrustAnchorsPEM=ca.crt \
  --set-file identity.issuer.tls.crtPEM=issuer.crt \
  --set-file identity.issuer.tls.keyPEM=issuer.key \
  --set identity.issuer.crtExpiry=$exp \
  linkerd/linkerd2""",
            replaced=HELM,
        ),
        Step("linkerd uninstall | kubectl delete -f -", added=AGAIN),
        Step(
            "helm fetch --untar linkerd/linkerd2",
            replaced="the charts are those of this repository",
        ),
        Step(
            r"""helm install linkerd2 \
  --set-file identityTrustAnchorsPEM=ca.crt \
  --set-file identity.issuer.tls.crtPEM=issuer.crt \
  --set-file identity.issuer.tls.keyPEM=issuer.key \
  --set identity.issuer.crtExpiry=$exp \
  -f linkerd2/values-ha.yaml \
  linkerd/linkerd2""",
            replaced=HELM,
        ),
        Step("kubectl -n linkerd rollout status deploy", added="a reader waits"),
        Step("linkerd version", "Client version: stable-2.11.1\nServer version: stable-2.11.1"),
        Step(
            "curl -fsL https://run.linkerd.io/emojivoto.yml | kubectl apply -f -",
            EMOJIVOTO_CREATED,
            replaced=BUNDLED,
        ),
        Step(
            "kubectl get pods -n emojivoto",
            """\
NAME                        READY   STATUS    RESTARTS   AGE
emoji-66ccdb4d86-6vqvt      1/1     Running   0          91s
vote-bot-69754c864f-k26fb   1/1     Running   0          91s
voting-f999bd4d7-k44nb      1/1     Running   0          91s
web-79469b946f-bz295        1/1     Running   0          91s
""",
            reruns=True,
        ),
        Step(
            "kubectl get svc -n emojivoto",
            """\
NAME         TYPE        CLUSTER-IP       EXTERNAL-IP   PORT(S)             AGE
emoji-svc    ClusterIP   10.111.7.125     <none>        8080/TCP,8801/TCP   2m49s
voting-svc   ClusterIP   10.105.192.118   <none>        8080/TCP,8801/TCP   2m48s
web-svc      ClusterIP   10.111.236.171   <none>        80/TCP              2m48s
""",
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
            EMOJIVOTO_INJECTED,
        ),
        Step(
            "kubectl get pods -n emojivoto",
            """\
NAME                        READY   STATUS    RESTARTS   AGE
emoji-696d9d8f95-8wrmg      2/2     Running   0          34m
vote-bot-6d7677bb68-c98kb   2/2     Running   0          34m
voting-ff4c54b8d-rdtmk      2/2     Running   0          34m
web-5f86686c4d-qh5bz        2/2     Running   0          34m
""",
            reruns=True,
        ),
        Step("linkerd -n emojivoto check --proxy", CHECK_PROXY),
        Step("linkerd viz install | kubectl apply -f -"),
        Step(
            "kubectl get pods -n linkerd-viz",
            f"""\
NAME                            READY   STATUS    RESTARTS   AGE
{GRAFANA}
metrics-api-6c59967bf4-pjwdq    2/2     Running   0          4h22m
prometheus-7bbc4d8c5b-5rc8r     2/2     Running   0          4h22m
tap-599c774dfb-m2kqz            2/2     Running   0          4h22m
tap-injector-748d54b7bc-jvshs   2/2     Running   0          4h22m
web-db97ff489-5599v             2/2     Running   0          4h22m
""",
            gone={GRAFANA: "Grafana left the extension with 2.12"},
            reruns=True,
        ),
        Step(
            "linkerd viz dashboard &",
            background=True,
            then=["curl -fs http://localhost:50750"],
        ),
        Step(
            f"kubectl apply -f - <<'EOF'\n{INGRESS}EOF",
            "ingress.networking.k8s.io/web-ingress created",
        ),
    ],
    clicks={
        "emojivoto's page, a vote for the doughnut": (
            "test_documents.py::test_a_vote_counts_and_the_doughnut_fails"
        ),
        "Dashboard: namespaces, live metrics, the generated topology": (
            "test_documents.py::test_the_topology_spans_namespaces"
        ),
        "Dashboard: the Grafana link": (
            "test_documents.py::test_a_pods_grafana_shows_both_directions"
        ),
        "http://linkerd.k8s.local through the Ingress": (
            "test_behind_nginx.py::test_the_dashboard_works_behind_an_ingress"
        ),
    },
)


def test_the_document_runs_as_printed(terminal: Terminal) -> None:
    terminal.walk(WALK)

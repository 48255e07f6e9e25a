"""A blog in German, of release 2.10; its listings were lost."""

from __future__ import annotations

import pytest

from tests.walkthroughs.steps import Step, Walk
from tests.walkthroughs.terminal import Terminal

pytestmark = pytest.mark.timeout(1800)

STATUS = "Status check results are √"
TAPPED = """\
req id=970511888:0 proxy=in  src=10.244.0.25:32826 dst=10.244.0.24:8080 tls=true :method=GET \
:authority=web-svc.emojivoto :path=/api/list
"""
INJECTED = """\
deployment "emoji" injected
deployment "vote-bot" injected
deployment "voting" injected
deployment "web" injected
"""

WALK = Walk(
    "Linkerd, ein Service Mesh (2.10)",
    "German. The document's listings did not survive: the commands are those of its release that "
    "the text describes, the lines those that the text quotes.",
    [
        Step("kind create cluster", replaced="`linkerd local start` makes the cluster"),
        Step(
            "curl -fsL https://run.linkerd.io/install | sh",
            replaced="the command is installed already",
        ),
        Step("linkerd check --pre", STATUS),
        Step("linkerd install | kubectl apply -f -"),
        Step("linkerd check", STATUS),
        Step("linkerd viz install | kubectl apply -f -"),
        Step("linkerd check", STATUS),
        Step(
            "linkerd viz dashboard &",
            background=True,
            then=["curl -fs http://localhost:50750"],
        ),
        Step(
            "curl -fsL https://run.linkerd.io/emojivoto.yml | kubectl apply -f -",
            replaced="the manifests come from `demo/emojivoto/emojivoto.yml`",
        ),
        Step("kubectl -n emojivoto rollout status deploy", added="a reader waits"),
        Step(
            "kubectl -n emojivoto port-forward svc/web-svc 8080:80",
            background=True,
            then=["curl -fs http://localhost:8080"],
        ),
        Step(
            "kubectl get -n emojivoto deploy -o yaml | linkerd inject - | kubectl apply -f -",
            INJECTED,
        ),
        Step("kubectl -n emojivoto rollout status deploy", added="a reader waits"),
        Step(
            "kubectl -n emojivoto get pod -l app=web-svc -o yaml",
            "linkerd.io/inject: enabled",
            reruns=True,
        ),
        Step("linkerd -n emojivoto check --proxy", STATUS),
        Step(
            "linkerd -n emojivoto viz stat deploy",
            "NAME MESHED SUCCESS RPS LATENCY_P50 LATENCY_P95 LATENCY_P99 TCP_CONN",
            reruns=True,
        ),
        Step(
            "linkerd -n emojivoto viz top deploy",
            "Source Destination Method Path Count Best Worst Last Success Rate",
            contains=["GET     /api/list", "100.00%"],
            background=True,
            screen=True,
        ),
        Step("linkerd -n emojivoto viz tap deploy/web", TAPPED, background=True),
    ],
    clicks={
        "Dashboard: the namespaces, emojivoto without and with metrics": (
            "test_documents.py::test_the_namespaces_show_what_is_meshed_and_how_it_does"
        ),
        "Dashboard: the namespace's page, deployments and pods": (
            "test_documents.py::test_from_the_namespace_to_the_failing_call"
        ),
        "Dashboard: Top": ("test_documents.py::test_top_counts_requests_by_path"),
        "Dashboard: Tap": (
            "test_documents.py::test_tap_shows_single_requests_with_all_that_is_known"
        ),
        "emojivoto's page": ("test_documents.py::test_a_vote_counts_and_the_doughnut_fails"),
    },
)


def test_the_document_runs_as_printed(terminal: Terminal) -> None:
    terminal.walk(WALK)

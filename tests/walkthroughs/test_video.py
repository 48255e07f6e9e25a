"""The captions of a video, of release 2.9: install, check, dashboard, emojivoto, stat."""

from __future__ import annotations

import pytest

from tests.walkthroughs.steps import Step, Walk
from tests.walkthroughs.terminal import Terminal

pytestmark = pytest.mark.timeout(1800)

STATUS = "Status check results are √"
BUNDLED = "the manifests come from `demo/emojivoto/emojivoto.yml`"
INJECTED = """\
deployment "emoji" injected
deployment "vote-bot" injected
deployment "voting" injected
deployment "web" injected
"""

WALK = Walk(
    "Service Mesh 101: an introduction with Linkerd (2.9, video)",
    "English. The commands are spoken; the lines are those that the speaker reads.",
    [
        Step("linkerd local start", added="the video's viewers have a cluster already"),
        Step(
            "curl -sL https://run.linkerd.io/install | sh",
            replaced="the command is installed already",
        ),
        Step("linkerd version", "Client version: stable-2.9.0\nServer version: unavailable"),
        Step("linkerd check --pre", STATUS),
        Step("linkerd install", "kind: Namespace"),
        Step("linkerd install | kubectl apply -f -"),
        Step("linkerd check", STATUS),
        Step(
            "linkerd viz install | kubectl apply -f -",
            added="since 2.10 the dashboard is an extension",
        ),
        Step(
            "linkerd dashboard",
            "Opening Linkerd dashboard in the default browser",
            background=True,
            then=["curl -fs http://localhost:50750"],
        ),
        Step(
            "curl -sL https://run.linkerd.io/emojivoto.yml | kubectl apply -f -",
            "namespace/emojivoto created",
            replaced=BUNDLED,
        ),
        Step("kubectl -n emojivoto rollout status deploy", added="a viewer waits"),
        Step(
            "kubectl -n emojivoto port-forward svc/web-svc 8080:80",
            background=True,
            then=["curl -fs http://localhost:8080"],
        ),
        Step(
            "curl -sL https://run.linkerd.io/emojivoto.yml | linkerd inject - | kubectl apply -f -",
            INJECTED,
            replaced=BUNDLED,
        ),
        Step(
            "linkerd -n emojivoto stat deploy",
            "NAME MESHED SUCCESS RPS LATENCY_P50 LATENCY_P95 LATENCY_P99 TCP_CONN",
            reruns=True,
        ),
    ],
    clicks={
        "Dashboard: namespaces with metrics, emojivoto 0/4 and 4/4 meshed": (
            "test_documents.py::test_the_namespaces_show_what_is_meshed_and_how_it_does"
        ),
        "emojivoto's page, a vote, the leaderboard": (
            "test_documents.py::test_a_vote_counts_and_the_doughnut_fails"
        ),
        "Dashboard: the namespace's map, the deployment web, its edges and live calls": (
            "test_documents.py::test_from_the_namespace_to_the_failing_call"
        ),
    },
)


def test_the_document_runs_as_printed(terminal: Terminal) -> None:
    terminal.walk(WALK)

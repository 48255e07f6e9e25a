"""Admission webhooks, tokens and the node's streams of a real server process.

The webhook and the node are real servers of their own, made here.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.wire.local_server import LocalServer, running

PODS = "/api/v1/namespaces/default/pods"
REVIEWS = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with running(tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client
        for plural in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
            client.delete(f"{REVIEWS}/{plural}")
        client.request("DELETE", PODS)


class Hook:
    """A webhook that keeps what it was asked and answers what the test says."""

    def __init__(self, server: LocalServer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.response: dict[str, Any] = {"allowed": True}
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked.append(review["request"])
                response = {"uid": review["request"]["uid"], **hook.response}
                body = json.dumps({**review, "response": response}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The server's own certificate names localhost and is signed by a CA at hand.
        pki = server.paths.pki
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.bundle = base64.b64encode(server.paths.ca_cert.read_bytes()).decode()
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def configuration(self, kind: str, **more: Any) -> dict[str, Any]:
        port = self.http.server_address[1]
        client = {"url": f"https://localhost:{port}/hook", "caBundle": self.bundle}
        rule = {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
        }
        hook = {
            "name": "hook.example.io",
            "clientConfig": client,
            "rules": [rule],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 2,
        }
        return {"kind": kind, "metadata": {"name": "hook"}, "webhooks": [{**hook, **more}]}

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def hook(server: LocalServer) -> Iterator[Hook]:
    made = Hook(server)
    yield made
    made.close()


def configure(client: httpx2.Client, hook: Hook, kind: str, **more: Any) -> None:
    plural = kind.lower() + "s"
    answer = client.post(f"{REVIEWS}/{plural}", json=hook.configuration(kind, **more))
    assert 201 == answer.status_code, answer.text


def a_pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }


def a_patch(*operations: dict[str, Any]) -> dict[str, Any]:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def test_mutating_webhook_changes_the_object(client: httpx2.Client, hook: Hook) -> None:
    configure(client, hook, "MutatingWebhookConfiguration")
    sidecar = {"name": "proxy", "image": "proxy:1"}
    hook.response = a_patch({"op": "add", "path": "/spec/containers/-", "value": sidecar})
    pod = client.post(PODS, json=a_pod("mutated")).json()
    assert ["app", "proxy"] == [c["name"] for c in pod["spec"]["containers"]]
    assert "IfNotPresent" == pod["spec"]["containers"][1]["imagePullPolicy"]


def test_webhook_sees_defaults_and_the_token_volume(client: httpx2.Client, hook: Hook) -> None:
    """Injectors copy the token's mount, so it must be there before they are asked."""
    configure(client, hook, "MutatingWebhookConfiguration")
    client.post(PODS, json=a_pod("seen"))
    request = hook.asked[0]
    assert ("CREATE", "default", "seen") == (
        request["operation"],
        request["namespace"],
        request["name"],
    )
    assert "kubernetes-admin" == request["userInfo"]["username"]
    assert request["object"]["spec"]["containers"][0]["volumeMounts"]
    assert {"group": "", "version": "v1", "kind": "Pod"} == request["kind"]


def test_validating_webhook_refuses(client: httpx2.Client, hook: Hook) -> None:
    configure(client, hook, "ValidatingWebhookConfiguration")
    hook.response = {"allowed": False, "status": {"message": "not today", "code": 400}}
    answer = client.post(PODS, json=a_pod("refused"))
    assert 400 == answer.status_code
    assert (
        'admission webhook "hook.example.io" denied the request: not today'
        == answer.json()["message"]
    )
    assert 404 == client.get(f"{PODS}/refused").status_code


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({"objectSelector": {"matchLabels": {"inject": "yes"}}}, 1),
        ({"objectSelector": {"matchLabels": {"inject": "no"}}}, 0),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, 1),
        (
            {
                "namespaceSelector": {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/metadata.name",
                            "operator": "NotIn",
                            "values": ["default"],
                        }
                    ]
                }
            },
            0,
        ),
    ],
)
def test_selectors_decide_who_is_asked(
    client: httpx2.Client, hook: Hook, more: dict[str, Any], asked: int
) -> None:
    configure(client, hook, "MutatingWebhookConfiguration", **more)
    client.post(PODS, json=a_pod("selected", inject="yes"))
    assert asked == len(hook.asked)


@pytest.mark.parametrize(("policy", "status"), [("Fail", 500), ("Ignore", 201)])
def test_failure_policy_decides_when_the_webhook_is_away(
    client: httpx2.Client, hook: Hook, policy: str, status: int
) -> None:
    unused = {"url": "https://localhost:1/hook", "caBundle": hook.bundle}
    configure(
        client,
        hook,
        "MutatingWebhookConfiguration",
        failurePolicy=policy,
        clientConfig=unused,
    )
    answer = client.post(PODS, json=a_pod("lost"))
    assert status == answer.status_code
    if policy == "Fail":
        assert 'failed calling webhook "hook.example.io"' in answer.json()["message"]


def test_match_conditions_are_refused_not_ignored(client: httpx2.Client, hook: Hook) -> None:
    body = hook.configuration(
        "MutatingWebhookConfiguration", matchConditions=[{"name": "a", "expression": "true"}]
    )
    answer = client.post(f"{REVIEWS}/mutatingwebhookconfigurations", json=body)
    assert 422 == answer.status_code
    assert "CEL match conditions are not supported" in answer.json()["message"]


def test_tokens_are_bound_to_audience_and_pod(client: httpx2.Client) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    client.post(accounts, json={"metadata": {"name": "bound"}})
    pod = a_pod("bound")
    pod["spec"]["serviceAccountName"] = "bound"
    uid = client.post(PODS, json=pod).json()["metadata"]["uid"]
    spec = {
        "audiences": ["identity.l5d.io"],
        "expirationSeconds": 3600,
        "boundObjectRef": {"kind": "Pod", "name": "bound", "uid": uid},
    }
    issued = client.post(f"{accounts}/bound/token", json={"spec": spec})
    assert 201 == issued.status_code, issued.text
    token = issued.json()["status"]["token"]

    def review(audience: str) -> dict[str, Any]:
        body = {"spec": {"token": token, "audiences": [audience]}}
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        found: dict[str, Any] = client.post(path, json=body).json()["status"]
        return found

    good = review("identity.l5d.io")
    assert good["authenticated"]
    assert "system:serviceaccount:default:bound" == good["user"]["username"]
    assert ["identity.l5d.io"] == good["audiences"]
    assert not review("another")["authenticated"]
    assert 401 == client.get("/api", headers={"Authorization": f"Bearer {token}"}).status_code
    client.request("DELETE", f"{PODS}/bound", params={"gracePeriodSeconds": "0"})
    assert not review("identity.l5d.io")["authenticated"]


@pytest.fixture
def node(server: LocalServer) -> Iterator[list[bytes]]:
    """A node that answers each connection with what a log looks like; yields the heads it got."""
    heads: list[bytes] = []
    path = server.paths.node_sock
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(4096)
                heads.append(head)
                if b"Upgrade" in head or b"upgrade" in head:
                    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                    connection.sendall(connection.recv(100).upper())
                else:
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                    )

    thread = threading.Thread(target=answer)
    thread.start()
    yield heads
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    Path(path).unlink()


def a_placed_pod(client: httpx2.Client, name: str) -> None:
    pod = a_pod(name)
    pod["spec"]["nodeName"] = "local"
    assert 201 == client.post(PODS, json=pod).status_code


def test_logs_come_from_the_node(client: httpx2.Client, node: list[bytes]) -> None:
    a_placed_pod(client, "logged")
    answer = client.get(f"{PODS}/logged/log", params={"follow": "true", "tailLines": "3"})
    assert "hello" == answer.text
    line = node[0].split(b"\r\n")[0]
    assert b"GET /containerLogs/default/logged/app?follow=true&tailLines=3 HTTP/1.1" == line
    assert b"authorization" not in node[0].lower()


def test_upgraded_bytes_pass_both_ways_untouched(
    server: LocalServer, client: httpx2.Client, node: list[bytes]
) -> None:
    a_placed_pod(client, "entered")
    context = ssl.create_default_context(cafile=str(server.paths.ca_cert))
    token = server.paths.token("admin").read_text()
    with (
        socket.create_connection(("127.0.0.1", server.port), 5) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        tls.sendall(
            f"GET {PODS}/entered/exec?command=ls&stdout=true HTTP/1.1\r\nHost: a\r\n"
            f"Authorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
        )
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += tls.recv(1)
        tls.sendall(b"raw bytes")
        while not received.endswith(b"RAW BYTES"):
            data = tls.recv(1000)
            assert data, received
            received += data
    assert received.startswith(b"HTTP/1.1 101")
    assert b"GET /exec/default/entered/app?command=ls&stdout=true&output=1 " in node[0]


def test_without_a_node_streams_say_so(client: httpx2.Client) -> None:
    a_placed_pod(client, "alone")
    answer = client.get(f"{PODS}/alone/log")
    assert 503 == answer.status_code
    assert "error dialing backend" in answer.json()["message"]


def test_logs_of_several_containers_need_a_choice(client: httpx2.Client) -> None:
    pod = a_pod("several")
    pod["spec"]["containers"].append({"name": "second", "image": "app"})
    client.post(PODS, json=pod)
    answer = client.get(f"{PODS}/several/log")
    assert 400 == answer.status_code
    assert (
        "a container name must be specified for pod several, choose one of: [app second]"
        == answer.json()["message"]
    )

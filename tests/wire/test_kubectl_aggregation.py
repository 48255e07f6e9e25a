"""Aggregated APIs: a real server stands behind an APIService."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from linkerd.local.store import Store
from tests.wire.local_server import KUBECTL, LocalServer, running

GROUP = "/apis/tap.linkerd.io/v1alpha1"
RESOURCES = [{"name": "watch", "namespaced": False, "kind": "Tap", "verbs": ["watch"]}]


class Extension:
    """An API that answers its discovery path and echoes all else."""

    def __init__(self, server: LocalServer) -> None:
        self.headers: list[dict[str, str]] = []
        extension = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                extension.headers.append({k.lower(): v for k, v in self.headers.items()})
                found: dict[str, Any] = {"path": self.path}
                if self.path == GROUP:
                    found = {"kind": "APIResourceList", "resources": RESOURCES}
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki = server.paths.pki
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        # As extensions do: only the front proxy may name users.
        context.load_verify_locations(pki / "front-proxy-ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = int(self.http.server_address[1])
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[tuple[LocalServer, Extension]]:
    with running(tmp_path) as server:
        server.kill()
        extension = Extension(server)
        # Without a node there are no ClusterIPs; the service gets an address that is there.
        store = Store(server.paths.store)
        service = {"kind": "Service", "apiVersion": "v1"}
        spec = {"clusterIP": "127.0.0.1", "ports": [{"port": extension.port}]}
        metadata = {"name": "tap", "namespace": "default", "uid": "u"}
        store.create("services", {**service, "metadata": metadata, "spec": spec})
        store.close()
        server.start()
        try:
            api = {
                "metadata": {"name": "v1alpha1.tap.linkerd.io"},
                "spec": {
                    "group": "tap.linkerd.io",
                    "version": "v1alpha1",
                    "groupPriorityMinimum": 1000,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,
                    "service": {"name": "tap", "namespace": "default", "port": extension.port},
                },
            }
            with server.client() as client:
                answer = client.post("/apis/apiregistration.k8s.io/v1/apiservices", json=api)
                assert 201 == answer.status_code, answer.text
            yield server, extension
        finally:
            extension.close()


def test_requests_are_passed_on_with_the_callers_name(rig: tuple[LocalServer, Extension]) -> None:
    server, extension = rig
    with server.client() as client:
        answer = client.get(f"{GROUP}/watch/namespaces/a?x=1", headers={"X-Remote-User": "forged"})
    assert {"path": f"{GROUP}/watch/namespaces/a?x=1"} == answer.json()
    headers = extension.headers[-1]
    assert "kubernetes-admin" == headers["x-remote-user"]
    assert "system:authenticated" == headers["x-remote-group"]
    assert "authorization" not in headers


def test_discovery_includes_aggregated_apis(rig: tuple[LocalServer, Extension]) -> None:
    server, _ = rig
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    with server.client() as client:
        groups = client.get("/apis", headers={"Accept": accept}).json()["items"]
        legacy = client.get("/apis").json()["groups"]
        assert RESOURCES == client.get(GROUP).json()["resources"]
    tap = next(group for group in groups if group["metadata"]["name"] == "tap.linkerd.io")
    assert "watch" == tap["versions"][0]["resources"][0]["resource"]
    assert "tap.linkerd.io" in {group["name"] for group in legacy}


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_an_api_that_answers_becomes_available(rig: tuple[LocalServer, Extension]) -> None:
    server, _ = rig
    server.kubectl(
        "wait", "apiservice/v1alpha1.tap.linkerd.io", "--for=condition=Available", "--timeout=60s"
    )
    row = server.kubectl("get", "apiservice").splitlines()[1].split()
    assert ["v1alpha1.tap.linkerd.io", "default/tap", "True"] == row[:3]


def test_an_authority_that_is_none_makes_the_api_unavailable(
    rig: tuple[LocalServer, Extension],
) -> None:
    server, _ = rig
    change = {"spec": {"insecureSkipTLSVerify": False, "caBundle": "bm9uZQ=="}}
    merge = {"Content-Type": "application/merge-patch+json"}
    with server.client() as client:
        path = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.tap.linkerd.io"
        assert 200 == client.patch(path, json=change, headers=merge).status_code
        answer = client.get(f"{GROUP}/watch")
    assert 503 == answer.status_code
    assert "caBundle of the API v1alpha1.tap.linkerd.io" in answer.json()["message"]

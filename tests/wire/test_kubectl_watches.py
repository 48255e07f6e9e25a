"""Lists and watches of a real server process over HTTP: pages, resumption, 410, bookmarks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.wire.local_server import LocalServer, running

CONFIGS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with running(tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx2.Client]:
    with server.client() as client:
        client.delete(CONFIGS)
        yield client


def a_config(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


def made(client: httpx2.Client, name: str, **labels: str) -> dict[str, Any]:
    answer = client.post(CONFIGS, json=a_config(name, **labels))
    assert 201 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def version(client: httpx2.Client) -> str:
    return str(client.get(CONFIGS).json()["metadata"]["resourceVersion"])


@contextmanager
def watch(client: httpx2.Client, **query: str) -> Iterator[Iterator[dict[str, Any]]]:
    parameters = {"watch": "true", "timeoutSeconds": "10", **query}
    with client.stream("GET", CONFIGS, params=parameters) as answer:
        assert 200 == answer.status_code
        yield (json.loads(line) for line in answer.iter_lines() if line)


def shown(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def test_watch_without_version_begins_with_what_is_there(client: httpx2.Client) -> None:
    made(client, "one")
    with watch(client) as events:
        assert ("ADDED", "one") == shown(next(events))
        made(client, "two")
        assert ("ADDED", "two") == shown(next(events))


def test_watch_resumes_after_a_version(client: httpx2.Client) -> None:
    since = version(client)
    made(client, "one")
    client.patch(
        f"{CONFIGS}/one",
        content='{"data":{"a":"2"}}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    client.delete(f"{CONFIGS}/one")
    with watch(client, resourceVersion=since) as events:
        found = [next(events) for _ in range(3)]
    assert [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")] == [*map(shown, found)]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in found]
    assert sorted(set(versions)) == versions


@pytest.mark.parametrize("live", [True, False], ids=["live", "from the log"])
def test_objects_that_leave_a_selector_are_deleted_to_it(client: httpx2.Client, live: bool) -> None:
    since = version(client)

    def relabel() -> None:
        made(client, "one", app="a")
        made(client, "other", app="b")
        for value in ("b", "a"):
            client.patch(
                f"{CONFIGS}/one",
                json={"metadata": {"labels": {"app": value}}},
                headers={"Content-Type": "application/merge-patch+json"},
            )

    if not live:
        relabel()
    with watch(client, resourceVersion=since, labelSelector="app=a") as events:
        if live:
            relabel()
        found = [shown(next(events)) for _ in range(3)]
    assert [("ADDED", "one"), ("DELETED", "one"), ("ADDED", "one")] == found


def test_unknown_versions_are_gone(client: httpx2.Client) -> None:
    answer = client.get(CONFIGS, params={"watch": "true", "resourceVersion": "99999999"})
    assert (410, "Expired") == (answer.status_code, answer.json()["reason"])


def test_versions_older_than_the_log_are_gone(tmp_path: Path) -> None:
    from linkerd.local.store import LOG_ROWS_KEPT, Store

    with running(tmp_path) as server:
        server.kill()
        store = Store(server.paths.store)
        obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "busy"}}
        obj["metadata"]["namespace"] = "default"  # type: ignore[index]
        store.create("configmaps", obj)
        for _ in range(LOG_ROWS_KEPT + 1_000):
            store.update("configmaps", obj)
        store.close()
        server.start()
        with server.client() as client:
            answer = client.get(CONFIGS, params={"watch": "true", "resourceVersion": "5"})
            assert 410 == answer.status_code
            recent = str(int(version(client)) - 10)
            with watch(client, resourceVersion=recent) as events:
                assert ("MODIFIED", "busy") == shown(next(events))


def test_a_watch_can_be_resumed_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with server.client() as client:
            since = version(client)
            made(client, "one")
        server.kill()
        server.start()
        with server.client() as client, watch(client, resourceVersion=since) as events:
            assert ("ADDED", "one") == shown(next(events))


def test_pages_together_are_the_list(client: httpx2.Client) -> None:
    names = [f"page-{number:02}" for number in range(7)]
    for name in names:
        made(client, name)
    found: list[str] = []
    token, versions = "", set()
    while True:
        page = client.get(CONFIGS, params={"limit": "3", "continue": token}).json()
        found += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        if not token:
            break
        assert 7 - len(found) == page["metadata"]["remainingItemCount"]
    assert names == found
    assert 1 == len(versions)


def test_a_broken_page_token_is_refused(client: httpx2.Client) -> None:
    assert 400 == client.get(CONFIGS, params={"continue": "nonsense"}).status_code


def test_initial_events_end_with_a_bookmark(client: httpx2.Client) -> None:
    made(client, "one")
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    with watch(client, resourceVersionMatch="NotOlderThan", **query) as events:
        assert ("ADDED", "one") == shown(next(events))
        end = next(events)
    assert "BOOKMARK" == end["type"]
    assert {"k8s.io/initial-events-end": "true"} == end["object"]["metadata"]["annotations"]


def test_watch_ends_when_its_time_is_over(client: httpx2.Client) -> None:
    with watch(client, resourceVersion=version(client), timeoutSeconds="1") as events:
        assert [] == list(events)


def test_table_watch_sends_rows(client: httpx2.Client) -> None:
    made(client, "one")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    with client.stream(
        "GET", CONFIGS, params={"watch": "true"}, headers={"Accept": accept}
    ) as answer:
        event = json.loads(next(answer.iter_lines()))
    assert "Table" == event["object"]["kind"]
    assert ["one", 1] == event["object"]["rows"][0]["cells"][:2]


def test_writes_against_an_old_version_conflict(client: httpx2.Client) -> None:
    old = made(client, "one")
    assert 200 == client.put(f"{CONFIGS}/one", json={**old, "data": {"a": "2"}}).status_code
    answer = client.put(f"{CONFIGS}/one", json={**old, "data": {"a": "3"}})
    assert (409, "Conflict") == (answer.status_code, answer.json()["reason"])


def test_an_update_that_changes_nothing_keeps_the_version(client: httpx2.Client) -> None:
    old = made(client, "one")
    again = client.put(f"{CONFIGS}/one", json=old).json()
    assert old["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


def test_dry_run_stores_nothing(client: httpx2.Client) -> None:
    answer = client.post(CONFIGS, params={"dryRun": "All"}, json=a_config("dry"))
    assert 201 == answer.status_code
    assert 404 == client.get(f"{CONFIGS}/dry").status_code


def test_metadata_only_answers_hide_the_rest(client: httpx2.Client) -> None:
    made(client, "one")
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    found = client.get(CONFIGS, headers={"Accept": accept}).json()
    assert "PartialObjectMetadataList" == found["kind"]
    assert {"kind", "apiVersion", "metadata"} == set(found["items"][0])


@pytest.mark.parametrize(
    ("path", "status"),
    [("/version", 200), ("/healthz", 200), ("/readyz", 200), ("/livez", 200), ("/api", 401)],
)
def test_anonymous_callers_see_health_and_version_only(
    server: LocalServer, path: str, status: int
) -> None:
    with server.client("") as client:
        assert status == client.get(path).status_code


def test_a_wrong_token_is_refused_everywhere(server: LocalServer) -> None:
    with server.client("nonsense") as client:
        assert 401 == client.get("/version").status_code


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /version HTTP/1.1\r\nbroken\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /api HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /api HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["header", "line", "negative", "large", "encoding", "head"],
)
def test_broken_requests_are_refused_and_the_server_lives(
    server: LocalServer, client: httpx2.Client, raw: bytes
) -> None:
    import socket
    import ssl

    context = ssl.create_default_context(cafile=str(server.paths.ca_cert))
    with (
        socket.create_connection(("127.0.0.1", server.port), 5) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        tls.sendall(raw)
        assert tls.recv(100).startswith(b"HTTP/1.1 4")
    assert 200 == client.get("/version").status_code

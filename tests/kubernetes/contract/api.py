"""A client that records what an API server answers, without what may differ between two of them.

Masked: identifiers, versions, times. Left out: what is empty, which clients take like what is absent,
and who manages which field, which scenarios of its own ask for. Kept: everything else; of messages
those that users search for (`_WORDED`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2

Object = dict[str, Any]

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

_MASKED = frozenset(("uid", "resourceVersion", "creationTimestamp", "selfLink", "time"))
#: Refusals whose words people and programs look for; others say where the fault is in many ways.
_WORDED = frozenset((401, 403, 404, 405, 409))
_WARNING = re.compile(r'\d+ \S+ "(?:[^"\\]|\\.)*"')
_VARIES = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
)


class Api:
    """One API server seen by its administrator; `namespace` is the scenario's."""

    def __init__(self, client: httpx2.Client, namespace: str, hooks: str = "") -> None:
        self.client = client
        self.namespace = namespace
        #: CA in base64, `@`, address at which this server reaches the tests' webhooks; "" without.
        self.hooks = hooks

    def core(self, plural: str, name: str = "", subresource: str = "") -> str:
        """Returns the path of a resource of group "" in the scenario's namespace."""
        return _path(f"/api/v1/namespaces/{self.namespace}", plural, name, subresource)

    def grouped(self, version: str, plural: str, name: str = "", subresource: str = "") -> str:
        """Returns the path of a resource of a group, `apps/v1`, in the scenario's namespace."""
        prefix = f"/apis/{version}/namespaces/{self.namespace}"
        return _path(prefix, plural, name, subresource)

    def cluster(self, version: str, plural: str, name: str = "") -> str:
        """Returns the path of a resource without namespace."""
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return _path(prefix, plural, name, "")

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = JSON,
        token: str | None = None,
        accept: str = JSON,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> httpx2.Response:
        """Sends one request; returns the whole answer."""
        sent = {"Accept": accept, **(headers or {})}
        content = None
        if body is not None:
            sent["Content-Type"] = kind
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return self.client.request(method, path, content=content, headers=sent, params=query)

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Object:
        """Sends one request; returns its status, warnings and body, masked."""
        answer = self.send(method, path, body, **options)
        seen: Object = {"status": answer.status_code, "body": self.masked(_decoded(answer))}
        # One header per warning or all in one: RFC 9110 §5.2.
        if warnings := ", ".join(answer.headers.get_list("warning")):
            seen["warnings"] = sorted(_WARNING.findall(warnings))
        return seen

    def refusal(self, method: str, path: str, body: Any = None, **options: Any) -> Object:
        """Sends one request; returns what a user reads when it is refused, masked."""
        seen = self.ask(method, path, body, **options)
        found = seen["body"]
        if not isinstance(found, dict):
            return seen
        causes = (found.get("details") or {}).get("causes") or []
        status = seen["status"]
        return {
            "status": status,
            "reason": found.get("reason"),
            "message": found.get("message") if status in _WORDED else "",
            "causes": sorted((str(one.get("reason")), str(one.get("field"))) for one in causes),
        }

    def managers(self, path: str) -> Any:
        """Returns who manages which field of an object."""
        found = self.send("GET", path).json()["metadata"].get("managedFields") or []
        for one in found:
            one.pop("time", None)
        return found

    def make(self, path: str, body: Object, **options: Any) -> Object:
        """Creates an object that is only a means; returns it unmasked."""
        answer = self.send("POST", path, body, **options)
        assert answer.status_code in (200, 201), answer.text
        found: Object = answer.json()
        return found

    def names(self, path: str, **query: Any) -> list[str]:
        """Returns the names that a list has, in its order."""
        answer = self.send("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return [one["metadata"]["name"] for one in answer.json()["items"]]

    def masked(self, value: Any) -> Any:
        """Returns a value without what may differ between servers."""
        if isinstance(value, dict):
            kept = {
                key: f"<{key}>" if key in _MASKED and one else self.masked(one)
                for key, one in value.items()
                if key != "managedFields"
            }
            # Kubernetes lists the causes of a conflict in any order.
            if isinstance(kept.get("causes"), list):
                kept["causes"].sort(key=str)  # type: ignore[union-attr]
            return {key: one for key, one in kept.items() if one not in (None, {}, [], "")}
        if isinstance(value, list):
            return [self.masked(one) for one in value]
        if isinstance(value, str):
            for pattern, mark in _VARIES:
                value = pattern.sub(mark, value)
        return value

    @contextmanager
    def watching(self, path: str, count: int, **query: str) -> Iterator[list[Any]]:
        """Collects `count` events of a watch, started before the block and awaited after it."""
        events: list[Any] = []
        connected = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(path, count, query, events, connected), daemon=True
        )
        thread.start()
        assert connected.wait(10), "the watch does not start"
        yield events
        thread.join(15)
        assert len(events) >= count, f"{len(events)} events instead of {count}: {events}"

    def _watch(
        self,
        path: str,
        count: int,
        query: dict[str, str],
        events: list[Any],
        connected: threading.Event,
    ) -> None:
        asked = {"watch": "true", "timeoutSeconds": "12", **query}
        with self.client.stream("GET", path, params=asked, timeout=20) as answer:
            connected.set()
            for line in answer.iter_lines():
                event = json.loads(line)
                events.append((event["type"], self.masked(event["object"])))
                if len(events) >= count:
                    return


def _path(prefix: str, plural: str, name: str, subresource: str) -> str:
    return "/".join(part for part in (prefix, plural, name, subresource) if part)


def _decoded(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def parts(seen: Any) -> dict[str, Any]:
    """Returns what a scenario saw in pieces that are compared one by one: two levels deep."""
    return {
        f"{outer}/{inner}": value
        for outer, level in _level(seen).items()
        for inner, value in (_level(level).items() if isinstance(level, list | tuple) else ())
    } | {
        outer: level for outer, level in _level(seen).items() if not isinstance(level, list | tuple)
    }


def _level(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(key): one for key, one in value.items()}
    if isinstance(value, list | tuple):
        return {str(at): one for at, one in enumerate(value)}
    return {"0": value}


def brief(events: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Returns type and name of events."""
    return [(kind, one["metadata"].get("name", "")) for kind, one in events]

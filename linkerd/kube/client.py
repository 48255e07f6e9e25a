"""The Kubernetes API for everything above: objects are dicts, or typed structs in watches.

    async with KubeClient(load()) as kube:
        pod = await kube.get(PODS, "web", "emojivoto")

Every method raises `KubeError`'s subclasses: NotFound, Conflict, Invalid, Forbidden, Gone,
Unavailable. Requests are bounded in time; watches never raise (see `linkerd.kube.watch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import msgspec

from linkerd.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    Unavailable,
)
from linkerd.kube import watch as watching
from linkerd.kube.auth import Authenticator
from linkerd.kube.config import KubeConfig
from linkerd.kube.http import Headers, Http, Observer, Response, Streamed, Upgraded
from linkerd.kube.resources import Resource, known, root

T = TypeVar("T")
Object = dict[str, Any]
Objects = list[Object]

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_ERRORS: dict[int, type[KubeError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    415: Invalid,
    422: Invalid,
}


class KubeClient:
    """One cluster's API; use as an async context manager."""

    def __init__(
        self, config: KubeConfig, *, user_agent: str = "linkerd", observer: Observer | None = None
    ) -> None:
        self.config = config
        self._auth = Authenticator(config)
        self._observer = observer
        self._http = Http(
            config.server,
            self._auth.tls,
            tls_server_name=config.tls_server_name,
            observer=observer,
        )
        self._user_agent = user_agent
        self._discovered: dict[str, dict[str, Resource]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes idle connections."""
        await self._http.close()

    # objects

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Returns one object.

        Raises:
            NotFound: it does not exist.
        """
        return _object(await self.request("GET", resource.path(namespace, name)))

    async def get_or_none(
        self, resource: Resource, name: str, namespace: str | None = None
    ) -> Object | None:
        """Returns one object, None if it does not exist."""
        try:
            return await self.get(resource, name, namespace)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Objects:
        """Returns all matching objects, page by page; `namespace` None means all namespaces.

        Each object carries `apiVersion` and `kind`, which the API leaves out of lists.
        """
        selectors = _selectors(label_selector, field_selector)
        found: Objects = []
        token = ""
        while True:
            params = {**selectors, "limit": str(watching.PAGE)}
            if token:
                params["continue"] = token
            page = _object(await self.request("GET", resource.path(namespace), params))
            for item in page.get("items") or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                found.append(item)
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        *,
        dry_run: bool = False,
        field_manager: str | None = None,
    ) -> Object:
        """Creates an object; returns it as stored.

        Raises:
            Conflict: it exists already.
        """
        path = resource.path(namespace or _namespace(body, self.config))
        params = _write_params(dry_run, field_manager)
        return _object(await self.request("POST", path, params, body))

    async def replace(
        self, resource: Resource, body: Object, *, field_manager: str | None = None
    ) -> Object:
        """Replaces the object that `body` names; with a resourceVersion only if unchanged.

        Raises:
            Conflict: it changed since it was read.
        """
        path = resource.path(_namespace(body, self.config), body["metadata"]["name"])
        return _object(await self.request("PUT", path, _write_params(False, field_manager), body))

    async def update_status(self, resource: Resource, body: Object) -> Object:
        """Replaces the status of the object that `body` names."""
        path = resource.path(_namespace(body, self.config), body["metadata"]["name"], "status")
        return _object(await self.request("PUT", path, {}, body))

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        type: str = MERGE,
        subresource: str = "",
        field_manager: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        """Patches an object.

        Args:
            resource: Its kind.
            name: Its name.
            body: The patch: a list of operations for JSON, else an object.
            namespace: Its namespace.
            type: MERGE, JSON, STRATEGIC or APPLY.
            subresource: Such as "status".
            field_manager: Owner of the fields; APPLY needs one and takes "linkerd" by default.
            force: APPLY only: take fields over from other managers.
            dry_run: Only say what the result would be.
        """
        params = _write_params(dry_run, field_manager)
        if type == APPLY:
            params.setdefault("fieldManager", "linkerd")
            params["force"] = "true" if force else "false"
        path = resource.path(namespace, name, subresource)
        return _object(await self.request("PATCH", path, params, body, content_type=type))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        """Deletes an object.

        Raises:
            NotFound: it does not exist.
        """
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        await self.request("DELETE", resource.path(namespace, name), {}, options)

    async def create_subresource(
        self,
        resource: Resource,
        name: str,
        subresource: str,
        body: Object,
        namespace: str | None = None,
    ) -> Object:
        """Posts to a subresource such as a service account's `token` or a pod's `eviction`."""
        path = resource.path(namespace, name, subresource)
        return _object(await self.request("POST", path, {}, body))

    # whole manifests

    async def apply(
        self,
        body: Object,
        *,
        resource: Resource | None = None,
        field_manager: str = "linkerd",
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Applies one manifest on the server's side; creates what is missing."""
        resource = resource or await self.resource_for(body["apiVersion"], body["kind"])
        return await self.patch(
            resource,
            body["metadata"]["name"],
            body,
            _namespace(body, self.config),
            type=APPLY,
            field_manager=field_manager,
            force=force,
            dry_run=dry_run,
        )

    async def apply_all(self, manifests: Iterable[Object], **options: Any) -> Objects:
        """Applies manifests in order; options as `apply`."""
        return [await self.apply(body, **options) for body in manifests if body]

    async def create_or_replace(self, resource: Resource, body: Object) -> Object:
        """Creates an object or replaces the one that is there, whatever its version."""
        namespace, name = _namespace(body, self.config), body["metadata"]["name"]
        for _ in range(5):
            try:
                return await self.create(resource, body, namespace)
            except Conflict:
                current = await self.get_or_none(resource, name, namespace)
            if current is None:
                continue
            version = current["metadata"]["resourceVersion"]
            wanted = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
            with contextlib.suppress(Conflict, NotFound):
                return await self.replace(resource, wanted)
        raise Conflict(f"{resource.plural} {name} keeps changing", status=409)

    async def resource_for(self, api_version: str, kind: str) -> Resource:
        """Returns the kind that a manifest names, asking the server for those we do not know.

        Raises:
            NotFound: the server does not serve it.
        """
        found = known(api_version, kind)
        if found is not None:
            return found
        kinds = self._discovered.get(api_version)
        if kinds is None or kind not in kinds:
            kinds = self._discovered[api_version] = await self._discover(api_version)
        if kind not in kinds:
            raise NotFound(f"no kind {kind} in {api_version}", status=404, reason="NotFound")
        return kinds[kind]

    async def _discover(self, api_version: str) -> dict[str, Resource]:
        group, _, version = api_version.rpartition("/")
        answer = _object(await self.request("GET", root(api_version)))
        return {
            entry["kind"]: Resource(
                group, version, entry["name"], entry["kind"], bool(entry["namespaced"])
            )
            for entry in answer.get("resources") or ()
            if "/" not in entry["name"]
        }

    # watches and streams

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        decode: Any = None,
    ) -> AsyncIterator[watching.Event[Any]]:
        """Yields Reset(objects) first and after every relist, then Applied and Deleted, for ever.

        Args:
            resource: The kind.
            namespace: None means all.
            label_selector: Such as "app=web".
            field_selector: Such as "metadata.name=web".
            decode: None for dicts, a msgspec type or a callable of an object's bytes; an object
                that does not decode is skipped with a warning.
        """
        source = _WatchSource(
            self, resource.path(namespace), _selectors(label_selector, field_selector)
        )
        lag = self._observer.lag(resource.plural) if self._observer else None
        return watching.run(source, resource, watching.decoder(decode), lag)

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        content_type: str = "application/octet-stream",
    ) -> AsyncIterator[Streamed]:
        """Lends an answer as a stream.

        Raises:
            KubeError: the server refused.
        """
        headers = {**await self._headers(), "Accept": "*/*"}
        if body:
            headers["Content-Type"] = content_type
        async with self._http.open(method, path + _query(params), headers, body) as stream:
            if stream.status >= 400:
                if stream.status == 401:
                    self._auth.invalidate()
                body = b"".join([chunk async for chunk in stream.chunks()])
                raise error_of(stream.status, body, f"{method} {path}")
            yield stream

    async def upgrade(
        self, path: str, params: Mapping[str, Any] | Iterable[tuple[str, str]], headers: Headers
    ) -> Upgraded:
        """Opens a connection that leaves HTTP (WebSocket); the caller owns and closes it.

        Raises:
            KubeError: the server refused.
        """
        own = await self._headers()
        answer = await self._http.upgrade(path + _query(params), {**own, **headers})
        if isinstance(answer, Response):
            raise error_of(answer.status, answer.body, f"GET {path}")
        return answer

    async def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 30.0,
    ) -> Any:
        """Makes one request of the API; for paths that no method covers (`/version`, `/apis/…`).

        `accept` asks for another form of the answer, such as a table.

        Returns:
            The decoded JSON; text when the answer is not JSON.

        Raises:
            KubeError: the server refused or is out of reach.
        """
        response = await self._send(method, path, params, body, content_type, timeout_s, accept)
        if response.headers.get("content-type", "").startswith("application/json"):
            try:
                return msgspec.json.decode(response.body)
            except msgspec.MsgspecError as error:
                raise Unavailable(f"{method} {path}: answer is no JSON: {error}") from None
        return response.body.decode("utf-8", "replace")

    async def raw(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """Makes one request without a body and returns the answer's bytes.

        Raises:
            KubeError: as `request`.
        """
        return (await self._send(method, path, params, None, "", 60.0)).body

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        content_type: str,
        timeout_s: float,
        accept: str = "application/json",
    ) -> Response:
        data = b"" if body is None else msgspec.json.encode(body)
        target = path + _query(params)
        for attempt in range(2):
            headers = await self._headers()
            headers["Accept"] = accept
            if data:
                headers["Content-Type"] = content_type
            response = await self._http.request(method, target, headers, data, timeout_s=timeout_s)
            if response.status == 401 and attempt == 0 and self._auth.invalidate():
                continue
            break
        if response.status >= 400:
            raise error_of(response.status, response.body, f"{method} {path}")
        return response

    async def _headers(self) -> Headers:
        return {"User-Agent": self._user_agent, **await self._auth.headers()}


class _WatchSource:
    def __init__(self, kube: KubeClient, path: str, params: dict[str, str]) -> None:
        self._kube = kube
        self._path = path
        self._params = params

    async def list_page(self, params: dict[str, str]) -> bytes:
        return await self._kube.raw("GET", self._path, {**self._params, **params})

    def open_watch(
        self, params: dict[str, str]
    ) -> contextlib.AbstractAsyncContextManager[Streamed]:
        return self._kube.open("GET", self._path, {**self._params, **params})


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs one coroutine to its end: for commands, which are synchronous."""
    return asyncio.run(main)


def error_of(status: int, body: bytes, what: str) -> KubeError:
    """Returns the error that an API answer means.

    Args:
        status: HTTP status, 400 or above.
        body: A `Status` object, or any text.
        what: The request, named when the body says nothing.
    """
    message, reason = "", ""
    try:
        answer = json.loads(body)
        # Aggregated APIs know "error" alone.
        message = str(answer.get("message") or answer.get("error") or "")
        reason = str(answer.get("reason") or "")
    except (ValueError, AttributeError):
        message = body[:300].decode("utf-8", "replace").strip()
    kind = _ERRORS.get(status) or (Unavailable if status == 429 or status >= 500 else KubeError)
    return kind(message or f"{what}: status {status}", status=status, reason=reason)


def _object(answer: Any) -> Object:
    if not isinstance(answer, dict):
        raise Unavailable("the server's answer is no object")
    return answer


def _namespace(body: Object, config: KubeConfig) -> str:
    return str(body.get("metadata", {}).get("namespace") or config.namespace)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    pairs = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in pairs.items() if value}


def _write_params(dry_run: bool, field_manager: str | None) -> dict[str, str]:
    params = {"dryRun": "All"} if dry_run else {}
    if field_manager:
        params["fieldManager"] = field_manager
    return params


def _query(params: Mapping[str, Any] | Iterable[tuple[str, str]] | None) -> str:
    if not params:
        return ""
    pairs = params.items() if isinstance(params, Mapping) else params
    return "?" + urlencode(list(pairs), doseq=True)

"""The verbs on objects: get, list, watch, create, update, patch, delete, deletecollection.

Turns a routed request into calls of `resources` and their results into answers.
"""

from __future__ import annotations

from typing import Any

from linkerd.local.apiserver import apply, bodies, options, patches, strict
from linkerd.local.apiserver.bodies import Form, answer
from linkerd.local.apiserver.http import Answer, Request, Response, Stream
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.resources import Context, Mutation, Resources, check_body
from linkerd.local.apiserver.route import Route
from linkerd.local.apiserver.selectors import parse_fields, parse_labels
from linkerd.local.apiserver.status import (
    ApiError,
    bad_request,
    bad_value,
    invalid,
    method_not_allowed,
    success,
    unsupported_media_type,
)
from linkerd.local.apiserver.watching import (
    WATCH_S,
    Selection,
    WatchOptions,
    check_version,
    page,
    stream,
)
from linkerd.local.store import Obj

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


async def handle(
    resources: Resources, kind: Kind, route: Route, request: Request, context: Context
) -> Answer:
    """Answers a request for objects of a kind (no subresource but those written alike).

    Raises:
        ApiError: whatever speaks against it.
    """
    if route.verb == "list":
        return _list(resources, kind, route, request)
    if route.verb == "watch":
        return _watch(resources, kind, route, request)
    if route.verb == "get":
        return _get(resources, kind, route, request)
    if route.verb == "create" and not route.name:
        return await _create(resources, kind, route, request, context)
    if route.verb == "update":
        return await _replace(resources, kind, route, request, context)
    if route.verb == "patch":
        return await _patch(resources, kind, route, request, context)
    if route.verb == "delete":
        return await _delete(resources, kind, route, request, context)
    if route.verb == "deletecollection":
        return await _delete_collection(resources, kind, route, request, context)
    raise method_not_allowed(request.method, kind.plural)


def selection(kind: Kind, route: Route, request: Request) -> Selection:
    """Returns what a list, watch or deletecollection is about.

    Raises:
        ApiError: 400, a selector is malformed.
    """
    text = request.first("fieldSelector")
    if route.name and route.verb == "watch":
        text = f"metadata.name={route.name}"
    return Selection(
        kind,
        route.namespace or None,
        parse_labels(request.first("labelSelector")),
        parse_fields(text, kind.selectable),
    )


def _number(request: Request, name: str, default: int) -> int:
    text = request.first(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise bad_request(f"{name}: Invalid value: {text!r}: must be a number") from None


def _form(request: Request) -> Form:
    return Form(request.headers.get("accept", ""), request.first("includeObject"))


def _get(resources: Resources, kind: Kind, route: Route, request: Request) -> Response:
    entry = resources.entry(kind, _namespace(kind, route), route.name)
    return Response(200, _form(request).entry(kind, entry))


def _namespace(kind: Kind, route: Route) -> str:
    return route.namespace if kind.namespaced else ""


def _list(resources: Resources, kind: Kind, route: Route, request: Request) -> Response:
    found = page(
        resources.store,
        selection(kind, route, request),
        _number(request, "limit", 0),
        request.first("continue"),
    )
    metadata: Obj = {"resourceVersion": str(found.version)}
    if found.next:
        metadata["continue"] = found.next
        metadata["remainingItemCount"] = found.remaining
    return Response(200, _form(request).list(kind, found.entries, metadata))


def _watch(resources: Resources, kind: Kind, route: Route, request: Request) -> Answer:
    version = _number(request, "resourceVersion", 0)
    store = resources.store
    chosen = selection(kind, route, request)
    if version:
        check_version(store, version)
    wanted = WatchOptions(
        version=version or None,
        timeout_s=float(_number(request, "timeoutSeconds", int(WATCH_S))),
        bookmarks=request.first("allowWatchBookmarks") in ("true", "1"),
        initial_events=request.first("sendInitialEvents") in ("true", "1"),
    )
    return Stream(stream(store, chosen, wanted, _form(request).entry))


async def _create(
    resources: Resources, kind: Kind, route: Route, request: Request, context: Context
) -> Response:
    body = bodies.decode(request)
    namespace = _namespace(kind, route)
    if kind.namespaced and not namespace:
        raise bad_request("an empty namespace may not be set when a resource name may be provided")
    obj = check_body(kind, body, namespace, "")
    strict.check(kind, obj, context)
    obj["metadata"].pop("managedFields", None)
    created = await resources.create(kind, namespace, obj, context)
    return Response(201, _form(request).one(kind, created))


async def _replace(
    resources: Resources, kind: Kind, route: Route, request: Request, context: Context
) -> Response:
    namespace = _namespace(kind, route)
    obj = check_body(kind, bodies.decode(request), namespace, route.name)
    strict.check(kind, obj, context)

    def change(old: Obj) -> Obj:
        managed = old["metadata"].get("managedFields")
        new: Obj = {**obj, "metadata": dict(obj["metadata"])}
        new["metadata"].pop("managedFields", None)
        return apply.after_update(old, new, managed, context.manager, context.subresource)

    updated = await resources.update(kind, namespace, route.name, change, context, retry=False)
    return Response(200, _form(request).one(kind, updated))


async def _patch(
    resources: Resources, kind: Kind, route: Route, request: Request, context: Context
) -> Response:
    form = bodies.media_type(request)
    if form not in PATCH_TYPES:
        raise unsupported_media_type(form, ", ".join(PATCH_TYPES))
    patch = (
        bodies.from_yaml(request.body)
        if form == "application/apply-patch+yaml"
        else bodies.from_json(request.body)
    )
    namespace = _namespace(kind, route)
    if form == "application/apply-patch+yaml":
        return await _apply(resources, kind, route, request, context, patch)
    if form == "application/strategic-merge-patch+json" and kind.crd is not None:
        raise unsupported_media_type(form, ", ".join(PATCH_TYPES[:2] + PATCH_TYPES[3:]))
    updated = await resources.update(
        kind, namespace, route.name, _patched(kind, form, patch, context), context, retry=True
    )
    return Response(200, _form(request).one(kind, updated))


def _patched(kind: Kind, form: str, patch: Any, context: Context) -> Mutation:
    def change(old: Obj) -> Obj:
        managed = old["metadata"].get("managedFields")
        if form == "application/json-patch+json":
            new = patches.json_patch(old, patch)
        elif form == "application/merge-patch+json":
            new = patches.merge(old, patch)
        else:
            new = patches.strategic(old, patch)
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise bad_request("the patch leaves no object")
        if new["metadata"].get("name") != old["metadata"]["name"]:
            raise bad_request(
                f"the name of the object ({new['metadata'].get('name')}) does not match the name "
                f"on the URL ({old['metadata']['name']})"
            )
        try:
            strict.check(kind, new, context)
        except ApiError as error:
            # The body was well formed; what it makes of the object is not.
            raise invalid("", "", "", [bad_value("patch", patch, error.message)]) from None
        return apply.after_update(old, new, managed, context.manager, context.subresource)

    return change


async def _apply(
    resources: Resources,
    kind: Kind,
    route: Route,
    request: Request,
    context: Context,
    patch: Any,
) -> Response:
    namespace = _namespace(kind, route)
    obj = check_body(kind, patch, namespace, route.name)
    strict.check(kind, obj, context)
    force = request.first("force") in ("true", "1")
    exists = resources.store.get(kind.storage, namespace, route.name) is not None
    if not exists and not context.subresource:
        created = apply.first(kind, obj, context.manager)
        try:
            stored = await resources.create(kind, namespace, created, context)
            return Response(201, _form(request).one(kind, stored))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
    updated = await resources.update(
        kind,
        namespace,
        route.name,
        lambda old: apply.onto(kind, old, obj, context.manager, force, context.subresource),
        context,
        retry=True,
    )
    return Response(200, _form(request).one(kind, updated))


def delete_options(request: Request) -> Obj:
    """Returns DeleteOptions from body and query.

    Raises:
        ApiError: 400, a value is malformed; 422, one is no word that is known.
    """
    given = strict.check_types("v1", "DeleteOptions", bodies.decode(request))
    if request.first("gracePeriodSeconds"):
        given.setdefault("gracePeriodSeconds", _number(request, "gracePeriodSeconds", 0))
    for name in ("propagationPolicy", "orphanDependents"):
        if request.first(name):
            value: Any = request.first(name)
            given.setdefault(name, value == "true" if name == "orphanDependents" else value)
    options.check_deletion(given)
    return given


async def _delete(
    resources: Resources, kind: Kind, route: Route, request: Request, context: Context
) -> Response:
    wanted = delete_options(request)
    if wanted.get("dryRun"):
        context.dry_run = True
    obj, gone_now = await resources.delete(
        kind, _namespace(kind, route), route.name, wanted, context
    )
    if not gone_now or kind.resource in ("pods",):
        return answer(obj)
    details = {"name": route.name, "kind": kind.plural, "uid": obj["metadata"]["uid"]}
    if kind.group:
        details["group"] = kind.group
    return answer(success(details))


async def _delete_collection(
    resources: Resources, kind: Kind, route: Route, request: Request, context: Context
) -> Response:
    chosen = selection(kind, route, request)
    wanted = delete_options(request)
    deleted = []
    for entry in resources.store.list(kind.storage, chosen.namespace):
        if not chosen.matches(entry):
            continue
        try:
            await resources.delete(kind, *entry.key, wanted, context)
        except ApiError as error:
            if error.status != 404:
                raise
        deleted.append(entry)
    metadata = {"resourceVersion": str(resources.store.version)}
    return Response(200, _form(request).list(kind, deleted, metadata))

"""What follows an object's name: scale, token, eviction, binding, and the node's streams.

`status` and `finalize` are written like objects and are not handled here.
Source: Kubernetes pkg/registry/core/pod/rest, pkg/registry/core/serviceaccount/storage/token.go,
pkg/registry/apps/*/storage (scale).
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote, urlencode

from linkerd.local.apiserver import bodies, patches, relay
from linkerd.local.apiserver.bodies import answer
from linkerd.local.apiserver.http import Answer, Request, Response
from linkerd.local.apiserver.humane import at_path
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.metadata import now
from linkerd.local.apiserver.relay import Upstream
from linkerd.local.apiserver.resources import Context, Resources
from linkerd.local.apiserver.route import Route
from linkerd.local.apiserver.status import (
    ApiError,
    bad_request,
    bad_value,
    invalid,
    method_not_allowed,
    no_such_path,
    not_found,
    success,
    unavailable,
)
from linkerd.local.apiserver.strict import check_types
from linkerd.local.apiserver.tokens import API_AUDIENCE, Claims, Signer
from linkerd.local.paths import Paths
from linkerd.local.store import Obj

#: Subresources that are read and written as the object itself.
LIKE_OBJECTS = ("", "status", "finalize", "ephemeralcontainers", "resize")

_TOKENS = "authentication.k8s.io/v1"
_TOKEN_MIN_S = 600
_TOKEN_MAX_S = 1 << 32
_TOKEN_DEFAULT_S = 3600


class Subresources:
    """Answers requests for subresources that are no objects."""

    def __init__(self, resources: Resources, signer: Signer, paths: Paths) -> None:
        self._resources = resources
        self._signer = signer
        self._paths = paths

    async def handle(self, kind: Kind, route: Route, request: Request, context: Context) -> Answer:
        """Answers one request.

        Raises:
            ApiError: whatever speaks against it.
        """
        match route.subresource:
            case "log" | "exec" | "attach" | "portforward":
                return self._stream(kind, route, request)
            case "proxy":
                return self._proxy(kind, route, request)
            case "scale":
                return await self._scale(kind, route, request, context)
            case "token":
                return self._token(kind, route, request, context)
            case "eviction":
                return await self._evict(kind, route, request, context)
            case "binding":
                return await self._bind(kind, route, request, context)
        raise no_such_path()

    # --- log, exec, attach, port-forward

    def _stream(self, kind: Kind, route: Route, request: Request) -> Answer:
        pod = self._resources.get(kind, route.namespace, route.name)
        query = [(key, value) for key, values in request.query.items() for value in values]
        at = f"{route.namespace}/{route.name}"
        if route.subresource == "portforward":
            target = f"/portForward/{at}"
        else:
            container = _container(pod, request.first("container"))
            folder = {"log": "containerLogs"}.get(route.subresource, route.subresource)
            target = f"/{folder}/{at}/{container}"
            query = [(key, value) for key, value in query if key != "container"]
            if folder != "containerLogs":
                query += _kubelet_flags(request)
        if not (pod.get("spec") or {}).get("nodeName"):
            raise bad_request(f"pod {route.name} does not have a host assigned")
        if query:
            target += "?" + urlencode(query)
        head = relay.rewritten(request, target, {"Host": "node"})
        return relay.to(Upstream(str(self._paths.node_sock)), head + request.body)

    # --- proxy

    def _proxy(self, kind: Kind, route: Route, request: Request) -> Answer:
        """Relays plain HTTP to a pod or a service: `<name>`, `<name>:<port>`."""
        name, _, port = route.name.removeprefix("http:").partition(":")
        obj = self._resources.get(kind, route.namespace, name)
        if kind.resource == "services":
            address = obj["spec"].get("clusterIP")
            ports = {p.get("name"): p["port"] for p in obj["spec"].get("ports") or ()}
        else:
            address = (obj.get("status") or {}).get("podIP")
            containers = obj["spec"].get("containers") or ()
            every = [p for c in containers for p in c.get("ports") or ()]
            ports = {p.get("name"): p["containerPort"] for p in every}
        wanted = int(port) if port.isdigit() else ports.get(port or next(iter(ports), None))
        if not address or address == "None" or not wanted:
            raise unavailable(f"no endpoints available for {kind.plural} {route.name!r}")
        query = request.target.partition("?")[2]
        target = "/" + quote(route.rest, safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
        head = relay.rewritten(request, target, {"Host": f"{address}:{wanted}"})
        return relay.to(Upstream(address, wanted), head + request.body)

    # --- scale

    async def _scale(
        self, kind: Kind, route: Route, request: Request, context: Context
    ) -> Response:
        namespace = route.namespace if kind.namespaced else ""
        if route.verb == "get":
            return answer(_scale_of(kind, self._resources.get(kind, namespace, route.name)))
        if route.verb not in ("update", "patch"):
            raise method_not_allowed(route.verb, kind.plural)
        body = bodies.decode(request)
        form = bodies.media_type(request)
        path = _replicas_path(kind)

        def change(old: Obj) -> Obj:
            scale: Any = _scale_of(kind, old)
            if route.verb == "update":
                scale = body
            elif form == "application/json-patch+json":
                scale = patches.json_patch(scale, body)
            else:
                scale = patches.merge(scale, body)
            scale = check_types("autoscaling/v1", "Scale", scale)
            wanted = (scale.get("spec") or {}).get("replicas") or 0
            if wanted < 0:
                found = bad_value("spec.replicas", wanted, "must be greater than or equal to 0")
                raise invalid("Scale", "autoscaling", route.name, [found])
            version = (scale.get("metadata") or {}).get("resourceVersion")
            if version:
                old["metadata"]["resourceVersion"] = version
            _put(old, path, wanted)
            return old

        context.subresource = ""
        updated = await self._resources.update(
            kind, namespace, route.name, change, context, retry=True
        )
        return answer(_scale_of(kind, updated))

    # --- token

    def _token(self, kind: Kind, route: Route, request: Request, context: Context) -> Response:
        if route.verb != "create":
            raise method_not_allowed(route.verb, kind.plural)
        account = self._resources.get(kind, route.namespace, route.name)
        body = check_types(_TOKENS, "TokenRequest", bodies.decode(request))
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or _TOKEN_DEFAULT_S
        if not _TOKEN_MIN_S <= seconds <= _TOKEN_MAX_S:
            found = bad_value(
                "spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
            raise invalid("TokenRequest", "authentication.k8s.io", route.name, [found])
        moment = int(time.time())
        bound = spec.get("boundObjectRef") or {}
        audiences = spec.get("audiences") or [API_AUDIENCE]
        claims = Claims(
            namespace=route.namespace,
            account=route.name,
            account_uid=account["metadata"]["uid"],
            audiences=tuple(audiences),
            expires=moment + seconds,
            **self._bound(route.namespace, bound, route.name),
        )
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims.expires))
        token = "" if context.dry_run else self._signer.issue(claims, moment)
        return answer(
            {
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {
                    "name": route.name,
                    "namespace": route.namespace,
                    "creationTimestamp": now(),
                },
                "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
                "status": {"token": token, "expirationTimestamp": expires},
            },
            201,
        )

    def _bound(self, namespace: str, bound: Obj, account: str) -> dict[str, str]:
        if not bound:
            return {}
        kind = bound.get("kind", "")
        resource = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
        if resource is None:
            raise bad_request(f"cannot bind token to object of type {kind}")
        where = "" if kind == "Node" else namespace
        entry = self._resources.store.get(resource, where, bound.get("name", ""))
        if entry is None:
            raise not_found(resource, bound.get("name", ""))
        obj = entry.decode()
        uid = obj["metadata"]["uid"]
        if bound.get("uid") and bound["uid"] != uid:
            raise ApiError(
                409,
                "Conflict",
                f"the UID in the bound object reference ({bound['uid']}) does not match the UID "
                f"in record. The object might have been deleted and then recreated",
            )
        node = ""
        if kind == "Pod":
            if (obj["spec"].get("serviceAccountName") or "default") != account:
                raise bad_request(
                    f'cannot bind token for serviceaccount "{account}" to pod running with '
                    f"different serviceaccount name."
                )
            node = obj["spec"].get("nodeName", "")
        return {"bound_kind": kind, "bound_name": bound["name"], "bound_uid": uid, "node": node}

    # --- eviction, binding

    async def _evict(
        self, kind: Kind, route: Route, request: Request, context: Context
    ) -> Response:
        body = check_types("policy/v1", "Eviction", bodies.decode(request))
        options = body.get("deleteOptions") or {}
        context.subresource = ""
        await self._resources.delete(kind, route.namespace, route.name, options, context)
        return answer(success(), 201)

    async def _bind(self, kind: Kind, route: Route, request: Request, context: Context) -> Response:
        body = check_types("v1", "Binding", bodies.decode(request))
        target = (body.get("target") or {}).get("name")
        if not target:
            raise bad_request("a binding needs target.name")

        def change(pod: Obj) -> Obj:
            if pod["spec"].get("nodeName"):
                raise ApiError(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on pods/binding "{route.name}": pod '
                    f'{route.name} is already assigned to node "{pod["spec"]["nodeName"]}"',
                )
            pod["spec"]["nodeName"] = target
            return pod

        context.subresource = ""
        await self._resources.update(kind, route.namespace, route.name, change, context, retry=True)
        return answer(success(), 201)


def _container(pod: Obj, wanted: str) -> str:
    spec = pod.get("spec") or {}
    names = [c["name"] for c in spec.get("containers") or ()]
    inits = [c["name"] for c in spec.get("initContainers") or ()]
    inits += [c["name"] for c in spec.get("ephemeralContainers") or ()]
    pod_name = pod["metadata"]["name"]
    if wanted:
        if wanted not in names + inits:
            raise bad_request(f"container {wanted} is not valid for pod {pod_name}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    listed = " ".join(names)
    text = f"a container name must be specified for pod {pod_name}, choose one of: [{listed}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    raise bad_request(text)


def _kubelet_flags(request: Request) -> list[tuple[str, str]]:
    """Returns the kubelet's names for the streams of exec and attach."""
    names = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"))
    return [(kubelet, "1") for name, kubelet in names if request.first(name) in ("true", "1")]


def _replicas_path(kind: Kind, field: str = "specReplicasPath") -> str:
    if kind.crd is not None:
        scale = (kind.crd.get("subresources") or {}).get("scale") or {}
        default = ".spec.replicas" if field == "specReplicasPath" else ".status.replicas"
        return str(scale.get(field) or default)
    return ".spec.replicas" if field == "specReplicasPath" else ".status.replicas"


def _put(obj: Obj, path: str, value: object) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def _scale_of(kind: Kind, obj: Obj) -> Obj:
    from linkerd.local.apiserver.columns import selector_text

    meta = obj["metadata"]
    spec = at_path(obj, _replicas_path(kind))
    current = at_path(obj, _replicas_path(kind, "statusReplicasPath"))
    selector = (obj.get("spec") or {}).get("selector")
    if kind.crd is not None:
        path = ((kind.crd.get("subresources") or {}).get("scale") or {}).get("labelSelectorPath")
        found = at_path(obj, path) if path else []
        text = str(found[0]) if found else ""
    else:
        text = selector_text(selector) if selector else ""
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: meta[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in meta
        },
        "spec": {"replicas": spec[0] if spec else 0},
        "status": {"replicas": current[0] if current else 0, "selector": text},
    }

"""What a user asks of tap: flags → request → path of the API → match for the proxies. Pure.

Source: linkerd2 viz/tap/pkg/request.go, viz/tap/api/grpc_server.go, viz/pkg/util.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from linkerd.errors import UsageError
from linkerd.gen import http_types_pb2, tap_pb2
from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.viz.kinds import KINDS, Target, canonical, targets

GROUP = "tap.linkerd.io"
VERSION = "v1alpha1"
ROOT = f"/apis/{GROUP}/{VERSION}"
"""Where the API is served."""

TAPPABLE = (
    "cronjob",
    "daemonset",
    "deployment",
    "job",
    "namespace",
    "pod",
    "replicaset",
    "replicationcontroller",
    "statefulset",
)
"""Kinds whose pods can be tapped."""

DEFAULT_RPS = 100.0

Match = tap.TapByResourceRequest.Match


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user wants to see; empty fields do not narrow."""

    namespace: str
    to: str = ""
    to_namespace: str = ""
    max_rps: float = DEFAULT_RPS
    scheme: str = ""
    method: str = ""
    authority: str = ""
    path: str = ""
    selector: str = ""
    headers: bool = False


def build(words: Iterable[str], wish: Wish) -> tap.TapByResourceRequest:
    """Returns the request for a resource, given as on the command line.

    Raises:
        UsageError: the words name no single kind or a kind that cannot be tapped.
    """
    found = targets(list(words))
    if len(found) != 1:
        raise UsageError("tap takes one resource: TYPE, TYPE/NAME or TYPE NAME")
    target = found[0]
    if target.kind not in TAPPABLE:
        raise UsageError(f"unsupported resource type [{target.kind}]")
    request = tap.TapByResourceRequest(
        target=viz.ResourceSelection(
            resource=_resource(target, wish.namespace), label_selector=wish.selector
        ),
        maxRps=wish.max_rps,
    )
    matches = request.match.all.matches
    if wish.to:
        other = targets([wish.to])[0]
        if other.kind not in (*TAPPABLE, "service"):
            raise UsageError(f"unsupported resource type [{other.kind}]")
        where = wish.to_namespace or wish.namespace
        matches.add().destinations.resource.CopyFrom(_resource(other, where))
    elif wish.to_namespace:
        resource = viz.Resource(type="namespace", namespace=wish.to_namespace)
        matches.add().destinations.resource.CopyFrom(resource)
    for field in ("scheme", "method", "authority", "path"):
        value = getattr(wish, field)
        if value:
            setattr(matches.add().http, field, value)
    request.match.all.SetInParent()
    if wish.headers:
        request.extract.http.headers.SetInParent()
    return request


def _resource(target: Target, namespace: str) -> viz.Resource:
    if target.kind == "namespace":
        # Linkerd names a namespace in this field.
        return viz.Resource(type=target.kind, namespace=target.name or namespace)
    return viz.Resource(type=target.kind, namespace=namespace, name=target.name)


def path_of(request: tap.TapByResourceRequest) -> str:
    """Returns the path at which a request is posted."""
    resource = request.target.resource
    base = f"{ROOT}/watch/namespaces/{resource.namespace}"
    if resource.type == "namespace":
        return f"{base}/tap"
    return f"{base}/{resource.type}s/{resource.name}/tap"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path of the API is about."""

    namespace: str
    plural: str
    name: str = ""


def place_of(path: str) -> Place | None:
    """Returns what a path ending in `/tap` is about; None for other paths."""
    prefix = f"{ROOT}/watch/namespaces/"
    if not path.startswith(prefix):
        return None
    parts = path[len(prefix) :].split("/")
    if len(parts) == 2 and parts[0] and parts[1] == "tap":
        return Place(parts[0], "namespaces", parts[0])
    if len(parts) == 4 and parts[0] and parts[3] == "tap" and _plural(parts[1]):
        return Place(parts[0], parts[1], parts[2])
    return None


def _plural(word: str) -> bool:
    return any(word == f"{kind}s" for kind in (*TAPPABLE, "service"))


def observed(request: tap.TapByResourceRequest, limit: int) -> tap_pb2.ObserveRequest:
    """Returns what each proxy is asked.

    Args:
        request: What the user asked.
        limit: How many requests a proxy may report before it ends the stream.

    Raises:
        UsageError: the match is more than a flat `all`, or names something unknown.
    """
    wanted = tap_pb2.ObserveRequest(limit=limit)
    wanted.match.all.SetInParent()
    if request.HasField("match"):
        kind = request.match.WhichOneof("match")
        if kind not in (None, "all"):
            raise UsageError(f"unexpected match specified: {kind}", hint="use a flat all")
        for each in request.match.all.matches:
            wanted.match.all.matches.extend(_matches(each))
    if request.extract.http.HasField("headers"):
        wanted.extract.http.headers.SetInParent()
    return wanted


def _matches(match: Match) -> list[tap_pb2.ObserveRequest.Match]:
    kind = match.WhichOneof("match")
    if kind == "destinations":
        return _destinations(match.destinations.resource)
    if kind == "http":
        return [_http(match.http)]
    raise UsageError(f"unexpected match specified: {kind}", hint="use a flat all")


def _destinations(resource: viz.Resource) -> list[tap_pb2.ObserveRequest.Match]:
    kind = canonical(resource.type)
    if kind not in (*TAPPABLE, "service"):
        raise UsageError(f"unsupported resource type [{resource.type}]")
    labels = {}
    if resource.name and kind != "namespace":
        labels[KINDS[kind].label] = resource.name
    namespace = resource.namespace or (resource.name if kind == "namespace" else "")
    if namespace:
        labels["namespace"] = namespace
    found = []
    for key, value in labels.items():
        one = tap_pb2.ObserveRequest.Match()
        one.destination_label.key, one.destination_label.value = key, value
        found.append(one)
    return found


def _http(match: Match.Http) -> tap_pb2.ObserveRequest.Match:
    one = tap_pb2.ObserveRequest.Match()
    kind = match.WhichOneof("match")
    if kind == "scheme":
        one.http.scheme.CopyFrom(_scheme(match.scheme))
    elif kind == "method":
        one.http.method.CopyFrom(_method(match.method))
    elif kind == "authority":
        one.http.authority.exact = match.authority
    elif kind == "path":
        one.http.path.prefix = match.path
    else:
        raise UsageError("unknown HTTP match")
    return one


def _scheme(text: str) -> http_types_pb2.Scheme:
    known = http_types_pb2.Scheme.Registered.keys()
    if text.upper() in known:
        value = http_types_pb2.Scheme.Registered.Value(text.upper())
        return http_types_pb2.Scheme(registered=value)
    return http_types_pb2.Scheme(unregistered=text.lower())


def _method(text: str) -> http_types_pb2.HttpMethod:
    known = http_types_pb2.HttpMethod.Registered.keys()
    if text.upper() in known:
        value = http_types_pb2.HttpMethod.Registered.Value(text.upper())
        return http_types_pb2.HttpMethod(registered=value)
    return http_types_pb2.HttpMethod(unregistered=text.upper())

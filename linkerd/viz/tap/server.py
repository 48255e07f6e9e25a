"""The tap API: who may tap what, and the stream of events.

Errors that concern a tap travel as Linkerd's clients expect: status 200, header `linkerd-error`
and one framed `ApiError`; only a refused user sees 403.
Source: linkerd2 viz/tap/api/handlers.go, pkg/protohttp (paths, texts, framing).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from linkerd import log
from linkerd.errors import Forbidden, LinkerdError, UsageError
from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.kube import resources
from linkerd.kube.client import KubeClient
from linkerd.kube.server import Answer, Request, Streamed
from linkerd.viz.cluster import Cluster
from linkerd.viz.objects import Pod
from linkerd.viz.tap import authn, catalogue, framing, hydrate, request, targets
from linkerd.viz.tap.observing import Observing

_CLUSTER_AGE_EVENTS = 256
_RBAC_HELP = "visit https://linkerd.io/tap-rbac for more information"
_STREAMS_MAX = 256

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """What the API is about."""

    control_plane_ns: str
    trust_domain: str
    tap_port: int = 4190
    ignored_headers: frozenset[str] = frozenset()


class TapServer:
    """Answers requests of the aggregated API; `handle` is a handler of `kube.server`.

    Args:
        cluster: Kept current by the caller.
        kube: To ask what a user may do.
        front_proxy: Whom to believe.
        scope: Settings of the mesh.
        registry: Where metrics go.
    """

    def __init__(
        self,
        cluster: Cluster,
        kube: KubeClient,
        front_proxy: authn.FrontProxy,
        scope: Scope,
        registry: CollectorRegistry,
    ) -> None:
        self._cluster = cluster
        self._kube = kube
        self._front_proxy = front_proxy
        self._scope = scope
        self._registry = registry
        self._open = Gauge("tap_streams_open", "Taps that run.", registry=registry)
        self._events = Counter("tap_events", "Events sent to clients.", registry=registry)
        self._dropped = Counter(
            "tap_events_dropped", "Events that clients were too slow for.", registry=registry
        )
        self._running = 0

    async def handle(self, asked: Request) -> Answer | Streamed:
        """Returns the answer to one request."""
        place = request.place_of(asked.path)
        if place is None:
            return self._document(asked.path)
        if asked.method != "POST":
            return _json(200, catalogue.roots())
        try:
            user = authn.user_of(self._front_proxy, asked.certificate, asked.fields)
        except Forbidden as error:
            return _json(400, {"error": error.message})
        try:
            await self._authorise(user, place)
        except Forbidden as error:
            text = f"tap authorization failed ({error.message}), {_RBAC_HELP}"
            return _json(403, {"error": text})
        except LinkerdError as error:
            return _failure("Internal Server Error", error.message)
        return self._tap(asked, user)

    def _document(self, path: str) -> Answer:
        if path.startswith("/healthz"):
            return Answer(200, b"ok")
        if path == "/metrics":
            return Answer(200, generate_latest(self._registry))
        document = catalogue.answer(path)
        if document is None:
            return _json(404, catalogue.roots())
        return _json(200, document)

    async def _authorise(self, user: authn.User, place: request.Place) -> None:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name,
                "groups": list(user.groups),
                "extra": {key: list(values) for key, values in user.extra.items()},
                "resourceAttributes": {
                    "namespace": place.namespace,
                    "verb": "watch",
                    "group": request.GROUP,
                    "version": request.VERSION,
                    "resource": place.plural,
                    "subresource": "tap",
                    "name": place.name,
                },
            },
        }
        status = (await self._kube.create(resources.SUBJECT_ACCESS_REVIEWS, review))["status"]
        if not status.get("allowed"):
            raise Forbidden(status.get("reason") or "not authorized to access " + place.plural)

    def _tap(self, asked: Request, user: authn.User) -> Answer | Streamed:
        try:
            wanted = tap.TapByResourceRequest.FromString(asked.body)
        except DecodeError:
            return _failure("Bad Request", "the body is no TapByResourceRequest")
        try:
            events = self._prepared(wanted, asked.path)
        except LinkerdError as error:
            return _failure("Internal Server Error", error.message)
        _log.info("tap started", user=user.name, path=asked.path)
        return Streamed(events)

    def _prepared(self, wanted: tap.TapByResourceRequest, path: str) -> AsyncGenerator[bytes, None]:
        if not wanted.HasField("target") or not wanted.target.HasField("resource"):
            raise UsageError("TapByResource received nil target ResourceSelection")
        if request.path_of(wanted) != path:
            raise UsageError(f"tap request body and URL do not match: {request.path_of(wanted)}")
        if wanted.target.resource.type not in request.TAPPABLE:
            raise UsageError(f"unsupported resource type [{wanted.target.resource.type}]")
        if self._running >= _STREAMS_MAX:
            raise UsageError(f"{_STREAMS_MAX} taps are running already")
        request.observed(wanted, 1)  # refuses what cannot be asked

        def pods() -> tuple[Pod, ...]:
            return targets.pods(self._cluster, wanted.target, self._scope.control_plane_ns).tappable

        targets.require(
            targets.pods(self._cluster, wanted.target, self._scope.control_plane_ns),
            wanted.target.resource,
        )
        observing = Observing(
            pods,
            lambda limit: request.observed(wanted, limit),
            self._identity,
            max_rps=wanted.maxRps or request.DEFAULT_RPS,
            port=self._scope.tap_port,
        )
        return self._stream(observing)

    async def _stream(self, observing: Observing) -> AsyncGenerator[bytes, None]:
        addresses = hydrate.Addresses(self._cluster)
        self._running += 1
        self._open.inc()
        count = dropped = 0
        try:
            async with aclosing(observing.events()) as events:
                async for seen in events:
                    count += 1
                    if count % _CLUSTER_AGE_EVENTS == 0:
                        addresses = hydrate.Addresses(self._cluster)
                    found = hydrate.event(seen, addresses, self._scope.ignored_headers)
                    self._events.inc()
                    self._dropped.inc(observing.dropped - dropped)
                    dropped = observing.dropped
                    yield framing.frame(found.SerializeToString())
        finally:
            self._running -= 1
            self._open.dec()

    def _identity(self, pod: Pod) -> str:
        plane = self._scope.control_plane_ns
        return (
            f"{pod.account}.{pod.metadata.namespace}.serviceaccount.identity."
            f"{plane}.{self._scope.trust_domain}"
        )


def _json(status: int, document: Any) -> Answer:
    return Answer(status, msgspec.json.encode(document), "application/json")


def _failure(header: str, message: str) -> Answer:
    body = framing.frame(viz.ApiError(error=message).SerializeToString())
    return Answer(200, body, framing.CONTENT_TYPE, {framing.ERROR_HEADER: header})

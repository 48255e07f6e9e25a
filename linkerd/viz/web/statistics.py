"""Linkerd's JSON API of the dashboard: parameters → a question to metrics-api → protojson.

Source: linkerd2 web/srv/api_handlers.go (paths, parameters, cache); JSON is protojson with
unpopulated fields.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from linkerd.errors import LinkerdError, UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.viz import client
from linkerd.viz.kinds import Target, canonical

_CACHE_S = 1.5
_CACHE_MAX = 64

Ask = Callable[[grpc.aio.Channel, Mapping[str, str]], Awaitable[Message]]


def routes(channel: grpc.aio.Channel) -> list[Route]:
    """Returns the routes, which share a cache of the last answers."""
    cache = _Cache()
    return [
        Route(path, partial(_answer, ask=ask, channel=channel, cache=cache))
        for path, ask in _PATHS.items()
    ]


def stat_request(query: Mapping[str, str]) -> pb.StatSummaryRequest:
    """Returns the request for the parameters of /api/tps-reports.

    Raises:
        UsageError: a parameter has no meaning.
    """
    kind = canonical(query.get("resource_type") or "deployment")
    everywhere = query.get("all_namespaces") == "true"
    namespace = "" if everywhere else query.get("namespace", "")
    name = query.get("resource_name", "")
    if kind == "namespace":
        name = name or namespace
    elif not namespace and not everywhere:
        namespace = "default"
    return client.stat_request(
        Target(kind, name),
        namespace,
        window=query.get("window") or "1m",
        to=_other(query, "to", namespace),
        from_=_other(query, "from", namespace),
        skip_stats=query.get("skip_stats") == "true",
        tcp_stats=query.get("tcp_stats") == "true",
    )


def _other(query: Mapping[str, str], end: str, namespace: str) -> pb.Resource | None:
    name, kind = query.get(f"{end}_name", ""), query.get(f"{end}_type", "")
    elsewhere = query.get(f"{end}_namespace", "")
    if not (name or kind or elsewhere):
        return None
    if not kind and not name:
        return pb.Resource(type="namespace", name=elsewhere)
    return pb.Resource(
        namespace=elsewhere or namespace, type=canonical(kind or "deployment"), name=name
    )


async def _pods(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    found = await client.list_pods(channel, query.get("namespace", ""))
    return pb.ListPodsResponse(pods=found)


async def _services(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    found = await client.list_services(channel, query.get("namespace", ""))
    return pb.ListServicesResponse(services=found)


async def _edges(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    kind = canonical(query.get("resource_type") or "deployment")
    found = await client.edges(channel, kind, query.get("namespace", ""))
    return pb.EdgesResponse(ok=pb.EdgesResponse.Ok(edges=found))


async def _routes(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    target = Target(
        canonical(query.get("resource_type") or "deployment"), query.get("resource_name", "")
    )
    namespace = query.get("namespace") or "default"
    found = await client.top_routes(
        channel,
        target,
        namespace,
        window=query.get("window") or "1m",
        to=_other(query, "to", namespace),
    )
    return pb.TopRoutesResponse(ok=pb.TopRoutesResponse.Ok(routes=found))


async def _gateways(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    table = await client.gateways(
        channel,
        query.get("remoteClusterName", ""),
        query.get("gatewayNamespace", ""),
        window=query.get("window") or "1m",
    )
    return pb.GatewaysResponse(ok=pb.GatewaysResponse.Ok(gateways_table=table))


async def _authz(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    target = Target(
        canonical(query.get("resource_type") or "deployment"), query.get("resource_name", "")
    )
    namespace = query.get("namespace") or "default"
    rows = await client.authz(channel, target, namespace, window=query.get("window") or "1m")
    table = pb.StatTable(pod_group=pb.StatTable.PodGroup(rows=rows))
    return pb.AuthzResponse(ok=pb.AuthzResponse.Ok(stat_table=table))


async def _reports(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    return await client.stat_response(channel, stat_request(query))


_PATHS: dict[str, Ask] = {
    "/api/tps-reports": _reports,
    "/api/pods": _pods,
    "/api/services": _services,
    "/api/edges": _edges,
    "/api/routes": _routes,
    "/api/gateways": _gateways,
    "/api/authz": _authz,
}


class _Cache:
    """Answers of the last moments, so that many browsers ask metrics-api once."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, bytes]] = {}

    def get(self, key: str) -> bytes | None:
        until, body = self._entries.get(key, (0.0, b""))
        return body if time.monotonic() < until else None

    def put(self, key: str, body: bytes) -> None:
        while len(self._entries) >= _CACHE_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (time.monotonic() + _CACHE_S, body)


async def _answer(request: Request, ask: Ask, channel: grpc.aio.Channel, cache: _Cache) -> Response:
    key = f"{request.url.path}?{request.url.query}"
    body = cache.get(key)
    if body is None:
        try:
            message = await ask(channel, request.query_params)
        except UsageError as error:
            return JSONResponse({"error": error.message}, 400)
        except LinkerdError as error:
            return JSONResponse({"error": error.message}, 500)
        data = MessageToDict(message, always_print_fields_with_no_presence=True)
        body = json.dumps(data).encode()
        cache.put(key, body)
    return Response(body, media_type="application/json")

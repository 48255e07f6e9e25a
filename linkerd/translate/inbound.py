"""Inbound policies → the messages of `io.linkerd.proxy.inbound`.

Source: linkerd2 policy-controller/grpc/src/inbound.rs.
"""

from __future__ import annotations

from linkerd.gen import http_route_pb2, meta_pb2
from linkerd.gen import inbound_pb2 as pb
from linkerd.model.policy import (
    DETECT_TIMEOUT_S,
    Authorization,
    Clients,
    InboundRoute,
    InboundServer,
    Reference,
)
from linkerd.translate.destination import http_method
from linkerd.translate.net import duration, ip_network
from linkerd.translate.routes import metadata


def server(value: InboundServer) -> bytes:
    """Returns the `Server` of a port's policy."""
    message = pb.Server(
        authorizations=[_authorization(each) for each in value.authorizations],
        labels=_labels(value.reference),
    )
    protocol = message.protocol
    match value.protocol:
        case "HTTP/1":
            protocol.http1.routes.extend(_http_route(each) for each in value.routes)
            protocol.http1.SetInParent()
        case "HTTP/2":
            protocol.http2.routes.extend(_http_route(each) for each in value.routes)
            protocol.http2.SetInParent()
        case "gRPC":
            protocol.grpc.routes.append(_default_grpc_route())
        case "opaque":
            protocol.opaque.SetInParent()
        case "TLS":
            protocol.tls.SetInParent()
        case _:
            protocol.detect.timeout.CopyFrom(duration(DETECT_TIMEOUT_S))
            protocol.detect.http_routes.extend(_http_route(each) for each in value.routes)
    return message.SerializeToString()


def _labels(reference: Reference) -> dict[str, str]:
    if reference.default:
        return {"group": "", "kind": "default", "name": reference.default}
    return {"group": reference.group, "kind": reference.kind, "name": reference.name}


def _authorization(value: Authorization) -> pb.Authz:
    return pb.Authz(
        networks=[
            pb.Network(
                net=ip_network(block.cidr),
                **{"except": [ip_network(each) for each in block.excluded]},
            )
            for block in value.networks
        ],
        authentication=_authentication(value.clients),
        labels=_labels(value.reference),
        metadata=metadata(value.reference),
    )


def _authentication(clients: Clients) -> pb.Authn:
    message = pb.Authn()
    if not clients.tls:
        message.unauthenticated.SetInParent()
        return message
    mesh = message.meshTLS
    if clients.unauthenticated:
        mesh.unauthenticated.SetInParent()
        return message
    mesh.identities.SetInParent()
    for name in clients.identities:
        mesh.identities.identities.add(name=name)
    for parts in clients.suffixes:
        mesh.identities.suffixes.add(parts=parts)
    return message


def _http_route(route: InboundRoute) -> pb.HttpRoute:
    message = pb.HttpRoute(
        metadata=metadata(route.reference),
        authorizations=[_authorization(each) for each in route.authorizations],
    )
    if route.paths is None:
        everything = http_route_pb2.HttpRouteMatch(path=http_route_pb2.PathMatch(prefix="/"))
        message.rules.add(matches=[everything])
    else:
        message.rules.add(
            matches=[
                http_route_pb2.HttpRouteMatch(
                    path=http_route_pb2.PathMatch(exact=path), method=http_method("GET")
                )
                for path in route.paths
            ]
        )
    return message


def _default_grpc_route() -> pb.GrpcRoute:
    message = pb.GrpcRoute(metadata=meta_pb2.Metadata(default="default"))
    rule = message.rules.add()
    rule.matches.add().rpc.SetInParent()
    return message

"""Puts the server together: state folder and sockets in, a running API out."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

from linkerd import log, runtime
from linkerd.errors import LocalError
from linkerd.local import pki
from linkerd.local.apiserver import bootstrap, builtin, crds, restart
from linkerd.local.apiserver.aggregation import Aggregation
from linkerd.local.apiserver.app import Api
from linkerd.local.apiserver.authn import Authenticator, component_user
from linkerd.local.apiserver.expiry import expire_events
from linkerd.local.apiserver.http import HttpServer
from linkerd.local.apiserver.kinds import Kinds
from linkerd.local.apiserver.rbac import Authorizer
from linkerd.local.apiserver.resources import Resources
from linkerd.local.apiserver.reviews import Reviews
from linkerd.local.apiserver.settings import Settings
from linkerd.local.apiserver.subresources import Subresources
from linkerd.local.apiserver.tokens import Signer
from linkerd.local.apiserver.webhooks import Webhooks
from linkerd.local.paths import COMPONENTS, Paths
from linkerd.local.store import Store

#: How often aggregated APIs are probed and old events looked for.
UPKEEP_S = 10.0

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Listeners:
    """The server's sockets: `host` for kubectl, `inside` for pods when there is a node."""

    host: socket.socket
    inside: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port on the host's loopback."""
        number: int = self.host.getsockname()[1]
        return number


def open_listeners(settings: Settings) -> Listeners:
    """Returns the inherited sockets, or a fresh one on 127.0.0.1.

    Raises:
        LocalError: the port is in use or a descriptor is no listening socket.
    """
    try:
        inherited = [socket.socket(fileno=number) for number in settings.listen_fd]
    except OSError as error:
        raise LocalError(f"descriptors {settings.listen_fd} are no sockets: {error}") from error
    if inherited:
        return Listeners(inherited[0], inherited[1] if len(inherited) > 1 else None)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", settings.port))
    except OSError as error:
        sock.close()
        raise LocalError(
            f"port {settings.port} of 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}",
            hint="choose another with --port",
        ) from error
    return Listeners(sock)


def build(paths: Paths, store: Store, listeners: Listeners, aggregation: Aggregation) -> Api:
    """Returns the API over a store, with what every cluster has in it."""
    kinds = Kinds()
    address = bootstrap.node_address(listeners.inside is not None, listeners.port)
    bootstrap.run(store, kinds, paths, address)
    crds.follow(store, kinds)
    signer = Signer(pki.signing_key(paths))
    components = {paths.token(name).read_text(): component_user(name) for name in COMPONENTS}
    authenticator = Authenticator(signer, store, components)
    authorizer = Authorizer(store)
    resources = Resources(store, Webhooks(store, kinds), builtin.admit)
    return Api(
        resources=resources,
        kinds=kinds,
        authenticator=authenticator,
        authorizer=authorizer,
        reviews=Reviews(authenticator, authorizer),
        subresources=Subresources(resources, signer, paths),
        aggregation=aggregation,
        signer=signer,
        address=f"127.0.0.1:{listeners.port}",
    )


def tls_context(paths: Paths) -> ssl.SSLContext:
    """Returns the server side of TLS with the cluster's serving certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(paths.pki / "apiserver.crt", paths.pki / "apiserver.key")
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _upkeep(store: Store, aggregation: Aggregation) -> None:
    """Looks after aggregated APIs and old events, every few seconds, for ever."""

    async def step() -> None:
        await aggregation.probe()
        expire_events(store, time.time())
        await asyncio.sleep(UPKEEP_S)

    await runtime.forever("upkeep", step)


async def serve(settings: Settings, paths: Paths, stop: asyncio.Event) -> None:
    """Serves until `stop` is set.

    Raises:
        LocalError: the state is in use, the port is taken.
    """
    listeners = open_listeners(settings)
    pki.prepare(paths, settings.cluster)
    context = "linkerd-local" + ("" if settings.cluster == "default" else f"-{settings.cluster}")
    node = "" if listeners.inside else f"127.0.0.1:{listeners.port}"
    pki.write_kubeconfigs(paths, f"127.0.0.1:{listeners.port}", node, context)
    store = Store(paths.store)
    try:
        if settings.fresh:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            _log.info("pods ended with the last run", pods=restart.run(store, now))
        aggregation = Aggregation(store, paths)
        api = build(paths, store, listeners, aggregation)
        server = HttpServer(api, tls_context(paths))
        for sock in (listeners.host, listeners.inside):
            if sock is not None:
                await server.listen(sock)
        api.ready.set()
        if settings.ready_fd >= 0:
            os.write(settings.ready_fd, b"ready\n")
        _log.info("api server ready", port=listeners.port, version=store.version)
        chores: set[asyncio.Task[Any]] = set()
        runtime.spawn(_upkeep(store, aggregation), name="upkeep", into=chores)
        await stop.wait()
        for task in tuple(chores):
            task.cancel()
        await server.close()
    finally:
        store.close()

"""One request from bytes to answer: who is it, may they, and which part answers.

The only place where refusals become HTTP answers.
"""

from __future__ import annotations

import asyncio

import msgspec

from linkerd import log
from linkerd.errors import LinkerdError
from linkerd.local.apiserver import discovery, openapi, options, subresources, verbs
from linkerd.local.apiserver.aggregation import Aggregation
from linkerd.local.apiserver.authn import ANONYMOUS, AUTHENTICATED, Authenticator, User
from linkerd.local.apiserver.bodies import answer
from linkerd.local.apiserver.http import Answer, Request, Response
from linkerd.local.apiserver.kinds import Kinds
from linkerd.local.apiserver.rbac import Act, Authorizer
from linkerd.local.apiserver.resources import Context, Resources
from linkerd.local.apiserver.reviews import Reviews
from linkerd.local.apiserver.route import Route, parse
from linkerd.local.apiserver.status import (
    ApiError,
    internal,
    method_not_allowed,
    no_such_path,
    unauthorized,
)
from linkerd.local.apiserver.subresources import Subresources
from linkerd.local.apiserver.tokens import ISSUER, Signer

_log = log.logger(__name__)

_WRITES = ("create", "update", "patch", "delete", "deletecollection")


class Api:
    """The Kubernetes API over one store; call it with a request."""

    def __init__(
        self,
        *,
        resources: Resources,
        kinds: Kinds,
        authenticator: Authenticator,
        authorizer: Authorizer,
        reviews: Reviews,
        subresources: Subresources,
        aggregation: Aggregation,
        signer: Signer,
        address: str,
    ) -> None:
        """`address` is the `host:port` that discovery names."""
        self._resources = resources
        self._kinds = kinds
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._reviews = reviews
        self._subresources = subresources
        self._aggregation = aggregation
        self._signer = signer
        self._address = address
        self.ready = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        """Answers one request; refusals are `Status` answers, never exceptions."""
        context = Context(ANONYMOUS)
        try:
            context.user = self._user(request)
            found = await self._dispatch(request, context)
        except ApiError as error:
            found = Response(error.status, msgspec.json.encode(error.body()), headers=error.headers)
        except LinkerdError as error:
            _log.error("request failed", path=request.path, error=error.message)
            found = answer(internal(error.message).body(), 500)
        if context.warnings and isinstance(found, Response):
            found.headers["Warning"] = ", ".join(
                f'299 - "{_quoted(text)}"' for text in context.warnings
            )
        return found

    def _user(self, request: Request) -> User:
        header = request.headers.get("authorization", "")
        if not header:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        user = self._authenticator.authenticate(token.strip())
        if scheme.lower() != "bearer" or user is None:
            raise unauthorized()
        return self._impersonated(request, user)

    def _impersonated(self, request: Request, user: User) -> User:
        """Returns whom the caller acts for: itself, or whom it names and may impersonate."""
        name = request.headers.get("impersonate-user")
        if not name:
            return user
        groups = tuple(
            group.strip()
            for group in request.headers.get("impersonate-group", "").split(",")
            if group.strip()
        )
        wanted = [Act("impersonate", resource="users", name=name)]
        parts = name.split(":")
        if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
            wanted = [
                Act("impersonate", resource="serviceaccounts", namespace=parts[2], name=parts[3])
            ]
            groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}")
        wanted += [Act("impersonate", resource="groups", name=group) for group in groups]
        for act in wanted:
            if act.resource != "groups" or request.headers.get("impersonate-group"):
                self._require(user, act)
        return User(name, (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))))

    async def _dispatch(self, request: Request, context: Context) -> Answer:
        watch = request.first("watch") in ("true", "1")
        route = parse(request.method, request.path, watch)
        self._authorize(route, context.user)
        if not route.is_resource:
            return await self._path(request, route, context)
        kind = self._kinds.get(route.group, route.version, route.resource)
        if kind is None:
            relay = self._aggregation.relay(route, request, context.user)
            if relay is None:
                raise no_such_path()
            return relay
        self._read_options(request, route, context)
        if not kind.stored and not route.subresource:
            if route.verb != "create":
                raise method_not_allowed(route.verb, kind.plural)
            return self._reviews.answer(kind, route, request, context)
        if route.subresource and route.subresource not in kind.subresources:
            raise no_such_path()
        if route.subresource and route.subresource not in subresources.LIKE_OBJECTS:
            return await self._subresources.handle(kind, route, request, context)
        return await verbs.handle(self._resources, kind, route, request, context)

    def _authorize(self, route: Route, user: User) -> None:
        act = Act(
            route.verb,
            route.group,
            route.resource,
            route.subresource,
            route.namespace,
            route.name,
            route.path,
        )
        self._require(user, act)

    def _require(self, user: User, act: Act) -> None:
        if self._authorizer.decide(user, act).allowed:
            return
        if user is ANONYMOUS:
            raise unauthorized()
        denial = act.denial(user)
        subject = f"{act.resource}.{act.group}" if act.group else act.resource
        named = f' "{act.name}"' if act.name else ""
        text = f"{subject}{named} is" if subject else ""
        details = {"name": act.name, "group": act.group, "kind": act.resource}
        raise ApiError(
            403,
            "Forbidden",
            f"{text} forbidden: {denial}".strip(),
            details={key: value for key, value in details.items() if value},
        )

    def _read_options(self, request: Request, route: Route, context: Context) -> None:
        context.subresource = route.subresource
        if route.verb not in _WRITES:
            return
        options.check(request, route.verb)
        context.dry_run = "All" in request.query.get("dryRun", ())
        context.manager = request.first("fieldManager") or _agent(request)
        context.validation = request.first("fieldValidation", "Warn")

    async def _path(self, request: Request, route: Route, context: Context) -> Answer:
        parts = [part for part in request.path.split("/") if part]
        if route.verb not in ("get", "head"):
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method here")
        match parts:
            case ["version"]:
                return answer(discovery.version())
            case ["healthz" | "livez" | "readyz", *_]:
                up = parts[0] == "livez" or self.ready.is_set()
                return Response(200 if up else 503, b"ok" if up else b"starting", "text/plain")
            case ["openapi", "v2"]:
                return Response(200, openapi.v2_document(), openapi.V2_CONTENT_TYPE)
            case ["openapi", "v3"]:
                return answer(openapi.index(self._kinds))
            case ["openapi", "v3", *rest]:
                return answer(openapi.group_document(self._kinds, rest))
            case [".well-known", "openid-configuration"]:
                return answer(_openid())
            case ["openid", "v1", "jwks"]:
                return answer(self._signer.key_set())
        if parts[:1] in (["api"], ["apis"]):
            return await self._discovery(request, parts)
        if not parts:
            return answer({"paths": ["/api", "/apis", "/healthz", "/openapi/v3", "/version"]})
        raise no_such_path()

    async def _discovery(self, request: Request, parts: list[str]) -> Answer:
        wanted = discovery.aggregated_version(request.headers.get("accept", ""))
        core = parts[0] == "api"
        remote = self._aggregation.group_versions()
        if len(parts) == 1 and wanted:
            resources = {} if core else await self._aggregation.resources()
            body = discovery.aggregated(self._kinds, wanted, core, resources)
            found = answer(body)
            found.content_type = discovery.aggregated_content_type(wanted)
            return found
        body_or_none = None
        match parts:
            case ["api"]:
                body_or_none = discovery.core_versions(self._address)
            case ["apis"]:
                body_or_none = discovery.group_list(self._kinds, remote)
            case ["api", version]:
                body_or_none = discovery.resource_list(self._kinds, "", version)
            case ["apis", group]:
                body_or_none = discovery.group(self._kinds, group, remote)
            case ["apis", group, version]:
                body_or_none = discovery.resource_list(self._kinds, group, version)
                if body_or_none is None:
                    return await self._aggregation.resource_list(group, version)
        if body_or_none is None:
            raise no_such_path()
        return answer(body_or_none)


def _openid() -> dict[str, object]:
    return {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


def _agent(request: Request) -> str:
    """Returns the field manager of a client that names none: its program's name."""
    return request.headers.get("user-agent", "unknown").partition("/")[0][:128]


def _quoted(text: str) -> str:
    plain = "".join(c if 32 <= ord(c) < 127 else "?" for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')

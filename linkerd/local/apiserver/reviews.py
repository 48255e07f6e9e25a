"""Reviews: questions about tokens and permissions, answered and not stored.

Source: Kubernetes pkg/registry/authentication, pkg/registry/authorization.
"""

from __future__ import annotations

from linkerd.local.apiserver import bodies
from linkerd.local.apiserver.authn import Authenticator, User
from linkerd.local.apiserver.bodies import answer
from linkerd.local.apiserver.http import Request, Response
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.rbac import Act, Authorizer
from linkerd.local.apiserver.resources import Context, check_body
from linkerd.local.apiserver.route import Route
from linkerd.local.apiserver.status import bad_request, method_not_allowed
from linkerd.local.apiserver.strict import check_types
from linkerd.local.apiserver.tokens import API_AUDIENCE
from linkerd.local.store import Obj


class Reviews:
    """Answers the kinds that are not stored."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer

    def answer(self, kind: Kind, route: Route, request: Request, context: Context) -> Response:
        """Returns the review with its status filled in.

        Raises:
            ApiError: 400, the review asks nothing.
        """
        body = check_body(kind, bodies.decode(request), route.namespace, "")
        check_types(kind.api_version, kind.kind, body)
        spec = body.get("spec") or {}
        match kind.kind:
            case "TokenReview":
                body["status"] = self._token(spec)
            case "SelfSubjectReview":
                body["status"] = {"userInfo": context.user.info()}
            case "SelfSubjectAccessReview":
                body["status"] = self._access(context.user, spec)
            case "SubjectAccessReview" | "LocalSubjectAccessReview":
                body["status"] = self._access(_subject(spec), spec)
            case "SelfSubjectRulesReview":
                body["status"] = self._rules(context.user, spec)
            case _:
                raise method_not_allowed("create", kind.plural)
        return answer(body, 201)

    def _token(self, spec: Obj) -> Obj:
        token = spec.get("token")
        if not token:
            raise bad_request("token review without a token")
        audiences = spec.get("audiences") or [API_AUDIENCE]
        found = self._authenticator.review(token, audiences)
        if found is None:
            return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
        user, shared = found
        return {"authenticated": True, "user": user.info(), "audiences": list(shared)}

    def _access(self, user: User, spec: Obj) -> Obj:
        verdict = self._authorizer.decide(user, act_of(spec))
        status: Obj = {"allowed": verdict.allowed}
        if verdict.reason:
            status["reason"] = verdict.reason
        return status

    def _rules(self, user: User, spec: Obj) -> Obj:
        resource_rules, path_rules = self._authorizer.rules(user, spec.get("namespace", ""))
        return {
            "resourceRules": resource_rules,
            "nonResourceRules": path_rules,
            "incomplete": False,
        }


def _subject(spec: Obj) -> User:
    if not spec.get("user") and not spec.get("groups"):
        raise bad_request("subject access review without user or groups")
    return User(spec.get("user", ""), tuple(spec.get("groups") or ()))


def act_of(spec: Obj) -> Act:
    """Returns what an access review asks about.

    Raises:
        ApiError: 400, neither resource nor path is named.
    """
    resource = spec.get("resourceAttributes")
    if resource is not None:
        return Act(
            resource.get("verb", ""),
            resource.get("group", ""),
            resource.get("resource", "") or "*",
            resource.get("subresource", ""),
            resource.get("namespace", ""),
            resource.get("name", ""),
        )
    path = spec.get("nonResourceAttributes")
    if path is None:
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes is needed")
    return Act(path.get("verb", ""), path=path.get("path", ""))

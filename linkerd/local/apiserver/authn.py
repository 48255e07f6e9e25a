"""Who is calling: bearer token → user.

Tokens of the components come from files and make members of `system:masters`; all others must be
service-account tokens whose account, and pod if bound to one, still exist.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from linkerd.local.apiserver.tokens import API_AUDIENCES, Claims, Signer
from linkerd.local.store import Store

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """A caller: name, groups and what else its credential says."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """Returns the `UserInfo` of reviews and admission."""
        answer: dict[str, Any] = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            answer["uid"] = self.uid
        if self.extra:
            answer["extra"] = self.extra
        return answer


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Authenticator:
    """Maps bearer tokens to users."""

    def __init__(self, signer: Signer, store: Store, components: dict[str, User]) -> None:
        """`components`: token → user, for the cluster's own programs."""
        self._signer = signer
        self._store = store
        self._components = components

    def authenticate(self, token: str) -> User | None:
        """Returns the user of a token for this API, None when it is not valid here."""
        known = self._components.get(token)
        if known is not None:
            return known
        found = self.review(token, API_AUDIENCES)
        return found[0] if found else None

    def review(self, token: str, audiences: Iterable[str]) -> tuple[User, tuple[str, ...]] | None:
        """Returns a token's user and which of `audiences` it is for; None when it is not valid."""
        known = self._components.get(token)
        wanted = tuple(audiences)
        if known is not None:
            return known, tuple(a for a in wanted if a in API_AUDIENCES)
        claims = self._signer.read(token, time.time())
        if claims is None:
            return None
        shared = tuple(a for a in wanted if a in claims.audiences)
        if not shared or not self._alive(claims):
            return None
        return service_account_user(claims), shared

    def _alive(self, claims: Claims) -> bool:
        account = self._store.get("serviceaccounts", claims.namespace, claims.account)
        if account is None or account.decode()["metadata"]["uid"] != claims.account_uid:
            return False
        if not claims.bound_kind:
            return True
        resource = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}[claims.bound_kind]
        namespace = "" if claims.bound_kind == "Node" else claims.namespace
        bound = self._store.get(resource, namespace, claims.bound_name)
        return bound is not None and bound.decode()["metadata"]["uid"] == claims.bound_uid


def service_account_user(claims: Claims) -> User:
    """Returns the user that a service account's token stands for."""
    extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims.token_id}"]}
    if claims.bound_kind == "Pod":
        extra["authentication.kubernetes.io/pod-name"] = [claims.bound_name]
        extra["authentication.kubernetes.io/pod-uid"] = [claims.bound_uid]
        if claims.node:
            extra["authentication.kubernetes.io/node-name"] = [claims.node]
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{claims.namespace}",
        AUTHENTICATED,
    )
    return User(claims.subject, groups, claims.account_uid, extra)


def component_user(component: str) -> User:
    """Returns the user of one of the cluster's own programs."""
    names = {
        "admin": "kubernetes-admin",
        "node": "system:node:local",
        "controllers": "system:kube-controller-manager",
    }
    return User(names[component], (MASTERS, AUTHENTICATED))

"""Scenarios: service-account tokens, reviews, RBAC, impersonation."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.kubernetes.contract.api import MERGE_PATCH, Api
from tests.kubernetes.contract.objects import (
    a_binding,
    a_config_map,
    a_role,
    a_rule,
    an_account,
)

_RBAC = "rbac.authorization.k8s.io/v1"
_AUTHN = "authentication.k8s.io/v1"
_AUTHZ = "authorization.k8s.io/v1"


def _token(api: Api, account: str, **spec: Any) -> str:
    path = api.core("serviceaccounts", account, "token")
    made = api.make(path, {"spec": spec})
    return str(made["status"]["token"])


def _claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def token_requests(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("a"))
    path = api.core("serviceaccounts", "a", "token")
    asked = {"audiences": ["identity.l5d.io"], "expirationSeconds": 3600}
    answer = api.send("POST", path, {"spec": asked}).json()
    claims = _claims(answer["status"]["token"])
    lifetime = claims["exp"] - claims["iat"]
    fixed = {key: claims[key] for key in ("aud", "iss", "sub")}
    kubernetes = claims["kubernetes.io"]
    return [
        (answer["kind"], sorted(answer["status"]), answer["spec"]),
        (sorted(claims), fixed, lifetime, sorted(kubernetes), sorted(kubernetes["serviceaccount"])),
        _claims(_token(api, "a"))["aud"],
        api.refusal("POST", path, {"spec": {"expirationSeconds": 10}}),
        api.refusal("POST", api.core("serviceaccounts", "absent", "token"), {"spec": {}}),
        api.refusal(
            "POST",
            path,
            {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "no"}}},
        ),
    ]


def token_reviews(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("a"))
    own = _token(api, "a", audiences=["identity.l5d.io"])
    usual = _token(api, "a")
    path = api.cluster(_AUTHN, "tokenreviews")

    def review(token: str, *audiences: str) -> Any:
        spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
        status = api.ask("POST", path, {"spec": spec})["body"]["status"]
        status.pop("error", None)
        status.setdefault("authenticated", False)
        extra = (status.get("user") or {}).get("extra") or {}
        if extra:
            status["user"]["extra"] = sorted(extra)
        return status

    return [
        review(own, "identity.l5d.io"),
        review(own, "identity.l5d.io", "other"),
        review(own),
        review(own, "other"),
        review(usual),
        review("garbage"),
        review(own[:-4] + "AAAA", "identity.l5d.io"),
        api.refusal("POST", path, {"spec": {}})["status"],
    ]


def own_token(api: Api) -> Any:
    """A token of another audience, a broken one and none are no log-in."""
    api.make(api.core("serviceaccounts"), an_account("a"))
    path = api.core("configmaps")
    return [
        api.ask("GET", path, token=_token(api, "a", audiences=["identity.l5d.io"])),
        api.ask("GET", path, token="garbage"),
        api.refusal("GET", path, token=_token(api, "a")),
    ]


def deleted_account(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("a"))
    token = _token(api, "a")
    # Not used before: a server may know a good token for some seconds.
    api.send("DELETE", api.core("serviceaccounts", "a"))
    review = {"spec": {"token": token}}
    status = api.ask("POST", api.cluster(_AUTHN, "tokenreviews"), review)["body"]["status"]
    return status.get("authenticated", False)


def roles(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("a"))
    api.make(api.core("configmaps"), a_config_map("mine"))
    api.make(
        api.grouped(_RBAC, "roles"),
        a_role(
            "reader",
            a_rule("", "configmaps", "get list"),
            {**a_rule("", "secrets", "get"), "resourceNames": ["one"]},
            a_rule("apps", "deployments/scale", "patch"),
        ),
    )
    api.make(api.grouped(_RBAC, "rolebindings"), a_binding("b", "reader", "a", api.namespace))
    token = _token(api, "a")
    deployments = api.grouped("apps/v1", "deployments")
    tries = [
        ("GET", api.core("configmaps", "mine")),
        ("GET", api.core("configmaps")),
        ("DELETE", api.core("configmaps", "mine")),
        ("GET", api.core("secrets", "one")),
        ("GET", api.core("secrets", "two")),
        ("GET", api.core("secrets")),
        ("GET", "/api/v1/configmaps"),
        ("GET", "/api/v1/namespaces/default/configmaps"),
        ("GET", api.cluster("v1", "nodes")),
        ("GET", f"{deployments}/d/scale"),
        ("DELETE", deployments),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
        ("GET", "/version"),
        ("GET", "/apis"),
    ]
    answers = [api.refusal(method, path, token=token) for method, path in tries]
    return [(one["status"], one.get("message") if one["status"] >= 400 else "") for one in answers]


def aggregated_roles(api: Api) -> Any:
    """A cluster role collects the rules of those that its selector finds."""
    label = f"contract.l5dx.io/{api.namespace}"
    path = api.cluster(_RBAC, "clusterroles")
    collector = {
        "metadata": {"name": f"{api.namespace}-all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label: "yes"}}]},
        "rules": [],
    }
    answer = api.ask("POST", path, collector)
    return answer


def escalation(api: Api) -> Any:
    """Nobody grants what he does not have."""
    api.make(api.core("serviceaccounts"), an_account("a"))
    api.make(
        api.grouped(_RBAC, "roles"),
        a_role("maker", a_rule("rbac.authorization.k8s.io", "roles rolebindings", "create get")),
    )
    api.make(api.grouped(_RBAC, "rolebindings"), a_binding("b", "maker", "a", api.namespace))
    token = _token(api, "a")
    secrets = a_role("more", a_rule("", "secrets", "get"))
    same = a_role("same", a_rule("rbac.authorization.k8s.io", "roles", "get"))
    return [
        api.refusal("POST", api.grouped(_RBAC, "roles"), secrets, token=token),
        api.refusal("POST", api.grouped(_RBAC, "roles"), same, token=token)["status"],
        api.refusal(
            "POST",
            api.grouped(_RBAC, "rolebindings"),
            {
                "metadata": {"name": "c"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "cluster-admin",
                },
                "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": api.namespace}],
            },
            token=token,
        )["status"],
    ]


def binding_rules(api: Api) -> Any:
    api.make(api.grouped(_RBAC, "roles"), a_role("r"))
    api.make(api.grouped(_RBAC, "rolebindings"), a_binding("b", "r", "a", api.namespace))
    one = api.grouped(_RBAC, "rolebindings", "b")
    other = {"roleRef": {"name": "other"}}
    return api.refusal("PATCH", one, other, kind=MERGE_PATCH)


def access_reviews(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("a"))
    api.make(api.grouped(_RBAC, "roles"), a_role("r", a_rule("", "pods", "get watch")))
    api.make(api.grouped(_RBAC, "rolebindings"), a_binding("b", "r", "a", api.namespace))
    user = f"system:serviceaccount:{api.namespace}:a"
    token = _token(api, "a")
    asked = [
        {"namespace": api.namespace, "verb": "get", "resource": "pods"},
        {"namespace": api.namespace, "verb": "delete", "resource": "pods"},
        {"verb": "get", "resource": "pods"},
        {"namespace": api.namespace, "verb": "get", "resource": "pods", "subresource": "log"},
    ]
    path = api.cluster(_AUTHZ, "subjectaccessreviews")
    return [
        api.ask("POST", path, {"spec": {"user": user, "resourceAttributes": one}})["body"]["status"]
        for one in asked
    ] + [
        api.ask(
            "POST",
            api.cluster(_AUTHZ, "selfsubjectaccessreviews"),
            {"spec": {"resourceAttributes": asked[0]}},
            token=token,
        )["body"]["status"],
        api.ask(
            "POST",
            path,
            {"spec": {"user": user, "nonResourceAttributes": {"path": "/version", "verb": "get"}}},
        )["body"]["status"]["allowed"],
        api.ask(
            "POST",
            path,
            {
                "spec": {
                    "user": "x",
                    "groups": ["system:masters"],
                    "resourceAttributes": asked[1],
                }
            },
        )["body"]["status"]["allowed"],
        api.refusal("POST", path, {"spec": {"user": user}})["status"],
    ]


def impersonation(api: Api) -> Any:
    user = f"system:serviceaccount:{api.namespace}:a"
    api.make(api.core("serviceaccounts"), an_account("a"))
    api.make(api.grouped(_RBAC, "roles"), a_role("r", a_rule("", "configmaps", "list")))
    api.make(api.grouped(_RBAC, "rolebindings"), a_binding("b", "r", "a", api.namespace))
    path = api.core("configmaps")
    return [
        api.refusal("GET", path, headers={"Impersonate-User": user})["status"],
        api.refusal("GET", api.core("secrets"), headers={"Impersonate-User": user}),
        api.refusal("GET", path, headers={"Impersonate-User": "nobody"}),
        api.refusal(
            "GET",
            path,
            headers={"Impersonate-User": "root", "Impersonate-Group": "system:masters"},
        )["status"],
        api.refusal("GET", path, headers={"Impersonate-Group": "system:masters"})["status"],
        api.refusal("GET", path, headers={"Impersonate-User": "x"}, token=_token(api, "a")),
    ]


def self_review(api: Api) -> Any:
    api.make(api.core("serviceaccounts"), an_account("a"))
    path = api.cluster(_AUTHN, "selfsubjectreviews")
    user = api.ask("POST", path, {}, token=_token(api, "a"))["body"]["status"]["userInfo"]
    return user["username"], user["groups"]

"""RBAC: rules, bindings, aggregation, and what everybody may do."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.local.apiserver.authn import User
from linkerd.local.apiserver.rbac import Act, Authorizer, covers, effective_rules
from linkerd.local.apiserver.rbac_defaults import objects
from linkerd.local.store import Obj, Store
from tests.unit.local.apiserver.builders import KINDS, an_object

READER = User("system:serviceaccount:ns:reader", ("system:serviceaccounts",))


def a_rule(**parts: Any) -> Obj:
    return {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], **parts}


@pytest.mark.parametrize(
    ("rule", "act", "allowed"),
    [
        (a_rule(), Act("get", resource="pods"), True),
        (a_rule(), Act("list", resource="pods"), False),
        (a_rule(verbs=["*"]), Act("list", resource="pods"), True),
        (a_rule(), Act("get", "apps", "pods"), False),
        (a_rule(apiGroups=["*"]), Act("get", "apps", "pods"), True),
        (a_rule(), Act("get", resource="pods", subresource="log"), False),
        (a_rule(resources=["pods/log"]), Act("get", resource="pods", subresource="log"), True),
        (a_rule(resources=["*/scale"]), Act("get", resource="pods", subresource="scale"), True),
        (a_rule(resources=["*"]), Act("get", resource="pods", subresource="log"), True),
        (a_rule(resourceNames=["a"]), Act("get", resource="pods", name="a"), True),
        (a_rule(resourceNames=["a"]), Act("get", resource="pods", name="b"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/apis/*"]}, Act("get", path="/apis/x"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/apis"]}, Act("get", path="/apis/x"), False),
        (a_rule(), Act("get", path="/apis"), False),
    ],
)
def test_rule_covers(rule: Obj, act: Act, allowed: bool) -> None:
    assert allowed == covers(rule, act)


def put(store: Store, obj: Obj) -> None:
    kind = KINDS.by_kind(obj["apiVersion"], obj["kind"])
    assert kind is not None
    store.create(kind.resource, obj)


def a_binding(kind: str, role_kind: str, role: str, namespace: str = "") -> Obj:
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "ns"}
    return an_object(
        kind,
        "binding",
        namespace,
        roleRef={"kind": role_kind, "name": role},
        subjects=[subject],
    )


@pytest.fixture
def store() -> Store:
    return Store(":memory:")


def test_role_binding_grants_in_its_namespace_only(store: Store) -> None:
    put(store, an_object("Role", "reads", "ns", rules=[a_rule()]))
    put(store, a_binding("RoleBinding", "Role", "reads", "ns"))
    authorizer = Authorizer(store)
    assert authorizer.decide(READER, Act("get", resource="pods", namespace="ns")).allowed
    assert not authorizer.decide(READER, Act("get", resource="pods", namespace="other")).allowed
    assert not authorizer.decide(READER, Act("get", resource="pods")).allowed


def test_role_binding_may_borrow_a_cluster_role(store: Store) -> None:
    put(store, an_object("ClusterRole", "reads", rules=[a_rule()]))
    put(store, a_binding("RoleBinding", "ClusterRole", "reads", "ns"))
    authorizer = Authorizer(store)
    assert authorizer.decide(READER, Act("get", resource="pods", namespace="ns")).allowed
    assert not authorizer.decide(READER, Act("get", resource="pods", namespace="other")).allowed


def test_cluster_role_binding_grants_everywhere(store: Store) -> None:
    put(store, an_object("ClusterRole", "reads", rules=[a_rule()]))
    put(store, a_binding("ClusterRoleBinding", "ClusterRole", "reads"))
    verdict = Authorizer(store).decide(READER, Act("get", resource="pods", namespace="any"))
    assert verdict.allowed
    assert 'RBAC: allowed by ClusterRoleBinding "binding" of ClusterRole "reads"' == verdict.reason


def test_changes_of_roles_count_at_once(store: Store) -> None:
    put(store, a_binding("ClusterRoleBinding", "ClusterRole", "reads"))
    authorizer = Authorizer(store)
    act = Act("get", resource="pods")
    assert not authorizer.decide(READER, act).allowed
    put(store, an_object("ClusterRole", "reads", rules=[a_rule()]))
    assert authorizer.decide(READER, act).allowed


def test_aggregated_roles_take_the_rules_of_selected_ones() -> None:
    chosen = an_object("ClusterRole", "a", labels={"to": "view"}, rules=[a_rule()])
    other = an_object("ClusterRole", "b", rules=[a_rule(verbs=["*"])])
    selector = {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}
    view = an_object("ClusterRole", "view", aggregationRule=selector)
    roles = {role["metadata"]["name"]: role for role in (chosen, other, view)}
    assert [a_rule()] == effective_rules(view, roles)


@pytest.mark.parametrize(
    ("role", "act", "allowed"),
    [
        ("cluster-admin", Act("delete", "any.io", "things"), True),
        ("admin", Act("create", "rbac.authorization.k8s.io", "roles"), True),
        ("admin", Act("create", resource="pods"), True),
        ("edit", Act("create", "apps", "deployments"), True),
        ("edit", Act("create", "rbac.authorization.k8s.io", "roles"), False),
        ("view", Act("list", "apps", "deployments"), True),
        ("view", Act("get", resource="secrets"), False),
        ("view", Act("create", resource="pods"), False),
        ("system:auth-delegator", Act("create", "authentication.k8s.io", "tokenreviews"), True),
    ],
)
def test_default_roles(store: Store, role: str, act: Act, allowed: bool) -> None:
    for obj in objects():
        put(store, obj)
    put(store, a_binding("ClusterRoleBinding", "ClusterRole", role))
    assert allowed == Authorizer(store).decide(READER, act).allowed


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/version", True), ("/readyz", True), ("/api", False), ("/metrics", False)],
)
def test_anybody_may_see_health_and_version(store: Store, path: str, allowed: bool) -> None:
    nobody = User("system:anonymous", ("system:unauthenticated",))
    assert allowed == Authorizer(store).decide(nobody, Act("get", path=path)).allowed


def test_masters_may_do_everything(store: Store) -> None:
    user = User("root", ("system:masters",))
    assert Authorizer(store).decide(user, Act("anything", "x", "y")).allowed


def test_denial_names_who_what_and_where() -> None:
    act = Act("list", "apps", "deployments", namespace="ns", subresource="scale")
    assert (
        'User "u" cannot list resource "deployments/scale" in API group "apps" in the '
        'namespace "ns"' == act.denial(User("u"))
    )

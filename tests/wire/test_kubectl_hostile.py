"""Mangled objects of every kind, in every form of writing: always an answer, never a fall.

Each request gets a status from 200 to 499; the server lives on and lists what it holds.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.wire.local_server import LocalServer, running

REQUESTS = 400
SEEDS = (1, 2, 3)
WRONG: tuple[Any, ...] = (
    None, 1, -1, "x", "", [], {}, [1], [None], [{}], {"a": 1}, {"a": None}, True, 1.5, "é\0", 10**30,
)  # fmt: skip
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
CONTAINER = {
    "name": "a",
    "image": "b",
    "env": [{"name": "x", "value": "1"}],
    "ports": [{"containerPort": 1}],
    "volumeMounts": [{"name": "v", "mountPath": "/x"}],
    "readinessProbe": {"httpGet": {"port": 1}},
}
SELECTOR = {
    "matchLabels": {"a": "b"},
    "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
}
VERSION = {
    "name": "v1",
    "served": True,
    "storage": True,
    "additionalPrinterColumns": [{"name": "x", "type": "string", "jsonPath": ".a"}],
    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.r"}},
    "selectableFields": [{"jsonPath": ".spec.a"}],
    "schema": {
        "openAPIV3Schema": {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {"a": {"type": "string", "default": "x", "pattern": "a"}},
                }
            },
        }
    },
}
HOOK = {
    "name": "x",
    "clientConfig": {"url": "https://localhost:1"},
    "rules": [
        {
            "apiGroups": ["zz"],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
        }
    ],
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "failurePolicy": "Ignore",
    "namespaceSelector": SELECTOR,
}
#: Collection → a good object; a name beside `a` follows the collection after a space.
GOOD: dict[str, dict[str, Any]] = {
    "/api/v1/namespaces/default/pods": {
        "spec": {
            "containers": [CONTAINER],
            "volumes": [
                {
                    "name": "v",
                    "projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]},
                }
            ],
        }
    },
    "/apis/apps/v1/namespaces/default/deployments": {
        "spec": {
            "selector": SELECTOR,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "a", "image": "b"}]},
            },
        }
    },
    "/api/v1/namespaces/default/services": {
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.3.3",
            "ports": [{"port": 80, "nodePort": 30001, "name": "x"}],
        }
    },
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions xs.a.b": {
        "spec": {
            "group": "a.b",
            "scope": "Namespaced",
            "names": {"plural": "xs", "kind": "X"},
            "versions": [VERSION],
        }
    },
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": {"webhooks": [HOOK]},
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": {
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "aggregationRule": {"clusterRoleSelectors": [SELECTOR]},
    },
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": {
        "roleRef": {"kind": "ClusterRole", "name": "a"},
        "subjects": [{"kind": "User", "name": "x"}],
    },
    "/apis/apiregistration.k8s.io/v1/apiservices": {
        "spec": {"group": "c.d", "version": "v1", "service": {"name": "x", "namespace": "default"}}
    },
    "/api/v1/namespaces/default/secrets": {"stringData": {"a": "b"}, "data": {"x": "eQ=="}},
    "/apis/batch/v1/namespaces/default/cronjobs": {
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}
    },
    "/apis/a.b/v1/namespaces/default/xs": {"spec": {"a": "a"}},
}
#: Questions and orders: only ever posted.
POSTED: dict[str, dict[str, Any]] = {
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": {
        "spec": {"user": "a", "groups": ["x"], "resourceAttributes": {"verb": "get"}}
    },
    "/apis/authentication.k8s.io/v1/tokenreviews": {"spec": {"token": "a", "audiences": ["x"]}},
    "/api/v1/namespaces/default/serviceaccounts/held/token": {
        "spec": {"audiences": ["x"], "boundObjectRef": {"kind": "Pod", "name": "a"}}
    },
    "/api/v1/namespaces/default/pods/a/eviction": {"deleteOptions": {"gracePeriodSeconds": 0}},
    "/api/v1/namespaces/default/pods/a/binding": {"target": {"name": "x"}},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    server: LocalServer
    with running(tmp_path_factory.mktemp("state")) as server, server.client() as client:
        client.post(
            "/api/v1/namespaces/default/serviceaccounts", json={"metadata": {"name": "held"}}
        )
        for address, body in GOOD.items():
            path, name = split(address)
            answer = client.post(path, json={"metadata": {"name": name}, **body})
            assert 201 == answer.status_code, answer.text
        yield client


def split(address: str) -> tuple[str, str]:
    path, _, name = address.partition(" ")
    return path, name or "a"


def mangled(obj: Any, draw: random.Random) -> Any:
    result = copy.deepcopy(obj)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        keys: Any = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(result)
    for _ in range(draw.randint(1, 2)):
        holder, key = draw.choice(places)
        holder[key] = draw.choice(WRONG)
    return result


def send(client: httpx2.Client, draw: random.Random, number: int) -> httpx2.Response:
    if draw.random() < 0.2:
        path = draw.choice(list(POSTED))
        return client.post(path, json=mangled(POSTED[path], draw))
    address = draw.choice(list(GOOD))
    path, name = split(address)
    way = draw.choice(["post", "put", "json", *PATCHES])
    wanted = f"n{number}" if way == "post" and name == "a" else name
    body = mangled({"metadata": {"name": wanted, "labels": {"a": "b"}}, **GOOD[address]}, draw)
    if way == "post":
        return client.post(path, json=body)
    if way == "put":
        return client.put(f"{path}/{name}", json=body)
    if way == "json":
        parts = draw.choices(["metadata", "spec", "0", "name", "labels", "a"], k=draw.randint(1, 3))
        operation = {
            "op": draw.choice(["add", "replace", "remove", "test"]),
            "path": "/" + "/".join(parts),
            "value": draw.choice(WRONG),
        }
        headers = {"Content-Type": "application/json-patch+json"}
        return client.patch(f"{path}/{name}", json=[operation], headers=headers)
    return client.patch(
        f"{path}/{name}",
        params={"fieldManager": "f", "force": "true"},
        content=json.dumps(body),
        headers={"Content-Type": PATCHES[way]},
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_mangled_objects_get_an_answer(client: httpx2.Client, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(REQUESTS):
        answer = send(client, draw, seed * REQUESTS + number)
        assert 200 <= answer.status_code < 500, (answer.request, answer.text)


def test_whatever_was_stored_can_be_listed(client: httpx2.Client) -> None:
    for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"):
        for address in GOOD:
            answer = client.get(split(address)[0], headers={"Accept": accept})
            assert answer.status_code in (200, 404), answer.text
    assert 200 == client.get("/apis").status_code

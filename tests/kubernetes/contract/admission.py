"""Scenarios: admission webhooks. A server of ours answers by what the object's labels ask for."""

from __future__ import annotations

import base64
from typing import Any

from tests.kubernetes.contract.api import MERGE_PATCH, Api
from tests.kubernetes.contract.objects import a_config_map

_ADMISSION = "admissionregistration.k8s.io/v1"


def _hook(api: Api, name: str, path: str, **more: Any) -> dict[str, Any]:
    ca, _, url = api.hooks.partition("@")
    return {
        "name": f"{name}.contract.l5dx.io",
        "clientConfig": {"url": f"{url}{path}", "caBundle": ca},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["configmaps"],
                "operations": ["*"],
            }
        ],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}},
        **more,
    }


class _Hooks:
    """Webhooks of one scenario, there while the block runs."""

    def __init__(self, api: Api, kind: str, *hooks: dict[str, Any]) -> None:
        self.api = api
        self.path = api.cluster(_ADMISSION, f"{kind}webhookconfigurations")
        self.name = f"{api.namespace}-{kind}"
        self.body = {"metadata": {"name": self.name}, "webhooks": list(hooks)}

    def __enter__(self) -> None:
        self.api.make(self.path, self.body)
        # Servers read configurations by a watch: the first hook to answer shows that it has begun.
        probe = a_config_map("probe", {"deny": "begun"})
        for _ in range(200):
            answer = self.api.send("POST", self.api.core("configmaps"), probe, dryRun="All")
            if answer.status_code not in (200, 201) or "begun" in answer.text.replace(
                '"deny":"begun"', ""
            ):
                return
            import time

            time.sleep(0.05)
        raise AssertionError(f"webhooks of {self.name} are never called")

    def __exit__(self, *_: object) -> None:
        self.api.send("DELETE", f"{self.path}/{self.name}")


def mutation(api: Api) -> Any:
    with _Hooks(api, "mutating", _hook(api, "mutate", "/mutate")):
        path, one = api.core("configmaps"), api.core("configmaps", "a")
        return [
            api.ask("POST", path, a_config_map("a", {"mutate": "yes"}, key="1"))["body"],
            api.ask("POST", path, a_config_map("b", key="1"))["body"],
            api.ask("PATCH", one, {"data": {"key": "2"}}, kind=MERGE_PATCH)["body"],
            api.refusal("POST", path, a_config_map("c", {"mutate": "badly"})),
        ]


def validation(api: Api) -> Any:
    with _Hooks(api, "validating", _hook(api, "validate", "/validate")):
        path = api.core("configmaps")
        return [
            api.ask("POST", path, a_config_map("a", {"deny": "no"})),
            api.ask("POST", path, a_config_map("b", {"deny": "plain"})),
            api.ask("POST", path, a_config_map("b", {"deny": "code"})),
            api.ask("POST", path, a_config_map("b", {"deny": "silent"})),
            api.ask("POST", path, a_config_map("c", {"warn": "yes"})),
            api.ask(
                "PATCH",
                api.core("configmaps", "a"),
                {"metadata": {"labels": {"deny": "plain"}}},
                kind=MERGE_PATCH,
            ),
        ]


def reviews(api: Api) -> Any:
    """What the webhook is sent, for each operation."""
    with _Hooks(api, "validating", _hook(api, "echo", "/echo")):
        path, one = api.core("configmaps"), api.core("configmaps", "a")
        api.make(path, a_config_map("a", key="1"))
        seen = [
            api.ask("POST", path, a_config_map("b", {"deny": "yes"}, key="1")),
            api.ask("POST", path, a_config_map("b", {"deny": "yes"}), dryRun="All"),
            api.ask("PATCH", one, {"metadata": {"labels": {"deny": "yes"}}}, kind=MERGE_PATCH),
        ]
        api.send(
            "PATCH", one, {"metadata": {"annotations": {"deny-delete": "yes"}}}, kind=MERGE_PATCH
        )
        seen.append(api.ask("DELETE", one, {"gracePeriodSeconds": 7}))
    return [_request(api, answer) for answer in seen]


def _request(api: Api, answer: Any) -> Any:
    import json

    message = answer["body"]["message"]
    text = message.partition("denied the request: ")[2]
    found = api.masked(json.loads(base64.b64decode(text)))
    # Who asked is the administrator of either cluster.
    found["request"].pop("userInfo")
    return found


def selectors(api: Api) -> Any:
    object_selector = {"matchLabels": {"watched": "yes"}}
    with _Hooks(
        api,
        "validating",
        _hook(api, "first", "/validate"),
        _hook(api, "second", "/deny", objectSelector=object_selector),
    ):
        path = api.core("configmaps")
        return [
            api.refusal("POST", path, a_config_map("a", {"watched": "yes"})),
            api.refusal("POST", path, a_config_map("a", {"watched": "no"}))["status"],
            api.refusal("POST", api.core("services"), {"metadata": {"name": "s"}})["status"],
        ]


def operations(api: Api) -> Any:
    hook = _hook(api, "updates", "/deny")
    hook["rules"][0]["operations"] = ["UPDATE"]
    with _Hooks(api, "validating", _hook(api, "first", "/validate"), hook):
        path, one = api.core("configmaps"), api.core("configmaps", "a")
        return [
            api.refusal("POST", path, a_config_map("a"))["status"],
            api.refusal("PATCH", one, {"data": {"x": "1"}}, kind=MERGE_PATCH),
            api.refusal("DELETE", one)["status"],
        ]


def failures(api: Api) -> Any:
    seen = []
    for policy in ("Fail", "Ignore"):
        for path in ("/broken", "/nonsense", "/wrong-uid"):
            hook = _hook(api, "odd", path, failurePolicy=policy)
            with _Hooks(api, "validating", _hook(api, "first", "/validate"), hook):
                answer = api.refusal(
                    "POST", api.core("configmaps"), a_config_map("a"), dryRun="All"
                )
                seen.append((policy, path, answer["status"], answer["reason"]))
    return seen


def slow(api: Api) -> Any:
    hook = _hook(api, "slow", "/slow", timeoutSeconds=1, failurePolicy="Fail")
    with _Hooks(api, "validating", _hook(api, "first", "/validate"), hook):
        answer = api.refusal("POST", api.core("configmaps"), a_config_map("a"))
    return answer["status"], answer["reason"], "deadline exceeded" in answer["message"]


def bad_configurations(api: Api) -> Any:
    path = api.cluster(_ADMISSION, "validatingwebhookconfigurations")
    changes: list[dict[str, Any]] = [
        {"sideEffects": None},
        {"sideEffects": "Some"},
        {"admissionReviewVersions": []},
        {"name": "short"},
        {"timeoutSeconds": 31},
        {"failurePolicy": "Odd"},
        {"clientConfig": {}},
    ]
    seen = []
    for change in changes:
        hook = {**_hook(api, "bad", "/validate"), **change}
        body = {"metadata": {"name": f"{api.namespace}-bad"}, "webhooks": [hook]}
        answer = api.refusal("POST", path, body, dryRun="All")
        seen.append((change, answer["status"], answer["reason"], answer["causes"]))
    return seen


def configuration_defaults(api: Api) -> Any:
    hook = _hook(api, "defaults", "/validate")
    body = {"metadata": {"name": f"{api.namespace}-d"}, "webhooks": [hook]}
    seen = []
    for kind in ("validating", "mutating"):
        path = api.cluster(_ADMISSION, f"{kind}webhookconfigurations")
        answer = api.ask("POST", path, body)
        (made,) = answer["body"]["webhooks"]
        made.pop("clientConfig")
        seen.append(answer)
        api.send("DELETE", f"{path}/{api.namespace}-d")
    return seen

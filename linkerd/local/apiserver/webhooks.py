"""Admission webhooks: who is asked, what they are sent, what their answer does.

Selection and patching are functions over values; `Webhooks` is the edge that calls.
Source: Kubernetes apiserver pkg/admission/plugin/webhook (rules, matching, order, timeouts).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from linkerd import log
from linkerd.local.apiserver import patches, relay
from linkerd.local.apiserver.kinds import Kind, Kinds
from linkerd.local.apiserver.relay import Upstream
from linkerd.local.apiserver.resources import Context
from linkerd.local.apiserver.selectors import from_object
from linkerd.local.apiserver.status import ApiError, internal
from linkerd.local.store import Obj, Store

_log = log.logger(__name__)

MUTATING = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
VALIDATING = "validatingwebhookconfigurations.admissionregistration.k8s.io"
#: Never sent to webhooks, so that a broken one can be repaired.
_EXEMPT = frozenset((MUTATING, VALIDATING))


@dataclass(frozen=True, slots=True)
class Call:
    """One admission request, as rules look at it."""

    kind: Kind
    operation: str
    new: Obj | None
    old: Obj | None
    subresource: str

    @property
    def subject(self) -> Obj:
        """The object that is written or deleted."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


class Webhooks:
    """Calls the webhooks that the store's configurations name."""

    def __init__(self, store: Store, kinds: Kinds) -> None:
        self._store = store
        self._kinds = kinds

    async def admit(
        self, kind: Kind, operation: str, new: Obj | None, old: Obj | None, context: Context
    ) -> Obj | None:
        """Returns the object as the mutating webhooks leave it.

        Raises:
            ApiError: one refuses, or fails and its policy is Fail.
        """
        for name, hook in self._matching(
            MUTATING, Call(kind, operation, new, old, context.subresource)
        ):
            call = Call(kind, operation, new, old, context.subresource)
            response = await self._ask(name, hook, call, context)
            if response is not None and new is not None:
                new = patched(new, response)
        return new

    async def validate(
        self, kind: Kind, operation: str, new: Obj | None, old: Obj | None, context: Context
    ) -> None:
        """Asks the validating webhooks, all at once.

        Raises:
            ApiError: one refuses, or fails and its policy is Fail.
        """
        call = Call(kind, operation, new, old, context.subresource)
        hooks = self._matching(VALIDATING, call)
        if not hooks:
            return
        answers = await asyncio.gather(
            *(self._ask(name, hook, call, context) for name, hook in hooks),
            return_exceptions=True,
        )
        for found in answers:
            if isinstance(found, BaseException):
                raise found

    def _matching(self, resource: str, call: Call) -> list[tuple[str, Obj]]:
        if call.kind.resource in _EXEMPT:
            return []
        labels = self._namespace_labels(call)
        found: list[tuple[str, Obj]] = []
        for entry in self._store.list(resource):
            found += [
                (entry.key[1], hook)
                for hook in entry.decode().get("webhooks") or ()
                if matches(hook, call, labels)
            ]
        return found

    def _namespace_labels(self, call: Call) -> dict[str, str] | None:
        if call.kind.resource == "namespaces":
            labels = call.subject["metadata"].get("labels") or {}
            return dict(labels)
        if not call.kind.namespaced:
            return None
        entry = self._store.get("namespaces", "", call.subject["metadata"].get("namespace", ""))
        return entry.labels if entry else {}

    async def _ask(self, configuration: str, hook: Obj, call: Call, context: Context) -> Obj | None:
        """Returns the webhook's response; None when it failed and that is to be ignored."""
        try:
            async with asyncio.timeout(hook.get("timeoutSeconds") or 10):
                response = await self._exchange(hook, call, context)
        except (
            OSError,
            TimeoutError,
            ValueError,
            KeyError,
            TypeError,
            msgspec.DecodeError,
            relay.Broken,
            ApiError,
        ) as error:
            said = error.message if isinstance(error, ApiError) else str(error)
            if isinstance(error, TimeoutError):
                said = "context deadline exceeded"
            _log.warn("webhook failed", webhook=hook["name"], error=said or repr(error))
            if hook.get("failurePolicy") == "Ignore":
                return None
            raise internal(
                f'failed calling webhook "{hook["name"]}": failed to call webhook: '
                f"{said or repr(error)}"
            ) from None
        for warning in response.get("warnings") or ():
            context.warn(str(warning))
        if not response.get("allowed"):
            raise refusal(hook["name"], response.get("status") or {})
        return response

    async def _exchange(self, hook: Obj, call: Call, context: Context) -> Obj:
        review = admission_review(call, context, str(uuid.uuid4()))
        body = msgspec.json.encode(review)
        upstream, target = self._upstream(hook["clientConfig"])
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {upstream.server_name}\r\n"
            f"Content-Type: application/json\r\nAccept: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        status, answer = await relay.exchange(upstream, head + body)
        if status != 200:
            text = answer[:200].decode("utf-8", "replace").strip()
            raise ValueError(f"unexpected response code: {status} {text}".strip())
        response = msgspec.json.decode(answer)["response"]
        if response.get("uid") != review["request"]["uid"]:
            raise ValueError("expected response.uid to be the uid of the request")
        found: Obj = response
        return found

    def _upstream(self, client: Obj) -> tuple[Upstream, str]:
        authority = client.get("caBundle")
        tls = ssl.create_default_context(
            cadata=base64.b64decode(authority).decode() if authority else None
        )
        service = client.get("service")
        if service is None:
            url = urlsplit(client["url"])
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            host = url.hostname or ""
            return Upstream(host, url.port or 443, tls, host), target
        entry = self._store.get("services", service["namespace"], service["name"])
        if entry is None:
            raise ValueError(f'service "{service["name"]}" not found')
        address = entry.decode()["spec"].get("clusterIP")
        if not address or address == "None":
            raise ValueError(f'service "{service["name"]}" has no cluster IP')
        path = service.get("path") or "/"
        name = f"{service['name']}.{service['namespace']}.svc"
        target = path if path.startswith("/") else f"/{path}"
        return Upstream(address, int(service.get("port") or 443), tls, name), target


def matches(hook: Obj, call: Call, namespace_labels: dict[str, str] | None) -> bool:
    """Whether a webhook is to be asked.

    Args:
        hook: One entry of a configuration's `webhooks`.
        call: The request.
        namespace_labels: Of the object's namespace, or of the namespace object itself; None for
            other cluster-wide objects, which every namespace selector matches.
    """
    if not any(_rule_matches(rule, call) for rule in hook.get("rules") or ()):
        return False
    namespaces = from_object(hook.get("namespaceSelector") or {})
    if namespace_labels is not None and not namespaces.matches(namespace_labels):
        return False
    selector = from_object(hook.get("objectSelector") or {})
    return any(
        selector.matches(obj["metadata"].get("labels") or {})
        for obj in (call.new, call.old)
        if obj is not None
    )


def _rule_matches(rule: Obj, call: Call) -> bool:
    def has(name: str, wanted: str) -> bool:
        return wanted in (rule.get(name) or ()) or "*" in (rule.get(name) or ())

    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") != call.kind.namespaced:
        return False
    if not (has("operations", call.operation) and has("apiGroups", call.kind.group)):
        return False
    # matchPolicy Equivalent: one stored object, so every version of it is meant.
    if not has("apiVersions", call.kind.version) and call.kind.crd is None:
        return False
    plural, sub = call.kind.plural, call.subresource
    wanted = {"*/*", f"{plural}/{sub}" if sub else plural}
    wanted |= {f"{plural}/*", f"*/{sub}"} if sub else {"*", f"{plural}/*"}
    return not wanted.isdisjoint(rule.get("resources") or ())


def admission_review(call: Call, context: Context, uid: str) -> Obj:
    """Returns the AdmissionReview that asks about a call."""
    kind = call.kind
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    gvr = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    meta = call.subject["metadata"]
    request: dict[str, Any] = {
        "uid": uid,
        "kind": gvk,
        "resource": gvr,
        "requestKind": gvk,
        "requestResource": gvr,
        "name": meta.get("name", ""),
        "operation": call.operation,
        "userInfo": context.user.info(),
        "object": call.new,
        "oldObject": call.old,
        "dryRun": context.dry_run,
        "options": {
            "kind": f"{call.operation.capitalize()}Options",
            "apiVersion": "meta.k8s.io/v1",
            **({"dryRun": ["All"]} if context.dry_run else {}),
        },
    }
    if kind.namespaced or kind.resource == "namespaces":
        request["namespace"] = meta.get("namespace") or meta.get("name", "")
    if call.subresource:
        request["subResource"] = request["requestSubResource"] = call.subresource
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def patched(obj: Obj, response: Obj) -> Obj:
    """Returns the object with a response's patch applied.

    Raises:
        ApiError: 500, the patch is of an unknown type or does not apply.
    """
    patch = response.get("patch")
    if not patch:
        return obj
    if response.get("patchType") != "JSONPatch":
        raise internal(f"webhook sent a patch of unknown type {response.get('patchType')!r}")
    try:
        operations = msgspec.json.decode(base64.b64decode(patch))
        found: Obj = patches.json_patch(obj, operations)
    except (ValueError, msgspec.DecodeError) as error:
        raise internal(f"webhook sent a malformed patch: {error}") from None
    except ApiError as error:
        raise internal(f"webhook's patch cannot be applied: {error.message}") from None
    return found


def refusal(name: str, status: Obj) -> ApiError:
    """Returns the error of a request that a webhook denied."""
    text = status.get("message") or status.get("reason") or "without explanation"
    separator = ": " if status.get("message") or status.get("reason") else " "
    # Kubernetes makes 400 of what is no refusal; a webhook that says nothing says so.
    code = max(status.get("code") or 0, 400)
    return ApiError(
        code,
        status.get("reason") or "",
        f'admission webhook "{name}" denied the request{separator}{text}',
    )

"""What the dashboard asks of the Kubernetes API: extensions, definitions, its own permissions.

Source: linkerd2 web/srv/api_handlers.go, handlers.go (paths, parameters, keys of JSON).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from linkerd.errors import LinkerdError, NotFound, Unavailable
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SERVICES,
    STATEFUL_SETS,
)

_KINDS = {
    "cronjob": CRON_JOBS,
    "daemonset": DAEMON_SETS,
    "deployment": DEPLOYMENTS,
    "job": JOBS,
    "pod": PODS,
    "replicaset": REPLICA_SETS,
    "replicationcontroller": REPLICATION_CONTROLLERS,
    "service": SERVICES,
    "statefulset": STATEFUL_SETS,
}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PERMISSION_S = 15.0
_CHECK_S = 10.0
# What is asked of the person at the command line is not asked of the dashboard.
_NOT_OURS = re.compile(r"\b(cli|kubectl)\b", re.IGNORECASE)
_AWAY = Unavailable("the Kubernetes API is out of reach")


class Answer(NamedTuple):
    """The answer to one check; `error` empty means that it passed."""

    category: str
    question: str
    error: str = ""
    hint: str = ""
    warning: bool = False


Checks = Callable[[], Awaitable[Sequence[Answer]]]


class Objects:
    """Answers what is about the cluster's objects.

    Args:
        kube: With the dashboard's own rights; None answers with an error.
        checks: Runs the checks; None leaves them out.
        cluster_domain: Suffix of service names.
    """

    def __init__(
        self,
        kube: KubeClient | None,
        checks: Checks | None = None,
        cluster_domain: str = "cluster.local",
    ) -> None:
        self._kube = kube
        self._checks = checks
        self._domain = cluster_domain
        self._tap: tuple[float, bool] = (-_PERMISSION_S, False)
        self._checked: tuple[float, bytes | None] = (0.0, None)
        self._checking = asyncio.Lock()

    async def extensions(self, request: Request) -> Response:
        """The extensions that are installed: the one that is asked for, or all."""
        wanted = request.query_params.get("extension_name", "")
        try:
            bodies = await self._api().list(NAMESPACES, label_selector="linkerd.io/extension")
        except LinkerdError as error:
            return _failed(error)
        found = [
            {
                "name": body["metadata"]["labels"]["linkerd.io/extension"],
                "uid": body["metadata"].get("uid", ""),
                "namespace": body["metadata"]["name"],
            }
            for body in bodies
        ]
        if not wanted:
            return JSONResponse({"extensions": found})
        return JSONResponse({"data": next((one for one in found if one["name"] == wanted), {})})

    async def definition(self, request: Request) -> Response:
        """The manifest of an object, as YAML."""
        asked = [
            request.query_params.get(name, "")
            for name in ("namespace", "resource_type", "resource_name")
        ]
        if not all(asked):
            return JSONResponse(
                {"error": "namespace, resource_type and resource_name are required"}, 400
            )
        namespace, kind, name = asked
        if kind not in _KINDS:
            return JSONResponse({"error": f"invalid resource type: {kind[:64]!r}"}, 400)
        try:
            body = await self._api().get(_KINDS[kind], name, namespace)
        except LinkerdError as error:
            return _failed(error)
        body["metadata"].pop("managedFields", None)
        text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
        return Response(text, media_type="text/yaml")

    async def profile(self, request: Request) -> Response:
        """A ServiceProfile to begin with, as a file to store."""
        service = request.query_params.get("service", "")
        namespace = request.query_params.get("namespace", "")
        if not _LABEL.fullmatch(service) or not _LABEL.fullmatch(namespace):
            return JSONResponse({"error": "service and namespace are not DNS labels"}, 400)
        text = _PROFILE.format(
            name=f"{service}.{namespace}.svc.{self._domain}", namespace=namespace
        )
        attached = {"Content-Disposition": f"attachment; filename={service}-profile.yml"}
        return Response(text, media_type="text/yaml", headers=attached)

    async def check(self, request: Request) -> Response:
        """The checks, run by the dashboard: one run at a time, shared for some seconds."""
        if self._checks is None:
            return _failed(_AWAY)
        async with self._checking:
            at, body = self._checked
            if body is None or time.monotonic() - at > _CHECK_S:
                try:
                    answers = await self._checks()
                except LinkerdError as error:
                    return _failed(error)
                body = bytes(JSONResponse(_report(answers)).body)
                self._checked = (time.monotonic(), body)
        return Response(body, media_type="application/json")

    async def may_tap(self) -> bool:
        """Returns whether the dashboard, and so everybody who sees it, may tap."""
        at, known = self._tap
        if time.monotonic() - at < _PERMISSION_S:
            return known
        allowed = False
        attributes = {"verb": "watch", "group": "tap.linkerd.io", "resource": "*"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        if self._kube is not None:
            try:
                answer = await self._kube.create(SELF_SUBJECT_ACCESS_REVIEWS, review)
                allowed = bool((answer.get("status") or {}).get("allowed"))
            except LinkerdError:
                allowed = True  # the tap itself will say
        self._tap = (time.monotonic(), allowed)
        return allowed

    def _api(self) -> KubeClient:
        if self._kube is None:
            raise _AWAY
        return self._kube


def _failed(error: LinkerdError) -> Response:
    status = 404 if isinstance(error, NotFound) else 500
    return JSONResponse({"error": error.message}, status)


def _report(answers: Sequence[Answer]) -> dict[str, Any]:
    results: dict[str, list[dict[str, Any]]] = {}
    ours = [one for one in answers if not _NOT_OURS.search(one.question)]
    for one in ours:
        entry: dict[str, Any] = {
            "Category": one.category,
            "Description": one.question,
            "Retry": False,
            "Warning": one.warning,
        }
        if one.error:
            entry |= {"ErrMsg": one.error, "HintURL": one.hint}
        results.setdefault(one.category, []).append(entry)
    success = not any(one.error and not one.warning for one in ours)
    return {"success": success, "results": results}


_PROFILE = """\
# Routes of a service: requests are counted, retried and timed out by them.
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata:
  name: {name}
  namespace: {namespace}
spec:
  routes:
  # One entry for each kind of request; the first whose condition matches counts.
  - name: GET /example/{{id}}
    condition:
      method: GET
      pathRegex: /example/[^/]*
    # isRetryable: true
    # timeout: 250ms
"""

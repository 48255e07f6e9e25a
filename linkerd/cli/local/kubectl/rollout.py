"""Restart a workload's pods, wait until its latest state is rolled out, or go back to another.

Examples:
  linkerd local kubectl rollout restart deploy/web -n emojivoto
  linkerd local kubectl rollout status deploy/web -n emojivoto --timeout 1m
  linkerd local kubectl rollout undo deploy/web -n emojivoto
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from linkerd.cli.local._objects import Named
    from linkerd.kube.client import KubeClient

SUMMARY = "Restart a workload's pods, wait for its rollout or undo it"
USAGE = "restart|status|history|undo TYPE/NAME..."
_LOOK_S = 0.2
_HASH = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    actions = ["restart", "status", "history", "undo"]
    parser.add_argument("action", choices=actions, metavar="ACTION", help=", ".join(actions))
    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="for instance deploy/web")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument("--timeout", type=_args.duration, default=0.0, metavar="TIME",
                        help="of status; 0, the default, waits for ever")  # fmt: skip
    parser.add_argument("--to-revision", type=int, default=0, metavar="N",
                        help="of undo; 0, the default, is the one before")  # fmt: skip
    _args.add_namespace(parser, "namespace of the workload")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Restarts, or waits."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    every = len(args.words) == 1 and "/" not in args.words[0]

    async def main(kube: KubeClient) -> int:
        chosen = {"selector": args.selector, "every": every}
        for one in await _objects.find(kube, args.words, namespace, **chosen):
            if one.resource.plural not in ("deployments", "daemonsets", "statefulsets"):
                raise UsageError(f"{one} cannot be rolled out")
            if args.action == "restart":
                await _restart(kube, one)
            elif args.action == "status":
                await _status(kube, one, args.timeout)
            elif one.resource.plural != "deployments":
                raise UsageError(f"only deployments keep a history here, {one} has none")
            elif args.action == "history":
                await _history(kube, one)
            else:
                await _undo(kube, one, args.to_revision)
        return 0

    return _connect.run(config, main)


async def _restart(kube: KubeClient, one: Named) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    patch = {"spec": {"template": {"metadata": {"annotations": {_RESTARTED: now}}}}}
    await kube.patch(one.resource, one.name, patch, one.namespace)
    print(f"{one} restarted")


async def _status(kube: KubeClient, one: Named, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    told: str | None = None
    while True:
        left = progress(await kube.get(one.resource, one.name, one.namespace))
        if left != told:
            kind = one.resource.kind.lower()
            text = f'Waiting for {kind} "{one.name}" rollout to finish: {left}...'
            print(text if left else f'{kind} "{one.name}" successfully rolled out', flush=True)
            told = left
        if not left:
            return
        if timeout_s and time.monotonic() > deadline:
            raise CheckFailed("timed out waiting for the condition")
        await asyncio.sleep(_LOOK_S)


async def _history(kube: KubeClient, one: Named) -> None:
    from linkerd.cli.local import _tables

    rows = [
        [str(number), body["metadata"]["name"], _images(body)]
        for number, body in sorted((await _revisions(kube, one)).items())
    ]
    print(_tables.aligned([["REVISION", "REPLICA SET", "IMAGES"], *rows]), end="")


async def _undo(kube: KubeClient, one: Named, wanted: int) -> None:
    from linkerd.kube.client import JSON

    revisions = await _revisions(kube, one)
    number = wanted or max(sorted(revisions)[:-1], default=0)
    if number not in revisions:
        text = f"unable to find revision {wanted}" if wanted else "no rollout history"
        raise CheckFailed(f"{text} of {one}")
    template = dict(revisions[number]["spec"]["template"])
    labels = dict(template["metadata"].get("labels") or {})
    labels.pop(_HASH, None)
    template["metadata"] = {**template["metadata"], "labels": labels}
    patch = [{"op": "replace", "path": "/spec/template", "value": template}]
    await kube.patch(one.resource, one.name, patch, one.namespace, type=JSON)
    print(f"{one} rolled back")


async def _revisions(kube: KubeClient, one: Named) -> dict[int, dict[str, Any]]:
    from linkerd.kube.resources import REPLICA_SETS

    uid = (await kube.get(one.resource, one.name, one.namespace))["metadata"]["uid"]
    return {
        int((body["metadata"].get("annotations") or {}).get(_REVISION, "0")): body
        for body in await kube.list(REPLICA_SETS, one.namespace)
        if any(owner["uid"] == uid for owner in body["metadata"].get("ownerReferences") or ())
    }


def _images(body: dict[str, Any]) -> str:
    containers = body["spec"]["template"]["spec"]["containers"]
    return ",".join(container["image"] for container in containers)


def progress(body: dict[str, Any]) -> str:
    """Returns what a rollout still waits for, nothing when it is done.

    Source: Kubernetes kubectl pkg/polymorphichelpers/rollout_status.go.
    """
    spec, status = body["spec"], body.get("status") or {}
    if status.get("observedGeneration", 0) < body["metadata"].get("generation", 0):
        return "waiting for its spec to be observed"
    if body["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, total = status.get("updatedNumberScheduled", 0), wanted
        ready = status.get("numberAvailable", 0)
    else:
        wanted = spec.get("replicas", 1)
        updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
        ready = status.get("availableReplicas", status.get("readyReplicas", 0))
    if updated < wanted:
        return f"{updated} out of {wanted} new replicas have been updated"
    if total > updated:
        return f"{total - updated} old replicas are pending termination"
    if ready < updated:
        return f"{ready} of {updated} updated replicas are available"
    return ""

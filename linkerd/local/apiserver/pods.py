"""What Kubernetes' built-in admission does to pods: service account, token volume, tolerations.

Source: Kubernetes plugin/pkg/admission/serviceaccount/admission.go,
plugin/pkg/admission/defaulttolerationseconds.
"""

from __future__ import annotations

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.metadata import generated_name
from linkerd.local.apiserver.resources import Context
from linkerd.local.apiserver.status import forbidden
from linkerd.local.store import Obj, Store

TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_S = 3607
_NOT_READY_S = 300
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def admit(
    kind: Kind, operation: str, new: Obj, old: Obj | None, context: Context, store: Store
) -> None:
    """Completes a new pod in place; leaves everything else alone.

    Raises:
        ApiError: 403, its service account does not exist.
    """
    if kind.resource != "pods" or operation != "CREATE":
        return
    _service_account(new, store)
    _tolerations(new["spec"])
    _priority(new["spec"], store)
    new["status"] = {"phase": "Pending", "qosClass": quality(new["spec"])}


def _service_account(pod: Obj, store: Store) -> None:
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    entry = store.get("serviceaccounts", namespace, name)
    if entry is None and name != "default":
        raise forbidden(
            "pods",
            pod["metadata"].get("name") or pod["metadata"].get("generateName", ""),
            f"error looking up service account {namespace}/{name}: serviceaccount "
            f'"{name}" not found',
        )
    account = entry.decode() if entry else {}
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    automount = spec.get("automountServiceAccountToken")
    if automount is None:
        automount = account.get("automountServiceAccountToken")
    if automount is not False and "kubernetes.io/config.mirror" not in (
        pod["metadata"].get("annotations") or {}
    ):
        _token_volume(spec)


def _token_volume(spec: Obj) -> None:
    volumes = spec.get("volumes") or []
    name = next(
        (v["name"] for v in volumes if str(v.get("name", "")).startswith("kube-api-access-")), ""
    )
    wanted = name or generated_name("kube-api-access-")
    used = False
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == TOKEN_MOUNT for mount in mounts):
                continue
            used = True
            container["volumeMounts"] = [
                *mounts,
                {"mountPath": TOKEN_MOUNT, "name": wanted, "readOnly": True},
            ]
    if used and not name:
        spec["volumes"] = [*volumes, token_volume(wanted)]


def token_volume(name: str) -> Obj:
    """Returns the projected volume with the API's token, its CA and the pod's namespace."""
    namespace = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_S, "path": "token"}},
                {
                    "configMap": {
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                        "name": "kube-root-ca.crt",
                    }
                },
                {"downwardAPI": {"items": [{"path": "namespace", **namespace}]}},
            ],
        },
    }


def _tolerations(spec: Obj) -> None:
    tolerations = spec.get("tolerations") or []
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            t.get("key") in (key, None, "") and t.get("effect") in ("NoExecute", None, "")
            for t in tolerations
        ):
            tolerations = [
                *tolerations,
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _NOT_READY_S,
                },
            ]
    spec["tolerations"] = tolerations


def _priority(spec: Obj, store: Store) -> None:
    name = spec.get("priorityClassName")
    if not name:
        return
    entry = store.get("priorityclasses.scheduling.k8s.io", "", name)
    spec["priority"] = entry.decode().get("value", 0) if entry else _PRIORITIES.get(name, 0)


def quality(spec: Obj) -> str:
    """Returns a pod's quality of service: Guaranteed, Burstable or BestEffort."""
    guaranteed = True
    some = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        some = some or bool(limits or requests)
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not some:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"

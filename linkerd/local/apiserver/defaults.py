"""What Kubernetes fills in where a manifest is silent, by kind.

Only fields that controllers, kubectl or the node read; all functions change the object in place
and may be applied again without further effect.
Source: Kubernetes pkg/apis/core/v1/defaults.go, pkg/apis/apps/v1, pkg/apis/batch/v1,
pkg/apis/admissionregistration/v1 (values).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.store import Obj

_MODE = 0o644


def apply(kind: Kind, obj: Obj) -> None:
    """Fills in the defaults of a built-in kind; custom kinds have theirs in their schema."""
    rule = _RULES.get(kind.resource)
    if rule is not None:
        rule(obj)


def _map(obj: Obj, *names: str) -> Obj:
    """Returns the map at a path, made where it is missing."""
    for name in names:
        inner = obj.get(name)
        if not isinstance(inner, dict):
            inner = obj[name] = {}
        obj = inner
    return obj


def _set(obj: Obj, **values: Any) -> None:
    for name, value in values.items():
        if obj.get(name) is None:
            obj[name] = value


def _maps(obj: Obj, *names: str) -> Iterator[Obj]:
    for name in names:
        for item in obj.get(name) or ():
            if isinstance(item, dict):
                yield item


# --- pods


def pod_spec(spec: Obj) -> None:
    """Fills in a pod's spec, alone or within a template."""
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in _maps(spec, "initContainers", "containers", "ephemeralContainers"):
        _container(container)
        if spec.get("hostNetwork"):
            for port in _maps(container, "ports"):
                _set(port, hostPort=port.get("containerPort"))
    for volume in _maps(spec, "volumes"):
        _volume(volume)


def _container(container: Obj) -> None:
    image = container.get("image") or ""
    tag = image.rpartition("/")[2].partition(":")[2]
    always = "@" not in image and tag in ("", "latest")
    _set(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if always else "IfNotPresent",
    )
    limits = container["resources"].get("limits")
    if limits:
        _map(container["resources"], "requests").update(
            {k: v for k, v in limits.items() if k not in container["resources"]["requests"]}
        )
    for port in _maps(container, "ports"):
        _set(port, protocol="TCP")
    for variable in _maps(container, "env"):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            _set(reference, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and isinstance(hook.get("httpGet"), dict):
            _set(hook["httpGet"], scheme="HTTP", path="/")


def _probe(probe: Obj) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if isinstance(probe.get("httpGet"), dict):
        _set(probe["httpGet"], scheme="HTTP", path="/")
    if isinstance(probe.get("grpc"), dict):
        _set(probe["grpc"], service="")


def _volume(volume: Obj) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(name), dict):
            _set(volume[name], defaultMode=_MODE)
    if isinstance(volume.get("hostPath"), dict):
        _set(volume["hostPath"], type="")
    for item in _maps(volume.get("downwardAPI") or {}, "items"):
        if item.get("fieldRef"):
            _set(item["fieldRef"], apiVersion="v1")
    for source in _maps(volume.get("projected") or {}, "sources"):
        if isinstance(source.get("serviceAccountToken"), dict):
            _set(source["serviceAccountToken"], expirationSeconds=3600)
        for item in _maps(source.get("downwardAPI") or {}, "items"):
            if item.get("fieldRef"):
                _set(item["fieldRef"], apiVersion="v1")


def _pod(obj: Obj) -> None:
    spec = _map(obj, "spec")
    pod_spec(spec)
    _set(spec, enableServiceLinks=True, preemptionPolicy="PreemptLowerPriority", priority=0)


def _template(spec: Obj) -> None:
    template = _map(spec, "template")
    _map(template, "metadata").setdefault("creationTimestamp", None)
    pod_spec(_map(template, "spec"))


# --- workloads


def _deployment(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = _map(spec, "strategy")
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(_map(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _replica_set(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(spec, replicas=1)
    _template(spec)


def _replication_controller(obj: Obj) -> None:
    _replica_set(obj)
    labels = (obj["spec"]["template"].get("metadata") or {}).get("labels")
    if labels:
        _set(obj["spec"], selector=dict(labels))


def _daemon_set(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(spec, revisionHistoryLimit=10)
    strategy = _map(spec, "updateStrategy")
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(_map(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    _template(spec)


def _stateful_set(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = _map(spec, "updateStrategy")
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(_map(strategy, "rollingUpdate"), partition=0)
    _set(
        _map(spec, "persistentVolumeClaimRetentionPolicy"),
        whenDeleted="Retain",
        whenScaled="Retain",
    )
    _template(spec)


def _job_spec(spec: Obj) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _set(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="TerminatingOrFailed",
    )
    _template(spec)


def _job(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _job_spec(spec)
    uid, name = obj["metadata"].get("uid"), obj["metadata"].get("name")
    if spec.get("selector") is None and not spec.get("manualSelector") and uid and name:
        labels = _map(spec, "template", "metadata", "labels")
        for prefix in ("", "batch.kubernetes.io/"):
            labels[f"{prefix}controller-uid"] = uid
            labels[f"{prefix}job-name"] = name
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _cron_job(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    _job_spec(_map(spec, "jobTemplate", "spec"))


# --- services and networking


def _service(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "ClientIP":
        _set(_map(spec, "sessionAffinityConfig", "clientIP"), timeoutSeconds=10800)
    for port in _maps(spec, "ports"):
        _set(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] == "ExternalName":
        return
    _set(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)


def _endpoint_slice(obj: Obj) -> None:
    for port in _maps(obj, "ports"):
        _set(port, protocol="TCP", name="")


def _endpoints(obj: Obj) -> None:
    for subset in _maps(obj, "subsets"):
        for port in _maps(subset, "ports"):
            _set(port, protocol="TCP")


def _network_policy(obj: Obj) -> None:
    spec = _map(obj, "spec")
    _set(spec, policyTypes=["Ingress", *(["Egress"] if spec.get("egress") else [])])
    for rule in _maps(spec, "ingress", "egress"):
        for port in _maps(rule, "ports"):
            _set(port, protocol="TCP")


# --- the rest


def _namespace(obj: Obj) -> None:
    name = obj["metadata"].get("name")
    if name:
        _map(obj, "metadata", "labels")["kubernetes.io/metadata.name"] = name
    if obj["metadata"].get("deletionTimestamp") is None:
        _set(_map(obj, "spec"), finalizers=["kubernetes"])
        _set(_map(obj, "status"), phase="Active")


def _secret(obj: Obj) -> None:
    _set(obj, type="Opaque")
    texts = obj.pop("stringData", None)
    if texts:
        _map(obj, "data").update(
            {name: base64.b64encode((text or "").encode()).decode() for name, text in texts.items()}
        )


def _binding(obj: Obj) -> None:
    _set(_map(obj, "roleRef"), apiGroup="rbac.authorization.k8s.io")
    for subject in _maps(obj, "subjects"):
        account = subject.get("kind") == "ServiceAccount"
        _set(subject, **({} if account else {"apiGroup": "rbac.authorization.k8s.io"}))


def _webhooks(obj: Obj) -> None:
    mutating = obj.get("kind") == "MutatingWebhookConfiguration"
    for hook in _maps(obj, "webhooks"):
        _set(
            hook,
            failurePolicy="Fail",
            matchPolicy="Equivalent",
            namespaceSelector={},
            objectSelector={},
            timeoutSeconds=10,
        )
        if mutating:
            _set(hook, reinvocationPolicy="Never")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            _set(service, port=443)
        for rule in _maps(hook, "rules"):
            _set(rule, scope="*")


def _crd(obj: Obj) -> None:
    spec = _map(obj, "spec")
    names = _map(spec, "names")
    if names.get("kind"):
        _set(names, singular=names["kind"].lower(), listKind=names["kind"] + "List")
    _set(_map(spec, "conversion"), strategy="None")


def _api_service(obj: Obj) -> None:
    if isinstance((obj.get("spec") or {}).get("service"), dict):
        _set(obj["spec"]["service"], port=443)


def _autoscaler(obj: Obj) -> None:
    _set(_map(obj, "spec"), minReplicas=1)


def _storage_class(obj: Obj) -> None:
    _set(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


_RULES: dict[str, Callable[[Obj], None]] = {
    "pods": _pod,
    "services": _service,
    "endpoints": _endpoints,
    "namespaces": _namespace,
    "secrets": _secret,
    "replicationcontrollers": _replication_controller,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "daemonsets.apps": _daemon_set,
    "statefulsets.apps": _stateful_set,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "networkpolicies.networking.k8s.io": _network_policy,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
    "apiservices.apiregistration.k8s.io": _api_service,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "storageclasses.storage.k8s.io": _storage_class,
}

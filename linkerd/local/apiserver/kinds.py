"""The kinds that the server knows: a table of built-in ones, plus those that CRDs add.

A row says how a kind is addressed and which of the generic rules hold for it; what is peculiar to
few kinds lives in `defaults`, `validation`, `services` and `pods`.
Source: Kubernetes API reference (groups, names, short names, subresources).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from linkerd.local.store import Obj

ALL_VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one version.

    Attributes:
        namespaced: Whether objects live in namespaces.
        subresources: What follows an object's name in a path, such as `status`.
        stored: Whether objects are kept; False for reviews, which are answered and forgotten.
        generation: Whether `metadata.generation` counts changes of anything but metadata, status.
        fields: Paths beside metadata.name and metadata.namespace that field selectors may use.
        crd: The version's part of the CustomResourceDefinition, None for built-in kinds.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    stored: bool = True
    generation: bool = False
    fields: tuple[str, ...] = ()
    singular: str = ""
    list_kind: str = ""
    crd: Any = field(default=None, compare=False)
    storage_version: str = ""

    @property
    def resource(self) -> str:
        """The name in messages and in the store: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage(self) -> str:
        """The name under which objects are kept; events of both groups are the same objects."""
        return "events" if self.kind == "Event" and self.group == "events.k8s.io" else self.resource

    @property
    def api_version(self) -> str:
        """The `apiVersion` of objects: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def verbs(self) -> tuple[str, ...]:
        """The verbs that discovery lists."""
        return ALL_VERBS if self.stored else ("create",)

    def selectable(self, path: str) -> bool:
        """Whether a field selector may use this path."""
        return path in ("metadata.name", "metadata.namespace") or path in self.fields

    @property
    def has_status(self) -> bool:
        """Whether status is written through its own subresource only."""
        return "status" in self.subresources


def _kind(group_version: str, plural: str, kind: str, flags: str = "", **more: Any) -> Kind:
    group, _, version = group_version.rpartition("/")
    words = flags.split()
    more.setdefault("storage_version", version)
    return Kind(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        singular=kind.lower(),
        list_kind=kind + "List",
        namespaced="cluster" not in words,
        stored="review" not in words,
        generation="gen" in words,
        **more,
    )


_STATUS = ("status",)
_SCALED = ("status", "scale")
_ALL = ("all",)
_EVENT_FIELDS = (
    *(
        f"involvedObject.{name}"
        for name in (
            "kind",
            "namespace",
            "name",
            "uid",
            "apiVersion",
            "resourceVersion",
            "fieldPath",
        )
    ),
    "reason",
    "reportingComponent",
    "source",
    "type",
)
_POD_FIELDS = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
_POD_SUBRESOURCES = (
    "status",
    "log",
    "exec",
    "attach",
    "portforward",
    "proxy",
    "eviction",
    "binding",
    "ephemeralcontainers",
    "resize",
)

BUILT_IN: tuple[Kind, ...] = (
    _kind("v1", "bindings", "Binding", "review"),
    _kind("v1", "configmaps", "ConfigMap", short=("cm",)),
    _kind("v1", "endpoints", "Endpoints", short=("ep",)),
    _kind("v1", "events", "Event", short=("ev",), fields=_EVENT_FIELDS),
    _kind("v1", "limitranges", "LimitRange", short=("limits",)),
    _kind(
        "v1",
        "namespaces",
        "Namespace",
        "cluster",
        short=("ns",),
        subresources=("status", "finalize"),
        fields=("status.phase",),
    ),
    _kind(
        "v1",
        "nodes",
        "Node",
        "cluster",
        short=("no",),
        subresources=_STATUS,
        fields=("spec.unschedulable",),
    ),
    _kind(
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        short=("pvc",),
        subresources=_STATUS,
    ),
    _kind(
        "v1",
        "persistentvolumes",
        "PersistentVolume",
        "cluster",
        short=("pv",),
        subresources=_STATUS,
    ),
    _kind(
        "v1",
        "pods",
        "Pod",
        "gen",
        short=("po",),
        categories=_ALL,
        subresources=_POD_SUBRESOURCES,
        fields=_POD_FIELDS,
    ),
    _kind("v1", "podtemplates", "PodTemplate", "gen"),
    _kind(
        "v1",
        "replicationcontrollers",
        "ReplicationController",
        "gen",
        short=("rc",),
        categories=_ALL,
        subresources=_SCALED,
        fields=("status.replicas",),
    ),
    _kind("v1", "resourcequotas", "ResourceQuota", short=("quota",), subresources=_STATUS),
    _kind("v1", "secrets", "Secret", fields=("type",)),
    _kind("v1", "serviceaccounts", "ServiceAccount", short=("sa",), subresources=("token",)),
    _kind(
        "v1",
        "services",
        "Service",
        short=("svc",),
        categories=_ALL,
        subresources=("status", "proxy"),
        fields=("spec.clusterIP", "spec.type"),
    ),
    _kind(
        "admissionregistration.k8s.io/v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        "cluster gen",
        categories=("api-extensions",),
    ),
    _kind(
        "admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        "cluster gen",
        categories=("api-extensions",),
    ),
    _kind(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "cluster gen",
        short=("crd", "crds"),
        categories=("api-extensions",),
        subresources=_STATUS,
    ),
    _kind(
        "apiregistration.k8s.io/v1",
        "apiservices",
        "APIService",
        "cluster",
        categories=("api-extensions",),
        subresources=_STATUS,
    ),
    _kind("apps/v1", "controllerrevisions", "ControllerRevision"),
    _kind(
        "apps/v1",
        "daemonsets",
        "DaemonSet",
        "gen",
        short=("ds",),
        categories=_ALL,
        subresources=_STATUS,
    ),
    _kind(
        "apps/v1",
        "deployments",
        "Deployment",
        "gen",
        short=("deploy",),
        categories=_ALL,
        subresources=_SCALED,
    ),
    _kind(
        "apps/v1",
        "replicasets",
        "ReplicaSet",
        "gen",
        short=("rs",),
        categories=_ALL,
        subresources=_SCALED,
        fields=("status.replicas",),
    ),
    _kind(
        "apps/v1",
        "statefulsets",
        "StatefulSet",
        "gen",
        short=("sts",),
        categories=_ALL,
        subresources=_SCALED,
    ),
    _kind("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", "cluster review"),
    _kind("authentication.k8s.io/v1", "tokenreviews", "TokenReview", "cluster review"),
    _kind(
        "authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", "review"
    ),
    _kind(
        "authorization.k8s.io/v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "cluster review",
    ),
    _kind(
        "authorization.k8s.io/v1",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        "cluster review",
    ),
    _kind(
        "authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", "cluster review"
    ),
    _kind(
        "autoscaling/v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short=("hpa",),
        categories=_ALL,
        subresources=_STATUS,
        storage_version="v2",
    ),
    _kind(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short=("hpa",),
        categories=_ALL,
        subresources=_STATUS,
    ),
    _kind(
        "batch/v1",
        "cronjobs",
        "CronJob",
        "gen",
        short=("cj",),
        categories=_ALL,
        subresources=_STATUS,
    ),
    _kind(
        "batch/v1",
        "jobs",
        "Job",
        "gen",
        categories=_ALL,
        subresources=_STATUS,
        fields=("status.successful",),
    ),
    _kind("coordination.k8s.io/v1", "leases", "Lease"),
    _kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", "gen"),
    _kind("events.k8s.io/v1", "events", "Event", short=("ev",), fields=("reason", "type")),
    _kind("networking.k8s.io/v1", "ingressclasses", "IngressClass", "cluster gen"),
    _kind(
        "networking.k8s.io/v1", "ingresses", "Ingress", "gen", short=("ing",), subresources=_STATUS
    ),
    _kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", "gen", short=("netpol",)),
    _kind("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", "cluster"),
    _kind(
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "gen",
        short=("pdb",),
        subresources=_STATUS,
    ),
    _kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", "cluster"),
    _kind("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", "cluster"),
    _kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    _kind("rbac.authorization.k8s.io/v1", "roles", "Role"),
    _kind("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", "cluster gen", short=("pc",)),
    _kind("storage.k8s.io/v1", "csidrivers", "CSIDriver", "cluster"),
    _kind("storage.k8s.io/v1", "csinodes", "CSINode", "cluster"),
    _kind("storage.k8s.io/v1", "storageclasses", "StorageClass", "cluster", short=("sc",)),
)

CRD_RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"


class Kinds:
    """All served kinds by group, version and plural; changes when CRDs do."""

    def __init__(self, built_in: Iterable[Kind] = BUILT_IN) -> None:
        self._by_address: dict[tuple[str, str, str], Kind] = {}
        self._custom: dict[str, list[Kind]] = {}
        for kind in built_in:
            self._add(kind)

    def _add(self, kind: Kind) -> None:
        self._by_address[kind.group, kind.version, kind.plural] = kind

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_address.values())

    def get(self, group: str, version: str, plural: str) -> Kind | None:
        """Returns the kind at an address, None when it is not served."""
        return self._by_address.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """Returns what an object's `apiVersion` and `kind` name, None when it is not served."""
        group, _, version = api_version.rpartition("/")
        for served in self._by_address.values():
            if (served.group, served.version, served.kind) == (group, version, kind):
                return served
        return None

    def versions(self, group: str) -> list[str]:
        """Returns the served versions of a group, preferred first; empty for unknown groups."""
        found = {kind.version for kind in self if kind.group == group}
        return sorted(found, key=version_priority)

    def groups(self) -> list[str]:
        """Returns the groups in alphabetical order, without the core group."""
        return sorted({kind.group for kind in self} - {""})

    def of(self, group: str, version: str) -> list[Kind]:
        """Returns the kinds of one group and version."""
        return [kind for kind in self if (kind.group, kind.version) == (group, version)]

    def set_custom(self, crd_name: str, kinds: list[Kind]) -> None:
        """Replaces the kinds that come from one CRD; an empty list removes them."""
        for old in self._custom.pop(crd_name, []):
            self._by_address.pop((old.group, old.version, old.plural), None)
        if kinds:
            self._custom[crd_name] = kinds
            for kind in kinds:
                self._add(kind)


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key: v2 before v1 before v1beta2 before v1beta1 before v1alpha1, then others.

    Source: Kubernetes apimachinery/pkg/version/helpers.go.
    """
    text = version
    if not text.startswith("v"):
        return 3, 0, 0, version
    digits = len(text[1:]) - len(text[1:].lstrip("0123456789"))
    major, rest = text[1 : 1 + digits], text[1 + digits :]
    if not major:
        return 3, 0, 0, version
    for rank, stage in ((1, "beta"), (2, "alpha")):
        if rest.startswith(stage) and rest[len(stage) :].isdigit():
            return rank, -int(major), -int(rest[len(stage) :]), ""
    return (0, -int(major), 0, "") if not rest else (3, 0, 0, version)


def custom_kinds(crd: Obj) -> list[Kind]:
    """Returns the served kinds that a CustomResourceDefinition declares."""
    spec = crd["spec"]
    names = spec["names"]
    storage = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    return [
        Kind(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            short=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(version.get("subresources") or ()),
            generation=True,
            fields=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
            singular=names.get("singular") or names["kind"].lower(),
            list_kind=names.get("listKind") or names["kind"] + "List",
            crd=version,
            storage_version=storage,
        )
        for version in spec["versions"]
        if version.get("served")
    ]

"""The kinds that the mesh and the embedded cluster speak of, and their paths.

`known(api_version, kind)` finds one here; `KubeClient.resource_for` also asks the server, for
kinds of arbitrary manifests.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


def root(api_version: str) -> str:
    """Returns the URL path under which the kinds of `v1` or `apps/v1` are served."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object as the API serves it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`: what an object of this kind carries."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Returns the URL path of an object, or of the collection when `name` is empty.

        Args:
            namespace: Of the object; None means all namespaces. Ignored for cluster-wide kinds.
            name: Of the object.
            subresource: Such as `status` or `log`.
        """
        path = root(self.api_version)
        if self.namespaced and namespace:
            path += f"/namespaces/{quote(namespace, safe='')}"
        path += f"/{self.plural}"
        if name:
            path += f"/{quote(name, safe='')}"
        return f"{path}/{subresource}" if subresource else path


# core
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
REPLICATION_CONTROLLERS = Resource("", "v1", "replicationcontrollers", "ReplicationController")
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
# workloads
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
HORIZONTAL_POD_AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"
)
POD_DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
# network
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
# coordination, events, storage, scheduling
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS_V1 = Resource("events.k8s.io", "v1", "events", "Event")
STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", False)
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
# access
_RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(_RBAC, "v1", "roles", "Role")
ROLE_BINDINGS = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource(_RBAC, "v1", "clusterroles", "ClusterRole", False)
CLUSTER_ROLE_BINDINGS = Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False)
_AUTHZ = "authorization.k8s.io"
SUBJECT_ACCESS_REVIEWS = Resource(
    _AUTHZ, "v1", "subjectaccessreviews", "SubjectAccessReview", False
)
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    _AUTHZ, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)
LOCAL_SUBJECT_ACCESS_REVIEWS = Resource(
    _AUTHZ, "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview"
)
SELF_SUBJECT_RULES_REVIEWS = Resource(
    _AUTHZ, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False
)
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
SELF_SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False
)
CERTIFICATE_SIGNING_REQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)
# extension of the API
_ADMISSION = "admissionregistration.k8s.io"
MUTATING_WEBHOOKS = Resource(
    _ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
VALIDATING_WEBHOOKS = Resource(
    _ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
API_SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)
# linkerd
SERVICE_PROFILES = Resource("linkerd.io", "v1alpha2", "serviceprofiles", "ServiceProfile")
_POLICY = "policy.linkerd.io"
SERVERS = Resource(_POLICY, "v1beta3", "servers", "Server")
SERVER_AUTHORIZATIONS = Resource(_POLICY, "v1beta1", "serverauthorizations", "ServerAuthorization")
AUTHORIZATION_POLICIES = Resource(
    _POLICY, "v1alpha1", "authorizationpolicies", "AuthorizationPolicy"
)
MESH_TLS_AUTHENTICATIONS = Resource(
    _POLICY, "v1alpha1", "meshtlsauthentications", "MeshTLSAuthentication"
)
NETWORK_AUTHENTICATIONS = Resource(
    _POLICY, "v1alpha1", "networkauthentications", "NetworkAuthentication"
)
POLICY_HTTP_ROUTES = Resource(_POLICY, "v1beta3", "httproutes", "HTTPRoute")
HTTP_LOCAL_RATE_LIMIT_POLICIES = Resource(
    _POLICY, "v1alpha1", "httplocalratelimitpolicies", "HTTPLocalRateLimitPolicy"
)
EGRESS_NETWORKS = Resource(_POLICY, "v1alpha1", "egressnetworks", "EgressNetwork")
EXTERNAL_WORKLOADS = Resource(
    "workload.linkerd.io", "v1beta1", "externalworkloads", "ExternalWorkload"
)
LINKS = Resource("multicluster.linkerd.io", "v1alpha3", "links", "Link")
# gateway API
_GATEWAY = "gateway.networking.k8s.io"
HTTP_ROUTES = Resource(_GATEWAY, "v1", "httproutes", "HTTPRoute")
GRPC_ROUTES = Resource(_GATEWAY, "v1", "grpcroutes", "GRPCRoute")
TLS_ROUTES = Resource(_GATEWAY, "v1alpha2", "tlsroutes", "TLSRoute")
TCP_ROUTES = Resource(_GATEWAY, "v1alpha2", "tcproutes", "TCPRoute")
GATEWAYS = Resource(_GATEWAY, "v1", "gateways", "Gateway")
GATEWAY_CLASSES = Resource(_GATEWAY, "v1", "gatewayclasses", "GatewayClass", False)

ALL: tuple[Resource, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Resource)
)
"""Every kind above."""

_BY_KIND = {(resource.api_version, resource.kind): resource for resource in ALL}


def known(api_version: str, kind: str) -> Resource | None:
    """Returns the kind that a manifest's `apiVersion` and `kind` name, None if it is not here."""
    return _BY_KIND.get((api_version, kind))

"""Checks that the control plane is there: its objects and its pods.

Source: linkerd2 pkg/healthcheck/healthcheck.go (questions, order, names of objects).
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from linkerd.check import cluster
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, Skip, failed
from linkerd.errors import CheckFailed
from linkerd.kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)

COMPONENTS = ("destination", "identity", "proxy-injector")
CRDS = (
    "authorizationpolicies.policy.linkerd.io",
    "httproutes.policy.linkerd.io",
    "meshtlsauthentications.policy.linkerd.io",
    "networkauthentications.policy.linkerd.io",
    "serverauthorizations.policy.linkerd.io",
    "servers.policy.linkerd.io",
    "serviceprofiles.linkerd.io",
)

_INSTALL = "`linkerd install | kubectl apply -f -` installs it"
_CRDS_BEFORE = "`linkerd install --crds | kubectl apply -f -` installs them"
_CRDS_AFTER = "`linkerd upgrade --crds | kubectl apply -f -` puts them back"
_PUT_BACK = "`linkerd upgrade | kubectl apply -f -` puts back what is missing"
_TELL_MORE = "`kubectl -n {0} get pods` and `kubectl -n {0} get events` tell more"

Network = IPv4Network | IPv6Network


def crds(mesh: Mesh) -> Category:
    """Category linkerd-crd."""
    return Category("linkerd-crd", (_crds(mesh, _CRDS_BEFORE, retry=True),))


def control_plane(mesh: Mesh) -> Category:
    """Category linkerd-existence."""
    return Category(
        "linkerd-existence",
        (
            Check(
                "'linkerd-config' config map exists",
                "l5d-existence-linkerd-config",
                partial(_config, mesh),
                fatal=True,
                remedy=f"is Linkerd installed? {_INSTALL}",
            ),
            Check(
                "heartbeat ServiceAccount exist",
                "l5d-existence-sa",
                partial(_heartbeat, mesh),
                fatal=True,
            ),
            Check(
                "control plane replica sets are ready",
                "l5d-existence-replicasets",
                partial(_replica_sets, mesh),
                fatal=True,
                retry=True,
                remedy=_TELL_MORE.format(mesh.namespace),
            ),
            Check(
                "no unschedulable pods",
                "l5d-existence-unschedulable-pods",
                partial(_schedulable, mesh),
                warning=True,
                retry=True,
                surface=True,
            ),
            Check(
                "control plane pods are ready",
                "l5d-api-control-ready",
                partial(_pods, mesh),
                fatal=True,
                retry=True,
                surface=True,
                remedy=_TELL_MORE.format(mesh.namespace),
            ),
            Check(
                "cluster networks contains all node podCIDRs",
                "l5d-cluster-networks-cidr",
                partial(_node_networks, mesh),
            ),
            Check(
                "cluster networks contains all pods",
                "l5d-cluster-networks-pods",
                partial(_pod_networks, mesh),
            ),
            Check(
                "cluster networks contains all services",
                "l5d-cluster-networks-pods",
                partial(_service_networks, mesh),
            ),
        ),
    )


def config(mesh: Mesh) -> Category:
    """Category linkerd-config."""
    ns = mesh.namespace
    roles = [f"linkerd-{ns}-{name}" for name in ("identity", "proxy-injector")]
    accounts = [f"linkerd-{name}" for name in COMPONENTS]
    webhooks = ("linkerd-policy-validator", "linkerd-sp-validator")

    def check(question: str, anchor: str, *require: Any) -> Check:
        probe = partial(mesh.require, *require)
        return Check(question, anchor, probe, fatal=True, remedy=_PUT_BACK)

    return Category(
        "linkerd-config",
        (
            check("control plane Namespace exists", "l5d-existence-ns", NAMESPACES, [ns]),
            check("control plane ClusterRoles exist", "l5d-existence-cr", CLUSTER_ROLES, roles),
            check(
                "control plane ClusterRoleBindings exist",
                "l5d-existence-crb",
                CLUSTER_ROLE_BINDINGS,
                roles,
            ),
            check(
                "control plane ServiceAccounts exist",
                "l5d-existence-sa",
                SERVICE_ACCOUNTS,
                accounts,
                ns,
            ),
            _crds(mesh, _CRDS_AFTER, retry=False),
            check(
                "control plane MutatingWebhookConfigurations exist",
                "l5d-existence-mwc",
                MUTATING_WEBHOOKS,
                ["linkerd-proxy-injector-webhook-config"],
            ),
            check(
                "control plane ValidatingWebhookConfigurations exist",
                "l5d-existence-vwc",
                VALIDATING_WEBHOOKS,
                [f"{name}-webhook-config" for name in webhooks],
            ),
            Check(
                "proxy-init container runs as root user if docker container runtime is used",
                "l5d-proxy-init-run-as-root",
                partial(_docker_needs_root, mesh),
            ),
        ),
    )


def high_availability(mesh: Mesh) -> Category:
    """Category linkerd-ha-checks; shown only for an installation with `--ha`."""

    async def replicas() -> None:
        if not (await mesh.config()).get("highAvailability"):
            raise Skip
        pods = await mesh.control_plane_pods()
        single = [
            f"linkerd-{name}"
            for name in COMPONENTS
            if sum(cluster.labels_of(pod).get(cluster.COMPONENT) == name for pod in pods) < 2
        ]
        if single:
            raise CheckFailed(f"not enough replicas available for {single}")

    question, anchor = "multiple replicas of control plane pods", "l5d-control-plane-replicas"
    check = Check(question, anchor, replicas, warning=True, retry=True)
    return Category("linkerd-ha-checks", (check,))


def extensions(mesh: Mesh) -> Category:
    """Category linkerd-extension-checks."""

    async def unique() -> None:
        owners: dict[str, list[str]] = {}
        for body in await mesh.kube.list(NAMESPACES, label_selector="linkerd.io/extension"):
            name = cluster.labels_of(body)["linkerd.io/extension"]
            owners.setdefault(name, []).append(body["metadata"]["name"])
        twice = [f"{name}: {', '.join(ns)}" for name, ns in owners.items() if len(ns) > 1]
        if twice:
            raise failed("some extensions have invalid configuration", twice)

    question = "namespace configuration for extensions"
    check = Check(question, "l5d-extension-namespaces", unique, warning=True)
    return Category("linkerd-extension-checks", (check,))


def _crds(mesh: Mesh, remedy: str, *, retry: bool) -> Check:
    return Check(
        "control plane CustomResourceDefinitions exist",
        "l5d-existence-crd",
        partial(mesh.require, CUSTOM_RESOURCE_DEFINITIONS, CRDS),
        fatal=True,
        retry=retry,
        remedy=remedy,
    )


async def _config(mesh: Mesh) -> None:
    await mesh.config()


async def _heartbeat(mesh: Mesh) -> None:
    if (await mesh.config()).get("disableHeartBeat"):
        raise Skip
    await mesh.require(SERVICE_ACCOUNTS, ["linkerd-heartbeat"], mesh.namespace)


async def _replica_sets(mesh: Mesh) -> None:
    selector = cluster.COMPONENT
    found = await mesh.kube.list(REPLICA_SETS, mesh.namespace, label_selector=selector)
    if not found:
        raise CheckFailed(f"no replica sets in the {mesh.namespace} namespace")
    waiting = []
    for body in found:
        wanted = (body.get("spec") or {}).get("replicas", 1)
        ready = (body.get("status") or {}).get("readyReplicas", 0)
        if ready < wanted:
            waiting.append(f"{body['metadata']['name']}: {ready}/{wanted} ready")
    if waiting:
        for pod in await mesh.control_plane_pods():
            waiting += [text for text in [cluster.trouble(pod)] if text]
            waiting += await mesh.last_words(pod)
        raise failed("not all replica sets are ready", waiting)


async def _schedulable(mesh: Mesh) -> None:
    stuck = [
        f"{pod['metadata']['name']}: {condition.get('message', '')}"
        for pod in await mesh.control_plane_pods()
        for condition in (pod.get("status") or {}).get("conditions") or ()
        if condition.get("reason") == "Unschedulable"
    ]
    if stuck:
        raise CheckFailed("\n".join(stuck))


async def _pods(mesh: Mesh) -> None:
    try:
        cluster.require_components(await mesh.control_plane_pods(), COMPONENTS)
    except CheckFailed as error:
        deployments = await mesh.kube.list(DEPLOYMENTS, mesh.namespace)
        why = cluster.absent(deployments, COMPONENTS, mesh.namespace)
        raise CheckFailed("\n".join([error.message, *why])) from None


async def _docker_needs_root(mesh: Mesh) -> None:
    init = (await mesh.config()).get("proxyInit") or {}
    if init.get("runAsRoot"):
        return
    for node in await mesh.kube.list(NODES):
        info = (node.get("status") or {}).get("nodeInfo") or {}
        if info.get("containerRuntimeVersion", "").startswith("docker:"):
            raise CheckFailed(
                "there are nodes using the docker container runtime and "
                "proxy-init container must run as root user.\n"
                "try installing linkerd via --set proxyInit.runAsRoot=true"
            )


async def _networks(mesh: Mesh) -> list[Network]:
    text = str((await mesh.config()).get("clusterNetworks") or "")
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]


def _inside(address: str, networks: list[Network]) -> bool:
    parsed = ip_address(address)
    return any(parsed in network for network in networks)


async def _node_networks(mesh: Mesh) -> None:
    networks = await _networks(mesh)
    outside = []
    for node in await mesh.kube.list(NODES):
        for cidr in (node.get("spec") or {}).get("podCIDRs") or ():
            wanted = ip_network(cidr)
            same = [n for n in networks if n.version == wanted.version]
            if not any(_contains(network, wanted) for network in same):
                outside.append(cidr)
    if outside:
        raise failed(
            "node has podCIDR that is not contained in the Linkerd clusterNetworks.", outside
        )


def _contains(outer: Network, inner: Network) -> bool:
    return outer.network_address <= inner.network_address and (  # type: ignore[operator]
        inner.broadcast_address <= outer.broadcast_address  # type: ignore[operator]
    )


async def _pod_networks(mesh: Mesh) -> None:
    networks = await _networks(mesh)
    outside = []
    for pod in await mesh.kube.list(PODS):
        address = (pod.get("status") or {}).get("podIP")
        if not address or pod["spec"].get("hostNetwork") or cluster.phase(pod) != "Running":
            continue
        if not _inside(address, networks):
            outside.append(f"{cluster.full_name(pod)} [{address}]")
    if outside:
        raise failed("the Linkerd clusterNetworks do not include pods", outside)


async def _service_networks(mesh: Mesh) -> None:
    networks = await _networks(mesh)
    outside = []
    for service in await mesh.kube.list(SERVICES):
        address = service["spec"].get("clusterIP") or "None"
        if address != "None" and not _inside(address, networks):
            outside.append(f"{cluster.full_name(service)} [{address}]")
    if outside:
        raise failed("the Linkerd clusterNetworks do not include services", outside)

"""Services whose endpoints are in other clusters: one index per cluster, answers over all.

    fleet.endpoints(key)      the local cluster's, a mirrored service's, or a federated one's union

Topics of other clusters carry the cluster's name: ("remote", cluster, *topic); ("cluster", name)
says that a cluster came or went.
Source: linkerd2 controller/api/destination/server.go (subscribeToServiceWithContext),
federated_service_watcher.go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from linkerd.errors import LinkerdError, NotFound
from linkerd.index.cluster import Cluster, EndpointsKey, Topic
from linkerd.model.endpoints import Endpoint, EndpointSet
from linkerd.model.names import ServiceName
from linkerd.model.objects import Service

_REMOTE = "multicluster.linkerd.io/remote-discovery"
_LOCAL = "multicluster.linkerd.io/local-discovery"
_REMOTE_SERVICE = "multicluster.linkerd.io/remote-service"


class Incomplete(LinkerdError):
    """A mirrored service does not say which service it mirrors."""

    grpc_status = 9


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A service that contributes endpoints; `cluster` is empty for the local one."""

    cluster: str
    service: str


class Fleet:
    """The local cluster and those that are linked."""

    def __init__(self, local: Cluster) -> None:
        self.local = local
        self.remotes: dict[str, Cluster] = {}

    def add(self, name: str, cluster: Cluster) -> set[Topic]:
        """Takes a cluster, also instead of one of the same name; returns the topics that changed."""
        self.remotes[name] = cluster
        return {("cluster", name)}

    def remove(self, name: str) -> set[Topic]:
        """Forgets a cluster; returns the topics that changed."""
        return {("cluster", name)} if self.remotes.pop(name, None) is not None else set()

    def check(self, name: ServiceName) -> None:
        """Says whether a service can be asked for.

        Raises:
            NotFound: there is no such service, or the cluster that it mirrors is not linked.
            WireError: it is an ExternalName service.
            Incomplete: it does not say what it mirrors.
        """
        service = self.local.service(name)
        cluster = service.metadata.label(_REMOTE)
        if cluster is None or _is_federated(service):
            return
        if not service.metadata.label(_REMOTE_SERVICE):
            raise Incomplete(f"service {name.namespace}/{name.name} has no label {_REMOTE_SERVICE}")
        if cluster not in self.remotes:
            raise NotFound(f"cluster {cluster} is not linked")

    def endpoints(self, key: EndpointsKey) -> tuple[EndpointSet, set[Topic]]:
        """Returns the endpoints of a service, wherever they are."""
        sources = self._sources(key.service)
        if sources is None:
            return self.local.endpoints(key)
        own = (("namespace", key.service.namespace), ("service", key.service.name))
        topics: set[Topic] = {("endpoints", *key.service.key)}
        found: dict[tuple[str, int], Endpoint] = {}
        zone = ""
        for source in sources:
            target = ServiceName(key.service.namespace, source.service, key.service.instance)
            if not source.cluster:
                value, more = self.local.endpoints(replace(key, service=target))
                topics |= more
                zone = value.client_zone
                members = value.endpoints
            else:
                topics.add(("cluster", source.cluster))
                remote = self.remotes.get(source.cluster)
                if remote is None:
                    continue
                value, more = remote.endpoints(EndpointsKey(target, key.port, filtered=False))
                topics |= {("remote", source.cluster, *topic) for topic in more}
                members = {
                    address: _labelled(endpoint, source, target)
                    for address, endpoint in value.endpoints.items()
                }
            for address, endpoint in members.items():
                found.setdefault(address, endpoint)
        return EndpointSet(own, dict(sorted(found.items())), zone), topics

    def _sources(self, name: ServiceName) -> list[Source] | None:
        """Where a service's endpoints are; None when they are its own."""
        service = self.local.services.get(name.key)
        if service is None:
            return None
        if _is_federated(service):
            return _federated(service)
        cluster = service.metadata.label(_REMOTE)
        remote = service.metadata.label(_REMOTE_SERVICE)
        return [Source(cluster, remote)] if cluster and remote else None


def _is_federated(service: Service) -> bool:
    meta = service.metadata
    return meta.annotation(_REMOTE) is not None or meta.annotation(_LOCAL) is not None


def _federated(service: Service) -> list[Source]:
    found: set[Source] = set()
    local = (service.metadata.annotation(_LOCAL) or "").strip()
    if local:
        found.add(Source("", local))
    for entry in (service.metadata.annotation(_REMOTE) or "").split(","):
        name, at, cluster = entry.strip().partition("@")
        if at and name and cluster:
            found.add(Source(cluster, name))
    return sorted(found)


def _labelled(endpoint: Endpoint, source: Source, target: ServiceName) -> Endpoint:
    labels = {
        **dict(endpoint.labels),
        "target_cluster": source.cluster,
        "target_service": target.name,
        "target_service_namespace": target.namespace,
    }
    return replace(endpoint, labels=tuple(sorted(labels.items())))

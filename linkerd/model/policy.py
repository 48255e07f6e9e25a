"""Policies as values: who may reach a port, and where outbound traffic goes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from linkerd.errors import WireError

DETECT_TIMEOUT_S = 10.0
"""Source: linkerd2 policy-controller/runtime/src/args.rs."""

ALL_NETWORKS = ("0.0.0.0/0", "::/0")
POLICY_GROUP = "policy.linkerd.io"
GATEWAY_GROUP = "gateway.networking.k8s.io"

DEFAULT_POLICIES = (
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
)


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """Which object, or which default when only `default` is set."""

    default: str = ""
    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """Addresses of a block without some."""

    cidr: str
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Clients:
    """Which clients are meant.

    `tls` False permits anybody. With TLS: `unauthenticated` permits any TLS client, else the
    client's identity is one of `identities` or ends with one of `suffixes`, each given as its
    labels; the empty suffix is every identity.
    """

    tls: bool = False
    unauthenticated: bool = False
    identities: tuple[str, ...] = ()
    suffixes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Authorization:
    """Permits `clients` from `networks`."""

    reference: Reference
    networks: tuple[Block, ...]
    clients: Clients


EVERY_IDENTITY = Clients(tls=True, suffixes=((),))
ANYBODY = Clients()


def clients_of(identities: tuple[str, ...]) -> Clients:
    """Returns the clients that identity patterns mean: exact names, `*` and `*.suffix`."""
    exact: list[str] = []
    suffixes: list[tuple[str, ...]] = []
    for identity in identities:
        if identity == "*":
            suffixes.append(())
        elif identity.startswith("*."):
            suffixes.append(tuple(identity[2:].split(".")))
        else:
            exact.append(identity)
    return Clients(tls=True, identities=tuple(sorted(exact)), suffixes=tuple(sorted(suffixes)))


def default_authorizations(
    policy: str, cluster_networks: tuple[str, ...]
) -> tuple[Authorization, ...]:
    """Returns what a default policy permits; nothing for `deny`.

    Raises:
        WireError: there is no such policy.
    Source: linkerd2 policy-controller/k8s/index/src/defaults.rs.
    """
    if policy not in DEFAULT_POLICIES:
        raise WireError(f"default policy {policy!r} is none of {', '.join(DEFAULT_POLICIES)}")
    if policy == "deny":
        return ()
    everywhere = not policy.startswith("cluster-")
    blocks = tuple(Block(cidr) for cidr in (ALL_NETWORKS if everywhere else cluster_networks))
    clients = EVERY_IDENTITY if policy.endswith("-authenticated") else ANYBODY
    return (Authorization(Reference(default=policy), blocks, clients),)


def authenticated(policy: str) -> str:
    """Returns the form of a default policy that demands an identity."""
    return {
        "all-unauthenticated": "all-authenticated",
        "cluster-unauthenticated": "cluster-authenticated",
        "audit": "all-authenticated",
    }.get(policy, policy)


def is_network(text: str) -> bool:
    """Whether `text` is an address or a block."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Accrual:
    """Failure accrual of a service; seconds."""

    max_failures: int = 7
    min_penalty_s: float = 1.0
    max_penalty_s: float = 60.0
    jitter: float = 0.5
    unified: bool = False
    success_rate: float = 0.8
    window_s: float = 10.0
    min_requests: int = 5
    honor_retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Bias:
    """Added to the load of endpoints that answer with failures; seconds."""

    penalty_s: float = 5.0
    max_retry_after_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds; None for none."""

    request_s: float | None = None
    response_s: float | None = None
    idle_s: float | None = None


NO_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class Retry:
    """Retries; `statuses` are inclusive ranges, `grpc` the conditions' names."""

    limit: int = 1
    timeout_s: float | None = None
    statuses: tuple[tuple[int, int], ...] = ()
    grpc: tuple[str, ...] = ()

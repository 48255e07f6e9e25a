"""The kinds of resources that viz commands and the metrics API know, and how people write them.

Source: linkerd2 pkg/k8s/k8s.go (names, short forms), viz/metrics-api (Prometheus labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from linkerd.errors import UsageError


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource."""

    name: str
    """Singular, lower case, as the API and JSON carry it."""

    short: str
    """Prefix in tables and the preferred short form."""

    aliases: tuple[str, ...] = ()
    """Other accepted spellings, besides the plural."""

    owns_pods: bool = False
    """Whether pods belong to it, so that it can be meshed."""

    policy: bool = False
    """Whether its statistics are those of an authorization policy resource."""

    @property
    def label(self) -> str:
        """The Prometheus label with its name; `job` is taken by Prometheus itself."""
        return "k8s_job" if self.name == "job" else self.name

    @property
    def plural(self) -> str:
        """Plural, as accepted on command lines and used in Kubernetes paths."""
        if self.name.endswith("y"):
            return self.name[:-1] + "ies"
        return self.name + "s"


_KINDS = (
    Kind("authority", "au"),
    Kind("authorizationpolicy", "authzpolicy", ("ap",), policy=True),
    Kind("cronjob", "cj", owns_pods=True),
    Kind("daemonset", "ds", owns_pods=True),
    Kind("deployment", "deploy", owns_pods=True),
    Kind("httproute", "httproute", policy=True),
    Kind("job", "job", owns_pods=True),
    Kind("link", "ln"),
    Kind("meshtlsauthentication", "meshtlsauthn"),
    Kind("namespace", "ns", owns_pods=True),
    Kind("networkauthentication", "netauthn", ("networkauthn",)),
    Kind("pod", "po", owns_pods=True),
    Kind("replicaset", "rs", owns_pods=True),
    Kind("replicationcontroller", "rc", owns_pods=True),
    Kind("server", "srv", policy=True),
    Kind("serverauthorization", "saz", ("serverauthz", "srvauthz"), policy=True),
    Kind("service", "svc"),
    Kind("serviceprofile", "sp"),
    Kind("statefulset", "sts", owns_pods=True),
)
KINDS = {kind.name: kind for kind in _KINDS}
"""All kinds by name, in the order in which tables print them."""

ALL = "all"
"""The pseudo kind that stands for `STAT_ALL`."""

STAT_ALL = (
    "daemonset",
    "statefulset",
    "job",
    "deployment",
    "replicationcontroller",
    "pod",
    "service",
    "cronjob",
    "replicaset",
)
"""What `all` expands to."""

_FRIENDLY = {
    word: kind.name
    for kind in _KINDS
    for word in (kind.name, kind.plural, kind.short, *kind.aliases)
} | {ALL: ALL}


class Target(NamedTuple):
    """One resource or all resources of a kind."""

    kind: str
    """Canonical name, or `all`."""

    name: str
    """Empty for all."""


def canonical(friendly: str) -> str:
    """Returns the canonical name of a kind written as singular, plural or short form.

    Raises:
        UsageError: no kind has that name.
    """
    try:
        return _FRIENDLY[friendly.lower()]
    except KeyError:
        raise UsageError(
            f"cannot find Kubernetes canonical name from friendly name [{friendly}]"
        ) from None


def targets(words: Sequence[str]) -> list[Target]:
    """Returns what the arguments of a viz command select.

    Accepted are `TYPE`, `TYPE/NAME…` (kinds may differ), `TYPE NAME…` and `all`.

    Raises:
        UsageError: the words select nothing, something twice, or mix these forms.
    """
    if not words:
        raise UsageError("no resource given", hint="name a resource type, for instance deploy")
    if len(words) == 1 and "/" not in words[0]:
        return [Target(canonical(words[0]), "")]
    if "/" in words[0]:
        found = [_slashed(word) for word in words]
    else:
        kind = canonical(words[0])
        names = words[1:]
        wrong = [name for name in names if "/" in name]
        if wrong:
            raise UsageError(
                f"there is no need to specify a resource type as a separate argument when "
                f"passing arguments in resource/name form (e.g. {wrong[0]})"
            )
        found = [Target(kind, name) for name in names]
    if any(target.kind == ALL for target in found):
        raise UsageError("'all' can't be supplied alongside other resources or names")
    if len(set(found)) != len(found):
        raise UsageError("cannot supply duplicate resources")
    return found


def _slashed(word: str) -> Target:
    kind, slash, name = word.partition("/")
    if not slash:
        raise UsageError(
            f"arguments in resource/name form must not have more than one slash or none: {word}"
        )
    if "/" in name:
        raise UsageError("arguments in resource/name form may not have more than one slash")
    return Target(canonical(kind), name)

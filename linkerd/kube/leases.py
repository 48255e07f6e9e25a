"""Leader election on a coordination.k8s.io Lease.

    state, action = step(lease, holder, now)      pure
    async with Election(kube, ...) as election: ...; election.leader → bool

Source: kubernetes/client-go tools/leaderelection; linkerd-kubert kubert/src/lease.rs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from linkerd import log, runtime
from linkerd.errors import Conflict, KubeError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import LEASES

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a claim lasts (`duration_s`) and how often it is renewed and retried."""

    duration_s: float = 30.0
    renew_s: float = 10.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease as it should be written now."""

    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else leads until `expires`."""

    holder: str
    expires: datetime


def step(lease: dict[str, Any] | None, me: str, now: datetime, terms: Terms) -> Claim | Held:
    """Returns what to do about a lease: write our claim, or wait for its holder to expire.

    Args:
        lease: The object, None when there is none.
        me: Our holder identity, unique per process.
        now: Wall-clock time, UTC.
        terms: Durations.
    """
    spec = (lease or {}).get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    renewed = _time(spec.get("renewTime"))
    lasts_s = float(spec.get("leaseDurationSeconds") or terms.duration_s)
    if holder and holder != me and renewed is not None:
        expires = renewed + timedelta(seconds=lasts_s)
        if now < expires:
            return Held(holder, expires)
    acquired = spec.get("acquireTime") if holder == me else None
    transitions = int(spec.get("leaseTransitions") or 0)
    if holder and holder != me:
        transitions += 1
    return Claim(
        {
            "holderIdentity": me,
            "leaseDurationSeconds": int(terms.duration_s),
            "acquireTime": acquired or _text(now),
            "renewTime": _text(now),
            "leaseTransitions": transitions,
        }
    )


class Election:
    """Keeps claiming one lease while the context is open; gives it up on leaving.

    `leader` is true only while a claim that we wrote has not expired by our own clock.
    """

    def __init__(
        self,
        kube: KubeClient,
        name: str,
        namespace: str,
        me: str,
        *,
        terms: Terms | None = None,
        metadata: dict[str, Any] | None = None,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self._kube = kube
        self._name, self._namespace, self._me = name, namespace, me
        self._terms = terms or Terms()
        self._metadata = metadata or {}
        self._on_change = on_change or (lambda _: None)
        self._until_s = 0.0
        self._was_leader = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def leader(self) -> bool:
        """Whether we lead right now."""
        return asyncio.get_running_loop().time() < self._until_s

    async def __aenter__(self) -> Self:
        runtime.spawn(self._run(), name=f"lease {self._name}", into=self._tasks)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        led, self._until_s = self.leader, 0.0
        if led:
            with contextlib.suppress(KubeError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._release()

    async def _run(self) -> None:
        while True:
            wait_s = self._terms.retry_s
            try:
                if await self._claim():
                    wait_s = self._terms.renew_s
            except KubeError as error:
                _log.debug("lease not claimed", lease=self._name, error=error.message)
            self._note()
            await asyncio.sleep(wait_s)

    async def _claim(self) -> bool:
        lease = await self._kube.get_or_none(LEASES, self._name, self._namespace)
        # Before the time that is written: we must never lead for longer than others believe.
        started_s = asyncio.get_running_loop().time()
        action = step(lease, self._me, datetime.now(UTC), self._terms)
        if isinstance(action, Held):
            self._until_s = 0.0
            return False
        try:
            if lease is None:
                await self._kube.create(LEASES, self._object(action.spec), self._namespace)
            else:
                await self._kube.replace(LEASES, {**lease, "spec": action.spec})
        except Conflict:
            self._until_s = 0.0
            return False
        self._until_s = started_s + self._terms.duration_s
        return True

    def _object(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {**self._metadata, "name": self._name, "namespace": self._namespace},
            "spec": spec,
        }

    async def _release(self) -> None:
        lease = await self._kube.get(LEASES, self._name, self._namespace)
        if (lease.get("spec") or {}).get("holderIdentity") == self._me:
            lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._kube.replace(LEASES, lease)

    def _note(self) -> None:
        leader = self.leader
        if leader != self._was_leader:
            self._was_leader = leader
            _log.info("lease changed hands", lease=self._name, leader=leader)
            self._on_change(leader)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: Any) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None

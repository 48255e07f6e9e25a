"""Pods in the store after a start: nothing that ended with the last run is shown as running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linkerd.local.apiserver import restart
from linkerd.local.store import Store

_NOW = "2030-01-02T03:04:05Z"
_STARTED = "2030-01-01T00:00:00Z"


def a_status(**other: Any) -> dict[str, Any]:
    running = {"running": {"startedAt": _STARTED}}
    return {
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": _STARTED},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": _STARTED},
        ],
        "initContainerStatuses": [
            {"name": "init", "ready": True, "state": {"terminated": {"exitCode": 0}}}
        ],
        "containerStatuses": [
            {"name": "web", "ready": True, "started": True, "state": running, "restartCount": 2}
        ],
        **other,
    }


def test_what_ran_ended_and_is_not_ready() -> None:
    new = restart.without_containers({"status": a_status()}, _NOW)
    assert new is not None
    (web,) = new["status"]["containerStatuses"]
    ended = {"exitCode": 255, "reason": "Unknown", "startedAt": _STARTED, "finishedAt": _NOW}
    assert {"terminated": ended} == web["state"]
    assert (False, False, 2) == (web["ready"], web["started"], web["restartCount"])
    assert a_status()["initContainerStatuses"] == new["status"]["initContainerStatuses"]
    ready, scheduled = new["status"]["conditions"]
    assert ("False", _NOW, "ContainersNotReady") == (
        ready["status"],
        ready["lastTransitionTime"],
        ready["reason"],
    )
    assert a_status()["conditions"][1] == scheduled


@pytest.mark.parametrize(
    "status",
    [{}, a_status(phase="Succeeded"), a_status(phase="Failed"), {"phase": "Pending"}],
    ids=["new", "succeeded", "failed", "pending"],
)
def test_pods_that_did_not_run_stay_as_they_are(status: dict[str, Any]) -> None:
    assert restart.without_containers({"status": status}, _NOW) is None


def test_the_store_is_corrected_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    try:
        for name, status in (("ran", a_status()), ("new", {"phase": "Pending"})):
            meta = {"name": name, "namespace": "default", "uid": name}
            store.create("pods", {"kind": "Pod", "metadata": meta, "status": status})
        assert 1 == restart.run(store, _NOW)
        assert 0 == restart.run(store, _NOW)
        entry = store.get("pods", "default", "ran")
        assert entry is not None
        assert not entry.decode()["status"]["containerStatuses"][0]["ready"]
    finally:
        store.close()

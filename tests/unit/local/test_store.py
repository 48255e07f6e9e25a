"""The store: versions, the log, listeners, and what is left after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linkerd.errors import LocalError
from linkerd.local.store import LOG_ROWS_KEPT, Change, Changed, Exists, Expired, Missing, Store
from tests.unit.local.apiserver.builders import an_object


def a_config(name: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    return an_object("ConfigMap", name, namespace, **more)


@pytest.fixture
def store() -> Store:
    return Store(":memory:")


def test_each_write_has_a_version_of_its_own(store: Store) -> None:
    first = store.create("configmaps", a_config("a"))
    second = store.update("configmaps", a_config("a", data={"x": "1"}))
    third = store.delete("configmaps", ("default", "a"))
    assert [1, 2, 3] == [first.rv, second.rv, third.rv]
    assert "2" == second.decode()["metadata"]["resourceVersion"]
    assert 3 == store.version


def test_lists_are_ordered_by_namespace_and_name(store: Store) -> None:
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y")):
        store.create("configmaps", a_config(name, namespace))
    assert [("a", "y"), ("a", "z"), ("b", "x")] == [e.key for e in store.list("configmaps")]
    assert [("a", "y"), ("a", "z")] == [e.key for e in store.list("configmaps", "a")]
    assert [] == store.list("pods")


def test_impossible_writes_raise(store: Store) -> None:
    entry = store.create("configmaps", a_config("a"))
    with pytest.raises(Exists):
        store.create("configmaps", a_config("a"))
    with pytest.raises(Missing):
        store.update("configmaps", a_config("b"))
    with pytest.raises(Missing):
        store.delete("configmaps", ("default", "b"))
    with pytest.raises(Changed):
        store.update("configmaps", a_config("a"), entry.rv + 1)


def test_entries_do_not_change_with_their_copies(store: Store) -> None:
    store.create("configmaps", a_config("a", data={"x": "1"}))
    entry = store.get("configmaps", "default", "a")
    assert entry is not None
    entry.decode()["data"]["x"] = "2"
    assert {"x": "1"} == entry.decode()["data"]


def told(changes: list[Change]) -> list[tuple[str, str, bool]]:
    return [(c.type, c.entry.key[1], c.before is not None) for c in changes]


def test_listeners_hear_what_the_log_tells(store: Store) -> None:
    heard: list[Change] = []
    stop = store.listen("configmaps", heard.append)
    store.create("configmaps", a_config("a"))
    store.create("pods", an_object("Pod", "p"))
    store.update("configmaps", a_config("a", data={"x": "1"}))
    store.delete("configmaps", ("default", "a"))
    stop()
    store.create("configmaps", a_config("late"))
    assert [("ADDED", "a", False), ("MODIFIED", "a", True), ("DELETED", "a", True)] == told(heard)
    assert told(heard) == told(list(store.since("configmaps", 0)))[:3]


def test_the_log_begins_after_the_wanted_version(store: Store) -> None:
    for name in "abc":
        store.create("configmaps", a_config(name))
    assert [("ADDED", "c", False)] == told(list(store.since("configmaps", 2)))
    assert [] == list(store.since("configmaps", 3))
    assert [] == list(store.since("configmaps", 0, "other"))


def test_versions_that_were_never_given_are_expired(store: Store) -> None:
    with pytest.raises(Expired):
        list(store.since("configmaps", 1))


def test_the_log_is_bounded(store: Store) -> None:
    store.create("configmaps", a_config("a"))
    for _ in range(LOG_ROWS_KEPT + 1_000):
        store.update("configmaps", a_config("a"))
    with pytest.raises(Expired):
        list(store.since("configmaps", 1))
    recent = store.version - 100
    assert 100 == len(list(store.since("configmaps", recent)))


def test_a_copy_of_a_live_store_has_everything(tmp_path: Path) -> None:
    """What is on disk at any moment is what a kill -9 leaves."""
    live = Store(tmp_path / "store.db")
    live.create("configmaps", a_config("a", labels={"x": "y"}))
    live.update("configmaps", a_config("a", data={"k": "v"}, labels={"x": "z"}))
    left = tmp_path / "left"
    left.mkdir()
    for file in tmp_path.glob("store.db*"):
        (left / file.name).write_bytes(file.read_bytes())
    again = Store(left / "store.db")
    entry = again.get("configmaps", "default", "a")
    assert entry is not None
    assert ({"k": "v"}, {"x": "z"}) == (entry.decode()["data"], entry.labels)
    assert 2 == again.version
    assert 3 == again.create("configmaps", a_config("b")).rv
    live.close()
    again.close()


def test_versions_grow_over_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.create("configmaps", a_config("a"))
    store.delete("configmaps", ("default", "a"))
    store.close()
    store = Store(tmp_path / "store.db")
    assert 3 == store.create("configmaps", a_config("b")).rv
    store.close()


def test_one_store_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkerd.local.store._LOCK_WAIT_MS", 10)
    store = Store(tmp_path / "store.db")
    store.create("configmaps", a_config("a"))
    with pytest.raises(LocalError, match="cannot be opened"):
        Store(tmp_path / "store.db")
    store.close()


def test_a_damaged_file_is_told_from_a_locked_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(LocalError, match="is damaged") as damaged:
        Store(path)
    assert "linkerd local delete" in (damaged.value.hint or "")

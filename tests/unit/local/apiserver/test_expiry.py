"""Old events go, young ones stay."""

from __future__ import annotations

from linkerd.local.apiserver.expiry import EVENT_S, expire_events
from linkerd.local.store import Store
from tests.unit.local.apiserver.builders import an_object

NOW = 1_800_000_000.0
AN_HOUR_AGO = "2027-01-15T07:00:00Z"
JUST_NOW = "2027-01-15T07:59:59Z"


def test_events_expire_by_when_they_were_last_seen() -> None:
    store = Store(":memory:")
    for name, moment in (("old", AN_HOUR_AGO), ("young", JUST_NOW)):
        store.create("events", an_object("Event", name, lastTimestamp=moment))
    seen_again = an_object("Event", "again", series={"lastObservedTime": JUST_NOW})
    store.create("events", seen_again | {"lastTimestamp": AN_HOUR_AGO})
    assert 1 == expire_events(store, NOW + EVENT_S / 2)
    assert ["again", "young"] == [entry.key[1] for entry in store.list("events")]

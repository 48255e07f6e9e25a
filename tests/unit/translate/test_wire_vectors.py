"""Wire vectors: our bytes for documented facts, which the proxy's tests read as well.

`tests/vectors/wire.json` has for each case the encoded message and what a proxy must make of it;
UPDATE_GOLDEN=1 writes the bytes anew, the meaning is by hand. Source: io.linkerd.proxy.destination.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from linkerd.gen import destination_pb2 as pb
from linkerd.model.endpoints import (
    Endpoint,
    EndpointSet,
    Match,
    Profile,
    ResponseClass,
    Route,
    Rules,
)
from linkerd.translate.destination import NOTHING_NEW, Params, profile, updates

VECTORS = Path(__file__).parents[2] / "vectors" / "wire.json"
LABELS = (("namespace", "ns"), ("service", "web"))


def members(*endpoints: Endpoint, zone: str = "") -> EndpointSet:
    return EndpointSet(LABELS, {each.address: each for each in endpoints}, zone)


PLAIN = Endpoint("10.0.0.1", 8080)
MESHED = Endpoint(
    "10.0.0.2",
    8080,
    labels=(("pod", "web-1"),),
    identity="web.ns.serviceaccount.identity.linkerd.cluster.local",
    meshed=True,
    hint="h2",
)
OPAQUE = Endpoint(
    "fd00::3",
    9000,
    weight=20_000,
    identity="db.ns.serviceaccount.identity.linkerd.cluster.local",
    meshed=True,
    hint="opaque",
    opaque_transport_port=4143,
    opaque=True,
    zone="a",
)
ROUTES = Rules(
    routes=(
        Route(
            "GET /books",
            Match("all", of=(Match("method", text="GET"), Match("path", text="/books/[^/]*"))),
            is_retryable=True,
            timeout_s=0.3,
            responses=(ResponseClass(Match("status", low=500, high=599), True),),
        ),
    ),
    overrides=(("web-2.ns.svc.cluster.local", 500), ("web-3.ns.svc.cluster.local:81", 250)),
)
CASES: dict[str, list[bytes]] = {
    "a plain endpoint": updates(None, members(PLAIN), Params()),
    "a meshed endpoint": updates(None, members(MESHED), Params()),
    "an opaque endpoint in the caller's zone": updates(None, members(OPAQUE, zone="a"), Params()),
    "an endpoint is gone": updates(members(PLAIN, MESHED), members(MESHED), Params()),
    "the last endpoint is gone": updates(members(PLAIN), members(), Params()),
    "nobody is behind a service": updates(None, members(), Params()),
    "nothing is new": [NOTHING_NEW],
    "a service without a profile": [
        profile(Profile("web.ns.svc.cluster.local", ("ns", "web", 80)), Params())
    ],
    "a service profile": [
        profile(
            Profile("web.ns.svc.cluster.local", ("ns", "web", 80), ("ns", "web"), rules=ROUTES),
            Params(),
        )
    ],
    "the profile of a pod": [profile(Profile(opaque=True, endpoint=OPAQUE), Params())],
}


def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


@pytest.mark.parametrize("name", CASES)
def test_our_bytes_are_those_of_the_vectors(name: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        vectors = stored()
        vectors.setdefault(name, {"means": {}})["hex"] = [each.hex() for each in CASES[name]]
        VECTORS.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")
    kind = pb.DestinationProfile if "profile" in stored()[name]["means"] else pb.Update
    wanted = [kind.FromString(bytes.fromhex(each)) for each in stored()[name]["hex"]]
    assert wanted == [kind.FromString(each) for each in CASES[name]]


def test_every_vector_is_made() -> None:
    assert sorted(CASES) == sorted(stored())

"""From words to the request, its path and what proxies are asked; framing; who may call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linkerd.errors import Forbidden, NotFound, SettingsError, UsageError, WireError
from linkerd.gen import viz_pb2 as viz
from linkerd.viz.objects import Annotations, Pod
from linkerd.viz.tap import authn, catalogue, framing, request, targets
from linkerd.viz.tap.request import Place, Wish
from tests.unit.viz.builders import emojivoto

BASE = "/apis/tap.linkerd.io/v1alpha1/watch/namespaces"


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["deploy/web"], f"{BASE}/emojivoto/deployments/web/tap"),
        (["deploy", "web"], f"{BASE}/emojivoto/deployments/web/tap"),
        (["deploy"], f"{BASE}/emojivoto/deployments//tap"),
        (["po/web-1"], f"{BASE}/emojivoto/pods/web-1/tap"),
        (["ns/other"], f"{BASE}/other/tap"),
        (["ns"], f"{BASE}/emojivoto/tap"),
    ],
)
def test_a_request_is_posted_where_its_target_is(words: list[str], path: str) -> None:
    wanted = request.build(words, Wish("emojivoto"))
    assert path == request.path_of(wanted)
    place = request.place_of(path)
    assert place is not None
    assert path.split("/")[6] == place.namespace


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"{BASE}/a/tap", Place("a", "namespaces", "a")),
        (f"{BASE}/a/deployments/b/tap", Place("a", "deployments", "b")),
        (f"{BASE}/a/deployments//tap", Place("a", "deployments", "")),
        (f"{BASE}/a/potatoes/b/tap", None),
        (f"{BASE}/a/deployments/b", None),
        (f"{BASE}//tap", None),
        ("/metrics", None),
    ],
)
def test_only_known_paths_are_taps(path: str, place: Place | None) -> None:
    assert place == request.place_of(path)


@pytest.mark.parametrize("words", [["svc/web"], ["all"], ["a/b", "c/d"], []])
def test_what_has_no_pods_of_its_own_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        request.build(words, Wish("emojivoto"))


def test_filters_reach_the_proxies_as_one_conjunction() -> None:
    wish = Wish(
        "emojivoto",
        to="deploy/voting",
        scheme="https",
        method="purge",
        authority="web:80",
        path="/api",
        headers=True,
    )
    asked = request.observed(request.build(["deploy/web"], wish), 7)
    matches = asked.match.all.matches
    assert 7 == asked.limit
    assert {"deployment": "voting", "namespace": "emojivoto"} == {
        m.destination_label.key: m.destination_label.value for m in matches[:2]
    }
    assert 1 == matches[2].http.scheme.registered
    assert "PURGE" == matches[3].http.method.unregistered
    assert "web:80" == matches[4].http.authority.exact
    assert "/api" == matches[5].http.path.prefix
    assert asked.extract.http.HasField("headers")


def test_a_namespace_alone_narrows_the_destination() -> None:
    wanted = request.build(["deploy/web"], Wish("emojivoto", to_namespace="other"))
    (match,) = request.observed(wanted, 1).match.all.matches
    assert ("namespace", "other") == (match.destination_label.key, match.destination_label.value)


def test_nested_matches_are_refused() -> None:
    wanted = request.build(["deploy/web"], Wish("emojivoto"))
    getattr(wanted.match, "not").http.path = "/"
    with pytest.raises(UsageError, match="unexpected match specified: not"):
        request.observed(wanted, 1)


def test_frames_survive_any_cut() -> None:
    messages = [b"", b"a", b"x" * 300]
    stream = b"".join(map(framing.frame, messages))
    assert b"\x01\x00\x00\x00a" == framing.frame(b"a")
    for size in (1, 3, len(stream)):
        frames = framing.Frames()
        found = [
            message
            for at in range(0, len(stream), size)
            for message in frames.feed(stream[at : at + size])
        ]
        assert messages == found


def test_an_absurd_length_is_refused() -> None:
    with pytest.raises(WireError, match="exceeds"):
        list(framing.Frames().feed(b"\xff\xff\xff\x7f"))


def with_annotations(pod: Any, **values: str) -> Pod:
    import msgspec

    meta = msgspec.structs.replace(pod.metadata, annotations=Annotations(**values))
    changed: Pod = msgspec.structs.replace(pod, metadata=meta)
    return changed


def test_only_running_meshed_enabled_pods_are_tapped() -> None:
    cluster = emojivoto()
    target = request.build(["deploy/web"], Wish("emojivoto")).target
    for name, values in (
        ("web-1-a", {"tap_enabled": "true"}),
        ("web-1-b", {"tap_enabled": "true", "disable_tap": "true"}),
        ("web-1-c", {"tap_enabled": "true"}),
    ):
        pod = cluster.pod("emojivoto", name)
        cluster.apply("pod", with_annotations(pod, **values))
    found = targets.pods(cluster, target, "linkerd")
    assert ["web-1-a"] == [pod.metadata.name for pod in found.tappable]
    assert ("web-1-b",) == found.disabled
    assert () == targets.pods(cluster, target, "other").tappable


def test_a_tap_of_nothing_says_why() -> None:
    found = targets.Found(disabled=("a",), not_enabled=("b",))
    with pytest.raises(NotFound) as refused:
        targets.require(found, viz.Resource(type="deployment", name="web"))
    text = refused.value.message
    assert text.startswith('no pods to tap for type="deployment" name="web"')
    assert "1 pods found with tap disabled via annotation:\n\t* a" in text
    assert "1 pods found with tap not enabled:\n\t* b" in text


CONFIG = {
    "requestheader-client-ca-file": "-----BEGIN CERTIFICATE-----",
    "requestheader-allowed-names": json.dumps(["front-proxy"]),
    "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
    "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
}
HEADERS = (
    ("x-remote-user", "alice"),
    ("x-remote-group", "a"),
    ("x-remote-group", "b"),
    ("x-remote-extra-scopes%2fx", "s"),
)


def a_certificate(name: str) -> dict[str, Any]:
    return {"subject": ((("commonName", name),),)}


def test_the_front_proxy_names_the_user() -> None:
    proxy = authn.from_config(CONFIG)
    user = authn.user_of(proxy, a_certificate("front-proxy"), HEADERS)
    assert authn.User("alice", ("a", "b"), {"scopes/x": ["s"]}) == user


@pytest.mark.parametrize(
    ("certificate", "headers", "names"),
    [
        (None, HEADERS, ["front-proxy"]),
        (None, HEADERS, []),
        (a_certificate("other"), HEADERS, ["front-proxy"]),
        (a_certificate("front-proxy"), (), ["front-proxy"]),
    ],
)
def test_nobody_else_is_believed(certificate: Any, headers: Any, names: list[str]) -> None:
    proxy = authn.from_config(CONFIG | {"requestheader-allowed-names": json.dumps(names)})
    with pytest.raises(Forbidden):
        authn.user_of(proxy, certificate, headers)


@pytest.mark.parametrize(
    "change",
    [{"requestheader-client-ca-file": ""}, {"requestheader-allowed-names": "{"}],
)
def test_a_cluster_without_aggregation_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        authn.from_config(CONFIG | change)


def test_discovery_lists_every_kind_with_its_tap() -> None:
    document = catalogue.answer(request.ROOT)
    assert document is not None
    names = {resource["name"]: resource for resource in document["resources"]}
    assert names["deployments/tap"]["namespaced"]
    assert not names["namespaces/tap"]["namespaced"]
    assert ["watch"] == names["pods/tap"]["verbs"]
    assert catalogue.answer("/nothing") is None

"""Events as lines, JSON, templates, tables and profiles; whose addresses they name."""

from __future__ import annotations

import json

import pytest

from linkerd.cli import _jsonpath as jsonpath
from linkerd.gen import tap_pb2
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.viz.tap import hydrate, profile, render
from linkerd.viz.tap.screen import Screen
from linkerd.viz.tap.top import PENDING_MAX, Top, duration_text
from tests.unit.viz.builders import a_pod, emojivoto
from tests.unit.viz.tap.events import IPV4, a_request, a_response, an_end

FLOW = "proxy=out src=10.0.0.1:4000 dst=10.0.0.2:80 tls=true"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (a_request(), f"req id=1:2 {FLOW} :method=GET :authority=web-svc:80 :path=/api/vote"),
        (a_response(), f"rsp id=1:2 {FLOW} :status=200 latency=1500µs"),
        (an_end(), f"end id=1:2 {FLOW} duration=500µs response-length=42B"),
        (
            an_end(grpc=2),
            f"end id=1:2 {FLOW} grpc-status=Unknown duration=500µs response-length=42B",
        ),
        (
            an_end(grpc=99),
            f"end id=1:2 {FLOW} grpc-status=Code(99) duration=500µs response-length=42B",
        ),
        (an_end(reset=8), f"end id=1:2 {FLOW} reset-error=8 duration=500µs response-length=42B"),
    ],
)
def test_each_event_is_one_line(event: tap.TapEvent, line: str) -> None:
    assert line == render.line(event)


def test_inbound_lines_tell_the_clients_tls_and_are_padded() -> None:
    event = a_response(
        direction=tap.TapEvent.INBOUND, source={"tls": "no_identity"}, destination={"tls": "x"}
    )
    assert "proxy=in  src=" in render.line(event)
    assert " tls=no_identity " in render.line(event)


def test_wide_lines_name_both_ends_in_order() -> None:
    event = a_response(
        source={"pod": "a", "deployment": "b"}, destination={"pod": "c"}, route={"route": "r"}
    )
    line = render.line(event, wide=True)
    assert line.endswith("latency=1500µs src_deployment=b src_pod=a dst_pod=c rt_route=r")


def test_paths_cannot_drive_the_terminal() -> None:
    assert "\x1b" not in render.line(a_request("/\x1b[2J"))
    assert "\\x1b[2J" in render.line(a_request("/\x1b[2J"))


def test_json_has_exactly_one_event_with_linkerds_keys() -> None:
    event = a_request(source={"pod": "a"})
    header = event.http.request_init.headers.headers.add(name="x")
    header.value_str = "y"
    document = json.loads(render.as_json(event))
    assert {
        "source": {"ip": "10.0.0.1", "port": 4000, "metadata": {"pod": "a"}},
        "destination": {"ip": "10.0.0.2", "port": 80, "metadata": {"tls": "true"}},
        "routeMeta": {},
        "proxyDirection": "OUTBOUND",
        "requestInitEvent": {
            "id": {"base": 1, "stream": 2},
            "method": "GET",
            "scheme": "",
            "authority": "web-svc:80",
            "path": "/api/vote",
            "headers": [{"name": "x", "valueStr": "y"}],
        },
    } == document
    end = render.document(an_end(grpc=0))["responseEndEvent"]
    assert (0, {"nanos": 2_000_000}) == (end["grpcStatusCode"], end["sinceRequestInit"])
    assert "resetErrorCode" not in end


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.source.ip}", "10.0.0.1"),
        (".source.ip", "10.0.0.1"),
        ('{.source.ip}:{.source.port}{"\\n"}', "10.0.0.1:4000\n"),
        ("{.destination.metadata['tls']}", "true"),
        ("{.requestInitEvent.headers[*].name}", ""),
        ("{.none.at.all}", ""),
        ("{..base}", "1"),
        ("{.requestInitEvent.id}", '{"base": 1, "stream": 2}'),
    ],
)
def test_templates_pick_values(template: str, text: str) -> None:
    assert text == jsonpath.compile(template)(render.document(a_request()))


def test_requests_are_counted_when_they_end() -> None:
    top = Top()
    for stream, (status, grpc, nanos) in enumerate(
        [(200, None, 1_000_000), (500, None, 3_000_000), (200, 2, 2_000_000), (200, 0, 2_500_000)]
    ):
        top.take(a_request(stream=stream, destination={"pod": "web-1"}))
        assert top.take(a_response(status, stream)) is None
        top.take(an_end(stream, grpc=grpc, nanos=nanos))
    (row,) = top.rows()
    assert ("10.0.0.1", "web-1", "GET", "/api/vote") == row.key
    assert (4, 2) == (row.count, row.successes)
    assert [0.001, 0.003, 0.0025] == pytest.approx([row.best_s, row.worst_s, row.last_s])


def test_routes_and_hidden_sources_merge_rows() -> None:
    top = Top(hide_sources=True, routes=True)
    for stream, path in enumerate(("/a/1", "/a/2", "/b")):
        route = {"route": "/a/*"} if path != "/b" else {}
        top.take(a_request(path, stream, route=route))
        top.take(an_end(stream))
    assert [("/a/*", 2), ("[DEFAULT]", 1)] == [(r.key.path, r.count) for r in top.rows()]
    assert [""] * 2 == [row.key.source for row in top.rows()]


def test_requests_that_never_end_are_forgotten() -> None:
    top = Top()
    for stream in range(PENDING_MAX + 1):
        top.take(a_request(stream=stream))
    assert top.take(an_end(0)) is None
    assert top.take(an_end(PENDING_MAX)) is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0000451, "45µs"), (0.0021, "2ms"), (0.9994, "999ms"), (1.2, "1s"), (75, "1m15s")],
)
def test_latencies_are_rounded_to_their_unit(seconds: float, text: str) -> None:
    assert text == duration_text(seconds)


def a_screen() -> Screen:
    top = Top()
    for stream, path in enumerate(("/a", "/a", "/evil\x1b[2J")):
        top.take(a_request(path, stream))
        top.take(an_end(stream, grpc=2 if path != "/a" else 0))
    return Screen(top)


def test_the_screen_fits_and_marks_failures() -> None:
    lines = a_screen().lines(200, 24)
    assert lines[0].startswith("(press q to quit)")
    assert "Source" in lines[2]
    assert "Success Rate" in lines[2]
    assert "100.00%" in lines[3]
    assert lines[4].startswith("\x1b[31m")
    assert "\x1b[2J" not in lines[4]
    assert 4 == len(a_screen().lines(200, 4))


def test_a_narrow_screen_shows_the_figures_and_the_ends_of_paths() -> None:
    top = Top()
    top.take(a_request("/emojivoto.v1.VotingService/VoteDoughnut", 1))
    top.take(an_end(1, grpc=2))
    row = Screen(top).lines(80, 24)[3]
    assert "…eDoughnut" in row
    assert "0.00%" in row
    wide = Screen(top)
    wide.press("right")
    assert "VotingService/VoteDoughnut" in wide.lines(80, 24)[3]


def test_keys_scroll_sort_and_quit() -> None:
    screen = a_screen()
    assert screen.press("right")
    assert screen.lines(20, 24)[3] != a_screen().lines(20, 24)[3]
    assert screen.press("s")
    assert "by worst" in screen.lines(80, 24)[0]
    screen.press("down")
    assert 5 == len(screen.lines(80, 24)), "there is nothing to scroll to"
    assert not screen.press("q")


def test_profiles_have_a_route_per_path() -> None:
    routes = profile.Routes(2)
    inbound = {"direction": tap.TapEvent.INBOUND}
    assert routes.take(a_request("/", **inbound))
    assert routes.take(a_request("/not-inbound"))
    assert routes.take(a_request("/b/{id}/x.y", **inbound))
    assert not routes.take(a_request("/a-b", **inbound))
    found = routes.profile("web-svc", "emojivoto", "cluster.local")
    assert "web-svc.emojivoto.svc.cluster.local" == found["metadata"]["name"]
    assert [
        {"name": "/a-b", "condition": {"pathRegex": "/a-b", "method": "GET"}},
        {"name": "/b/{id}/x.y", "condition": {"pathRegex": r"/b/[^/]*/x\.y", "method": "GET"}},
    ] == found["spec"]["routes"]


def test_addresses_get_the_names_of_their_pods() -> None:
    cluster = emojivoto()
    for name in ("web-1-b", "web-1-c", "vote-bot-1-a"):
        cluster.delete("pod", a_pod(name))
    seen = tap_pb2.TapEvent(proxy_direction=tap_pb2.TapEvent.INBOUND)
    seen.source.ip.ipv4, seen.destination.ip.ipv4 = IPV4, IPV4 + 1
    seen.source_meta.labels["tls"] = "true"
    seen.http.request_init.path = "/"
    seen.http.request_init.headers.headers.add(name="Secret", value=b"x")
    seen.http.request_init.headers.headers.add(name="bin", value=b"\xff")
    found = hydrate.event(seen, hydrate.Addresses(cluster), {"secret"})
    assert {
        "tls": "true",
        "namespace": "emojivoto",
        "pod": "web-1-a",
        "deployment": "web",
        "serviceaccount": "web",
        "control_plane_ns": "linkerd",
    } == dict(found.source_meta.labels)
    assert {} == dict(found.destination_meta.labels)
    (header,) = found.http.request_init.headers.headers
    assert b"\xff" == header.value_bin

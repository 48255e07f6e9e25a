//! HTTP/2 connections against scripted peers: tables of RFC 9113, pairs with HTTP/1, flow control.
#![allow(clippy::unwrap_used)]

mod engine_support;

use std::time::Duration;

use engine_support::frames::{self, data, frame, get, headers, hello, post, reset, window};
use engine_support::{exchange, Rig};
use linkerd_proxy_core::engine::{code, Failure, Io, Protocol};

fn rig() -> Rig {
    let mut rig = Rig::new(Protocol::H2, Protocol::H1);
    rig.client(&hello());
    rig.to_client.clear();
    rig
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_request_and_its_response_pass_to_http1() {
    let mut rig = rig();
    rig.client(&headers(
        1,
        frames::END,
        &[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "x.test"),
            (":path", "/a?b"),
            ("accept", "*/*"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("te", "trailers"),
        ],
    ));
    assert_eq!(
        "GET https x.test /a?b|accept=*/*|cookie=a=1|cookie=b=2",
        rig.heads[0]
    );
    assert_eq!(
        "GET /a?b HTTP/1.1\r\nhost: x.test\r\naccept: */*\r\ncookie: a=1; b=2\r\n\r\n",
        rig.server_text()
    );
    rig.server(OK);
    let sent = frames::read(&rig.to_client);
    assert_eq!(vec![1, 0], sent.iter().map(|f| f.kind).collect::<Vec<_>>());
    // Table size zero, 200, content-length: 2.
    assert_eq!(b"\x20\x88\x0f\x0d\x012".to_vec(), sent[0].payload);
    assert_eq!(
        (b"hi".to_vec(), 1),
        (sent[1].payload.clone(), sent[1].flags)
    );
    assert_eq!(None, rig.finished[0].failure);
    assert_eq!(0, rig.engine.streams());
}

#[test]
fn bodies_and_trailers_pass_to_http1() {
    let mut rig = rig();
    rig.client(&post(1));
    rig.client(&frame(0, frames::PADDED, 1, b"\x03abc\0\0\0"));
    rig.client(&headers(1, frames::END, &[("x", "y")]));
    assert_eq!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        rig.server_text()
    );
    rig.server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\nGrpc-Status: 0\r\n\r\n");
    assert_eq!(vec!["|grpc-status=0"], rig.trailers);
    let kinds: Vec<_> = frames::read(&rig.to_client)
        .iter()
        .map(|frame| (frame.kind, frame.flags))
        .collect();
    assert_eq!(vec![(1, 4), (0, 0), (1, 5)], kinds);
}

/// Two hops, HTTP/1 outside and HTTP/2 between: what goes in comes out.
#[test]
fn two_hops_are_transparent() {
    let table: &[(&str, &str)] = &[
        (
            "GET /a HTTP/1.1\r\nhost: a\r\naccept: */*\r\nx-long: 0123456789012345678901234567890123456789\r\n\r\n",
            "HTTP/1.1 200 OK\r\nserver: s\r\ncontent-length: 2\r\n\r\nhi",
        ),
        (
            "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "PATCH /a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\na: b\r\n\r\n",
        ),
        (
            "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 304 Not Modified\r\netag: e\r\n\r\n",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nopaque\0bytes",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
    ];
    for (asked, answered) in table {
        let mut outbound = Rig::new(Protocol::H1, Protocol::H2);
        let mut inbound = Rig::new(Protocol::H2, Protocol::H1);
        outbound.client(asked.as_bytes());
        exchange(&mut outbound, &mut inbound);
        assert_eq!(*asked, inbound.server_text());
        inbound.server(answered.as_bytes());
        exchange(&mut outbound, &mut inbound);
        assert_eq!(*answered, outbound.client_text());
        if !asked.starts_with("CONNECT") {
            assert_eq!(1, outbound.finished.len());
            assert_eq!(None, outbound.finished[0].failure);
            assert_eq!(0, outbound.engine.streams() + inbound.engine.streams());
        }
    }
}

#[test]
fn large_bodies_cross_windows_both_ways() {
    let mut outbound = Rig::new(Protocol::H1, Protocol::H2);
    let mut inbound = Rig::new(Protocol::H2, Protocol::H1);
    let size = 3_000_000;
    let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    outbound
        .client(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes());
    for piece in body.chunks(50_000) {
        outbound.client(piece);
        exchange(&mut outbound, &mut inbound);
    }
    assert!(inbound.to_server.ends_with(&body[size - 1000..]));
    assert!(inbound.to_server.windows(1000).any(|w| w == &body[..1000]));
    let start = inbound.to_server.len() - size;
    assert_eq!(body, &inbound.to_server[start..]);
    inbound.server(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes());
    for piece in body.chunks(50_000) {
        inbound.server(piece);
        exchange(&mut outbound, &mut inbound);
    }
    let start = outbound.to_client.len() - size;
    assert_eq!(body, &outbound.to_client[start..]);
    assert_eq!(size as u64, outbound.finished[0].request_bytes);
    assert_eq!(size as u64, outbound.finished[0].response_bytes);
}

/// What a client sends after its settings, and the connection error that answers it.
#[test]
fn connection_errors() {
    let priority = |id: u32, on: u32| frame(2, 0, id, &[&on.to_be_bytes()[..], &[1]].concat());
    let table: Vec<(&str, u32, Vec<u8>)> = vec![
        ("data on stream 0", code::PROTOCOL_ERROR, data(0, 0, b"x")),
        (
            "data on an idle stream",
            code::PROTOCOL_ERROR,
            data(1, 0, b"x"),
        ),
        (
            "headers on stream 0",
            code::PROTOCOL_ERROR,
            headers(0, 0, &[]),
        ),
        ("headers on an even stream", code::PROTOCOL_ERROR, get(2)),
        (
            "a lower stream",
            code::PROTOCOL_ERROR,
            [get(5), get(3)].concat(),
        ),
        (
            "a stream again",
            code::STREAM_CLOSED,
            [get(1), reset(1, 8), get(1)].concat(),
        ),
        ("reset of stream 0", code::PROTOCOL_ERROR, reset(0, 8)),
        ("reset of an idle stream", code::PROTOCOL_ERROR, reset(1, 8)),
        (
            "a short reset",
            code::FRAME_SIZE_ERROR,
            [get(1), frame(3, 0, 1, b"123")].concat(),
        ),
        (
            "settings on a stream",
            code::PROTOCOL_ERROR,
            frame(4, 0, 1, b""),
        ),
        (
            "settings of odd size",
            code::FRAME_SIZE_ERROR,
            frame(4, 0, 0, b"12345"),
        ),
        (
            "an acknowledgement with text",
            code::FRAME_SIZE_ERROR,
            frame(4, 1, 0, b"123456"),
        ),
        (
            "push that is neither on nor off",
            code::PROTOCOL_ERROR,
            frames::settings(&[(2, 2)]),
        ),
        (
            "a window beyond 2^31",
            code::FLOW_CONTROL_ERROR,
            frames::settings(&[(4, 1 << 31)]),
        ),
        (
            "a frame size too small",
            code::PROTOCOL_ERROR,
            frames::settings(&[(5, 16_383)]),
        ),
        (
            "a frame size too large",
            code::PROTOCOL_ERROR,
            frames::settings(&[(5, 1 << 24)]),
        ),
        (
            "ping on a stream",
            code::PROTOCOL_ERROR,
            frame(6, 0, 1, &[0; 8]),
        ),
        (
            "a short ping",
            code::FRAME_SIZE_ERROR,
            frame(6, 0, 0, &[0; 6]),
        ),
        (
            "goaway on a stream",
            code::PROTOCOL_ERROR,
            frame(7, 0, 1, &[0; 8]),
        ),
        (
            "a short goaway",
            code::FRAME_SIZE_ERROR,
            frame(7, 0, 0, &[0; 7]),
        ),
        (
            "a push from a client",
            code::PROTOCOL_ERROR,
            frame(5, 4, 1, &[0; 4]),
        ),
        (
            "window 0 for the connection",
            code::PROTOCOL_ERROR,
            window(0, 0),
        ),
        (
            "a short window",
            code::FRAME_SIZE_ERROR,
            frame(8, 0, 0, b"123"),
        ),
        (
            "window of an idle stream",
            code::PROTOCOL_ERROR,
            window(1, 1),
        ),
        (
            "a window too far",
            code::FLOW_CONTROL_ERROR,
            window(0, i32::MAX as u32),
        ),
        ("priority of stream 0", code::PROTOCOL_ERROR, priority(0, 1)),
        (
            "continuation of nothing",
            code::PROTOCOL_ERROR,
            frame(9, 4, 1, b""),
        ),
        (
            "a frame between",
            code::PROTOCOL_ERROR,
            [frame(1, 0, 1, b""), frame(6, 0, 0, &[0; 8])].concat(),
        ),
        (
            "another stream's continuation",
            code::PROTOCOL_ERROR,
            [frame(1, 0, 1, b""), frame(9, 4, 3, b"")].concat(),
        ),
        (
            "more padding than frame",
            code::PROTOCOL_ERROR,
            [post(1), frame(0, frames::PADDED, 1, b"\x05abc")].concat(),
        ),
        (
            "padding without length",
            code::FRAME_SIZE_ERROR,
            [post(1), frame(0, frames::PADDED, 1, b"")].concat(),
        ),
        (
            "a frame too large",
            code::FRAME_SIZE_ERROR,
            [post(1), data(1, 0, &[0; 16_385])].concat(),
        ),
        (
            "an index that is not",
            code::COMPRESSION_ERROR,
            frame(1, 5, 1, b"\xff\x80\x01"),
        ),
        ("index 0", code::COMPRESSION_ERROR, frame(1, 5, 1, b"\x80")),
        (
            "a cut string",
            code::COMPRESSION_ERROR,
            frame(1, 5, 1, b"\x00\x05ab"),
        ),
        (
            "a late table size",
            code::COMPRESSION_ERROR,
            frame(1, 5, 1, b"\x82\x20"),
        ),
        (
            "a table too large",
            code::COMPRESSION_ERROR,
            frame(1, 5, 1, b"\x3f\xe2\x1f\x82"),
        ),
        (
            "bad huffman padding",
            code::COMPRESSION_ERROR,
            frame(1, 5, 1, b"\x00\x82\x07\xff\x00"),
        ),
        (
            "an endless integer",
            code::COMPRESSION_ERROR,
            frame(1, 5, 1, &[0xff; 40]),
        ),
    ];
    for (name, expected, bytes) in table {
        let mut rig = rig();
        rig.client(&bytes);
        let goaways = frames::of(&rig.to_client, 7);
        assert_eq!(1, goaways.len(), "{name}");
        assert_eq!(expected, goaways[0].code(), "{name}");
        assert_eq!(Io::Close, rig.client_io(), "{name}");
        assert_eq!(0, rig.engine.streams(), "{name}");
    }
}

#[test]
fn a_connection_starts_with_preface_and_settings() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX"] {
        let mut rig = Rig::new(Protocol::H2, Protocol::H1);
        rig.client(bytes);
        assert_eq!(Io::Close, rig.client_io());
    }
    let mut rig = Rig::new(Protocol::H2, Protocol::H1);
    rig.client(&[frames::PREFACE, &get(1)[..]].concat());
    assert_eq!(
        code::PROTOCOL_ERROR,
        frames::of(&rig.to_client, 7)[0].code()
    );
    assert_eq!("", rig.server_text());
    // And in time.
    let mut rig = Rig::new(Protocol::H2, Protocol::H1);
    rig.client(frames::PREFACE).pass(Duration::from_secs(11));
    assert_eq!(Io::Close, rig.client_io());
}

/// Requests that break the rules for messages cost their stream, not the connection.
#[test]
fn malformed_requests() {
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    let with = |extra: &[(&'static str, &'static str)]| [&good[..], extra].concat();
    let without = |name: &str| {
        good.iter()
            .copied()
            .filter(|f| f.0 != name)
            .collect::<Vec<_>>()
    };
    let set = |name: &str, value: &'static str| {
        let map = |f: &(&'static str, &'static str)| if f.0 == name { (f.0, value) } else { *f };
        good.iter().map(map).collect::<Vec<_>>()
    };
    let table: Vec<Vec<(&str, &str)>> = vec![
        with(&[("X-Upper", "1")]),
        with(&[("", "1")]),
        with(&[("a b", "1")]),
        with(&[("a:", "1")]),
        with(&[(":unknown", "1")]),
        with(&[(":status", "200")]),
        with(&[(":path", "/again")]),
        with(&[("a", "b"), (":protocol", "c")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "1")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "x")]),
        with(&[("te", "gzip")]),
        with(&[("te", "trailers, deflate")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\0")]),
        with(&[("x", "a\n")]),
        with(&[("content-length", "x")]),
        with(&[("content-length", "1")]),
        with(&[("content-length", "1"), ("content-length", "2")]),
        with(&[("host", "a"), ("host", "a")]),
        without(":method"),
        without(":scheme"),
        without(":path"),
        set(":method", ""),
        set(":method", "G T"),
        set(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\n"),
        set(":path", ""),
        set(":path", "a"),
        set(":path", "*"),
        set(":path", "/ HTTP/1.1\r\nx: y\r\n\r\n"),
        set(":path", "/a b"),
        set(":path", "/a#b"),
        set(":authority", "a\r\nx: y"),
        set(":authority", "a b"),
        set(":authority", "u@a"),
        set(":scheme", "ht tp"),
        set(":scheme", ""),
        set(":method", "CONNECT"),
        [&[("x", "y")][..], &good].concat(),
    ];
    for fields in table {
        let mut rig = rig();
        rig.client(&headers(1, frames::END, &fields));
        let resets = frames::of(&rig.to_client, 3);
        assert_eq!(1, resets.len(), "{fields:?}");
        assert_eq!(
            (1, code::PROTOCOL_ERROR),
            (resets[0].id, resets[0].code()),
            "{fields:?}"
        );
        assert_eq!("", rig.server_text(), "{fields:?}");
        rig.client(&get(3)).server(OK);
        assert_eq!(1, frames::of(&rig.to_client, 0).len(), "{fields:?}");
    }
}

/// Stream errors: what a client sends, and the stream and code of the reset that answers it.
#[test]
fn stream_errors() {
    let dependent = [&1u32.to_be_bytes()[..], &[16], &frames::request("GET")].concat();
    let announced = |length: &'static str| {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            ("content-length", length),
        ];
        headers(1, 0, &fields)
    };
    let table: Vec<(&str, u32, Vec<u8>)> = vec![
        (
            "data after the end",
            code::STREAM_CLOSED,
            [get(1), data(1, 0, b"x")].concat(),
        ),
        (
            "headers after the end",
            code::STREAM_CLOSED,
            [get(1), get(1)].concat(),
        ),
        (
            "window 0",
            code::PROTOCOL_ERROR,
            [get(1), window(1, 0)].concat(),
        ),
        (
            "window too far",
            code::FLOW_CONTROL_ERROR,
            [get(1), window(1, i32::MAX as u32)].concat(),
        ),
        (
            "itself as parent",
            code::PROTOCOL_ERROR,
            frame(1, 4 | 1 | frames::PRIORITY, 1, &dependent),
        ),
        (
            "too much body",
            code::PROTOCOL_ERROR,
            [announced("1"), data(1, 0, b"xy")].concat(),
        ),
        (
            "too little body",
            code::PROTOCOL_ERROR,
            [announced("3"), data(1, 1, b"xy")].concat(),
        ),
        (
            "too little body before trailers",
            code::PROTOCOL_ERROR,
            [
                announced("3"),
                data(1, 0, b"xy"),
                headers(1, 1, &[("a", "b")]),
            ]
            .concat(),
        ),
        (
            "trailers that do not end",
            code::PROTOCOL_ERROR,
            [post(1), headers(1, 0, &[("a", "b")])].concat(),
        ),
        (
            "pseudo fields in trailers",
            code::PROTOCOL_ERROR,
            [post(1), headers(1, 1, &[(":path", "/")])].concat(),
        ),
    ];
    for (name, expected, bytes) in table {
        let mut rig = rig();
        rig.client(&bytes);
        let resets = frames::of(&rig.to_client, 3);
        assert_eq!(1, resets.len(), "{name}");
        assert_eq!((1, expected), (resets[0].id, resets[0].code()), "{name}");
        assert_eq!(0, frames::of(&rig.to_client, 7).len(), "{name}");
        assert_eq!(0, rig.engine.streams(), "{name}");
    }
}

#[test]
fn more_than_a_window_is_refused() {
    let mut rig = rig();
    rig.auto = false;
    rig.client(&post(1));
    for _ in 0..4 {
        rig.client(&data(1, 0, &[0; 16_384]));
    }
    assert_eq!(0, frames::of(&rig.to_client, 3).len());
    rig.client(&data(1, 0, b"x"));
    assert_eq!(
        code::FLOW_CONTROL_ERROR,
        frames::of(&rig.to_client, 3)[0].code()
    );
    // What the reset stream held is given back to the connection: it can be used up again.
    for round in 1..40u32 {
        rig.client(&post(2 * round + 1));
        rig.client(&data(2 * round + 1, 0, &[0; 16_384]));
        rig.client(&data(2 * round + 1, 0, &[0; 16_384]));
        rig.client(&reset(2 * round + 1, 8));
    }
    assert_eq!(0, frames::of(&rig.to_client, 7).len());
}

#[test]
fn a_response_waits_for_the_clients_window() {
    let mut rig = Rig::new(Protocol::H2, Protocol::H1);
    rig.client(&[frames::PREFACE, &frames::settings(&[(4, 3)])].concat());
    rig.to_client.clear();
    rig.client(&get(1));
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabcdefgh");
    let body = |rig: &Rig| -> Vec<u8> {
        frames::of(&rig.to_client, 0)
            .into_iter()
            .flat_map(|f| f.payload)
            .collect()
    };
    assert_eq!(b"abc".to_vec(), body(&rig));
    rig.client(&window(1, 2));
    assert_eq!(b"abcde".to_vec(), body(&rig));
    // A smaller initial window makes it negative.
    rig.client(&frames::settings(&[(4, 0)]))
        .client(&window(1, 2));
    assert_eq!(b"abcde".to_vec(), body(&rig));
    rig.client(&frames::settings(&[(4, 10)]));
    assert_eq!(b"abcdefgh".to_vec(), body(&rig));
    assert_eq!(1, rig.finished.len());
}

#[test]
fn one_slow_stream_does_not_hold_the_others() {
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&hello());
    rig.server(&[frames::settings(&[(4, 5)]), frame(4, 1, 0, b"")].concat());
    rig.client(&[post(1), data(1, 0, b"0123456789")].concat());
    rig.client(&[post(3), data(3, 1, b"abc")].concat());
    let sent = frames::of(&rig.to_server, 0);
    assert_eq!(b"01234".to_vec(), sent[0].payload);
    assert_eq!((3, b"abc".to_vec()), (sent[1].id, sent[1].payload.clone()));
    rig.server(&window(1, 100));
    assert_eq!(b"56789".to_vec(), frames::of(&rig.to_server, 0)[2].payload);
}

#[test]
fn resets_cross_to_the_other_side() {
    // The client's.
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[hello(), post(1), data(1, 0, b"x")].concat());
    rig.client(&reset(1, code::CANCEL));
    assert_eq!(code::CANCEL, frames::of(&rig.to_server, 3)[0].code());
    assert_eq!(Some(Failure::Reset(code::CANCEL)), rig.finished[0].failure);
    // The server's, before an answer: the driver is asked.
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[hello(), get(1)].concat());
    rig.server(&[frames::settings(&[]), reset(1, code::REFUSED_STREAM)].concat());
    assert_eq!(vec![Failure::Refused], rig.failed);
    // After it: the client learns the code.
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[hello(), get(1)].concat());
    rig.server(&[frames::settings(&[]), headers(1, 0, &[(":status", "200")])].concat());
    rig.server(&reset(1, code::INTERNAL_ERROR));
    assert_eq!(
        code::INTERNAL_ERROR,
        frames::of(&rig.to_client, 3)[0].code()
    );
    // After a complete answer, with "no error": the answer stands, the rest of the request does not.
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[hello(), post(1), data(1, 0, b"x")].concat());
    rig.server(&[frames::settings(&[]), headers(1, 1, &[(":status", "200")])].concat());
    rig.server(&reset(1, code::NO_ERROR));
    assert_eq!(code::NO_ERROR, frames::of(&rig.to_client, 3)[0].code());
    assert_eq!(None, rig.finished[0].failure);
    assert_eq!(0, rig.engine.streams());
}

#[test]
fn a_servers_goaway_refuses_what_it_did_not_see() {
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[hello(), get(1), get(3)].concat());
    let goaway = frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    rig.server(&[frames::settings(&[]), goaway].concat());
    assert_eq!(vec![Failure::Refused], rig.failed);
    assert_eq!(0, rig.engine.capacity(rig.server));
    rig.server(&headers(1, 1, &[(":status", "200")]));
    assert_eq!(Io::Close, rig.server_io());
}

#[test]
fn a_drain_lets_streams_finish() {
    let mut rig = rig();
    rig.client(&get(1));
    rig.engine.drain(rig.client, rig.now);
    rig.settle();
    assert_eq!(
        vec![0x7f, 0xff, 0xff, 0xff],
        frames::of(&rig.to_client, 7)[0].payload[..4]
    );
    let ping = frames::of(&rig.to_client, 6)[0].payload.clone();
    rig.server(OK);
    rig.client(&frame(6, 1, 0, &ping));
    assert_eq!(
        vec![0, 0, 0, 1],
        frames::of(&rig.to_client, 7)[1].payload[..4]
    );
    assert_eq!(Io::Close, rig.client_io());
}

#[test]
fn streams_are_limited() {
    let mut rig = rig();
    rig.auto = false;
    for id in 0..251 {
        rig.client(&get(2 * id + 1));
    }
    let resets = frames::of(&rig.to_client, 3);
    assert_eq!(
        (501, code::REFUSED_STREAM),
        (resets[0].id, resets[0].code())
    );
    assert_eq!(250, rig.engine.streams());
}

#[test]
fn a_large_head_gets_431_and_the_connection_lives() {
    let mut rig = rig();
    let value = "x".repeat(1000);
    let fields: Vec<(&str, &str)> = (0..64).map(|_| ("x", value.as_str())).collect();
    let block = [frames::request("GET"), frames::block(&fields)].concat();
    let mut bytes = frame(1, 1, 1, &block[..16_000]);
    let rest: Vec<&[u8]> = block[16_000..].chunks(16_000).collect();
    for (at, piece) in rest.iter().enumerate() {
        let last = if at == rest.len() - 1 { 4 } else { 0 };
        bytes.extend(frame(9, last, 1, piece));
    }
    rig.client(&bytes);
    // 431 is not in the static table: name 8, then the text.
    let answer = frames::of(&rig.to_client, 1);
    assert!(answer[0].payload.windows(3).any(|three| three == b"431"));
    rig.client(&get(3)).server(OK);
    assert_eq!(1, frames::of(&rig.to_client, 0).len());
}

#[test]
fn an_early_answer_stops_the_rest_of_the_request() {
    let mut rig = rig();
    rig.auto = false;
    rig.client(&[post(1), data(1, 0, b"x")].concat());
    rig.engine
        .respond(rig.requests[0], 403, &[], b"no")
        .unwrap();
    rig.settle();
    let kinds: Vec<_> = frames::read(&rig.to_client)
        .iter()
        .map(|f| f.kind)
        .collect();
    assert_eq!(vec![1, 0, 3], kinds);
    assert_eq!(code::NO_ERROR, frames::of(&rig.to_client, 3)[0].code());
    // What was under way is ignored.
    rig.client(&data(1, 1, b"y"));
    assert_eq!(1, frames::of(&rig.to_client, 3).len());
    assert_eq!(0, frames::of(&rig.to_client, 7).len());
}

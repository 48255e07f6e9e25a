//! What retries and time limits need: a request that can be sent again, answers held back and ended
//! early, pings.
#![allow(missing_docs, clippy::unwrap_used)]

mod engine_support;

use std::time::{Duration, Instant};

use engine_support::frames::{block, data, frame, headers, hello, of, post, settings};
use engine_support::{utf8, Rig};
use linkerd_proxy_core::engine::{
    Engine, Event, Frames, HeadEdit, Http2, Io, Limits, Protocol, Role,
};

/// Sends the exchange's request to the target again.
fn again(rig: &mut Rig) {
    let stream = rig.requests[0];
    rig.engine.release(stream);
    assert!(rig.engine.can_retry(stream));
    let now = rig.now;
    rig.server = rig.engine.open(Role::Client, Protocol::H1, now);
    rig.to_server.clear();
    let forwarded = rig.engine.forward(stream, rig.server, &HeadEdit::default());
    forwarded.unwrap();
    rig.settle();
}

fn held(request: &[u8], max: usize) -> Rig {
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.auto = false;
    rig.client(request);
    let stream = rig.requests[0];
    rig.engine.keep_request(stream, max);
    let forwarded = rig.engine.forward(stream, rig.server, &HeadEdit::default());
    forwarded.unwrap();
    rig.settle();
    rig
}

#[test]
fn a_kept_body_is_sent_again_whole() {
    for request in [
        &b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"[..],
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        let mut rig = held(request, 5);
        let first = engine_support::messages(&rig.to_server);
        rig.server(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(1, rig.responses.len());
        again(&mut rig);
        let second = engine_support::messages(&rig.to_server);
        assert_eq!(first[0].0, second[0].0);
        assert_eq!("hello", utf8(&second[0].1));
        rig.server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let stream = rig.requests[0];
        let edit = HeadEdit::default();
        rig.engine.forward_response(stream, &edit).unwrap();
        rig.settle();
        assert!(rig.client_text().ends_with("ok"));
        assert_eq!(None, rig.finished[0].failure);
    }
}

#[test]
fn a_body_under_way_goes_on_at_the_next_target() {
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello";
    let mut rig = held(head, 64);
    rig.server(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
    again(&mut rig);
    rig.client(b"world");
    let sent = engine_support::messages(&rig.to_server);
    assert_eq!("helloworld", utf8(&sent[0].1));
}

#[test]
fn a_body_beyond_the_limit_is_not_kept() {
    let short = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello!\r\n";
    for rig in [
        held(short, 5),
        held(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nhello!",
            5,
        ),
    ] {
        assert!(!rig.engine.can_retry(rig.requests[0]));
    }
}

#[test]
fn a_response_can_be_ended_here_with_trailers() {
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[hello(), post(1)].concat());
    rig.server(
        &[
            settings(&[]),
            headers(1, 4, &[(":status", "200")]),
            data(1, 0, b"x"),
        ]
        .concat(),
    );
    let stream = rig.requests[0];
    rig.to_client.clear();
    rig.to_server.clear();
    rig.engine.finish(stream, &[(b"grpc-status", b"4")]);
    rig.settle();
    let last = of(&rig.to_client, 1);
    assert_eq!(1, last.len());
    assert_eq!(5, last[0].flags, "the end of the stream and of its headers");
    assert_eq!(
        8,
        of(&rig.to_server, 3)[0].code(),
        "the target's work is cancelled"
    );
    assert_eq!(1, rig.finished.len());
}

#[test]
fn the_end_of_an_empty_body_is_told_before_the_response_is_forwarded() {
    let now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let front = engine.open(Role::Server, Protocol::H2, now);
    let back = engine.open(Role::Client, Protocol::H2, now);
    let get = frame(
        1,
        5,
        1,
        &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
    );
    engine.recv(front, &[hello(), get].concat(), now);
    let Some(Event::Request { stream, .. }) = engine.poll_event() else {
        panic!("no request")
    };
    engine.forward(stream, back, &HeadEdit::default()).unwrap();
    engine.recv(
        back,
        &[
            settings(&[]),
            headers(1, 4, &[(":status", "200")]),
            data(1, 1, b""),
        ]
        .concat(),
        now,
    );
    let events: Vec<Event> = std::iter::from_fn(|| engine.poll_event()).collect();
    assert!(events.contains(&Event::Response { stream }));
    assert!(events.contains(&Event::Body { stream }));
    assert!(engine.response_is_whole(stream));
}

#[test]
fn pieces_are_counted_by_size() {
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    let mut request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1128\r\n\r\n".to_vec();
    request.extend([b'x'; 128]);
    rig.client(&request).client(&[b'y'; 1000]);
    rig.server(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
    let summary = rig.finished[0];
    let sent = Frames {
        counts: [1, 1, 0, 0],
        octets: 1128,
    };
    assert_eq!(sent, summary.request_frames);
    assert_eq!(3, summary.response_frames.octets);
}

#[test]
fn a_client_that_leaves_is_told_apart_from_a_server_that_breaks() {
    for by_client in [true, false] {
        let mut rig = Rig::new(Protocol::H1, Protocol::H1);
        rig.client(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        rig.server(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na");
        if by_client {
            rig.engine.close(rig.client, rig.now);
        } else {
            rig.server_end();
        }
        rig.settle();
        assert!(rig.finished[0].failure.is_some());
        assert_eq!(by_client, rig.finished[0].by_client);
    }
}

#[test]
fn a_peer_that_answers_no_ping_is_cut() {
    let second = Duration::from_secs(1);
    for answers in [true, false] {
        let mut now = Instant::now();
        let mut engine = Engine::new(Limits::default(), now);
        let http2 = Http2 {
            ping: Some((10 * second, 5 * second)),
            ping_idle: true,
            ..Http2::of(&Limits::default())
        };
        let conn = engine.open_with(Role::Client, Protocol::H2, http2, now);
        engine.recv(conn, &settings(&[]), now);
        engine.sent(conn, engine.out(conn).len(), now);
        now += 10 * second;
        engine.handle_timeout(now);
        let ping = of(engine.out(conn), 6).remove(0);
        assert_eq!(0, ping.flags);
        if answers {
            engine.recv(conn, &frame(6, 1, 0, &ping.payload), now);
        }
        now += 5 * second;
        engine.handle_timeout(now);
        let expected = if answers { Io::Open } else { Io::Abort };
        assert_eq!(expected, engine.io(conn));
    }
}

#[test]
fn a_copy_of_a_request_comes_in_like_any_other() {
    for (front, request) in [
        (
            Protocol::H1,
            b"POST /c HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
        ),
        (
            Protocol::H1,
            b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec(),
        ),
    ] {
        let mut rig = Rig::new(front, Protocol::H1);
        rig.auto = false;
        rig.client(&request);
        let stream = rig.requests[0];
        let copy = rig.engine.copy_request(stream, rig.now).unwrap();
        rig.settle();
        assert_eq!(2, rig.requests.len());
        assert_eq!(rig.heads[0].split('|').next(), rig.heads[1].split('|').next());
        let edit = HeadEdit::default();
        rig.engine.forward(stream, rig.server, &edit).unwrap();
        rig.settle();
        let mirror = rig.engine.open(Role::Client, Protocol::H1, rig.now);
        let second = rig.requests[1];
        rig.engine.forward(second, mirror, &edit).unwrap();
        rig.server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        rig.engine.forward_response(stream, &edit).unwrap();
        rig.settle();
        assert_eq!(1, rig.finished.len());
        let sent = engine_support::messages(&rig.to_others);
        assert_eq!("hello", utf8(&sent[0].1));
        rig.engine.recv(mirror, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", rig.now);
        rig.settle();
        rig.engine.forward_response(second, &edit).unwrap();
        rig.settle();
        assert_eq!(2, rig.finished.len());
        assert_eq!(Io::Close, rig.engine.io(copy));
    }
}

#[test]
fn a_second_name_for_the_server_is_dropped() {
    let mut rig = Rig::new(Protocol::H2, Protocol::H1);
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
        ("host", "b"),
    ];
    rig.client(&[hello(), headers(1, 5, &fields)].concat());
    let sent = utf8(&rig.to_server);
    assert!(
        sent.contains("host: a\r\n") && !sent.contains("host: b"),
        "{sent}"
    );
}

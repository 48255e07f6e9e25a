//! Two peers that send anything, at both ends of any pair of protocols: nothing panics, and when
//! the connections are gone so are the streams.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use linkerd_proxy_core::engine::{Engine, Event, HeadEdit, Limits, Protocol, Role};

const PROTOCOLS: [Protocol; 3] = [Protocol::H1, Protocol::H2, Protocol::Raw];

fuzz_target!(|input: &[u8]| {
    let Some((&pair, mut rest)) = input.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let front = engine.open(Role::Server, PROTOCOLS[usize::from(pair % 3)], now);
    let back = engine.open(Role::Client, PROTOCOLS[usize::from(pair / 3 % 3)], now);
    if pair % 3 == 1 && pair < 128 {
        engine.recv(
            front,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            now,
        );
    }
    // A step is a byte that says who sends how much, then what is sent.
    while let Some((&step, after)) = rest.split_first() {
        let (bytes, later) = after.split_at((usize::from(step) >> 1).min(after.len()));
        rest = later;
        let conn = if step & 1 == 0 { front } else { back };
        match step {
            0xfe => engine.recv_end(front, now),
            0xff => engine.recv_end(back, now),
            0xfc => {
                now += Duration::from_secs(20);
                engine.handle_timeout(now);
            }
            0xfd => engine.drain(front, now),
            _ if engine.wants_read(conn) => engine.recv(conn, bytes, now),
            _ => {}
        }
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Request { stream, .. } => {
                    let edit = HeadEdit {
                        authority: Some(b"a:1"),
                        ..HeadEdit::default()
                    };
                    if engine.forward(stream, back, &edit).is_err() {
                        let _ = engine.respond(stream, 503, &[], b"busy");
                    }
                }
                Event::Response { stream } => {
                    let _ = engine.forward_response(stream, &HeadEdit::default());
                }
                Event::Failed { stream, .. } => {
                    let _ = engine.respond(stream, 502, &[], b"");
                }
                _ => {}
            }
        }
        while let Some(conn) = engine.poll_dirty() {
            let count = engine.out(conn).len();
            engine.sent(conn, count, now);
        }
    }
    engine.close(front, now);
    engine.close(back, now);
    while engine.poll_event().is_some() {}
    assert_eq!(0, engine.streams());
});

//! The same bytes give the same result however a transport cuts them, and no bytes panic.
#![allow(clippy::unwrap_used)]

mod engine_support;

use engine_support::frames::{self, data, frame, headers, hello, reset, window};
use engine_support::{messages, Rig};
use linkerd_proxy_core::engine::Protocol;
use proptest::prelude::*;

/// Cuts `bytes` at the given places (taken modulo the length) and feeds the pieces.
fn feed(rig: &mut Rig, to_client: bool, bytes: &[u8], cuts: &[usize]) {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    for pair in at.windows(2) {
        let piece = &bytes[pair[0]..pair[1]];
        if to_client {
            rig.client(piece);
        } else {
            rig.server(piece);
        }
    }
}

fn pieces(size: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop::collection::vec(any::<u8>(), 0..size);
    prop::collection::vec(piece, 0..4)
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>, bool),
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::None),
        prop::collection::vec(any::<u8>(), 1..300).prop_map(Body::Length),
        (pieces(200), any::<bool>()).prop_map(|(pieces, trailers)| Body::Chunked(pieces, trailers)),
    ]
}

fn write_body(bytes: &mut Vec<u8>, body: &Body) {
    match body {
        Body::None => bytes.extend(b"Content-Length: 0\r\n\r\n"),
        Body::Length(body) => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend(body);
        }
        Body::Chunked(pieces, trailers) => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                bytes.extend(format!("{:X};x\r\n", piece.len()).as_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(if *trailers {
                &b"0\r\nX-T: v\r\n\r\n"[..]
            } else {
                b"0\r\n\r\n"
            });
        }
    }
}

/// Found by fuzzing: which refusal a version gets must not depend on where a read ended.
#[test]
fn a_version_is_judged_at_the_end_of_its_line() {
    for version in ["HTTP/1.~1", "HTTP/1.23", "HTTP/1.2", "HTTP/x"] {
        let bytes = format!("GET / {version}\r\nHost: a\r\n\r\n");
        let run = |cuts: &[usize]| {
            let mut rig = Rig::new(Protocol::H1, Protocol::H1);
            feed(&mut rig, true, bytes.as_bytes(), cuts);
            rig.client_text()
        };
        for cut in 0..bytes.len() {
            assert_eq!(run(&[]), run(&[cut]), "{version} cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn http1_conversations(
        pairs in prop::collection::vec((body(), body()), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for (at, (request, response)) in pairs.iter().enumerate() {
            asked.extend(format!("POST /{at} HTTP/1.1\r\nHost: a\r\n").as_bytes());
            write_body(&mut asked, request);
            answered.extend(b"HTTP/1.1 200 OK\r\n");
            write_body(&mut answered, response);
        }
        for back in [Protocol::H1, Protocol::H2] {
            let run = |cuts: &[usize]| {
                let mut outbound = Rig::new(Protocol::H1, back);
                let mut inbound = Rig::new(back, Protocol::H1);
                // Requests and responses in turn, so that the server never answers early.
                let (mut from, mut back_from) = (0, 0);
                for (request, response) in &pairs {
                    let (mut one, mut other) = (b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec(), b"HTTP/1.1 200 OK\r\n".to_vec());
                    write_body(&mut one, request);
                    write_body(&mut other, response);
                    feed(&mut outbound, true, &one, cuts);
                    engine_support::exchange(&mut outbound, &mut inbound);
                    feed(&mut inbound, false, &other, cuts);
                    engine_support::exchange(&mut outbound, &mut inbound);
                    from += one.len();
                    back_from += other.len();
                }
                assert!(from > 0 && back_from > 0);
                assert_eq!(pairs.len(), outbound.finished.len());
                assert_eq!(0, outbound.engine.streams() + inbound.engine.streams());
                (messages(&inbound.to_server), messages(&outbound.to_client))
            };
            let whole = run(&[]);
            prop_assert_eq!(pairs.len(), whole.0.len());
            prop_assert_eq!(pairs.len(), whole.1.len());
            prop_assert_eq!(&whole, &run(&cuts));
        }
        // All requests at once: they are answered in order.
        let mut rig = Rig::new(Protocol::H1, Protocol::H1);
        feed(&mut rig, true, &asked, &cuts);
        let mut rest = &answered[..];
        while !rest.is_empty() && rig.finished.len() < pairs.len() {
            let seen = messages(&rig.to_server).len();
            prop_assert!(seen > rig.finished.len());
            let size = engine_support::first_message(rest);
            feed(&mut rig, false, &rest[..size], &cuts);
            rest = &rest[size..];
        }
        prop_assert_eq!(pairs.len(), rig.finished.len());
    }

    #[test]
    fn http1_garbage(
        start in "(GET|POST|CONNECT|X)[ \t]{1,2}[/*a-z:]{0,4}[ ]?(HTTP/1.[019])?(\r\n|\n|\r)?",
        lines in prop::collection::vec("(Host|Content-Length|Transfer-Encoding|Connection|X|)[ :]{0,3}(a|1|chunked|close|,|\0|é)?(\r\n|\n|\r|)", 0..5),
        tail in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let bytes = [start.as_bytes(), lines.concat().as_bytes(), &tail, b"\r\n\r\n\r\n\r\n"].concat();
        let run = |cuts: &[usize]| {
            let mut rig = Rig::new(Protocol::H1, Protocol::H1);
            feed(&mut rig, true, &bytes, cuts);
            (rig.heads.clone(), rig.client_text(), rig.client_io())
        };
        prop_assert_eq!(run(&[]), run(&cuts));
    }

    #[test]
    fn http2_frames(
        plan in prop::collection::vec((0u8..10, 0u32..6, prop::collection::vec(any::<u8>(), 0..60), any::<u8>()), 0..20),
        cuts in prop::collection::vec(any::<usize>(), 0..60),
    ) {
        let mut bytes = hello();
        for (what, id, payload, flags) in &plan {
            let id = 2 * id + 1;
            bytes.extend(match what {
                0 | 1 => frames::get(id),
                2 => frames::post(id),
                3 => data(id, flags & 1, payload),
                4 => headers(id, 1, &[("x", "y")]),
                5 => reset(id, u32::from(*flags)),
                6 => window(id, u32::from(*flags)),
                7 => frames::settings(&[(u16::from(flags % 8), u32::from(payload.len() as u8))]),
                8 => frame(6, flags & 1, 0, &[1; 8]),
                _ => frame(*flags, *flags, id, payload),
            });
        }
        let run = |cuts: &[usize]| {
            let mut rig = Rig::new(Protocol::H2, Protocol::H1);
            feed(&mut rig, true, &bytes, cuts);
            (rig.heads.clone(), rig.to_client.clone(), rig.to_server.clone(), rig.client_io())
        };
        prop_assert_eq!(run(&[]), run(&cuts));
    }

    #[test]
    fn no_bytes_panic(
        front in prop_oneof![Just(Protocol::H1), Just(Protocol::H2), Just(Protocol::Raw)],
        back in prop_oneof![Just(Protocol::H1), Just(Protocol::H2), Just(Protocol::Raw)],
        steps in prop::collection::vec((0u8..8, prop::collection::vec(any::<u8>(), 0..80)), 0..30),
    ) {
        let mut rig = Rig::new(front, back);
        if front == Protocol::H2 {
            rig.client(&hello());
        }
        for (what, bytes) in steps {
            match what {
                0 => rig.client(&bytes),
                1 => rig.server(&bytes),
                2 => rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                3 => rig.client(&frames::get(1)),
                4 => rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"),
                5 => rig.client_end(),
                6 => rig.server_end(),
                _ => rig.pass(std::time::Duration::from_secs(bytes.len() as u64)),
            };
        }
        rig.engine.close(rig.client, rig.now);
        rig.engine.close(rig.server, rig.now);
        rig.settle();
        prop_assert_eq!(0, rig.engine.streams());
    }
}

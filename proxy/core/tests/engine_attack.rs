//! Attacks of one connection: each is cut, within a bound of work and memory that the engine holds.
#![allow(clippy::unwrap_used)]

mod engine_support;

use std::time::Duration;

use engine_support::frames::{self, data, frame, get, headers, hello, post, reset, window};
use engine_support::Rig;
use linkerd_proxy_core::engine::{code, Io, Limits, Protocol};

/// Feeds `attack` until the connection is cut; how many rounds it took.
fn cut_after(rig: &mut Rig, most: u32, mut attack: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for round in 0..most {
        rig.client(&attack(round));
        if rig.client_io() != Io::Open {
            return round;
        }
        assert!(rig.engine.streams() <= 600);
    }
    panic!("the connection lives after {most} rounds");
}

fn rig() -> Rig {
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&hello());
    rig.server(&frames::settings(&[]));
    rig.to_client.clear();
    rig
}

type Attack = (&'static str, u32, Box<dyn Fn(u32) -> Vec<u8>>);

#[test]
fn floods_are_cut() {
    let odd = |round: u32| 2 * round + 1;
    let priority = [&[0u8; 4][..], &[1]].concat();
    let table: Vec<Attack> = vec![
        (
            "rapid reset",
            300,
            Box::new(move |n| [get(odd(n)), reset(odd(n), 8)].concat()),
        ),
        ("ping", 600, Box::new(|_| frame(6, 0, 0, &[0; 8]))),
        (
            "ping acknowledgements",
            1100,
            Box::new(|_| frame(6, 1, 0, &[0; 8])),
        ),
        ("settings", 120, Box::new(|_| frames::settings(&[(1, 0)]))),
        (
            "settings acknowledgements",
            1100,
            Box::new(|_| frame(4, 1, 0, b"")),
        ),
        (
            "priority",
            1100,
            Box::new(move |n| frame(2, 0, odd(n), &priority)),
        ),
        (
            "unknown frames",
            1100,
            Box::new(|_| frame(0x42, 0, 0, b"x")),
        ),
        (
            "connection windows by one",
            1100,
            Box::new(|_| window(0, 1)),
        ),
        (
            "empty data",
            300,
            Box::new(|n| if n == 0 { post(1) } else { data(1, 0, b"") }),
        ),
        (
            "only padding",
            300,
            Box::new(|n| {
                if n == 0 {
                    post(1)
                } else {
                    frame(0, 8, 1, &[[9].as_slice(), &[0; 9]].concat())
                }
            }),
        ),
        (
            "resets of closed streams",
            1200,
            Box::new(|n| {
                if n == 0 {
                    [get(1), reset(1, 8)].concat()
                } else {
                    reset(1, 8)
                }
            }),
        ),
        // Errors that make us reset (CVE-2025-8671).
        (
            "windows of zero",
            250,
            Box::new(move |n| [get(odd(n)), window(odd(n), 0)].concat()),
        ),
        (
            "data after the end",
            250,
            Box::new(move |n| [get(odd(n)), data(odd(n), 0, b"x")].concat()),
        ),
        (
            "windows too far",
            250,
            Box::new(move |n| [get(odd(n)), window(odd(n), i32::MAX as u32)].concat()),
        ),
        (
            "malformed requests",
            250,
            Box::new(move |n| headers(odd(n), 1, &[(":method", "GET")])),
        ),
        (
            "a parent of itself",
            250,
            Box::new(move |n| {
                let block = [&odd(n).to_be_bytes()[..], &[1], &frames::request("GET")].concat();
                frame(1, 0x25, odd(n), &block)
            }),
        ),
        (
            "more streams than allowed",
            600,
            Box::new(move |n| post(odd(n))),
        ),
        (
            "continuations",
            70,
            Box::new(|n| {
                if n == 0 {
                    frame(1, 1, 1, b"")
                } else {
                    frame(9, 0, 1, b"")
                }
            }),
        ),
        (
            "a large block",
            10,
            Box::new(|n| {
                if n == 0 {
                    frame(1, 1, 1, b"")
                } else {
                    frame(9, 0, 1, &[0; 16_384])
                }
            }),
        ),
    ];
    for (name, most, attack) in table {
        let mut rig = rig();
        let rounds = cut_after(&mut rig, most, attack);
        let goaway = frames::of(&rig.to_client, 7);
        assert_eq!(
            code::ENHANCE_YOUR_CALM,
            goaway[0].code(),
            "{name} after {rounds}"
        );
        assert_eq!(0, rig.engine.streams(), "{name}");
    }
}

#[test]
fn what_clients_normally_do_is_not_a_flood() {
    let mut rig = rig();
    for round in 0..5000u32 {
        let id = 2 * round + 1;
        rig.client(&post(id));
        rig.client(&data(id, 0, b"x"));
        // A gRPC client with a deadline that measures the line and takes back one call in three.
        if round % 3 == 0 {
            rig.client(&reset(id, code::CANCEL));
        } else {
            rig.client(&data(id, 1, b""));
            rig.server(&[headers(id, 0, &[(":status", "200")]), data(id, 0, b"y")].concat());
            rig.client(&window(id, 1)).client(&window(0, 1));
            rig.server(&headers(id, 1, &[("grpc-status", "0")]));
        }
        if round % 10 == 0 {
            rig.client(&frame(6, 0, 0, &[0; 8]));
        }
        if round % 100 == 0 {
            rig.pass(Duration::from_millis(50));
        }
        rig.to_client.clear();
        rig.to_server.clear();
        assert_eq!(
            (Io::Open, Io::Open),
            (rig.client_io(), rig.server_io()),
            "{round}"
        );
    }
    assert_eq!(5000, rig.finished.len());
}

/// One entry of the dynamic table, referred to thousands of times in one request: the head ends at
/// its limit and holds no more than that (CVE-2026-47774).
#[test]
fn a_compression_bomb_stays_within_the_limit() {
    let mut rig = rig();
    let value = "x".repeat(3900);
    let mut block = frames::request("GET");
    block.extend(b"\x40\x01x\x7f");
    let mut length = value.len() - 127;
    while length >= 128 {
        block.push((length % 128) as u8 | 128);
        length /= 128;
    }
    block.push(length as u8);
    block.extend(value.as_bytes());
    block.extend([0xbe; 10_000]);
    rig.client(&frame(1, 5, 1, &block));
    let answer = frames::of(&rig.to_client, 1);
    assert!(answer[0].payload.windows(3).any(|three| three == b"431"));
    assert_eq!(0, rig.engine.streams());
    // The table is as it should be: the next request may refer to the entry.
    let block = [&frames::request("GET")[..], &[0xbe]].concat();
    rig.client(&frame(1, 5, 3, &block));
    assert!(rig.heads.last().unwrap().contains("|x=xxxx"));
}

#[test]
fn cookie_crumbs_count_as_fields() {
    let mut rig = rig();
    let crumbs = vec![("cookie", "a=b"); 300];
    let block = [frames::request("GET"), frames::block(&crumbs)].concat();
    rig.client(&frame(1, 5, 1, &block));
    assert!(rig.heads.is_empty());
    assert!(frames::of(&rig.to_client, 1)[0]
        .payload
        .windows(3)
        .any(|three| three == b"431"));
}

/// A client that takes a response by single octets is as bad as one that takes nothing.
#[test]
fn a_window_that_opens_by_drips_is_reaped() {
    let mut rig = Rig::new(Protocol::H2, Protocol::H2);
    rig.client(&[frames::PREFACE, &frames::settings(&[(4, 0)])].concat());
    rig.server(&frames::settings(&[]));
    rig.client(&get(1));
    rig.server(
        &[
            headers(1, 0, &[(":status", "200")]),
            data(1, 1, &[b'x'; 10_000]),
        ]
        .concat(),
    );
    for _ in 0..100 {
        rig.client(&window(1, 1)).pass(Duration::from_secs(1));
    }
    assert_eq!(code::CANCEL, frames::of(&rig.to_client, 3)[0].code());
    assert_eq!(0, rig.engine.streams());
    assert_eq!(Io::Open, rig.client_io());
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.engine.recv(
        rig.server,
        b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n",
        rig.now,
    );
    rig.events();
    rig.engine.recv(rig.server, &[b'x'; 200_000], rig.now);
    rig.events();
    assert!(rig.engine.out(rig.client).len() < 150_000);
    for _ in 0..40 {
        rig.now += Duration::from_secs(1);
        rig.engine.handle_timeout(rig.now);
        rig.events();
    }
    assert_eq!(Io::Abort, rig.client_io());
    assert_eq!(0, rig.engine.streams());
}

/// Answers pile up only as far as the out buffer's limit, then the client is no longer read.
#[test]
fn a_client_that_makes_us_write_is_not_read() {
    let limits = Limits {
        noise: u32::MAX,
        ..Limits::default()
    };
    let mut rig = Rig::with(Protocol::H2, Protocol::H1, limits);
    rig.client(&hello());
    let pings = frame(6, 0, 0, &[0; 8]).repeat(1000);
    while rig.engine.wants_read(rig.client) {
        rig.engine.recv(rig.client, &pings, rig.now);
        rig.events();
        assert!(rig.engine.out(rig.client).len() <= limits.out_max + 17_000);
    }
    rig.settle();
    assert!(rig.engine.wants_read(rig.client));
}

#[test]
fn a_header_block_must_end_in_time() {
    let mut rig = rig();
    rig.client(&frame(1, 1, 1, b""));
    rig.pass(Duration::from_secs(11));
    assert_eq!(Io::Close, rig.client_io());
}

#[test]
fn ten_thousand_streams_one_after_the_other_leave_nothing() {
    let mut rig = rig();
    for round in 0..10_000u32 {
        let id = 2 * round + 1;
        rig.client(&get(id));
        rig.server(&headers(id, 1, &[(":status", "204")]));
        rig.to_client.clear();
        rig.to_server.clear();
    }
    assert_eq!(10_000, rig.finished.len());
    assert_eq!(0, rig.engine.streams());
    assert_eq!(2, rig.engine.connections());
}

/// Interim responses without end do not keep a request alive for ever.
#[test]
fn interim_responses_are_counted() {
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..100 {
        rig.server(b"HTTP/1.1 103 Early Hints\r\n\r\n");
    }
    assert_eq!(Io::Abort, rig.server_io());
    assert!(rig
        .client_text()
        .ends_with("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"));
}

/// A hundred attackers get a hundredth of a processor each.
#[test]
fn a_slow_rapid_reset_is_cut_in_seconds_and_a_client_that_cancels_some_is_not() {
    let mut rig = rig();
    let rounds = cut_after(&mut rig, 5 * 50, |n| {
        [post(2 * n + 1), reset(2 * n + 1, 8)].concat()
    });
    assert!(rounds <= 250);
    let mut slow = self::rig();
    for n in 0..250 {
        slow.pass(Duration::from_millis(20));
        slow.client(&[post(2 * n + 1), reset(2 * n + 1, 8)].concat());
    }
    assert_ne!(Io::Open, slow.client_io());
    let mut calm = self::rig();
    for n in 0..250 {
        calm.pass(Duration::from_millis(60));
        calm.client(&[post(2 * n + 1), reset(2 * n + 1, 8)].concat());
    }
    assert_eq!(Io::Open, calm.client_io());
}

/// A proxy sends many clients' requests over one connection; one of them may be the attacker.
#[test]
fn a_rapid_reset_ends_no_request_of_others() {
    let mut rig = rig();
    rig.client(&get(1));
    for n in 1..200 {
        rig.client(&[post(2 * n + 1), reset(2 * n + 1, 8)].concat());
    }
    let goodbyes = frames::of(&rig.to_client, 7);
    assert_eq!(1, goodbyes.len());
    assert_eq!(code::ENHANCE_YOUR_CALM, goodbyes[0].code());
    // What the client sent before it knew is nobody's fault.
    rig.client(&[post(601), data(601, 0, b"x"), data(601, 1, b"")].concat());
    assert_eq!(Io::Open, rig.client_io());
    rig.server(&headers(1, 5, &[(":status", "200")]));
    assert_eq!(1, frames::of(&rig.to_client, 1)[0].id);
    assert_eq!(Io::Close, rig.client_io());
}

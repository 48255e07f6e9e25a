//! Opaque connections as streams of an HTTP/2 connection: two engines, one at each end of it.
#![allow(clippy::unwrap_used)]

mod engine_support;

use std::time::Duration;

use engine_support::frames::{self, data, headers, hello};
use engine_support::{exchange, Rig};
use linkerd_proxy_core::engine::{HeadEdit, Http2, Io, Limits, Protocol, Role};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

/// What an end of a carrier offers.
fn offer(lasting: bool) -> Http2 {
    Http2 {
        lasting,
        ..Http2::of(&Limits::default())
    }
}

/// A client's proxy and a server's, with one connection that both ends of the carrier have answered.
fn pair() -> (Rig, Rig) {
    let mut outbound = Rig::new(Protocol::Raw, Protocol::H2);
    let mut inbound = Rig::new(Protocol::H2, Protocol::Raw);
    let now = outbound.now;
    outbound.to_server.clear();
    inbound.to_client.clear();
    outbound.server = outbound
        .engine
        .open_with(Role::Client, Protocol::H2, offer(true), now);
    inbound.client = inbound
        .engine
        .open_with(Role::Server, Protocol::H2, offer(true), now);
    inbound.settle();
    // A raw connection has no authority of its own: the driver names one.
    outbound.auto = false;
    outbound.client = outbound.engine.open(Role::Server, Protocol::Raw, now);
    outbound.settle();
    let edit = HeadEdit {
        authority: Some(b"10.0.0.1:25"),
        ..HeadEdit::default()
    };
    let stream = outbound.requests[1];
    let target = outbound.server;
    outbound.engine.forward(stream, target, &edit).unwrap();
    outbound.auto = true;
    outbound.settle();
    exchange(&mut outbound, &mut inbound);
    // What became of the connections that every rig begins with.
    outbound.finished.clear();
    inbound.finished.clear();
    (outbound, inbound)
}

#[test]
fn bytes_pass_both_ways_and_each_way_ends_by_itself() {
    let (mut outbound, mut inbound) = pair();
    outbound.client(b"EHLO\r\n");
    exchange(&mut outbound, &mut inbound);
    inbound.server(b"220 hi\r\n");
    exchange(&mut outbound, &mut inbound);
    assert_eq!("EHLO\r\n", inbound.server_text());
    assert_eq!("220 hi\r\n", outbound.client_text());
    outbound.client_end();
    exchange(&mut outbound, &mut inbound);
    assert_eq!(Io::Shutdown, inbound.server_io());
    inbound.server(b"bye").server_end();
    exchange(&mut outbound, &mut inbound);
    assert_eq!("220 hi\r\nbye", outbound.client_text());
    assert_eq!(0, outbound.engine.streams() + inbound.engine.streams());
}

#[test]
fn nothing_leaves_before_the_peer_has_connected() {
    let mut outbound = Rig::new(Protocol::Raw, Protocol::H2);
    outbound.auto = false;
    let now = outbound.now;
    outbound.client = outbound.engine.open(Role::Server, Protocol::Raw, now);
    outbound.client(b"secret");
    let edit = HeadEdit {
        authority: Some(b"10.0.0.1:25"),
        ..HeadEdit::default()
    };
    let stream = outbound.requests[1];
    let target = outbound.server;
    outbound.engine.forward(stream, target, &edit).unwrap();
    outbound.client(b"more").settle();
    assert!(!outbound.server_text().contains("secret"));
    assert!(outbound.engine.can_retry(stream));
}

#[test]
fn a_connection_that_breaks_off_is_broken_off_at_its_other_end() {
    for by_client in [true, false] {
        let (mut outbound, mut inbound) = pair();
        let now = outbound.now;
        if by_client {
            outbound.engine.close(outbound.client, now);
        } else {
            inbound.engine.close(inbound.server, now);
        }
        outbound.settle();
        inbound.settle();
        exchange(&mut outbound, &mut inbound);
        let other = if by_client {
            inbound.server_io()
        } else {
            outbound.client_io()
        };
        assert_eq!(Io::Abort, other, "by the client: {by_client}");
        assert_eq!(
            (Io::Open, Io::Open),
            (outbound.server_io(), inbound.client_io())
        );
        assert_eq!(0, outbound.engine.streams() + inbound.engine.streams());
    }
}

#[test]
fn a_server_that_is_gone_after_its_answer_breaks_off_a_client_that_still_sends() {
    let (mut outbound, mut inbound) = pair();
    inbound.server(b"enough").server_end();
    exchange(&mut outbound, &mut inbound);
    assert_eq!(Io::Shutdown, outbound.client_io());
    let now = inbound.now;
    inbound.engine.close(inbound.server, now);
    inbound.settle();
    exchange(&mut outbound, &mut inbound);
    assert_eq!("enough", outbound.client_text());
    assert_eq!(Io::Abort, outbound.client_io());
}

#[test]
fn the_end_of_the_carrier_breaks_off_what_it_carries() {
    let (mut outbound, mut inbound) = pair();
    outbound.server_end();
    inbound.client_end();
    assert_eq!(Io::Abort, outbound.client_io());
    assert_eq!(Io::Abort, inbound.server_io());
}

#[test]
fn bytes_may_wait_for_their_reader_for_hours() {
    let (mut outbound, _) = pair();
    // More than the peer's window, which nobody opens.
    outbound.client(&[7; 100_000]);
    outbound.pass(HOUR).pass(HOUR);
    assert!(outbound.finished.is_empty());
    assert_eq!(Io::Open, outbound.client_io());
    assert!(
        !outbound.engine.wants_read(outbound.client),
        "it is held back"
    );
}

#[test]
fn the_window_of_a_stream_that_is_read_at_once_grows_to_a_limit() {
    let (mut outbound, mut inbound) = pair();
    for _ in 0..400 {
        outbound.client(&[7; 60_000]);
        exchange(&mut outbound, &mut inbound);
    }
    let arrived = inbound.to_server.len();
    assert_eq!(400 * 60_000, arrived);
    // Now the peer answers nothing any more: what still leaves is what the window allows.
    let mut left = 0;
    for _ in 0..100 {
        outbound.client(&[7; 60_000]);
        left += std::mem::take(&mut outbound.to_server).len();
    }
    let grown = 2 << 20;
    assert!((grown / 4..=grown + grown / 100).contains(&left), "{left}");
}

#[test]
fn a_drain_lets_streams_last_where_that_is_wanted() {
    for lasting in [true, false] {
        let mut rig = Rig::new(Protocol::H2, Protocol::Raw);
        let now = rig.now;
        rig.client = rig
            .engine
            .open_with(Role::Server, Protocol::H2, offer(lasting), now);
        rig.client(&hello());
        rig.client(&headers(
            1,
            0,
            &[(":method", "CONNECT"), (":authority", "10.0.0.1:25")],
        ));
        rig.client(&data(1, 0, b"hello"));
        rig.engine.drain(rig.client, now);
        rig.settle().pass(HOUR);
        assert_eq!(lasting, rig.finished.is_empty());
        if lasting {
            rig.client(&data(1, frames::END, b" again"));
            assert_eq!("hello again", rig.server_text());
        }
    }
}

proptest! {
    /// Whatever both applications say, in whatever pieces, arrives whole and in order.
    #[test]
    fn all_bytes_arrive_in_order(
        pieces in prop::collection::vec((any::<bool>(), 1usize..70_000), 1..20),
    ) {
        let (mut outbound, mut inbound) = pair();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (number, (upwards, size)) in pieces.into_iter().enumerate() {
            let piece = vec![number as u8; size];
            if upwards {
                outbound.client(&piece);
                up.extend(piece);
            } else {
                inbound.server(&piece);
                down.extend(piece);
            }
            if number % 3 == 0 {
                exchange(&mut outbound, &mut inbound);
            }
        }
        outbound.client_end();
        inbound.server_end();
        exchange(&mut outbound, &mut inbound);
        prop_assert!(up == inbound.to_server, "what went up");
        prop_assert!(down == outbound.to_client, "what came down");
        prop_assert_eq!(0, outbound.engine.streams() + inbound.engine.streams());
    }
}

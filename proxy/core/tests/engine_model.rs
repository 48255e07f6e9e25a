//! Flow control and the life of streams against a model: two scripted HTTP/2 peers do what they
//! like within the rules, and the engine between them must keep to the windows they gave it, lose
//! and reorder nothing, and end every exchange exactly once.
#![allow(clippy::unwrap_used)]

mod engine_support;

use std::collections::BTreeMap;

use engine_support::frames::{self, data, frame, headers, reset, window, Frame};
use engine_support::Rig;
use linkerd_proxy_core::engine::{code, Protocol};
use proptest::prelude::*;

/// One direction pair of a stream as a peer sees it.
#[derive(Debug, Default)]
struct End {
    sent: usize,
    sent_head: bool,
    sent_end: bool,
    got: usize,
    got_head: bool,
    got_end: bool,
    dead: bool,
    /// What the peer may send, and what the engine may.
    may_send: i64,
    may_get: i64,
    /// The exchange that the stream belongs to: the client's identifier.
    exchange: u32,
}

/// A peer that keeps the rules and checks that the engine does.
struct Peer {
    client: bool,
    streams: BTreeMap<u32, End>,
    may_send: i64,
    may_get: i64,
    initial_send: i64,
    initial_get: i64,
    next: u32,
    seen: usize,
}

fn pattern(exchange: u32, at: usize) -> u8 {
    (at as u32).wrapping_mul(7).wrapping_add(exchange) as u8
}

impl Peer {
    fn new(client: bool, initial_get: i64) -> Self {
        Self {
            client,
            streams: BTreeMap::new(),
            may_send: 65_535,
            may_get: 65_535,
            initial_send: 65_535,
            initial_get,
            next: 1,
            seen: 0,
        }
    }

    fn hello(&self) -> Vec<u8> {
        let settings = frames::settings(&[(4, self.initial_get as u32)]);
        if self.client {
            [frames::PREFACE, &settings].concat()
        } else {
            settings
        }
    }

    /// Takes what the engine has written; answers nothing.
    fn read(&mut self, bytes: &[u8]) {
        let fresh = &bytes[self.seen..];
        self.seen = bytes.len();
        for frame in frames::read(fresh) {
            self.frame(&frame);
        }
    }

    fn frame(&mut self, frame: &Frame) {
        match frame.kind {
            0 => self.data(frame),
            1 => self.headers(frame),
            3 => {
                let stream = self.streams.get_mut(&frame.id).expect("a known stream");
                assert!(!stream.dead, "a reset stream is reset again");
                stream.dead = true;
            }
            4 if frame.flags & 1 == 0 => {
                for setting in frame.payload.chunks(6) {
                    if setting[1] == 4 {
                        let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                        self.initial_send = i64::from(value);
                    }
                }
            }
            7 => panic!("the engine ended the connection: {frame:?}"),
            8 if frame.id == 0 => self.may_send += i64::from(frame.code()),
            8 => {
                if let Some(stream) = self.streams.get_mut(&frame.id) {
                    stream.may_send += i64::from(frame.code());
                }
            }
            _ => {}
        }
    }

    fn data(&mut self, frame: &Frame) {
        let length = frame.payload.len() as i64;
        self.may_get -= length;
        assert!(self.may_get >= 0, "more than the connection's window");
        let stream = self.streams.get_mut(&frame.id).expect("a known stream");
        stream.may_get -= length;
        assert!(length == 0 || stream.may_get >= 0, "more than the window");
        assert!(stream.got_head && !stream.got_end);
        for byte in &frame.payload {
            assert_eq!(pattern(stream.exchange, stream.got), *byte, "out of order");
            stream.got += 1;
        }
        stream.got_end |= frame.flags & 1 != 0;
    }

    fn headers(&mut self, frame: &Frame) {
        if !self.client && !self.streams.contains_key(&frame.id) {
            let text = engine_support::utf8(&frame.payload);
            let exchange = text.split("/s").nth(1).unwrap();
            let exchange = exchange.split(';').next().unwrap().parse().unwrap();
            let stream = End {
                exchange,
                may_send: self.initial_send,
                may_get: self.initial_get,
                ..End::default()
            };
            self.streams.insert(frame.id, stream);
        }
        let stream = self.streams.get_mut(&frame.id).expect("a known stream");
        assert!(!stream.got_end);
        stream.got_head = true;
        stream.got_end |= frame.flags & 1 != 0;
    }

    fn pick(&self, which: u16, fit: impl Fn(&End) -> bool) -> Option<u32> {
        let fits: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.dead && fit(stream))
            .map(|(id, _)| *id)
            .collect();
        (!fits.is_empty()).then(|| fits[usize::from(which) % fits.len()])
    }

    /// One move of the peer; what it sends.
    fn act(&mut self, what: u8, which: u16, amount: u16) -> Vec<u8> {
        match what % 8 {
            0 if self.client && self.streams.values().filter(|s| !s.dead).count() < 200 => {
                let id = self.next;
                self.next += 2;
                let path = format!("/s{id};");
                let fields = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", path.as_str()),
                ];
                let stream = End {
                    exchange: id,
                    sent_head: true,
                    may_send: self.initial_send,
                    may_get: self.initial_get,
                    ..End::default()
                };
                self.streams.insert(id, stream);
                headers(id, 0, &fields)
            }
            0 => {
                let Some(id) = self.pick(which, |s| s.got_head && !s.sent_head) else {
                    return Vec::new();
                };
                self.streams.get_mut(&id).unwrap().sent_head = true;
                headers(id, 0, &[(":status", "200")])
            }
            1 | 2 => {
                let Some(id) = self.pick(which, |s| s.sent_head && !s.sent_end) else {
                    return Vec::new();
                };
                let room = self.may_send;
                let stream = self.streams.get_mut(&id).unwrap();
                let size = i64::from(amount)
                    .min(stream.may_send)
                    .min(room)
                    .clamp(0, 16_384);
                let body: Vec<u8> = (0..size as usize)
                    .map(|at| pattern(stream.exchange, stream.sent + at))
                    .collect();
                stream.sent += body.len();
                stream.may_send -= size;
                self.may_send -= size;
                data(id, 0, &body)
            }
            3 => {
                let Some(id) = self.pick(which, |s| s.sent_head && !s.sent_end) else {
                    return Vec::new();
                };
                self.streams.get_mut(&id).unwrap().sent_end = true;
                if amount.is_multiple_of(2) {
                    headers(id, 1, &[("x", "y")])
                } else {
                    data(id, 1, b"")
                }
            }
            4 if amount.is_multiple_of(4) => {
                let Some(id) = self.pick(which, |s| s.got_head || s.sent_head) else {
                    return Vec::new();
                };
                self.streams.get_mut(&id).unwrap().dead = true;
                reset(id, code::CANCEL)
            }
            5 => {
                let Some(id) = self.pick(which, |s| !s.got_end) else {
                    return Vec::new();
                };
                let more = u32::from(amount).max(1);
                self.streams.get_mut(&id).unwrap().may_get += i64::from(more);
                window(id, more)
            }
            6 => {
                let more = u32::from(amount).max(1);
                self.may_get += i64::from(more);
                window(0, more)
            }
            7 if amount.is_multiple_of(8) => {
                let value = i64::from(amount) * 2;
                let change = value - self.initial_get;
                self.initial_get = value;
                for stream in self.streams.values_mut() {
                    stream.may_get += change;
                }
                frames::settings(&[(4, value as u32)])
            }
            _ => frame(6, 0, 0, &[0; 8]),
        }
    }
}

struct World {
    rig: Rig,
    client: Peer,
    server: Peer,
}

impl World {
    fn new(client_window: u16, server_window: u16) -> Self {
        let mut world = Self {
            rig: Rig::new(Protocol::H2, Protocol::H2),
            client: Peer::new(true, i64::from(client_window)),
            server: Peer::new(false, i64::from(server_window)),
        };
        world.read();
        let hello = world.client.hello();
        world.rig.client(&hello);
        let hello = world.server.hello();
        world.rig.server(&hello);
        world.read();
        world
    }

    fn read(&mut self) {
        self.client.read(&self.rig.to_client);
        self.server.read(&self.rig.to_server);
    }

    fn act(&mut self, client: bool, what: u8, which: u16, amount: u16) {
        if client {
            let bytes = self.client.act(what, which, amount);
            self.rig.client(&bytes);
        } else {
            let bytes = self.server.act(what, which, amount);
            self.rig.server(&bytes);
        }
        self.read();
    }

    /// Opens every window and finishes every message.
    fn finish(&mut self) {
        for _ in 0..4 {
            for client in [true, false] {
                let peer = if client {
                    &mut self.client
                } else {
                    &mut self.server
                };
                let mut bytes = window(0, 10_000_000);
                peer.may_get += 10_000_000;
                for (id, stream) in &mut peer.streams {
                    if !stream.dead && !stream.got_end {
                        bytes.extend(window(*id, 10_000_000));
                        stream.may_get += 10_000_000;
                    }
                }
                self.send(client, &bytes);
            }
            for client in [true, false] {
                let peer = if client {
                    &mut self.client
                } else {
                    &mut self.server
                };
                let mut bytes = Vec::new();
                for (id, stream) in &mut peer.streams {
                    if stream.dead || stream.sent_end || !(stream.got_head || client) {
                        continue;
                    }
                    if !stream.sent_head {
                        bytes.extend(headers(*id, 0, &[(":status", "200")]));
                        stream.sent_head = true;
                    }
                    bytes.extend(data(*id, 1, b""));
                    stream.sent_end = true;
                }
                self.send(client, &bytes);
            }
        }
    }

    fn send(&mut self, client: bool, bytes: &[u8]) {
        if client {
            self.rig.client(bytes);
        } else {
            self.rig.server(bytes);
        }
        self.read();
    }

    fn check(&self) {
        let opened = self.client.streams.len();
        assert_eq!(opened, self.rig.finished.len(), "every exchange ends once");
        assert_eq!(0, self.rig.engine.streams());
        for (id, there) in &self.server.streams {
            let here = &self.client.streams[&there.exchange];
            if here.dead || there.dead {
                continue;
            }
            assert_eq!(here.sent, there.got, "request of {id}");
            assert_eq!(there.sent, here.got, "response of {id}");
            assert!(here.got_end && there.got_end);
        }
        // All that was taken was given back, but for what is collected before an update.
        for peer in [&self.client, &self.server] {
            assert!(peer.may_send > 500_000, "{}", peer.may_send);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn peers_within_the_rules(
        windows in (0u16..2000, 0u16..2000),
        moves in prop::collection::vec((any::<bool>(), any::<u8>(), any::<u16>(), any::<u16>()), 0..300),
    ) {
        let mut world = World::new(windows.0, windows.1);
        for (client, what, which, amount) in moves {
            world.act(client, what, which, amount);
        }
        world.finish();
        world.check();
    }
}

//! A driver of the HTTP engine that does anything it may, at any time, with live and stale names.

use std::time::{Duration, Instant};

use linkerd_proxy_core::engine::{
    ConnId, Engine, Event, HeadEdit, Io, Limits, Protocol, Role, StreamId,
};

const PROTOCOLS: [Protocol; 3] = [Protocol::H1, Protocol::H2, Protocol::Raw];
/// The input's first octets choose the protocols, then the decisions, which come again and again.
const DECISIONS: usize = 16;
const CONNECTIONS_MAX: usize = 12;

/// Whatever peers send and a driver decides: each exchange that was announced ends exactly once, and
/// when the connections are gone nothing is left.
pub fn driver(input: &[u8]) {
    let Some((&[pair], rest)) = input.split_first_chunk::<1>() else {
        return;
    };
    let Some((&decisions, mut rest)) = rest.split_first_chunk::<DECISIONS>() else {
        return;
    };
    let mut world = World::new(pair, decisions);
    while let [step, after @ ..] = rest {
        let size = match step >> 5 {
            0..=3 => usize::from(step >> 1 & 63).min(after.len()),
            _ => 0,
        };
        let (bytes, later) = after.split_at(size);
        rest = later;
        world.step(*step, bytes);
        world.turn();
    }
    world.end();
}

struct World {
    engine: Engine,
    now: Instant,
    decisions: [u8; DECISIONS],
    decided: usize,
    back: Protocol,
    fronts: Vec<ConnId>,
    backs: Vec<ConnId>,
    /// Every exchange so far, and whether it is over.
    streams: Vec<(StreamId, bool)>,
}

impl World {
    fn new(pair: u8, decisions: [u8; DECISIONS]) -> Self {
        let now = Instant::now();
        let mut engine = Engine::new(Limits::default(), now);
        let front = PROTOCOLS[usize::from(pair % 3)];
        let back = PROTOCOLS[usize::from(pair / 3 % 3)];
        let fronts = vec![engine.open(Role::Server, front, now)];
        Self {
            engine,
            now,
            decisions,
            decided: 0,
            back,
            fronts,
            backs: Vec::new(),
            streams: Vec::new(),
        }
    }

    fn decide(&mut self, ways: u8) -> u8 {
        self.decided += 1;
        self.decisions[self.decided % DECISIONS] % ways
    }

    fn step(&mut self, step: u8, bytes: &[u8]) {
        let conn = match (step & 1, self.backs.last()) {
            (1, Some(&back)) => back,
            _ => self.fronts[0],
        };
        let which = usize::from(step & 31);
        match step >> 5 {
            0..=3 if self.engine.wants_read(conn) => self.engine.recv(conn, bytes, self.now),
            4 => self.act(which),
            5 if step & 2 == 0 => self.engine.recv_end(conn, self.now),
            5 => self.engine.drain(conn, self.now),
            6 => {
                self.now += Duration::from_millis(1 << (step & 15));
                self.engine.handle_timeout(self.now);
            }
            7 => self.engine.close(conn, self.now),
            _ => {}
        }
    }

    /// Does something with an exchange, which may be over.
    fn act(&mut self, which: usize) {
        let Some(&(stream, _)) = self.streams.get(which) else {
            return;
        };
        let _ = self.engine.passed(stream);
        let _ = self.engine.trailers(stream);
        let _ = self.engine.response_is_whole(stream);
        match self.decide(8) {
            0 => self.forward(stream),
            1 => drop(self.engine.respond(stream, 403, &[(b"a", b"b")], b"no")),
            2 => self.engine.reset(stream, 8),
            3 => self.engine.release(stream),
            4 => self.engine.finish(stream, &[(b"grpc-status", b"4")]),
            5 => self.engine.keep_request(stream, 64),
            6 => {
                if self.fronts.len() < CONNECTIONS_MAX {
                    let copy = self.engine.copy_request(stream, self.now);
                    self.fronts.extend(copy);
                }
            }
            _ => {
                let edit = HeadEdit::default();
                let _ = self.engine.forward_response(stream, &edit);
            }
        }
    }

    fn forward(&mut self, stream: StreamId) {
        let edit = HeadEdit::default();
        for &back in &self.backs {
            if self.engine.forward(stream, back, &edit).is_ok() {
                return;
            }
        }
        if self.backs.len() < CONNECTIONS_MAX {
            let back = self.engine.open(Role::Client, self.back, self.now);
            self.backs.push(back);
            if self.engine.forward(stream, back, &edit).is_ok() {
                return;
            }
        }
        let _ = self.engine.respond(stream, 503, &[], b"busy");
    }

    /// Takes events and flushes, as a turn of the driver's loop does.
    fn turn(&mut self) {
        while self.events() | self.flush() {}
    }

    fn events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.engine.poll_event() {
            any = true;
            match event {
                Event::Request { stream, .. } => {
                    self.streams.push((stream, false));
                    self.request(stream);
                }
                Event::Response { stream } => match self.decide(8) {
                    0 => {}
                    1 => self.act_on_last(),
                    2 if self.engine.can_retry(stream) => {
                        self.engine.release(stream);
                        self.forward(stream);
                    }
                    _ => {
                        let edit = HeadEdit::default();
                        let _ = self.engine.forward_response(stream, &edit);
                    }
                },
                Event::Failed { stream, .. } => {
                    if self.engine.can_retry(stream) && self.decide(4) != 0 {
                        self.forward(stream);
                    } else {
                        let _ = self.engine.respond(stream, 502, &[], b"failed");
                    }
                }
                Event::Finished { stream } => self.finished(stream),
                _ => {}
            }
        }
        any
    }

    /// An exchange that ended before it could be announced is none of ours.
    fn finished(&mut self, stream: StreamId) {
        let mut known = self.streams.iter_mut();
        if let Some((_, over)) = known.find(|(known, _)| *known == stream) {
            assert!(!std::mem::replace(over, true), "it ends once");
        }
    }

    fn request(&mut self, stream: StreamId) {
        match self.decide(8) {
            0 => {}
            1 => drop(self.engine.respond(stream, 404, &[], b"none")),
            2 => self.engine.reset(stream, 11),
            3 => {
                self.engine.keep_request(stream, 256);
                self.forward(stream);
            }
            4 if self.fronts.len() < CONNECTIONS_MAX => {
                let copy = self.engine.copy_request(stream, self.now);
                self.fronts.extend(copy);
                self.forward(stream);
            }
            _ => self.forward(stream),
        }
    }

    fn act_on_last(&mut self) {
        self.act(self.streams.len().saturating_sub(1));
    }

    /// Takes what is written, or a part of it where the peer is slow; closes what asks for it.
    fn flush(&mut self) -> bool {
        let slow = self.decisions[0] & 1 == 1;
        let mut any = false;
        while let Some(conn) = self.engine.poll_dirty() {
            any = true;
            let length = self.engine.out(conn).len();
            let count = if slow { length.min(40) } else { length };
            self.engine.sent(conn, count, self.now);
            if count == length && matches!(self.engine.io(conn), Io::Close | Io::Abort) {
                self.engine.close(conn, self.now);
            }
        }
        any
    }

    fn end(mut self) {
        for conn in [self.fronts.clone(), self.backs.clone()].concat() {
            self.engine.close(conn, self.now);
            self.turn();
        }
        // What was opened meanwhile: for one that is closed already nothing happens.
        for &back in &self.backs {
            self.engine.close(back, self.now);
        }
        while let Some(event) = self.engine.poll_event() {
            if let Event::Finished { stream } = event {
                self.finished(stream);
            }
        }
        assert!(self.streams.iter().all(|(_, over)| *over), "all ends");
        assert_eq!((0, 0), (self.engine.streams(), self.engine.connections()));
    }
}

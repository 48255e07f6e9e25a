//! What the engine itself costs per request, without sockets: two hops over memory.
//!
//! Prints nanoseconds per request and hop. Under `valgrind --tool=callgrind` with the argument
//! `count` it runs a fixed number of requests, so that instructions repeat exactly.
#![allow(missing_docs, clippy::print_stdout)]

use std::time::Instant;

use linkerd_proxy_core::engine::{ConnId, Engine, Event, HeadEdit, Limits, Protocol, Role};

/// One proxy: an engine with many connections in front and one or many behind.
struct Hop {
    engine: Engine,
    front: Vec<ConnId>,
    back: Vec<ConnId>,
    idle: Vec<ConnId>,
    now: Instant,
    spread: bool,
}

impl Hop {
    fn new(front: Protocol, fronts: usize, back: Protocol, backs: usize) -> Self {
        let now = Instant::now();
        let mut engine = Engine::new(Limits::default(), now);
        let front = (0..fronts)
            .map(|_| engine.open(Role::Server, front, now))
            .collect();
        let back: Vec<ConnId> = (0..backs)
            .map(|_| engine.open(Role::Client, back, now))
            .collect();
        Self {
            engine,
            front,
            idle: back.clone(),
            back,
            now,
            spread: backs > 1,
        }
    }

    fn decide(&mut self) {
        let edit = HeadEdit::default();
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Request { stream, .. } => {
                    let target = if self.spread {
                        self.idle.pop()
                    } else {
                        self.back.first().copied()
                    };
                    if let Some(target) = target {
                        let _ = self.engine.forward(stream, target, &edit);
                    }
                }
                Event::Ready { conn } if self.spread => self.idle.push(conn),
                Event::Response { stream } => {
                    let _ = self.engine.forward_response(stream, &edit);
                }
                Event::Trailers { .. }
                | Event::Body { .. }
                | Event::Failed { .. }
                | Event::Finished { .. }
                | Event::Ready { .. }
                | Event::Draining { .. } => {}
            }
        }
    }

    fn take(&mut self, conn: ConnId, into: &mut Vec<u8>) {
        let out = self.engine.out(conn);
        into.extend_from_slice(out);
        let count = out.len();
        self.engine.sent(conn, count, self.now);
    }
}

struct Bench {
    outbound: Hop,
    inbound: Hop,
    wire: Vec<u8>,
}

impl Bench {
    fn new(clients: usize) -> Self {
        let mut bench = Self {
            outbound: Hop::new(Protocol::H1, clients, Protocol::H2, 1),
            inbound: Hop::new(Protocol::H2, 1, Protocol::H1, clients),
            wire: Vec::new(),
        };
        for _ in 0..3 {
            bench.cross();
        }
        bench
    }

    /// Carries what is between the hops, both ways.
    fn cross(&mut self) {
        let (near, far) = (self.outbound.back[0], self.inbound.front[0]);
        self.wire.clear();
        self.outbound.take(near, &mut self.wire);
        self.inbound.engine.recv(far, &self.wire, self.inbound.now);
        self.inbound.decide();
        self.wire.clear();
        self.inbound.take(far, &mut self.wire);
        self.outbound
            .engine
            .recv(near, &self.wire, self.outbound.now);
        self.outbound.decide();
    }

    /// One request on every client's connection.
    fn round(&mut self, request: &[u8], response: &[u8]) -> usize {
        for at in 0..self.outbound.front.len() {
            let conn = self.outbound.front[at];
            self.outbound.engine.recv(conn, request, self.outbound.now);
            self.outbound.decide();
        }
        self.cross();
        let mut answered = 0;
        for at in 0..self.inbound.back.len() {
            let conn = self.inbound.back[at];
            self.wire.clear();
            self.inbound.take(conn, &mut self.wire);
            if !self.wire.is_empty() {
                self.inbound.engine.recv(conn, response, self.inbound.now);
                self.inbound.decide();
            }
        }
        self.cross();
        for at in 0..self.outbound.front.len() {
            let conn = self.outbound.front[at];
            self.wire.clear();
            self.outbound.take(conn, &mut self.wire);
            answered += usize::from(!self.wire.is_empty());
        }
        while self.outbound.engine.poll_dirty().is_some() {}
        while self.inbound.engine.poll_dirty().is_some() {}
        answered
    }
}

const PLAIN: &[u8] = b"GET /path HTTP/1.1\r\nHost: web.emojivoto\r\n\r\n";
const TWELVE: &[u8] = b"GET /api/list?x=1 HTTP/1.1\r\nHost: web.emojivoto\r\n\
Accept: application/json, text/plain, */*\r\nAccept-Encoding: gzip, deflate, br\r\n\
Accept-Language: en-US,en;q=0.9\r\nCache-Control: no-cache\r\n\
Cookie: session=0123456789abcdef0123456789abcdef\r\nOrigin: http://web.emojivoto\r\n\
Referer: http://web.emojivoto/leaderboard\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
X-Request-Id: 7f3c2f56-12a1-4a8e-9a5c-7b0b1e4c9f11\r\nX-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124\r\n\
X-B3-SpanId: a2fb4a1d1a96d312\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\n\
Content-Type: text/plain\r\nContent-Length: 36\r\nConnection: keep-alive\r\n\r\n\
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

fn main() {
    let counting = std::env::args().any(|arg| arg == "count");
    for (name, request) in [("plain", PLAIN), ("twelve headers", TWELVE)] {
        if std::env::args().any(|arg| arg == "plain") && name != "plain" {
            continue;
        }
        let mut bench = Bench::new(32);
        let rounds = if counting { 100 } else { 20_000 };
        let mut answered = bench.round(request, RESPONSE);
        assert_eq!(32, answered, "every request is answered");
        let start = Instant::now();
        for _ in 0..rounds {
            answered += bench.round(request, RESPONSE);
        }
        let each = start.elapsed().as_nanos() as f64 / (answered - 32) as f64 / 2.0;
        println!("{name}: {each:.0} ns per request and hop, {answered} requests");
    }
}

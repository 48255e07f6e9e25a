//! A driver without sockets: what a test says to an engine and what the engine says back.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod frames;

use std::time::{Duration, Instant};

use linkerd_proxy_core::engine::{
    ConnId, Engine, Event, Failure, HeadEdit, Io, Limits, Protocol, Role, StreamId, Summary,
};

/// An engine with one connection at each side, driven to rest after every step.
pub struct Rig {
    pub engine: Engine,
    pub now: Instant,
    pub client: ConnId,
    pub server: ConnId,
    /// What the engine has written towards the client and towards the server.
    pub to_client: Vec<u8>,
    pub to_server: Vec<u8>,
    /// What it has written on other connections.
    pub to_others: Vec<u8>,
    /// Requests are forwarded at once when set.
    pub auto: bool,
    pub requests: Vec<StreamId>,
    pub responses: Vec<StreamId>,
    pub finished: Vec<Summary>,
    pub failed: Vec<Failure>,
    /// Heads as text, in order of their events.
    pub heads: Vec<String>,
    pub trailers: Vec<String>,
}

impl Rig {
    pub fn new(front: Protocol, back: Protocol) -> Self {
        Self::with(front, back, Limits::default())
    }

    pub fn with(front: Protocol, back: Protocol, limits: Limits) -> Self {
        let now = Instant::now();
        let mut engine = Engine::new(limits, now);
        let client = engine.open(Role::Server, front, now);
        let server = engine.open(Role::Client, back, now);
        let mut rig = Self {
            engine,
            now,
            client,
            server,
            to_client: Vec::new(),
            to_server: Vec::new(),
            to_others: Vec::new(),
            auto: true,
            requests: Vec::new(),
            responses: Vec::new(),
            finished: Vec::new(),
            failed: Vec::new(),
            heads: Vec::new(),
            trailers: Vec::new(),
        };
        rig.settle();
        rig
    }

    /// Bytes from the client.
    pub fn client(&mut self, bytes: &[u8]) -> &mut Self {
        self.engine.recv(self.client, bytes, self.now);
        self.settle()
    }

    /// Bytes from the server.
    pub fn server(&mut self, bytes: &[u8]) -> &mut Self {
        self.engine.recv(self.server, bytes, self.now);
        self.settle()
    }

    pub fn client_end(&mut self) -> &mut Self {
        self.engine.recv_end(self.client, self.now);
        self.settle()
    }

    pub fn server_end(&mut self) -> &mut Self {
        self.engine.recv_end(self.server, self.now);
        self.settle()
    }

    pub fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.engine.handle_timeout(self.now);
        self.settle()
    }

    /// Handles events and takes what was written, until nothing happens any more.
    pub fn settle(&mut self) -> &mut Self {
        loop {
            self.events();
            let Some(conn) = self.engine.poll_dirty() else {
                return self;
            };
            self.flush(conn);
        }
    }

    pub fn flush(&mut self, conn: ConnId) {
        let bytes = self.engine.out(conn).to_vec();
        if conn == self.client {
            self.to_client.extend_from_slice(&bytes);
        } else if conn == self.server {
            self.to_server.extend_from_slice(&bytes);
        } else {
            self.to_others.extend_from_slice(&bytes);
        }
        self.engine.sent(conn, bytes.len(), self.now);
    }

    pub fn events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { stream, .. } => {
                let head = self.engine.request(stream).unwrap();
                let mut text = format!(
                    "{} {} {} {}",
                    utf8(head.method()),
                    utf8(head.scheme().unwrap_or(b"-")),
                    utf8(head.authority()),
                    utf8(head.path())
                );
                fields(&mut text, head.fields());
                self.heads.push(text);
                self.requests.push(stream);
                if self.auto {
                    let edit = HeadEdit::default();
                    let done = self.engine.forward(stream, self.server, &edit);
                    if done.is_err() {
                        let _ = self.engine.respond(stream, 503, &[], b"");
                    }
                }
            }
            Event::Response { stream } => {
                let head = self.engine.response(stream).unwrap();
                let mut text = head.status().to_string();
                fields(&mut text, head.fields());
                self.heads.push(text);
                self.responses.push(stream);
                if self.auto {
                    self.engine
                        .forward_response(stream, &HeadEdit::default())
                        .unwrap();
                }
            }
            Event::Trailers { stream } => {
                let mut text = String::new();
                fields(&mut text, self.engine.trailers(stream).unwrap().fields());
                self.trailers.push(text);
            }
            Event::Failed { stream, failure } => {
                self.failed.push(failure);
                if self.auto {
                    let _ = self.engine.respond(stream, 502, &[], b"");
                }
            }
            Event::Finished { stream } => {
                self.finished.push(self.engine.summary(stream).unwrap());
            }
            Event::Body { .. } | Event::Ready { .. } | Event::Draining { .. } => {}
        }
    }

    pub fn client_text(&self) -> String {
        utf8(&self.to_client)
    }

    pub fn server_text(&self) -> String {
        utf8(&self.to_server)
    }

    pub fn client_io(&self) -> Io {
        self.engine.io(self.client)
    }

    pub fn server_io(&self) -> Io {
        self.engine.io(self.server)
    }
}

fn fields<'a>(text: &mut String, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (name, value) in fields {
        text.push_str(&format!("|{}={}", utf8(name), utf8(value)));
    }
}

pub fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Carries bytes between two hops until there are none.
pub fn exchange(outbound: &mut Rig, inbound: &mut Rig) {
    while !outbound.to_server.is_empty() || !inbound.to_client.is_empty() {
        let bytes = std::mem::take(&mut outbound.to_server);
        inbound.client(&bytes);
        let bytes = std::mem::take(&mut inbound.to_client);
        outbound.server(&bytes);
    }
}

/// The messages in a stream of HTTP/1 that the engine wrote: head, body, trailers.
pub fn messages(mut bytes: &[u8]) -> Vec<(String, Vec<u8>, String)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (message, size) = message(bytes);
        found.push(message);
        bytes = &bytes[size..];
    }
    found
}

/// Octets of the first message.
pub fn first_message(bytes: &[u8]) -> usize {
    message(bytes).1
}

fn end_of(bytes: &[u8], mark: &[u8]) -> usize {
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    at.expect("the message is complete") + mark.len()
}

fn message(bytes: &[u8]) -> ((String, Vec<u8>, String), usize) {
    let mut at = end_of(bytes, b"\r\n\r\n");
    let head = utf8(&bytes[..at]).to_ascii_lowercase();
    let (mut body, mut trailers) = (Vec::new(), String::new());
    if head.contains("transfer-encoding: chunked") {
        loop {
            let line = at + end_of(&bytes[at..], b"\r\n");
            let digits = utf8(&bytes[at..line]);
            let digits = digits.split([';', '\r']).next().unwrap();
            let size = usize::from_str_radix(digits, 16).unwrap();
            if size == 0 {
                let end = if bytes[line..].starts_with(b"\r\n") {
                    line + 2
                } else {
                    line + end_of(&bytes[line..], b"\r\n\r\n")
                };
                trailers = utf8(&bytes[line..end]);
                at = end;
                break;
            }
            body.extend(&bytes[line..line + size]);
            at = line + size + 2;
        }
    } else if let Some(length) = head.split("content-length: ").nth(1) {
        let length: usize = length.split('\r').next().unwrap().parse().unwrap();
        body.extend(&bytes[at..at + length]);
        at += length;
    }
    ((head, body, trailers), at)
}

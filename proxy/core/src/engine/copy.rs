//! Copies of requests: exchanges whose client is another exchange.
//!
//! A copy comes in on a connection without transport, as HTTP/1, so that all that follows treats it
//! like any other request. The driver takes what the engine writes to that connection and drops it.

use std::time::Instant;

use super::conn::{Conn, Proto};
use super::h1::conn::H1;
use super::h1::write::{self, Expect};
use super::head::HeadEdit;
use super::slab::Key;
use super::stream::Side;
use super::{ConnId, Engine, Failure, Io, Role, StreamId};

/// Octets that a copy may lag behind; then it is cut.
const LAG: usize = 256 * 1024;

impl Engine {
    /// Repeats the request of `stream`, which has no target yet, on a new connection: its
    /// [`Event::Request`](super::Event::Request) follows, and it breaks off when it cannot keep up or
    /// when the original breaks off. `None` when the request cannot be copied.
    pub fn copy_request(&mut self, stream: StreamId, now: Instant) -> Option<ConnId> {
        self.tick(now);
        let server = self.streams.get(stream.0)?;
        let head = server.head.as_deref()?;
        let expect = server.expect;
        if server.consumed || server.closed || head.authority().is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        write::request(&mut bytes, head, &HeadEdit::default(), expect);
        let key = self
            .conns
            .insert(Conn::new(Role::Server, Proto::H1(H1::new(false))));
        if expect != Expect::End {
            self.streams.get_mut(stream.0)?.copies.push(key);
        }
        self.receive(key, &bytes);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.draining = true;
        }
        Some(ConnId(key))
    }

    /// Passes a piece of the request's body, and its end, to the copies.
    pub(super) fn copy_body(&mut self, source: Key, data: &[u8]) {
        let Some(state) = self.streams.get_mut(source) else {
            return;
        };
        if state.copies.is_empty() || data.is_empty() {
            return;
        }
        let chunked = state.expect == Expect::Stream;
        let copies = std::mem::take(&mut state.copies);
        let mut bytes = Vec::with_capacity(data.len() + 16);
        if chunked {
            write::chunk(&mut bytes, data);
        } else {
            bytes.extend_from_slice(data);
        }
        let mut kept = Vec::with_capacity(copies.len());
        for key in copies {
            self.receive(key, &bytes);
            let lag = self.conns.get(key).map_or(LAG, Conn::stashed);
            if lag < LAG {
                kept.push(key);
            } else {
                self.cut_copy(key);
            }
        }
        if let Some(state) = self.streams.get_mut(source) {
            state.copies = kept;
        }
    }

    /// Ends the copies of a request that is over: well, when all of it has been passed on.
    pub(super) fn end_copies(&mut self, source: Key) {
        let Some(state) = self.streams.get_mut(source) else {
            return;
        };
        if state.copies.is_empty() {
            return;
        }
        let whole = state.recv == Side::Done && state.failure.is_none() && !state.discard;
        let chunked = state.expect == Expect::Stream;
        for key in std::mem::take(&mut state.copies) {
            match (whole, chunked) {
                (true, true) => self.receive(key, b"0\r\n\r\n"),
                (true, false) => {}
                (false, _) => self.cut_copy(key),
            }
        }
    }

    fn cut_copy(&mut self, key: Key) {
        self.fail_connection(key, Failure::Cancelled);
        self.set_io(key, Io::Abort);
    }
}

//! What the engine writes on HTTP/2 connections.

use std::time::Duration;

use super::super::conn::{Deadline, Proto};
use super::super::h1::read::Asked;
use super::super::h1::write::Expect;
use super::super::head::{Head, HeadEdit};
use super::super::hpack::encode::{self, TABLE_SIZE_ZERO};
use super::super::names;
use super::super::slab::Key;
use super::super::stream::{Side, Stream};
use super::super::{ConnId, Engine, Event, Io, Role};
use super::frame::{self, code};
use super::{Past, H2};

/// Where the window of a stream that is read as fast as it arrives stops to grow.
const GROWN_WINDOW: u32 = 2 << 20;

impl Engine {
    pub(in crate::engine) fn h2(&mut self, key: Key) -> Option<&mut H2> {
        match &mut self.conns.get_mut(key)?.proto {
            Proto::H2(h2) => Some(h2),
            Proto::H1(_) => None,
        }
    }

    /// Sends the preface, our settings and the connection's window.
    pub(in crate::engine) fn h2_greet(&mut self, key: Key) {
        let limits = self.limits;
        let client = self.role(key) == Role::Client;
        let Some(h2) = self.h2(key) else { return };
        h2.preface = if client { 0 } else { frame::PREFACE.len() };
        let own = h2.own;
        if let Some((interval, _)) = own.ping {
            self.set_deadline(key, Deadline::Ping, Some(interval));
        }
        let Some(out) = self.out_of(key) else { return };
        let list = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
        let second = if client { (2, 0) } else { (3, own.streams) };
        if client {
            out.extend_from_slice(frame::PREFACE);
        }
        frame::settings(
            out,
            &[
                (1, limits.header_table),
                second,
                (4, own.stream_window),
                (6, list),
            ],
        );
        let more = own.connection_window - 65_535;
        if more > 0 {
            frame::window_update(out, 0, more);
        }
    }

    /// Opens a stream on a client connection and sends the request's head.
    pub(in crate::engine) fn h2_open(
        &mut self,
        key: Key,
        head: &Head,
        edit: &HeadEdit<'_>,
        expect: Expect,
    ) -> Option<Key> {
        let now = self.now;
        let asked = Asked {
            head: head.is_method(b"HEAD"),
            connect: head.is_method(b"CONNECT"),
            upgrade: false,
        };
        let end = expect == Expect::End;
        let h2 = self.h2(key)?;
        let id = h2.next;
        h2.next += 2;
        let peer = h2.peer;
        let window = i64::from(h2.own.stream_window);
        let first = !std::mem::replace(&mut h2.announced, true);
        let mut stream = Stream::new(key, id, false);
        stream.asked = asked;
        stream.recv_window = window;
        stream.moved_at = now;
        stream.flushed_at = (end && !asked.connect).then_some(now);
        stream.send_window = i64::from(peer.window);
        stream.send = match expect {
            _ if asked.connect => Side::Head,
            Expect::End => Side::Done,
            Expect::Length(_) | Expect::Stream => Side::Body,
        };
        let stream = self.streams.insert(stream);
        if let Some(h2) = self.h2(key) {
            h2.ids.push((id, stream));
        }
        self.set_deadline(key, Deadline::Idle, None);
        let out = self.out_of(key)?;
        frame::block(out, id, end, peer.max_payload, |out| {
            if first {
                out.push(TABLE_SIZE_ZERO);
            }
            request_block(out, head, edit);
        });
        Some(stream)
    }

    /// Sends a response's head, interim or final.
    pub(in crate::engine) fn h2_response(
        &mut self,
        key: Key,
        id: u32,
        head: &Head,
        edit: &HeadEdit<'_>,
        end: bool,
    ) {
        let Some(h2) = self.h2(key) else { return };
        let max = h2.peer.max_payload;
        let first = !std::mem::replace(&mut h2.announced, true);
        h2.noise.forgive(4);
        let Some(out) = self.out_of(key) else { return };
        frame::block(out, id, end, max, |out| {
            if first {
                out.push(TABLE_SIZE_ZERO);
            }
            let status = edit.status.unwrap_or(head.status);
            let digits = [
                b'0' + (status / 100) as u8,
                b'0' + (status / 10 % 10) as u8,
                b'0' + (status % 10) as u8,
            ];
            encode::field(out, names::STATUS, b"", &digits, false);
            if status >= 200 && status != 204 {
                length_field(out, head);
            }
            fields(out, head, edit);
        });
    }

    /// Sends body in frames; the caller has looked at the windows.
    pub(in crate::engine) fn h2_write_data(&mut self, key: Key, id: u32, data: &[u8], last: bool) {
        let Some(h2) = self.h2(key) else { return };
        h2.send_window -= data.len() as i64;
        h2.noise.forgive(10);
        let max = h2.peer.max_payload.min(frame::DATA_PAYLOAD);
        let Some(out) = self.out_of(key) else { return };
        let mut rest = data;
        while rest.len() > max {
            let (piece, after) = rest.split_at(max);
            frame::data(out, id, piece, false);
            rest = after;
        }
        if !rest.is_empty() || last {
            frame::data(out, id, rest, last);
        }
    }

    /// Ends a message, with trailers when there are some.
    pub(in crate::engine) fn h2_write_end(&mut self, key: Key, id: u32, trailers: Option<&Head>) {
        let Some(h2) = self.h2(key) else { return };
        let max = h2.peer.max_payload;
        let Some(out) = self.out_of(key) else { return };
        match trailers {
            Some(head) => frame::block(out, id, true, max, |out| {
                fields(out, head, &HeadEdit::default());
            }),
            None => frame::data(out, id, b"", true),
        }
    }

    /// Gives window back: to the connection always, to the stream while it still receives. Small
    /// amounts are collected up to half of the window.
    pub(in crate::engine) fn h2_credit(&mut self, key: Key, stream: Option<Key>, count: usize) {
        let Some(h2) = self.h2(key) else { return };
        let (stream_window, window) = (h2.own.stream_window, h2.own.connection_window);
        let grows = h2.own.lasting;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(state) = stream.and_then(|stream| self.streams.get_mut(stream)) {
            state.credit += count;
            let present = state.window.max(stream_window);
            if state.credit >= present / 2 && state.recv == Side::Body && !state.closed {
                let (id, mut increment) = (state.id, std::mem::take(&mut state.credit));
                if grows && state.pending() == 0 && present < GROWN_WINDOW {
                    // Much arrives and all of it is taken: fewer updates, and room for long ways.
                    state.window = present * 2;
                    increment += present;
                }
                state.recv_window += i64::from(increment);
                if let Some(out) = self.out_of(key) {
                    frame::window_update(out, id, increment);
                }
            }
        }
        let Some(h2) = self.h2(key) else { return };
        h2.credit += count;
        if h2.credit >= window / 2 {
            let increment = std::mem::take(&mut h2.credit);
            h2.recv_window += i64::from(increment);
            if let Some(out) = self.out_of(key) {
                frame::window_update(out, 0, increment);
            }
        }
    }

    /// Takes a stream off the connection's books. `reset`: ended by a reset, ours when true.
    pub(in crate::engine) fn h2_forget(&mut self, key: Key, id: u32, reset: Option<bool>) {
        let idle = self.limits.idle_timeout;
        let role = self.role(key);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let draining = conn.draining;
        let Proto::H2(h2) = &mut conn.proto else {
            return;
        };
        let Ok(at) = h2.ids.binary_search_by_key(&id, |(id, _)| *id) else {
            return;
        };
        let full = h2.capacity() == 0;
        h2.ids.remove(at);
        let opens = full && role == Role::Client && h2.capacity() > 0;
        h2.remember(
            id,
            match reset {
                None => Past::Over,
                Some(true) => Past::ResetHere,
                Some(false) => Past::ResetThere,
            },
        );
        let empty = h2.ids.is_empty();
        let last = draining || h2.gone;
        if opens && !draining {
            self.events.push_back(Event::Ready { conn: ConnId(key) });
            return;
        }
        let Some(h2) = self.h2(key) else { return };
        if empty && last {
            if draining && h2.going && h2.accept_to == u32::MAX {
                self.h2_goaway(key, code::NO_ERROR);
            }
            self.set_io(key, Io::Close);
        } else if empty && role == Role::Server && !idle.is_zero() {
            self.set_deadline(key, Deadline::Idle, Some(idle));
        }
    }

    /// Ends the connection for an error of the peer.
    pub(in crate::engine) fn h2_fail(&mut self, key: Key, error: u32) {
        let open = self.conns.get(key).is_some_and(|conn| conn.is_open());
        if !open {
            return;
        }
        self.h2_goaway(key, error);
        self.fail_connection(key, super::super::Failure::Protocol);
        self.set_io(key, Io::Close);
    }

    /// Takes nothing new from a client any more, and closes when what is under way is over.
    pub(super) fn h2_part(&mut self, key: Key, error: u32) {
        let after = self.limits.drain_timeout;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Proto::H2(h2) = &conn.proto else { return };
        if h2.accept_to != u32::MAX {
            return;
        }
        conn.draining = true;
        let empty = h2.ids.is_empty();
        self.h2_goaway(key, error);
        if empty {
            self.set_io(key, Io::Close);
        } else {
            self.h2_part_within(key, after);
        }
    }

    fn h2_goaway(&mut self, key: Key, error: u32) {
        let Some(h2) = self.h2(key) else { return };
        let last = h2.last.min(h2.accept_to);
        h2.accept_to = last;
        h2.going = true;
        if let Some(out) = self.out_of(key) {
            frame::goaway(out, last, error);
        }
    }

    /// Announces the end of the connection (RFC 9113 §6.8): first without a limit, so that requests
    /// under way are still taken, and with one when the peer has answered the ping that follows.
    pub(in crate::engine) fn h2_drain(&mut self, key: Key) {
        let after = self.limits.drain_timeout;
        let role = self.role(key);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.draining = true;
        let Proto::H2(h2) = &mut conn.proto else {
            return;
        };
        h2.going = true;
        let empty = h2.ids.is_empty();
        if let Some(out) = self.out_of(key) {
            if role == Role::Client {
                frame::goaway(out, 0, code::NO_ERROR);
            } else {
                frame::goaway(out, i32::MAX as u32, code::NO_ERROR);
                frame::ping(out, DRAIN_PING, false);
            }
        }
        if empty && role == Role::Client {
            self.set_io(key, Io::Close);
        }
        self.h2_part_within(key, after);
    }

    /// Bounds the time that the present streams have.
    fn h2_part_within(&mut self, key: Key, time: Duration) {
        if self.h2(key).is_some_and(|h2| !h2.own.lasting) {
            self.set_deadline(key, Deadline::Drain, Some(time));
        }
    }

    /// Pings the peer, or ends a connection whose peer has not answered in time.
    pub(in crate::engine) fn h2_watch(&mut self, key: Key) {
        let Some(h2) = self.h2(key) else { return };
        let Some((interval, timeout)) = h2.own.ping else {
            return;
        };
        if h2.pinged {
            self.fail_connection(key, super::super::Failure::Timeout);
            self.set_io(key, Io::Abort);
            return;
        }
        let due = h2.own.ping_idle || !h2.ids.is_empty();
        h2.pinged = due;
        if due {
            if let Some(out) = self.out_of(key) {
                frame::ping(out, WATCH_PING, false);
            }
        }
        self.set_deadline(
            key,
            Deadline::Ping,
            Some(if due { timeout } else { interval }),
        );
    }

    /// The peer has answered our ping.
    pub(in crate::engine) fn h2_alive(&mut self, key: Key) {
        let Some(h2) = self.h2(key) else { return };
        let Some((interval, _)) = h2.own.ping.filter(|_| h2.pinged) else {
            return;
        };
        h2.pinged = false;
        self.set_deadline(key, Deadline::Ping, Some(interval));
    }

    /// The peer has seen the first GOAWAY: nothing new can be under way any more.
    pub(in crate::engine) fn h2_drained(&mut self, key: Key) {
        let waiting = self
            .h2(key)
            .is_some_and(|h2| h2.going && h2.accept_to == u32::MAX);
        if !waiting {
            return;
        }
        self.h2_goaway(key, code::NO_ERROR);
        if self.h2(key).is_some_and(|h2| h2.ids.is_empty()) {
            self.set_io(key, Io::Close);
        }
    }
}

/// Payload of the ping that follows a GOAWAY without limit.
pub(super) const DRAIN_PING: &[u8; 8] = b"\x0bdrain\0\0";

/// Payload of the ping that asks whether the peer is there.
pub(super) const WATCH_PING: &[u8; 8] = b"\x0balive\0\0";

fn request_block(out: &mut Vec<u8>, head: &Head, edit: &HeadEdit<'_>) {
    let authority = edit.authority.unwrap_or_else(|| head.authority());
    encode::field(out, names::METHOD, b"", head.method(), false);
    if !head.is_method(b"CONNECT") {
        let scheme = edit.scheme.or(head.scheme()).unwrap_or(b"http");
        encode::field(out, names::SCHEME, b"", scheme, false);
    }
    if !authority.is_empty() {
        encode::field(out, names::AUTHORITY, b"", authority, false);
    }
    if !head.is_method(b"CONNECT") {
        let path = edit.path.unwrap_or_else(|| head.path());
        encode::field(out, names::PATH, b"", path, false);
    }
    length_field(out, head);
    if head.te_trailers {
        encode::field(out, names::TE, b"te", b"trailers", false);
    }
    fields(out, head, edit);
}

fn length_field(out: &mut Vec<u8>, head: &Head) {
    let Some(mut length) = head.length else {
        return;
    };
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (length % 10) as u8;
        length /= 10;
        if length == 0 {
            break;
        }
    }
    encode::field(out, names::CONTENT_LENGTH, b"", &digits[at..], false);
}

fn fields(out: &mut Vec<u8>, head: &Head, edit: &HeadEdit<'_>) {
    head.each(edit, |field| {
        encode::field(out, field.id, field.name, field.value, field.never);
    });
}

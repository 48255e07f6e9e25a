//! Bodies: moving what one stream receives into what its peer sends, as far as there is room.

use super::conn::Proto;
use super::h2::frame::code;
use super::slab::Key;
use super::stream::{Side, Stream};
use super::{Engine, Event, Failure, Role, StreamId};

impl Engine {
    /// Counts body that arrived on `stream`.
    pub(super) fn arrived(&mut self, stream: Key, count: usize) {
        if count == 0 {
            return;
        }
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        state.frames.note(count);
        self.begin_body(stream);
    }

    /// Tells the driver, once, that a response's body is there, be it empty.
    pub(super) fn begin_body(&mut self, stream: Key) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        if state.server || std::mem::replace(&mut state.begun, true) {
            return;
        }
        if let Some(server) = state.peer {
            self.events.push_back(Event::Body {
                stream: StreamId(server),
            });
        }
    }

    /// How many octets of body `sink` can take now.
    fn room(&self, sink: &Stream) -> usize {
        let Some(conn) = self.conns.get(sink.conn) else {
            return 0;
        };
        let space = self.limits.out_high.saturating_sub(conn.pending_out());
        match &conn.proto {
            Proto::H1(_) => space,
            Proto::H2(h2) => {
                let window = sink.send_window.min(h2.send_window).max(0);
                space.min(usize::try_from(window).unwrap_or(0))
            }
        }
    }

    /// Takes body octets that `source` received; `end` when nothing follows. Returns how many were
    /// passed to the peer or dropped: an HTTP/1 source keeps the rest, and is woken when there is
    /// room again.
    pub(super) fn pass(&mut self, source: Key, data: &[u8], end: bool) -> usize {
        let Some(stream) = self.streams.get_mut(source) else {
            return data.len();
        };
        if stream.discard || stream.closed {
            return data.len();
        }
        let Some(peer) = stream.peer else { return 0 };
        if stream.has_output() {
            return 0;
        }
        if self.streams.get(peer).is_some_and(|peer| peer.closed) {
            // The other side is over and wants no more of this.
            return data.len();
        }
        if self
            .streams
            .get(peer)
            .is_none_or(|peer| peer.send != Side::Body)
        {
            return 0;
        }
        let passed = self.write_body(peer, data, end);
        if passed > 0 {
            if let Some(stream) = self.streams.get_mut(source) {
                stream.left_for_target(&data[..passed]);
            }
            self.copy_body(source, &data[..passed]);
        }
        if passed < data.len() {
            self.hold(peer);
        } else if end {
            if let Some(stream) = self.streams.get_mut(source) {
                stream.end_passed = true;
            }
        }
        passed
    }

    /// Notes that the source of `sink` has more for it than it can take.
    fn hold(&mut self, sink: Key) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(sink) else {
            return;
        };
        let conn = stream.conn;
        if !std::mem::replace(&mut stream.held, true) {
            stream.stalled_since = now;
            stream.stalled_sent = stream.sent;
        }
        let own = stream.send_window <= 0;
        let Some(state) = self.conns.get_mut(conn) else {
            return;
        };
        if own && matches!(state.proto, Proto::H2(_)) {
            stream.stalled = true;
        } else if !std::mem::replace(&mut stream.waiting, true) {
            state.waiting.push_back(sink);
        }
        self.watch_stall(conn);
    }

    /// Writes body to `sink`'s connection as far as there is room; ends the message when all of it
    /// was written and `end` is set.
    fn write_body(&mut self, sink: Key, data: &[u8], end: bool) -> usize {
        let Some(stream) = self.streams.get(sink) else {
            return data.len();
        };
        let (conn, id, now) = (stream.conn, stream.id, self.now);
        let count = self.room(stream).min(data.len());
        if count == 0 && !data.is_empty() {
            return 0;
        }
        let (piece, last) = (&data[..count], end && count == data.len());
        let is_h2 = matches!(
            self.conns.get(conn).map(|conn| &conn.proto),
            Some(Proto::H2(_))
        );
        if is_h2 {
            self.h2_write_data(conn, id, piece, last);
        } else if !self.h1_write_data(conn, piece, last) {
            // More than the announced length: the message cannot be completed.
            self.fail_stream(sink, Failure::Protocol, Some(code::INTERNAL_ERROR));
            return data.len();
        }
        if let Some(stream) = self.streams.get_mut(sink) {
            stream.sent += count as u64;
            stream.moved_at = now;
            stream.held &= count < data.len();
            if is_h2 {
                stream.send_window -= count as i64;
            }
        }
        if last {
            self.send_done(sink);
        }
        count
    }

    /// Ends the message that `sink` sends, with the trailers that `source` received.
    fn write_end(&mut self, source: Key, sink: Key) {
        let Some(stream) = self.streams.get(sink) else {
            return;
        };
        let (conn, id) = (stream.conn, stream.id);
        let trailers = self
            .streams
            .get_mut(source)
            .and_then(|source| source.trailers.take());
        let whole = match self.conns.get(conn).map(|conn| &conn.proto) {
            Some(Proto::H1(_)) => self.h1_write_end(conn, trailers.as_deref()),
            Some(Proto::H2(_)) => {
                self.h2_write_end(conn, id, trailers.as_deref());
                true
            }
            None => true,
        };
        if let Some(source) = self.streams.get_mut(source) {
            source.trailers = trailers;
            source.end_passed = true;
        }
        if whole {
            self.send_done(sink);
        } else {
            self.fail_stream(sink, Failure::Protocol, Some(code::INTERNAL_ERROR));
        }
    }

    /// Moves what `source` holds to its peer: backlog, then the end.
    pub(super) fn relay(&mut self, source: Key) {
        let Some(stream) = self.streams.get_mut(source) else {
            return;
        };
        if !stream.has_output() || stream.discard {
            return;
        }
        let Some(sink) = stream.peer else { return };
        let done = stream.recv == Side::Done && stream.trailers.is_none();
        if stream.replays() > 0 && !self.replay(source, sink, done) {
            return;
        }
        let Some(stream) = self.streams.get_mut(source) else {
            return;
        };
        let backlog = std::mem::take(&mut stream.backlog);
        let at = std::mem::take(&mut stream.backlog_at);
        match self.streams.get(sink).map(|sink| (sink.send, sink.closed)) {
            Some((Side::Body, false)) => {}
            Some((Side::Done, _) | (_, true)) | None => {
                // Nobody wants it any more.
                self.credit(source, backlog.len() - at);
                self.recycle(backlog);
                if let Some(stream) = self.streams.get_mut(source) {
                    stream.end_passed = true;
                }
                return;
            }
            Some((Side::Head, false)) => {
                if let Some(stream) = self.streams.get_mut(source) {
                    (stream.backlog, stream.backlog_at) = (backlog, at);
                }
                return;
            }
        }
        let mut moved = 0;
        if at < backlog.len() {
            moved = self.write_body(sink, &backlog[at..], done);
        }
        let left = backlog.len() - at - moved;
        if let Some(stream) = self.streams.get_mut(source) {
            if moved > 0 {
                stream.left_for_target(&backlog[at..at + moved]);
            }
        }
        self.copy_body(source, &backlog[at..at + moved]);
        if let Some(stream) = self.streams.get_mut(source) {
            if left > 0 {
                (stream.backlog, stream.backlog_at) = (backlog, at + moved);
            } else {
                stream.end_passed |= done && moved > 0;
                self.recycle(backlog);
            }
        }
        self.credit(source, moved);
        if left > 0 {
            self.hold(sink);
            return;
        }
        if self.streams.get(source).is_some_and(Stream::has_output) {
            self.write_end(source, sink);
        }
    }

    /// Sends again what an earlier target had; true when all of it has left.
    fn replay(&mut self, source: Key, sink: Key, done: bool) -> bool {
        let ready = self.streams.get(sink);
        if !ready.is_some_and(|sink| sink.send == Side::Body && !sink.closed) {
            return false;
        }
        let Some(stream) = self.streams.get_mut(source) else {
            return false;
        };
        let end = done && stream.pending() == 0;
        let Some(mut replay) = stream.replay.take() else {
            return true;
        };
        let moved = self.write_body(sink, &replay.bytes[replay.at..], end);
        replay.at += moved;
        let all = replay.at >= replay.bytes.len();
        if let Some(stream) = self.streams.get_mut(source) {
            stream.end_passed |= end && all;
            stream.replay = Some(replay);
        }
        if !all {
            self.hold(sink);
        }
        all
    }

    /// Gives streams that were held back their turn, as far as there is room.
    pub(super) fn pump(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        for _ in 0..conn.waiting.len() {
            let Some(conn) = self.conns.get_mut(key) else {
                return;
            };
            let blocked = match &conn.proto {
                Proto::H1(_) => false,
                Proto::H2(h2) => h2.send_window <= 0,
            };
            if blocked || conn.pending_out() >= self.limits.out_high {
                return;
            }
            let Some(sink) = conn.waiting.pop_front() else {
                return;
            };
            if let Some(stream) = self.streams.get_mut(sink) {
                stream.waiting = false;
                self.feed(sink);
            }
        }
    }

    /// Lets the source of `sink` go on.
    pub(super) fn feed(&mut self, sink: Key) {
        let Some(source) = self.streams.get(sink).and_then(|stream| stream.peer) else {
            return;
        };
        self.relay(source);
        let conn = self.streams.get(source).map(|stream| stream.conn);
        if let Some(conn) = conn {
            let waits = self
                .conns
                .get(conn)
                .is_some_and(|conn| conn.parked && matches!(conn.proto, Proto::H1(_)));
            if waits {
                self.wake(conn);
            }
        }
    }

    /// Gives `count` octets of window back to the connection and the stream they came from.
    pub(super) fn credit(&mut self, stream: Key, count: usize) {
        if count == 0 {
            return;
        }
        let Some(state) = self.streams.get(stream) else {
            return;
        };
        let conn = state.conn;
        let is_h2 = matches!(
            self.conns.get(conn).map(|conn| &conn.proto),
            Some(Proto::H2(_))
        );
        if is_h2 {
            self.h2_credit(conn, Some(stream), count);
        }
    }

    pub(super) fn role(&self, conn: Key) -> Role {
        self.conns.get(conn).map_or(Role::Server, |conn| conn.role)
    }
}

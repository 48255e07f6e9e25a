//! How streams and exchanges end, well or early.

use super::conn::Proto;
use super::h2::frame::{self, code};
use super::slab::Key;
use super::stream::Side;
use super::{Engine, Event, Failure, Io, StreamId};

impl Engine {
    /// `stream` has sent everything.
    pub(super) fn send_done(&mut self, stream: Key) {
        let now = self.now;
        if let Some(state) = self.streams.get_mut(stream) {
            state.send = Side::Done;
            state.flushed_at.get_or_insert(now);
            state.stalled = false;
        }
        self.settle(stream);
        self.stop_discarding(stream);
    }

    /// `stream` has received everything.
    pub(super) fn recv_done(&mut self, stream: Key) {
        if let Some(state) = self.streams.get_mut(stream) {
            state.recv = Side::Done;
        }
        self.settle(stream);
    }

    /// Lets the connection forget a stream whose both sides are done.
    fn settle(&mut self, stream: Key) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        if state.recv != Side::Done || state.send != Side::Done || state.closed {
            return;
        }
        state.closed = true;
        let (conn, id) = (state.conn, state.id);
        match self.conns.get(conn).map(|conn| &conn.proto) {
            Some(Proto::H1(_)) => self.h1_message_over(conn),
            Some(Proto::H2(_)) => self.h2_forget(conn, id, None),
            None => {}
        }
        self.conclude(stream);
    }

    /// Reports an exchange of which nothing is left to do.
    fn conclude(&mut self, stream: Key) {
        let Some(state) = self.streams.get(stream) else {
            return;
        };
        let server = if state.server {
            stream
        } else {
            match state.peer {
                Some(peer) => peer,
                None => return,
            }
        };
        let Some(state) = self.streams.get(server) else {
            return;
        };
        let peer_open = state
            .peer
            .and_then(|peer| self.streams.get(peer))
            .is_some_and(|peer| !peer.closed);
        if !state.closed || peer_open || state.reported {
            return;
        }
        if let Some(state) = self.streams.get_mut(server) {
            state.reported = true;
        }
        self.end_copies(server);
        self.events.push_back(Event::Finished {
            stream: StreamId(server),
        });
    }

    /// Ends both sides of `stream` on its own connection; `tell` is the code for the peer when it
    /// does not know yet.
    pub(super) fn abort(&mut self, stream: Key, tell: Option<u32>) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        state.recv = Side::Done;
        state.send = Side::Done;
        state.end_passed = true;
        state.stalled = false;
        self.drop_backlog(stream);
        self.detach(stream, tell);
    }

    /// Makes the connection of `stream` forget it before its end.
    fn detach(&mut self, stream: Key, tell: Option<u32>) {
        let Some(state) = self.streams.get(stream) else {
            return;
        };
        let (conn, id, server) = (state.conn, state.id, state.server);
        match self.conns.get(conn).map(|conn| &conn.proto) {
            Some(Proto::H1(_)) => {
                // Who sends opaque bytes can only be told by a reset that they did not all pass.
                let told = server && !self.is_raw(conn);
                self.h1_dead(conn);
                self.set_io(conn, if told { Io::Close } else { Io::Abort });
            }
            Some(Proto::H2(_)) => {
                if let (Some(code), Some(out)) = (tell, self.out_of(conn)) {
                    frame::reset(out, id, code);
                }
                self.h2_forget(conn, id, Some(tell.is_some()));
            }
            None => {}
        }
    }

    /// Ends `stream` early, whichever side of an exchange it is, and with it the exchange or the
    /// attempt. `tell` is the code for its own peer, when that does not know yet.
    pub(super) fn fail_stream(&mut self, stream: Key, failure: Failure, tell: Option<u32>) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        if state.closed && state.peer.is_none() {
            return;
        }
        let (server, peer) = (state.server, state.peer);
        if server {
            if state.reported {
                return;
            }
            if state.failure.is_none() {
                state.failure = Some(failure);
                state.failed_here = true;
            }
            self.abort(stream, tell);
            if let Some(peer) = peer {
                self.abort(peer, Some(code::CANCEL));
            }
            self.conclude(stream);
        } else {
            self.fail_client(stream, peer, failure, tell);
        }
    }

    fn fail_client(&mut self, client: Key, peer: Option<Key>, failure: Failure, tell: Option<u32>) {
        let Some(state) = self.streams.get(client) else {
            return;
        };
        if state.closed {
            return;
        }
        if state.recv == Side::Done && !self.is_opaque(client) {
            // The response is complete; only the request cannot be finished.
            self.abandon_request(client, tell);
            return;
        }
        self.abort(client, tell);
        let Some(server) = peer else { return };
        let Some(state) = self.streams.get_mut(server) else {
            return;
        };
        if state.closed {
            self.conclude(server);
            return;
        }
        if state.send == Side::Head {
            state.peer = None;
            state.end_passed = false;
            self.events.push_back(Event::Failed {
                stream: StreamId(server),
                failure,
            });
            if let Some(client) = self.streams.remove(client) {
                self.free(client);
            }
            return;
        }
        state.failure.get_or_insert(failure);
        let reason = match failure {
            Failure::Reset(code) => code,
            Failure::Refused => code::REFUSED_STREAM,
            Failure::Timeout | Failure::Cancelled => code::CANCEL,
            Failure::Closed | Failure::Protocol => code::INTERNAL_ERROR,
        };
        self.abort(server, Some(reason));
        self.conclude(server);
    }

    /// The server answered completely and reads no more: its side is over, while what it has
    /// answered still goes to the client, whose remaining body is dropped.
    fn abandon_request(&mut self, client: Key, tell: Option<u32>) {
        let Some(state) = self.streams.get_mut(client) else {
            return;
        };
        let server = state.peer;
        state.closed = true;
        state.send = Side::Done;
        self.detach(client, tell);
        let Some(server) = server else { return };
        if let Some(state) = self.streams.get_mut(server) {
            state.discard = true;
            let conn = state.conn;
            self.h1_close_after(conn);
            self.drop_backlog(server);
            self.wake(conn);
        }
        self.stop_discarding(server);
        self.conclude(server);
    }

    /// Tells a client whose request was answered early that the rest is not wanted (RFC 9113 §8.1);
    /// on HTTP/1 the rest is read and dropped.
    fn stop_discarding(&mut self, server: Key) {
        let Some(state) = self.streams.get(server) else {
            return;
        };
        let early = state.server && state.discard && !state.closed;
        if early && state.send == Side::Done && state.id != 0 {
            self.abort(server, Some(code::NO_ERROR));
            self.conclude(server);
        }
    }

    /// Drops what `stream` has received and its peer has not been given.
    pub(super) fn drop_backlog(&mut self, stream: Key) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        let backlog = std::mem::take(&mut state.backlog);
        let at = std::mem::take(&mut state.backlog_at);
        state.end_passed = true;
        self.credit(stream, backlog.len() - at);
        self.recycle(backlog);
    }
}

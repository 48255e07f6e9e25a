//! Exchanges: pairing streams, moving what one receives into what the other sends, ending both.

use super::conn::Proto;
use super::h1::read::Asked;
use super::h1::write::{self, Expect, Outgoing, Reader};
use super::h2::frame::{self, code};
use super::head::{Head, HeadEdit, Kind};
use super::slab::Key;
use super::stream::{Side, Stream};
use super::{ConnId, Engine, Event, Failure, Io, Refusal, Role, StreamId, Summary};

impl Engine {
    /// Sends the request of `stream`, changed by `edit`, on the client connection `target`, and
    /// pairs the two: from here on the engine moves bodies, trailers and resets by itself.
    ///
    /// # Errors
    /// [`Refusal`]; the exchange then is as before.
    pub fn forward(
        &mut self,
        stream: StreamId,
        target: ConnId,
        edit: &HeadEdit<'_>,
    ) -> Result<(), Refusal> {
        let server = self.streams.get(stream.0).ok_or(Refusal::Gone)?;
        if server.closed
            || server.peer.is_some()
            || server.send != Side::Head
            || server.consumed
            || server.discard
        {
            return Err(Refusal::Gone);
        }
        if self.capacity(target) == 0 {
            return Err(Refusal::Busy);
        }
        let (expect, http10) = (server.expect, server.http10);
        let source = server.conn;
        let head = self.take_request(stream.0)?;
        let sound = edit.is_sound() && (fits(&head, edit) || self.is_raw(target.0));
        let client = if sound {
            self.open_stream(target.0, &head, edit, expect)
        } else {
            None
        };
        if let Some(server) = self.streams.get_mut(stream.0) {
            server.head = Some(head);
        }
        let client = client.ok_or(Refusal::Unfit)?;
        if let Some(state) = self.streams.get_mut(client) {
            state.peer = Some(stream.0);
            state.http10 = http10;
        }
        if let Some(server) = self.streams.get_mut(stream.0) {
            server.peer = Some(client);
            server.end_passed = expect == Expect::End;
        }
        self.relay(stream.0);
        self.wake(source);
        self.raw_response(client);
        Ok(())
    }

    fn take_request(&mut self, stream: Key) -> Result<Box<Head>, Refusal> {
        let server = self.streams.get_mut(stream).ok_or(Refusal::Gone)?;
        server.head.take().ok_or(Refusal::Gone)
    }

    fn open_stream(
        &mut self,
        target: Key,
        head: &Head,
        edit: &HeadEdit<'_>,
        expect: Expect,
    ) -> Option<Key> {
        match self.conns.get(target)?.proto {
            Proto::H1(_) => self.h1_open(target, head, edit, expect),
            Proto::H2(_) => self.h2_open(target, head, edit, expect),
        }
    }

    /// Sends the response that [`Event::Response`] announced, changed by `edit`, and lets its body
    /// follow.
    ///
    /// # Errors
    /// [`Refusal`]; the exchange then is as before.
    pub fn forward_response(
        &mut self,
        stream: StreamId,
        edit: &HeadEdit<'_>,
    ) -> Result<(), Refusal> {
        let server = self.streams.get(stream.0).ok_or(Refusal::Gone)?;
        let client = server.peer.ok_or(Refusal::Gone)?;
        if server.closed || server.send != Side::Head {
            return Err(Refusal::Gone);
        }
        if !edit.is_sound() {
            return Err(Refusal::Unfit);
        }
        let state = self.streams.get_mut(client).ok_or(Refusal::Gone)?;
        let head = state.head.take().ok_or(Refusal::Gone)?;
        let (expect, source) = (state.expect, state.conn);
        if expect == Expect::End {
            state.end_passed = true;
        }
        self.write_response(stream.0, &head, edit, expect);
        if head.status == 101 {
            self.unbound(stream.0, client);
        } else {
            self.answer_connect(stream.0, client, edit.status.unwrap_or(head.status));
        }
        self.put_head(head);
        self.relay(client);
        self.wake(source);
        Ok(())
    }

    /// Answers `stream` here, with fields given as lower-case names and values. A target that was
    /// working on it is given up; what is left of the request is dropped.
    ///
    /// # Errors
    /// [`Refusal`]; the exchange then is as before.
    pub fn respond(
        &mut self,
        stream: StreamId,
        status: u16,
        fields: &[(&[u8], &[u8])],
        body: &[u8],
    ) -> Result<(), Refusal> {
        let server = self.streams.get(stream.0).ok_or(Refusal::Gone)?;
        if server.closed || server.send != Side::Head {
            return Err(Refusal::Gone);
        }
        let edit = HeadEdit {
            status: Some(status),
            add: fields,
            ..HeadEdit::default()
        };
        if !edit.is_sound() {
            return Err(Refusal::Unfit);
        }
        self.release(stream);
        self.answer(stream.0, status, &edit, body);
        Ok(())
    }

    /// Writes an answer of our own.
    pub(super) fn answer(&mut self, stream: Key, status: u16, edit: &HeadEdit<'_>, body: &[u8]) {
        let Some(server) = self.streams.get_mut(stream) else {
            return;
        };
        let conn = server.conn;
        if self.is_raw(conn) {
            // There is nobody who could read an answer.
            self.fail_stream(stream, Failure::Cancelled, None);
            return;
        }
        let Some(server) = self.streams.get_mut(stream) else {
            return;
        };
        server.discard = true;
        let whole = server.recv == Side::Done;
        let no_body = server.asked.head || status == 204 || status == 304;
        let mut head = self.take_head(Kind::Response);
        head.status = status;
        head.length = Some(body.len() as u64);
        let body = if no_body { b"" } else { body };
        let expect = if body.is_empty() {
            Expect::End
        } else {
            Expect::Length(body.len() as u64)
        };
        if !whole {
            self.h1_close_after(conn);
        }
        self.drop_backlog(stream);
        if expect != Expect::End {
            self.pair_with_bytes(stream, body);
        }
        self.write_response(stream, &head, edit, expect);
        self.put_head(head);
        if let Some(source) = self.streams.get(stream).and_then(|server| server.peer) {
            self.relay(source);
        }
        self.wake(conn);
    }

    /// Gives `stream` a peer that holds `body` and belongs to no connection.
    fn pair_with_bytes(&mut self, stream: Key, body: &[u8]) {
        let mut source = Stream::new(Key::NOWHERE, 0, false);
        source.recv = Side::Done;
        source.send = Side::Done;
        source.closed = true;
        source.peer = Some(stream);
        source.backlog.extend_from_slice(body);
        let source = self.streams.insert(source);
        if let Some(server) = self.streams.get_mut(stream) {
            server.peer = Some(source);
        }
    }

    /// Takes `stream` back from its target, whose work is cancelled, before a response was
    /// forwarded. The request can then be answered, or sent again when [`Engine::can_retry`].
    pub fn release(&mut self, stream: StreamId) {
        let Some(server) = self.streams.get_mut(stream.0) else {
            return;
        };
        if server.send != Side::Head || server.closed {
            return;
        }
        if let Some(client) = server.peer.take() {
            server.end_passed = false;
            self.abort(client, Some(code::CANCEL));
            if let Some(client) = self.streams.remove(client) {
                self.free(client);
            }
        }
    }

    /// Ends `stream` without (the rest of) an answer: RST_STREAM with `code`, or the end of the
    /// HTTP/1 connection.
    pub fn reset(&mut self, stream: StreamId, code: u32) {
        self.fail_stream(stream.0, Failure::Cancelled, Some(code));
    }

    /// Writes a final response head to the connection where the request came in.
    fn write_response(&mut self, stream: Key, head: &Head, edit: &HeadEdit<'_>, expect: Expect) {
        let Some(server) = self.streams.get(stream) else {
            return;
        };
        let (conn, id, asked, http10) = (server.conn, server.id, server.asked, server.http10);
        let Some(state) = self.conns.get(conn) else {
            return;
        };
        let draining = state.draining || state.eof;
        let ended = match &state.proto {
            Proto::H1(h1) => {
                let reader = Reader {
                    http10,
                    keep: h1.keep && !draining,
                    head: asked.head,
                    connect: asked.connect,
                };
                let raw = h1.raw;
                let Some(out) = self.out_of(conn) else { return };
                let (outgoing, keep) = if raw {
                    (Outgoing::Close, false)
                } else {
                    write::response(out, head, edit, expect, reader)
                };
                self.h1_set_outgoing(conn, outgoing, keep);
                outgoing == Outgoing::None || expect == Expect::End
            }
            Proto::H2(_) => {
                self.h2_response(conn, id, head, edit, expect == Expect::End);
                expect == Expect::End
            }
        };
        if let Some(server) = self.streams.get_mut(stream) {
            server.send = Side::Body;
        }
        if ended {
            self.send_done(stream);
        }
    }

    /// Passes an interim response on, when the client can understand it.
    pub(super) fn interim(&mut self, client: Key, head: &Head) {
        let Some(server) = self.streams.get(client).and_then(|client| client.peer) else {
            return;
        };
        let Some(state) = self.streams.get(server) else {
            return;
        };
        if state.send != Side::Head || state.closed || state.http10 {
            return;
        }
        let (conn, id) = (state.conn, state.id);
        let reader = Reader {
            http10: false,
            keep: true,
            head: false,
            connect: false,
        };
        let edit = HeadEdit::default();
        match self.conns.get(conn).map(|conn| &conn.proto) {
            Some(Proto::H1(h1)) if !h1.raw => {
                if let Some(out) = self.out_of(conn) {
                    write::response(out, head, &edit, Expect::End, reader);
                }
            }
            Some(Proto::H2(_)) => self.h2_response(conn, id, head, &edit, false),
            Some(Proto::H1(_)) | None => {}
        }
    }

    /// Tells the driver about a final response head that `client` received.
    pub(super) fn respond_event(&mut self, client: Key) {
        if let Some(server) = self.streams.get(client).and_then(|client| client.peer) {
            self.asked = true;
            self.events.push_back(Event::Response {
                stream: StreamId(server),
            });
        }
    }

    /// Turns both sides of an upgraded exchange into tunnels.
    fn unbound(&mut self, server: Key, client: Key) {
        self.h1_tunnel(server);
        self.h1_tunnel(client);
        for key in [server, client] {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.expect = Expect::Stream;
                stream.recv = Side::Body;
                stream.send = Side::Body;
                stream.end_passed = false;
                stream.closed = false;
            }
        }
        let conns = [server, client].map(|key| self.streams.get(key).map(|stream| stream.conn));
        for conn in conns.into_iter().flatten() {
            self.wake(conn);
        }
    }

    /// Opens, or refuses for good, the tunnel that a CONNECT asked for: until its answer nothing of
    /// what the client sends passes, because a server that refuses would read it as requests.
    fn answer_connect(&mut self, server: Key, client: Key, status: u16) {
        let Some(state) = self.streams.get_mut(server) else {
            return;
        };
        if !state.asked.connect || state.closed {
            return;
        }
        let source = state.conn;
        if (200..300).contains(&status) {
            if let Some(state) = self.streams.get_mut(client) {
                state.send = Side::Body;
            }
            self.relay(server);
            self.wake(source);
            return;
        }
        state.discard = true;
        self.drop_backlog(server);
        self.h1_close_after(source);
        let Some(state) = self.streams.get(client) else {
            return;
        };
        let (conn, id) = (state.conn, state.id);
        match self.conns.get(conn).map(|conn| &conn.proto) {
            Some(Proto::H2(_)) if !state.closed => self.h2_write_end(conn, id, None),
            _ => self.h1_close_after(conn),
        }
        self.send_done(client);
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
                stream.consumed = true;
            }
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
        let (conn, id) = (stream.conn, stream.id);
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
            stream.consumed |= moved > 0;
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

    /// `stream` has sent everything.
    pub(super) fn send_done(&mut self, stream: Key) {
        if let Some(state) = self.streams.get_mut(stream) {
            state.send = Side::Done;
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
        let summary = Summary {
            request_bytes: state.received,
            response_bytes: state.sent,
            failure: state.failure,
        };
        if let Some(state) = self.streams.get_mut(server) {
            state.reported = true;
        }
        self.events.push_back(Event::Finished {
            stream: StreamId(server),
            summary,
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
                self.h1_dead(conn);
                self.set_io(conn, if server { Io::Close } else { Io::Abort });
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
            state.failure.get_or_insert(failure);
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
        if state.recv == Side::Done {
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

    /// A new server stream with a request head, told to the driver.
    pub(super) fn request_event(&mut self, conn: Key, mut stream: Stream, head: Box<Head>) -> Key {
        stream.asked = Asked {
            head: head.is_method(b"HEAD"),
            connect: head.is_method(b"CONNECT"),
            upgrade: head.upgrade.is_some(),
        };
        stream.head = Some(head);
        let key = self.streams.insert(stream);
        self.asked = true;
        self.events.push_back(Event::Request {
            conn: ConnId(conn),
            stream: StreamId(key),
        });
        key
    }

    pub(super) fn role(&self, conn: Key) -> Role {
        self.conns.get(conn).map_or(Role::Server, |conn| conn.role)
    }
}

/// True when the request can be written to any target: it has an authority, and a path unless it is
/// a CONNECT.
fn fits(head: &Head, edit: &HeadEdit<'_>) -> bool {
    let authority = edit.authority.unwrap_or_else(|| head.authority());
    let path = edit.path.unwrap_or_else(|| head.path());
    if head.is_method(b"CONNECT") {
        return !authority.is_empty();
    }
    !path.is_empty()
}

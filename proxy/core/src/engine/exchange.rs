//! Exchanges: pairing the streams of two connections, and what a driver says about them.

use super::conn::Proto;
use super::h1::read::Asked;
use super::h1::write::{self, Expect, Outgoing, Reader};
use super::h2::frame::code;
use super::head::{Head, HeadEdit, Kind};
use super::slab::Key;
use super::stream::{Side, Stream};
use super::{ConnId, Engine, Event, Failure, Refusal, StreamId};

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
            || !server.can_restart()
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
            if let Some(replay) = &mut server.replay {
                replay.at = 0;
            }
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
        if self.is_opaque(client) {
            // It says nothing that anybody asks for later, and the connection may idle for days.
            let request = self.streams.get_mut(stream.0).and_then(|s| s.head.take());
            if let Some(head) = request {
                self.put_head(head);
            }
        }
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

    /// Ends a response that is under way here, with these trailers where the protocol has some; what
    /// the target still sends is not wanted.
    pub fn finish(&mut self, stream: StreamId, fields: &[(&[u8], &[u8])]) {
        let Some(server) = self.streams.get_mut(stream.0) else {
            return;
        };
        if server.closed || server.send != Side::Body {
            return;
        }
        server.discard = true;
        let (conn, id, peer) = (server.conn, server.id, server.peer);
        if let Some(client) = peer {
            self.abort(client, Some(code::CANCEL));
        }
        self.drop_backlog(stream.0);
        let mut head = self.take_head(Kind::Trailers);
        for (name, value) in fields {
            head.add(name, value);
        }
        let whole = match self.conns.get(conn).map(|conn| &conn.proto) {
            Some(Proto::H1(_)) => self.h1_write_end(conn, Some(&head)),
            Some(Proto::H2(_)) => {
                self.h2_write_end(conn, id, Some(&head));
                true
            }
            None => true,
        };
        self.put_head(head);
        if whole {
            self.send_done(stream.0);
        } else {
            self.fail_stream(stream.0, Failure::Cancelled, Some(code::CANCEL));
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

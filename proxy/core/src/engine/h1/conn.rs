//! The state machine of an HTTP/1 connection, either end, and of an opaque one.

use super::super::conn::{Deadline, Proto};
use super::super::head::{Head, HeadEdit, Kind};
use super::super::slab::Key;
use super::super::stream::{Side, Stream};
use super::super::{ConnId, Engine, Event, Failure, Io, Role, Step, StreamId};
use super::body::Chunk;
use super::read::{self, Asked, Framing, Message, Refused};
use super::write::{self, Expect, Outgoing};

/// What the next octets from the transport are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Rx {
    /// A head.
    Head,
    /// Body; octets left, never 0.
    Length(u64),
    /// Body in chunks.
    Chunked(Chunk),
    /// Body up to the end of the transport.
    Close,
    /// Nothing that matters.
    Dead,
}

/// State of an HTTP/1 connection: one message pair at a time.
#[derive(Debug)]
pub(in crate::engine) struct H1 {
    cur: Option<Key>,
    rx: Rx,
    tx: Outgoing,
    /// Another message may follow the present one.
    pub(in crate::engine) keep: bool,
    /// Opaque bytes: heads are neither read nor written.
    pub(in crate::engine) raw: bool,
    dropped: u64,
}

impl H1 {
    pub(in crate::engine) fn new(raw: bool) -> Self {
        Self {
            cur: None,
            rx: if raw { Rx::Close } else { Rx::Head },
            tx: Outgoing::Idle,
            keep: !raw,
            raw,
            dropped: 0,
        }
    }

    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.cur.is_none() && self.rx != Rx::Dead
    }

    pub(in crate::engine) fn current(&self) -> Option<Key> {
        self.cur
    }
}

/// Interim responses that one request may have.
const MAX_INTERIM: u32 = 64;

impl Engine {
    fn h1(&mut self, key: Key) -> Option<&mut H1> {
        match &mut self.conns.get_mut(key)?.proto {
            Proto::H1(h1) => Some(h1),
            Proto::H2(_) => None,
        }
    }

    pub(in crate::engine) fn is_raw(&self, key: Key) -> bool {
        matches!(self.conns.get(key).map(|conn| &conn.proto), Some(Proto::H1(h1)) if h1.raw)
    }

    /// True when `stream` is half of an exchange that carries an opaque connection.
    pub(in crate::engine) fn is_opaque(&self, stream: Key) -> bool {
        let Some(state) = self.streams.get(stream) else {
            return false;
        };
        let peer = state.peer.and_then(|peer| self.streams.get(peer));
        self.is_raw(state.conn) || peer.is_some_and(|peer| self.is_raw(peer.conn))
    }

    pub(in crate::engine) fn h1_step(&mut self, key: Key, input: &[u8]) -> Step {
        let Some(h1) = self.h1(key) else {
            return Step::Used(input.len());
        };
        match (h1.rx, h1.cur) {
            (Rx::Dead, _) => Step::Used(input.len()),
            (Rx::Head, cur) => self.h1_head(key, cur, input),
            (_, None) => {
                // A body without a message cannot be: the connection makes no sense any more.
                self.h1_dead(key);
                self.set_io(key, Io::Abort);
                Step::Used(input.len())
            }
            (Rx::Length(left), Some(stream)) => self.h1_length(key, stream, left, input),
            (Rx::Close, Some(stream)) => match self.h1_body(key, stream, input, false) {
                0 => Step::Park(0),
                count => Step::Used(count),
            },
            (Rx::Chunked(chunk), Some(stream)) => self.h1_chunk(key, stream, chunk, input),
        }
    }

    fn h1_head(&mut self, key: Key, cur: Option<Key>, input: &[u8]) -> Step {
        match (self.role(key), cur) {
            (Role::Server, Some(_)) => Step::Park(0),
            (Role::Server, None) => self.h1_request(key, input),
            (Role::Client, Some(stream)) => self.h1_response(key, stream, input),
            (Role::Client, None) => {
                // A response that nobody asked for could be taken for the next request's.
                self.h1_dead(key);
                self.set_io(key, Io::Abort);
                Step::Used(input.len())
            }
        }
    }

    /// False while a head that was incomplete before still is, without reading it again.
    fn h1_may_parse(&mut self, key: Key, input: &[u8]) -> bool {
        let Some(conn) = self.conns.get_mut(key) else {
            return false;
        };
        if conn.scanned == 0 {
            return true;
        }
        let from = conn.scanned.min(input.len()).saturating_sub(3);
        let news = &input[from..];
        conn.scanned = input.len();
        // Ends in CR LF CR LF, or in what will be refused for its bare LF.
        news.windows(3).any(|three| three == b"\n\r\n") || news.windows(2).any(|two| two == b"\n\n")
    }

    fn h1_incomplete(&mut self, key: Key, input: &[u8]) -> Result<Step, Refused> {
        if input.len() > self.limits.head_bytes {
            return Err(Refused(431));
        }
        if let Some(conn) = self.conns.get_mut(key) {
            conn.scanned = input.len().max(1);
        }
        let timeout = self.limits.head_timeout;
        let running = self
            .conns
            .get(key)
            .is_some_and(|conn| conn.deadlines[Deadline::Head as usize].is_some());
        if self.role(key) == Role::Server && !running {
            self.set_deadline(key, Deadline::Head, Some(timeout));
        }
        Ok(Step::Need(0))
    }

    fn h1_request(&mut self, key: Key, input: &[u8]) -> Step {
        let mut head = self.take_head(Kind::Request);
        let parsed = if self.h1_may_parse(key, input) {
            read::request(input, &mut head)
        } else {
            Ok(None)
        };
        let refused = match parsed {
            Ok(Some(message)) => return self.h1_start(key, head, message),
            Ok(None) => {
                self.put_head(head);
                match self.h1_incomplete(key, input) {
                    Ok(step) => return step,
                    Err(refused) => refused,
                }
            }
            Err(refused) => {
                self.put_head(head);
                refused
            }
        };
        self.h1_refuse(key, refused.0);
        Step::Used(input.len())
    }

    fn h1_start(&mut self, key: Key, head: Box<Head>, message: Message) -> Step {
        let mut stream = Stream::new(key, 0, true);
        stream.http10 = message.http10;
        let rx = incoming(message.framing);
        (stream.expect, stream.recv) = expectation(message.framing);
        let stream = self.request_event(key, stream, head);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.scanned = 0;
            conn.deadlines[Deadline::Head as usize] = None;
            conn.deadlines[Deadline::Idle as usize] = None;
        }
        if let Some(h1) = self.h1(key) {
            h1.cur = Some(stream);
            h1.rx = rx;
            h1.tx = Outgoing::Idle;
            h1.keep = message.keep;
            h1.dropped = 0;
        }
        Step::Event(message.size)
    }

    fn h1_response(&mut self, key: Key, stream: Key, input: &[u8]) -> Step {
        let asked = self
            .streams
            .get(stream)
            .map_or(Asked::default(), |stream| stream.asked);
        let mut head = self.take_head(Kind::Response);
        let parsed = if self.h1_may_parse(key, input) {
            read::response(input, asked, &mut head)
        } else {
            Ok(None)
        };
        let message = match parsed {
            Ok(Some(message)) => message,
            Ok(None) => {
                self.put_head(head);
                return match self.h1_incomplete(key, input) {
                    Ok(step) => step,
                    Err(_) => self.h1_broken(stream, input),
                };
            }
            Err(_) => {
                self.put_head(head);
                return self.h1_broken(stream, input);
            }
        };
        if let Some(conn) = self.conns.get_mut(key) {
            conn.scanned = 0;
        }
        let status = head.status;
        if status < 200 && status != 101 {
            self.interim(stream, &head);
            self.put_head(head);
            let count = self.streams.get_mut(stream).map_or(0, |stream| {
                stream.interim += 1;
                stream.interim
            });
            if count > MAX_INTERIM {
                return self.h1_broken(stream, input);
            }
            return Step::Used(message.size);
        }
        self.h1_answered(key, stream, head, message)
    }

    fn h1_answered(&mut self, key: Key, stream: Key, head: Box<Head>, message: Message) -> Step {
        if let Some(h1) = self.h1(key) {
            h1.rx = incoming(message.framing);
            h1.keep &= message.keep;
        }
        let (expect, recv) = expectation(message.framing);
        if let Some(state) = self.streams.get_mut(stream) {
            state.head = Some(head);
            state.expect = expect;
            state.recv = Side::Body;
        }
        self.respond_event(stream);
        if recv == Side::Done {
            self.recv_done(stream);
        }
        Step::Event(message.size)
    }

    /// The peer's bytes cannot be understood any more.
    fn h1_broken(&mut self, stream: Key, input: &[u8]) -> Step {
        let Some(state) = self.streams.get(stream) else {
            return Step::Used(input.len());
        };
        let (conn, server, unanswered) = (state.conn, state.server, state.send == Side::Head);
        if server && unanswered {
            self.h1_write_refusal(conn, 400);
        }
        self.fail_stream(stream, Failure::Protocol, None);
        Step::Used(input.len())
    }

    /// Answers what cannot be understood as a request, and closes.
    fn h1_refuse(&mut self, key: Key, status: u16) {
        self.h1_write_refusal(key, status);
        self.h1_dead(key);
        self.set_io(key, Io::Close);
    }

    fn h1_write_refusal(&mut self, key: Key, status: u16) {
        if let Some(out) = self.out_of(key) {
            write::status_line(out, status);
            out.extend_from_slice(b"content-length: 0\r\nconnection: close\r\n\r\n");
        }
    }

    /// A head took too long, or the rest of a request that was answered.
    pub(in crate::engine) fn h1_late(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        let partial = conn.stashed() > 0;
        match self.h1(key).and_then(|h1| h1.cur) {
            Some(stream) => self.fail_stream(stream, Failure::Timeout, None),
            None if partial => self.h1_refuse(key, 408),
            None => self.set_io(key, Io::Close),
        }
    }

    /// Hands body on; returns how much was taken.
    fn h1_body(&mut self, key: Key, stream: Key, data: &[u8], end: bool) -> usize {
        if data.is_empty() {
            return 0;
        }
        let count = self.pass(stream, data, end);
        self.arrived(stream, count);
        let Some(state) = self.streams.get_mut(stream) else {
            return count;
        };
        state.received += count as u64;
        if state.discard {
            let limit = self.limits.discard;
            let over = self.h1(key).is_some_and(|h1| {
                h1.dropped += count as u64;
                h1.dropped > limit
            });
            if over {
                self.h1_stop(key, stream);
            }
        }
        count
    }

    /// Gives up on dropping the rest of a request that was answered.
    fn h1_stop(&mut self, key: Key, stream: Key) {
        if let Some(h1) = self.h1(key) {
            h1.rx = Rx::Dead;
            h1.keep = false;
        }
        self.recv_done(stream);
    }

    fn h1_length(&mut self, key: Key, stream: Key, left: u64, input: &[u8]) -> Step {
        let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let end = take as u64 == left;
        let count = self.h1_body(key, stream, &input[..take], end);
        let Some(h1) = self.h1(key) else {
            return Step::Used(input.len());
        };
        if h1.rx != Rx::Length(left) {
            return Step::Used(count.max(1).min(input.len()));
        }
        let left = left - count as u64;
        if left > 0 {
            h1.rx = Rx::Length(left);
            if count < take {
                return Step::Park(count);
            }
            return Step::Used(count);
        }
        h1.rx = Rx::Head;
        self.recv_done(stream);
        Step::Used(count)
    }

    fn h1_chunk(&mut self, key: Key, stream: Key, mut chunk: Chunk, input: &[u8]) -> Step {
        match chunk {
            Chunk::Data(left) => {
                let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let count = self.h1_body(key, stream, &input[..take], false);
                let next = match left - count as u64 {
                    0 => Chunk::DataCr,
                    left => Chunk::Data(left),
                };
                self.h1_set_chunk(key, next);
                if count < take {
                    return Step::Park(count);
                }
                Step::Used(count)
            }
            Chunk::Trailers => self.h1_trailers(key, stream, input),
            Chunk::Size { .. }
            | Chunk::Extension { .. }
            | Chunk::SizeEnd(_)
            | Chunk::DataCr
            | Chunk::DataLf => match chunk.advance(input, self.limits.chunk_line) {
                Ok(count) => {
                    self.h1_set_chunk(key, chunk);
                    Step::Used(count)
                }
                Err(_) => self.h1_broken(stream, input),
            },
        }
    }

    fn h1_set_chunk(&mut self, key: Key, chunk: Chunk) {
        if let Some(h1) = self.h1(key) {
            if matches!(h1.rx, Rx::Chunked(_)) {
                h1.rx = Rx::Chunked(chunk);
            }
        }
    }

    fn h1_trailers(&mut self, key: Key, stream: Key, input: &[u8]) -> Step {
        if input.starts_with(b"\r\n") {
            return self.h1_chunks_over(key, stream, 2);
        }
        let ready = input.len() > 1 && self.h1_may_parse(key, input);
        let mut head = self.take_head(Kind::Trailers);
        let parsed = if ready {
            read::trailers(input, &mut head)
        } else {
            Ok(None)
        };
        match parsed {
            Ok(Some(size)) => {
                self.keep_trailers(stream, head);
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.scanned = 0;
                }
                self.h1_chunks_over(key, stream, size)
            }
            Ok(None) => {
                self.put_head(head);
                if input.len() > self.limits.head_bytes {
                    return self.h1_broken(stream, input);
                }
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.scanned = if ready { input.len() } else { conn.scanned };
                }
                Step::Need(0)
            }
            Err(_) => {
                self.put_head(head);
                self.h1_broken(stream, input)
            }
        }
    }

    /// Stores trailers with the stream that received them and tells the driver about a response's.
    pub(in crate::engine) fn keep_trailers(&mut self, stream: Key, head: Box<Head>) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        state.trailers = Some(head);
        let server = state.peer.filter(|_| !state.server);
        if let Some(server) = server {
            self.events.push_back(Event::Trailers {
                stream: StreamId(server),
            });
        }
    }

    fn h1_chunks_over(&mut self, key: Key, stream: Key, size: usize) -> Step {
        if let Some(h1) = self.h1(key) {
            h1.rx = Rx::Head;
        }
        self.recv_done(stream);
        self.relay(stream);
        Step::Used(size)
    }

    /// The transport has ended and everything before its end has been read.
    pub(in crate::engine) fn h1_end(&mut self, key: Key) {
        let server = self.role(key) == Role::Server;
        let Some(h1) = self.h1(key) else { return };
        match (h1.rx, h1.cur) {
            (Rx::Head, Some(_)) if server => {
                // The client has said all it wants to; its answer is under way.
            }
            (Rx::Close, Some(stream)) => {
                h1.rx = Rx::Dead;
                self.recv_done(stream);
                self.relay(stream);
            }
            (Rx::Head | Rx::Length(_) | Rx::Chunked(_), Some(stream)) => {
                self.fail_stream(stream, Failure::Closed, None);
            }
            (Rx::Dead, Some(_)) => {}
            (_, None) => self.set_io(key, Io::Close),
        }
    }

    /// Both messages of a pair are over: the connection takes the next one, or ends.
    pub(in crate::engine) fn h1_message_over(&mut self, key: Key) {
        let idle = self.limits.idle_timeout;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Proto::H1(h1) = &mut conn.proto else {
            return;
        };
        h1.cur = None;
        h1.tx = Outgoing::Idle;
        let over = !h1.keep || conn.draining || (conn.eof && conn.stash.len() == conn.stash_at);
        if over {
            h1.rx = Rx::Dead;
            self.set_io(key, Io::Close);
            return;
        }
        conn.deadlines[Deadline::Head as usize] = None;
        if conn.role == Role::Server {
            if !idle.is_zero() {
                self.set_deadline(key, Deadline::Idle, Some(idle));
            }
            self.wake(key);
        } else {
            h1.rx = Rx::Head;
            self.events.push_back(Event::Ready { conn: ConnId(key) });
        }
    }

    /// Nothing that still arrives matters.
    pub(in crate::engine) fn h1_dead(&mut self, key: Key) {
        if let Some(h1) = self.h1(key) {
            h1.rx = Rx::Dead;
            h1.cur = None;
            h1.keep = false;
        }
    }

    /// Ends the connection after the present message, and soon.
    pub(in crate::engine) fn h1_close_after(&mut self, key: Key) {
        let after = self.limits.head_timeout;
        if let Some(h1) = self.h1(key) {
            h1.keep = false;
            self.set_deadline(key, Deadline::Head, Some(after));
        }
    }

    pub(in crate::engine) fn h1_set_outgoing(&mut self, key: Key, outgoing: Outgoing, keep: bool) {
        if let Some(h1) = self.h1(key) {
            h1.tx = outgoing;
            h1.keep &= keep;
        }
    }

    /// The connection of `stream` carries opaque bytes from now on.
    pub(in crate::engine) fn h1_tunnel(&mut self, stream: Key) {
        let Some(key) = self.streams.get(stream).map(|stream| stream.conn) else {
            return;
        };
        if let Some(h1) = self.h1(key) {
            h1.rx = Rx::Close;
            h1.tx = Outgoing::Close;
            h1.keep = false;
        }
    }

    /// Writes body; false when it is more than was announced.
    pub(in crate::engine) fn h1_write_data(&mut self, key: Key, data: &[u8], last: bool) -> bool {
        let Some(h1) = self.h1(key) else { return true };
        let outgoing = h1.tx;
        let Some(out) = self.out_of(key) else {
            return true;
        };
        match outgoing {
            Outgoing::Length(left) => {
                let Some(left) = left.checked_sub(data.len() as u64) else {
                    return false;
                };
                if last && left > 0 {
                    return false;
                }
                out.extend_from_slice(data);
                if let Some(h1) = self.h1(key) {
                    h1.tx = Outgoing::Length(left);
                }
            }
            Outgoing::Chunked => {
                if !data.is_empty() {
                    write::chunk(out, data);
                }
                if last {
                    write::last_chunk(out, None);
                }
            }
            Outgoing::Close => {
                out.extend_from_slice(data);
                if last {
                    self.set_io(key, Io::Shutdown);
                }
            }
            Outgoing::None | Outgoing::Idle => return data.is_empty(),
        }
        true
    }

    /// Ends the message being written; false when less than was announced was written.
    pub(in crate::engine) fn h1_write_end(&mut self, key: Key, trailers: Option<&Head>) -> bool {
        let Some(h1) = self.h1(key) else { return true };
        match h1.tx {
            Outgoing::Length(left) => left == 0,
            Outgoing::Chunked => {
                if let Some(out) = self.out_of(key) {
                    write::last_chunk(out, trailers);
                }
                true
            }
            Outgoing::Close => {
                self.set_io(key, Io::Shutdown);
                true
            }
            Outgoing::None | Outgoing::Idle => true,
        }
    }

    /// Writes a request on a client connection that is idle.
    pub(in crate::engine) fn h1_open(
        &mut self,
        key: Key,
        head: &Head,
        edit: &HeadEdit<'_>,
        expect: Expect,
    ) -> Option<Key> {
        let raw = self.is_raw(key);
        let now = self.now;
        let asked = Asked {
            head: head.is_method(b"HEAD"),
            connect: head.is_method(b"CONNECT"),
            upgrade: head.upgrade.is_some(),
        };
        if raw && !asked.connect {
            return None;
        }
        let out = self.out_of(key)?;
        let outgoing = if raw {
            Outgoing::Close
        } else {
            write::request(out, head, edit, expect)
        };
        let mut stream = Stream::new(key, 0, false);
        stream.asked = asked;
        stream.moved_at = now;
        stream.flushed_at = (expect == Expect::End && !asked.connect).then_some(now);
        stream.send = match expect {
            _ if asked.connect => Side::Head,
            Expect::End => Side::Done,
            Expect::Length(_) | Expect::Stream => Side::Body,
        };
        let stream = self.streams.insert(stream);
        let h1 = self.h1(key)?;
        h1.cur = Some(stream);
        h1.tx = outgoing;
        h1.keep = !raw;
        Some(stream)
    }

    /// The exchange that an opaque connection from a client is.
    pub(in crate::engine) fn raw_request(&mut self, key: Key) {
        let mut head = self.take_head(Kind::Request);
        head.method = Some(head.append(b"CONNECT"));
        let mut stream = Stream::new(key, 0, true);
        stream.expect = Expect::Stream;
        stream.recv = Side::Body;
        let stream = self.request_event(key, stream, head);
        if let Some(h1) = self.h1(key) {
            h1.cur = Some(stream);
        }
    }

    /// The answer that an opaque connection to a server gives by being there.
    pub(in crate::engine) fn raw_response(&mut self, stream: Key) {
        let Some(key) = self.streams.get(stream).map(|stream| stream.conn) else {
            return;
        };
        if !self.is_raw(key) {
            return;
        }
        let mut head = self.take_head(Kind::Response);
        head.status = 200;
        if let Some(state) = self.streams.get_mut(stream) {
            state.head = Some(head);
            state.expect = Expect::Stream;
            state.recv = Side::Body;
        }
        self.respond_event(stream);
    }
}

fn incoming(framing: Framing) -> Rx {
    match framing {
        Framing::None => Rx::Head,
        Framing::Length(length) => Rx::Length(length),
        Framing::Chunked => Rx::Chunked(Chunk::START),
        Framing::Close => Rx::Close,
    }
}

fn expectation(framing: Framing) -> (Expect, Side) {
    match framing {
        Framing::None => (Expect::End, Side::Done),
        Framing::Length(length) => (Expect::Length(length), Side::Body),
        Framing::Chunked | Framing::Close => (Expect::Stream, Side::Body),
    }
}

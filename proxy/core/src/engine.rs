//! HTTP/1.1 and HTTP/2 as state machines over byte slices: the proxy's data path without its edges.
//!
//! An [`Engine`] belongs to one worker thread and owns that thread's connections and streams. It has
//! no socket, clock, task or TLS: a driver hands in bytes and the time and takes out bytes, events
//! and the next deadline, in the manner of quinn-proto and h11.
//!
//! ```text
//!  transport ─ recv(conn, bytes) ─▶ parse ─▶ Event::Request ─▶ driver ─ forward(stream, target) ─┐
//!                                     │                                                          ▼
//!                                     └── body, trailers, resets: paired streams ──▶ target's out buffer
//!  transport ◀─ out(conn), sent(conn, n) ◀── poll_dirty(), once per turn ◀──────────────────────┘
//! ```
//!
//! **States.** A message exchange is two streams: one on the connection where the request came in
//! (its [`StreamId`] names the exchange) and one on the target's connection, made by
//! [`Engine::forward`]. Each has a receiving and a sending side that go head → body → done. The two
//! are paired, and what one receives the other sends, whatever the two protocols are, without the
//! driver. The driver is asked twice: [`Event::Request`] (answer: [`Engine::forward`],
//! [`Engine::respond`] or [`Engine::reset`], at once or later) and [`Event::Response`] (answer:
//! [`Engine::forward_response`], [`Engine::respond`], or [`Engine::release`] and another try).
//! Interim responses pass by themselves; an upgrade or CONNECT makes both connections tunnels,
//! which are streams whose body has no end. [`Event::Finished`] ends every exchange exactly once.
//!
//! **Buffers and who owns them.** A connection owns `out`, the bytes for its transport, and `stash`,
//! bytes of its transport that cannot be taken yet. A stream owns `backlog`, body bytes that it
//! received and that its peer cannot send yet. All three hold memory only while bytes wait. Heads
//! are parsed from the caller's bytes (or the stash) into a pooled [`Head`] and from there written
//! into the target's `out`; body bytes are copied once, from the caller's bytes into that `out`.
//!
//! **Backpressure.** A connection's `out` takes body up to `out_high`. Beyond that, or beyond an
//! HTTP/2 window of the target, an HTTP/1 source is no longer parsed (its stash fills to `pipeline`
//! and [`Engine::wants_read`] turns false), and an HTTP/2 source's bytes go to its backlog, which
//! its stream window bounds, because a window is given back only when bytes have left for the
//! target. [`Engine::sent`] and WINDOW_UPDATE start the other way round: they move backlogs, in
//! turn, and wake stashes. Control frames are bounded by not reading a peer that lets `out` grow
//! to `out_max`, and by the scores in [`Limits`].
//!
//! **Batching.** Nothing is written eagerly. Whatever a turn of the driver's loop brings is
//! collected in the out buffers, each of which is flushed once: [`Engine::poll_dirty`] names them.
//!
//! # Source
//! RFC 9110, 9112, 9113, 7541. Limits: see [`Limits`].

mod conn;
mod copy;
mod ending;
mod event;
mod exchange;
mod h1;
mod h2;
mod head;
mod hpack;
mod limits;
mod names;
mod pool;
mod relay;
mod slab;
mod stream;
mod timer;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use conn::{Conn, Deadline, Proto};
pub use event::{ConnId, Event, Failure, Io, Passed, Protocol, Refusal, Role, StreamId, Summary};
use h1::conn::H1;
use h1::write::Expect;
use h2::H2;
pub use head::{Head, HeadEdit};
pub use limits::{Http2, Limits};
use pool::Pool;
use slab::{Key, Slab};
pub use stream::Frames;
use stream::{Replay, Side, Stream};

pub use h2::frame::{code, DATA_PAYLOAD};

/// Most pooled heads; what is beyond is freed.
const POOL: usize = 64;
/// Largest head that goes back to the pool.
const POOLED_HEAD: usize = 16 * 1024;

/// All connections and streams of one worker thread.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    start: Instant,
    /// Time of the latest call, as the driver gave it and since `start`.
    latest: Instant,
    now: Duration,
    conns: Slab<Conn>,
    streams: Slab<Stream>,
    events: VecDeque<Event>,
    dirty: VecDeque<Key>,
    resume: VecDeque<Key>,
    /// The step in progress has asked the driver something.
    asked: bool,
    /// The exchange whose `Finished` was polled last.
    reap: Option<Key>,
    timers: BinaryHeap<Reverse<(Duration, Key)>>,
    // Boxed as they are in streams, which are moved often.
    #[expect(clippy::vec_box)]
    heads: Vec<Box<Head>>,
    buffers: Pool,
}

/// What a step of a connection's parser did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Took octets; there may be more to do.
    Used(usize),
    /// Took octets and told the driver something: its answer comes first.
    Event(usize),
    /// Took octets; the rest waits until someone wakes the connection.
    Park(usize),
    /// The unit is incomplete: it needs so many octets in all, or an unknown number (0).
    Need(usize),
}

impl Engine {
    /// An engine without connections. `now` may be any instant; later ones must not be earlier.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            start: now,
            latest: now,
            now: Duration::ZERO,
            conns: Slab::new(),
            streams: Slab::new(),
            events: VecDeque::new(),
            dirty: VecDeque::new(),
            resume: VecDeque::new(),
            asked: false,
            reap: None,
            timers: BinaryHeap::new(),
            heads: Vec::new(),
            buffers: Pool::default(),
        }
    }

    /// Adds a connection whose transport is ready. A [`Protocol::Raw`] connection from a client is an
    /// exchange at once: its [`Event::Request`] has the method CONNECT and no authority.
    pub fn open(&mut self, role: Role, protocol: Protocol, now: Instant) -> ConnId {
        let http2 = Http2::of(&self.limits);
        self.open_with(role, protocol, http2, now)
    }

    /// The same, with an offer of its own if it speaks HTTP/2.
    pub fn open_with(
        &mut self,
        role: Role,
        protocol: Protocol,
        http2: Http2,
        now: Instant,
    ) -> ConnId {
        self.tick(now);
        let proto = match protocol {
            Protocol::H1 => Proto::H1(H1::new(false)),
            Protocol::Raw => Proto::H1(H1::new(true)),
            Protocol::H2 => {
                let table = self.limits.header_table;
                Proto::H2(Box::new(H2::new(http2.sound(), table)))
            }
        };
        let key = self.conns.insert(Conn::new(role, proto));
        match protocol {
            Protocol::H2 => {
                self.h2_greet(key);
                self.set_deadline(key, Deadline::Head, Some(self.limits.head_timeout));
            }
            Protocol::H1 if role == Role::Server && !self.limits.idle_timeout.is_zero() => {
                self.set_deadline(key, Deadline::Idle, Some(self.limits.idle_timeout));
            }
            Protocol::Raw if role == Role::Server => self.raw_request(key),
            Protocol::H1 | Protocol::Raw => {}
        }
        ConnId(key)
    }

    /// Takes `input` from the transport of `conn`. All of it is taken; stop reading when
    /// [`Engine::wants_read`] says so.
    pub fn recv(&mut self, conn: ConnId, input: &[u8], now: Instant) {
        self.tick(now);
        self.receive(conn.0, input);
    }

    /// The transport of `conn` will bring no more bytes.
    pub fn recv_end(&mut self, conn: ConnId, now: Instant) {
        self.tick(now);
        if let Some(conn) = self.conns.get_mut(conn.0) {
            conn.eof = true;
        }
        self.end_of_input(conn.0);
    }

    /// True while the driver should read from `conn`.
    pub fn wants_read(&self, conn: ConnId) -> bool {
        self.conns.get(conn.0).is_some_and(|conn| {
            !conn.eof
                && conn.is_open()
                && (!conn.parked || conn.stashed() < self.limits.pipeline)
                && conn.pending_out() < self.limits.out_max
        })
    }

    /// True when `conn` carries opaque bytes.
    pub fn is_opaque_connection(&self, conn: ConnId) -> bool {
        self.is_raw(conn.0)
    }

    /// What the driver shall do with the transport of `conn`.
    pub fn io(&self, conn: ConnId) -> Io {
        self.conns.get(conn.0).map_or(Io::Abort, |conn| conn.io)
    }

    /// The next connection with bytes to write or a change of [`Engine::io`]; each is named once
    /// until more happens to it; also one whose [`Engine::wants_read`] may have turned true. Flush
    /// once per turn.
    pub fn poll_dirty(&mut self) -> Option<ConnId> {
        while let Some(key) = self.dirty.pop_front() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.dirty = false;
                return Some(ConnId(key));
            }
        }
        None
    }

    /// True when [`Engine::poll_dirty`] may have something.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The bytes that wait for the transport of `conn`.
    pub fn out(&self, conn: ConnId) -> &[u8] {
        self.conns
            .get(conn.0)
            .map_or(&[], |conn| &conn.out[conn.out_at..])
    }

    /// The transport of `conn` has taken the first `count` bytes of [`Engine::out`].
    pub fn sent(&mut self, conn: ConnId, count: usize, now: Instant) {
        self.tick(now);
        let high = self.limits.out_high;
        let Some(state) = self.conns.get_mut(conn.0) else {
            return;
        };
        let before = state.pending_out();
        let count = count.min(before);
        state.out_at += count;
        state.drained += count as u64;
        let left = before - count;
        if left == 0 {
            let buffer = std::mem::take(&mut state.out);
            state.out_at = 0;
            self.recycle(buffer);
        } else if state.out_at > high {
            state.out.drain(..state.out_at);
            state.out_at = 0;
        }
        if left <= high / 2 {
            self.pump(conn.0);
        }
    }

    /// Ends `conn`, whose transport is gone: its exchanges fail and its id is stale.
    pub fn close(&mut self, conn: ConnId, now: Instant) {
        self.tick(now);
        self.fail_connection(conn.0, Failure::Closed);
        if let Some(state) = self.conns.remove(conn.0) {
            self.recycle(state.out);
            self.recycle(state.stash);
        }
    }

    /// Takes no new requests on `conn` and closes it when the present ones are over.
    pub fn drain(&mut self, conn: ConnId, now: Instant) {
        self.tick(now);
        let Some(state) = self.conns.get_mut(conn.0) else {
            return;
        };
        if std::mem::replace(&mut state.draining, true) {
            return;
        }
        match &state.proto {
            Proto::H1(h1) => {
                if h1.is_idle() {
                    self.set_io(conn.0, Io::Close);
                }
            }
            Proto::H2(_) => self.h2_drain(conn.0),
        }
    }

    /// Changes the limits of what begins from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Number of streams held, two for an exchange with a target.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many more requests the client connection `conn` takes now.
    pub fn capacity(&self, conn: ConnId) -> usize {
        let Some(state) = self.conns.get(conn.0) else {
            return 0;
        };
        if state.role != Role::Client || state.io != Io::Open || state.draining || state.eof {
            return 0;
        }
        match &state.proto {
            Proto::H1(h1) => usize::from(h1.is_idle()),
            Proto::H2(h2) => h2.capacity(),
        }
    }

    /// Number of exchanges in progress on `conn`.
    pub fn active(&self, conn: ConnId) -> usize {
        self.conns.get(conn.0).map_or(0, |conn| match &conn.proto {
            Proto::H1(h1) => usize::from(!h1.is_idle()),
            Proto::H2(h2) => h2.ids.len(),
        })
    }

    /// The request's head, from its event until the exchange is over.
    pub fn request(&self, stream: StreamId) -> Option<&Head> {
        self.streams.get(stream.0)?.head.as_deref()
    }

    /// True when the client speaks HTTP/1.0.
    pub fn is_http10(&self, stream: StreamId) -> bool {
        let stream = self.streams.get(stream.0);
        stream.is_some_and(|stream| stream.http10)
    }

    /// The response's head, from its event until it is answered.
    pub fn response(&self, stream: StreamId) -> Option<&Head> {
        let peer = self.streams.get(stream.0)?.peer?;
        self.streams.get(peer)?.head.as_deref()
    }

    /// The response's trailers, from their event until the exchange is over.
    pub fn trailers(&self, stream: StreamId) -> Option<&Head> {
        let peer = self.streams.get(stream.0)?.peer?;
        self.streams.get(peer)?.trailers.as_deref()
    }

    /// True when the request can be sent to another target: nothing of its body has left.
    pub fn can_retry(&self, stream: StreamId) -> bool {
        self.streams.get(stream.0).is_some_and(|stream| {
            !stream.closed && stream.can_restart() && stream.send == Side::Head
        })
    }

    /// Keeps what leaves of the request's body, up to `max` octets, so that it can be sent again.
    /// Call it before the first [`Engine::forward`].
    pub fn keep_request(&mut self, stream: StreamId, max: usize) {
        let Some(stream) = self.streams.get_mut(stream.0) else {
            return;
        };
        let fits = match stream.expect {
            Expect::Length(length) => length <= max as u64,
            Expect::End | Expect::Stream => true,
        };
        if fits && !stream.consumed && stream.expect != Expect::End {
            stream.replay = Some(Box::new(Replay {
                bytes: Vec::new(),
                at: 0,
                max,
            }));
        }
    }

    /// True when the response has been received completely, forwarded or not.
    pub fn response_is_whole(&self, stream: StreamId) -> bool {
        let client = self.streams.get(stream.0).and_then(|server| server.peer);
        let client = client.and_then(|client| self.streams.get(client));
        client.is_some_and(|client| client.recv == Side::Done)
    }

    /// What became of `stream`, which is over.
    pub fn summary(&self, stream: StreamId) -> Option<Summary> {
        let server = self.streams.get(stream.0)?;
        let client = server.peer.and_then(|client| self.streams.get(client));
        server.reported.then(|| Summary {
            request_bytes: server.received,
            response_bytes: server.sent,
            request_frames: server.frames,
            response_frames: client.map(|client| client.frames).unwrap_or_default(),
            request_sent: client
                .and_then(|client| client.flushed_at)
                .map(|at| self.start + at),
            failure: server.failure,
            by_client: server.failed_here,
        })
    }

    /// How far `stream` is; `None` without a target.
    pub fn passed(&self, stream: StreamId) -> Option<Passed> {
        let server = self.streams.get(stream.0)?;
        let client = self.streams.get(server.peer?)?;
        Some(Passed {
            request: client.flushed_at.map(|at| self.start + at),
            latest: self.start + client.moved_at.max(server.moved_at),
        })
    }

    /// The next event. Also continues with bytes that waited for an earlier answer, so poll until
    /// there is none, after every call that takes bytes or time.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(stream) = self.reap.take() {
            self.remove_exchange(stream);
        }
        loop {
            if let Some(event) = self.events.pop_front() {
                if !self.is_current(event) {
                    continue;
                }
                if let Event::Finished { stream } = event {
                    self.reap = Some(stream.0);
                }
                return Some(event);
            }
            let key = self.resume.pop_front()?;
            if let Some(conn) = self.conns.get_mut(key) {
                conn.resuming = false;
                self.receive_stash(key);
            }
        }
    }

    /// False for an event that later ones have overtaken.
    fn is_current(&self, event: Event) -> bool {
        match event {
            Event::Request { stream, .. } | Event::Failed { stream, .. } => self
                .streams
                .get(stream.0)
                .is_some_and(|stream| !stream.closed && stream.peer.is_none()),
            Event::Response { stream } => self.response(stream).is_some(),
            Event::Body { .. }
            | Event::Trailers { .. }
            | Event::Finished { .. }
            | Event::Ready { .. }
            | Event::Draining { .. } => true,
        }
    }

    fn remove_exchange(&mut self, stream: Key) {
        let Some(server) = self.streams.remove(stream) else {
            return;
        };
        let peer = server.peer.and_then(|peer| self.streams.remove(peer));
        for stream in [Some(server), peer].into_iter().flatten() {
            self.free(stream);
        }
    }

    fn free(&mut self, mut stream: Box<Stream>) {
        for head in [stream.head.take(), stream.trailers.take()]
            .into_iter()
            .flatten()
        {
            self.put_head(head);
        }
        self.recycle(std::mem::take(&mut stream.backlog));
        stream.copies.clear();
        stream.replay = None;
        self.streams.recycle(stream);
    }

    fn tick(&mut self, now: Instant) {
        if self.latest == now {
            return;
        }
        self.latest = now;
        self.now = self.now.max(now.saturating_duration_since(self.start));
    }

    fn take_head(&mut self, kind: head::Kind) -> Box<Head> {
        let mut head = self.heads.pop().unwrap_or_default();
        let fields = self.limits.head_fields.min(h1::read::MAX_FIELDS);
        head.reset(kind, self.limits.head_bytes, fields);
        head
    }

    fn put_head(&mut self, head: Box<Head>) {
        if self.heads.len() < POOL && head.capacity() <= POOLED_HEAD {
            self.heads.push(head);
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.buffers.give(buffer);
    }

    /// The out buffer of `key`, marked as dirty.
    fn out_of(&mut self, key: Key) -> Option<&mut Vec<u8>> {
        let conn = self.conns.get_mut(key)?;
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push_back(key);
        }
        if conn.out.capacity() == 0 {
            conn.out = self.buffers.take();
        }
        Some(&mut conn.out)
    }

    fn set_io(&mut self, key: Key, io: Io) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let order = |io| match io {
            Io::Open => 0,
            Io::Shutdown => 1,
            Io::Close => 2,
            Io::Abort => 3,
        };
        if order(io) <= order(conn.io) {
            return;
        }
        conn.io = io;
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push_back(key);
        }
    }

    fn receive(&mut self, key: Key, mut input: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if !conn.is_open() {
            return;
        }
        loop {
            let Some(conn) = self.conns.get_mut(key) else {
                return;
            };
            if conn.parked {
                self.keep(key, input);
                return;
            }
            let held = conn.stashed();
            if held == 0 {
                break;
            }
            // Complete the unit with as little copying as possible, then go on in place.
            let missing = conn.need.checked_sub(held).filter(|count| *count > 0);
            let take = missing.unwrap_or(input.len()).min(input.len());
            conn.stash.extend_from_slice(&input[..take]);
            input = &input[take..];
            if missing.is_some_and(|missing| take < missing) {
                return;
            }
            self.receive_stash(key);
            if input.is_empty() {
                return;
            }
        }
        if input.is_empty() {
            return;
        }
        let used = self.run(key, input);
        self.keep(key, &input[used..]);
    }

    fn keep(&mut self, key: Key, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if conn.stash.capacity() == 0 {
            conn.stash = self.buffers.take();
        }
        conn.stash.extend_from_slice(rest);
    }

    fn receive_stash(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.parked = false;
        let was_full = conn.stashed() >= self.limits.pipeline;
        let stash = std::mem::take(&mut conn.stash);
        let at = std::mem::take(&mut conn.stash_at);
        if was_full && !std::mem::replace(&mut conn.dirty, true) {
            // The driver may read again.
            self.dirty.push_back(key);
        }
        let used = if at < stash.len() {
            at + self.run(key, &stash[at..])
        } else {
            at
        };
        if used < stash.len() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.stash = stash;
                conn.stash_at = used;
                if used > self.limits.pipeline {
                    conn.stash.drain(..used);
                    conn.stash_at = 0;
                }
            }
        } else {
            self.recycle(stash);
        }
        self.end_of_input(key);
    }

    /// Runs the connection's parser over `input`; returns how much it took.
    fn run(&mut self, key: Key, input: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(conn) = self.conns.get_mut(key) else {
                return input.len();
            };
            if !conn.is_open() {
                return input.len();
            }
            conn.need = 0;
            let step = match conn.proto {
                Proto::H1(_) => self.h1_step(key, &input[used..]),
                Proto::H2(_) => self.h2_step(key, &input[used..]),
            };
            match step {
                Step::Used(count) => used += count,
                Step::Event(count) => {
                    used += count;
                    self.wake(key);
                    self.park(key);
                    return used;
                }
                Step::Park(count) => {
                    self.park(key);
                    return used + count;
                }
                Step::Need(total) => {
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.need = total;
                    }
                    return used;
                }
            }
            if used >= input.len() {
                return used;
            }
        }
    }

    fn park(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.parked = true;
        }
    }

    /// Lets `key` go on with what it has stashed, at the next poll.
    fn wake(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            if !std::mem::replace(&mut conn.resuming, true) {
                self.resume.push_back(key);
            }
        }
    }

    /// Acts on the end of the transport once everything before it has been taken.
    fn end_of_input(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if !conn.eof || conn.eof_done || conn.parked && conn.stashed() > 0 {
            return;
        }
        conn.eof_done = true;
        match conn.proto {
            Proto::H1(_) => self.h1_end(key),
            Proto::H2(_) => {
                self.fail_connection(key, Failure::Closed);
                self.set_io(key, Io::Close);
            }
        }
    }

    /// Fails every exchange of a connection that is lost.
    fn fail_connection(&mut self, key: Key, failure: Failure) {
        let streams = match self.conns.get(key).map(|conn| &conn.proto) {
            Some(Proto::H1(h1)) => h1.current().into_iter().collect(),
            Some(Proto::H2(h2)) => h2.ids.iter().map(|(_, key)| *key).collect::<Vec<_>>(),
            None => return,
        };
        for stream in streams {
            self.fail_stream(stream, failure, None);
        }
    }
}

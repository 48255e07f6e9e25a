//! What the frames of a peer do (RFC 9113 §5, §6).

use super::super::conn::Deadline;
use super::super::h1::write::Expect;
use super::super::head::{Fault, Head, HeadEdit, Kind};
use super::super::slab::Key;
use super::super::stream::{Side, Stream};
use super::super::{ConnId, Engine, Event, Failure, Io, Role, Step};
use super::frame::{self, code, FrameHead};
use super::send::{DRAIN_PING, WATCH_PING};
use super::{Block, Past};

/// A connection error: the code for GOAWAY.
#[derive(Debug, Clone, Copy)]
struct Fatal(u32);

type Done<T = ()> = Result<T, Fatal>;

const PROTOCOL: Fatal = Fatal(code::PROTOCOL_ERROR);
const SIZE: Fatal = Fatal(code::FRAME_SIZE_ERROR);
const FLOW: Fatal = Fatal(code::FLOW_CONTROL_ERROR);
const CALM: Fatal = Fatal(code::ENHANCE_YOUR_CALM);

/// Largest window (§6.9.1).
const MAX_WINDOW: i64 = 0x7fff_ffff;
/// Interim responses that one request may have.
const MAX_INTERIM: u32 = 64;
/// Glitches that a head above the limit counts for.
const GLUTTON: u32 = 4;
/// Requests taken back in a second that are nobody's attack.
const EARLY_LEAK: u32 = 20;

impl Engine {
    pub(in crate::engine) fn h2_step(&mut self, key: Key, input: &[u8]) -> Step {
        match self.h2_next(key, input) {
            Ok(step) => step,
            Err(Fatal(error)) => {
                self.h2_fail(key, error);
                Step::Used(input.len())
            }
        }
    }

    fn h2_next(&mut self, key: Key, input: &[u8]) -> Done<Step> {
        let Some(h2) = self.h2(key) else {
            return Ok(Step::Used(input.len()));
        };
        if h2.preface > 0 {
            let want = &frame::PREFACE[frame::PREFACE.len() - h2.preface..];
            let count = want.len().min(input.len());
            if want[..count] != input[..count] {
                return Err(PROTOCOL);
            }
            h2.preface -= count;
            return Ok(Step::Used(count));
        }
        let Some(head) = frame::head(input) else {
            return Ok(Step::Need(frame::HEADER));
        };
        if head.length > frame::MAX_PAYLOAD {
            return Err(SIZE);
        }
        let total = frame::HEADER + head.length;
        let Some(payload) = input.get(frame::HEADER..total) else {
            return Ok(Step::Need(total));
        };
        if !h2.greeted && head.kind != frame::SETTINGS {
            return Err(PROTOCOL);
        }
        // Between the frames of a header block nothing else may stand (§6.10).
        let continues = h2.block.as_ref().map(|block| block.id);
        if continues.is_some_and(|id| head.kind != frame::CONTINUATION || head.id != id) {
            return Err(PROTOCOL);
        }
        self.asked = false;
        self.h2_frame(key, head, payload)?;
        if self.asked {
            return Ok(Step::Event(total));
        }
        Ok(Step::Used(total))
    }

    fn h2_frame(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        match head.kind {
            frame::DATA => self.h2_data(key, head, payload),
            frame::HEADERS => self.h2_headers(key, head, payload),
            frame::PRIORITY => self.h2_priority(key, head, payload),
            frame::RST_STREAM => self.h2_reset(key, head, payload),
            frame::SETTINGS => self.h2_settings(key, head, payload),
            frame::PUSH_PROMISE => Err(PROTOCOL),
            frame::PING => self.h2_ping(key, head, payload),
            frame::GOAWAY => self.h2_gone(key, head, payload),
            frame::WINDOW_UPDATE => self.h2_window(key, head, payload),
            frame::CONTINUATION => self.h2_continuation(key, head, payload),
            _ => self.h2_noise(key, 1),
        }
    }

    /// Counts a frame that does no work.
    fn h2_noise(&mut self, key: Key, weight: u32) -> Done {
        let (limit, now) = (self.limits.noise, self.now);
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        if h2.noise.add(weight, 100, now) > limit {
            return Err(CALM);
        }
        Ok(())
    }

    /// Counts an anomaly that only costs a stream.
    fn h2_glitch(&mut self, key: Key) -> Done {
        let (limit, now) = (self.limits.glitches, self.now);
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        if h2.glitches.add(1, 10, now) > limit {
            return Err(CALM);
        }
        Ok(())
    }

    /// Counts a head that is too large, which costs more to read than to send. Others' requests may
    /// share the connection, so what is under way is finished.
    fn h2_glutton(&mut self, key: Key) {
        let (limit, now) = (self.limits.glitches, self.now);
        let Some(h2) = self.h2(key) else { return };
        if h2.glitches.add(GLUTTON, 10, now) > limit {
            self.h2_part(key, code::ENHANCE_YOUR_CALM);
        }
    }

    /// True when `id` could not have been used yet.
    fn h2_is_new(&mut self, key: Key, id: u32) -> bool {
        let client = self.role(key) == Role::Client;
        let Some(h2) = self.h2(key) else { return false };
        if client {
            id.is_multiple_of(2) || id >= h2.next
        } else {
            id.is_multiple_of(2) || id > h2.last
        }
    }

    /// Resets a stream for an error of the peer.
    fn h2_stream_error(&mut self, key: Key, id: u32, error: u32) -> Done {
        let stream = self.h2(key).and_then(|h2| h2.find(id));
        match stream {
            Some(stream) => self.fail_stream(stream, Failure::Protocol, Some(error)),
            None => {
                if let Some(out) = self.out_of(key) {
                    frame::reset(out, id, error);
                }
                if let Some(h2) = self.h2(key) {
                    h2.remember(id, Past::ResetHere);
                }
            }
        }
        self.h2_glitch(key)
    }

    fn h2_data(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id == 0 {
            return Err(PROTOCOL);
        }
        let data = unpad(head, payload)?;
        let length = payload.len();
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        if length as i64 > h2.recv_window {
            return Err(FLOW);
        }
        h2.recv_window -= length as i64;
        let Some(stream) = h2.find(head.id) else {
            let past = h2.past(head.id);
            self.h2_credit(key, None, length);
            if self.h2_is_new(key, head.id) {
                return Err(PROTOCOL);
            }
            return match past {
                // Sent before our reset arrived.
                Some(Past::ResetHere) => Ok(()),
                Some(Past::Over | Past::ResetThere) | None => {
                    self.h2_stream_error(key, head.id, code::STREAM_CLOSED)
                }
            };
        };
        let end = head.flags & frame::END_STREAM != 0;
        let Some(state) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        let error = match state.recv {
            Side::Head => Some(code::PROTOCOL_ERROR),
            Side::Done => Some(code::STREAM_CLOSED),
            Side::Body if length as i64 > state.recv_window => Some(code::FLOW_CONTROL_ERROR),
            Side::Body => count(state, data.len(), end),
        };
        if let Some(error) = error {
            self.h2_credit(key, None, length);
            return self.h2_stream_error(key, head.id, error);
        }
        state.recv_window -= length as i64;
        if data.is_empty() && !end {
            state.empty_frames += 1;
            self.h2_noise(key, 5)?;
        }
        self.h2_credit(key, Some(stream), length - data.len());
        self.arrived(stream, data.len());
        self.h2_body(stream, data, end);
        Ok(())
    }

    fn h2_body(&mut self, stream: Key, data: &[u8], end: bool) {
        let passed = if data.is_empty() && !end {
            0
        } else {
            self.h2_pass(stream, data, end)
        };
        self.credit(stream, passed);
        if passed < data.len() {
            if let Some(state) = self.streams.get_mut(stream) {
                if state.closed {
                    self.credit(stream, data.len() - passed);
                } else {
                    state.backlog.extend_from_slice(&data[passed..]);
                }
            }
        }
        if end {
            if data.is_empty() {
                self.begin_body(stream);
            }
            self.recv_done(stream);
            self.relay(stream);
        }
    }

    /// Passes what can go straight through. An empty end goes by [`Engine::relay`].
    fn h2_pass(&mut self, stream: Key, data: &[u8], end: bool) -> usize {
        if data.is_empty() {
            return 0;
        }
        self.pass(stream, data, end)
    }

    fn h2_headers(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id == 0 || head.id.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let mut block = unpad(head, payload)?;
        let mut self_dependent = false;
        if head.flags & frame::WITH_PRIORITY != 0 {
            let (priority, rest) = block.split_at_checked(5).ok_or(SIZE)?;
            self_dependent = frame::number(priority) & 0x7fff_ffff == head.id;
            block = rest;
        }
        let end_stream = head.flags & frame::END_STREAM != 0;
        if head.flags & frame::END_HEADERS != 0 {
            return self.h2_block(key, head.id, end_stream, self_dependent, block);
        }
        let timeout = self.limits.head_timeout;
        if let Some(h2) = self.h2(key) {
            h2.block = Some(Block {
                id: head.id,
                end_stream,
                self_dependent,
                frames: 0,
                bytes: block.to_vec(),
            });
        }
        self.set_deadline(key, Deadline::Head, Some(timeout));
        Ok(())
    }

    fn h2_continuation(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        let (max, frames) = (self.limits.head_bytes, self.limits.continuations);
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        let Some(mut block) = h2.block.take() else {
            return Err(PROTOCOL);
        };
        block.frames += 1;
        if block.frames > frames || block.bytes.len() + payload.len() > max {
            return Err(CALM);
        }
        block.bytes.extend_from_slice(payload);
        if head.flags & frame::END_HEADERS == 0 {
            h2.block = Some(block);
            return Ok(());
        }
        self.set_deadline(key, Deadline::Head, None);
        let Block {
            id,
            end_stream,
            self_dependent,
            bytes,
            ..
        } = block;
        self.h2_block(key, id, end_stream, self_dependent, &bytes)
    }

    /// A header block is complete: a request, a response, or trailers.
    fn h2_block(
        &mut self,
        key: Key,
        id: u32,
        end: bool,
        self_dependent: bool,
        block: &[u8],
    ) -> Done {
        let client = self.role(key) == Role::Client;
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        let stream = h2.find(id);
        let recv = stream
            .and_then(|stream| self.streams.get(stream))
            .map(|stream| stream.recv);
        let kind = match recv {
            Some(Side::Head) => Kind::Response,
            Some(Side::Body | Side::Done) => Kind::Trailers,
            None if client => Kind::Response,
            None => Kind::Request,
        };
        let mut head = self.take_head(kind);
        let decoded = self
            .h2(key)
            .map_or(Ok(()), |h2| h2.decoder.decode(block, &mut head));
        if decoded.is_err() {
            self.put_head(head);
            return Err(Fatal(code::COMPRESSION_ERROR));
        }
        let fault = head.finish().err();
        if self_dependent && (stream.is_some() || self.h2_is_new(key, id)) {
            self.put_head(head);
            self.h2_use(key, id);
            return self.h2_stream_error(key, id, code::PROTOCOL_ERROR);
        }
        match (stream, recv) {
            (Some(stream), Some(Side::Head)) => self.h2_answer(key, stream, id, end, head, fault),
            (Some(stream), Some(Side::Body)) => self.h2_trailers(key, stream, id, end, head, fault),
            (Some(_), _) => {
                self.put_head(head);
                self.h2_stream_error(key, id, code::STREAM_CLOSED)
            }
            (None, _) if self.h2_is_new(key, id) => {
                if client {
                    return Err(PROTOCOL);
                }
                self.h2_request(key, id, end, head, fault)
            }
            (None, _) => match self.h2(key).and_then(|h2| h2.past(id)) {
                Some(Past::ResetHere) => {
                    self.put_head(head);
                    Ok(())
                }
                Some(Past::Over | Past::ResetThere) => Err(Fatal(code::STREAM_CLOSED)),
                None => Err(PROTOCOL),
            },
        }
    }

    /// Notes that the peer has used `id`.
    fn h2_use(&mut self, key: Key, id: u32) {
        if self.role(key) == Role::Server {
            if let Some(h2) = self.h2(key) {
                h2.last = h2.last.max(id);
            }
        }
    }

    fn h2_request(
        &mut self,
        key: Key,
        id: u32,
        end: bool,
        mut head: Box<Head>,
        fault: Option<Fault>,
    ) -> Done {
        let limits = self.limits;
        let now = self.now;
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        if id > h2.accept_to {
            // Above what the last GOAWAY announced: the client knows that it was not processed, and
            // may have sent more of it before it knew.
            h2.last = id;
            h2.remember(id, Past::ResetHere);
            self.put_head(head);
            return Ok(());
        }
        h2.last = id;
        h2.opened.add(1, EARLY_LEAK, now);
        h2.noise.forgive(2);
        let window = i64::from(h2.peer.window);
        let full = h2.ids.len() >= h2.own.streams as usize;
        let own_window = i64::from(h2.own.stream_window);
        let announced = head.length;
        let error = match fault {
            _ if full => Some(code::REFUSED_STREAM),
            Some(Fault::Malformed) => Some(code::PROTOCOL_ERROR),
            _ if end && announced.is_some_and(|length| length > 0) => Some(code::PROTOCOL_ERROR),
            Some(Fault::TooLarge) | None => None,
        };
        if let Some(error) = error {
            self.put_head(head);
            return self.h2_stream_error(key, id, error);
        }
        let mut stream = Stream::new(key, id, true);
        stream.recv = if end { Side::Done } else { Side::Body };
        stream.expect = match announced {
            _ if end => Expect::End,
            Some(length) => Expect::Length(length),
            None => Expect::Stream,
        };
        stream.left = announced;
        stream.recv_window = own_window;
        stream.send_window = window;
        let too_large = fault == Some(Fault::TooLarge);
        if too_large {
            head.reset(Kind::Request, limits.head_bytes, limits.head_fields);
            stream.head = Some(head);
            let stream = self.streams.insert(stream);
            self.h2_adopt(key, id, stream);
            self.answer(stream, 431, &HeadEdit::default(), b"");
            self.h2_glutton(key);
            return Ok(());
        }
        let stream = self.request_event(key, stream, head);
        self.h2_adopt(key, id, stream);
        Ok(())
    }

    fn h2_adopt(&mut self, key: Key, id: u32, stream: Key) {
        if let Some(h2) = self.h2(key) {
            h2.ids.push((id, stream));
        }
        if let Some(conn) = self.conns.get_mut(key) {
            conn.deadlines[Deadline::Idle as usize] = None;
        }
    }

    /// A response's head on a stream of ours.
    fn h2_answer(
        &mut self,
        key: Key,
        stream: Key,
        id: u32,
        end: bool,
        head: Box<Head>,
        fault: Option<Fault>,
    ) -> Done {
        let status = head.status;
        let asked = self.streams.get(stream).map(|stream| stream.asked);
        let asked = asked.unwrap_or_default();
        let interim = (100..200).contains(&status);
        let empty = asked.head || status == 204 || status == 304;
        let lies = end && !empty && head.length.is_some_and(|length| length > 0);
        if fault.is_some() || status == 101 || (interim && end) || lies {
            self.put_head(head);
            return self.h2_stream_error(key, id, code::PROTOCOL_ERROR);
        }
        if interim {
            self.interim(stream, &head);
            self.put_head(head);
            let count = self.streams.get_mut(stream).map_or(0, |stream| {
                stream.interim += 1;
                stream.interim
            });
            if count > MAX_INTERIM {
                return self.h2_stream_error(key, id, code::ENHANCE_YOUR_CALM);
            }
            return Ok(());
        }
        if let Some(state) = self.streams.get_mut(stream) {
            let tunnel = asked.connect && (200..300).contains(&status);
            state.left = match head.length {
                _ if tunnel => None,
                _ if empty => Some(0),
                length => length,
            };
            state.expect = match head.length {
                _ if end => Expect::End,
                Some(length) if !tunnel && !empty => Expect::Length(length),
                _ => Expect::Stream,
            };
            state.head = Some(head);
            state.recv = Side::Body;
        }
        self.respond_event(stream);
        if end {
            self.recv_done(stream);
        }
        Ok(())
    }

    fn h2_trailers(
        &mut self,
        key: Key,
        stream: Key,
        id: u32,
        end: bool,
        head: Box<Head>,
        fault: Option<Fault>,
    ) -> Done {
        let short = self
            .streams
            .get(stream)
            .is_some_and(|stream| stream.left.is_some_and(|left| left > 0));
        if fault.is_some() || !end || short {
            self.put_head(head);
            return self.h2_stream_error(key, id, code::PROTOCOL_ERROR);
        }
        self.keep_trailers(stream, head);
        self.recv_done(stream);
        self.relay(stream);
        Ok(())
    }

    fn h2_priority(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id == 0 {
            return Err(PROTOCOL);
        }
        if payload.len() != 5 {
            return self.h2_odd(key, head.id, code::FRAME_SIZE_ERROR);
        }
        if frame::number(payload) & 0x7fff_ffff == head.id {
            return self.h2_odd(key, head.id, code::PROTOCOL_ERROR);
        }
        self.h2_noise(key, 1)
    }

    /// A stream error about a stream that may never have been opened, where a reset would be an
    /// error of ours.
    fn h2_odd(&mut self, key: Key, id: u32, error: u32) -> Done {
        if self.h2_is_new(key, id) {
            return Err(Fatal(error));
        }
        self.h2_stream_error(key, id, error)
    }

    fn h2_reset(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id == 0 || self.h2_is_new(key, head.id) {
            return Err(PROTOCOL);
        }
        if payload.len() != 4 {
            return Err(SIZE);
        }
        let error = frame::number(payload);
        let Some(stream) = self.h2(key).and_then(|h2| h2.find(head.id)) else {
            return self.h2_noise(key, 1);
        };
        let early = self
            .streams
            .get(stream)
            .is_some_and(|stream| stream.server && stream.send == Side::Head);
        let failure = if error == code::REFUSED_STREAM {
            Failure::Refused
        } else {
            Failure::Reset(error)
        };
        self.fail_stream(stream, failure, None);
        if early {
            self.h2_early_reset(key);
        }
        Ok(())
    }

    /// Counts a request that the client took back before its answer: a few are normal, most of a
    /// steady many are an attack (CVE-2023-44487), be it slow because a hundred others do the same.
    ///
    /// A proxy sends requests of many clients over one connection, of which one may be the attacker:
    /// nothing new is taken, and what others have under way is finished.
    fn h2_early_reset(&mut self, key: Key) {
        let (limit, now) = (self.limits.early_resets, self.now);
        let Some(h2) = self.h2(key) else {
            return;
        };
        let early = h2.early.add(1, EARLY_LEAK, now);
        let opened = h2.opened.add(0, EARLY_LEAK, now);
        if early >= limit && early * 2 > opened {
            self.h2_part(key, code::ENHANCE_YOUR_CALM);
        }
    }

    fn h2_settings(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id != 0 {
            return Err(PROTOCOL);
        }
        if head.flags & frame::ACK != 0 {
            return if payload.is_empty() {
                self.h2_noise(key, 1)
            } else {
                Err(SIZE)
            };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(SIZE);
        }
        for pair in payload.chunks_exact(6) {
            let name = u16::from_be_bytes([pair[0], pair[1]]);
            self.h2_setting(key, name, frame::number(&pair[2..]))?;
        }
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        let first = !std::mem::replace(&mut h2.greeted, true);
        if let Some(out) = self.out_of(key) {
            frame::put(out, 0, frame::SETTINGS, frame::ACK, 0);
        }
        if first {
            self.set_deadline(key, Deadline::Head, None);
            let idle = self.limits.idle_timeout;
            if self.role(key) == Role::Server && !idle.is_zero() {
                self.set_deadline(key, Deadline::Idle, Some(idle));
            }
        } else {
            self.h2_noise(key, 10)?;
        }
        if self.role(key) == Role::Client {
            self.events.push_back(Event::Ready { conn: ConnId(key) });
        }
        self.pump(key);
        Ok(())
    }

    fn h2_setting(&mut self, key: Key, name: u16, value: u32) -> Done {
        let client = self.role(key) == Role::Client;
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        match name {
            2 if value > 1 || (client && value == 1) => Err(PROTOCOL),
            3 => {
                h2.peer.streams = value;
                Ok(())
            }
            4 => self.h2_initial_window(key, value),
            5 if !(16_384..=16_777_215).contains(&value) => Err(PROTOCOL),
            _ => Ok(()),
        }
    }

    fn h2_initial_window(&mut self, key: Key, value: u32) -> Done {
        if i64::from(value) > MAX_WINDOW {
            return Err(FLOW);
        }
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        let change = i64::from(value) - i64::from(h2.peer.window);
        h2.peer.window = value;
        for stream in self.streams_of(key) {
            let Some(state) = self.streams.get_mut(stream) else {
                continue;
            };
            state.send_window += change;
            if state.send_window > MAX_WINDOW {
                return Err(FLOW);
            }
            self.h2_unstall(stream);
        }
        Ok(())
    }

    /// Queues a stream whose own window has opened.
    fn h2_unstall(&mut self, stream: Key) {
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        if !state.stalled || state.send_window <= 0 {
            return;
        }
        state.stalled = false;
        let conn = state.conn;
        if !std::mem::replace(&mut state.waiting, true) {
            if let Some(conn) = self.conns.get_mut(conn) {
                conn.waiting.push_back(stream);
            }
        }
    }

    fn h2_ping(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id != 0 {
            return Err(PROTOCOL);
        }
        if payload.len() != 8 {
            return Err(SIZE);
        }
        if head.flags & frame::ACK != 0 {
            if payload == DRAIN_PING {
                self.h2_drained(key);
            } else if payload == WATCH_PING {
                self.h2_alive(key);
            }
            return self.h2_noise(key, 1);
        }
        if let Some(out) = self.out_of(key) {
            frame::ping(out, payload, true);
        }
        self.h2_noise(key, 2)
    }

    fn h2_gone(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if head.id != 0 {
            return Err(PROTOCOL);
        }
        if payload.len() < 8 {
            return Err(SIZE);
        }
        let last = frame::number(payload) & 0x7fff_ffff;
        let role = self.role(key);
        if role == Role::Server {
            // A client that pushes nothing has nothing to refuse; it is about to leave.
            return self.h2_noise(key, 1);
        }
        let Some(h2) = self.h2(key) else {
            return Ok(());
        };
        let first = !std::mem::replace(&mut h2.gone, true);
        let lost: Vec<Key> = h2
            .ids
            .iter()
            .filter(|(id, _)| *id > last)
            .map(|(_, stream)| *stream)
            .collect();
        for stream in lost {
            self.fail_stream(stream, Failure::Refused, Some(code::CANCEL));
        }
        if first {
            self.events.push_back(Event::Draining { conn: ConnId(key) });
        }
        if self.h2(key).is_some_and(|h2| h2.ids.is_empty()) {
            self.set_io(key, Io::Close);
        }
        Ok(())
    }

    fn h2_window(&mut self, key: Key, head: FrameHead, payload: &[u8]) -> Done {
        if payload.len() != 4 {
            return Err(SIZE);
        }
        let increment = i64::from(frame::number(payload) & 0x7fff_ffff);
        self.h2_noise(key, 1)?;
        if head.id == 0 {
            let Some(h2) = self.h2(key) else {
                return Ok(());
            };
            if increment == 0 {
                return Err(PROTOCOL);
            }
            h2.send_window += increment;
            if h2.send_window > MAX_WINDOW {
                return Err(FLOW);
            }
            self.pump(key);
            return Ok(());
        }
        if self.h2_is_new(key, head.id) {
            return Err(PROTOCOL);
        }
        let Some(stream) = self.h2(key).and_then(|h2| h2.find(head.id)) else {
            return Ok(());
        };
        if increment == 0 {
            return self.h2_stream_error(key, head.id, code::PROTOCOL_ERROR);
        }
        let Some(state) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        state.send_window += increment;
        if state.send_window > MAX_WINDOW {
            return self.h2_stream_error(key, head.id, code::FLOW_CONTROL_ERROR);
        }
        self.h2_unstall(stream);
        self.pump(key);
        Ok(())
    }
}

/// Counts body against the announced length; the error code when it does not fit.
fn count(stream: &mut Stream, length: usize, end: bool) -> Option<u32> {
    stream.received += length as u64;
    let left = stream.left.as_mut()?;
    match left.checked_sub(length as u64) {
        Some(rest) if !end || rest == 0 => {
            *left = rest;
            None
        }
        Some(_) | None => Some(code::PROTOCOL_ERROR),
    }
}

/// A payload without its padding (§6.1).
fn unpad(head: FrameHead, payload: &[u8]) -> Done<&[u8]> {
    if head.flags & frame::PADDED == 0 {
        return Ok(payload);
    }
    let (&pad, rest) = payload.split_first().ok_or(SIZE)?;
    let length = rest.len().checked_sub(usize::from(pad)).ok_or(PROTOCOL)?;
    Ok(&rest[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_may_not_exceed_the_payload() {
        let head = FrameHead {
            length: 0,
            kind: frame::DATA,
            flags: frame::PADDED,
            id: 1,
        };
        assert_eq!(Some(&b"ab"[..]), unpad(head, b"\x01ab\0").ok());
        assert_eq!(Some(&b""[..]), unpad(head, b"\x02\0\0").ok());
        assert!(unpad(head, b"\x03\0\0").is_err());
        assert!(unpad(head, b"").is_err());
    }
}

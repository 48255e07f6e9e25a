//! One direction pair of a message exchange on one connection.

use std::time::Duration;

use super::h1::read::Asked;
use super::h1::write::Expect;
use super::head::Head;
use super::slab::Key;
use super::Failure;

/// How far one direction of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The (final) head has not passed yet.
    Head,
    /// The head has passed, the end has not.
    Body,
    /// The end, or a reset, has passed.
    Done,
}

/// A stream of HTTP/2, or the message in progress of an HTTP/1 connection.
///
/// Bytes that arrived and cannot go on wait in the `backlog` of the stream that received them.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) conn: Key,
    /// HTTP/2 identifier; 0 on HTTP/1.
    pub(super) id: u32,
    /// The stream on the other connection.
    pub(super) peer: Option<Key>,
    /// The exchange came in here; false on the stream towards the server.
    pub(super) server: bool,
    pub(super) recv: Side,
    pub(super) send: Side,
    /// Both directions are over and the connection no longer knows the stream.
    pub(super) closed: bool,
    pub(super) reported: bool,
    pub(super) expect: Expect,
    /// The request on the server's side until the exchange is over; on the client's side the
    /// response until it is forwarded.
    pub(super) head: Option<Box<Head>>,
    pub(super) trailers: Option<Box<Head>>,
    pub(super) backlog: Vec<u8>,
    pub(super) backlog_at: usize,
    /// Body bytes have left for the peer: the request can no longer be sent elsewhere.
    pub(super) consumed: bool,
    /// The end has been passed to the peer.
    pub(super) end_passed: bool,
    /// What still arrives is dropped.
    pub(super) discard: bool,
    /// Octets left of the announced length (HTTP/2).
    pub(super) left: Option<u64>,
    /// What `recv_window` is when nothing is under way, where it has grown; 0 where it has not.
    pub(super) window: u32,
    pub(super) recv_window: i64,
    /// Octets taken and not yet given back to the peer by WINDOW_UPDATE.
    pub(super) credit: u32,
    pub(super) send_window: i64,
    /// In its connection's queue of streams whose source has something for them.
    pub(super) waiting: bool,
    /// Its source waits for this stream's own window.
    pub(super) stalled: bool,
    /// Its source has had more for it than it could take, since `stalled_since`.
    pub(super) held: bool,
    pub(super) stalled_since: Duration,
    pub(super) stalled_sent: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) asked: Asked,
    pub(super) interim: u32,
    pub(super) empty_frames: u32,
    pub(super) http10: bool,
    pub(super) failure: Option<Failure>,
    /// The failure came from this stream's own peer.
    pub(super) failed_here: bool,
    /// Pieces of body that arrived.
    pub(super) frames: Frames,
    /// Connections on which the request is repeated.
    pub(super) copies: Vec<Key>,
    /// What left for the target, to be sent to another one.
    pub(super) replay: Option<Box<Replay>>,
    /// The driver has been told that body arrives.
    pub(super) begun: bool,
    /// Body, or the head, was last written here.
    pub(super) moved_at: Duration,
    /// Everything was written.
    pub(super) flushed_at: Option<Duration>,
}

/// Body of a request that has been passed to a target.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) bytes: Vec<u8>,
    /// Octets that the present target has got.
    pub(super) at: usize,
    pub(super) max: usize,
}

/// Sizes of the pieces in which a body arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// Pieces by upper bound: those of [`Frames::BOUNDS`], then larger ones.
    pub counts: [u32; 4],
    /// Octets of all.
    pub octets: u64,
}

impl Frames {
    /// Upper bounds of the first counts, in octets.
    pub const BOUNDS: [usize; 3] = [128, 1024, 10_240];

    pub(super) fn note(&mut self, octets: usize) {
        let at = Self::BOUNDS.iter().filter(|bound| octets > **bound).count();
        self.counts[at] = self.counts[at].saturating_add(1);
        self.octets += octets as u64;
    }
}

impl Stream {
    pub(super) fn new(conn: Key, id: u32, server: bool) -> Self {
        Self {
            conn,
            id,
            peer: None,
            server,
            recv: Side::Head,
            send: Side::Head,
            closed: false,
            reported: false,
            expect: Expect::End,
            head: None,
            trailers: None,
            backlog: Vec::new(),
            backlog_at: 0,
            consumed: false,
            end_passed: false,
            discard: false,
            left: None,
            window: 0,
            recv_window: 0,
            credit: 0,
            send_window: 0,
            waiting: false,
            stalled: false,
            held: false,
            stalled_since: Duration::ZERO,
            stalled_sent: 0,
            received: 0,
            sent: 0,
            asked: Asked::default(),
            interim: 0,
            empty_frames: 0,
            http10: false,
            failure: None,
            failed_here: false,
            frames: Frames::default(),
            copies: Vec::new(),
            replay: None,
            begun: false,
            moved_at: Duration::ZERO,
            flushed_at: None,
        }
    }

    /// Octets that wait for the peer.
    pub(super) fn pending(&self) -> usize {
        self.backlog.len() - self.backlog_at
    }

    /// Octets that the present target has not got and an earlier one had.
    pub(super) fn replays(&self) -> usize {
        let replay = self.replay.as_ref();
        replay.map_or(0, |replay| replay.bytes.len() - replay.at)
    }

    /// True when the request can be sent from its start.
    pub(super) fn can_restart(&self) -> bool {
        !self.consumed || self.replay.is_some()
    }

    /// Notes that `data` has left for the target.
    pub(super) fn left_for_target(&mut self, data: &[u8]) {
        self.consumed = true;
        let Some(replay) = &mut self.replay else {
            return;
        };
        if self.send != Side::Head || replay.bytes.len() + data.len() > replay.max {
            self.replay = None;
            return;
        }
        replay.bytes.extend_from_slice(data);
        replay.at = replay.bytes.len();
    }

    /// True when there is something that the peer has not been given: bytes or the end.
    pub(super) fn has_output(&self) -> bool {
        self.pending() > 0 || self.replays() > 0 || (self.recv == Side::Done && !self.end_passed)
    }
}

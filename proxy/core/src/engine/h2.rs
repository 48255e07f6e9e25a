//! HTTP/2: state of a connection. Frames are in [`frame`], what they do in [`conn`], and what the
//! engine sends in [`send`].

pub(super) mod conn;
pub(super) mod frame;
pub(super) mod send;

use std::collections::VecDeque;

use super::hpack::decode::Decoder;
use super::limits::{Http2, Score};
use super::slab::Key;

/// What the peer's SETTINGS say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) window: u32,
    pub(super) max_payload: usize,
    pub(super) streams: u32,
}

/// A header block whose end has not arrived.
#[derive(Debug)]
pub(super) struct Block {
    id: u32,
    end_stream: bool,
    self_dependent: bool,
    frames: u32,
    bytes: Vec<u8>,
}

/// How a stream ended that a peer may still send frames for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// Both sides ended it.
    Over,
    /// We reset it: what was under way is ignored.
    ResetHere,
    /// The peer reset it: nothing may follow.
    ResetThere,
}

/// Ended streams that are remembered.
const REMEMBERED: usize = 64;

/// State of an HTTP/2 connection, either end.
#[derive(Debug)]
pub(super) struct H2 {
    /// What we offer.
    pub(super) own: Http2,
    /// Our ping has no answer yet.
    pinged: bool,
    pub(super) decoder: Decoder,
    /// Open streams by identifier, ascending.
    pub(super) ids: Vec<(u32, Key)>,
    past: VecDeque<(u32, Past)>,
    /// Highest identifier that the peer has used.
    last: u32,
    /// Next identifier of ours; above 2^31 when there are no more.
    next: u32,
    pub(super) send_window: i64,
    recv_window: i64,
    credit: u32,
    peer: Peer,
    block: Option<Block>,
    /// Octets of the client's preface that are still to come.
    preface: usize,
    greeted: bool,
    announced: bool,
    /// Streams above this are not accepted, after GOAWAY.
    accept_to: u32,
    going: bool,
    /// The peer takes no new streams.
    gone: bool,
    noise: Score,
    glitches: Score,
    opened: Score,
    early: Score,
}

impl H2 {
    pub(super) fn new(own: Http2, header_table: u32) -> Self {
        Self {
            pinged: false,
            decoder: Decoder::new(header_table as usize),
            ids: Vec::new(),
            past: VecDeque::new(),
            last: 0,
            next: 1,
            send_window: 65_535,
            recv_window: i64::from(own.connection_window),
            own,
            credit: 0,
            peer: Peer {
                window: 65_535,
                max_payload: frame::MAX_PAYLOAD,
                // Who lets streams last has more of them, and is told how many it may have right after.
                streams: if own.lasting { own.streams } else { u32::MAX },
            },
            block: None,
            preface: 0,
            greeted: false,
            announced: false,
            accept_to: u32::MAX,
            going: false,
            gone: false,
            noise: Score::default(),
            glitches: Score::default(),
            opened: Score::default(),
            early: Score::default(),
        }
    }

    /// Streams that a client may open now.
    pub(super) fn capacity(&self) -> usize {
        if self.gone || self.next > i32::MAX as u32 {
            return 0;
        }
        (self.peer.streams as usize).saturating_sub(self.ids.len())
    }

    pub(super) fn find(&self, id: u32) -> Option<Key> {
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.ids.get(at).map(|(_, key)| *key)
    }

    fn remember(&mut self, id: u32, past: Past) {
        if self.past.len() >= REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back((id, past));
    }

    fn past(&self, id: u32) -> Option<Past> {
        let found = self.past.iter().rev().find(|(past, _)| *past == id)?;
        Some(found.1)
    }
}

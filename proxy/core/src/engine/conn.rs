//! What every connection has, whatever it speaks.

use std::collections::VecDeque;
use std::time::Duration;

use super::h1::conn::H1;
use super::h2::H2;
use super::slab::Key;
use super::{Io, Role};

/// Protocol state.
#[derive(Debug)]
pub(super) enum Proto {
    H1(H1),
    H2(Box<H2>),
}

/// Deadlines of a connection, by what they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// An incomplete head, preface or header block.
    Head,
    /// A connection without requests.
    Idle,
    /// A peer that takes nothing.
    Stall,
    /// A drain.
    Drain,
    /// A ping that is due, or its answer.
    Ping,
}

pub(super) const DEADLINES: [Deadline; 5] = [
    Deadline::Head,
    Deadline::Idle,
    Deadline::Stall,
    Deadline::Drain,
    Deadline::Ping,
];

/// One transport connection. Both buffers hold memory only while bytes wait in them.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) role: Role,
    pub(super) proto: Proto,
    /// Bytes for the transport; the first `out_at` are gone.
    pub(super) out: Vec<u8>,
    pub(super) out_at: usize,
    /// Bytes from the transport that could not be taken yet: an incomplete unit, or what follows a
    /// head that waits for its decision, or a body that waits for its receiver.
    pub(super) stash: Vec<u8>,
    pub(super) stash_at: usize,
    /// Octets of `stash` that make the unit complete; 0 when unknown.
    pub(super) need: usize,
    /// Octets of `stash` already searched for the end of a head.
    pub(super) scanned: usize,
    /// The stash waits for something else than more bytes.
    pub(super) parked: bool,
    pub(super) dirty: bool,
    pub(super) resuming: bool,
    pub(super) eof: bool,
    pub(super) eof_done: bool,
    pub(super) io: Io,
    pub(super) draining: bool,
    /// Streams whose source has something for them, held back by this connection as a whole.
    pub(super) waiting: VecDeque<Key>,
    /// Times since the engine's start.
    pub(super) deadlines: [Option<Duration>; 5],
    pub(super) timer: Option<Duration>,
    /// Octets handed to the transport, and how many there were when the stall clock started.
    pub(super) drained: u64,
    pub(super) stall_mark: u64,
}

impl Conn {
    pub(super) fn new(role: Role, proto: Proto) -> Self {
        Self {
            role,
            proto,
            out: Vec::new(),
            out_at: 0,
            stash: Vec::new(),
            stash_at: 0,
            need: 0,
            scanned: 0,
            parked: false,
            dirty: false,
            resuming: false,
            eof: false,
            eof_done: false,
            io: Io::Open,
            draining: false,
            waiting: VecDeque::new(),
            deadlines: [None; 5],
            timer: None,
            drained: 0,
            stall_mark: 0,
        }
    }

    pub(super) fn pending_out(&self) -> usize {
        self.out.len() - self.out_at
    }

    pub(super) fn stashed(&self) -> usize {
        self.stash.len() - self.stash_at
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.io, Io::Open | Io::Shutdown)
    }

    pub(super) fn earliest(&self) -> Option<Duration> {
        self.deadlines.iter().flatten().min().copied()
    }
}

//! Deadlines: at most a few heap entries for a connection, none for a request.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::conn::{Deadline, Proto, DEADLINES};
use super::h2::frame::code;
use super::slab::Key;
use super::{Engine, Failure, Io, Role};

impl Engine {
    /// When [`Engine::handle_timeout`] wants to be called; later calls to other functions may make
    /// it earlier, and it may turn out that nothing was due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Reverse((at, _)) = self.timers.peek()?;
        Some(self.start + *at)
    }

    /// Ends what has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        while let Some(Reverse((at, key))) = self.timers.peek().copied() {
            if at > self.now {
                return;
            }
            self.timers.pop();
            let Some(conn) = self.conns.get_mut(key) else {
                continue;
            };
            if conn.timer != Some(at) {
                continue;
            }
            conn.timer = None;
            self.expire(key);
            self.arm(key);
        }
    }

    /// Sets (`Some`, from now) or clears a deadline of a connection.
    pub(super) fn set_deadline(&mut self, key: Key, which: Deadline, after: Option<Duration>) {
        let at = after.map(|after| self.now + after);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.deadlines[which as usize] = at;
        // A later deadline needs no new entry: the present one finds out when it is due.
        if at.is_some_and(|at| conn.timer.is_none_or(|timer| at < timer)) {
            self.arm(key);
        }
    }

    fn arm(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Some(at) = conn.earliest() else { return };
        if conn.timer.is_none_or(|timer| at < timer) {
            conn.timer = Some(at);
            self.timers.push(Reverse((at, key)));
        }
    }

    fn expire(&mut self, key: Key) {
        for which in DEADLINES {
            let Some(conn) = self.conns.get_mut(key) else {
                return;
            };
            if conn.deadlines[which as usize].is_none_or(|at| at > self.now) {
                continue;
            }
            conn.deadlines[which as usize] = None;
            let (role, h2) = (conn.role, matches!(conn.proto, Proto::H2(_)));
            match which {
                Deadline::Head if h2 => self.h2_fail(key, code::PROTOCOL_ERROR),
                Deadline::Head if role == Role::Server => self.h1_late(key),
                Deadline::Idle if h2 => self.h2_drain(key),
                Deadline::Head | Deadline::Idle => self.set_io(key, Io::Close),
                Deadline::Stall => self.check_stalled(key),
                Deadline::Ping => self.h2_watch(key),
                Deadline::Drain => {
                    self.fail_connection(key, Failure::Timeout);
                    self.set_io(key, Io::Close);
                }
            }
        }
    }

    /// Starts the stall clock of a connection for which something waits. An application may leave
    /// opaque bytes unread for as long as it likes.
    pub(super) fn watch_stall(&mut self, key: Key) {
        if self.is_raw(key) {
            return;
        }
        let after = self.limits.stall_timeout;
        let idle = self
            .conns
            .get(key)
            .is_some_and(|conn| conn.deadlines[Deadline::Stall as usize].is_none());
        if idle {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.stall_mark = conn.drained;
            }
            self.set_deadline(key, Deadline::Stall, Some(after));
        }
    }

    /// Ends the streams, or the connection, to which next to nothing could be sent in the time
    /// allowed: a window that opens by one octet at a time is as good as closed.
    fn check_stalled(&mut self, key: Key) {
        const PROGRESS: u64 = 1024;
        let after = self.limits.stall_timeout;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let stuck = conn.pending_out() > 0 && conn.drained - conn.stall_mark < PROGRESS;
        if stuck {
            self.fail_connection(key, Failure::Timeout);
            self.set_io(key, Io::Abort);
            return;
        }
        let streams = self.streams_of(key);
        let mut waits = false;
        for stream in streams {
            let opaque = self.is_opaque(stream);
            let Some(state) = self.streams.get_mut(stream) else {
                continue;
            };
            if !state.held || state.closed || opaque {
                continue;
            }
            if state.sent - state.stalled_sent >= PROGRESS {
                state.stalled_since = self.now;
                state.stalled_sent = state.sent;
            }
            if state.stalled_since + after <= self.now {
                self.fail_stream(stream, Failure::Timeout, Some(code::CANCEL));
            } else {
                waits = true;
            }
        }
        let waits = waits
            || self
                .conns
                .get(key)
                .is_some_and(|conn| conn.pending_out() > 0);
        if waits {
            self.watch_stall(key);
        }
    }

    pub(super) fn streams_of(&self, key: Key) -> Vec<Key> {
        match self.conns.get(key).map(|conn| &conn.proto) {
            Some(Proto::H1(h1)) => h1.current().into_iter().collect(),
            Some(Proto::H2(h2)) => h2.ids.iter().map(|(_, key)| *key).collect(),
            None => Vec::new(),
        }
    }
}

//! What a peer may make the engine hold or do.

use std::time::Duration;

/// Limits and timeouts of every connection of an engine.
///
/// # Source
/// The defaults follow Envoy's guidance for edges, h2 0.4.18 and HAProxy's glitch counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a head or trailer section, each field counted with 32 octets more.
    pub head_bytes: usize,
    /// Fields of a head or trailer section; at most 512.
    pub head_fields: usize,
    /// Requests that one HTTP/2 client may have open.
    pub streams: u32,
    /// HTTP/2 window of a stream in octets; at least 65,535. Bounds what a stream buffers.
    pub stream_window: u32,
    /// HTTP/2 window of a connection in octets; at least 65,535.
    pub connection_window: u32,
    /// Dynamic table that HTTP/2 peers may use, in octets.
    pub header_table: u32,
    /// Octets of body that may wait in a connection's out buffer before its sources are held back.
    pub out_high: usize,
    /// Octets in the out buffer from which a connection is no longer read.
    pub out_max: usize,
    /// Octets that may arrive behind a request that is still being answered (pipelining).
    pub pipeline: usize,
    /// Octets of a request body that are read and dropped after an early answer.
    pub discard: u64,
    /// Octets of a chunk's size line, extensions included.
    pub chunk_line: usize,
    /// Score of requests that the peer took back before an answer, from which, when they are more
    /// than half of all, the connection is cut; 20 decay per second.
    pub early_resets: u32,
    /// Score of frames that do no work, from which a connection is cut; 100 decay per second.
    pub noise: u32,
    /// Score of protocol anomalies that are answered with a stream error; 10 decay per second.
    pub glitches: u32,
    /// CONTINUATION frames of one header block.
    pub continuations: u32,
    /// From the first octet of a head (or the start of the connection) to its end.
    pub head_timeout: Duration,
    /// Without any request in flight. Zero: for ever.
    pub idle_timeout: Duration,
    /// How long a peer may take next to nothing of what waits for it.
    pub stall_timeout: Duration,
    /// How long an HTTP/2 connection may take to finish its streams after [`drain`](super::Engine::drain).
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            head_fields: 200,
            streams: 250,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            header_table: 4096,
            out_high: 128 * 1024,
            out_max: 1024 * 1024,
            pipeline: 16 * 1024,
            discard: 256 * 1024,
            chunk_line: 1024,
            early_resets: 100,
            noise: 1000,
            glitches: 100,
            continuations: 64,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// What an HTTP/2 connection of ours offers its peer, and how it watches it.
#[derive(Debug, Clone, Copy)]
pub struct Http2 {
    /// Window of a stream in octets; at least 65,535. Bounds what a stream buffers.
    pub stream_window: u32,
    /// Window of the connection in octets; at least 65,535.
    pub connection_window: u32,
    /// Requests that a client may have open.
    pub streams: u32,
    /// Time between pings, and how long an answer may take; `None` for no pings.
    pub ping: Option<(Duration, Duration)>,
    /// Pings without streams too.
    pub ping_idle: bool,
    /// Streams are connections of their own: they may outlast a [`drain`](super::Engine::drain) for as
    /// long as they like, and the window of one that is read as fast as it arrives grows.
    pub lasting: bool,
}

impl Http2 {
    /// The offer of `limits`, without pings.
    pub fn of(limits: &Limits) -> Self {
        Self {
            stream_window: limits.stream_window,
            connection_window: limits.connection_window,
            streams: limits.streams,
            ping: None,
            ping_idle: false,
            lasting: false,
        }
    }

    /// Windows that the protocol allows.
    pub(super) fn sound(mut self) -> Self {
        self.stream_window = self.stream_window.clamp(65_535, 1 << 30);
        self.connection_window = self.connection_window.clamp(65_535, 1 << 30);
        self
    }
}

/// A score that leaks.
#[derive(Debug, Default)]
pub(super) struct Score {
    value: u32,
    at: Duration,
}

impl Score {
    /// Adds `weight` at `now` (since the engine's start) after leaking `rate` per second.
    pub(super) fn add(&mut self, weight: u32, rate: u32, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.at).as_millis();
        let leaked = passed.saturating_mul(u128::from(rate)) / 1000;
        if leaked > 0 {
            self.value = self
                .value
                .saturating_sub(leaked.min(u128::from(u32::MAX)) as u32);
            self.at = now;
        }
        self.value = self.value.saturating_add(weight);
        self.value
    }

    /// Takes back `weight`: the peer did something useful.
    pub(super) fn forgive(&mut self, weight: u32) {
        self.value = self.value.saturating_sub(weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_leaks_with_time_and_is_forgiven_for_work() {
        let mut score = Score::default();
        assert_eq!(150, score.add(150, 10, Duration::ZERO));
        assert_eq!(151, score.add(1, 10, Duration::from_millis(50)));
        assert_eq!(142, score.add(1, 10, Duration::from_millis(1000)));
        score.forgive(100);
        assert_eq!(42, score.add(0, 10, Duration::from_millis(1001)));
        assert_eq!(1, score.add(1, 10, Duration::from_secs(60)));
    }
}

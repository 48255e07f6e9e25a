//! What a driver and an engine say to each other.

use std::time::Instant;

use super::slab::Key;
use super::stream::Frames;

/// Names a connection of one engine; stale after [`Engine::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(super) Key);

/// Names an exchange of one engine; stale after its [`Event::Finished`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(super) Key);

impl ConnId {
    /// A small number that no other open connection has: an index for the driver's own tables.
    pub fn index(self) -> usize {
        self.0.index as usize
    }
}

impl StreamId {
    /// A small number that no other open exchange has: an index for the driver's own tables.
    pub fn index(self) -> usize {
        self.0.index as usize
    }
}

/// Which end of a connection the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Requests come in.
    Server,
    /// Requests go out.
    Client,
}

/// What a connection speaks; the driver has found out or decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and 1.0.
    H1,
    /// HTTP/2 with prior knowledge or by ALPN.
    H2,
    /// Opaque bytes: the connection is one tunnel, an exchange without heads.
    Raw,
}

/// What the driver shall do with a connection's transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// Read and write.
    Open,
    /// Write what is in the out buffer, then close the writing half; keep reading.
    Shutdown,
    /// Write what is in the out buffer, then close.
    Close,
    /// Close at once.
    Abort,
}

/// Why an exchange did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server did not process the request at all: it may be sent again, whatever it is.
    Refused,
    /// The peer reset the stream with this HTTP/2 error code.
    Reset(u32),
    /// The connection ended first.
    Closed,
    /// The peer's message broke the protocol's rules.
    Protocol,
    /// A time limit passed.
    Timeout,
    /// The driver, or the other side of the exchange, gave up.
    Cancelled,
}

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Octets of request body received.
    pub request_bytes: u64,
    /// Octets of response body written.
    pub response_bytes: u64,
    /// Pieces in which the request's body arrived.
    pub request_frames: Frames,
    /// Pieces in which the response's body arrived.
    pub response_frames: Frames,
    /// When the whole request had been sent to the target, if it ever was.
    pub request_sent: Option<Instant>,
    /// None when both messages passed completely.
    pub failure: Option<Failure>,
    /// The failure came from the client, or from its connection.
    pub by_client: bool,
}

/// What a driver learns from [`Engine::poll_event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request's head is complete: [`Engine::request`] shows it. Answer by `forward`, `respond` or
    /// `reset`, now or later.
    Request {
        /// Where it came in.
        conn: ConnId,
        /// The exchange.
        stream: StreamId,
    },
    /// The final head of the response is there: [`Engine::response`] shows it. Answer by
    /// `forward_response`, `respond`, `release` or `reset`.
    Response {
        /// The exchange.
        stream: StreamId,
    },
    /// The first octets of the response's body are there.
    Body {
        /// The exchange.
        stream: StreamId,
    },
    /// The response's trailers are there and on their way: [`Engine::trailers`] shows them.
    Trailers {
        /// The exchange.
        stream: StreamId,
    },
    /// The target failed before a response was forwarded, and the exchange is without target.
    /// Answer by `respond`, `reset`, or `forward` when [`Engine::can_retry`].
    Failed {
        /// The exchange.
        stream: StreamId,
        /// What happened.
        failure: Failure,
    },
    /// The exchange is over: [`Engine::summary`] tells how it went. Its views stay valid until the
    /// next poll.
    Finished {
        /// The exchange.
        stream: StreamId,
    },
    /// A client connection can take another request (HTTP/1), or its capacity has changed (HTTP/2).
    Ready {
        /// The connection.
        conn: ConnId,
    },
    /// The peer takes no new requests on this client connection (GOAWAY).
    Draining {
        /// The connection.
        conn: ConnId,
    },
}

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// When the request had been written to the target completely.
    pub request: Option<Instant>,
    /// When anything was last written, either way.
    pub latest: Instant,
}

/// Why [`Engine::forward`] did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The exchange is over, has a target, or was answered.
    Gone,
    /// The target cannot take a request now.
    Busy,
    /// The edit holds text that cannot be written, or the request cannot be said in the target's
    /// protocol.
    Unfit,
}

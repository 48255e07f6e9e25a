//! Which version of HTTP a connection speaks, if any.

use super::Version;
use crate::net::io::{Io, Peeked};
use linkerd_proxy_core::detect::{http, Http};
use std::io;
use std::time::Duration;

/// Enough for any request line that settles the question.
const BYTES_MAX: usize = 1024;

/// Outcome of detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// This version.
    Http(Version),
    /// Bytes.
    NotHttp,
    /// The client said nothing in time.
    TimedOut,
    /// The client closed without a word.
    Closed,
}

/// Looks at the first bytes; they stay in front of the stream.
///
/// # Errors
/// The transport's.
pub async fn detect(io: &mut Io, timeout: Duration) -> io::Result<Detected> {
    let decide = |bytes: &[u8]| match http(bytes) {
        Http::Incomplete => None,
        Http::Http1 => Some(Detected::Http(Version::Http1)),
        Http::Http2 => Some(Detected::Http(Version::Http2)),
        Http::NotHttp => Some(Detected::NotHttp),
    };
    Ok(match io.peek_within(timeout, BYTES_MAX, decide).await? {
        Peeked::Answer(detected) => detected,
        Peeked::End if io.peeked() == 0 => Detected::Closed,
        Peeked::End => Detected::NotHttp,
        // A client that began a request line but is slow is more likely HTTP than not; the rest
        // decides, since a truncated line is no other protocol.
        Peeked::TimedOut => Detected::TimedOut,
    })
}

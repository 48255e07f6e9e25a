//! HTTP as bytes on connections: the seam behind which another engine can take hyper's place.
//!
//! What is outside knows requests, responses, [`body::Body`] and [`client::HttpClient`]; nothing
//! outside names a hyper connection.

pub mod body;
pub mod client;
pub mod detect;
pub mod filters;
pub mod headers;
pub mod observed;
pub mod peek;
pub mod replay;
pub mod respond;
pub mod server;
pub mod timed;
pub mod upgrade;

/// The version that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection or stream that broke; its source chain leads to the reason of a reset.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// By the peer or its connection.
    #[error(transparent)]
    Transport(#[from] hyper::Error),
    /// By us, because the exchange took too long.
    #[error("exchange timed out")]
    TimedOut(#[source] h2::Error),
}

impl Broken {
    /// An exchange that took too long; the peer's stream is cancelled.
    pub fn timed_out() -> Self {
        Self::TimedOut(h2::Reason::CANCEL.into())
    }

    /// Whether the peer says that it has done nothing with the request.
    pub fn is_refused(&self) -> bool {
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            if let Some(h2) = cause.downcast_ref::<h2::Error>() {
                return h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            }
            source = cause.source();
        }
        false
    }
}

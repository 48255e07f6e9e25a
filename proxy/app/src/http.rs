//! HTTP as bytes on connections: the seam behind which another engine can take hyper's place.
//!
//! What is outside knows requests, responses, [`body::Body`] and [`client::HttpClient`]; nothing
//! outside names a hyper connection.

pub mod body;
pub mod client;
pub mod detect;
pub mod headers;
pub mod respond;
pub mod server;
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
#[error(transparent)]
pub struct Broken(#[from] hyper::Error);

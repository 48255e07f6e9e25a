//! HTTP on connections.
//!
//! Traffic is carried by the engine of `proxy/core`, which [`worker`] drives; [`server`] and [`body`]
//! are hyper's part: the admin and tap servers and the clients of the control plane.

pub mod body;
pub mod detect;
pub mod ending;
pub mod headers;
pub mod heads;
pub mod in_flight;
pub mod respond;
pub mod server;
pub mod worker;

/// The version that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection of the admin or tap server, or to the control plane, that broke.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Broken(#[from] hyper::Error);

//! Sockets, TLS, names and copying of bytes.

pub mod accept;
pub mod anchors;
pub mod connect;
pub mod first;
pub mod io;
pub mod relay;
pub mod resolve;
pub mod socket;
pub mod tls;

//! What discovery says about one endpoint.

use crate::identity::Id;
use std::net::SocketAddr;
use std::time::Duration;

/// What the peer's proxy prefers to be spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Whatever the application speaks.
    #[default]
    Unknown,
    /// HTTP/2 between proxies, also for HTTP/1 requests.
    Http2,
    /// Bytes.
    Opaque,
}

/// Whom to expect at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// The SAN that the certificate must carry.
    pub id: Id,
    /// The SNI to send.
    pub server_name: String,
}

/// HTTP/2 towards one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http2Params {
    /// Initial window of a stream.
    pub stream_window: Option<u32>,
    /// Initial window of the connection.
    pub connection_window: Option<u32>,
    /// Whether windows follow the path's bandwidth and delay.
    pub adaptive: bool,
    /// Interval and timeout of pings, and whether idle connections are pinged.
    pub keep_alive: Option<(Duration, Duration, bool)>,
}

/// Everything that decides how an endpoint is reached and labelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is.
    pub addr: SocketAddr,
    /// Relative share of traffic; 10_000 is normal, 0 never picked while others can be.
    pub weight: u32,
    /// Identity; `None` for plaintext.
    pub tls: Option<ServerTls>,
    /// Protocol between proxies.
    pub hint: Hint,
    /// Port of the peer's proxy that takes a transport header.
    pub opaque_transport: Option<u16>,
    /// Authority to put in place of the request's (multicluster gateways).
    pub authority_override: Option<String>,
    /// Labels, sorted by name, without the `dst_` prefix.
    pub labels: Vec<(String, String)>,
    /// How to speak HTTP/2 to it, where that differs from our settings.
    pub http2: Option<Http2Params>,
}

impl Endpoint {
    /// An endpoint about which nothing is known.
    pub fn plain(addr: SocketAddr) -> Self {
        Self {
            addr,
            weight: 10_000,
            tls: None,
            hint: Hint::Unknown,
            opaque_transport: None,
            authority_override: None,
            labels: Vec::new(),
            http2: None,
        }
    }
}

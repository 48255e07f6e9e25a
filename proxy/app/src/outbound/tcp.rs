//! Bytes to an endpoint.

use super::endpoint::Pending;
use super::logical::{BackendTarget, ByteRule, Logical};
use super::Outbound;
use crate::drain::Drain;
use crate::net::io::{Io, Peeked};
use crate::net::relay::relay_io;
use crate::telemetry::bytes::Labelled;
use linkerd_proxy_core::detect::{tls, Tls};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::outbound::{find_sni, Protocol};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// No ClientHello that is routed is longer.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// A connection to an endpoint that counts as its load.
pub struct Dialled(pub (Io, Pending));

impl AsMut<Io> for Dialled {
    fn as_mut(&mut self) -> &mut Io {
        &mut self.0 .0
    }
}

impl Outbound {
    /// Connects to an endpoint, unless that was done, and copies until both sides are done.
    ///
    /// # Errors
    /// When no endpoint can be reached in time, or the sockets'.
    pub async fn bytes(
        self: Arc<Self>,
        mut io: Io,
        logical: &Logical,
        target: SocketAddr,
        drain: Drain,
        dialled: Option<Dialled>,
    ) -> io::Result<()> {
        let _held = drain;
        let (route, counted) = match &logical.policy.protocol {
            Protocol::Tls(routes) => {
                let sni = self.server_name(&mut io).await?;
                let found = find_sni(routes, &sni).and_then(|i| logical.tls.get(i));
                let route =
                    found.ok_or_else(|| io::Error::other("no route for the server name"))?;
                (
                    route,
                    Labelled::tls(&self.metrics.bytes, &route.metrics, &sni),
                )
            }
            Protocol::Detect { .. }
            | Protocol::Http1(_)
            | Protocol::Http2(_)
            | Protocol::Opaque(_) => {
                let route = &logical.opaque;
                (
                    route,
                    Labelled::tcp(&self.metrics.bytes, &route.metrics, target),
                )
            }
        };
        counted.opened();
        let dialled = match dialled {
            Some(Dialled(made)) => Ok(made),
            None => self.dial(route).await,
        };
        let done = match dialled {
            Ok((server, _pending)) => relay_io(io, server).await,
            Err(failure) => {
                let error = if route.rule.policy.distribution.forbids() {
                    "forbidden"
                } else if failure == Failure::NoBackend {
                    "invalid_backend"
                } else {
                    "unexpected"
                };
                counted.closed(error);
                return Err(io::Error::other(failure.answer().text));
            }
        };
        counted.closed(if done.is_ok() { "" } else { "unexpected" });
        done
    }

    /// The name that a TLS client asks for.
    async fn server_name(&self, io: &mut Io) -> io::Result<String> {
        let decide = |bytes: &[u8]| match tls(bytes) {
            Tls::Incomplete => None,
            done @ (Tls::Sni(_) | Tls::NotTls) => Some(done),
        };
        let timeout = self.settings.outbound.detect_timeout;
        match io.peek_within(timeout, HELLO_BYTES_MAX, decide).await? {
            Peeked::Answer(Tls::Sni(name)) => Ok(name),
            Peeked::Answer(Tls::NotTls | Tls::Incomplete) | Peeked::End => {
                Err(io::Error::other("connection names no server"))
            }
            Peeked::TimedOut => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "tls detection timed out",
            )),
        }
    }

    pub(super) async fn dial(&self, route: &ByteRule) -> Result<(Io, Pending), Failure> {
        let deadline = Instant::now() + self.settings.outbound.tcp_failfast_timeout;
        let backend = route.rule.pick().ok_or(Failure::NoBackend)?;
        match &backend.target {
            BackendTarget::Fail => Err(Failure::NoBackend),
            BackendTarget::Forward(endpoint) => endpoint.connect().await,
            BackendTarget::Balance(balancer) => loop {
                let endpoint = balancer
                    .acquire(deadline, self.settings.outbound.tcp_queue_capacity)
                    .await?;
                match endpoint.connect().await {
                    Ok(connected) => return Ok(connected),
                    Err(_) => balancer.failed(&endpoint),
                }
            },
        }
    }
}

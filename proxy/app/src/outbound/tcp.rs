//! Bytes to an endpoint.

use super::discover::{BackendTarget, Logical};
use super::endpoint::Pending;
use super::Outbound;
use crate::drain::Drain;
use crate::net::io::Io;
use crate::net::relay::relay_io;
use linkerd_proxy_core::failure::Failure;
use std::io;
use std::sync::Arc;
use tokio::time::Instant;

impl Outbound {
    /// Connects to an endpoint and copies until both sides are done.
    ///
    /// # Errors
    /// When no endpoint can be reached in time, or the sockets'.
    pub(super) async fn bytes(
        self: Arc<Self>,
        io: Io,
        logical: &Logical,
        drain: Drain,
    ) -> io::Result<()> {
        let _held = drain;
        let failed = |failure: Failure| io::Error::other(failure.answer().text);
        let (server, _pending) = self.dial(logical).await.map_err(failed)?;
        relay_io(io, server).await
    }

    async fn dial(&self, logical: &Logical) -> Result<(Io, Pending), Failure> {
        let deadline = Instant::now() + self.settings.outbound.failfast_timeout;
        let backend = logical.opaque.pick().ok_or(Failure::NoBackend)?;
        match &backend.target {
            BackendTarget::Fail => Err(Failure::NoBackend),
            BackendTarget::Forward(endpoint) => endpoint.connect().await,
            BackendTarget::Balance(balancer) => loop {
                let endpoint = balancer
                    .acquire(deadline, self.settings.outbound.queue_capacity)
                    .await?;
                match endpoint.connect().await {
                    Ok(connected) => return Ok(connected),
                    Err(_) => balancer.failed(&endpoint),
                }
            },
        }
    }
}

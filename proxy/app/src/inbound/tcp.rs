//! Bytes to the application.

use super::{audit, Accepted, Inbound};
use crate::drain::Drain;
use crate::net::io::Io;
use crate::net::relay::relay_io;
use crate::net::socket::{connect, Options};
use crate::telemetry::{short_meta, target_labels};
use linkerd_proxy_core::labels::Labels;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

impl Inbound {
    /// Admits a connection of bytes under the policy as it is now; returns its labels.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(super) fn admit(&self, accepted: &Accepted) -> io::Result<Labels> {
        let policy = accepted.policy.borrow().clone();
        let server = target_labels(accepted.target)
            .and(&short_meta("srv", &policy.meta))
            .with_display("srv_port", accepted.target.port());
        let tls = accepted.tls.labels();
        let Some(admitted) = policy.authorize(accepted.client.ip(), &accepted.tls.peer()) else {
            self.metrics.tcp_deny.get(&server.and(&tls)).add(1);
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "unauthorized connection",
            ));
        };
        let meta = &admitted.meta;
        let allowed = server.and(&short_meta("authz", meta)).and(&tls);
        self.metrics.tcp_allow.get(&allowed).add(1);
        audit(&meta.name, accepted.client, accepted.target, &accepted.tls);
        Ok(allowed)
    }

    /// Connects to the application.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn dial(&self, target: SocketAddr) -> io::Result<Io> {
        let direction = &self.settings.inbound;
        let options = Options {
            keepalive: direction.connect_keepalive,
            user_timeout: direction.connect_user_timeout,
        };
        let tcp = connect(target, direction.connect_timeout, options)
            .await
            // Its kind must not look like a timeout of detection.
            .map_err(io::Error::other)?;
        Ok(Io::from(tcp).metered(self.target_transport().open()))
    }

    /// Authorizes once, and again whenever the policy changes, while bytes are copied.
    ///
    /// # Errors
    /// `PermissionDenied`, or the socket's.
    pub(super) async fn bytes(
        self: Arc<Self>,
        io: Io,
        accepted: Accepted,
        drain: Drain,
        dialled: Option<Io>,
    ) -> io::Result<()> {
        let _held = drain;
        let io = io.metered(self.source_transport(&accepted).open());
        let mut policy = accepted.policy.clone();
        policy.mark_unchanged();
        let allowed = self.admit(&accepted)?;
        let server = match dialled {
            Some(server) => server,
            None => self.dial(accepted.target).await?,
        };
        let (ip, peer) = (accepted.client.ip(), accepted.tls.peer());
        let copy = relay_io(io, server);
        tokio::pin!(copy);
        loop {
            tokio::select! {
                done = &mut copy => return done,
                changed = policy.changed() => {
                    if changed.is_err() {
                        // Nobody can change it any more.
                        return copy.await;
                    }
                    if policy.borrow_and_update().authorize(ip, &peer).is_none() {
                        self.metrics.tcp_terminate.get(&allowed).add(1);
                        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "permission withdrawn"));
                    }
                }
            }
        }
    }
}

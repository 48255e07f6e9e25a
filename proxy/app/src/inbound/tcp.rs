//! Bytes to the application.

use super::{audit, Accepted, Inbound};
use crate::drain::Drain;
use crate::net::io::Io;
use crate::net::relay::relay_io;
use crate::net::socket::{connect, Options};
use crate::policy::Watched;
use crate::telemetry::registry::Counter;
use crate::telemetry::short_meta;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::meta::Meta;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::info;

/// What a policy says of connections of bytes of one client.
pub(super) enum Judged {
    /// They may pass.
    Allowed {
        /// What they are counted as.
        labels: Labels,
        counter: Arc<Counter>,
        /// Who says so.
        by: Arc<Meta>,
    },
    /// They may not.
    Denied(Arc<Counter>),
}

impl Inbound {
    /// Judges a connection of bytes under the policy as it is now.
    pub(super) fn judge(&self, accepted: &Accepted) -> Judged {
        let policy = accepted.policy.borrow().clone();
        let server = accepted.server_labels(&policy);
        let tls = accepted.tls.labels();
        let Some(admitted) = policy.authorize(accepted.client.ip(), &accepted.tls.peer()) else {
            return Judged::Denied(self.metrics.tcp_deny.get(&server.and(&tls)));
        };
        let labels = server.and(&short_meta("authz", &admitted.meta)).and(&tls);
        Judged::Allowed {
            counter: self.metrics.tcp_allow.get(&labels),
            labels,
            by: admitted.meta.clone(),
        }
    }

    /// Counts a connection that was judged; returns its labels.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(super) fn admit<'a>(
        &self,
        accepted: &Accepted,
        judged: &'a Judged,
    ) -> io::Result<&'a Labels> {
        match judged {
            Judged::Allowed {
                labels,
                counter,
                by,
            } => {
                counter.add(1);
                audit(&by.name, accepted.client, accepted.target, &accepted.tls);
                Ok(labels)
            }
            Judged::Denied(counter) => {
                counter.add(1);
                let Accepted {
                    client,
                    target,
                    tls,
                    ..
                } = accepted;
                info!(%client, %target, tls = tls.labels().as_str(), "Connection denied");
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "unauthorized connection",
                ))
            }
        }
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
        Ok(Io::from(tcp).metered(self.application().open()))
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
        let judged = self.judge(&accepted);
        let allowed = self.admit(&accepted, &judged)?;
        let server = match dialled {
            Some(server) => server,
            None => self.dial(accepted.target).await?,
        };
        tokio::select! {
            done = relay_io(io, server) => done,
            () = withdrawn(&mut policy, &accepted) => {
                self.metrics.tcp_terminate.get(allowed).add(1);
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "permission withdrawn"))
            }
        }
    }
}

/// Waits until a policy no longer lets a client pass.
pub(super) async fn withdrawn(policy: &mut Watched, accepted: &Accepted) {
    let ip = accepted.client.ip();
    loop {
        if policy.changed().await.is_err() {
            // Nobody can change it any more.
            std::future::pending::<()>().await;
        }
        let peer = accepted.tls.peer();
        if policy.borrow_and_update().authorize(ip, &peer).is_none() {
            return;
        }
    }
}

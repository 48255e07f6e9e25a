//! Reaches one endpoint: socket, TLS, transport header.

use super::io::{Io, Socket};
use super::socket::{connect, Options};
use super::tls::{Agreed, MeshTls};
use crate::telemetry::transport::Transport;
use bytes::Bytes;
use linkerd_proxy_core::endpoint::ServerTls;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::transport_header::{Header, Session};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tracing::debug;

/// How to reach an endpoint.
pub struct Connector {
    /// Where to dial.
    pub addr: SocketAddr,
    /// Whom to expect; `None` for plaintext.
    pub tls: Option<(Arc<MeshTls>, ServerTls)>,
    /// What to say after the handshake, without the session.
    pub header: Option<Header>,
    /// For socket and TLS together.
    pub timeout: Duration,
    /// Of the socket.
    pub options: Options,
    /// Counts the connections.
    pub transport: Transport,
}

impl Connector {
    /// Connects for bytes of the given protocol.
    ///
    /// # Errors
    /// [`Failure::ConnectTimeout`] or [`Failure::Connect`]; the reason is logged.
    pub async fn connect(&self, session: Option<Session>) -> Result<Io, Failure> {
        let (io, _) = self
            .within(self.establish(session, &[Agreed::Header]))
            .await?;
        Ok(io.metered(self.transport.open()))
    }

    /// Whether the peer may be another proxy of ours, which carries opaque connections as streams. A
    /// gateway's connections are far, and each has its own.
    pub fn may_have_streams(&self) -> bool {
        let tls = self
            .tls
            .as_ref()
            .is_some_and(|(mesh, _)| mesh.has_streams());
        tls && self
            .header
            .as_ref()
            .is_some_and(|header| header.name.is_none())
    }

    /// Connects for bytes; with `true` the connection carries streams and is not counted as a
    /// connection, else it is one for bytes.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_for_streams(&self) -> Result<(Io, bool), Failure> {
        let offer = [Agreed::Streams, Agreed::Header];
        let (io, agreed) = self.within(self.establish(None, &offer)).await?;
        if agreed == Agreed::Streams {
            return Ok((io, true));
        }
        Ok((io.metered(self.transport.open()), false))
    }

    async fn within<T>(
        &self,
        connecting: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                debug!(addr = %self.addr, %error, "connection timed out");
                Err(Failure::ConnectTimeout)
            }
            Ok(Err(error)) => {
                debug!(addr = %self.addr, %error, "connection failed");
                Err(Failure::Connect)
            }
            Err(_) => {
                debug!(addr = %self.addr, timeout_ms = self.timeout.as_millis(), "connection timed out");
                Err(Failure::ConnectTimeout)
            }
        }
    }

    async fn establish(
        &self,
        session: Option<Session>,
        offer: &[Agreed],
    ) -> io::Result<(Io, Agreed)> {
        let tcp = connect(self.addr, self.timeout, self.options).await?;
        let Some((mesh, server)) = &self.tls else {
            return Ok((tcp.into(), Agreed::Nothing));
        };
        let socket = Socket::new(tcp, Bytes::new());
        let offer = if self.header.is_some() { offer } else { &[] };
        let (mut io, agreed) = mesh.connect(socket, server, offer).await?;
        let header = self.header.as_ref();
        if let Some(header) = header.filter(|_| agreed != Agreed::Streams) {
            io.write_all(
                &Header {
                    session,
                    ..header.clone()
                }
                .encode(),
            )
            .await?;
        }
        Ok((io, agreed))
    }
}

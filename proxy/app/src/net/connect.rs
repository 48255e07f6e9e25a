//! Reaches one endpoint: socket, TLS, transport header.

use super::io::{Io, Socket};
use super::socket::{connect, Options};
use super::tls::MeshTls;
use crate::telemetry::transport::Transport;
use bytes::Bytes;
use linkerd_proxy_core::endpoint::ServerTls;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::transport_header::{Header, Session};
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
        match tokio::time::timeout(self.timeout, self.establish(session)).await {
            Ok(Ok(io)) => Ok(io.metered(self.transport.open())),
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

    async fn establish(&self, session: Option<Session>) -> io::Result<Io> {
        let tcp = connect(self.addr, self.timeout, self.options).await?;
        let Some((mesh, server)) = &self.tls else {
            return Ok(tcp.into());
        };
        let socket = Socket::new(tcp, Bytes::new());
        let mut io = mesh.connect(socket, server, self.header.is_some()).await?;
        if let Some(header) = &self.header {
            io.write_all(
                &Header {
                    session,
                    ..header.clone()
                }
                .encode(),
            )
            .await?;
        }
        Ok(io)
    }
}

//! A connection to one part of the control plane, made when needed.

use super::grpc::{code, encode, Status, Streaming};
use crate::http::body::Body;
use crate::net::io::{Io, Socket};
use crate::net::resolve::resolve;
use crate::net::socket::{connect, Options};
use crate::net::tls::MeshTls;
use crate::settings::{ControlAddr, Direction};
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::route::ControlFamilies;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use linkerd_proxy_core::endpoint::ServerTls;
use prost::Message;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tracing::debug;

const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls one service over one HTTP/2 connection, which is replaced when it breaks.
pub struct Client {
    target: ControlAddr,
    tls: Arc<MeshTls>,
    connect_timeout: Duration,
    options: Options,
    connection: Mutex<Option<SendRequest<Body>>>,
    metrics: Arc<HttpMetrics>,
}

impl Client {
    /// Connects on first use, with the timeouts of `direction`.
    pub fn new(
        target: ControlAddr,
        tls: Arc<MeshTls>,
        direction: &Direction,
        metrics: &ControlFamilies,
    ) -> Self {
        let server = target.identity.as_ref().map(|id| id.as_str());
        let metrics = metrics.service(&target.addr.to_string(), server);
        let options = Options {
            keepalive: direction.connect_keepalive,
            user_timeout: direction.connect_user_timeout,
        };
        let connect_timeout = direction.connect_timeout;
        Self {
            target,
            tls,
            connect_timeout,
            options,
            connection: Mutex::new(None),
            metrics,
        }
    }

    /// Whether the service runs in our own pod.
    pub fn is_loopback(&self) -> bool {
        self.target.addr.is_loopback()
    }

    /// One request, one response.
    ///
    /// # Errors
    /// The server's status, or the transport's failure as UNAVAILABLE.
    pub async fn unary<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Res, Status> {
        let mut stream = self.server_stream::<Req, Res>(path, request).await?;
        let first = stream.next().await?;
        first.ok_or_else(|| Status::new(code::INTERNAL, "response has no message"))
    }

    /// One request, a stream of responses.
    ///
    /// # Errors
    /// The server's status if it comes at once, or the transport's failure as UNAVAILABLE.
    pub async fn server_stream<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Streaming<Res>, Status> {
        let mut exchange = Exchange::begin(self.metrics.clone(), true);
        let sent = self.send(path, encode(request)).await;
        let response = match sent {
            Ok(response) => response,
            Err(status) => {
                exchange.fail("unclassified");
                return Err(status);
            }
        };
        let code = response.headers().get("grpc-status");
        exchange.head(response.status().as_u16(), code.map(|code| code.as_bytes()));
        if let Some(status) = Status::from_headers(response.headers()) {
            if status.code != 0 {
                return Err(status);
            }
        }
        if response.status() != http::StatusCode::OK {
            let code = match response.status().as_u16() {
                404 => code::UNIMPLEMENTED,
                403 => 7,
                _ => code::UNAVAILABLE,
            };
            return Err(Status::new(
                code,
                format!("http status {}", response.status()),
            ));
        }
        Ok(Streaming::new(response.into_body(), exchange))
    }

    async fn send(&self, path: &str, message: Bytes) -> Result<Response<Incoming>, Status> {
        let unavailable = |error: &dyn std::fmt::Display| Status::new(code::UNAVAILABLE, error);
        let mut sender = self.sender().await.map_err(|error| unavailable(&error))?;
        let uri = format!("http://{}{path}", self.target.addr);
        let request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::full(message))
            .map_err(|error| Status::new(code::INTERNAL, error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| unavailable(&error))
    }

    /// The live connection, or a new one.
    async fn sender(&self) -> io::Result<SendRequest<Body>> {
        let mut slot = self.connection.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        *slot = None;
        let io = self.dial().await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(1 << 16)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let target = self.target.addr.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%target, %error, "control plane connection ended");
            }
        });
        *slot = Some(sender.clone());
        Ok(sender)
    }

    /// Tries the addresses in random order.
    async fn dial(&self) -> io::Result<Io> {
        let mut addrs = resolve(&self.target.addr).await?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        while !addrs.is_empty() {
            let addr = addrs.swap_remove(crate::random::with(|rng| rng.below(addrs.len())));
            match self.dial_one(addr).await {
                Ok(io) => return Ok(io),
                Err(error) => {
                    debug!(target_addr = %self.target.addr, %addr, %error, "cannot reach the control plane");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn dial_one(&self, addr: std::net::SocketAddr) -> io::Result<Io> {
        // The control plane deserves more patience than an endpoint that has equals.
        let timeout = self.connect_timeout.max(Duration::from_secs(1));
        let tcp = connect(addr, timeout, self.options).await?;
        match &self.target.identity {
            None => Ok(tcp.into()),
            Some(id) => {
                let server = ServerTls {
                    id: id.clone(),
                    server_name: id.to_string(),
                };
                let handshake = self
                    .tls
                    .connect(Socket::new(tcp, Bytes::new()), &server, false);
                tokio::time::timeout(Duration::from_secs(10), handshake)
                    .await
                    .map_err(|_| {
                        io::Error::new(io::ErrorKind::TimedOut, "tls handshake timed out")
                    })?
            }
        }
    }
}

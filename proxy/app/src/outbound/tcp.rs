//! Bytes to an endpoint.

use super::endpoint::{Endpoint, Pending};
use super::logical::{BackendTarget, ByteRule, Logical};
use super::Outbound;
use crate::drain::Drain;
use crate::http::worker::{count_for, dialled, serve_bytes, Exchange, Reached, Signal};
use crate::net::io::{Io, Peeked};
use crate::net::relay::relay_io;
use crate::telemetry::bytes::Labelled;
use crate::telemetry::target_labels;
use linkerd_proxy_core::detect::{tls, Tls};
use linkerd_proxy_core::engine::{self, code, ConnId, HeadEdit, Refusal};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::outbound::{find_sni, Protocol};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::debug;

/// No ClientHello that is routed is longer.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Ways that are tried for one connection, beside the endpoints that cannot be reached at all.
const ATTEMPTS: usize = 3;

/// A connection to an endpoint that counts as its load.
pub struct Dialled(pub (Io, Pending));

impl AsMut<Io> for Dialled {
    fn as_mut(&mut self) -> &mut Io {
        &mut self.0 .0
    }
}

/// Why no endpoint was reached.
#[derive(Debug)]
pub struct Unreached(Failure);

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.answer().text)
    }
}

impl std::error::Error for Unreached {}

/// What a connection's error counts as.
pub fn error_label(error: &io::Error) -> &'static str {
    let inner = error.get_ref();
    let unreached = inner.and_then(|inner| inner.downcast_ref::<Unreached>());
    match unreached {
        Some(Unreached(failure)) => failure.answer().metric.unwrap_or("unexpected"),
        None if inner.is_some() => "unexpected",
        None => "i/o",
    }
}

impl Outbound {
    /// Reaches an endpoint, unless that was done, and copies until both sides are done; where the
    /// endpoint's proxy takes streams, that goes on in the background.
    ///
    /// # Errors
    /// When no endpoint can be reached in time, or the sockets'.
    pub async fn bytes(
        self: Arc<Self>,
        mut io: Io,
        logical: Arc<Logical>,
        target: SocketAddr,
        drain: Drain,
        dialled: Option<Dialled>,
    ) -> io::Result<()> {
        let name = match &logical.policy.protocol {
            Protocol::Tls(_) => Some(self.server_name(&mut io).await?),
            Protocol::Detect { .. }
            | Protocol::Http1(_)
            | Protocol::Http2(_)
            | Protocol::Opaque(_) => None,
        };
        let route = Route::find(logical, name.as_deref())
            .ok_or_else(|| io::Error::other("no route for the server name"))?;
        let families = &self.metrics.bytes;
        let counted = match &name {
            Some(name) => Labelled::tls(families, &route.rule().metrics, name),
            None => Labelled::tcp(families, &route.rule().metrics, target),
        };
        counted.opened();
        let reached = match dialled {
            Some(Dialled((made, pending))) => Ok((Reached::Own(made), pending)),
            None => self.reach(route.rule()).await,
        };
        let done = match reached {
            Ok((Reached::Own(server), _pending)) => relay_io(io, server).await,
            Ok((Reached::Stream(carrier), pending)) => {
                let io = io.mirrored(pending.endpoint().transport().clone());
                let tunnel = Tunnel {
                    outbound: self,
                    route,
                    target,
                    counted,
                    error: "unexpected",
                };
                let carry = move |exchange| tunnel.carry(exchange, carrier, pending);
                serve_bytes(io, drain, carry);
                return Ok(());
            }
            Err(failure) => {
                let error = if route.rule().rule.policy.distribution.forbids() {
                    "forbidden"
                } else if failure == Failure::NoBackend {
                    "invalid_backend"
                } else {
                    "unexpected"
                };
                counted.closed(error);
                return Err(io::Error::other(Unreached(failure)));
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

    /// Connects to an endpoint, by a connection of its own.
    pub(super) async fn dial(&self, route: &ByteRule) -> Result<(Io, Pending), Failure> {
        self.try_endpoints(route, async |endpoint| endpoint.connect().await)
            .await
    }

    /// Finds a way to an endpoint.
    async fn reach(&self, route: &ByteRule) -> Result<(Reached, Pending), Failure> {
        self.try_endpoints(route, async |endpoint| endpoint.reach().await)
            .await
    }

    async fn try_endpoints<T>(
        &self,
        route: &ByteRule,
        attempt: impl AsyncFn(&Arc<Endpoint>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.settings.outbound.tcp_failfast_timeout;
        let backend = route.rule.pick().ok_or(Failure::NoBackend)?;
        match &backend.target {
            BackendTarget::Fail => Err(Failure::NoBackend),
            BackendTarget::Forward(endpoint) => attempt(endpoint).await,
            BackendTarget::Balance(balancer) => loop {
                let endpoint = balancer
                    .acquire(
                        route.traffic,
                        deadline,
                        self.settings.outbound.tcp_queue_capacity,
                    )
                    .await?;
                match attempt(&endpoint).await {
                    Ok(connected) => return Ok(connected),
                    Err(_) => balancer.failed(&endpoint),
                }
            },
        }
    }
}

/// A destination and its route for some bytes.
struct Route {
    logical: Arc<Logical>,
    /// Of TLS; `None` for the one of other bytes.
    tls: Option<usize>,
}

impl Route {
    fn find(logical: Arc<Logical>, name: Option<&str>) -> Option<Self> {
        let tls = match (&logical.policy.protocol, name) {
            (Protocol::Tls(routes), Some(name)) => {
                let found = find_sni(routes, name);
                Some(found.filter(|i| logical.tls.get(*i).is_some())?)
            }
            _ => None,
        };
        Some(Self { logical, tls })
    }

    fn rule(&self) -> &ByteRule {
        let named = self.tls.and_then(|i| self.logical.tls.get(i));
        named.unwrap_or(&self.logical.opaque)
    }
}

/// A client's opaque connection on its way as a stream.
struct Tunnel {
    outbound: Arc<Outbound>,
    route: Route,
    target: SocketAddr,
    counted: Labelled,
    /// How it ended; nothing when it ended well.
    error: &'static str,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.counted.closed(self.error);
    }
}

impl Tunnel {
    /// Carries it to the end. The client's bytes leave only when the endpoint's proxy has connected,
    /// so until then another way can be tried.
    async fn carry(mut self, exchange: Exchange, carrier: ConnId, pending: Pending) {
        if self.try_carry(exchange, carrier, pending).await {
            self.error = "";
            return;
        }
        debug!(target = %self.target, "outbound connection failed");
        let labels = target_labels(self.target).with("error", "i/o");
        self.outbound
            .metrics
            .outbound_tcp_errors
            .get(&labels)
            .add(1);
    }

    /// Whether it ended well.
    async fn try_carry(&self, exchange: Exchange, carrier: ConnId, pending: Pending) -> bool {
        let mut way = (Reached::Stream(carrier), pending);
        for _ in 0..ATTEMPTS {
            let (reached, mut pending) = way;
            let endpoint = pending.endpoint().clone();
            let (to, carrier) = match reached {
                Reached::Stream(id) => (id, Some(id)),
                Reached::Own(io) => (dialled(io), None),
            };
            // A connection of its own counts its bytes itself.
            count_for(exchange, carrier.map(|_| endpoint.transport().clone()));
            let authority = endpoint.facts.addr.to_string();
            let edit = HeadEdit {
                authority: Some(authority.as_bytes()),
                ..HeadEdit::default()
            };
            let answer = match exchange.forward(to, &edit) {
                Ok(()) => answered(exchange, endpoint.connect_timeout() * 2).await,
                Err(Refusal::Busy) => Answer::Again,
                Err(Refusal::Gone | Refusal::Unfit) => Answer::Failed,
            };
            match answer {
                Answer::Connected => {
                    pending.responded();
                    let mut meter = carrier.map(|_| endpoint.transport().open());
                    if exchange.forward_response(&HeadEdit::default()).is_err() {
                        return false;
                    }
                    let failure = finished(exchange).await;
                    if let Some(meter) = meter.as_mut().filter(|_| failure.is_some()) {
                        meter.reset();
                    }
                    return failure.is_none();
                }
                Answer::Failed => break,
                Answer::Silent => {
                    exchange.release();
                    if let Some(id) = carrier {
                        endpoint.distrust(id);
                    }
                }
                Answer::Again => {}
            }
            drop(pending);
            // Boxed: it is large, rare, and would idle with the connection.
            match Box::pin(self.outbound.reach(self.route.rule())).await {
                Ok(found) => way = found,
                Err(_) => break,
            }
        }
        exchange.reset(code::CONNECT_ERROR);
        false
    }
}

/// What comes of asking a peer's proxy for a connection.
enum Answer {
    Connected,
    /// Another way may lead there.
    Again,
    /// Nothing came, so another way may lead there, but not this one.
    Silent,
    /// It cannot be made, or is not wanted any more.
    Failed,
}

async fn answered(exchange: Exchange, limit: Duration) -> Answer {
    match tokio::time::timeout(limit, exchange.signal()).await {
        Err(_) => Answer::Silent,
        Ok(Signal::Response) => Answer::Connected,
        Ok(Signal::Failed(failure)) => match failure {
            engine::Failure::Refused | engine::Failure::Closed | engine::Failure::Timeout => {
                Answer::Again
            }
            engine::Failure::Reset(_) | engine::Failure::Protocol | engine::Failure::Cancelled => {
                Answer::Failed
            }
        },
        Ok(Signal::Finished | Signal::Body | Signal::Trailers) => Answer::Failed,
    }
}

/// Waits for the end, and tells what was wrong with it.
async fn finished(exchange: Exchange) -> Option<engine::Failure> {
    loop {
        match exchange.signal().await {
            Signal::Finished => {
                let lost = Some(engine::Failure::Cancelled);
                return exchange.summary().map_or(lost, |summary| summary.failure);
            }
            Signal::Failed(failure) => return Some(failure),
            Signal::Response | Signal::Body | Signal::Trailers => {}
        }
    }
}

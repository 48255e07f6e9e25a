//! Connections from our pod: accept → discover → detect → route → balance → forward → record.
//!
//! Source: linkerd2-proxy linkerd/app/outbound (behaviour).

pub mod attempt;
pub mod balancer;
pub mod clock;
pub mod discover;
pub mod endpoint;
pub mod gate;
pub mod http;
pub mod ingress;
pub mod logical;
pub mod memory;
pub mod mirror;
pub mod profile;
pub mod tcp;

use self::ingress::Lookup;
use self::logical::Logical;
use self::tcp::Dialled;
use crate::control::client::Client;
use crate::control::watch::Manner;
use crate::drain::Drain;
use crate::http::detect::{detect, Detected};
use crate::http::in_flight::InFlight;
use crate::http::Version;
use crate::net::accept::{accept, Room};
use crate::net::first::{First, Speakers};
use crate::net::io::{Io, Seat, Socket};
use crate::net::socket::original_dst;
use crate::net::tls::MeshTls;
use crate::settings::Settings;
use crate::tap::Taps;
use crate::telemetry::spans::Tracer;
use crate::telemetry::transport::Transport;
use crate::telemetry::{target_labels, Metrics};
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::outbound::Protocol;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info};

/// The outbound side of the proxy.
pub struct Outbound {
    /// All settings.
    pub settings: Arc<Settings>,
    /// Our identity.
    pub tls: Arc<MeshTls>,
    /// The destination service.
    pub destination: Arc<Client>,
    /// The policy service.
    pub policy: Arc<Client>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Adds spans to traces.
    pub tracer: Tracer,
    /// What is known of destinations.
    pub cache: discover::Cache,
    /// What was known of them when they were last used.
    pub memory: memory::Memory,
    /// Who watches.
    pub taps: Arc<Taps>,
    /// Who speaks first.
    pub speakers: Speakers,
    /// Requests being served.
    pub in_flight: InFlight,
    /// Copies of requests being sent.
    pub copies: Arc<tokio::sync::Semaphore>,
}

/// Where requests come from.
#[derive(Clone)]
pub struct Source {
    /// The application's socket.
    pub client: SocketAddr,
    /// Held while they are served.
    pub drain: Drain,
}

impl Outbound {
    /// How watches are followed.
    pub fn manner(&self) -> Manner {
        Manner {
            backoff: self.settings.inbound.connect_backoff,
            limits: self.settings.stream_limits,
        }
    }

    /// Accepts until the proxy drains.
    pub async fn run(self: Arc<Self>, listener: TcpListener, drain: Drain, room: Arc<Room>) {
        let serve = |tcp, client, seat| {
            let (me, drain) = (self.clone(), drain.clone());
            async move { me.connection((tcp, seat), client, drain).await }
        };
        accept(listener, &drain, &room, serve).await;
    }

    /// Expires idle discoveries for ever.
    pub async fn sweep(self: Arc<Self>) {
        let period = self
            .settings
            .outbound
            .discovery_idle_timeout
            .clamp(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            tokio::time::sleep(period).await;
            self.expire();
        }
    }

    async fn connection(
        self: Arc<Self>,
        (tcp, seat): (TcpStream, Seat),
        client: SocketAddr,
        drain: Drain,
    ) {
        let target = match original_dst(&tcp, client) {
            Ok(target) => target,
            Err(error) => {
                debug!(%client, %error, "connection has no original destination");
                return;
            }
        };
        if let Err(error) = self.clone().serve((tcp, seat), client, target, drain).await {
            info!(%client, %target, %error, "Connection closed");
            let labels = target_labels(target).with("error", tcp::error_label(&error));
            self.metrics.outbound_tcp_errors.get(&labels).add(1);
        }
    }

    async fn serve(
        self: Arc<Self>,
        (tcp, seat): (TcpStream, Seat),
        client: SocketAddr,
        target: SocketAddr,
        drain: Drain,
    ) -> io::Result<()> {
        if target.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "loopback targets are not proxied",
            ));
        }
        let mut io = Io::from(Socket::seated(tcp, seat));
        if self.settings.ingress {
            return self.ingress(io, client, target, drain).await;
        }
        let entry = self
            .discover(&target.into())
            .map_err(|_| io::Error::other("too many destinations"))?;
        let logical = entry
            .logical()
            .await
            .map_err(|_| io::Error::other("destination refused"))?;
        let mut dialled = None;
        let detected = match &logical.policy.protocol {
            Protocol::Opaque(_) | Protocol::Tls(_) => Detected::NotHttp,
            Protocol::Http1(_) => Detected::Http(Version::Http1),
            Protocol::Http2(_) => Detected::Http(Version::Http2),
            Protocol::Detect { timeout, .. } => {
                let began = Instant::now();
                let detected = self
                    .detect(&mut io, &logical, target, *timeout, &mut dialled)
                    .await;
                let families = &self.metrics.bytes.detections;
                let arrivals = &logical.arrivals;
                arrivals.detected(families, began.elapsed(), detected.as_ref().ok());
                detected?
            }
        };
        let protocol = match (&logical.policy.protocol, detected) {
            (Protocol::Tls(_), _) => "tls",
            (_, Detected::Http(Version::Http1)) => "http/1",
            (_, Detected::Http(Version::Http2)) => "http/2",
            (_, Detected::NotHttp | Detected::TimedOut | Detected::Closed) => "opaq",
        };
        let arrivals = &logical.arrivals;
        arrivals.protocol(&self.metrics.bytes, protocol);
        let source = arrivals.source(|| self.source_transport(target));
        let io = io.metered(source.open());
        match detected {
            Detected::Http(version) => {
                let source = Source { client, drain };
                self.http(io, version, target, Lookup::Known(entry), source);
                Ok(())
            }
            Detected::NotHttp | Detected::TimedOut => {
                // Boxed, so that connections of HTTP stay small.
                Box::pin(self.bytes(io, logical, target, drain, dialled)).await
            }
            Detected::Closed => Ok(()),
        }
    }

    /// Finds out what a connection speaks; a connection that was made to hear the server is left in
    /// `dialled`.
    async fn detect(
        &self,
        io: &mut Io,
        logical: &Logical,
        target: SocketAddr,
        timeout: Duration,
        dialled: &mut Option<Dialled>,
    ) -> io::Result<Detected> {
        let dial = async { self.dial(&logical.opaque).await.ok().map(Dialled) };
        match self.speakers.first(io, target, timeout, dial).await? {
            First::Client(made) => {
                let detected = detect(io, timeout).await?;
                *dialled = made.filter(|_| !matches!(detected, Detected::Http(_)));
                Ok(detected)
            }
            First::Server(made) => {
                *dialled = Some(made);
                Ok(Detected::NotHttp)
            }
            First::Closed => Ok(Detected::Closed),
            First::Nobody => Ok(Detected::TimedOut),
        }
    }

    fn source_transport(&self, target: SocketAddr) -> Transport {
        let labels = Labels::new()
            .with("direction", "outbound")
            .with("peer", "src")
            .and(&target_labels(target))
            .with("tls", "no_identity")
            .with("no_tls_reason", "loopback");
        Transport::new(&self.metrics, labels)
    }
}

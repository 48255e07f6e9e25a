//! Connections to our pod: accept → policy → detect → authorize → forward → record.
//!
//! Source: linkerd2-proxy linkerd/app/inbound (behaviour).

pub mod gateway;
pub mod http;
pub mod profile;
pub mod streams;
pub mod tcp;

use crate::drain::Drain;
use crate::http::detect::{detect, Detected};
use crate::http::in_flight::InFlight;
use crate::http::Version;
use crate::net::accept::{accept, Room};
use crate::net::first::{First, Speakers};
use crate::net::io::{Io, Peeked, Seat, Socket};
use crate::net::socket::original_dst;
use crate::net::tls::{Agreed, MeshTls};
use crate::outbound::Outbound;
use crate::policy::{Policies, Watched};
use crate::settings::Settings;
use crate::tap::exchange::Labels as TapLabels;
use crate::tap::Taps;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::registry::Counter;
use crate::telemetry::spans::Tracer;
use crate::telemetry::transport::Transport;
use crate::telemetry::{short_meta, target_labels, Metrics};
use linkerd_proxy_core::authorize::Peer;
use linkerd_proxy_core::detect::{tls, Tls};
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::server::{Protocol, ServerPolicy};
use linkerd_proxy_core::transport_header::{Decoded, Header, Session, MESSAGE_BYTES_MAX};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info};

/// No ClientHello that we answer is longer.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// The inbound side of the proxy.
pub struct Inbound {
    /// All settings.
    pub settings: Arc<Settings>,
    /// Our identity.
    pub tls: Arc<MeshTls>,
    /// Who may do what.
    pub policies: Arc<Policies>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Clients of the application's ports.
    pub clients: http::Clients,
    /// Adds spans to traces.
    pub tracer: Tracer,
    /// Service profiles by name.
    pub profiles: profile::Profiles,
    /// The way out, for a gateway.
    pub outbound: Arc<Outbound>,
    /// Who watches.
    pub taps: Arc<Taps>,
    /// Where requests are logged, if they are.
    pub access_log: Option<AccessLog>,
    /// What rate limits count time from.
    pub started: std::time::Instant,
    /// Who speaks first.
    pub speakers: Speakers,
    /// Requests being served.
    pub in_flight: InFlight,
    /// For connections that come as streams.
    pub room: Arc<Room>,
    /// What is counted for connections to the application.
    pub application: OnceLock<Transport>,
}

/// How the client side of a connection is encrypted.
#[derive(Clone, Debug)]
pub enum ClientTls {
    /// By us, with the client's name if it showed one.
    Mesh(Option<Id>),
    /// By the application, under this name.
    Opaque(String),
    /// Not at all, for this reason.
    None(&'static str),
}

impl ClientTls {
    /// The labels of it.
    pub fn labels(&self) -> Labels {
        match self {
            Self::Mesh(id) => Labels::new()
                .with("tls", "true")
                .with("client_id", id.as_ref().map_or("", |id| id.as_str())),
            Self::Opaque(sni) => Labels::new().with("tls", "opaque").with("sni", sni),
            Self::None(reason) => Labels::new()
                .with("tls", "no_identity")
                .with("no_tls_reason", reason),
        }
    }

    /// What watchers are told of it.
    pub fn tap_labels(&self) -> TapLabels {
        let pairs = match self {
            Self::Mesh(id) => [
                Some(("tls", "true")),
                id.as_ref().map(|id| ("client_id", id.as_str())),
            ],
            Self::Opaque(sni) => [Some(("tls", "opaque")), Some(("sni", sni.as_str()))],
            Self::None(reason) => [Some(("tls", *reason)), None],
        };
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        pairs.into_iter().flatten().map(owned).collect()
    }

    /// What it proves.
    pub fn peer(&self) -> Peer {
        match self {
            Self::Mesh(id) => Peer::Mesh(id.clone()),
            Self::Opaque(_) | Self::None(_) => Peer::Plain,
        }
    }
}

/// One accepted connection and what is known about it.
pub struct Accepted {
    /// The client.
    pub client: SocketAddr,
    /// The application's address.
    pub target: SocketAddr,
    /// How the client is encrypted.
    pub tls: ClientTls,
    /// The target port's policy.
    pub policy: Watched,
}

impl Accepted {
    /// What is said of its target and of the server's `policy`.
    pub fn server_labels(&self, policy: &ServerPolicy) -> Labels {
        target_labels(self.target).and(&self.policy_labels(policy))
    }

    fn policy_labels(&self, policy: &ServerPolicy) -> Labels {
        short_meta("srv", &policy.meta).with_display("srv_port", self.target.port())
    }

    /// Counts a request that takes `route` and that nothing admits.
    pub fn count_denied(&self, metrics: &Metrics, policy: &ServerPolicy, route: usize) {
        let route = short_meta("route", &policy.routes[route].meta);
        let labels = self.server_labels(policy).and(&route);
        metrics
            .http_deny
            .get(&labels.and(&self.tls.labels()))
            .add(1);
    }

    /// Counts a request that no route of `policy` takes.
    pub fn count_unrouted(&self, metrics: &Metrics, policy: &ServerPolicy) {
        let labels = self.server_labels(policy).and(&self.tls.labels());
        metrics.http_no_route.get(&labels).add(1);
    }

    /// Counts an answer of ours in place of the application's.
    pub fn count_failed(&self, metrics: &Metrics, kind: &str) {
        let server = self.server_labels(&self.policy.borrow());
        let labels = Labels::new().with("error", kind).and(&server);
        metrics.inbound_http_errors.get(&labels).add(1);
    }

    /// Labels of its requests that take `route` and that `authorization` admits: of the endpoint's
    /// families, and of the family of admissions.
    pub fn admitted_labels(
        &self,
        policy: &ServerPolicy,
        route: &Meta,
        authorization: &Meta,
    ) -> [Labels; 2] {
        let (target, tls) = (target_labels(self.target), self.tls.labels());
        let by = self
            .policy_labels(policy)
            .and(&short_meta("route", route))
            .and(&short_meta("authz", authorization));
        let direction = Labels::new().with("direction", "inbound");
        [
            direction.and(&target).and(&tls).and(&by),
            target.and(&by).and(&tls),
        ]
    }
}

impl Inbound {
    /// Accepts until the proxy drains.
    pub async fn run(self: Arc<Self>, listener: TcpListener, drain: Drain, room: Arc<Room>) {
        let serve = |tcp, client, seat| {
            let (me, drain) = (self.clone(), drain.clone());
            async move { me.connection((tcp, seat), client, drain).await }
        };
        accept(listener, &drain, &room, serve).await;
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
            debug!(%client, %target, %error, "inbound connection failed");
            if error.kind() == io::ErrorKind::PermissionDenied {
                return;
            }
            let kind = if error.kind() == io::ErrorKind::TimedOut {
                "tls detection timeout"
            } else if error.kind() == io::ErrorKind::AddrNotAvailable {
                "gateway domain invalid"
            } else {
                "i/o"
            };
            let labels = Labels::new()
                .with("error", kind)
                .and(&target_labels(target));
            self.metrics.inbound_tcp_errors.get(&labels).add(1);
        }
    }

    /// Serves one connection whose client meant `target`.
    async fn serve(
        self: Arc<Self>,
        (tcp, seat): (TcpStream, Seat),
        client: SocketAddr,
        target: SocketAddr,
        drain: Drain,
    ) -> io::Result<()> {
        let settings = &self.settings;
        if !settings.inbound_ips.is_empty() && !settings.inbound_ips.contains(&target.ip()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "target is not an address of this pod",
            ));
        }
        if target.port() == settings.inbound_addr.port() {
            return self
                .direct(Socket::seated(tcp, seat), client, target, drain)
                .await;
        }
        let policy = self.policies.get(target.port());
        let protocol = policy.borrow().protocol;
        if protocol == Protocol::Opaque {
            let accepted = Accepted {
                client,
                target,
                tls: ClientTls::None("port_skipped"),
                policy,
            };
            let io = Socket::seated(tcp, seat).into();
            return self.bytes(io, accepted, drain, None).await;
        }
        let timeout = match protocol {
            Protocol::Detect(timeout) => timeout,
            Protocol::Http1
            | Protocol::Http2
            | Protocol::Grpc
            | Protocol::Opaque
            | Protocol::Tls => settings.inbound.detect_timeout,
        };
        let mut io = Io::from(Socket::seated(tcp, seat));
        let mut accepted = Accepted {
            client,
            target,
            tls: ClientTls::None("no_tls_from_remote"),
            policy,
        };
        let unknown = matches!(protocol, Protocol::Detect(_));
        let mut dialled = None;
        if unknown
            && !self
                .heard(&mut io, &accepted, timeout, &mut dialled)
                .await?
        {
            return self.bytes(io, accepted, drain, dialled).await;
        }
        (io, accepted.tls) = self.accept_tls(io, timeout).await?;
        let meshed = matches!(accepted.tls, ClientTls::Mesh(_));
        let opaque = matches!(accepted.tls, ClientTls::Opaque(_)) || protocol == Protocol::Tls;
        if opaque {
            return self.bytes(io, accepted, drain, dialled).await;
        }
        if unknown
            && meshed
            && !self
                .heard(&mut io, &accepted, timeout, &mut dialled)
                .await?
        {
            return self.bytes(io, accepted, drain, dialled).await;
        }
        let detected = match protocol {
            Protocol::Http2 | Protocol::Grpc => Detected::Http(Version::Http2),
            Protocol::Http1 if !meshed => Detected::Http(Version::Http1),
            Protocol::Http1 => match detect(&mut io, timeout).await? {
                Detected::TimedOut => Detected::Http(Version::Http1),
                seen @ (Detected::Http(_) | Detected::NotHttp | Detected::Closed) => seen,
            },
            Protocol::Detect(_) | Protocol::Opaque | Protocol::Tls => {
                let began = Instant::now();
                let detected = detect(&mut io, timeout).await;
                let server = self.server_parent(&accepted);
                let families = &self.metrics.inbound_detect;
                families.detected(&server, began.elapsed(), detected.as_ref().ok());
                detected?
            }
        };
        match detected {
            Detected::Http(version) => {
                drop(dialled);
                self.http(io, version, accepted, drain);
                Ok(())
            }
            Detected::NotHttp | Detected::TimedOut => {
                self.bytes(io, accepted, drain, dialled).await
            }
            Detected::Closed => Ok(()),
        }
    }

    /// Waits until the client has said something; false when the server was first, or nobody.
    ///
    /// The server is dialled only for a client that may send it bytes, and left in `dialled`.
    async fn heard(
        &self,
        io: &mut Io,
        accepted: &Accepted,
        timeout: Duration,
        dialled: &mut Option<Io>,
    ) -> io::Result<bool> {
        let target = accepted.target;
        let dial = async {
            let policy = accepted.policy.borrow().clone();
            policy.authorize(accepted.client.ip(), &accepted.tls.peer())?;
            self.dial(target).await.ok()
        };
        match self.speakers.first(io, target, timeout, dial).await? {
            First::Client(made) => {
                *dialled = made.or(dialled.take());
                Ok(true)
            }
            First::Server(made) => {
                *dialled = Some(made);
                Ok(false)
            }
            // Detection sees the end again.
            First::Closed => Ok(true),
            First::Nobody => Ok(false),
        }
    }

    fn server_parent(&self, accepted: &Accepted) -> Labels {
        short_meta("srv", &accepted.policy.borrow().meta)
            .with_display("srv_port", accepted.target.port())
    }

    /// Terminates TLS that is meant for us and leaves the rest alone.
    ///
    /// # Errors
    /// The socket's, the handshake's, or `TimedOut`.
    pub async fn accept_tls(&self, mut io: Io, timeout: Duration) -> io::Result<(Io, ClientTls)> {
        let decide = |bytes: &[u8]| match tls(bytes) {
            Tls::Incomplete => None,
            done @ (Tls::Sni(_) | Tls::NotTls) => Some(done),
        };
        let hello = match io.peek_within(timeout, HELLO_BYTES_MAX, decide).await? {
            Peeked::Answer(hello) => hello,
            Peeked::End => Tls::NotTls,
            Peeked::TimedOut => {
                // Linkerd's proxy gives up here, which breaks protocols whose server speaks first;
                // bytes that never came cannot be TLS for us, so they are handled as plaintext.
                if io.peeked() > 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "tls detection timed out",
                    ));
                }
                Tls::NotTls
            }
        };
        match hello {
            Tls::Sni(name) if name == self.tls.server_name() => {
                let socket = io
                    .into_socket()
                    .ok_or_else(|| io::Error::other("already tls"))?;
                let accepted = self.tls.accept(socket, false, timeout).await?;
                Ok((accepted.io, ClientTls::Mesh(accepted.client_id)))
            }
            Tls::Sni(name) => Ok((io, ClientTls::Opaque(name))),
            Tls::NotTls | Tls::Incomplete => Ok((io, ClientTls::None("no_tls_from_remote"))),
        }
    }

    /// Serves a peer's proxy that dialled our inbound port and says in a header what it wants.
    async fn direct(
        self: Arc<Self>,
        socket: Socket,
        client: SocketAddr,
        local: SocketAddr,
        drain: Drain,
    ) -> io::Result<()> {
        let timeout = self.settings.inbound.detect_timeout;
        let refused = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
        let accepted = self.tls.accept(socket, true, timeout).await?;
        let mut io = accepted.io;
        if accepted.agreed == Agreed::Nothing || accepted.client_id.is_none() {
            return Err(refused(
                "a direct connection needs a client identity and a transport header",
            ));
        }
        if accepted.agreed == Agreed::Streams {
            let peer = ClientTls::Mesh(accepted.client_id);
            self.streams(io, client, local.ip(), peer, drain);
            return Ok(());
        }
        let decide = |bytes: &[u8]| match Header::decode(bytes) {
            Decoded::Incomplete => None,
            done @ (Decoded::Header(..) | Decoded::Invalid(_)) => Some(done),
        };
        let (header, n) = match io
            .peek_within(timeout, MESSAGE_BYTES_MAX + 32, decide)
            .await?
        {
            Peeked::Answer(Decoded::Header(header, n)) => (header, n),
            Peeked::Answer(Decoded::Invalid(why)) => return Err(refused(why)),
            Peeked::Answer(Decoded::Incomplete) | Peeked::End => {
                return Err(refused("connection ended in the transport header"));
            }
            Peeked::TimedOut => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no transport header",
                ))
            }
        };
        io.consume(n);
        let session = match header.session {
            None => "",
            Some(Session::Http1) => "http/1",
            Some(Session::Http2) => "http/2",
        };
        let tls = ClientTls::Mesh(accepted.client_id);
        let name = header.name.as_deref().unwrap_or("");
        self.asked_for(session, header.port, name, &tls).add(1);
        if header.name.is_some() {
            let accepted = Accepted {
                client,
                target: local,
                tls,
                policy: self.policies.get(local.port()),
            };
            return self.gateway(io, &header, accepted, drain).await;
        }
        if header.port == self.settings.inbound_addr.port() {
            return Err(refused(
                "inbound connection must not target the inbound port",
            ));
        }
        let target = SocketAddr::new(local.ip(), header.port);
        let accepted = Accepted {
            client,
            target,
            tls,
            policy: self.policies.get(header.port),
        };
        match header.session {
            None => self.bytes(io, accepted, drain, None).await,
            Some(session) => {
                let version = match session {
                    Session::Http1 => Version::Http1,
                    Session::Http2 => Version::Http2,
                };
                self.http(io, version, accepted, drain);
                Ok(())
            }
        }
    }

    /// What counts connections for which a peer's proxy said what it wants.
    fn asked_for(&self, session: &str, port: u16, name: &str, tls: &ClientTls) -> Arc<Counter> {
        let id = match tls {
            ClientTls::Mesh(Some(id)) => id.as_str(),
            ClientTls::Mesh(None) | ClientTls::Opaque(_) | ClientTls::None(_) => "",
        };
        let labels = Labels::new()
            .with("session_protocol", session)
            .with_display("target_port", port)
            .with("target_name", name)
            .with("client_id", id);
        self.metrics.transport_headers.get(&labels)
    }

    /// The handles for the client side of a connection.
    pub fn source_transport(&self, accepted: &Accepted) -> Transport {
        let server = accepted.policy.borrow().meta.clone();
        let labels = Labels::new()
            .with("direction", "inbound")
            .with("peer", "src")
            .and(&target_labels(accepted.target))
            .and(&accepted.tls.labels())
            .and(&short_meta("srv", &server))
            .with_display("srv_port", accepted.target.port());
        Transport::new(&self.metrics, labels)
    }

    /// The handles for the application side of a connection.
    pub fn application(&self) -> &Transport {
        self.application.get_or_init(|| self.target_transport())
    }

    fn target_transport(&self) -> Transport {
        let labels = Labels::new()
            .with("direction", "inbound")
            .with("peer", "dst")
            .with("tls", "no_identity")
            .with("no_tls_reason", "loopback");
        Transport::new(&self.metrics, labels)
    }
}

/// Says that an audit rule let someone in.
pub fn audit(authorization: &str, client: SocketAddr, target: SocketAddr, tls: &ClientTls) {
    if authorization == "audit" {
        info!(%client, %target, tls = tls.labels().as_str(), "Request allowed");
    }
}

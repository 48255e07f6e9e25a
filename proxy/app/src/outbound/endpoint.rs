//! One endpoint: how it is reached, how loaded it is, and what is counted for it.

use super::clock::Clock;
use super::gate::Gate;
use super::Outbound;
use crate::clock;
use crate::http::ending::Ending;
use crate::http::headers;
use crate::http::heads::{request_of, text_of, Changes};
use crate::http::respond::Reply;
use crate::http::worker::{Exchange as Carried, Pool, Reached, Signal, Upstream};
use crate::http::Version;
use crate::net::connect::Connector;
use crate::net::io::Io;
use crate::net::socket::Options;
use crate::tap::exchange::{Labels as TapLabels, Tapped, View};
use crate::tap::Taps;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::spans::{Side, Tracer};
use crate::telemetry::target_labels;
use crate::telemetry::transport::Transport;
use linkerd_proxy_api::tap::tap_event::ProxyDirection;
use linkerd_proxy_core::balance::{load, penalized, PeakEwma};
use linkerd_proxy_core::breaker::sign;
use linkerd_proxy_core::classify::Class;
use linkerd_proxy_core::endpoint::{Endpoint as Facts, Hint};
use linkerd_proxy_core::engine::{self, code, ConnId, Head, HeadEdit};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::labels::{label_name, Labels};
use linkerd_proxy_core::outbound::Load;
use linkerd_proxy_core::transport_header::Header;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Not for the server, whatever the application says.
const STRIPPED: [&[u8]; 4] = [
    b"l5d-client-id",
    b"l5d-dst-canonical",
    b"l5d-orig-proto",
    b"l5d-require-id",
];

/// A known endpoint.
pub struct Endpoint {
    /// What discovery says.
    pub facts: Facts,
    client: Arc<Upstream>,
    metrics: Arc<HttpMetrics>,
    ewma: Mutex<PeakEwma>,
    pending: AtomicU32,
    failed: AtomicBool,
    gate: Option<Gate>,
    taps: Arc<Taps>,
    tracer: Tracer,
    penalty: Option<(Duration, Duration)>,
    born: Instant,
    meshed: bool,
    /// No other endpoint can take its requests.
    alone: bool,
}

/// A request or connection that counts as load until dropped.
pub struct Pending {
    endpoint: Arc<Endpoint>,
    started: Instant,
    sampled: bool,
    /// The round trip that the response counts as, at least.
    penalty: Option<Duration>,
    /// Whether the breaker waits for the outcome.
    gated: bool,
}

impl Pending {
    /// Whose load it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Takes the round trip as a sample, once.
    pub fn responded(&mut self) {
        if !std::mem::replace(&mut self.sampled, true) {
            let now = self.endpoint.now_ns();
            let mut ewma = self
                .endpoint
                .ewma
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let rtt = clock::now()
                .duration_since(self.started)
                .max(self.penalty.unwrap_or_default());
            ewma.record(rtt, now);
        }
    }

    /// Tells the breaker how the exchange ended.
    pub fn ended(&mut self, class: Class) {
        if let Some(gate) = &self.endpoint.gate {
            if std::mem::take(&mut self.gated) {
                gate.responded(
                    sign(class.status, class.grpc, class.success),
                    self.endpoint.now_ns(),
                );
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.endpoint.pending.fetch_sub(1, Relaxed);
        if let Some(gate) = self.endpoint.gate.as_ref().filter(|_| self.gated) {
            gate.forgotten();
        }
    }
}

/// A request on its way to endpoints.
pub struct Request {
    /// It.
    pub carried: Carried,
    /// The version that the application speaks.
    pub version: Version,
    /// It may leave HTTP, for which it needs a connection of its own.
    pub upgrades: bool,
    /// It is a gRPC call.
    pub grpc: bool,
    /// The application's socket.
    pub client: SocketAddr,
    /// What `l5d-orig-proto` says of it when it is carried as HTTP/2.
    pub original: &'static [u8],
}

/// What `l5d-orig-proto` says of a request.
pub fn original(http10: bool, absolute: bool) -> &'static [u8] {
    match (http10, absolute) {
        (false, false) => b"HTTP/1.1",
        (false, true) => b"HTTP/1.1; absolute-form",
        (true, false) => b"HTTP/1.0",
        (true, true) => b"HTTP/1.0; absolute-form",
    }
}

/// A response whose head waits to be forwarded.
#[derive(Default)]
pub struct Answer {
    /// What happens until its end.
    pub ending: Ending,
    /// What the filters do to its head.
    pub changes: Changes,
    /// It was carried as HTTP/2 in place of HTTP/1.
    pub carried: bool,
    /// The application shall connect anew for its next request.
    pub closes: bool,
    /// Watches over its time, if that is limited.
    pub clock: Option<Clock>,
}

/// Why there is no response.
pub enum Error {
    /// The request never left and may go elsewhere.
    Unsent(Failure),
    /// It is lost, and we answer.
    Failed(Failure),
    /// The stream was reset, which is passed on.
    Reset(u32),
    /// A filter answers.
    Reply(Reply),
    /// The application no longer waits.
    Gone,
}

impl Endpoint {
    /// Makes an endpoint that connects on first use. `authority` is the logical name, if any; `gate`
    /// takes it out when it fails.
    pub fn new(
        outbound: &Outbound,
        facts: Facts,
        authority: &str,
        estimate: Load,
        gate: Option<Gate>,
    ) -> Arc<Self> {
        let settings = &outbound.settings;
        let direction = &settings.outbound;
        let local = settings.inbound_ips.contains(&facts.addr.ip());
        let tls = facts.tls.clone().filter(|_| !local);
        let labels = labels(&facts, authority, local);
        let (addr, header) = match (&tls, facts.opaque_transport) {
            (Some(_), Some(port)) => {
                let (name, target) = match &facts.authority_override {
                    Some(over) => split_authority(over, facts.addr.port()),
                    None => (None, facts.addr.port()),
                };
                (
                    SocketAddr::new(facts.addr.ip(), port),
                    Some(Header {
                        port: target,
                        name,
                        session: None,
                    }),
                )
            }
            (Some(_), None) | (None, _) => (facts.addr, None),
        };
        let meshed = tls.is_some();
        let transport = Labels::new()
            .with("direction", "outbound")
            .with("peer", "dst")
            .and(&labels);
        let locality = facts
            .labels
            .iter()
            .find(|(name, _)| name == "zone_locality");
        let locality = locality.map(|(_, value)| value.as_str());
        let connector = Connector {
            addr,
            tls: tls.map(|server| (outbound.tls.clone(), server)),
            header,
            timeout: direction.connect_timeout,
            options: Options {
                keepalive: direction.connect_keepalive,
                user_timeout: direction.connect_user_timeout,
            },
            transport: Transport::with_cost(&outbound.metrics, transport, locality),
        };
        let pool = Pool {
            max_idle: direction.max_idle_conns,
            idle_timeout: direction.pool_idle_timeout,
        };
        let http_labels = Labels::new().with("direction", "outbound").and(&labels);
        Arc::new(Self {
            client: Upstream::new(
                connector,
                &settings.client_http2.for_endpoint(facts.http2.as_ref()),
                pool,
            ),
            metrics: Arc::new(HttpMetrics::new(&outbound.metrics, http_labels)),
            ewma: Mutex::new(PeakEwma::new(estimate.default_rtt, estimate.decay, 0)),
            pending: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            gate,
            taps: outbound.taps.clone(),
            tracer: outbound.tracer.clone(),
            penalty: estimate.penalty,
            born: Instant::now(),
            meshed,
            alone: authority.is_empty(),
            facts,
        })
    }

    /// Whether the last attempt to connect did not fail and the breaker lets a request pass.
    pub fn is_ready(&self) -> bool {
        !self.failed.load(Relaxed)
            && self
                .gate
                .as_ref()
                .is_none_or(|gate| gate.is_open(self.now_ns()))
    }

    /// Changes readiness; returns what it was.
    pub fn set_ready(&self, ready: bool) -> bool {
        !self.failed.swap(!ready, Relaxed)
    }

    /// The cost of one more request, for comparison with other endpoints.
    pub fn cost(&self) -> f64 {
        let rtt = {
            let ewma = self.ewma.lock().unwrap_or_else(PoisonError::into_inner);
            ewma.estimate(self.now_ns())
        };
        load(rtt, self.pending.load(Relaxed), self.facts.weight)
    }

    /// Tries to connect as the next request would.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn probe(&self) -> Result<(), Failure> {
        let version = if self.uses_http2() {
            Version::Http2
        } else {
            Version::Http1
        };
        self.client.probe(version).await
    }

    /// Connects for bytes, by a connection of their own.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn connect(self: &Arc<Self>) -> Result<(Io, Pending), Failure> {
        let mut pending = self.begin();
        let io = self.client.connector().connect(None).await?;
        pending.responded();
        Ok((io, pending))
    }

    /// Finds a way for bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reach(self: &Arc<Self>) -> Result<(Reached, Pending), Failure> {
        let mut pending = self.begin();
        let reached = self.client.reach().await?;
        if let Reached::Own(_) = &reached {
            pending.responded();
        }
        Ok((reached, pending))
    }

    /// Whether its proxy says that the connection is of no more use. The application can only act on it
    /// where it chose the endpoint itself.
    pub fn gives_up(&self, carried: Carried) -> bool {
        let said = |head: &Head| head.get(b"l5d-proxy-connection") == Some(b"close");
        self.meshed && carried.response(said).unwrap_or(false)
    }

    /// What is counted for connections to it.
    pub fn transport(&self) -> &Transport {
        &self.client.connector().transport
    }

    /// How long connecting to it may take.
    pub fn connect_timeout(&self) -> Duration {
        self.client.connector().timeout
    }

    /// Puts no more bytes on a connection that does not answer.
    pub fn distrust(&self, carrier: ConnId) {
        self.client.distrust(carrier);
    }

    fn uses_http2(&self) -> bool {
        self.meshed && self.facts.hint == Hint::Http2
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(clock::now().saturating_duration_since(self.born).as_nanos())
            .unwrap_or(u64::MAX)
    }

    fn begin(self: &Arc<Self>) -> Pending {
        self.pending.fetch_add(1, Relaxed);
        Pending {
            endpoint: self.clone(),
            started: clock::now(),
            sampled: false,
            penalty: None,
            gated: false,
        }
    }

    /// Sends one request, changed by `changes`, and waits for the head of its response; an HTTP/1
    /// request travels as HTTP/2 when the peer's proxy prefers that.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(
        self: &Arc<Self>,
        request: &Request,
        changes: &Changes,
    ) -> Result<Box<Answer>, Error> {
        let carried = request.carried;
        let fits = carried.request(|head| self.has_required_id(head));
        if !fits.ok_or(Error::Gone)? {
            return Err(Error::Failed(Failure::IdentityRequired));
        }
        let mut pending = self.begin();
        if let Some(gate) = &self.gate {
            gate.sent(self.now_ns());
            pending.gated = true;
        }
        let app_http2 = request.version == Version::Http2;
        let as_http2 = self.uses_http2() && !app_http2 && !request.upgrades;
        let version = if app_http2 || as_http2 {
            Version::Http2
        } else {
            Version::Http1
        };
        let mut own = None;
        let span = carried.request(|head| {
            let tracer = &self.tracer;
            tracer.begin(Side::Client, "outbound", head, changes)
        });
        let span = span.flatten();
        if let Some(span) = &span {
            span.hand_on(own.insert(changes.clone()));
        }
        let changes = own.as_ref().unwrap_or(changes);
        let mut answer = Box::new(Answer {
            carried: as_http2,
            ending: Ending {
                spans: [span, None],
                tap: self.tap(request),
                exchange: Some(Exchange::begin(self.metrics.clone(), request.grpc)),
                pending: Some(pending),
                ..Ending::default()
            },
            ..Answer::default()
        });
        match self.attempt(request, changes, version, as_http2).await {
            Ok(()) => {
                self.set_ready(true);
                let penalty = carried.response(|head| {
                    answer.ending.head(head);
                    if let Some(gate) = &self.gate {
                        hint_of(head).into_iter().for_each(|hint| gate.hinted(hint));
                    }
                    self.penalty_of(head)
                });
                if let Some(pending) = &mut answer.ending.pending {
                    pending.penalty = penalty.flatten();
                }
                Ok(answer)
            }
            Err(Error::Reset(code)) => {
                answer.ending.fail("unclassified", "RESET");
                Err(Error::Reset(code))
            }
            Err(Error::Unsent(failure)) if !self.alone => Err(Error::Unsent(failure)),
            Err(Error::Failed(failure) | Error::Unsent(failure)) => {
                tracing::debug!(addr = %self.facts.addr, error = failure.answer().text, "exchange failed");
                if let Some(mut exchange) = answer.ending.exchange.take() {
                    exchange.head(failure.answer().status, None);
                    let class = exchange.end();
                    let pending = answer.ending.pending.take();
                    if let Some((mut pending, class)) = pending.zip(class) {
                        pending.ended(class);
                    }
                }
                Err(Error::Failed(failure))
            }
            Err(error @ (Error::Reply(_) | Error::Gone)) => Err(error),
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        changes: &Changes,
        version: Version,
        as_http2: bool,
    ) -> Result<(), Error> {
        let carried = request.carried;
        let mut again = true;
        loop {
            let connection = self.client.connection(version).await;
            let target = connection.map_err(Error::Unsent)?;
            match self.forward(request, changes, target, as_http2) {
                Ok(()) => {}
                Err(engine::Refusal::Busy) => continue,
                Err(engine::Refusal::Gone) => return Err(Error::Gone),
                Err(engine::Refusal::Unfit) => return Err(Error::Failed(Failure::BadRequest)),
            }
            let failure = loop {
                match carried.signal().await {
                    Signal::Response => return Ok(()),
                    Signal::Failed(failure) => break failure,
                    Signal::Finished => return Err(Error::Gone),
                    Signal::Body | Signal::Trailers => {}
                }
            };
            if std::mem::take(&mut again) && carried.is_safe_to_repeat(failure) {
                continue;
            }
            let passed_on = request.version == Version::Http2;
            return Err(match failure {
                engine::Failure::Reset(code) if passed_on => Error::Reset(code),
                engine::Failure::Refused if passed_on => Error::Reset(code::REFUSED_STREAM),
                _ if as_http2 => Error::Failed(Failure::Downgraded),
                engine::Failure::Reset(_)
                | engine::Failure::Refused
                | engine::Failure::Closed
                | engine::Failure::Protocol
                | engine::Failure::Timeout
                | engine::Failure::Cancelled => Error::Failed(Failure::Io),
            });
        }
    }

    fn forward(
        &self,
        request: &Request,
        changes: &Changes,
        target: ConnId,
        as_http2: bool,
    ) -> Result<(), engine::Refusal> {
        let carried = request.carried;
        let nameless = carried.request(|head| head.authority().is_empty());
        let nameless = nameless.ok_or(engine::Refusal::Gone)?;
        let nameless = nameless && changes.authority().is_none();
        let fallback = nameless.then(|| self.facts.addr.to_string());
        let authority = self.facts.authority_override.as_deref();
        let authority = authority.or(fallback.as_deref()).map(str::as_bytes);
        let named = [(&b"l5d-orig-proto"[..], request.original)];
        let base = HeadEdit {
            authority,
            remove: &STRIPPED,
            add: if as_http2 { &named } else { &[] },
            ..HeadEdit::default()
        };
        changes.with_edit(base, |edit| carried.forward(target, edit))
    }

    /// Shows the request to those who watch.
    fn tap(&self, request: &Request) -> Option<Box<Tapped>> {
        if self.taps.is_idle() {
            return None;
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut labels: TapLabels = self.facts.labels.iter().cloned().collect();
        match self.facts.tls.as_ref().filter(|_| self.meshed) {
            Some(tls) => {
                labels.extend([pair("tls", "true"), pair("server_id", tls.id.as_str())]);
            }
            None => labels.extend([pair("tls", "not_provided_by_service_discovery")]),
        }
        let head = request
            .carried
            .request(|head| request_of(head, request.version))?;
        self.taps.open(&View {
            direction: ProxyDirection::Outbound,
            source: request.client,
            source_labels: [pair("tls", "loopback")].into(),
            destination: self.facts.addr,
            destination_labels: labels,
            route_labels: TapLabels::new(),
            request: headers::Routed(&head),
        })
    }

    /// Whether the endpoint is who the request insists on.
    fn has_required_id(&self, head: &Head) -> bool {
        let Some(required) = head.get(b"l5d-require-id") else {
            return true;
        };
        let tls = self.facts.tls.as_ref().filter(|_| self.meshed);
        tls.is_some_and(|tls| tls.id.as_str().as_bytes() == required)
    }

    /// The round trip that a response counts as for the penalty variant of the estimate.
    fn penalty_of(&self, head: &Head) -> Option<Duration> {
        let (penalty, hint_max) = self.penalty?;
        let grpc = text_of(head, "grpc-status").and_then(|text| text.trim().parse().ok());
        penalized(head.status(), grpc, hint_of(head), penalty, hint_max)
    }
}

/// How long an endpoint asks to be left alone.
fn hint_of(head: &Head) -> Option<Duration> {
    let number = |name: &str| text_of(head, name)?.trim().parse().ok();
    number("retry-after")
        .map(Duration::from_secs)
        .or(number("grpc-retry-pushback-ms").map(Duration::from_millis))
}

/// `name:port` into its parts; the port falls back to `port`.
fn split_authority(authority: &str, port: u16) -> (Option<String>, u16) {
    match authority
        .rsplit_once(':')
        .and_then(|(name, port)| Some((name, port.parse().ok()?)))
    {
        Some((name, port)) => (Some(name.to_owned()), port),
        None => (Some(authority.to_owned()), port),
    }
}

fn labels(facts: &Facts, authority: &str, local: bool) -> Labels {
    let mut labels = Labels::new()
        .with("authority", authority)
        .and(&target_labels(facts.addr));
    labels = match &facts.tls {
        _ if local => labels
            .with("tls", "no_identity")
            .with("no_tls_reason", "loopback"),
        Some(tls) => labels
            .with("tls", "true")
            .with("server_id", tls.id.as_str()),
        None => labels
            .with("tls", "no_identity")
            .with("no_tls_reason", "not_provided_by_service_discovery"),
    };
    for (name, value) in &facts.labels {
        labels.push(&label_name("dst_", name), value);
    }
    labels
}

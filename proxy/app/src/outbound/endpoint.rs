//! One endpoint: how it is reached, how loaded it is, and what is counted for it.

use super::gate::Gate;
use super::{Outbound, Source};
use crate::http::body::{AtEnd, Body};
use crate::http::client::{is_stream_error, HttpClient, Pool, SendError};
use crate::http::filters::Reply;
use crate::http::headers::{self, PROXY_CONNECTION, PROXY_ERROR, REQUIRE_ID};
use crate::http::{upgrade, Broken};
use crate::net::connect::Connector;
use crate::net::io::Io;
use crate::net::socket::Options;
use crate::tap::exchange::{head_of, Labels as TapLabels, Tapped, View};
use crate::tap::Taps;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::spans::{spanned, Side, Tracer};
use crate::telemetry::target_labels;
use crate::telemetry::transport::Transport;
use ::http::{HeaderValue, Request, Response, Version};
use linkerd_proxy_api::tap::tap_event::ProxyDirection;
use linkerd_proxy_core::balance::{load, penalized, PeakEwma};
use linkerd_proxy_core::breaker::sign;
use linkerd_proxy_core::classify::Class;
use linkerd_proxy_core::endpoint::{Endpoint as Facts, Hint};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::labels::{label_name, Labels};
use linkerd_proxy_core::outbound::Load;
use linkerd_proxy_core::transport_header::Header;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A known endpoint.
pub struct Endpoint {
    /// What discovery says.
    pub facts: Facts,
    client: Arc<HttpClient>,
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
    /// Takes the round trip as a sample, once.
    pub fn responded(&mut self) {
        if !std::mem::replace(&mut self.sampled, true) {
            let now = self.endpoint.now_ns();
            let mut ewma = self
                .endpoint
                .ewma
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let rtt = self.started.elapsed().max(self.penalty.unwrap_or_default());
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

/// A response from an endpoint.
pub struct Answer {
    /// It.
    pub response: Response<Body>,
    /// Whether the connection was switched to another protocol.
    pub upgraded: Option<HeaderValue>,
}

/// Why there is no response.
pub enum Error {
    /// The request never left and may go elsewhere.
    Unsent(Failure, Box<Request<Body>>),
    /// It is lost, and we answer.
    Failed(Failure),
    /// The stream was reset, which is passed on.
    Reset(Broken),
    /// A filter answers.
    Reply(Reply),
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
            transport: Transport::new(&outbound.metrics, transport)
                .with_cost(&outbound.metrics, locality),
        };
        let pool = Pool {
            max_idle: direction.max_idle_conns,
            idle_timeout: direction.pool_idle_timeout,
        };
        let http_labels = Labels::new().with("direction", "outbound").and(&labels);
        Arc::new(Self {
            client: HttpClient::new(
                connector,
                settings.client_http2.for_endpoint(facts.http2.as_ref()),
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
        self.client.probe(self.uses_http2()).await
    }

    /// Connects for bytes.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn connect(self: &Arc<Self>) -> Result<(Io, Pending), Failure> {
        let mut pending = self.begin();
        let io = self.client.connector().connect(None).await?;
        pending.responded();
        Ok((io, pending))
    }

    fn uses_http2(&self) -> bool {
        self.meshed && self.facts.hint == Hint::Http2
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn begin(self: &Arc<Self>) -> Pending {
        self.pending.fetch_add(1, Relaxed);
        Pending {
            endpoint: self.clone(),
            started: Instant::now(),
            sampled: false,
            penalty: None,
            gated: false,
        }
    }

    /// Sends one request; an HTTP/1 request travels as HTTP/2 when the peer's proxy prefers that.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        upgrade: &mut Option<upgrade::Pending>,
        source: &Source,
    ) -> Result<Answer, Error> {
        let mut pending = self.begin();
        if !self.has_required_id(&mut request) {
            return Err(Error::Failed(Failure::IdentityRequired));
        }
        if let Some(gate) = &self.gate {
            gate.sent(self.now_ns());
            pending.gated = true;
        }
        let app_version = request.version();
        let app_http2 = app_version == Version::HTTP_2;
        let carried = self.uses_http2() && !app_http2 && upgrade.is_none();
        let grpc = linkerd_proxy_core::classify::is_grpc(
            request
                .headers()
                .get("content-type")
                .map(HeaderValue::as_bytes),
        );
        let mut tap = self.tap(&request, source);
        let span = self.tracer.begin(Side::Client, "outbound", &mut request);
        let mut exchange = Exchange::begin(self.metrics.clone(), grpc);
        let sent = if app_http2 || carried {
            let original = carried.then(|| {
                (
                    request.uri().clone(),
                    request.headers().get("host").cloned(),
                )
            });
            if carried {
                headers::upgrade_orig_proto(&mut request, self.facts.addr);
            } else {
                headers::to_http2(&mut request, self.facts.addr);
            }
            self.override_authority(&mut request);
            match self.client.send_http2(request).await {
                Ok(response) => Ok((response, None)),
                Err(SendError::Unsent(failure, mut request)) => {
                    // Another endpoint may want it as HTTP/1.
                    if let Some((uri, host)) = original {
                        restore_request(&mut request, uri, host, app_version);
                    }
                    Err(SendError::Unsent(failure, request))
                }
                Err(error) => Err(error),
            }
        } else {
            let reuse = app_version == Version::HTTP_11
                && request.headers().contains_key("host")
                && upgrade.is_none();
            if let Some(upgrade) = &upgrade {
                upgrade.request(&mut request);
            }
            self.client.send_http1(request, reuse).await
        };
        match sent {
            Ok((mut response, pooled)) => {
                self.set_ready(true);
                let agreed = upgrade
                    .take()
                    .is_some_and(|upgrade| upgrade.complete(&mut response, source.drain.clone()));
                let upgraded = agreed
                    .then(|| response.headers().get("upgrade").cloned())
                    .flatten();
                headers::strip_connection_headers(response.headers_mut());
                response.headers_mut().remove(PROXY_ERROR);
                response.headers_mut().remove(PROXY_CONNECTION);
                if carried {
                    headers::restore_response(&mut response);
                }
                let grpc_status = response
                    .headers()
                    .get("grpc-status")
                    .map(HeaderValue::as_bytes);
                exchange.head(response.status().as_u16(), grpc_status);
                if let Some(tap) = &mut tap {
                    tap.head(response.status(), response.headers());
                }
                if let Some((gate, hint)) = self.gate.as_ref().zip(hint_of(&response)) {
                    gate.hinted(hint);
                }
                if let Some((penalty, hint_max)) = self.penalty {
                    pending.penalty = penalty_of(&response, penalty, hint_max);
                }
                let end = AtEnd {
                    exchange: Some(exchange),
                    pending: Some(pending),
                    pooled,
                    tap,
                    ..AtEnd::default()
                };
                Ok(Answer {
                    response: spanned(response.map(|body| Body::tracked(body, end)), span),
                    upgraded,
                })
            }
            Err(SendError::Unsent(failure, request)) => Err(Error::Unsent(failure, request)),
            Err(SendError::Broken(error)) if app_http2 && is_stream_error(&error) => {
                pending.ended(exchange.fail("unclassified"));
                Err(Error::Reset(error.into()))
            }
            Err(SendError::Broken(error)) => {
                let failure = if carried {
                    Failure::Downgraded
                } else {
                    Failure::Io
                };
                tracing::debug!(addr = %self.facts.addr, %error, "exchange failed");
                exchange.head(failure.answer().status, None);
                if let Some(class) = exchange.end() {
                    pending.ended(class);
                }
                Err(Error::Failed(failure))
            }
        }
    }

    /// Shows the request to those who watch.
    fn tap(&self, request: &Request<Body>, source: &Source) -> Option<Box<Tapped>> {
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
        self.taps.open(&View {
            direction: ProxyDirection::Outbound,
            source: source.client,
            source_labels: [pair("tls", "loopback")].into(),
            destination: self.facts.addr,
            destination_labels: labels,
            route_labels: TapLabels::new(),
            request: headers::Routed(&head_of(request)),
        })
    }

    /// Whether the endpoint is who the request insists on; strips the header.
    fn has_required_id(&self, request: &mut Request<Body>) -> bool {
        let Some(required) = request.headers_mut().remove(REQUIRE_ID) else {
            return true;
        };
        let id = self
            .facts
            .tls
            .as_ref()
            .filter(|_| self.meshed)
            .map(|tls| tls.id.as_str());
        required.to_str().ok() == id
    }

    fn override_authority(&self, request: &mut Request<Body>) {
        let Some(over) = &self.facts.authority_override else {
            return;
        };
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        if let Ok(authority) = over.parse() {
            parts.authority = Some(authority);
        }
        *request.uri_mut() = ::http::Uri::from_parts(parts).unwrap_or_default();
        request.headers_mut().remove(headers::DST_CANONICAL);
    }
}

/// The round trip that a response counts as for the penalty variant of the estimate.
fn penalty_of<B>(
    response: &Response<B>,
    penalty: Duration,
    hint_max: Duration,
) -> Option<Duration> {
    let grpc = response.headers().get("grpc-status");
    let grpc = grpc.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let hint = hint_of(response);
    penalized(response.status().as_u16(), grpc, hint, penalty, hint_max)
}

/// How long an endpoint asks to be left alone.
fn hint_of<B>(response: &Response<B>) -> Option<Duration> {
    let number = |name: &str| {
        let text = response.headers().get(name)?.to_str().ok()?;
        text.trim().parse().ok()
    };
    number("retry-after")
        .map(Duration::from_secs)
        .or(number("grpc-retry-pushback-ms").map(Duration::from_millis))
}

fn restore_request(
    request: &mut Request<Body>,
    uri: ::http::Uri,
    host: Option<HeaderValue>,
    version: Version,
) {
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    request.headers_mut().remove(headers::ORIG_PROTO);
    if let Some(host) = host {
        request.headers_mut().insert(::http::header::HOST, host);
    }
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

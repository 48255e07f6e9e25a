//! Requests to the application.

use super::{audit, profile, Accepted, ClientTls, Inbound};
use crate::drain::Drain;
use crate::http::ending::Ending;
use crate::http::headers::Routed as Whole;
use crate::http::heads::{request_of, text_of, Changes, Routed};
use crate::http::in_flight::Slot;
use crate::http::respond::{reply, respond, send, Manner};
use crate::http::worker::{self, Exchange as Carried, Pool, Service, Signal, Upstream};
use crate::http::Version;
use crate::net::connect::Connector;
use crate::net::io::Io;
use crate::net::socket::Options;
use crate::tap;
use crate::tap::exchange::{Tapped, View};
use crate::telemetry::access_log::Noted;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::registry::Counter;
use crate::telemetry::short_meta;
use crate::telemetry::spans::{Active, Side};
use crate::telemetry::stream::{self, Stream};
use ::http::{HeaderName, HeaderValue, Response};
use linkerd_proxy_api::tap::tap_event::ProxyDirection;
use linkerd_proxy_core::authorize::Peer;
use linkerd_proxy_core::classify::is_grpc;
use linkerd_proxy_core::dst::{self, Dst};
use linkerd_proxy_core::engine::{self, code, Head, HeadEdit};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::rate_limit::Scope;
use linkerd_proxy_core::server::{Protocol, ServerPolicy, Verdict};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::info;

/// Targets with a client at hand; more are rare, since a pod has few ports.
const CLIENTS_MAX: usize = 256;
/// Streams that a client without an identity may have open when no setting says otherwise: those are
/// anybody's, where a proxy in the mesh brings the requests of many.
const STREAMS_OF_STRANGERS_MAX: u32 = 100;
const HTTP_PORT: u16 = 80;
/// Metric handles that one connection keeps.
const HANDLES_MAX: usize = 64;

/// Ours to write, whatever the client sent.
const STRIPPED: [&[u8]; 3] = [b"l5d-client-id", b"l5d-orig-proto", b"l5d-dst-canonical"];

/// Clients by address, shared by all connections.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<SocketAddr, Arc<Upstream>>>);

/// One HTTP connection.
struct Connection {
    inbound: Arc<Inbound>,
    version: Version,
    accepted: Accepted,
    peer: Peer,
    client: Arc<Upstream>,
    client_id: Option<String>,
    handles: RefCell<Vec<Rc<Handles>>>,
    profile: profile::Lookup,
}

/// A request and how it is answered.
struct Request {
    carried: Carried,
    manner: Manner,
    /// The version that it had before the peer's proxy made it HTTP/2.
    original: Option<&'static str>,
    /// It goes to the application as HTTP/2.
    as_http2: bool,
    noted: Option<Noted>,
    changes: Changes,
    span: RefCell<Option<Box<Active>>>,
}

/// Metrics of requests with the same policy, route and authorization.
struct Handles {
    policy: Arc<ServerPolicy>,
    route: usize,
    authorization: Arc<Meta>,
    /// The name that they are for, where the settings ask for it.
    authority: Option<String>,
    http: Arc<HttpMetrics>,
    stream: Arc<stream::Handles>,
    allowed: Arc<Counter>,
}

impl Inbound {
    fn client(&self, target: SocketAddr) -> Arc<Upstream> {
        let mut clients = self
            .clients
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&target) {
            return client.clone();
        }
        if clients.len() >= CLIENTS_MAX {
            clients.retain(|_, client| Arc::strong_count(client) > 1);
        }
        let direction = &self.settings.inbound;
        let connector = Connector {
            addr: target,
            tls: None,
            header: None,
            timeout: direction.connect_timeout,
            options: Options {
                keepalive: direction.connect_keepalive,
                user_timeout: direction.connect_user_timeout,
            },
            transport: self.application().clone(),
        };
        let pool = Pool {
            max_idle: direction.max_idle_conns,
            idle_timeout: direction.pool_idle_timeout,
        };
        let client = Upstream::new(connector, &self.settings.client_http2, pool);
        clients.insert(target, client.clone());
        client
    }

    /// Serves requests from now on.
    pub(super) fn http(
        self: Arc<Self>,
        io: Io,
        version: Version,
        accepted: Accepted,
        drain: Drain,
    ) {
        let io = io.metered(self.source_transport(&accepted).open());
        let client_id = match &accepted.tls {
            ClientTls::Mesh(Some(id)) => Some(id.as_str().to_owned()),
            ClientTls::Mesh(None) | ClientTls::Opaque(_) | ClientTls::None(_) => None,
        };
        let mut settings = self.settings.inbound.server_http2;
        if !matches!(accepted.tls, ClientTls::Mesh(_)) {
            settings
                .max_concurrent_streams
                .get_or_insert(STREAMS_OF_STRANGERS_MAX);
        }
        let connection = Connection {
            client: self.client(accepted.target),
            peer: accepted.tls.peer(),
            client_id,
            accepted,
            version,
            inbound: self,
            handles: RefCell::default(),
            profile: profile::Lookup::default(),
        };
        worker::serve(io, version, &settings, drain, Rc::new(connection));
    }
}

impl Service for Connection {
    fn call(self: Rc<Self>, exchange: Carried) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.carry(exchange).await })
    }
}

impl Connection {
    async fn carry(&self, carried: Carried) {
        let emit = self.client_id.is_some();
        let read = carried.request(|head| {
            let log = self.inbound.access_log.as_ref();
            let mut changes = Changes::default();
            let tracer = &self.inbound.tracer;
            let span = tracer.begin(Side::Server, "inbound", head, &changes);
            if let Some(span) = &span {
                span.hand_on(&mut changes);
            }
            Request {
                span: RefCell::new(span),
                carried,
                manner: Manner::of_head(head, self.version, emit),
                original: self.original(head),
                as_http2: false,
                noted: log.map(|log| log.note(&request_of(head, self.version))),
                changes,
            }
        });
        let Some(mut request) = read else { return };
        request.as_http2 = self.version == Version::Http2 && request.original.is_none();
        let max = self.inbound.settings.inbound.max_in_flight;
        let Some(slot) = self.inbound.in_flight.enter(max) else {
            return self.fail(&request, Failure::LoadShed);
        };
        match self.admit(&mut request) {
            Some(handles) => self.exchange(request, &handles, slot).await,
            None => drop(slot),
        }
    }

    /// The version that a request had before it was carried as HTTP/2, if it names one.
    fn original(&self, head: &Head) -> Option<&'static str> {
        let value = head
            .get(b"l5d-orig-proto")
            .filter(|_| self.version == Version::Http2)?;
        match value {
            value if value.starts_with(b"HTTP/1.1") => Some("HTTP/1.1"),
            value if value.starts_with(b"HTTP/1.0") => Some("HTTP/1.0"),
            _ => None,
        }
    }

    /// Asks the policy; `None` when the request was answered.
    fn admit(&self, request: &mut Request) -> Option<Rc<Handles>> {
        let policy = self.accepted.policy.borrow().clone();
        let ip = self.accepted.client.ip();
        let carried = request.carried;
        let changes = &mut request.changes;
        let verdict = carried.request(|head| {
            let verdict = policy.check(&Routed(head), ip, &self.peer);
            let filtered = match &verdict {
                Verdict::Allow { route, rule, .. } => {
                    let found = &policy.routes[*route].rules[*rule];
                    changes.on_request(&found.policy.filters, &found.matches, head)
                }
                Verdict::Deny { .. } | Verdict::NoRoute => Ok(()),
            };
            (verdict, filtered)
        });
        match verdict? {
            (Verdict::Allow { .. }, Err(answer)) => {
                self.answer(request, &reply(&answer, request.manner), false);
                None
            }
            (
                Verdict::Allow {
                    route,
                    authorization,
                    ..
                },
                Ok(()),
            ) => {
                if let Err(scope) = self.limit(&policy) {
                    self.count_limited(&policy, scope);
                    self.fail(request, Failure::RateLimited);
                    return None;
                }
                let accepted = &self.accepted;
                let name = &authorization.meta.name;
                audit(name, accepted.client, accepted.target, &accepted.tls);
                let labelled = self.inbound.settings.inbound_authority_labels;
                let authority = labelled.then(|| carried.request(authority).flatten());
                let handles =
                    self.handles(&policy, route, &authorization.meta, authority.flatten());
                handles.allowed.add(1);
                Some(handles)
            }
            (Verdict::Deny { route }, _) => {
                let accepted = &self.accepted;
                accepted.count_denied(&self.inbound.metrics, &policy, route);
                let Accepted {
                    client,
                    target,
                    tls,
                    ..
                } = accepted;
                info!(%client, %target, tls = tls.labels().as_str(), "Request denied");
                self.fail(request, Failure::Unauthorized);
                None
            }
            (Verdict::NoRoute, _) => {
                let accepted = &self.accepted;
                accepted.count_unrouted(&self.inbound.metrics, &policy);
                self.fail(request, Failure::NoRoute);
                None
            }
        }
    }

    /// Takes an admitted request to the application and its response back.
    async fn exchange(&self, mut request: Request, handles: &Rc<Handles>, slot: Slot<'_>) {
        let carried = request.carried;
        let grpc = carried.request(|head| is_grpc(head.get(b"content-type")));
        let known = carried.request(|head| self.profile.known(&self.inbound, head));
        let table = self.profile.table(&self.inbound, known.flatten()).await;
        let routed = table.and_then(|table| {
            let found = |head: &Head| table.find(&Routed(head)).metrics.effective.clone();
            let metrics = carried.request(found)?;
            Some(Exchange::begin(metrics, grpc.unwrap_or(false)))
        });
        let span = carried.request(|head| {
            let tracer = &self.inbound.tracer;
            tracer.begin(Side::Client, "inbound", head, &request.changes)
        });
        let span = span.flatten();
        if let Some(span) = &span {
            span.hand_on(&mut request.changes);
        }
        let server_span = request.span.borrow_mut().take();
        let mut ending = Ending {
            spans: [span, server_span],
            profile: [None, routed],
            tap: self.tap(&request, handles),
            exchange: Some(Exchange::begin(handles.http.clone(), grpc.unwrap_or(false))),
            streams: [Some(Stream::begin(&handles.stream)), None],
            requests: Some(handles.stream.clone()),
            ..Ending::default()
        };
        match self.forward(&request).await {
            Ok(()) => {}
            Err(Lost::Gone) => return,
            Err(Lost::Reset(code)) => {
                ending.fail("unclassified", "RESET");
                return carried.reset(code);
            }
            Err(Lost::Failed(failure)) => {
                let answer = failure.answer();
                let grpc_status = answer.grpc.to_string();
                let grpc = request.manner.grpc;
                let status = if grpc { 200 } else { answer.status };
                let [_, routed] = &mut ending.profile;
                for mut exchange in [ending.exchange.take(), routed.take()]
                    .into_iter()
                    .flatten()
                {
                    exchange.head(status, grpc.then_some(grpc_status.as_bytes()));
                    exchange.end();
                }
                for span in ending.spans.iter_mut().flatten() {
                    span.head(status);
                }
                ending.fail("", failure.route_label());
                return self.fail(&request, failure);
            }
        }
        drop(slot);
        let status = carried.response(|head| {
            ending.head(head);
            self.log(&request, head);
            head.status()
        });
        let tunnel = status.is_some_and(|status| carried.is_tunnel(status));
        let original = request.original.map(str::as_bytes);
        let named = original.map(|original| [(&b"l5d-orig-proto"[..], original)]);
        let edit = HeadEdit {
            set: named.as_ref().map_or(&[], |named| &named[..]),
            ..HeadEdit::default()
        };
        if carried.forward_response(&edit).is_err() {
            return carried.reset(code::INTERNAL_ERROR);
        }
        if tunnel {
            // What follows is no response any more.
            return ending.complete(None);
        }
        ending.follow(carried).await;
    }

    /// Sends the request to the application and waits for the head of its response.
    async fn forward(&self, request: &Request) -> Result<(), Lost> {
        let carried = request.carried;
        let version = if request.as_http2 {
            Version::Http2
        } else {
            Version::Http1
        };
        let mut again = true;
        loop {
            let connection = self.client.connection(version).await;
            let target = connection.map_err(Lost::Failed)?;
            match self.send(request, target) {
                Ok(()) => {}
                Err(engine::Refusal::Busy) => continue,
                Err(engine::Refusal::Gone) => return Err(Lost::Gone),
                Err(engine::Refusal::Unfit) => return Err(Lost::Failed(Failure::BadRequest)),
            }
            let failure = loop {
                match carried.signal().await {
                    Signal::Response => return Ok(()),
                    Signal::Failed(failure) => break failure,
                    Signal::Finished => return Err(Lost::Gone),
                    Signal::Body | Signal::Trailers => {}
                }
            };
            if std::mem::take(&mut again) && carried.is_safe_to_repeat(failure) {
                continue;
            }
            return Err(match failure {
                engine::Failure::Reset(code) if request.as_http2 => Lost::Reset(code),
                engine::Failure::Refused if request.as_http2 => Lost::Reset(code::REFUSED_STREAM),
                engine::Failure::Reset(_)
                | engine::Failure::Refused
                | engine::Failure::Closed
                | engine::Failure::Protocol
                | engine::Failure::Timeout
                | engine::Failure::Cancelled => Lost::Failed(Failure::Io),
            });
        }
    }

    fn send(&self, request: &Request, target: engine::ConnId) -> Result<(), engine::Refusal> {
        let carried = request.carried;
        let fallback = |head: &Head| {
            let named = !head.authority().is_empty();
            (!named).then(|| self.accepted.target.to_string())
        };
        // A request to a proxy goes on as one.
        let absolute = |head: &Head| {
            let form = text_of(head, "l5d-orig-proto")?;
            let path = (request.original.is_some() && form.ends_with("; absolute-form"))
                .then(|| [&b"http://"[..], head.authority(), head.path()].concat());
            path.filter(|_| head.method() != b"CONNECT")
        };
        let facts = carried.request(|head| (fallback(head), absolute(head)));
        let (authority, path) = facts.ok_or(engine::Refusal::Gone)?;
        let id = self.client_id.as_deref().map(str::as_bytes);
        let id = id.map(|id| [(&b"l5d-client-id"[..], id)]);
        let base = HeadEdit {
            authority: authority.as_deref().map(str::as_bytes),
            path: path.as_deref(),
            remove: &STRIPPED,
            add: id.as_ref().map_or(&[], |id| &id[..]),
            ..HeadEdit::default()
        };
        request
            .changes
            .with_edit(base, |edit| carried.forward(target, edit))
    }

    /// Shows the request to those who watch.
    fn tap(&self, request: &Request, handles: &Handles) -> Option<Box<Tapped>> {
        if self.inbound.taps.is_idle() {
            return None;
        }
        let policy = &handles.policy;
        let mut labels = tap::exchange::Labels::new();
        for (prefix, meta) in [
            ("srv", &policy.meta),
            ("route", &policy.routes[handles.route].meta),
            ("authz", &handles.authorization),
        ] {
            labels.insert(format!("{prefix}_group"), meta.group.clone());
            labels.insert(format!("{prefix}_kind"), meta.kind.clone());
            labels.insert(format!("{prefix}_name"), meta.name.clone());
        }
        labels.insert("tls".into(), "loopback".into());
        let mut head = request
            .carried
            .request(|head| request_of(head, self.version))?;
        // As the application gets it: who calls is what this proxy says.
        let headers = head.headers_mut();
        for name in STRIPPED
            .iter()
            .filter_map(|name| std::str::from_utf8(name).ok())
        {
            headers.remove(name);
        }
        let id = self.client_id.as_deref();
        if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(HeaderName::from_static("l5d-client-id"), id);
        }
        self.inbound.taps.open(&View {
            direction: ProxyDirection::Inbound,
            source: self.accepted.client,
            source_labels: self.accepted.tls.tap_labels(),
            destination: self.accepted.target,
            destination_labels: labels,
            route_labels: tap::exchange::Labels::new(),
            request: Whole(&head),
        })
    }

    /// Address and name of the client, as the log has them.
    fn client(&self) -> (SocketAddr, &str) {
        let id = self.client_id.as_deref().unwrap_or_default();
        (self.accepted.client, id)
    }

    fn log(&self, request: &Request, head: &Head) {
        if let Some((log, noted)) = self.inbound.access_log.as_ref().zip(request.noted.as_ref()) {
            let length = head.content_length();
            log.write(noted, self.client(), head.status(), length);
        }
    }

    fn fail(&self, request: &Request, failure: Failure) {
        let answer = failure.answer();
        if let Some(kind) = answer.metric {
            self.accepted.count_failed(&self.inbound.metrics, kind);
            let Accepted { client, target, .. } = &self.accepted;
            info!(%client, %target, error = answer.text, "request failed");
        }
        self.answer(request, &respond(failure, request.manner), answer.close);
    }

    fn answer(&self, request: &Request, response: &Response<crate::http::body::Body>, close: bool) {
        if let Some((log, noted)) = self.inbound.access_log.as_ref().zip(request.noted.as_ref()) {
            log.write(noted, self.client(), response.status().as_u16(), Some(0));
        }
        if let Some(span) = &mut *request.span.borrow_mut() {
            span.head(response.status().as_u16());
        }
        send(request.carried, response, close);
    }

    /// Takes the request into the server's rate limits.
    fn limit(&self, policy: &ServerPolicy) -> Result<(), Scope> {
        let Some(limiter) = &policy.limiter else {
            return Ok(());
        };
        let client = match &self.accepted.tls {
            ClientTls::Mesh(Some(id)) => Some(id.as_str()),
            ClientTls::Mesh(None) | ClientTls::Opaque(_) | ClientTls::None(_) => None,
        };
        let now = u64::try_from(self.inbound.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.admit(client, now)
    }

    fn count_limited(&self, policy: &ServerPolicy, scope: Scope) {
        let Some(limiter) = &policy.limiter else {
            return;
        };
        let meta = {
            let limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
            limiter.limit().meta.clone()
        };
        let labels = self
            .accepted
            .server_labels(policy)
            .and(&short_meta("ratelimit", &meta))
            .with("ratelimit_scope", scope.label())
            .and(&self.accepted.tls.labels());
        self.inbound.metrics.http_rate_limited.get(&labels).add(1);
    }

    fn handles(
        &self,
        policy: &Arc<ServerPolicy>,
        route: usize,
        authorization: &Arc<Meta>,
        authority: Option<String>,
    ) -> Rc<Handles> {
        let mut handles = self.handles.borrow_mut();
        let known = handles.iter().find(|known| {
            Arc::ptr_eq(&known.policy, policy)
                && known.route == route
                && Arc::ptr_eq(&known.authorization, authorization)
                && known.authority == authority
        });
        if let Some(known) = known {
            return known.clone();
        }
        let meta = &policy.routes[route].meta;
        let metrics = &self.inbound.metrics;
        let [endpoint, allowed] = self.accepted.admitted_labels(policy, meta, authorization);
        let endpoint = match &authority {
            Some(authority) => endpoint.with("authority", authority),
            None => endpoint,
        };
        let made = Rc::new(Handles {
            authority,
            policy: policy.clone(),
            route,
            authorization: authorization.clone(),
            http: Arc::new(HttpMetrics::new(metrics, endpoint)),
            stream: stream::Handles::new(
                metrics.servers.of(policy.protocol == Protocol::Grpc),
                short_meta("parent", &policy.meta)
                    .with_display("parent_port", self.accepted.target.port())
                    .and(&short_meta("route", meta)),
            ),
            allowed: metrics.http_allow.get(&allowed),
        });
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        handles.push(made.clone());
        made
    }
}

/// The name that a request is for, with its port unless that is HTTP's; `None` for an address.
fn authority(head: &Head) -> Option<String> {
    let name = text_of(head, "l5d-dst-canonical");
    let name = name.or(std::str::from_utf8(head.authority()).ok())?;
    match dst::parse(name, HTTP_PORT)? {
        Dst::Name(name) if name.port == HTTP_PORT => Some(name.host),
        Dst::Name(name) => Some(format!("{}:{}", name.host, name.port)),
        Dst::Addr(_) => None,
    }
}

/// Why there is no response from the application.
enum Lost {
    /// We answer.
    Failed(Failure),
    /// The stream is reset, with the application's reason.
    Reset(u32),
    /// The client no longer waits.
    Gone,
}

//! Requests to the application.

use super::{audit, profile, Accepted, ClientTls, Inbound};
use crate::drain::Drain;
use crate::http::body::{AtEnd, Body};
use crate::http::client::{HttpClient, Pool, SendError};
use crate::http::filters::on_request;
use crate::http::headers::{self, Routed, CLIENT_ID, DST_CANONICAL, ORIG_PROTO};
use crate::http::respond::{reply, respond, Manner};
use crate::http::server::{serve, Closer, Service};
use crate::http::upgrade;
use crate::http::{Broken, Version};
use crate::net::connect::Connector;
use crate::net::io::Io;
use crate::net::socket::Options;
use crate::tap;
use crate::tap::exchange::{head_of, Tapped, View};
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::registry::Counter;
use crate::telemetry::spans::{spanned, Side};
use crate::telemetry::stream::{self, Stream};
use crate::telemetry::{short_meta, target_labels};
use ::http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use linkerd_proxy_api::tap::tap_event::ProxyDirection;
use linkerd_proxy_core::authorize::Peer;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::rate_limit::Scope;
use linkerd_proxy_core::server::{Protocol, ServerPolicy, Verdict};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::debug;

/// Targets with a client at hand; more are rare, since a pod has few ports.
const CLIENTS_MAX: usize = 256;
/// Metric handles that one connection keeps.
const HANDLES_MAX: usize = 64;

/// Clients by address, shared by all connections.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<SocketAddr, Arc<HttpClient>>>);

/// One HTTP connection.
struct Connection {
    inbound: Arc<Inbound>,
    accepted: Accepted,
    peer: Peer,
    client: Arc<HttpClient>,
    client_id: Option<HeaderValue>,
    emit: bool,
    closer: Closer,
    drain: Drain,
    handles: Mutex<Vec<Arc<Handles>>>,
    profile: profile::Lookup,
}

/// Metrics of requests with the same policy, route and authorization.
struct Handles {
    policy: Arc<ServerPolicy>,
    route: usize,
    authorization: Arc<Meta>,
    http: Arc<HttpMetrics>,
    stream: Arc<stream::Handles>,
    allowed: Arc<Counter>,
}

impl Inbound {
    fn client(&self, target: SocketAddr) -> Arc<HttpClient> {
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
            transport: self.target_transport(),
        };
        let pool = Pool {
            max_idle: direction.max_idle_conns,
            idle_timeout: direction.pool_idle_timeout,
        };
        let client = HttpClient::new(connector, self.settings.client_http2, pool);
        clients.insert(target, client.clone());
        client
    }

    /// Serves requests until the client is done.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn http(
        self: Arc<Self>,
        io: Io,
        version: Version,
        accepted: Accepted,
        drain: Drain,
    ) -> io::Result<()> {
        let io = io.metered(self.source_transport(&accepted).open());
        let client_id = match &accepted.tls {
            ClientTls::Mesh(Some(id)) => HeaderValue::from_str(id.as_str()).ok(),
            ClientTls::Mesh(None) | ClientTls::Opaque(_) | ClientTls::None(_) => None,
        };
        let closer = Closer::default();
        let settings = self.settings.inbound.server_http2;
        let connection = Arc::new(Connection {
            client: self.client(accepted.target),
            peer: accepted.tls.peer(),
            emit: client_id.is_some(),
            client_id,
            accepted,
            inbound: self,
            closer: closer.clone(),
            drain: drain.clone(),
            handles: Mutex::default(),
            profile: profile::Lookup::default(),
        });
        let service: Service = Box::new(move |request| {
            let connection = connection.clone();
            Box::pin(async move { connection.handle(request).await })
        });
        serve(io, version, settings, drain, closer, service)
            .await
            .map_err(io::Error::other)
    }
}

/// Holds one of the slots for requests in flight.
struct Slot(Arc<std::sync::atomic::AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Connection {
    async fn handle(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Broken> {
        let span = self
            .inbound
            .tracer
            .begin(Side::Server, "inbound", &mut request);
        let response = self.logged(request).await?;
        Ok(spanned(response, span))
    }

    async fn logged(&self, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let Some(log) = &self.inbound.access_log else {
            return self.answer(request).await;
        };
        let noted = log.note(&request);
        let response = self.answer(request).await?;
        log.write(&noted, self.accepted.client, &self.accepted.tls, &response);
        Ok(response)
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let manner = Manner::of(&request, self.emit);
        let in_flight = &self.inbound.in_flight;
        let _slot = Slot(in_flight.clone());
        if in_flight.fetch_add(1, Relaxed) >= self.inbound.settings.inbound.max_in_flight {
            return Ok(self.fail(Failure::LoadShed, manner));
        }
        let http2 = request.version() == ::http::Version::HTTP_2;
        let orig_proto = if http2 {
            headers::downgrade_orig_proto(&mut request)
        } else {
            None
        };
        let as_http2 = http2 && orig_proto.is_none();
        let bad = (*request.method() == Method::CONNECT)
            != (request.uri().authority().is_some() && request.uri().scheme().is_none());
        if bad && !http2 {
            return Ok(self.fail(Failure::BadRequest, manner));
        }
        request.headers_mut().remove(CLIENT_ID);
        if let Some(id) = &self.client_id {
            request.headers_mut().insert(CLIENT_ID, id.clone());
        }
        let policy = self.accepted.policy.borrow().clone();
        let ip = self.accepted.client.ip();
        let handles = match policy.check(&Routed(&request), ip, &self.peer) {
            Verdict::Allow {
                route,
                rule,
                authorization,
            } => {
                let found = &policy.routes[route].rules[rule];
                if let Err(answer) = on_request(&found.policy.filters, &found.matches, &mut request)
                {
                    return Ok(reply(&answer, manner));
                }
                if let Err(scope) = self.limit(&policy) {
                    self.count_limited(&policy, scope);
                    return Ok(self.fail(Failure::RateLimited, manner));
                }
                audit(
                    &authorization.meta.name,
                    self.accepted.client,
                    self.accepted.target,
                    &self.accepted.tls,
                );
                self.handles(&policy, route, &authorization.meta)
            }
            Verdict::Deny { route } => {
                let labels = self
                    .server_labels(&policy)
                    .and(&short_meta("route", &policy.routes[route].meta));
                self.inbound
                    .metrics
                    .http_deny
                    .get(&labels.and(&self.accepted.tls.labels()))
                    .add(1);
                debug!(client = %self.accepted.client, target = %self.accepted.target, "request denied");
                return Ok(self.fail(Failure::Unauthorized, manner));
            }
            Verdict::NoRoute => {
                let labels = self.server_labels(&policy).and(&self.accepted.tls.labels());
                self.inbound.metrics.http_no_route.get(&labels).add(1);
                return Ok(self.fail(Failure::NoRoute, manner));
            }
        };
        handles.allowed.add(1);
        let grpc = linkerd_proxy_core::classify::is_grpc(
            request
                .headers()
                .get("content-type")
                .map(HeaderValue::as_bytes),
        );
        let mut tap = self.tap(&request, &policy, &handles);
        let mut exchange = Exchange::begin(handles.http.clone(), grpc);
        let table = self.profile.table(&self.inbound, &request).await;
        let mut routed = table.map(|table| {
            let found = table.find(&Routed(&request));
            Exchange::begin(found.metrics.effective.clone(), grpc)
        });
        let mut measured = Stream::begin(&handles.stream);
        let frames = &handles.stream.request_frames;
        let mut request = request.map(|body| Body::counted(body, frames));
        let span = self
            .inbound
            .tracer
            .begin(Side::Client, "inbound", &mut request);
        let forwarded = self.forward(request, as_http2).await;
        match forwarded {
            Ok((response, upgraded, pooled)) => {
                let grpc_status = response
                    .headers()
                    .get("grpc-status")
                    .map(HeaderValue::as_bytes);
                exchange.head(response.status().as_u16(), grpc_status);
                measured.head(response.status().as_u16(), exchange.grpc_code());
                if let Some(routed) = &mut routed {
                    routed.head(response.status().as_u16(), grpc_status);
                }
                if let Some(tap) = &mut tap {
                    tap.head(response.status(), response.headers());
                }
                let protocol = upgraded
                    .then(|| response.headers().get("upgrade").cloned())
                    .flatten();
                let end = AtEnd {
                    exchange: Some(exchange),
                    pooled,
                    tap,
                    streams: [Some(measured), None],
                    ..AtEnd::default()
                };
                let response = response.map(|body| Body::tracked(body, end));
                let mut response = spanned(response, span);
                if let Some(routed) = routed {
                    response = response.map(|body| body.exchanged(routed));
                }
                headers::strip_connection_headers(response.headers_mut());
                if upgraded {
                    upgrade::response(&mut response, protocol);
                }
                if let Some(version) = orig_proto {
                    let text = if version == ::http::Version::HTTP_10 {
                        "HTTP/1.0"
                    } else {
                        "HTTP/1.1"
                    };
                    response
                        .headers_mut()
                        .insert(ORIG_PROTO, HeaderValue::from_static(text));
                }
                if http2 {
                    response
                        .headers_mut()
                        .remove(::http::header::TRANSFER_ENCODING);
                    *response.version_mut() = ::http::Version::HTTP_2;
                }
                Ok(response)
            }
            Err(Forward::Failed(failure)) => {
                let answer = failure.answer();
                let grpc_status = answer.grpc.to_string();
                let status = if manner.grpc { 200 } else { answer.status };
                exchange.head(status, manner.grpc.then_some(grpc_status.as_bytes()));
                exchange.end();
                if let Some(routed) = &mut routed {
                    routed.head(status, None);
                    routed.end();
                }
                measured.fail(failure.route_label());
                Ok(self.fail(failure, manner))
            }
            Err(Forward::Reset(error)) => {
                exchange.fail("unclassified");
                if let Some(routed) = &mut routed {
                    routed.fail("unclassified");
                }
                measured.fail("RESET");
                Err(error)
            }
        }
    }

    /// Sends the request to the application.
    async fn forward(
        &self,
        request: Request<Body>,
        as_http2: bool,
    ) -> Result<
        (
            Response<Incoming>,
            bool,
            Option<crate::http::client::Pooled>,
        ),
        Forward,
    > {
        let mut request = request;
        let upgrade = if as_http2 {
            None
        } else {
            upgrade::Pending::of(&mut request)
        };
        headers::strip_connection_headers(request.headers_mut());
        request.headers_mut().remove(DST_CANONICAL);
        if as_http2 {
            headers::to_http2(&mut request, self.accepted.target);
            let sent = self.client.send_http2(request).await;
            return match sent {
                Ok(response) => Ok((response, false, None)),
                Err(SendError::Unsent(failure, _)) => Err(Forward::Failed(failure)),
                Err(SendError::Broken(error)) => Err(Forward::broken(error, true)),
            };
        }
        let reuse = request.version() == ::http::Version::HTTP_11
            && request.headers().contains_key("host")
            && upgrade.is_none();
        if let Some(upgrade) = &upgrade {
            upgrade.request(&mut request);
        }
        let sent = self.client.send_http1(request, reuse).await;
        match sent {
            Ok((mut response, pooled)) => {
                let drain = self.drain.clone();
                let upgraded =
                    upgrade.is_some_and(|upgrade| upgrade.complete(&mut response, drain));
                Ok((response, upgraded, pooled))
            }
            Err(SendError::Unsent(failure, _)) => Err(Forward::Failed(failure)),
            Err(SendError::Broken(error)) => Err(Forward::broken(error, false)),
        }
    }

    /// Shows the request to those who watch.
    fn tap<B>(
        &self,
        request: &Request<B>,
        policy: &ServerPolicy,
        handles: &Handles,
    ) -> Option<Box<Tapped>> {
        if self.inbound.taps.is_idle() {
            return None;
        }
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
        self.inbound.taps.open(&View {
            direction: ProxyDirection::Inbound,
            source: self.accepted.client,
            source_labels: self.accepted.tls.tap_labels(),
            destination: self.accepted.target,
            destination_labels: labels,
            route_labels: tap::exchange::Labels::new(),
            request: Routed(&head_of(request)),
        })
    }

    fn fail(&self, failure: Failure, manner: Manner) -> Response<Body> {
        let answer = failure.answer();
        if let Some(kind) = answer.metric {
            let labels = Labels::new()
                .with("error", kind)
                .and(&self.server_labels(&self.accepted.policy.borrow()));
            self.inbound.metrics.inbound_http_errors.get(&labels).add(1);
        }
        if answer.close && !manner.http1 {
            self.closer.close();
        }
        respond(failure, manner)
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
            .server_labels(policy)
            .and(&short_meta("ratelimit", &meta))
            .with("ratelimit_scope", scope.label())
            .and(&self.accepted.tls.labels());
        self.inbound.metrics.http_rate_limited.get(&labels).add(1);
    }

    fn server_labels(&self, policy: &ServerPolicy) -> Labels {
        target_labels(self.accepted.target)
            .and(&short_meta("srv", &policy.meta))
            .with_display("srv_port", self.accepted.target.port())
    }

    fn handles(
        &self,
        policy: &Arc<ServerPolicy>,
        route: usize,
        authorization: &Arc<Meta>,
    ) -> Arc<Handles> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = handles.iter().find(|known| {
            Arc::ptr_eq(&known.policy, policy)
                && known.route == route
                && Arc::ptr_eq(&known.authorization, authorization)
        });
        if let Some(known) = known {
            return known.clone();
        }
        let meta = &policy.routes[route].meta;
        let metrics = &self.inbound.metrics;
        let tls = self.accepted.tls.labels();
        let server =
            short_meta("srv", &policy.meta).with_display("srv_port", self.accepted.target.port());
        let tail = server
            .and(&short_meta("route", meta))
            .and(&short_meta("authz", authorization));
        let endpoint = Labels::new()
            .with("direction", "inbound")
            .and(&target_labels(self.accepted.target))
            .and(&tls)
            .and(&tail);
        let allowed = target_labels(self.accepted.target).and(&tail).and(&tls);
        let made = Arc::new(Handles {
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

/// Why there is no response from the application.
enum Forward {
    /// We answer.
    Failed(Failure),
    /// The stream is reset, with the application's reason.
    Reset(Broken),
}

impl Forward {
    fn broken(error: hyper::Error, http2: bool) -> Self {
        if http2 && crate::http::client::is_stream_error(&error) {
            Self::Reset(error.into())
        } else {
            Self::Failed(Failure::Io)
        }
    }
}

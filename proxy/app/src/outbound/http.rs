//! Requests to endpoints.

use super::attempt::Plan;
use super::endpoint::{Answer, Error};
use super::ingress::Lookup;
use super::logical::{BackendTarget, Rule};
use super::profile::Table;
use super::{Outbound, Source};
use crate::http::body::Body;
use crate::http::filters::{on_request, on_response};
use crate::http::headers::{self, Routed, CLIENT_ID, ORIG_PROTO};
use crate::http::respond::{reply, respond, Manner};
use crate::http::server::{serve, Closer, Service};
use crate::http::upgrade;
use crate::http::{Broken, Version};
use crate::net::io::Io;
use crate::telemetry::spans::{spanned, Side};
use crate::telemetry::stream::Stream;
use ::http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use linkerd_proxy_core::classify::parse_code;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::outbound::{Protocol, RulePolicy};
use linkerd_proxy_core::route::{find, Match, Route};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use tokio::time::Instant;

/// One HTTP connection of the application.
pub struct Connection {
    outbound: Arc<Outbound>,
    version: Version,
    target: SocketAddr,
    lookup: Lookup,
    closer: Closer,
    source: Source,
}

struct Slot(Arc<std::sync::atomic::AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Outbound {
    /// Serves requests until the application is done.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn http(
        self: Arc<Self>,
        io: Io,
        version: Version,
        target: SocketAddr,
        lookup: Lookup,
        source: Source,
    ) -> io::Result<()> {
        let closer = Closer::default();
        let drain = source.drain.clone();
        let settings = self.settings.outbound.server_http2;
        let connection = Arc::new(Connection::new(
            self,
            version,
            target,
            lookup,
            closer.clone(),
            source,
        ));
        let service: Service = Box::new(move |request| {
            let connection = connection.clone();
            Box::pin(async move { connection.handle(request).await })
        });
        serve(io, version, settings, drain, closer, service)
            .await
            .map_err(io::Error::other)
    }
}

impl Connection {
    /// Answers requests of `source` that were meant for `target`; `closer` ends their connection.
    pub fn new(
        outbound: Arc<Outbound>,
        version: Version,
        target: SocketAddr,
        lookup: Lookup,
        closer: Closer,
        source: Source,
    ) -> Self {
        Self {
            outbound,
            version,
            target,
            lookup,
            closer,
            source,
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// A reset that is passed on.
    pub async fn handle(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Broken> {
        let tracer = &self.outbound.tracer;
        let span = tracer.begin(Side::Server, "outbound", &mut request);
        let response = self.answer(request).await?;
        Ok(spanned(response, span))
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let settings = &self.outbound.settings;
        let manner = Manner::of(&request, settings.informational_headers);
        let in_flight = &self.outbound.in_flight;
        let _slot = Slot(in_flight.clone());
        if in_flight.fetch_add(1, Relaxed) >= settings.outbound.max_in_flight {
            return Ok(self.fail(Failure::LoadShed, manner));
        }
        let connect = *request.method() == Method::CONNECT;
        let authority_form =
            request.uri().authority().is_some() && request.uri().scheme().is_none();
        if manner.http1 && connect != authority_form {
            return Ok(self.fail(Failure::BadRequest, manner));
        }
        match self.dispatch(request, manner).await {
            Ok(answer) => {
                let mut response = answer.response;
                if answer.upgraded.is_some() {
                    upgrade::response(&mut response, answer.upgraded);
                }
                if manner.http1 {
                    if response.version() == ::http::Version::HTTP_2 {
                        *response.version_mut() = ::http::Version::HTTP_11;
                    }
                } else {
                    response
                        .headers_mut()
                        .remove(::http::header::TRANSFER_ENCODING);
                    *response.version_mut() = ::http::Version::HTTP_2;
                }
                Ok(response)
            }
            Err(Error::Failed(failure) | Error::Unsent(failure, _)) => {
                Ok(self.fail(failure, manner))
            }
            Err(Error::Reply(answer)) => Ok(reply(&answer, manner)),
            Err(Error::Reset(error)) => Err(error),
        }
    }

    async fn dispatch(
        &self,
        mut request: Request<Incoming>,
        manner: Manner,
    ) -> Result<Answer, Error> {
        let found = self.lookup.logical(&self.outbound, &mut request).await;
        let logical = found.map_err(Error::Failed)?;
        let mut upgrade = upgrade::Pending::of(&mut request);
        headers::strip_connection_headers(request.headers_mut());
        for name in [CLIENT_ID, ORIG_PROTO, headers::DST_CANONICAL] {
            request.headers_mut().remove(name);
        }
        let none: [Route<RulePolicy>; 0] = [];
        let none_matched: [Match; 0] = [];
        let (routes, rules) = match (&logical.policy.protocol, self.version) {
            (Protocol::Detect { http1, .. }, Version::Http1) => (http1.as_ref(), &logical.http1),
            (Protocol::Detect { http2, .. }, Version::Http2) => (http2.as_ref(), &logical.http2),
            (Protocol::Http1(routes), _) => (routes.as_ref(), &logical.http1),
            (Protocol::Http2(routes), _) => (routes.as_ref(), &logical.http2),
            (Protocol::Opaque(_) | Protocol::Tls(_), _) => (none.as_slice(), &logical.http1),
        };
        if routes.is_empty() && logical.policy.meta.name == "invalid" {
            return Err(Error::Failed(Failure::InvalidPolicy));
        }
        let (matches, rule) = match &logical.policy.protocol {
            // Where a name leads to bytes, requests are some of them.
            Protocol::Opaque(_) => (none_matched.as_slice(), &logical.opaque.rule),
            Protocol::Detect { .. }
            | Protocol::Http1(_)
            | Protocol::Http2(_)
            | Protocol::Tls(_) => {
                let found = find(routes, &Routed(&request));
                let (route, rule) = found.ok_or(Error::Failed(Failure::NoRoute))?;
                (
                    routes[route].rules[rule].matches.as_slice(),
                    &rules[route][rule],
                )
            }
        };
        let stream = Stream::begin(&rule.stream);
        let profile = logical.profile.as_ref();
        let answer = self
            .exchange(rule, matches, profile, request, &mut upgrade, manner)
            .await;
        observed(answer, stream)
    }

    /// Applies the rule's filters around the request's attempts.
    async fn exchange(
        &self,
        rule: &Rule,
        matches: &[Match],
        profile: Option<&Table>,
        mut request: Request<Incoming>,
        upgrade: &mut Option<upgrade::Pending>,
        manner: Manner,
    ) -> Result<Answer, Error> {
        on_request(&rule.policy.filters, matches, &mut request).map_err(Error::Reply)?;
        let mut plan = Plan::of(rule, &mut request);
        if let Some(profile) = profile {
            plan.follow(profile.find(&Routed(&request)));
            if let Ok(dst) = HeaderValue::from_str(&profile.dst) {
                request.headers_mut().insert(headers::DST_CANONICAL, dst);
            }
        }
        let frames = &rule.stream.request_frames;
        let mut request = request.map(|body| Body::counted(body, frames));
        if upgrade.is_none() {
            request = self.outbound.mirror(&rule.mirrors, request, &self.source);
        }
        let mut answer = if plan.is_plain() {
            self.send(rule, request, upgrade).await?
        } else {
            // Boxed, so that exchanges without either stay small.
            Box::pin(self.attempts(rule, plan, request, upgrade, manner)).await?
        };
        on_response(&rule.policy.filters, &mut answer.response);
        Ok(answer)
    }

    /// Sends to an endpoint of the rule's backend; an unreachable one is taken out and another tried.
    pub(super) async fn send(
        &self,
        rule: &Rule,
        mut request: Request<Body>,
        upgrade: &mut Option<upgrade::Pending>,
    ) -> Result<Answer, Error> {
        let settings = &self.outbound.settings.outbound;
        let backend = rule.pick().ok_or(Error::Failed(Failure::LoadShed))?;
        on_request(&backend.filters, &[], &mut request).map_err(Error::Reply)?;
        if upgrade.is_none() {
            request = self
                .outbound
                .mirror(&backend.mirrors, request, &self.source);
        }
        let stream = Stream::begin(&backend.stream);
        let answer = match &backend.target {
            BackendTarget::Fail => Err(Error::Failed(Failure::NoBackend)),
            BackendTarget::Forward(endpoint) => endpoint.send(request, upgrade, &self.source).await,
            BackendTarget::Balance(balancer) => {
                let deadline = Instant::now() + settings.failfast_timeout;
                loop {
                    let endpoint = match balancer.acquire(deadline, settings.queue_capacity).await {
                        Ok(endpoint) => endpoint,
                        Err(failure) => break Err(Error::Failed(failure)),
                    };
                    match endpoint.send(request, upgrade, &self.source).await {
                        Err(Error::Unsent(_, unsent)) => {
                            balancer.failed(&endpoint);
                            request = *unsent;
                        }
                        other => break other,
                    }
                }
            }
        };
        let mut answer = observed(answer, stream)?;
        on_response(&backend.filters, &mut answer.response);
        Ok(answer)
    }

    fn fail(&self, failure: Failure, manner: Manner) -> Response<Body> {
        let answer = failure.answer();
        if let Some(kind) = answer.metric {
            self.outbound
                .metrics
                .outbound_http_errors
                .get(&Labels::new().with("error", kind))
                .add(1);
        }
        tracing::debug!(target_addr = %self.target, error = answer.text, "request failed");
        if answer.close && !manner.http1 {
            self.closer.close();
        }
        respond(failure, manner)
    }
}

/// Lets `stream` see the rest of an exchange.
fn observed(mut answer: Result<Answer, Error>, mut stream: Stream) -> Result<Answer, Error> {
    match &mut answer {
        Ok(answer) => {
            let grpc = answer.response.headers().get("grpc-status");
            let code = grpc.and_then(|value| parse_code(value.as_bytes()));
            stream.head(answer.response.status().as_u16(), code);
            // In place: a response is large to move around.
            let body = answer.response.body_mut();
            *body = std::mem::replace(body, Body::empty()).observed(stream);
        }
        Err(Error::Failed(failure) | Error::Unsent(failure, _)) => {
            stream.fail(failure.route_label());
        }
        Err(Error::Reply(reply)) => {
            stream.head(reply.status(), None);
            stream.end(None);
        }
        Err(Error::Reset(_)) => stream.fail("RESET"),
    }
    answer
}

//! Requests to endpoints.

use super::attempt::Plan;
use super::balancer::Traffic;
use super::endpoint::{original, Answer, Error, Request};
use super::ingress::{Lookup, DST_OVERRIDE};
use super::logical::{BackendTarget, Counted, Rule};
use super::profile::Table;
use super::{Outbound, Source};
use crate::clock;
use crate::http::body::Body;
use crate::http::heads::{Changes, Routed};
use crate::http::respond::{reply, respond, send, Manner};
use crate::http::worker::{self, Exchange as Carried, Service};
use crate::http::Version;
use crate::net::io::Io;
use crate::telemetry::spans::Side;
use crate::telemetry::stream::Stream;
use ::http::Response;
use linkerd_proxy_core::classify::{is_grpc, parse_code};
use linkerd_proxy_core::engine::{code, Head, HeadEdit};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::filter::Headers;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::outbound::{Protocol, RulePolicy};
use linkerd_proxy_core::route::{find, Match, Route};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// What proxies say to each other in responses.
const STRIPPED: [&[u8]; 3] = [
    b"l5d-proxy-error",
    b"l5d-proxy-connection",
    b"l5d-orig-proto",
];

/// One HTTP connection of the application.
pub struct Connection {
    outbound: Arc<Outbound>,
    version: Version,
    target: SocketAddr,
    lookup: Lookup,
    client: SocketAddr,
}

impl Outbound {
    /// Serves requests from now on.
    pub(super) fn http(
        self: Arc<Self>,
        io: Io,
        version: Version,
        target: SocketAddr,
        lookup: Lookup,
        source: Source,
    ) {
        let settings = self.settings.outbound.server_http2;
        let connection = Connection::new(self, version, target, lookup, source.client);
        worker::serve(io, version, &settings, source.drain, Rc::new(connection));
    }
}

impl Service for Connection {
    fn call(self: Rc<Self>, exchange: Carried) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.carry(exchange, Arrival::default()).await })
    }
}

/// How a request came that was not made by an application of this pod.
#[derive(Default)]
pub struct Arrival {
    /// What it was before it was carried as HTTP/2, as `l5d-orig-proto` has it.
    pub original: Option<&'static [u8]>,
    /// What is done to it in any case.
    pub request: Changes,
    /// What is done to its response.
    pub response: Changes,
}

impl Connection {
    /// Carries requests of `client` that were meant for `target`.
    pub fn new(
        outbound: Arc<Outbound>,
        version: Version,
        target: SocketAddr,
        lookup: Lookup,
        client: SocketAddr,
    ) -> Self {
        Self {
            outbound,
            version,
            target,
            lookup,
            client,
        }
    }

    /// Carries one request to where it goes, and its response back.
    pub async fn carry(&self, carried: Carried, mut arrival: Arrival) {
        let settings = &self.outbound.settings;
        let emit = settings.informational_headers;
        let version = match arrival.original {
            Some(_) => Version::Http1,
            None => self.version,
        };
        let read = carried.request(|head| {
            let upgrades = head.upgrade().is_some() || head.method() == b"CONNECT";
            let absolute = head.scheme().is_some();
            let request = Request {
                carried,
                version,
                upgrades: upgrades && self.version == Version::Http1,
                grpc: version == Version::Http2 && is_grpc(head.get(b"content-type")),
                client: self.client,
                original: arrival
                    .original
                    .unwrap_or_else(|| original(false, absolute)),
            };
            (request, Manner::of_head(head, version, emit))
        });
        let Some((mut request, manner)) = read else {
            return;
        };
        if version == Version::Http1 && carried.is_http10() {
            let absolute = request.original.ends_with(b"form");
            request.original = original(true, absolute);
        }
        let span = carried.request(|head| {
            let tracer = &self.outbound.tracer;
            tracer.begin(Side::Server, "outbound", head, &arrival.request)
        });
        let mut span = span.flatten();
        if let Some(span) = &span {
            span.hand_on(&mut arrival.request);
        }
        let max = settings.outbound.max_in_flight;
        let Some(slot) = self.outbound.in_flight.enter(max) else {
            return self.fail(carried, Failure::LoadShed, manner);
        };
        let answered = self.dispatch(&request, arrival.request).await;
        drop(slot);
        match answered {
            Ok(mut answer) => {
                answer.changes.also(arrival.response);
                if let Some(span) = &mut span {
                    span.head(carried.response(|head| head.status()).unwrap_or(0));
                }
                answer.ending.spans[1] = span;
                self.pass_on(&request, answer).await;
            }
            Err(Error::Failed(failure) | Error::Unsent(failure)) => {
                if let Some(span) = &mut span {
                    span.head(failure.answer().status);
                }
                self.fail(carried, failure, manner);
            }
            Err(Error::Reply(answer)) => send(carried, &reply(&answer, manner), false),
            Err(Error::Reset(code)) => carried.reset(code),
            Err(Error::Gone) => {}
        }
    }

    async fn dispatch(
        &self,
        request: &Request,
        mut changes: Changes,
    ) -> Result<Box<Answer>, Error> {
        let found = self.lookup.logical(&self.outbound, request).await;
        let logical = found.map_err(Error::Failed)?;
        if matches!(self.lookup, Lookup::Named(_)) {
            changes.remove(DST_OVERRIDE);
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
                let found = request.carried.request(|head| find(routes, &Routed(head)));
                let found = found.ok_or(Error::Gone)?;
                let (route, rule) = found.ok_or(Error::Failed(Failure::NoRoute))?;
                (
                    routes[route].rules[rule].matches.as_slice(),
                    &rules[route][rule],
                )
            }
        };
        let authority = || {
            let text = |head: &Head| String::from_utf8_lossy(head.authority()).into_owned();
            request.carried.request(text).unwrap_or_default()
        };
        let named = rule.named(&self.outbound.metrics, authority);
        let counted = named.as_deref().unwrap_or(&rule.counted);
        let stream = Stream::begin(&counted.stream);
        let profile = logical.profile.as_ref();
        let answered = self
            .exchange((rule, counted), matches, profile, request, changes)
            .await;
        match answered {
            Ok(mut answer) => {
                answer.ending.requests = Some(counted.stream.clone());
                Ok(observed(request, answer, stream, 1))
            }
            Err(error) => Err(unanswered(error, stream)),
        }
    }

    /// Applies the rule's filters around the request's attempts.
    async fn exchange(
        &self,
        (rule, counted): (&Rule, &Counted),
        matches: &[Match],
        profile: Option<&Table>,
        request: &Request,
        mut changes: Changes,
    ) -> Result<Box<Answer>, Error> {
        let planned = request.carried.request(|head| {
            changes.on_request(&rule.policy.filters, matches, head)?;
            let mut plan = Plan::of(rule, &counted.retries, head, &mut changes);
            if let Some(profile) = profile {
                plan.follow(profile.find(&Routed(head)));
                changes.set("l5d-dst-canonical", profile.dst.as_bytes());
            }
            Ok(plan)
        });
        let plan = planned.ok_or(Error::Gone)?.map_err(Error::Reply)?;
        self.outbound.mirror(&rule.mirrors, request, &changes);
        let mut answer = if plan.is_plain() {
            self.send(rule, request, &changes).await?
        } else {
            // Boxed, so that exchanges without either stay small.
            Box::pin(self.attempts(rule, plan, request, &changes)).await?
        };
        answer.changes.on_response(&rule.policy.filters);
        Ok(answer)
    }

    /// Sends to an endpoint of the rule's backend; an unreachable one is taken out and another tried.
    pub(super) async fn send(
        &self,
        rule: &Rule,
        request: &Request,
        changes: &Changes,
    ) -> Result<Box<Answer>, Error> {
        let settings = &self.outbound.settings.outbound;
        let backend = rule.pick().ok_or(Error::Failed(Failure::LoadShed))?;
        let mut own = None;
        if !backend.filters.is_empty() {
            let mut filtered = changes.clone();
            let filter = |head: &_| filtered.on_request(&backend.filters, &[], head);
            let done = request.carried.request(filter).ok_or(Error::Gone)?;
            done.map_err(Error::Reply)?;
            own = Some(filtered);
        }
        let changes = own.as_ref().unwrap_or(changes);
        self.outbound.mirror(&backend.mirrors, request, changes);
        let stream = Stream::begin(&backend.stream);
        let answered = match &backend.target {
            BackendTarget::Fail => Err(Error::Failed(Failure::NoBackend)),
            BackendTarget::Forward(endpoint) => {
                let sent = endpoint.send(request, changes).await;
                sent.map(|mut answer| {
                    answer.closes = endpoint.gives_up(request.carried);
                    answer
                })
            }
            BackendTarget::Balance(balancer) => {
                let deadline = Instant::from(clock::now()) + settings.failfast_timeout;
                loop {
                    let endpoint = match balancer
                        .acquire(Traffic::Http, deadline, settings.queue_capacity)
                        .await
                    {
                        Ok(endpoint) => endpoint,
                        Err(failure) => break Err(Error::Failed(failure)),
                    };
                    match endpoint.send(request, changes).await {
                        Err(Error::Unsent(_)) => balancer.failed(&endpoint),
                        other => break other,
                    }
                }
            }
        };
        match answered {
            Ok(mut answer) => {
                answer.changes.on_response(&backend.filters);
                Ok(observed(request, answer, stream, 0))
            }
            Err(error) => Err(unanswered(error, stream)),
        }
    }

    /// Forwards a response and follows it to its end.
    async fn pass_on(&self, request: &Request, mut answer: Box<Answer>) {
        let carried = request.carried;
        let status = carried.response(|head| head.status());
        let tunnel = status.is_some_and(|status| carried.is_tunnel(status));
        let base = HeadEdit {
            // A server that speaks for itself may say what it likes about its origin.
            remove: &STRIPPED[..if answer.carried { 3 } else { 2 }],
            ..HeadEdit::default()
        };
        if answer.closes {
            carried.close_client();
        }
        let forwarded = answer
            .changes
            .with_edit(base, |edit| carried.forward_response(edit));
        if forwarded.is_err() {
            return carried.reset(code::INTERNAL_ERROR);
        }
        if tunnel {
            // What follows is no response any more.
            return answer.ending.complete(None);
        }
        match answer.clock {
            None => answer.ending.follow(carried).await,
            Some(_) => Box::pin(self.follow_within(answer, request)).await,
        }
    }

    fn fail(&self, carried: Carried, failure: Failure, manner: Manner) {
        let answer = failure.answer();
        if let Some(kind) = answer.metric {
            self.outbound
                .metrics
                .outbound_http_errors
                .get(&Labels::new().with("error", kind))
                .add(1);
        }
        tracing::info!(client = %self.client, target = %self.target, error = answer.text, "request failed");
        let response: Response<Body> = respond(failure, manner);
        send(carried, &response, answer.close);
    }
}

/// Lets `stream` see the rest of a response.
fn observed(
    request: &Request,
    mut answer: Box<Answer>,
    mut stream: Stream,
    at: usize,
) -> Box<Answer> {
    request.carried.response(|head| {
        stream.head(head.status(), || {
            head.get(b"grpc-status").and_then(parse_code)
        });
    });
    answer.ending.streams[at] = Some(stream);
    answer
}

/// Counts a request that had no response.
fn unanswered(error: Error, mut stream: Stream) -> Error {
    match &error {
        Error::Failed(failure) | Error::Unsent(failure) => stream.fail(failure.route_label()),
        Error::Reply(reply) => {
            stream.head(reply.status(), || None);
            stream.end(None);
        }
        Error::Reset(_) => stream.fail("RESET"),
        Error::Gone => {}
    }
    error
}

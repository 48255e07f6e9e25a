//! One request's attempts: each within its time, repeated as the route allows.
//!
//! Source: linkerd2-proxy linkerd/http/retry and linkerd/app/outbound/src/http/logical/policy/route.

use super::endpoint::{Answer, Error};
use super::http::Connection;
use super::logical::Rule;
use super::profile::Found;
use crate::http::body::Body;
use crate::http::peek::peek;
use crate::http::replay::{keeping, Keep};
use crate::http::respond::Manner;
use crate::http::timed::Clock;
use crate::http::upgrade;
use crate::telemetry::exchange::Exchange;
use ::http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::retry::{with_headers, Retry, HEADERS};
use linkerd_proxy_core::timeout::Timeouts;
use std::borrow::Cow;
use tokio::time::{Duration, Instant};

/// What applies to one request.
pub struct Plan<'a> {
    /// How it is sent again.
    pub retry: Option<Cow<'a, Retry>>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// The service profile's route, if requests follow a profile.
    pub profile: Option<Found<'a>>,
}

impl<'a> Plan<'a> {
    /// The rule's, changed by the client's headers where the rule lets them.
    pub fn of<B>(rule: &'a Rule, request: &mut Request<B>) -> Self {
        let policy = &rule.policy;
        let mut plan = Self {
            retry: policy.retry.as_deref().map(Cow::Borrowed),
            timeouts: policy.timeouts,
            profile: None,
        };
        if policy.obeys_headers {
            let headers = request.headers();
            if HEADERS.iter().any(|name| headers.contains_key(*name)) {
                let header = |name: &str| headers.get(name)?.to_str().ok();
                let retry = policy.retry.as_deref();
                let (retry, timeouts) = with_headers(header, retry, plan.timeouts);
                plan.retry = retry.map(Cow::Owned);
                plan.timeouts = timeouts;
                for name in HEADERS {
                    request.headers_mut().remove(name);
                }
            }
        }
        plan
    }

    /// Does as the profile's route says instead of as the rule says.
    pub fn follow(&mut self, found: Found<'a>) {
        self.retry = found.retry().map(Cow::Borrowed);
        self.timeouts = Timeouts {
            request: found.route.and_then(|route| route.timeout),
            ..Timeouts::default()
        };
        self.profile = Some(found);
    }

    /// Whether a single attempt without limits will do.
    pub fn is_plain(&self) -> bool {
        self.retry.is_none() && self.timeouts.is_unlimited() && self.profile.is_none()
    }
}

/// The head of a request, for another attempt.
struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Head {
    fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        }
    }

    fn with(&self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl Connection {
    /// Sends a request as its plan says.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub(super) async fn attempts(
        &self,
        rule: &Rule,
        plan: Plan<'_>,
        request: Request<Body>,
        upgrade: &mut Option<upgrade::Pending>,
        manner: Manner,
    ) -> Result<Answer, Error> {
        let Some(profile) = plan.profile else {
            return self.repeated(rule, &plan, request, upgrade, manner).await;
        };
        let mut exchange = Exchange::begin(profile.metrics.effective.clone(), manner.grpc);
        match self.repeated(rule, &plan, request, upgrade, manner).await {
            Ok(answer) => Ok(measured(answer, exchange)),
            Err(error) => {
                let timed_out = matches!(error, Error::Failed(Failure::RequestTimeout));
                let error = if timed_out {
                    Error::Failed(Failure::ProfileTimeout)
                } else {
                    error
                };
                lost(&error, &mut exchange);
                Err(error)
            }
        }
    }

    async fn repeated(
        &self,
        rule: &Rule,
        plan: &Plan<'_>,
        request: Request<Body>,
        upgrade: &mut Option<upgrade::Pending>,
        manner: Manner,
    ) -> Result<Answer, Error> {
        let origin = Instant::now();
        let Some(retry) = plan
            .retry
            .as_deref()
            .filter(|retry| retry.limit > 0 && upgrade.is_none())
        else {
            let limits = (plan.timeouts, origin);
            return self
                .once(rule, plan, limits, request, upgrade, manner)
                .await;
        };
        let head = Head::of(&request);
        let (body, keep) = keeping(request.into_body(), retry.body_bytes_max);
        let mut request = head.with(body);
        for attempt in 0.. {
            let last = attempt >= retry.limit;
            let timeouts = Timeouts {
                // Whoever will not try again may as well wait.
                headers: retry.timeout.filter(|_| !last),
                ..plan.timeouts
            };
            let sent = self
                .once(rule, plan, (timeouts, origin), request, upgrade, manner)
                .await;
            let (sent, wanted) = self.judge(retry, plan.profile, sent, manner).await;
            if !wanted {
                if attempt > 0 && sent.is_ok() {
                    rule.metrics.retry_successes.add(1);
                }
                return sent;
            }
            if last {
                rule.metrics.retry_limit_exceeded.add(1);
                return sent;
            }
            let Some(again) = self.next(&head, &keep, plan.profile) else {
                rule.metrics.retry_overflow.add(1);
                return sent;
            };
            drop(sent);
            request = again;
            rule.metrics.retry_requests.add(1);
            if let Some(backoff) = &retry.backoff {
                let delay = crate::random::with(|rng| backoff.delay(attempt, rng));
                let left = plan.timeouts.request.map_or(Duration::MAX, |limit| {
                    limit.saturating_sub(origin.elapsed())
                });
                tokio::time::sleep(delay.min(left)).await;
            }
        }
        unreachable!("the loop ends at the last attempt")
    }

    /// One attempt, counted for the profile's route.
    async fn once(
        &self,
        rule: &Rule,
        plan: &Plan<'_>,
        (timeouts, origin): (Timeouts, Instant),
        request: Request<Body>,
        upgrade: &mut Option<upgrade::Pending>,
        manner: Manner,
    ) -> Result<Answer, Error> {
        let begin = |found: Found<'_>| Exchange::begin(found.metrics.actual.clone(), manner.grpc);
        let exchange = plan.profile.map(begin);
        let sent = self
            .timed(rule, timeouts, origin, request, upgrade, manner)
            .await;
        match (sent, exchange) {
            (Ok(answer), Some(exchange)) => Ok(measured(answer, exchange)),
            (Err(error), Some(mut exchange)) => {
                lost(&error, &mut exchange);
                Err(error)
            }
            (sent, None) => sent,
        }
    }

    fn next(&self, head: &Head, keep: &Keep, profile: Option<Found<'_>>) -> Option<Request<Body>> {
        let body = keep.again()?;
        if profile.is_some_and(|found| !found.withdraw()) {
            return None;
        }
        Some(head.with(body))
    }

    /// Whether another attempt is wanted, looking at trailers if that may tell.
    async fn judge(
        &self,
        retry: &Retry,
        profile: Option<Found<'_>>,
        sent: Result<Answer, Error>,
        manner: Manner,
    ) -> (Result<Answer, Error>, bool) {
        match sent {
            Ok(answer) if answer.upgraded.is_none() => {
                let (parts, body) = answer.response.into_parts();
                let in_head = parts.headers.get("grpc-status").and_then(code);
                let look = manner.grpc && in_head.is_none() && !retry.codes.is_empty();
                let (body, in_trailers) = if look {
                    let peeked = peek(body).await;
                    let status = peeked.trailers().and_then(|map| map.get("grpc-status"));
                    let found = status.and_then(code);
                    (Body::peeked(peeked), found)
                } else {
                    (body, None)
                };
                let (status, grpc) = (parts.status.as_u16(), in_head.or(in_trailers));
                let wanted = match profile {
                    Some(found) => found.is_failure(status, grpc),
                    None => retry.wants(status, grpc),
                };
                let response = ::http::Response::from_parts(parts, body);
                (
                    Ok(Answer {
                        response,
                        upgraded: None,
                    }),
                    wanted,
                )
            }
            Ok(answer) => (Ok(answer), false),
            Err(error) => {
                let wanted = match &error {
                    Error::Failed(Failure::LoadShed) => false,
                    Error::Failed(Failure::FailFast | Failure::HeadersTimeout) => true,
                    // The exchange's own time is over, so there is none for another attempt.
                    Error::Failed(
                        Failure::RequestTimeout | Failure::ResponseTimeout | Failure::IdleTimeout,
                    ) => false,
                    Error::Failed(failure) | Error::Unsent(failure, _) => {
                        let answer = failure.answer();
                        if manner.grpc {
                            retry.wants(200, Some(answer.grpc))
                        } else {
                            retry.wants(answer.status, None)
                        }
                    }
                    Error::Reset(broken) => broken.is_refused(),
                    Error::Reply(_) => false,
                };
                (Err(error), wanted)
            }
        }
    }

    /// Sends once, within the limits.
    async fn timed(
        &self,
        rule: &Rule,
        timeouts: Timeouts,
        origin: Instant,
        request: Request<Body>,
        upgrade: &mut Option<upgrade::Pending>,
        manner: Manner,
    ) -> Result<Answer, Error> {
        if timeouts.is_unlimited() {
            return self.send(rule, request, upgrade).await;
        }
        let clock = Clock::start(timeouts, origin);
        let request = request.map(|body| clock.request(body));
        let answer = tokio::select! {
            answer = self.send(rule, request, upgrade) => answer?,
            expired = clock.expired() => return Err(Error::Failed(expired.into())),
        };
        clock.head();
        if answer.upgraded.is_some() {
            return Ok(answer);
        }
        let grpc = manner.grpc;
        Ok(Answer {
            response: answer.response.map(|body| clock.response(body, grpc)),
            upgraded: None,
        })
    }
}

/// Lets `exchange` see the rest of a response.
fn measured(answer: Answer, mut exchange: Exchange) -> Answer {
    let status = answer.response.headers().get("grpc-status");
    let status = status.map(HeaderValue::as_bytes);
    exchange.head(answer.response.status().as_u16(), status);
    Answer {
        response: answer.response.map(|body| body.exchanged(exchange)),
        upgraded: answer.upgraded,
    }
}

/// Counts an exchange that had no response.
fn lost(error: &Error, exchange: &mut Exchange) {
    match error {
        Error::Failed(failure) | Error::Unsent(failure, _) => {
            exchange.head(failure.answer().status, None);
            exchange.end();
        }
        Error::Reply(reply) => {
            exchange.head(reply.status(), None);
            exchange.end();
        }
        Error::Reset(_) => {
            exchange.fail("unclassified");
        }
    }
}

fn code(value: &HeaderValue) -> Option<u16> {
    value.to_str().ok()?.trim().parse().ok()
}

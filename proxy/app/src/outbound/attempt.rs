//! One request's attempts: each within its time, repeated as the route allows.
//!
//! Source: linkerd2-proxy linkerd/http/retry and linkerd/app/outbound/src/http/logical/policy/route.

use super::discover::Rule;
use super::endpoint::{Answer, Error};
use super::http::Connection;
use crate::http::body::Body;
use crate::http::peek::peek;
use crate::http::replay::{keeping, Keep};
use crate::http::respond::Manner;
use crate::http::timed::Clock;
use crate::http::upgrade;
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
    /// Asked before each retry; a service profile's budget may refuse.
    pub budget: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl<'a> Plan<'a> {
    /// The rule's, changed by the client's headers where the rule lets them.
    pub fn of<B>(rule: &'a Rule, request: &mut Request<B>) -> Self {
        let policy = &rule.policy;
        let mut plan = Self {
            retry: policy.retry.as_deref().map(Cow::Borrowed),
            timeouts: policy.timeouts,
            budget: None,
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
        let origin = Instant::now();
        let Some(retry) = plan
            .retry
            .filter(|retry| retry.limit > 0 && upgrade.is_none())
        else {
            return self
                .timed(rule, plan.timeouts, origin, request, upgrade, manner)
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
                .timed(rule, timeouts, origin, request, upgrade, manner)
                .await;
            let (sent, wanted) = self.judge(&retry, sent, manner).await;
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
            let Some(again) = self.next(&head, &keep, &plan.budget) else {
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

    fn next(
        &self,
        head: &Head,
        keep: &Keep,
        budget: &Option<&(dyn Fn() -> bool + Sync)>,
    ) -> Option<Request<Body>> {
        let body = keep.again()?;
        if budget.is_some_and(|withdraw| !withdraw()) {
            return None;
        }
        Some(head.with(body))
    }

    /// Whether another attempt is wanted, looking at trailers if that may tell.
    async fn judge(
        &self,
        retry: &Retry,
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
                let wanted = retry.wants(parts.status.as_u16(), in_head.or(in_trailers));
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

fn code(value: &HeaderValue) -> Option<u16> {
    value.to_str().ok()?.trim().parse().ok()
}

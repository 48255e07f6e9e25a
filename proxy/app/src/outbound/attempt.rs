//! One request's attempts: each within its time, repeated as the route allows.
//!
//! Source: linkerd2-proxy linkerd/http/retry and linkerd/app/outbound/src/http/logical/policy/route.

use super::clock::Clock;
use super::endpoint::{Answer, Error, Request};
use super::http::Connection;
use super::logical::Rule;
use super::profile::Found;
use crate::http::heads::{text_of, Changes};
use crate::http::worker::{Exchange as Carried, Signal};
use crate::telemetry::exchange::Exchange;
use crate::telemetry::route::RetryMetrics;
use linkerd_proxy_core::classify::parse_code;
use linkerd_proxy_core::engine::{code, Head};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::filter::Headers;
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
    /// What is counted for its retries.
    metrics: &'a RetryMetrics,
}

impl<'a> Plan<'a> {
    /// The rule's, changed by the client's headers where the rule lets them.
    pub fn of(
        rule: &'a Rule,
        metrics: &'a RetryMetrics,
        head: &Head,
        changes: &mut Changes,
    ) -> Self {
        let policy = &rule.policy;
        let mut plan = Self {
            retry: policy.retry.as_deref().map(Cow::Borrowed),
            timeouts: policy.timeouts,
            profile: None,
            metrics,
        };
        let asks = |name: &&str| head.get(name.as_bytes()).is_some();
        if policy.obeys_headers && HEADERS.iter().any(asks) {
            let retry = policy.retry.as_deref();
            let (retry, timeouts) = with_headers(|name| text_of(head, name), retry, plan.timeouts);
            plan.retry = retry.map(Cow::Owned);
            plan.timeouts = timeouts;
            for name in HEADERS {
                changes.remove(name);
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

impl Connection {
    /// Sends a request as its plan says.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub(super) async fn attempts(
        &self,
        rule: &Rule,
        plan: Plan<'_>,
        request: &Request,
        changes: &Changes,
    ) -> Result<Box<Answer>, Error> {
        let Some(profile) = plan.profile else {
            return self.repeated(rule, &plan, request, changes).await;
        };
        let mut exchange = Exchange::begin(profile.metrics.effective.clone(), request.grpc);
        match self.repeated(rule, &plan, request, changes).await {
            Ok(answer) => Ok(measured(request, answer, exchange, 1)),
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
        request: &Request,
        changes: &Changes,
    ) -> Result<Box<Answer>, Error> {
        let origin = Instant::now();
        let carried = request.carried;
        let retry = plan.retry.as_deref();
        let Some(retry) = retry.filter(|retry| retry.limit > 0 && !request.upgrades) else {
            let clock = Clock::start(plan.timeouts, origin);
            return self.once(rule, plan, clock, request, changes).await;
        };
        carried.keep_request(retry.body_bytes_max);
        for attempt in 0.. {
            let last = attempt >= retry.limit;
            let timeouts = Timeouts {
                // Whoever will not try again may as well wait.
                headers: retry.timeout.filter(|_| !last),
                ..plan.timeouts
            };
            let clock = Clock::start(timeouts, origin);
            let sent = self.once(rule, plan, clock, request, changes).await;
            if !wants(retry, plan.profile, &sent, request).await {
                if attempt > 0 && sent.is_ok() {
                    plan.metrics.retry_successes.add(1);
                }
                return sent;
            }
            if last {
                plan.metrics.retry_limit_exceeded.add(1);
                return sent;
            }
            let granted = || plan.profile.is_none_or(|found| found.withdraw());
            if !carried.can_retry() || !granted() {
                plan.metrics.retry_overflow.add(1);
                return sent;
            }
            if let Ok(mut answer) = sent {
                answer.ending.complete(None);
            }
            carried.release();
            // What the abandoned attempt still had to say is of no interest.
            while let Some(signal) = carried.ready_signal() {
                if matches!(signal, Signal::Finished) {
                    return Err(Error::Gone);
                }
            }
            plan.metrics.retry_requests.add(1);
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

    /// One attempt within its time, counted for the profile's route.
    async fn once(
        &self,
        rule: &Rule,
        plan: &Plan<'_>,
        clock: Option<Clock>,
        request: &Request,
        changes: &Changes,
    ) -> Result<Box<Answer>, Error> {
        let begin = |found: Found<'_>| Exchange::begin(found.metrics.actual.clone(), request.grpc);
        let mut exchange = plan.profile.map(begin);
        let sent = match &clock {
            None => self.send(rule, request, changes).await,
            Some(clock) => tokio::select! {
                sent = self.send(rule, request, changes) => sent,
                expired = clock.expired(request.carried) => {
                    request.carried.release();
                    Err(Error::Failed(expired.into()))
                }
            },
        };
        match sent {
            Ok(mut answer) => {
                if let Some(exchange) = exchange {
                    answer = measured(request, answer, exchange, 0);
                }
                answer.clock = clock.map(Clock::answered);
                Ok(answer)
            }
            Err(error) => {
                if let Some(exchange) = &mut exchange {
                    lost(&error, exchange);
                }
                Err(error)
            }
        }
    }

    /// Follows a forwarded response to its end, within its time.
    pub(super) async fn follow_within(&self, answer: Box<Answer>, request: &Request) {
        let carried = request.carried;
        let (mut ending, Some(clock)) = (answer.ending, answer.clock) else {
            return;
        };
        let mut trailers = None;
        loop {
            let expired = tokio::select! {
                biased;
                signal = carried.signal() => {
                    if ending.note(carried, signal, &mut trailers) {
                        return;
                    }
                    continue;
                }
                expired = clock.expired(carried) => expired,
            };
            let failure = Failure::from(expired);
            ending.fail("timeout", failure.route_label());
            let answer = failure.answer();
            if request.grpc {
                let status = answer.grpc.to_string();
                let status = (&b"grpc-status"[..], status.as_bytes());
                carried.finish(&[status, (b"grpc-message", answer.text.as_bytes())]);
            } else {
                carried.reset(code::CANCEL);
            }
            return;
        }
    }
}

/// Whether another attempt is wanted, looking at trailers if that may tell.
async fn wants(
    retry: &Retry,
    profile: Option<Found<'_>>,
    sent: &Result<Box<Answer>, Error>,
    request: &Request,
) -> bool {
    let carried = request.carried;
    match sent {
        Ok(_) if request.upgrades => false,
        Ok(_) => {
            let read = |head: &Head| (head.status(), head.get(b"grpc-status").and_then(parse_code));
            let (status, mut grpc) = carried.response(read).unwrap_or((0, None));
            if request.grpc && grpc.is_none() && !retry.codes.is_empty() {
                grpc = code_of_trailers(carried).await;
            }
            match profile {
                Some(found) => found.is_failure(status, grpc),
                None => retry.wants(status, grpc),
            }
        }
        Err(error) => match error {
            Error::Failed(Failure::LoadShed) => false,
            Error::Failed(Failure::FailFast | Failure::HeadersTimeout) => true,
            // The exchange's own time is over, so there is none for another attempt.
            Error::Failed(
                Failure::RequestTimeout | Failure::ResponseTimeout | Failure::IdleTimeout,
            ) => false,
            Error::Failed(failure) | Error::Unsent(failure) => {
                let answer = failure.answer();
                if request.grpc {
                    retry.wants(200, Some(answer.grpc))
                } else {
                    retry.wants(answer.status, None)
                }
            }
            Error::Reset(code) => *code == code::REFUSED_STREAM,
            Error::Reply(_) | Error::Gone => false,
        },
    }
}

/// The status in the trailers, when they come at once or right behind the first of the body.
async fn code_of_trailers(carried: Carried) -> Option<u16> {
    let code = || carried.trailers(|head| head.get(b"grpc-status").and_then(parse_code))?;
    if !carried.response_is_whole() {
        match carried.signal().await {
            Signal::Body => carried.settled().await,
            Signal::Trailers | Signal::Response | Signal::Failed(_) | Signal::Finished => {}
        }
    }
    code()
}

/// Lets `exchange` see the rest of a response.
fn measured(
    request: &Request,
    mut answer: Box<Answer>,
    mut exchange: Exchange,
    at: usize,
) -> Box<Answer> {
    let head = |head: &Head| exchange.head(head.status(), head.get(b"grpc-status"));
    request.carried.response(head);
    answer.ending.profile[at] = Some(exchange);
    answer
}

/// Counts an exchange that had no response.
fn lost(error: &Error, exchange: &mut Exchange) {
    match error {
        Error::Failed(failure) | Error::Unsent(failure) => {
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
        Error::Gone => {}
    }
}

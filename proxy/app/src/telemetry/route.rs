//! What is counted per outbound route.

use super::registry::{Counter, Family, Registry};
use super::Metrics;
use linkerd_proxy_core::labels::Labels;
use std::sync::Arc;

/// Families of retries.
pub struct RetryFamilies {
    requests: Arc<Family<Counter>>,
    successes: Arc<Family<Counter>>,
    limit_exceeded: Arc<Family<Counter>>,
    overflow: Arc<Family<Counter>>,
}

impl RetryFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        Self {
            requests: r.counter(
                "outbound_http_route_retry_requests_total",
                "Retry requests emitted",
            ),
            successes: r.counter(
                "outbound_http_route_retry_successes_total",
                "Successful responses to retry requests",
            ),
            limit_exceeded: r.counter(
                "outbound_http_route_retry_limit_exceeded_total",
                "Retryable responses not sent due to retry limits",
            ),
            overflow: r.counter(
                "outbound_http_route_retry_overflow_total",
                "Retryable responses not sent due to circuit breakers",
            ),
        }
    }
}

/// Handles of one route.
pub struct RetryMetrics {
    /// Attempts after the first.
    pub retry_requests: Arc<Counter>,
    /// Those that ended well.
    pub retry_successes: Arc<Counter>,
    /// Failures for which no attempt was left.
    pub retry_limit_exceeded: Arc<Counter>,
    /// Failures whose request could not be sent again.
    pub retry_overflow: Arc<Counter>,
}

impl RetryMetrics {
    /// Resolves the handles for `labels`.
    pub fn new(metrics: &Metrics, labels: &Labels) -> Self {
        Self {
            retry_requests: metrics.retry.requests.get(labels),
            retry_successes: metrics.retry.successes.get(labels),
            retry_limit_exceeded: metrics.retry.limit_exceeded.get(labels),
            retry_overflow: metrics.retry.overflow.get(labels),
        }
    }
}

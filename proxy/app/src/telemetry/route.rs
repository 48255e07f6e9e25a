//! What is counted per outbound route: retries, and the routes of service profiles.

use super::balancer::{BalancerFamilies, BalancerMetrics};
use super::exchange::HttpMetrics;
use super::registry::{Counter, Family, Histogram, Registry};
use super::{Metrics, LATENCY_MS};
use linkerd_proxy_core::labels::{label_name, Labels};
use linkerd_proxy_core::profile::ProfileRoute;
use std::sync::Arc;
use std::time::Duration;

/// Families of retries.
pub struct RetryFamilies {
    http: [Arc<Family<Counter>>; 4],
    grpc: [Arc<Family<Counter>>; 4],
}

impl RetryFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        let mut make = |kind: &str| {
            [
                ("requests", "Retry requests emitted"),
                ("successes", "Successful responses to retry requests"),
                (
                    "limit_exceeded",
                    "Retryable responses not sent due to retry limits",
                ),
                (
                    "overflow",
                    "Retryable responses not sent due to circuit breakers",
                ),
            ]
            .map(|(what, help)| {
                r.counter(&format!("outbound_{kind}_route_retry_{what}_total"), help)
            })
        };
        Self {
            http: make("http"),
            grpc: make("grpc"),
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
    pub fn new(metrics: &Metrics, labels: &Labels, grpc: bool) -> Self {
        let families = if grpc {
            &metrics.retry.grpc
        } else {
            &metrics.retry.http
        };
        let [requests, successes, limit_exceeded, overflow] = families;
        Self {
            retry_requests: requests.get(labels),
            retry_successes: successes.get(labels),
            retry_limit_exceeded: limit_exceeded.get(labels),
            retry_overflow: overflow.get(labels),
        }
    }
}

/// Families of calls to the control plane.
pub struct ControlFamilies {
    /// Lookups of its names.
    pub resolutions: Arc<Family<Counter>>,
    balancers: Vec<(&'static str, BalancerFamilies)>,
    requests: Arc<Family<Counter>>,
    responses: Arc<Family<Counter>>,
    latency: Arc<Family<Histogram>>,
}

impl ControlFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        let parts = [
            ("identity", "control_identity"),
            ("destination", "control_destination"),
            ("policy", "control_policy"),
            ("opentelemetry", "opentelemetry"),
        ];
        Self {
            resolutions: r.counter(
                "control_dns_resolutions_total",
                "Counts the number of DNS records that have been resolved",
            ),
            balancers: parts
                .into_iter()
                .map(|(name, prefix)| (name, BalancerFamilies::new(r, prefix)))
                .collect(),
            requests: r.counter("control_request_total", "Total count of HTTP requests."),
            responses: r.counter("control_response_total", "Total count of HTTP responses."),
            latency: r.histogram(
                "control_response_latency_ms",
                "Elapsed times between a request's headers being received and its response stream completing",
                LATENCY_MS,
            ),
        }
    }

    /// Resolves the handles of the replicas of the service `name`.
    ///
    /// # Panics
    /// There is no such part of the control plane.
    pub fn balancer(&self, name: &str, addr: &str) -> BalancerMetrics {
        let found = self.balancers.iter().find(|(known, _)| *known == name);
        let (_, families) = found.expect("every client is named after a part of the control plane");
        BalancerMetrics::new(families, &Labels::new().with("addr", addr), Duration::ZERO)
    }

    /// Resolves the handles of one service; `server` is its identity.
    pub fn service(&self, addr: &str, server: Option<&str>) -> Arc<HttpMetrics> {
        let labels = Labels::new().with("addr", addr);
        let labels = match server {
            Some(id) => labels.with("tls", "true").with("server_id", id),
            None => labels
                .with("tls", "no_identity")
                .with("no_tls_reason", "loopback"),
        };
        let latency = Some(&self.latency);
        Arc::new(HttpMetrics::of(
            labels,
            &self.requests,
            &self.responses,
            latency,
        ))
    }
}

/// Families of service profiles' routes.
pub struct ProfileFamilies {
    requests: Arc<Family<Counter>>,
    responses: Arc<Family<Counter>>,
    latency: Arc<Family<Histogram>>,
    actual_requests: Arc<Family<Counter>>,
    actual_responses: Arc<Family<Counter>>,
    retryable: Arc<Family<Counter>>,
}

impl ProfileFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        Self {
            requests: r.counter("route_request_total", "Total count of HTTP requests."),
            responses: r.counter("route_response_total", "Total count of HTTP responses."),
            latency: r.histogram(
                "route_response_latency_ms",
                "Elapsed times between a request's headers being received and its response stream completing",
                LATENCY_MS,
            ),
            actual_requests: r.counter("route_actual_request_total", "Total count of HTTP requests."),
            actual_responses: r.counter(
                "route_actual_response_total",
                "Total count of HTTP responses.",
            ),
            retryable: r.counter(
                "route_retryable_total",
                "Total count of retryable HTTP responses.",
            ),
        }
    }
}

/// Handles of one route of a profile.
pub struct ProfileMetrics {
    /// Exchanges as the application sees them.
    pub effective: Arc<HttpMetrics>,
    /// Attempts.
    pub actual: Arc<HttpMetrics>,
    /// Failures that could be tried again.
    pub retryable: Arc<Counter>,
    /// Those for which there was no budget.
    pub no_budget: Arc<Counter>,
}

impl ProfileMetrics {
    /// Resolves the handles of a route, or of requests without one, to `dst` (`name:port`).
    pub fn new(
        metrics: &Metrics,
        direction: &str,
        dst: &str,
        route: Option<&ProfileRoute>,
    ) -> Self {
        let families = &metrics.profiles;
        let mut labels = Labels::new().with("direction", direction).with("dst", dst);
        for (name, value) in route.iter().flat_map(|route| &route.labels) {
            labels.push(&label_name("rt_", name), value);
        }
        let none = labels.clone().with("skipped", "no_budget");
        let judges = route.map_or(&[][..], |route| &route.classes);
        let judged = |metrics: HttpMetrics| Arc::new(metrics.judged(judges));
        Self {
            retryable: families.retryable.get(&labels),
            no_budget: families.retryable.get(&none),
            effective: judged(HttpMetrics::of(
                labels.clone(),
                &families.requests,
                &families.responses,
                Some(&families.latency),
            )),
            actual: judged(HttpMetrics::of(
                labels,
                &families.actual_requests,
                &families.actual_responses,
                None,
            )),
        }
    }
}

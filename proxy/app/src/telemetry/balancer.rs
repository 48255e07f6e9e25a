//! What is counted per balancer.

use super::registry::{Counter, Family, Gauge, Histogram, Registry};
use linkerd_proxy_core::labels::Labels;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the time in the queue, in microseconds.
const QUEUE_US: &[u64] = &[500, 5_000, 50_000, 500_000, 1_000_000, 3_000_000];

/// Families of balancers.
pub struct BalancerFamilies {
    endpoints: Arc<Family<Gauge>>,
    p2c_endpoints: Arc<Family<Gauge>>,
    updates: Arc<Family<Counter>>,
    queue_length: Arc<Family<Gauge>>,
    queue_requests: Arc<Family<Counter>>,
    queue_latency: Arc<Family<Histogram>>,
    gate_open: Arc<Family<Counter>>,
    gate_shut: Arc<Family<Counter>>,
    gate_timeout: Arc<Family<Gauge>>,
}

impl BalancerFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        Self {
            endpoints: r.gauge(
                "outbound_http_balancer_endpoints",
                "The number of endpoints currently in the balancer",
            ),
            p2c_endpoints: r.gauge(
                "outbound_http_balancer_p2c_endpoints",
                "The number of endpoints currently in the balancer",
            ),
            updates: r.counter(
                "outbound_http_balancer_p2c_updates_total",
                "The total number of service discovery updates received by a balancer",
            ),
            queue_length: r.gauge(
                "outbound_http_balancer_queue_length",
                "The number of requests waiting in the queue",
            ),
            queue_requests: r.counter(
                "outbound_http_balancer_queue_requests_total",
                "The total number of requests that have been enqueued",
            ),
            queue_latency: r.seconds(
                "outbound_http_balancer_queue_latency_seconds",
                "The time that requests spent in the queue",
                QUEUE_US,
            ),
            gate_open: r.counter(
                "outbound_http_balancer_queue_gate_open_total",
                "The number of times the queue's gate has been opened",
            ),
            gate_shut: r.counter(
                "outbound_http_balancer_queue_gate_shut_total",
                "The number of times the queue's gate has been shut",
            ),
            gate_timeout: r.gauge(
                "outbound_http_balancer_queue_gate_timeout_seconds",
                "The timeout after which the queue's gate is shut",
            ),
        }
    }
}

/// Handles of one balancer.
pub struct BalancerMetrics {
    ready: Arc<Gauge>,
    pending: Arc<Gauge>,
    all: Arc<Gauge>,
    /// Replacements of all endpoints.
    pub resets: Arc<Counter>,
    /// Additions.
    pub adds: Arc<Counter>,
    /// Removals.
    pub removes: Arc<Counter>,
    /// Requests that wait.
    pub waiting: Arc<Gauge>,
    requests: Arc<Counter>,
    latency: Arc<Histogram>,
    /// Ends of fail-fast.
    pub opened: Arc<Counter>,
    /// Beginnings of fail-fast.
    pub shut: Arc<Counter>,
}

impl BalancerMetrics {
    /// Resolves the handles for `labels`, parent and backend.
    pub fn new(families: &BalancerFamilies, labels: &Labels, failfast: Duration) -> Self {
        let state = |name| labels.clone().with("endpoint_state", name);
        let op = |name| labels.clone().with("op", name);
        let timeout = i64::try_from(failfast.as_secs()).unwrap_or(i64::MAX);
        families.gate_timeout.get(labels).set(timeout);
        Self {
            ready: families.endpoints.get(&state("ready")),
            pending: families.endpoints.get(&state("pending")),
            all: families.p2c_endpoints.get(labels),
            resets: families.updates.get(&op("Reset")),
            adds: families.updates.get(&op("Add")),
            removes: families.updates.get(&op("Remove")),
            waiting: families.queue_length.get(labels),
            requests: families.queue_requests.get(labels),
            latency: families.queue_latency.get(labels),
            opened: families.gate_open.get(labels),
            shut: families.gate_shut.get(labels),
        }
    }

    /// Notes a request and how long it waited.
    pub fn request(&self, waited: Duration) {
        self.requests.add(1);
        self.latency
            .record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes how many endpoints there are and how many of them can be used.
    pub fn endpoints(&self, all: usize, ready: usize) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.ready.set(number(ready));
        self.pending.set(number(all - ready));
        self.all.set(number(all));
    }
}

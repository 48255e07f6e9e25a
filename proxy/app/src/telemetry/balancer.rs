//! What is counted per balancer.

use super::registry::{Counter, Family, Gauge, Histogram, Registry};
use linkerd_proxy_core::labels::Labels;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    gate_open_time: Arc<Family<Gauge>>,
    gate_shut_time: Arc<Family<Gauge>>,
    gate_timeout: Arc<Family<Gauge>>,
}

impl BalancerFamilies {
    /// Declares those whose names begin with `prefix`.
    pub fn new(r: &mut Registry, prefix: &str) -> Self {
        let name = |rest: &str| format!("{prefix}_balancer_{rest}");
        Self {
            endpoints: r.gauge(
                &name("endpoints"),
                "The number of endpoints currently in the balancer",
            ),
            p2c_endpoints: r.gauge(
                &name("p2c_endpoints"),
                "The number of endpoints currently in the balancer",
            ),
            updates: r.counter(
                &name("p2c_updates_total"),
                "The total number of service discovery updates received by a balancer",
            ),
            queue_length: r.gauge(
                &name("queue_length"),
                "The number of requests waiting in the queue",
            ),
            queue_requests: r.counter(
                &name("queue_requests_total"),
                "The total number of requests that have been enqueued",
            ),
            queue_latency: r.seconds(
                &name("queue_latency_seconds"),
                "The time that requests spent in the queue",
                QUEUE_US,
            ),
            gate_open: r.counter(
                &name("queue_gate_open_total"),
                "The number of times the queue's gate has been opened",
            ),
            gate_shut: r.counter(
                &name("queue_gate_shut_total"),
                "The number of times the queue's gate has been shut",
            ),
            gate_open_time: r.gauge(
                &name("queue_gate_open_time_seconds"),
                "The time at which the queue's gate was last opened, as a UNIX timestamp",
            ),
            gate_shut_time: r.gauge(
                &name("queue_gate_shut_time_seconds"),
                "The time at which the queue's gate was last shut, as a UNIX timestamp",
            ),
            gate_timeout: r.gauge(
                &name("queue_gate_timeout_seconds"),
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
    opened: Arc<Counter>,
    shut: Arc<Counter>,
    opened_at: Arc<Gauge>,
    shut_at: Arc<Gauge>,
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
            opened_at: families.gate_open_time.get(labels),
            shut_at: families.gate_shut_time.get(labels),
        }
    }

    /// Notes the end of fail-fast.
    pub fn opened(&self) {
        self.opened.add(1);
        self.opened_at.set(now_s());
    }

    /// Notes the beginning of fail-fast.
    pub fn shut(&self) {
        self.shut.add(1);
        self.shut_at.set(now_s());
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

/// Seconds since 1970.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

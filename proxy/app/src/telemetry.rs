//! Metrics with Linkerd's names and labels.
//!
//! Source: linkerd2-proxy linkerd/app/core/src/{metrics,transport}, linkerd/http/metrics (names,
//! labels, buckets).

pub mod access_log;
pub mod balancer;
pub mod bytes;
pub mod exchange;
pub mod process;
pub mod registry;
pub mod route;
pub mod runtime;
pub mod spans;
pub mod stream;
pub mod transport;

use crate::telemetry::balancer::BalancerFamilies;
use crate::telemetry::bytes::{ByteFamilies, DetectFamilies};
use crate::telemetry::registry::{Counter, Family, Gauge, Histogram, Registry};
use crate::telemetry::route::ControlFamilies;
use crate::telemetry::route::{ProfileFamilies, RetryFamilies};
use crate::telemetry::runtime::Runtimes;
use crate::telemetry::spans::SpanFamilies;
use crate::telemetry::stream::Both;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::meta::Meta;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of `response_latency_ms`.
pub const LATENCY_MS: &[u64] = &[
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000,
    10_000, 20_000, 30_000, 40_000, 50_000,
];

/// Every family of the proxy, in the order in which they are printed.
pub struct Metrics {
    registry: Registry,
    /// Requests sent to or received for an endpoint.
    pub requests: Arc<Family<Counter>>,
    /// Finished responses.
    pub responses: Arc<Family<Counter>>,
    /// Time to first body byte.
    pub latency: Arc<Family<Histogram>>,
    /// Connections opened.
    pub tcp_open: Arc<Family<Counter>>,
    /// Connections open now.
    pub tcp_connections: Arc<Family<Gauge>>,
    /// Bytes read.
    pub tcp_read: Arc<Family<Counter>>,
    /// Bytes written.
    pub tcp_write: Arc<Family<Counter>>,
    /// Connections closed.
    pub tcp_close: Arc<Family<Counter>>,
    /// Requests admitted.
    pub http_allow: Arc<Family<Counter>>,
    /// Requests refused.
    pub http_deny: Arc<Family<Counter>>,
    /// Requests without a route.
    pub http_no_route: Arc<Family<Counter>>,
    /// Requests over a rate limit.
    pub http_rate_limited: Arc<Family<Counter>>,
    /// Connections admitted.
    pub tcp_allow: Arc<Family<Counter>>,
    /// Connections refused.
    pub tcp_deny: Arc<Family<Counter>>,
    /// Connections ended by a policy change.
    pub tcp_terminate: Arc<Family<Counter>>,
    /// Requests that the inbound proxy answered with an error.
    pub inbound_http_errors: Arc<Family<Counter>>,
    /// Connections that the inbound proxy could not serve.
    pub inbound_tcp_errors: Arc<Family<Counter>>,
    /// Requests that the outbound proxy answered with an error.
    pub outbound_http_errors: Arc<Family<Counter>>,
    /// Connections that the outbound proxy could not serve.
    pub outbound_tcp_errors: Arc<Family<Counter>>,
    /// Direct connections by what their header says.
    pub transport_headers: Arc<Family<Counter>>,
    /// Detections of inbound protocols.
    pub inbound_detect: DetectFamilies,
    /// Streams of outbound routes.
    pub routes: Both,
    /// Streams of their backends.
    pub backends: Both,
    /// Streams of inbound servers.
    pub servers: Both,
    /// Requests and responses of service profiles' routes.
    pub profiles: ProfileFamilies,
    /// Connections by protocol and route.
    pub bytes: ByteFamilies,
    /// Bytes to and from endpoints by how far they travel.
    pub transfer_cost: Arc<Family<Counter>>,
    /// Spans that are exported.
    pub spans: SpanFamilies,
    /// Calls to the control plane.
    pub control: ControlFamilies,
    /// Balancers of requests.
    pub http_balancers: BalancerFamilies,
    /// Balancers of connections of bytes.
    pub tcp_balancers: BalancerFamilies,
    /// Balancers of connections of TLS.
    pub tls_balancers: BalancerFamilies,
    /// Retries on outbound routes.
    pub retry: RetryFamilies,
    cert_expiration: Arc<Family<Gauge>>,
    cert_refresh: Arc<Family<Gauge>>,
    cert_refreshes: Arc<Family<Counter>>,
    build_info: Arc<Family<Gauge>>,
    rustls_info: Arc<Family<Gauge>>,
    started: SystemTime,
    /// Runtimes of the worker threads.
    pub runtimes: Runtimes,
    /// Shared with the meters of connections.
    pub closed: Arc<AtomicU64>,
}

impl Metrics {
    /// Declares all families, of `series_max` series each; idle series live for `retain_idle`.
    pub fn new(retain_idle: Duration, series_max: usize) -> Self {
        let mut r = Registry::new(retain_idle, series_max);
        let metrics = Self {
            requests: r.counter("request_total", "Total count of HTTP requests."),
            responses: r.counter("response_total", "Total count of HTTP responses."),
            latency: r.histogram(
                "response_latency_ms",
                "Elapsed times between a request's headers being received and its response stream completing",
                LATENCY_MS,
            ),
            tcp_open: r.counter("tcp_open_total", "Total count of opened connections"),
            tcp_connections: r.gauge("tcp_open_connections", "Number of currently-open connections"),
            tcp_read: r.counter("tcp_read_bytes_total", "Total count of bytes read from peers"),
            tcp_write: r.counter("tcp_write_bytes_total", "Total count of bytes written to peers"),
            tcp_close: r.counter("tcp_close_total", "Total count of closed connections"),
            http_allow: r.counter(
                "inbound_http_authz_allow_total",
                "The total number of inbound HTTP requests that were authorized",
            ),
            http_deny: r.counter(
                "inbound_http_authz_deny_total",
                "The total number of inbound HTTP requests that could not be processed due to being unauthorized",
            ),
            http_no_route: r.counter(
                "inbound_http_route_not_found_total",
                "The total number of inbound HTTP requests that could not be associated with a route",
            ),
            http_rate_limited: r.counter(
                "inbound_http_local_ratelimit_total",
                "The total number of inbound HTTP requests that were rate-limited",
            ),
            tcp_allow: r.counter(
                "inbound_tcp_authz_allow_total",
                "The total number of inbound TCP connections that were authorized",
            ),
            tcp_deny: r.counter(
                "inbound_tcp_authz_deny_total",
                "The total number of inbound TCP connections that were denied",
            ),
            tcp_terminate: r.counter(
                "inbound_tcp_authz_terminate_total",
                "The total number of inbound TCP connections that were terminated by a policy change",
            ),
            inbound_http_errors: r.counter(
                "inbound_http_errors_total",
                "The total number of inbound HTTP requests that could not be processed due to a proxy error",
            ),
            inbound_tcp_errors: r.counter(
                "inbound_tcp_errors_total",
                "The total number of inbound TCP connections that could not be processed due to a proxy error",
            ),
            outbound_http_errors: r.counter(
                "outbound_http_errors_total",
                "The total number of outbound HTTP requests that could not be processed due to a proxy error",
            ),
            outbound_tcp_errors: r.counter(
                "outbound_tcp_errors_total",
                "The total number of outbound TCP connections that could not be processed due to a proxy error",
            ),
            transport_headers: r.counter(
                "inbound_tcp_transport_header_connections_total",
                "TCP connections with transport headers",
            ),
            inbound_detect: DetectFamilies::new(&mut r, "inbound"),
            routes: Both::routes(&mut r),
            backends: Both::backends(&mut r),
            servers: Both::servers(&mut r),
            profiles: ProfileFamilies::new(&mut r),
            bytes: ByteFamilies::new(&mut r),
            transfer_cost: r.counter(
                "outbound_tcp_transfer_cost_bytes_total",
                "The total amount of data transferred in and out of this proxy, by cost zone",
            ),
            spans: SpanFamilies::new(&mut r),
            control: ControlFamilies::new(&mut r),
            http_balancers: BalancerFamilies::new(&mut r, "outbound_http"),
            tcp_balancers: BalancerFamilies::new(&mut r, "outbound_tcp"),
            tls_balancers: BalancerFamilies::new(&mut r, "outbound_tls"),
            retry: RetryFamilies::new(&mut r),
            cert_expiration: r.gauge(
                "control_identity_cert_expiration_timestamp_seconds",
                "Time when the this proxy's current mTLS identity certificate will expire (in seconds since the UNIX epoch)",
            ),
            cert_refresh: r.gauge(
                "control_identity_cert_refresh_timestamp_seconds",
                "Time when the this proxy's mTLS identity certificate were last updated",
            ),
            cert_refreshes: r.counter(
                "control_identity_cert_refreshes_total",
                "The total number of times this proxy's mTLS identity certificate has been refreshed by the Identity provider",
            ),
            build_info: r.gauge("proxy_build_info", "Proxy build info"),
            rustls_info: r.gauge("rustls_info", "Proxy TLS info"),
            started: SystemTime::now(),
            runtimes: Runtimes::default(),
            closed: Arc::default(),
            registry: r,
        };
        let labels = Labels::new()
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("git_sha", option_env!("GIT_SHA").unwrap_or(""))
            .with("date", option_env!("BUILD_DATE").unwrap_or(""))
            .with("vendor", "l5dx")
            .with(
                "profile",
                if cfg!(debug_assertions) {
                    "debug"
                } else {
                    "release"
                },
            );
        metrics.build_info.get(&labels).set(1);
        let tls = tls_labels();
        metrics.rustls_info.get(&tls).set(1);
        metrics
    }

    /// Notes a certification, with the new certificate's end or as failed.
    pub fn identity_refreshed(&self, result: Result<SystemTime, ()>) {
        let outcome = if result.is_ok() { "ok" } else { "error" };
        self.cert_refreshes
            .get(&Labels::new().with("result", outcome))
            .add(1);
        if let Ok(expires) = result {
            let seconds = |time: SystemTime| {
                time.duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs() as i64)
            };
            self.cert_expiration
                .get(&Labels::new())
                .set(seconds(expires));
            self.cert_refresh
                .get(&Labels::new())
                .set(seconds(SystemTime::now()));
        }
    }

    /// Connections that were closed so far.
    pub fn closed_connections(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// All series as text, dropping those idle for too long.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        self.registry.render(&mut out);
        process::render(&mut out, self.started);
        self.runtimes.render(&mut out);
        out
    }
}

/// What mesh connections are made with.
fn tls_labels() -> Labels {
    let provider = crate::net::tls::provider();
    let suites = provider.cipher_suites.iter();
    let suites: Vec<String> = suites.map(|one| format!("{:?}", one.suite())).collect();
    let groups = provider.kx_groups.iter();
    let groups: Vec<String> = groups.map(|one| format!("{:?}", one.name())).collect();
    Labels::new()
        .with("tls_suites", &suites.join(","))
        .with("tls_kx_groups", &groups.join(","))
        .with("tls_rand", "AwsLcRs")
        .with("tls_key_provider", "AwsLcRs")
        .with("tls_fips", "false")
}

/// `target_addr`, `target_ip` and `target_port`.
pub fn target_labels(addr: SocketAddr) -> Labels {
    Labels::new()
        .with_display("target_addr", addr)
        .with_display("target_ip", addr.ip())
        .with_display("target_port", addr.port())
}

/// Labels of a meta: `<prefix>_group`, `_kind`, `_name`.
pub fn short_meta(prefix: &str, meta: &Meta) -> Labels {
    Labels::new()
        .with(&format!("{prefix}_group"), &meta.group)
        .with(&format!("{prefix}_kind"), &meta.kind)
        .with(&format!("{prefix}_name"), &meta.name)
}

/// Labels of an outbound parent or backend.
pub fn full_meta(prefix: &str, meta: &Meta) -> Labels {
    route_meta(prefix, meta)
        .with(&format!("{prefix}_port"), &meta.port_label())
        .with(&format!("{prefix}_section_name"), &meta.section)
}

/// Labels of an outbound route.
pub fn route_meta(prefix: &str, meta: &Meta) -> Labels {
    Labels::new()
        .with(&format!("{prefix}_group"), &meta.group)
        .with(&format!("{prefix}_kind"), &meta.kind)
        .with(&format!("{prefix}_namespace"), &meta.namespace)
        .with(&format!("{prefix}_name"), &meta.name)
}

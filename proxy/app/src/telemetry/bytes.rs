//! What is counted for outbound connections by protocol and byte route.
//!
//! Source: linkerd2-proxy linkerd/app/outbound/src/{protocol,opaq,tls} (names, labels, buckets).

use super::registry::{Counter, Family, Histogram, Registry};
use super::transport::Transport;
use crate::http::detect::Detected;
use crate::http::Version;
use linkerd_proxy_core::labels::Labels;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Bounds of the time that detection takes, in microseconds.
const DETECT_US: &[u64] = &[1_000, 100_000];

/// Families of protocol detection in one direction.
pub struct DetectFamilies {
    results: Arc<Family<Counter>>,
    durations: Arc<Family<Histogram>>,
}

impl DetectFamilies {
    /// Declares those of `direction`.
    pub fn new(r: &mut Registry, direction: &str) -> Self {
        Self {
            results: r.counter(
                &format!("{direction}_tcp_detect_http_results_total"),
                "Counts for each protocol detection result",
            ),
            durations: r.seconds(
                &format!("{direction}_tcp_detect_http_duration_seconds"),
                "Time taken for protocol detection",
                DETECT_US,
            ),
        }
    }

    /// Counts a detection; `None` when it failed.
    pub fn detected(&self, parent: &Labels, took: Duration, detected: Option<&Detected>) {
        self.durations.get(parent).record(micros(took));
        let labels = parent.clone().with("result", result(detected));
        self.results.get(&labels).add(1);
    }
}

/// What is counted for the connections to one destination, resolved when it happens first.
pub struct Arrivals {
    parent: Labels,
    source: OnceLock<Transport>,
    detections: OnceLock<Arc<Histogram>>,
    /// By result.
    results: Mutex<Vec<(&'static str, Arc<Counter>)>>,
    protocols: Mutex<Vec<(&'static str, Arc<Counter>)>>,
}

impl Arrivals {
    /// Nothing yet; `parent` labels all of it.
    pub fn new(parent: Labels) -> Self {
        Self {
            parent,
            source: OnceLock::new(),
            detections: OnceLock::new(),
            results: Mutex::default(),
            protocols: Mutex::default(),
        }
    }

    /// The handles for the client side of a connection, made by `make` for the first.
    pub fn source(&self, make: impl FnOnce() -> Transport) -> &Transport {
        self.source.get_or_init(make)
    }

    /// Counts a detection; `None` when it failed.
    pub fn detected(&self, families: &DetectFamilies, took: Duration, detected: Option<&Detected>) {
        let durations = || families.durations.get(&self.parent);
        self.detections.get_or_init(durations).record(micros(took));
        count(&self.results, result(detected), |result| {
            families
                .results
                .get(&self.parent.clone().with("result", result))
        });
    }

    /// Counts a connection.
    pub fn protocol(&self, families: &ByteFamilies, protocol: &'static str) {
        count(&self.protocols, protocol, |protocol| {
            let labels = Labels::new().with("protocol", protocol).and(&self.parent);
            families.protocols.get(&labels)
        });
    }
}

/// Counts one more of `kind`, of which there are few.
fn count(
    known: &Mutex<Vec<(&'static str, Arc<Counter>)>>,
    kind: &'static str,
    make: impl FnOnce(&str) -> Arc<Counter>,
) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    match known.iter().find(|(one, _)| *one == kind) {
        Some((_, counter)) => counter.add(1),
        None => {
            let counter = make(kind);
            counter.add(1);
            known.push((kind, counter));
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn result(detected: Option<&Detected>) -> &'static str {
    match detected {
        Some(Detected::Http(Version::Http1)) => "http/1",
        Some(Detected::Http(Version::Http2)) => "http/2",
        Some(Detected::NotHttp) => "not_http",
        Some(Detected::TimedOut) => "read_timeout",
        Some(Detected::Closed) | None => "error",
    }
}

/// Families of connections.
pub struct ByteFamilies {
    protocols: Arc<Family<Counter>>,
    /// Detections.
    pub detections: DetectFamilies,
    tcp: [Arc<Family<Counter>>; 2],
    tls: [Arc<Family<Counter>>; 2],
}

impl ByteFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        let mut both = |kind: &str| {
            [("open", "opened"), ("close", "closed")].map(|(what, _)| {
                r.counter(
                    &format!("outbound_{kind}_route_{what}_total"),
                    "The total number of connections by route",
                )
            })
        };
        let (tcp, tls) = (both("tcp"), both("tls"));
        Self {
            tcp,
            tls,
            protocols: r.counter(
                "outbound_tcp_protocol_connections_total",
                "Outbound TCP connections by protocol configuration",
            ),
            detections: DetectFamilies::new(r, "outbound"),
        }
    }
}

/// The families of one connection and its labels.
pub struct Labelled {
    families: [Arc<Family<Counter>>; 2],
    labels: Labels,
}

impl Labelled {
    /// A connection of bytes.
    pub fn tcp(families: &ByteFamilies, route: &Labels, target: SocketAddr) -> Self {
        let labels = route
            .clone()
            .with_display("target_ip", target.ip())
            .with_display("target_port", target.port());
        Self {
            families: families.tcp.clone(),
            labels,
        }
    }

    /// A connection of TLS.
    pub fn tls(families: &ByteFamilies, route: &Labels, sni: &str) -> Self {
        Self {
            families: families.tls.clone(),
            labels: route.clone().with("hostname", sni),
        }
    }

    /// Counts it as opened.
    pub fn opened(&self) {
        self.families[0].get(&self.labels).add(1);
    }

    /// Counts it as closed.
    pub fn closed(&self, error: &str) {
        let labels = self.labels.clone().with("error", error);
        self.families[1].get(&labels).add(1);
    }
}

//! Connections and their bytes.

use super::registry::{Counter, Family, Gauge};
use super::Metrics;
use linkerd_proxy_core::labels::Labels;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Handles for connections with the same labels.
#[derive(Clone)]
pub struct Transport(Arc<Handles>);

struct Handles {
    open: Arc<Counter>,
    connections: Arc<Gauge>,
    read: Arc<Counter>,
    write: Arc<Counter>,
    closes: Arc<Family<Counter>>,
    closed: Arc<AtomicU64>,
    labels: Labels,
    /// Of those that ended without an error, once there are some.
    ended: OnceLock<Arc<Counter>>,
    /// Bytes sent and received by how far they travel.
    cost: Option<(Arc<Counter>, Arc<Counter>)>,
}

impl Handles {
    fn read(&self, n: usize) {
        self.read.add(n as u64);
        if let Some((_, received)) = &self.cost {
            received.add(n as u64);
        }
    }

    fn wrote(&self, n: usize) {
        self.write.add(n as u64);
        if let Some((sent, _)) = &self.cost {
            sent.add(n as u64);
        }
    }

    fn get(&self, errno: &str) -> Arc<Counter> {
        self.closes.get(&self.labels.clone().with("errno", errno))
    }
}

impl Transport {
    /// Resolves the handles for `labels` (direction, peer and what else is known).
    pub fn new(metrics: &Metrics, labels: Labels) -> Self {
        Self::of(metrics, labels, None)
    }

    /// Counts bytes by zone too; `locality` is what discovery says about the endpoint.
    pub fn with_cost(metrics: &Metrics, labels: Labels, locality: Option<&str>) -> Self {
        let zone = match locality {
            Some("local") => "Local",
            Some("remote") => "Remote",
            Some(_) | None => "Unknown",
        };
        let op = |op| {
            let labels = Labels::new().with("op", op).with("zone_locality", zone);
            metrics.transfer_cost.get(&labels)
        };
        Self::of(metrics, labels, Some((op("Send"), op("Recv"))))
    }

    fn of(metrics: &Metrics, labels: Labels, cost: Option<(Arc<Counter>, Arc<Counter>)>) -> Self {
        Self(Arc::new(Handles {
            open: metrics.tcp_open.get(&labels),
            connections: metrics.tcp_connections.get(&labels),
            read: metrics.tcp_read.get(&labels),
            write: metrics.tcp_write.get(&labels),
            closes: metrics.tcp_close.clone(),
            closed: metrics.closed.clone(),
            ended: OnceLock::new(),
            labels,
            cost,
        }))
    }

    /// Counts bytes from the peer.
    pub fn read(&self, n: usize) {
        self.0.read(n);
    }

    /// Counts bytes to the peer.
    pub fn wrote(&self, n: usize) {
        self.0.wrote(n);
    }

    /// Counts one connection as open until the meter is dropped.
    pub fn open(&self) -> Meter {
        self.0.open.add(1);
        self.0.connections.add(1);
        Meter {
            transport: self.0.clone(),
            errno: "",
        }
    }
}

/// Counts one connection's bytes.
pub struct Meter {
    transport: Arc<Handles>,
    errno: &'static str,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter")
            .field("labels", &self.transport.labels)
            .finish_non_exhaustive()
    }
}

impl Meter {
    /// Counts bytes from the peer.
    pub fn read(&self, n: usize) {
        self.transport.read(n);
    }

    /// Counts bytes to the peer.
    pub fn wrote(&self, n: usize) {
        self.transport.wrote(n);
    }

    /// Remembers that the peer broke the connection off.
    pub fn reset(&mut self) {
        self.errno = "ECONNRESET";
    }

    /// Remembers why the connection is about to end.
    pub fn failed(&mut self, error: &io::Error) {
        self.errno = errno_name(error);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.transport.connections.add(-1);
        self.transport.closed.fetch_add(1, Relaxed);
        match self.errno {
            "" => self
                .transport
                .ended
                .get_or_init(|| self.transport.get(""))
                .add(1),
            errno => self.transport.get(errno).add(1),
        }
    }
}

/// The symbol of the kernel's error; the values are Linux's.
fn errno_name(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(4) => "EINTR",
        Some(32) => "EPIPE",
        Some(101) => "ENETUNREACH",
        Some(103) => "ECONNABORTED",
        Some(104) => "ECONNRESET",
        Some(107) => "ENOTCONN",
        Some(110) => "ETIMEDOUT",
        Some(111) => "ECONNREFUSED",
        Some(112) => "EHOSTDOWN",
        Some(113) => "EHOSTUNREACH",
        Some(_) => "UNKNOWN_ERRNO",
        None => "",
    }
}

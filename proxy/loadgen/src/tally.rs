//! What all workers count together, on their one thread.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use serde_json::{json, Value};

use crate::histogram::Histogram;

/// Counts and latencies; requests that began before `from` are completed but not measured.
pub(crate) struct Tally {
    from: Instant,
    until: Instant,
    completed: Cell<u64>,
    failed: Cell<u64>,
    reconnects: Cell<u64>,
    latencies: RefCell<Histogram>,
}

impl Tally {
    pub(crate) fn new(from: Instant, until: Instant) -> Self {
        Self {
            from,
            until,
            completed: Cell::new(0),
            failed: Cell::new(0),
            reconnects: Cell::new(0),
            latencies: RefCell::new(Histogram::new()),
        }
    }

    /// Whether a request that begins now still counts.
    pub(crate) fn open(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Counts an answered request; `ok` when its status was 2xx.
    pub(crate) fn answered(&self, intended: Instant, now: Instant, ok: bool) {
        self.completed.set(self.completed.get() + 1);
        if !ok {
            self.failed.set(self.failed.get() + 1);
        }
        if intended >= self.from {
            let nanoseconds = now.saturating_duration_since(intended).as_nanos();
            self.latencies
                .borrow_mut()
                .record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        }
    }

    /// Counts a connection that had to be opened anew.
    pub(crate) fn reconnected(&self) {
        self.reconnects.set(self.reconnects.get() + 1);
    }

    /// The figures so far; latencies in microseconds.
    pub(crate) fn report(&self) -> Value {
        let latencies = self.latencies.borrow();
        let us = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let quantile = |share| us(latencies.quantile(share));
        json!({
            "completed": self.completed.get(),
            "measured": latencies.total(),
            "failed": self.failed.get(),
            "reconnects": self.reconnects.get(),
            "rps": latencies.total() as f64 / self.until.duration_since(self.from).as_secs_f64(),
            "latency_us": {
                "mean": latencies.mean() / 1000.0,
                "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99),
                "p99.9": quantile(0.999), "max": us(latencies.max()),
            },
        })
    }
}

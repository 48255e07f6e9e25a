//! What the runtimes of the worker threads say of themselves; the rest of it tokio tells only to
//! programs that are built in a special way.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;

/// The runtimes that carry traffic.
#[derive(Default)]
pub struct Runtimes(Mutex<Vec<Handle>>);

impl Runtimes {
    /// Counts one more.
    pub fn add(&self, runtime: Handle) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(runtime);
    }

    /// Appends the `tokio_rt_*` families.
    pub fn render(&self, out: &mut String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut workers, mut parks, mut busy_s, mut queued) = (0, 0, 0.0, 0);
        for metrics in all.iter().map(Handle::metrics) {
            for worker in 0..metrics.num_workers() {
                workers += 1;
                parks += metrics.worker_park_count(worker);
                busy_s += metrics.worker_total_busy_duration(worker).as_secs_f64();
            }
            queued += metrics.global_queue_depth();
        }
        let mut put = |name: &str, kind: &str, help: &str, value: f64| {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "# HELP tokio_rt_{name} {help}\n# TYPE tokio_rt_{name} {kind}\ntokio_rt_{name} {value}"
            );
        };
        put(
            "workers",
            "gauge",
            "Number of worker threads",
            f64::from(workers),
        );
        put(
            "park_total",
            "counter",
            "Times that a worker thread had nothing to do",
            parks as f64,
        );
        put(
            "busy_seconds_total",
            "counter",
            "Time in which worker threads were busy",
            busy_s,
        );
        put(
            "injection_queue_depth",
            "gauge",
            "Tasks that wait for any worker thread",
            queued as f64,
        );
    }
}

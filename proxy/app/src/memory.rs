//! Gives memory back after bursts of connections.
//!
//! The allocator keeps what was freed; without this a pod that once had thousands of connections
//! would hold their memory for good.

use crate::telemetry::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

const PERIOD: Duration = Duration::from_secs(3);
/// Closed connections that are worth a look at the heap.
const CLOSED_MIN: u64 = 64;
/// More closes than this in a period mean that the burst is not over.
const QUIET_MAX: u64 = 16;

/// Trims the heap when a burst is over, for ever.
pub async fn trim_after_bursts(metrics: Arc<Metrics>) {
    let (mut trimmed_at, mut last) = (0, 0);
    loop {
        tokio::time::sleep(PERIOD).await;
        let closed = metrics.closed_connections();
        let quiet = closed.saturating_sub(last) <= QUIET_MAX;
        last = closed;
        if quiet && closed.saturating_sub(trimmed_at) >= CLOSED_MIN {
            trimmed_at = closed;
            debug!(closed, "handing memory back");
            trim();
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn trim() {
    extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: the function takes a number, touches only the allocator's own state under its locks,
    // and may be called at any time from any thread.
    unsafe {
        malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

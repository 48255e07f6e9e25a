//! The breaker of an endpoint and whom it wakes.

use linkerd_proxy_core::breaker::{Accrual, Breaker, Sign};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tracing::{info, warn};

/// The endpoints among which one with a gate is, and those who wait for one of them.
pub trait Group: Send + Sync {
    /// Endpoints that take requests now.
    fn ready(&self) -> usize;
    /// Notes that an endpoint takes none for now.
    fn taken_out(&self);
    /// Lets requests in again, because an endpoint may take them.
    fn opened(&self);
}

/// Takes an endpoint out of its group.
pub struct Gate {
    breaker: Mutex<Breaker>,
    group: Weak<dyn Group>,
    addr: std::net::SocketAddr,
    ready_min: usize,
}

impl Gate {
    /// Starts open for requests.
    pub fn new(accrual: &Accrual, group: Weak<dyn Group>, addr: std::net::SocketAddr) -> Self {
        Self {
            breaker: Mutex::new(Breaker::new(accrual.clone())),
            group,
            addr,
            ready_min: usize::try_from(accrual.ready_min).unwrap_or(usize::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may pass.
    pub fn is_open(&self, now_ns: u64) -> bool {
        self.lock().is_open_for_requests(now_ns)
    }

    /// Notes that one passes.
    pub fn sent(&self, now_ns: u64) {
        self.lock().sent(now_ns);
    }

    /// Notes how long the endpoint asks to be left alone, before its response is taken in.
    pub fn hinted(&self, hint: Duration) {
        self.lock().hinted(hint);
    }

    /// Notes how it ended.
    pub fn responded(&self, sign: Sign, now_ns: u64) {
        let group = self.group.upgrade();
        // Looked up before the lock, because it asks the gates of all endpoints.
        let needed = sign != Sign::Success
            && self.ready_min > 0
            && group
                .as_ref()
                .is_some_and(|group| group.ready() <= self.ready_min);
        let mut breaker = self.lock();
        let was_open = breaker.is_open_for_requests(now_ns);
        let out = crate::random::with(|rng| breaker.responded(sign, needed, now_ns, rng));
        let recovered = !was_open && breaker.is_open_for_requests(now_ns);
        drop(breaker);
        if let Some(delay) = out {
            warn!(addr = %self.addr, delay_ms = delay.as_millis(), "endpoint fails and is taken out");
            if let Some(group) = group {
                group.taken_out();
            }
            tokio::spawn(wake_after(self.group.clone(), delay));
        } else if recovered {
            info!(addr = %self.addr, "endpoint has recovered");
            self.wake();
        }
    }

    /// Notes that it ended without telling anything.
    pub fn forgotten(&self) {
        self.lock().forgotten();
        self.wake();
    }

    fn wake(&self) {
        if let Some(group) = self.group.upgrade() {
            group.opened();
        }
    }
}

async fn wake_after(group: Weak<dyn Group>, delay: Duration) {
    tokio::time::sleep(delay).await;
    if let Some(group) = group.upgrade() {
        group.opened();
    }
}

//! The breaker of an endpoint and whom it wakes.

use super::balancer::Balancer;
use linkerd_proxy_core::breaker::{Accrual, Breaker, Sign};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tracing::{info, warn};

/// Takes an endpoint out of its balancer.
pub struct Gate {
    breaker: Mutex<Breaker>,
    balancer: Weak<Balancer>,
    addr: std::net::SocketAddr,
    ready_min: usize,
}

impl Gate {
    /// Starts open for requests.
    pub fn new(accrual: &Accrual, balancer: Weak<Balancer>, addr: std::net::SocketAddr) -> Self {
        Self {
            breaker: Mutex::new(Breaker::new(accrual.clone())),
            balancer,
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
        let balancer = self.balancer.upgrade();
        // Looked up before the lock, because it asks the gates of all endpoints.
        let needed = sign != Sign::Success
            && self.ready_min > 0
            && balancer.is_some_and(|balancer| balancer.ready() <= self.ready_min);
        let mut breaker = self.lock();
        let was_open = breaker.is_open_for_requests(now_ns);
        let out = crate::random::with(|rng| breaker.responded(sign, needed, now_ns, rng));
        let recovered = !was_open && breaker.is_open_for_requests(now_ns);
        drop(breaker);
        if let Some(delay) = out {
            warn!(addr = %self.addr, delay_ms = delay.as_millis(), "endpoint fails and is taken out");
            tokio::spawn(wake_after(self.balancer.clone(), delay));
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
        if let Some(balancer) = self.balancer.upgrade() {
            balancer.opened();
        }
    }
}

async fn wake_after(balancer: Weak<Balancer>, delay: Duration) {
    tokio::time::sleep(delay).await;
    if let Some(balancer) = balancer.upgrade() {
        balancer.opened();
    }
}

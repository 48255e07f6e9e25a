//! How long an exchange may take.

use crate::http::worker::Exchange as Carried;
use linkerd_proxy_core::timeout::{Expired, Progress, Timeouts};
use tokio::time::{sleep_until, Duration, Instant};

/// Watches over the time of one exchange.
pub struct Clock {
    timeouts: Timeouts,
    /// When the first attempt began.
    origin: Instant,
    /// When the present attempt began.
    began: Instant,
    head: Option<Instant>,
}

impl Clock {
    /// Starts an attempt of an exchange that began at `origin`; `None` when nothing is limited.
    pub fn start(timeouts: Timeouts, origin: Instant) -> Option<Self> {
        let began = Instant::now();
        (!timeouts.is_unlimited()).then_some(Self {
            timeouts,
            origin,
            began,
            head: None,
        })
    }

    fn progress(&self, carried: Carried) -> Progress {
        let since = |at: Instant| at.saturating_duration_since(self.origin);
        let passed = carried.passed();
        let latest = passed.map(|passed| passed.latest.into());
        Progress {
            started: Duration::ZERO,
            flushed: passed
                .and_then(|passed| passed.request)
                .map(|at| since(at.into())),
            head: self.head.map(since),
            frame: since(
                latest
                    .unwrap_or(self.began)
                    .max(self.head.unwrap_or(self.began)),
            ),
        }
    }

    /// Waits until a limit is reached.
    pub async fn expired(&self, carried: Carried) -> Expired {
        loop {
            let progress = self.progress(carried);
            let due = self.timeouts.deadline(&progress);
            // A limit that no clock can hold is none.
            let due = due.and_then(|(after, what)| Some((self.origin.checked_add(after)?, what)));
            let now = Instant::now();
            if let Some((at, what)) = due {
                if at <= now {
                    return what;
                }
            }
            // What counts from the end of a request that is still under way cannot come earlier.
            let waiting = progress.flushed.is_none() && progress.head.is_none();
            let later = [self.timeouts.response, self.timeouts.headers];
            let later = later.into_iter().flatten().min().filter(|_| waiting);
            let at = [
                due.map(|(at, _)| at),
                later.and_then(|limit| now.checked_add(limit)),
            ];
            match at.into_iter().flatten().min() {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Notes that the response's head is there.
    pub fn answered(self) -> Self {
        Self {
            head: Some(Instant::now()),
            ..self
        }
    }
}

//! Shows exchanges to whoever the mesh lets watch them.
//!
//! Without watchers a request costs one load of a counter. Watchers that read too slowly miss events;
//! nothing waits for them.
//! Source: linkerd2-proxy linkerd/proxy/tap (behaviour).

pub mod exchange;
pub mod server;

use exchange::{Tapped, View};
use linkerd_proxy_api::tap::TapEvent;
use linkerd_proxy_core::tap::Match;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Events of one watcher that wait to be sent.
const EVENTS_MAX: usize = 400;
/// Watchers at once.
const TAPS_MAX: usize = 100;

/// All watchers.
#[derive(Default)]
pub struct Taps {
    count: AtomicUsize,
    list: Mutex<Vec<Arc<Tap>>>,
}

/// One watcher; its stream ends when the last holder drops it.
pub struct Tap {
    condition: Match,
    /// Exchanges that it may still begin to see.
    remaining: AtomicUsize,
    headers: bool,
    /// Tells its exchanges from others'.
    base: u32,
    streams: AtomicU64,
    events: mpsc::Sender<TapEvent>,
}

impl Taps {
    /// Adds a watcher of at most `limit` exchanges; `None` when there are too many.
    pub fn watch(
        &self,
        condition: Match,
        limit: u32,
        headers: bool,
    ) -> Option<mpsc::Receiver<TapEvent>> {
        let (events, stream) = mpsc::channel(EVENTS_MAX);
        let tap = Arc::new(Tap {
            condition,
            remaining: AtomicUsize::new(limit as usize),
            headers,
            base: crate::random::with(|rng| rng.bits() as u32),
            streams: AtomicU64::new(0),
            events,
        });
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|tap| !tap.events.is_closed());
        let room = list.len() < TAPS_MAX;
        if room {
            list.push(tap);
        }
        self.count.store(list.len(), Relaxed);
        room.then_some(stream)
    }

    /// Forgets watchers that have gone or seen enough.
    pub fn tidy(&self) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|tap| !tap.events.is_closed() && tap.remaining.load(Relaxed) > 0);
        self.count.store(list.len(), Relaxed);
    }

    /// Whether nobody watches.
    pub fn is_idle(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Shows the beginning of an exchange to those who want to see it; they see the rest of it.
    pub fn open(&self, view: &View<'_>) -> Option<Box<Tapped>> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let take = |n: usize| n.checked_sub(1);
        let watching: Vec<Arc<Tap>> = list
            .iter()
            .filter(|tap| !tap.events.is_closed() && tap.condition.holds(view))
            .filter(|tap| tap.remaining.fetch_update(Relaxed, Relaxed, take).is_ok())
            .cloned()
            .collect();
        drop(list);
        let spent = watching.iter().any(|tap| tap.remaining.load(Relaxed) == 0);
        if spent {
            self.tidy();
        }
        (!watching.is_empty()).then(|| Box::new(Tapped::begin(watching, view)))
    }
}

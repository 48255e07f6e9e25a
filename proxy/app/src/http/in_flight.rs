//! How many requests wait for the head of their response.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts requests in flight of one direction, on all threads.
#[derive(Debug, Default)]
pub struct InFlight(AtomicUsize);

/// One of them, until dropped.
#[must_use]
pub struct Slot<'a>(&'a AtomicUsize);

impl InFlight {
    /// Counts one more, unless there are `max` already.
    pub fn enter(&self, max: usize) -> Option<Slot<'_>> {
        let slot = Slot(&self.0);
        (self.0.fetch_add(1, Relaxed) < max).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_fit_takes_no_slot() {
        let all = InFlight::default();
        let one = all.enter(1).expect("there is room");
        assert!(all.enter(1).is_none());
        assert!(all.enter(1).is_none());
        drop(one);
        assert!(all.enter(1).is_some());
    }
}

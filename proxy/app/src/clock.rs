//! The time of the present step: asked once for all that happens in it.

use std::cell::Cell;
use std::time::Instant;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// While it lives, time stands still on its thread.
#[must_use]
pub struct Moment(());

impl Moment {
    /// Begins one, which must not wait for anything.
    pub fn begin() -> Self {
        NOW.set(Some(Instant::now()));
        Self(())
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        NOW.set(None);
    }
}

/// When the present moment began, or now.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_for_a_moment() {
        let moment = Moment::begin();
        let then = now();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(then, now());
        drop(moment);
        assert!(then < now());
    }
}

//! Knowing when everything in flight is done.

use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Held by everything that must end before the process does.
#[derive(Clone)]
pub struct Drain {
    signal: watch::Receiver<bool>,
    _held: mpsc::Sender<()>,
}

/// Starts the drain and waits for it.
pub struct Drainer {
    signal: watch::Sender<bool>,
    held: mpsc::Sender<()>,
    released: mpsc::Receiver<()>,
}

impl Drainer {
    /// Nothing is draining yet.
    pub fn new() -> Self {
        let (held, released) = mpsc::channel(1);
        Self {
            signal: watch::Sender::new(false),
            held,
            released,
        }
    }

    /// Something new to wait for.
    pub fn watch(&self) -> Drain {
        Drain {
            signal: self.signal.subscribe(),
            _held: self.held.clone(),
        }
    }

    /// Signals all holders and waits until the last is gone; false when `grace` ends first.
    pub async fn drain(self, grace: Duration) -> bool {
        let Self {
            signal,
            held,
            mut released,
        } = self;
        drop(held);
        signal.send_replace(true);
        tokio::time::timeout(grace, released.recv()).await.is_ok()
    }
}

impl Default for Drainer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// Resolves when the drain begins.
    pub fn signaled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut signal = self.signal.clone();
        async move {
            // A vanished drainer means the process is ending anyway.
            let _ = signal.wait_for(|draining| *draining).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_holder() {
        let drainer = Drainer::new();
        let held = drainer.watch();
        let holder = async move {
            held.signaled().await;
        };
        let (done, ()) = tokio::join!(drainer.drain(Duration::from_secs(5)), holder);
        assert!(done);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_grace_period() {
        let drainer = Drainer::new();
        let _held = drainer.watch();
        assert!(!drainer.drain(Duration::from_secs(5)).await);
    }
}

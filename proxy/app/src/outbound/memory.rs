//! What the control plane said last about destinations, for when it does not answer.
//!
//! A destination that was known keeps working while the control plane is down or stuck, even after
//! nobody has used it for a while. What was never known stays unknown: guessing could bypass policy.

use linkerd_proxy_core::dst::Dst;
use linkerd_proxy_core::endpoint::Endpoint;
use linkerd_proxy_core::outbound::{ClientPolicy, Profile};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a new watch may stay silent before the last answer is used.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Destinations, and sets of endpoints, that are remembered.
const KNOWN_MAX: usize = 1024;

/// What both watches said; the inner `None` is "there is none".
pub type Said = (Option<Profile>, Option<ClientPolicy>);

/// The last answers.
#[derive(Default)]
pub struct Memory {
    targets: Mutex<Kept<Dst, Said>>,
    endpoints: Mutex<Kept<String, Vec<Endpoint>>>,
}

impl Memory {
    /// Remembers what was said about a destination.
    pub fn target(&self, dst: &Dst, said: Said) {
        lock(&self.targets).keep(dst, said);
    }

    /// What was said about a destination.
    pub fn recall_target(&self, dst: &Dst) -> Option<Said> {
        lock(&self.targets).recall(dst)
    }

    /// Remembers the endpoints of a path.
    pub fn endpoints(&self, path: &str, endpoints: Vec<Endpoint>) {
        lock(&self.endpoints).keep(&path.to_owned(), endpoints);
    }

    /// The endpoints of a path.
    pub fn recall_endpoints(&self, path: &str) -> Option<Vec<Endpoint>> {
        lock(&self.endpoints).recall(&path.to_owned())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values with the order in which they came.
struct Kept<K, V> {
    values: HashMap<K, (V, u64)>,
    count: u64,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            count: 0,
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Kept<K, V> {
    fn keep(&mut self, key: &K, value: V) {
        if self.values.len() >= KNOWN_MAX && !self.values.contains_key(key) {
            let oldest = self.values.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.values.remove(&oldest);
            }
        }
        self.count += 1;
        self.values.insert(key.clone(), (value, self.count));
    }

    fn recall(&self, key: &K) -> Option<V> {
        self.values.get(key).map(|(value, _)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut kept = Kept::default();
        for key in 0..=KNOWN_MAX {
            kept.keep(&key, key);
        }
        assert_eq!(None, kept.recall(&0));
        assert_eq!(Some(1), kept.recall(&1));
        assert_eq!(KNOWN_MAX, kept.values.len());
    }
}

//! Who speaks first on a connection of unknown protocol, and what was learned of it.
//!
//! HTTP clients speak first; mail, database and shell servers greet. Waiting for whoever it is needs
//! no timeout, but needs a connection to the server, which is made only when the client stays silent.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Who connected.
    Client,
    /// Who accepted.
    Server,
}

/// How long a client may be silent before its server is dialled, when nothing is known.
const GRACE: Duration = Duration::from_millis(50);
/// The same where clients spoke first: some that are idle at first cost the server no connection.
const GRACE_CLIENT: Duration = Duration::from_secs(1);
/// How long an observation counts.
const LIFE: Duration = Duration::from_secs(300);
/// Observations at once.
const KNOWN_MAX: usize = 1024;

/// Observations by destination; time is any clock's that does not go back.
#[derive(Debug)]
pub struct Learned<K> {
    known: HashMap<K, (Speaker, Duration)>,
}

impl<K> Default for Learned<K> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash + Clone> Learned<K> {
    /// How long to wait for the client before dialling `key`.
    pub fn grace(&self, key: &K, now: Duration) -> Duration {
        let known = self.known.get(key).filter(|(_, until)| *until > now);
        match known {
            None => GRACE,
            Some((Speaker::Client, _)) => GRACE_CLIENT,
            Some((Speaker::Server, _)) => Duration::ZERO,
        }
    }

    /// Notes who spoke first, after the client had been silent for the grace.
    pub fn learn(&mut self, key: &K, speaker: Speaker, now: Duration) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(key) {
            self.known.retain(|_, (_, until)| *until > now);
            let oldest = self.known.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                if self.known.len() >= KNOWN_MAX {
                    self.known.remove(&oldest);
                }
            }
        }
        self.known.insert(key.clone(), (speaker, now + LIFE));
    }
}

/// Whether a server's first bytes are an answer to a request that never came, as when it gives up
/// waiting; then nothing can be learned from them.
pub fn is_impatient(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_learned_shortens_or_lengthens_the_grace_for_a_while() {
        let mut learned = Learned::default();
        assert_eq!(GRACE, learned.grace(&1, s(0)));
        learned.learn(&1, Speaker::Server, s(0));
        learned.learn(&2, Speaker::Client, s(1));
        for (key, at, expected) in [
            (1, 299, Duration::ZERO),
            (1, 300, GRACE),
            (2, 300, GRACE_CLIENT),
            (2, 301, GRACE),
            (3, 0, GRACE),
        ] {
            assert_eq!(expected, learned.grace(&key, s(at)), "{key} at {at}");
        }
        learned.learn(&1, Speaker::Client, s(10));
        assert_eq!(GRACE_CLIENT, learned.grace(&1, s(11)));
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut learned = Learned::default();
        for key in 0..=KNOWN_MAX as u64 {
            learned.learn(&key, Speaker::Server, Duration::from_millis(key));
        }
        assert_eq!(KNOWN_MAX, learned.known.len());
        assert_eq!(GRACE, learned.grace(&0, s(2)));
        assert_eq!(Duration::ZERO, learned.grace(&1, s(2)));
    }
}

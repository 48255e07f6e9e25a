//! Waits for whoever speaks first on a connection of unknown protocol.
//!
//! A server that greets is heard at once, and a client that is silent for long is still read from its
//! first byte, because nothing is decided while both are silent.

use super::io::{Io, Peeked};
use linkerd_proxy_core::speaker::{is_impatient, Learned, Speaker};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FAR: Duration = Duration::from_secs(86_400 * 365);

/// What was learned of one direction's destinations.
pub struct Speakers {
    learned: Mutex<Learned<SocketAddr>>,
    started: Instant,
}

impl Default for Speakers {
    fn default() -> Self {
        Self {
            learned: Mutex::default(),
            started: Instant::now(),
        }
    }
}

/// Who was first; a connection to the server comes along if one was made on the way.
pub enum First<S> {
    /// The client, whose bytes wait in front of its connection.
    Client(Option<S>),
    /// The server, whose bytes wait in front of its connection.
    Server(S),
    /// The client has left without a word.
    Closed,
    /// The server cannot be reached or hangs up, and the client said nothing in time.
    Nobody,
}

impl Speakers {
    fn learned(&self) -> MutexGuard<'_, Learned<SocketAddr>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first byte of either side of a connection to `target`.
    ///
    /// `dial` is used only when the client is silent; `timeout` counts only while there is no server
    /// to wait for.
    ///
    /// # Errors
    /// The client's.
    pub async fn first<S: AsMut<Io>>(
        &self,
        client: &mut Io,
        target: SocketAddr,
        timeout: Duration,
        dial: impl Future<Output = Option<S>>,
    ) -> io::Result<First<S>> {
        client.read_now();
        if client.peeked() > 0 {
            return Ok(First::Client(None));
        }
        // Boxed, because mostly the client has spoken.
        Box::pin(self.race(client, target, timeout, dial)).await
    }

    async fn race<S: AsMut<Io>>(
        &self,
        client: &mut Io,
        target: SocketAddr,
        timeout: Duration,
        dial: impl Future<Output = Option<S>>,
    ) -> io::Result<First<S>> {
        let grace = self.learned().grace(&target, self.started.elapsed());
        if let Some(first) = spoke(client, grace).await? {
            return Ok(first);
        }
        let mut dial = pin!(dial);
        let dialled = tokio::select! {
            biased;
            first = spoke(client, FAR) => return first.map(|first| first.unwrap_or(First::Nobody)),
            dialled = &mut dial => dialled,
        };
        let Some(mut server) = dialled else {
            return Ok(spoke(client, timeout).await?.unwrap_or(First::Nobody));
        };
        let learn = |speaker| {
            let now = self.started.elapsed();
            self.learned().learn(&target, speaker, now);
        };
        tokio::select! {
            biased;
            first = spoke::<S>(client, FAR) => Ok(match first? {
                Some(First::Client(_)) => {
                    learn(Speaker::Client);
                    First::Client(Some(server))
                }
                other => other.unwrap_or(First::Nobody),
            }),
            greeted = greeting(server.as_mut()) => match greeted {
                Some(impatient) => {
                    if !impatient {
                        learn(Speaker::Server);
                    }
                    Ok(First::Server(server))
                }
                None => Ok(spoke(client, timeout).await?.unwrap_or(First::Nobody)),
            },
        }
    }
}

/// Whether the client says anything, or leaves, within `limit`.
async fn spoke<S>(client: &mut Io, limit: Duration) -> io::Result<Option<First<S>>> {
    let any = |bytes: &[u8]| (!bytes.is_empty()).then_some(());
    Ok(match client.peek_within(limit, 1, any).await? {
        Peeked::Answer(()) => Some(First::Client(None)),
        Peeked::End => Some(First::Closed),
        Peeked::TimedOut => None,
    })
}

/// Waits for the server's first bytes, and tells whether it only gave up waiting; `None` when it
/// hangs up.
async fn greeting(server: &mut Io) -> Option<bool> {
    let look = |bytes: &[u8]| (!bytes.is_empty()).then(|| is_impatient(bytes));
    match server.peek_within(FAR, 1, look).await {
        Ok(Peeked::Answer(impatient)) => Some(impatient),
        Ok(Peeked::End | Peeked::TimedOut) | Err(_) => None,
    }
}

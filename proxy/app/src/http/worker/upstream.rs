//! Connections to one endpoint: idle HTTP/1 connections and one shared HTTP/2 connection, for each
//! worker its own.

use super::link::Kind;
use super::{offer, protocol, with, Worker};
use crate::clock;
use crate::http::Version;
use crate::net::connect::Connector;
use crate::net::io::Io;
use crate::settings;
use linkerd_proxy_core::engine::{ConnId, Http2, Role};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::transport_header::Session;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often idle connections are looked at, at most.
const SWEEP: Duration = Duration::from_secs(5);

/// Bounds of the idle HTTP/1 connections.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Connections kept.
    pub max_idle: usize,
    /// How long.
    pub idle_timeout: Duration,
}

/// An endpoint that requests are sent to.
pub struct Upstream {
    pub(super) key: u64,
    pub(super) connector: Connector,
    pub(super) http2: Http2,
    pool: Pool,
    /// Its proxy did not take streams when it was last dialled for bytes.
    pub(super) has_no_streams: AtomicBool,
}

/// What a worker has of an upstream.
pub(super) struct Local {
    upstream: Weak<Upstream>,
    pool: Pool,
    idle: Vec<(ConnId, Instant)>,
    shared: Option<ConnId>,
    /// By version.
    waits: [Arc<Waits>; 2],
}

/// Exchanges that wait for a connection, and the dials that go on for them.
///
/// A dial belongs to nobody: who waited for it may leave, and the next takes what comes of it. So
/// requests that are taken back at once cost no connection each.
#[derive(Default)]
struct Waits {
    /// There is a connection, or a failure.
    changed: Notify,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    waiting: usize,
    dialing: usize,
    /// Of dials, each for one that waits; never more than those.
    failures: Vec<Failure>,
}

impl Waits {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> Waiting {
        self.counts().waiting += 1;
        Waiting(self.clone())
    }

    /// Lets the next that waits look again; when it leaves, it does the same.
    fn wake(&self) {
        self.changed.notify_one();
    }

    fn dialled(&self, version: Version, failure: Option<Failure>) {
        let mut counts = self.counts();
        counts.dialing -= 1;
        if let Some(failure) = failure {
            let all = counts.waiting;
            let told = match version {
                Version::Http1 => (counts.failures.len() + 1).min(all),
                Version::Http2 => all,
            };
            counts.failures.resize(told, failure);
        }
        drop(counts);
        self.wake();
    }
}

/// Counts as waiting until dropped.
struct Waiting(Arc<Waits>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.waiting -= 1;
        let left = counts.waiting;
        counts.failures.truncate(left);
        drop(counts);
        if left > 0 {
            self.0.wake();
        }
    }
}

impl Local {
    fn waits(&self, version: Version) -> &Arc<Waits> {
        &self.waits[usize::from(version == Version::Http2)]
    }
}

impl Upstream {
    /// Connects on first use.
    pub fn new(connector: Connector, settings: &settings::Http2, pool: Pool) -> Arc<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            key: KEYS.fetch_add(1, Relaxed),
            connector,
            http2: offer(settings),
            pool,
            has_no_streams: AtomicBool::new(false),
        })
    }

    /// How the endpoint is reached.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection that takes a request now, if there is one.
    pub fn available(&self, version: Version) -> Option<ConnId> {
        with(|worker| {
            let mut pools = worker.pools.borrow_mut();
            let local = pools.get_mut(&self.key)?;
            let engine = worker.engine.borrow();
            match version {
                Version::Http2 => local.shared.filter(|id| engine.capacity(*id) > 0),
                Version::Http1 => loop {
                    let (id, _) = local.idle.pop()?;
                    if engine.capacity(id) > 0 {
                        return Some(id);
                    }
                },
            }
        })
    }

    /// A connection that takes a request, dialled if need be.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connection(self: &Arc<Self>, version: Version) -> Result<ConnId, Failure> {
        match self.available(version) {
            Some(id) => Ok(id),
            // Boxed, so that exchanges that need not wait stay small.
            None => Box::pin(self.awaited(version)).await,
        }
    }

    async fn awaited(self: &Arc<Self>, version: Version) -> Result<ConnId, Failure> {
        let waits = with(|worker| worker.local(self, |local| local.waits(version).clone()));
        let _waiting = waits.enter();
        loop {
            let changed = waits.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change between both is missed.
            changed.as_mut().enable();
            if let Some(id) = self.available(version) {
                return Ok(id);
            }
            if let Some(failure) = waits.counts().failures.pop() {
                return Err(failure);
            }
            self.dial(version, &waits);
            changed.await;
        }
    }

    /// Makes sure that the endpoint can be reached, keeping the connection for requests.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn probe(self: &Arc<Self>, version: Version) -> Result<(), Failure> {
        let id = self.connection(version).await?;
        if version == Version::Http1 {
            with(|worker| worker.ready(id));
        }
        Ok(())
    }

    /// Starts a dial, unless those that go on are enough.
    fn dial(self: &Arc<Self>, version: Version, waits: &Arc<Waits>) {
        let shared = with(|worker| worker.local(self, |local| local.shared.is_some()));
        let mut counts = waits.counts();
        let enough = match version {
            Version::Http1 => counts.dialing >= counts.waiting,
            Version::Http2 => counts.dialing > 0 || shared,
        };
        if enough {
            return;
        }
        counts.dialing += 1;
        drop(counts);
        let session = match version {
            Version::Http1 => Session::Http1,
            Version::Http2 => Session::Http2,
        };
        let (upstream, waits) = (self.clone(), waits.clone());
        tokio::spawn(async move {
            let failure = match upstream.connector.connect(Some(session)).await {
                Ok(io) => {
                    with(|worker| worker.connected(&upstream, io, version));
                    None
                }
                Err(failure) => Some(failure),
            };
            waits.dialled(version, failure);
        });
    }
}

impl Worker {
    /// Runs `work` with what this worker has of an upstream.
    fn local<T>(&self, upstream: &Arc<Upstream>, work: impl FnOnce(&mut Local) -> T) -> T {
        let mut pools = self.pools.borrow_mut();
        work(pools.entry(upstream.key).or_insert_with(|| Local {
            upstream: Arc::downgrade(upstream),
            pool: upstream.pool,
            idle: Vec::new(),
            shared: None,
            waits: Default::default(),
        }))
    }

    fn connected(&self, upstream: &Arc<Upstream>, io: Io, version: Version) {
        let kind = Kind::Client {
            upstream: upstream.key,
        };
        let id = self.open(io, Role::Client, protocol(version), upstream.http2, kind);
        self.local(upstream, |local| match version {
            Version::Http1 => local.idle.push((id, Instant::now())),
            Version::Http2 => local.shared = Some(id),
        });
        self.sweep_soon();
    }

    pub(super) fn sweep_soon(&self) {
        if self.sweep_at.get().is_none() {
            self.sweep_at.set(Some(Instant::now() + SWEEP));
            self.timer.notify_one();
        }
    }

    fn upstream_of(&self, id: ConnId) -> Option<u64> {
        let links = self.links.borrow();
        let link = links.get(id.index())?.as_ref();
        match link.filter(|link| link.id == id)?.kind {
            Kind::Client { upstream } => Some(upstream),
            Kind::Server { .. } | Kind::Carrier { .. } | Kind::Application => None,
        }
    }

    /// A client connection takes requests again.
    pub(super) fn ready(&self, id: ConnId) {
        let Some(key) = self.upstream_of(id) else {
            return;
        };
        let mut pools = self.pools.borrow_mut();
        let Some(local) = pools.get_mut(&key) else {
            return;
        };
        if local.shared == Some(id) {
            local.waits(Version::Http2).wake();
            return;
        }
        let wanted = local.waits(Version::Http1).counts().waiting > 0;
        if wanted || local.idle.len() < local.pool.max_idle && local.upstream.strong_count() > 0 {
            local.idle.push((id, clock::now()));
            if wanted {
                local.waits(Version::Http1).wake();
            }
        } else {
            self.engine.borrow_mut().drain(id, Instant::now());
        }
    }

    /// A client connection takes no new requests.
    pub(super) fn retire(&self, id: ConnId) {
        self.retire_carrier(id);
        if let Some(key) = self.upstream_of(id) {
            self.lost(key, id);
        }
    }

    /// A client connection is gone. Idle ones that are gone are passed over, and swept out later.
    pub(super) fn lost(&self, key: u64, id: ConnId) {
        let mut pools = self.pools.borrow_mut();
        let Some(local) = pools.get_mut(&key) else {
            return;
        };
        if local.shared == Some(id) {
            local.shared = None;
            local.waits(Version::Http2).wake();
        }
    }

    /// Ends connections that were idle for too long, or whose endpoint is gone.
    pub(super) fn sweep(&self, now: Instant) {
        let mut over: Vec<ConnId> = Vec::new();
        let mut next = SWEEP;
        let mut pools = self.pools.borrow_mut();
        let mut engine = self.engine.borrow_mut();
        pools.retain(|_, local| {
            if local.upstream.strong_count() == 0 {
                over.extend(local.shared.take());
                over.extend(local.idle.drain(..).map(|(id, _)| id));
                return false;
            }
            let timeout = local.pool.idle_timeout;
            next = next.min(timeout.max(Duration::from_millis(100)));
            local.idle.retain(|(id, since)| {
                let late = now.saturating_duration_since(*since) >= timeout;
                if late {
                    over.push(*id);
                }
                !late && engine.capacity(*id) > 0
            });
            true
        });
        let carries = self.sweep_carriers(&mut over, &engine);
        let any = carries || !pools.is_empty();
        drop(pools);
        self.sweep_at.set(any.then(|| now + next));
        for id in over {
            engine.drain(id, now);
        }
    }
}

//! Opaque connections as streams of one connection to a peer's proxy: no handshake of their own, and
//! next to no memory while they are idle.
//!
//! A carrier is an HTTP/2 connection whose peer agreed to it by ALPN, so a peer that does not know of
//! it (Linkerd's proxy) gets a transport header and a connection for each client instead. What it is
//! shows at every dial; between dials it is only remembered whether others should wait for one.

use super::link::Kind;
use super::upstream::Upstream;
use super::{offer, with, Exchange, Service, Worker};
use crate::drain::Drain;
use crate::net::io::Io;
use crate::settings;
use crate::telemetry::transport::Transport;
use linkerd_proxy_core::engine::{ConnId, Engine, Http2, Limits, Protocol, Role};
use linkerd_proxy_core::failure::Failure;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// Opaque connections that one carrier takes; there may be several carriers.
const STREAMS: u32 = 1000;
/// What one opaque connection may have under way or unread here, until it has moved much.
const STREAM_WINDOW: u32 = 256 * 1024;
/// More than all streams together have, so that those that are not read stop no others.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A way to an endpoint's application.
pub enum Reached {
    /// A stream of this connection.
    Stream(ConnId),
    /// A connection that nobody shares.
    Own(Io),
}

/// What a worker has of the carriers to one endpoint.
pub(super) struct Carriers {
    upstream: Weak<Upstream>,
    open: Vec<ConnId>,
    gate: Arc<Gate>,
}

/// Lets one dial at a time, and those who waited for it share what came of it.
#[derive(Default)]
struct Gate {
    turn: tokio::sync::Mutex<()>,
    failed: Mutex<Option<(Instant, Failure)>>,
}

impl Gate {
    fn failed_since(&self, began: Instant) -> Option<Failure> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed
            .filter(|(at, _)| *at >= began)
            .map(|(_, failure)| failure)
    }

    fn fail(&self, failure: Failure) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = Some((Instant::now(), failure));
    }
}

/// What is offered on carriers; `ping` and what belongs to it are as on other connections.
fn offered(other: Http2) -> Http2 {
    Http2 {
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        streams: STREAMS,
        lasting: true,
        ..other
    }
}

impl Upstream {
    /// Finds or makes a way for one opaque connection.
    ///
    /// # Errors
    /// Why the endpoint cannot be reached.
    pub async fn reach(self: &Arc<Self>) -> Result<Reached, Failure> {
        if !self.connector.may_have_streams() {
            return self.connector.connect(None).await.map(Reached::Own);
        }
        if let Some(id) = self.carrier() {
            return Ok(Reached::Stream(id));
        }
        if self.has_no_streams.load(Relaxed) {
            return self.reach_by_dial().await;
        }
        let began = Instant::now();
        let gate = with(|worker| worker.carriers_to(self, |known| known.gate.clone()));
        let turn = gate.turn.lock().await;
        if let Some(id) = self.carrier() {
            return Ok(Reached::Stream(id));
        }
        if let Some(failure) = gate.failed_since(began) {
            return Err(failure);
        }
        if self.has_no_streams.load(Relaxed) {
            drop(turn);
            return self.reach_by_dial().await;
        }
        let reached = self.reach_by_dial().await;
        if let Err(failure) = &reached {
            gate.fail(*failure);
        }
        reached
    }

    async fn reach_by_dial(self: &Arc<Self>) -> Result<Reached, Failure> {
        let (io, has_streams) = self.connector.connect_for_streams().await?;
        self.has_no_streams.store(!has_streams, Relaxed);
        if !has_streams {
            return Ok(Reached::Own(io));
        }
        Ok(Reached::Stream(with(|worker| worker.carry(self, io))))
    }

    /// A carrier that takes one more stream.
    fn carrier(&self) -> Option<ConnId> {
        with(|worker| {
            let carriers = worker.carriers.borrow();
            let engine = worker.engine.borrow();
            let open = &carriers.get(&self.key)?.open;
            open.iter().copied().find(|id| engine.capacity(*id) > 0)
        })
    }

    /// Gives a carrier no more streams: it does not answer.
    pub fn distrust(&self, id: ConnId) {
        with(|worker| {
            worker.lost_carrier(self.key, id);
            worker.engine.borrow_mut().drain(id, Instant::now());
            worker.decide();
        });
    }
}

/// Carries a client's opaque connection, which is one exchange without heads, by `carry`.
pub fn serve_bytes<F>(io: Io, drain: Drain, carry: impl FnOnce(Exchange) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let once = Rc::new(Once(Cell::new(Some(carry))));
    with(|worker| {
        let http2 = Http2::of(&Limits::default());
        worker.serve(io, Protocol::Raw, http2, drain, once);
        worker.decide();
    });
}

/// Serves a carrier whose every stream is an opaque connection.
pub fn serve_streams(io: Io, settings: &settings::Http2, drain: Drain, service: Rc<dyn Service>) {
    let http2 = offered(offer(settings));
    with(|worker| worker.serve(io, Protocol::H2, http2, drain, service));
}

/// Takes over a connection, to which an opaque exchange can be forwarded.
pub fn dialled(io: Io) -> ConnId {
    with(|worker| {
        let http2 = Http2::of(&Limits::default());
        worker.open(io, Role::Client, Protocol::Raw, http2, Kind::Application)
    })
}

/// Counts the bytes of a client's opaque connection also for `stream`.
pub fn count_for(exchange: Exchange, stream: Option<Transport>) {
    with(|worker| {
        let mut links = worker.links.borrow_mut();
        let link = links
            .get_mut(exchange.conn.index())
            .and_then(Option::as_mut);
        if let Some(link) = link.filter(|link| link.id == exchange.conn) {
            link.io.mirror(stream);
        }
    });
}

/// Ends a connection that nothing was forwarded to.
pub fn forsake(id: ConnId) {
    with(|worker| {
        worker.engine.borrow_mut().drain(id, Instant::now());
        worker.decide();
    });
}

/// A service for one exchange.
struct Once<C>(Cell<Option<C>>);

impl<C, F> Service for Once<C>
where
    C: FnOnce(Exchange) -> F,
    F: Future<Output = ()> + 'static,
{
    fn call(self: Rc<Self>, exchange: Exchange) -> Pin<Box<dyn Future<Output = ()>>> {
        match self.0.take() {
            Some(carry) => Box::pin(carry(exchange)),
            None => Box::pin(std::future::ready(())),
        }
    }
}

impl Worker {
    /// Runs `work` with what this worker has of the carriers to an upstream.
    fn carriers_to<T>(&self, upstream: &Arc<Upstream>, work: impl FnOnce(&mut Carriers) -> T) -> T {
        self.sweep_soon();
        let mut carriers = self.carriers.borrow_mut();
        work(carriers.entry(upstream.key).or_insert_with(|| Carriers {
            upstream: Arc::downgrade(upstream),
            open: Vec::new(),
            gate: Arc::default(),
        }))
    }

    fn carry(&self, upstream: &Arc<Upstream>, io: Io) -> ConnId {
        let kind = Kind::Carrier {
            upstream: upstream.key,
        };
        let http2 = offered(upstream.http2);
        let id = self.open(io, Role::Client, Protocol::H2, http2, kind);
        self.carriers_to(upstream, |known| known.open.push(id));
        id
    }

    /// A carrier takes no new streams.
    pub(super) fn retire_carrier(&self, id: ConnId) {
        let links = self.links.borrow();
        let link = links.get(id.index()).and_then(Option::as_ref);
        let link = link.filter(|link| link.id == id);
        if let Some(Kind::Carrier { upstream }) = link.map(|link| &link.kind) {
            self.lost_carrier(*upstream, id);
        }
    }

    /// A carrier is gone, or as good as.
    pub(super) fn lost_carrier(&self, upstream: u64, id: ConnId) {
        if let Some(known) = self.carriers.borrow_mut().get_mut(&upstream) {
            known.open.retain(|open| *open != id);
        }
    }

    /// Adds to `over` the carriers that are not needed; whether any are left.
    pub(super) fn sweep_carriers(&self, over: &mut Vec<ConnId>, engine: &Engine) -> bool {
        let mut carriers = self.carriers.borrow_mut();
        carriers.retain(|_, known| {
            let used = known.upstream.strong_count() > 0;
            let mut spare = 0;
            known.open.retain(|id| {
                let idle = engine.active(*id) == 0;
                let taking = engine.capacity(*id) > 0;
                // One is kept for those who come next.
                spare += usize::from(idle && taking);
                let keep = used && (!idle || taking && spare == 1);
                if !keep {
                    over.push(*id);
                }
                keep
            });
            used
        });
        !carriers.is_empty()
    }
}

//! Drives the HTTP engine of a thread: sockets, time and exchanges around
//! [`linkerd_proxy_core::engine`].
//!
//! Every thread that carries traffic runs a single-threaded runtime and has one [`Worker`] with one
//! engine for all of its connections, so nothing on the way of a request is shared or locked.
//!
//! ```text
//!  task of a connection ─ read ─▶ engine ─▶ event ─▶ exchange (a future, polled at once)
//!  task of the turn ◀─ something to write, or an exchange was woken: after all that is ready now
//! ```
//!
//! An exchange is a future that [`Service::call`] makes for each request. It is polled when the
//! engine has an event for it, which for most requests is all it ever waits for; whatever else it
//! awaits (a timer, a connection) wakes it through the turn. When the engine says that the exchange
//! is over, its future is polled once more and dropped.

mod carriers;
mod exchange;
mod link;
mod upstream;

pub use carriers::{count_for, dialled, forsake, serve_bytes, serve_streams, Reached};
pub use exchange::{Exchange, Signal};
pub use upstream::{Pool, Upstream};

use super::Version;
use crate::clock::{self, Moment};
use crate::drain::Drain;
use crate::net::io::Io;
use crate::settings;
use exchange::Slot;
use link::{Kind, Link};
use linkerd_proxy_core::engine::{
    self, code, ConnId, Engine, Event, Http2, Limits, Protocol, Role, StreamId, DATA_PAYLOAD,
};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake};
use std::time::Instant;
use tokio::sync::Notify;

/// Octets read from a connection at once: with the heads of their DATA frames they fill four TLS
/// records, and no fifth that holds next to nothing.
const READ_BYTES: usize = 4 * DATA_PAYLOAD;
/// Most slots that wait for another exchange.
const SPARES_MAX: usize = 64;
/// Streams that one peer may have open when no setting says otherwise.
const STREAMS_MAX: u32 = 10_000;

/// What answers the requests of a connection.
pub trait Service {
    /// The future that carries one exchange through.
    fn call(self: Rc<Self>, exchange: Exchange) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// The connections and exchanges of a thread.
pub struct Worker {
    engine: RefCell<Engine>,
    /// By the connection's place in the engine. Boxed as places outlive bursts.
    links: RefCell<Vec<Option<Box<Link>>>>,
    /// Exchanges by their stream's place in the engine.
    slots: RefCell<Vec<Option<Box<Slot>>>>,
    /// Slots of exchanges that are over, for the next; boxed as they go back and forth.
    #[expect(clippy::vec_box)]
    spares: RefCell<Vec<Box<Slot>>>,
    pools: RefCell<BTreeMap<u64, upstream::Local>>,
    carriers: RefCell<BTreeMap<u64, carriers::Carriers>>,
    /// Who carries copies of requests, by their connections without transport.
    copies: RefCell<Vec<(ConnId, Rc<dyn Service>)>>,
    /// Connections that wait for their peer's last word, and until when; some have had it.
    lingering: RefCell<VecDeque<(Instant, ConnId)>>,
    buffer: RefCell<Vec<u8>>,
    turn: Arc<Turn>,
    timer: Arc<Notify>,
    /// What the timer waits for.
    armed: Cell<Option<Instant>>,
    sweep_at: Cell<Option<Instant>>,
    running: Cell<bool>,
    draining: Cell<Option<bool>>,
}

/// Wakes the task that flushes.
#[derive(Default)]
struct Turn {
    notify: Notify,
    /// Exchanges that something else than the engine has woken.
    woken: Mutex<Vec<usize>>,
}

/// Wakes one exchange. Who keeps it for longer than an exchange lasts wakes the next one in vain.
struct Wakes {
    index: AtomicUsize,
    turn: Arc<Turn>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut woken = self
            .turn
            .woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        woken.push(self.index.load(Relaxed));
        drop(woken);
        self.turn.notify.notify_one();
    }
}

thread_local! {
    static WORKER: Worker = Worker::new();
}

/// Runs `work` with this thread's worker.
fn with<T>(work: impl FnOnce(&Worker) -> T) -> T {
    WORKER.with(work)
}

/// Serves a connection's requests from now on, in the background.
pub fn serve(
    io: Io,
    version: Version,
    settings: &settings::Http2,
    drain: Drain,
    service: Rc<dyn Service>,
) {
    let http2 = offer(settings);
    with(|worker| worker.serve(io, protocol(version), http2, drain, service));
}

/// Sets the limits of all connections of this thread.
pub fn limit(limits: Limits) {
    with(|worker| worker.engine.borrow_mut().limit(limits));
}

/// What the settings mean for the engine. Adaptive windows are large ones.
fn offer(settings: &settings::Http2) -> Http2 {
    let least = if settings.adaptive { 1 << 20 } else { 0 };
    Http2 {
        stream_window: settings.stream_window.max(least),
        connection_window: settings.connection_window.max(least * 4),
        streams: settings.max_concurrent_streams.unwrap_or(STREAMS_MAX),
        ping: settings.keep_alive,
        ping_idle: settings.ping_idle,
        lasting: false,
    }
}

impl Worker {
    fn new() -> Self {
        Self {
            engine: RefCell::new(Engine::new(Limits::default(), Instant::now())),
            links: RefCell::default(),
            slots: RefCell::default(),
            spares: RefCell::default(),
            pools: RefCell::default(),
            carriers: RefCell::default(),
            copies: RefCell::default(),
            lingering: RefCell::default(),
            buffer: RefCell::default(),
            turn: Arc::default(),
            timer: Arc::default(),
            armed: Cell::new(None),
            sweep_at: Cell::new(None),
            running: Cell::new(false),
            draining: Cell::new(None),
        }
    }

    /// Begins the background work, with the first connection.
    fn start(&self) {
        if self.running.replace(true) {
            return;
        }
        self.buffer.replace(vec![0; READ_BYTES]);
        tokio::spawn(turns(self.turn.clone()));
        tokio::spawn(timers(self.timer.clone()));
    }

    fn serve(
        &self,
        io: Io,
        protocol: Protocol,
        http2: Http2,
        drain: Drain,
        service: Rc<dyn Service>,
    ) {
        if self.draining.get().is_none() {
            self.draining.set(Some(false));
            let signaled = drain.signaled();
            tokio::spawn(async move {
                signaled.await;
                with(Worker::drain);
            });
        }
        let kind = Kind::Server {
            service,
            _drain: drain,
        };
        let id = self.open(io, Role::Server, protocol, http2, kind);
        if self.draining.get() == Some(true) {
            self.engine.borrow_mut().drain(id, Instant::now());
        }
    }

    fn open(&self, io: Io, role: Role, protocol: Protocol, http2: Http2, kind: Kind) -> ConnId {
        self.start();
        let id = self
            .engine
            .borrow_mut()
            .open_with(role, protocol, http2, Instant::now());
        let mut links = self.links.borrow_mut();
        if links.len() <= id.index() {
            links.resize_with(id.index() + 1, || None);
        }
        links[id.index()] = Some(Box::new(Link::new(id, io, kind)));
        tokio::spawn(link::run(id));
        id
    }

    /// Lets the present requests finish and takes no more.
    fn drain(&self) {
        self.draining.set(Some(true));
        let now = Instant::now();
        let servers: Vec<ConnId> = self
            .links
            .borrow()
            .iter()
            .flatten()
            .filter(|link| link.is_server())
            .map(|link| link.id)
            .collect();
        for id in servers {
            self.engine.borrow_mut().drain(id, now);
        }
        self.decide();
    }

    /// Does what the engine asks for until it asks no more.
    fn decide(&self) {
        loop {
            let event = self.engine.borrow_mut().poll_event();
            let Some(event) = event else { break };
            match event {
                Event::Request { conn, stream } => self.begin(conn, stream),
                Event::Response { stream } => self.signal(stream, Signal::Response),
                Event::Body { stream } => self.signal(stream, Signal::Body),
                Event::Trailers { stream } => self.signal(stream, Signal::Trailers),
                Event::Failed { stream, failure } => {
                    self.signal(stream, Signal::Failed(failure));
                }
                Event::Finished { stream } => {
                    self.signal(stream, Signal::Finished);
                    self.forget(stream);
                }
                Event::Ready { conn } => self.ready(conn),
                Event::Draining { conn } => self.retire(conn),
            }
        }
        if self.engine.borrow().has_dirty() {
            self.turn.notify.notify_one();
        }
        self.arm();
    }

    fn begin(&self, conn: ConnId, stream: StreamId) {
        let service = self.links.borrow().get(conn.index()).and_then(|link| {
            match &link.as_ref().filter(|link| link.id == conn)?.kind {
                Kind::Server { service, .. } => Some(service.clone()),
                Kind::Client { .. } | Kind::Carrier { .. } | Kind::Application => None,
            }
        });
        let Some(service) = service.or_else(|| self.copying(conn)) else {
            self.engine.borrow_mut().reset(stream, code::INTERNAL_ERROR);
            return;
        };
        let future = service.call(Exchange::new(conn, stream));
        let index = stream.index();
        let spare = self.spares.borrow_mut().pop();
        let mut slot = spare.unwrap_or_else(|| Box::new(Slot::new(&self.turn)));
        slot.begin(stream, future);
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        slots[index] = Some(slot);
        drop(slots);
        self.poll(index);
    }

    fn copying(&self, conn: ConnId) -> Option<Rc<dyn Service>> {
        let copies = self.copies.borrow();
        let found = copies.iter().find(|(id, _)| *id == conn)?;
        Some(found.1.clone())
    }

    /// Drops what was written to a connection without transport.
    fn swallow(&self, id: ConnId) {
        let mut copies = self.copies.borrow_mut();
        let Some(at) = copies.iter().position(|(copy, _)| *copy == id) else {
            return;
        };
        let now = clock::now();
        let mut engine = self.engine.borrow_mut();
        let count = engine.out(id).len();
        engine.sent(id, count, now);
        if engine.io(id) != engine::Io::Open {
            engine.close(id, now);
            let (_, service) = copies.swap_remove(at);
            drop((copies, engine));
            drop(service);
        }
    }

    fn signal(&self, stream: StreamId, signal: Signal) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(stream.index()).and_then(Option::as_mut);
        let Some(slot) = slot.filter(|slot| slot.is(stream)) else {
            return;
        };
        slot.signals.push_back(signal);
        drop(slots);
        self.poll(stream.index());
    }

    fn poll(&self, index: usize) {
        let taken = match self.slots.borrow_mut().get_mut(index) {
            Some(Some(slot)) => slot.take(),
            Some(None) | None => None,
        };
        let Some((stream, mut future, waker)) = taken else {
            return;
        };
        let done = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        if !done {
            if let Some(Some(slot)) = self.slots.borrow_mut().get_mut(index) {
                if slot.is(stream) {
                    slot.future = Some(future);
                    return;
                }
            }
        }
        // What it holds may want the worker when it goes.
        drop(future);
    }

    fn forget(&self, stream: StreamId) {
        let mut slots = self.slots.borrow_mut();
        let place = slots.get_mut(stream.index());
        let place = place.and_then(|place| place.take_if(|slot| slot.is(stream)));
        let Some(mut slot) = place else { return };
        drop(slots);
        let future = slot.end();
        let mut spares = self.spares.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.push(slot);
        }
        drop(spares);
        drop(future);
    }

    /// Polls what was woken and writes what has been collected.
    fn take_turn(&self) {
        let _moment = Moment::begin();
        let woken = {
            let mut woken = self
                .turn
                .woken
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *woken)
        };
        if !woken.is_empty() {
            for index in woken {
                self.poll(index);
            }
            self.decide();
        }
        loop {
            let dirty = self.engine.borrow_mut().poll_dirty();
            let Some(id) = dirty else { break };
            self.flush(id);
        }
        // What was sent may have let streams go on.
        self.decide();
    }

    /// Makes sure that the timer knows the earliest deadline.
    fn arm(&self) {
        let next = self.next_deadline();
        let earlier = match (next, self.armed.get()) {
            (Some(next), Some(armed)) => next < armed,
            (next, None) => next.is_some(),
            (None, _) => false,
        };
        if earlier {
            self.timer.notify_one();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        [
            self.engine.borrow().poll_timeout(),
            self.sweep_at.get(),
            self.next_lingering(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the first connection that still lingers has done so for long enough.
    fn next_lingering(&self) -> Option<Instant> {
        let mut lingering = self.lingering.borrow_mut();
        let links = self.links.borrow();
        loop {
            let (at, id) = *lingering.front()?;
            let link = links.get(id.index()).and_then(Option::as_ref);
            if link.is_some_and(|link| link.id == id) {
                return Some(at);
            }
            lingering.pop_front();
        }
    }

    fn expire(&self) {
        let _moment = Moment::begin();
        let now = clock::now();
        self.engine.borrow_mut().handle_timeout(now);
        let late: Vec<ConnId> = {
            let mut lingering = self.lingering.borrow_mut();
            let count = lingering.partition_point(|(at, _)| *at <= now);
            lingering.drain(..count).map(|(_, id)| id).collect()
        };
        for id in late {
            self.close(id);
        }
        if self.sweep_at.get().is_some_and(|at| at <= now) {
            self.sweep(now);
        }
        self.decide();
    }
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::Http1 => Protocol::H1,
        Version::Http2 => Protocol::H2,
    }
}

/// Flushes for as long as the thread lives.
async fn turns(turn: Arc<Turn>) {
    loop {
        // Woken by the first connection that is ready, it runs after all others that are, so that
        // their writes go out together.
        turn.notify.notified().await;
        with(Worker::take_turn);
    }
}

/// Watches over deadlines for as long as the thread lives.
async fn timers(timer: Arc<Notify>) {
    loop {
        let next = with(|worker| {
            let next = worker.next_deadline();
            worker.armed.set(next);
            next
        });
        match next {
            None => timer.notified().await,
            Some(at) => {
                tokio::select! {
                    () = timer.notified() => {}
                    () = tokio::time::sleep_until(at.into()) => with(Worker::expire),
                }
            }
        }
    }
}

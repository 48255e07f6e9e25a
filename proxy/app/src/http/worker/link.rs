//! A connection's transport: reading into the engine, writing out of it, and its end.

use super::{with, Service, Worker};
use crate::clock::{self, Moment};
use crate::drain::Drain;
use crate::net::io::Io;
use linkerd_proxy_core::engine::{self, ConnId};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;
/// How long a connection that we closed waits for its peer's end, so that a reset does not overtake
/// the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Octets that are read meanwhile.
const LINGER_BYTES: usize = 256 * 1024;

/// Which end of a connection we are, and for whom.
pub enum Kind {
    /// Requests come in.
    Server {
        /// For these.
        service: Rc<dyn Service>,
        /// Ends with the connection.
        _drain: Drain,
    },
    /// Requests go out, for the upstream with this key.
    Client {
        /// See [`super::Upstream`].
        upstream: u64,
    },
    /// Opaque connections go out as streams, to the upstream with this key.
    Carrier {
        /// See [`super::Upstream`].
        upstream: u64,
    },
    /// Opaque bytes go to the application.
    Application,
}

/// A connection's transport.
pub struct Link {
    pub id: ConnId,
    pub kind: Kind,
    pub(super) io: Io,
    /// Of the connection's task.
    waker: Option<Waker>,
    /// The transport takes no more for now.
    blocked: bool,
    /// The task waits for a change of the engine rather than for bytes.
    paused: bool,
    /// The peer sends no more.
    ended: bool,
    /// Octets that may still come, after our end.
    lingering: Option<usize>,
}

impl Link {
    pub fn new(id: ConnId, io: Io, kind: Kind) -> Self {
        Self {
            id,
            kind,
            io,
            waker: None,
            blocked: false,
            paused: false,
            ended: false,
            lingering: None,
        }
    }

    pub fn is_server(&self) -> bool {
        matches!(self.kind, Kind::Server { .. })
    }
}

/// Reads a connection until it is closed.
pub async fn run(id: ConnId) {
    poll_fn(|cx| with(|worker| worker.poll_link(id, cx))).await;
}

enum Read {
    /// The engine has got something.
    Some,
    /// Nothing to do for now.
    Pending,
    /// The connection is closed.
    Gone,
}

/// What became of a write.
#[derive(PartialEq, Eq)]
enum Wrote {
    All,
    Blocked,
    Broken,
}

impl Worker {
    fn poll_link(&self, id: ConnId, cx: &mut Context<'_>) -> Poll<()> {
        let _moment = Moment::begin();
        if self.was_blocked(id, cx.waker()) {
            self.flush(id);
            self.decide();
        }
        for _ in 0..READS_PER_TURN {
            match self.read(id, cx) {
                Read::Some => self.decide(),
                Read::Pending => return Poll::Pending,
                Read::Gone => {
                    self.decide();
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes who is polled, and whether what waits may be written now.
    fn was_blocked(&self, id: ConnId, waker: &Waker) -> bool {
        let mut links = self.links.borrow_mut();
        let link = links.get_mut(id.index()).and_then(Option::as_mut);
        let Some(link) = link.filter(|link| link.id == id) else {
            return false;
        };
        let known = link.waker.as_ref();
        if !known.is_some_and(|known| known.will_wake(waker)) {
            link.waker = Some(waker.clone());
        }
        std::mem::take(&mut link.blocked)
    }

    fn read(&self, id: ConnId, cx: &mut Context<'_>) -> Read {
        let mut links = self.links.borrow_mut();
        let link = links.get_mut(id.index()).and_then(Option::as_mut);
        let Some(link) = link.filter(|link| link.id == id) else {
            return Read::Gone;
        };
        link.paused = false;
        if link.lingering.is_none() && !self.engine.borrow().wants_read(id) {
            link.paused = true;
            return Read::Pending;
        }
        let mut buffer = self.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        let done = match Pin::new(&mut link.io).poll_read(cx, &mut buffer) {
            Poll::Pending => return Read::Pending,
            Poll::Ready(done) => done,
        };
        let bytes = buffer.filled();
        link.ended |= bytes.is_empty();
        let over = match &mut link.lingering {
            None => done.is_err(),
            Some(left) => {
                *left = left.saturating_sub(bytes.len());
                done.is_err() || bytes.is_empty() || *left == 0
            }
        };
        let lingers = link.lingering.is_some();
        drop(links);
        if over {
            self.close(id);
            return Read::Gone;
        }
        if !lingers {
            let now = clock::now();
            let mut engine = self.engine.borrow_mut();
            if bytes.is_empty() {
                engine.recv_end(id, now);
            } else {
                engine.recv(id, bytes, now);
            }
        }
        Read::Some
    }

    /// Writes what waits for a connection, and ends it when the engine says so.
    pub(super) fn flush(&self, id: ConnId) {
        let mut links = self.links.borrow_mut();
        let link = links.get_mut(id.index()).and_then(Option::as_mut);
        let Some(link) = link.filter(|link| link.id == id) else {
            drop(links);
            return self.swallow(id);
        };
        let io = self.engine.borrow().io(id);
        if io != engine::Io::Abort && (link.blocked || link.lingering.is_some()) {
            return;
        }
        let wrote = match io {
            engine::Io::Abort => {
                if self.engine.borrow().is_opaque_connection(id) {
                    // What the other end sent before it broke off comes first.
                    self.write(link, engine::Io::Open);
                    link.io.break_off();
                }
                Wrote::Broken
            }
            engine::Io::Open | engine::Io::Shutdown | engine::Io::Close => self.write(link, io),
        };
        let closing = io == engine::Io::Close && wrote == Wrote::All;
        if wrote == Wrote::Broken || closing && (link.ended || !link.is_server()) {
            drop(links);
            self.close(id);
            return;
        }
        if closing {
            link.lingering = Some(LINGER_BYTES);
            let mut lingering = self.lingering.borrow_mut();
            lingering.push_back((clock::now() + LINGER, id));
        }
        if link.paused {
            if let Some(waker) = &link.waker {
                waker.wake_by_ref();
            }
        }
    }

    fn write(&self, link: &mut Link, io: engine::Io) -> Wrote {
        let Some(waker) = &link.waker else {
            // Its task has yet to begin, and begins with this.
            link.blocked = true;
            return Wrote::Blocked;
        };
        let mut cx = Context::from_waker(waker);
        loop {
            let mut engine = self.engine.borrow_mut();
            let out = engine.out(link.id);
            if out.is_empty() {
                break;
            }
            match Pin::new(&mut link.io).poll_write(&mut cx, out) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    engine.sent(link.id, count, clock::now());
                }
                Poll::Ready(_) => return Wrote::Broken,
                Poll::Pending => {
                    link.blocked = true;
                    return Wrote::Blocked;
                }
            }
        }
        let mut done = Pin::new(&mut link.io).poll_flush(&mut cx);
        if matches!(done, Poll::Ready(Ok(()))) && io != engine::Io::Open {
            done = Pin::new(&mut link.io).poll_shutdown(&mut cx);
        }
        match done {
            Poll::Ready(Ok(())) => Wrote::All,
            Poll::Ready(Err(_)) => Wrote::Broken,
            Poll::Pending => {
                link.blocked = true;
                Wrote::Blocked
            }
        }
    }

    /// Forgets a connection; what was under way on it fails.
    pub(super) fn close(&self, id: ConnId) {
        self.engine.borrow_mut().close(id, clock::now());
        let mut links = self.links.borrow_mut();
        let slot = links.get_mut(id.index());
        let Some(slot) = slot.filter(|link| link.as_ref().is_some_and(|link| link.id == id)) else {
            return;
        };
        let link = slot.take();
        drop(links);
        let Some(link) = link else { return };
        match link.kind {
            Kind::Client { upstream } => self.lost(upstream, id),
            Kind::Carrier { upstream } => self.lost_carrier(upstream, id),
            Kind::Server { .. } | Kind::Application => {}
        }
        if let Some(waker) = link.waker {
            waker.wake();
        }
        self.turn.notify.notify_one();
    }
}

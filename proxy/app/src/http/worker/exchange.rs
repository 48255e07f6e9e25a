//! One request and its response, as its service sees them.

use super::{with, Service, Turn, Wakes, Worker};
use linkerd_proxy_core::engine::{
    ConnId, Engine, Failure, Head, HeadEdit, Passed, Refusal, StreamId, Summary,
};
use std::collections::VecDeque;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

/// What happened to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The response's head is there: forward it, or release the target.
    Response,
    /// The response's body begins.
    Body,
    /// The response's trailers are there.
    Trailers,
    /// The target failed before its response was forwarded; the exchange has no target.
    Failed(Failure),
    /// It is over: see [`Exchange::summary`].
    Finished,
}

type Carrying = Pin<Box<dyn Future<Output = ()>>>;

/// What drives an exchange.
pub(super) struct Slot {
    stream: Option<StreamId>,
    pub(super) signals: VecDeque<Signal>,
    /// `None` while it is being polled, and when it is done.
    pub(super) future: Option<Carrying>,
    wakes: Arc<Wakes>,
    waker: Rc<Waker>,
}

impl Slot {
    pub(super) fn new(turn: &Arc<Turn>) -> Self {
        let wakes = Arc::new(Wakes {
            index: AtomicUsize::default(),
            turn: turn.clone(),
        });
        Self {
            stream: None,
            signals: VecDeque::new(),
            future: None,
            waker: Rc::new(Waker::from(wakes.clone())),
            wakes,
        }
    }

    pub(super) fn is(&self, stream: StreamId) -> bool {
        self.stream == Some(stream)
    }

    pub(super) fn begin(&mut self, stream: StreamId, future: Carrying) {
        self.wakes.index.store(stream.index(), Relaxed);
        self.stream = Some(stream);
        self.future = Some(future);
    }

    pub(super) fn take(&mut self) -> Option<(StreamId, Carrying, Rc<Waker>)> {
        let (stream, future) = (self.stream?, self.future.take()?);
        Some((stream, future, self.waker.clone()))
    }

    pub(super) fn end(&mut self) -> Option<Carrying> {
        self.stream = None;
        self.signals.clear();
        self.future.take()
    }
}

/// A request and its response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub(super) conn: ConnId,
    stream: StreamId,
}

impl Exchange {
    pub(super) fn new(conn: ConnId, stream: StreamId) -> Self {
        Self { conn, stream }
    }

    fn engine<T>(self, work: impl FnOnce(&mut Engine) -> T) -> T {
        with(|worker: &Worker| work(&mut worker.engine.borrow_mut()))
    }

    /// Looks at the request's head; `look` must not use the exchange. `None` when it is over.
    pub fn request<T>(self, look: impl FnOnce(&Head) -> T) -> Option<T> {
        with(|worker| worker.engine.borrow().request(self.stream).map(look))
    }

    /// Whether the client speaks HTTP/1.0.
    pub fn is_http10(self) -> bool {
        self.engine(|engine| engine.is_http10(self.stream))
    }

    /// Looks at the response's head, until it is forwarded.
    pub fn response<T>(self, look: impl FnOnce(&Head) -> T) -> Option<T> {
        with(|worker| worker.engine.borrow().response(self.stream).map(look))
    }

    /// Looks at the response's trailers.
    pub fn trailers<T>(self, look: impl FnOnce(&Head) -> T) -> Option<T> {
        with(|worker| worker.engine.borrow().trailers(self.stream).map(look))
    }

    /// The next thing that happens to it.
    pub async fn signal(self) -> Signal {
        poll_fn(|_| match self.ready_signal() {
            Some(signal) => Poll::Ready(signal),
            None => Poll::Pending,
        })
        .await
    }

    /// What has happened already.
    pub fn ready_signal(self) -> Option<Signal> {
        with(|worker| {
            let mut slots = worker.slots.borrow_mut();
            let slot = slots.get_mut(self.stream.index())?.as_mut()?;
            slot.signals.pop_front()
        })
    }

    /// Lets everything that is ready now happen first.
    pub async fn settled(self) {
        let mut asked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Sends the request on a client connection.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn forward(self, target: ConnId, edit: &HeadEdit<'_>) -> Result<(), Refusal> {
        self.engine(|engine| engine.forward(self.stream, target, edit))
    }

    /// Sends the response on.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn forward_response(self, edit: &HeadEdit<'_>) -> Result<(), Refusal> {
        self.engine(|engine| engine.forward_response(self.stream, edit))
    }

    /// Lets the client's connection take no further request after this one.
    pub fn close_client(self) {
        self.engine(|engine| engine.drain(self.conn, Instant::now()));
    }

    /// Answers it here; with `close`, the client's connection takes no further request.
    pub fn respond(self, status: u16, fields: &[(&[u8], &[u8])], body: &[u8], close: bool) {
        if close {
            self.close_client();
        }
        self.engine(|engine| {
            // It may have ended meanwhile, and then nobody waits for an answer.
            let _ = engine.respond(self.stream, status, fields, body);
        });
    }

    /// Ends it without an answer, by an HTTP/2 error code where there is one.
    pub fn reset(self, code: u32) {
        self.engine(|engine| engine.reset(self.stream, code));
    }

    /// Ends a response that is under way, with trailers.
    pub fn finish(self, fields: &[(&[u8], &[u8])]) {
        self.engine(|engine| engine.finish(self.stream, fields));
    }

    /// Takes it back from its target.
    pub fn release(self) {
        self.engine(|engine| engine.release(self.stream));
    }

    /// Lets `service` carry a copy of the request, which has no target yet.
    pub fn copy_to(self, service: Rc<dyn Service>) {
        with(|worker| {
            let copy = worker
                .engine
                .borrow_mut()
                .copy_request(self.stream, Instant::now());
            if let Some(id) = copy {
                worker.copies.borrow_mut().push((id, service));
            }
        });
    }

    /// Keeps the request's body for another attempt, up to `max` octets.
    pub fn keep_request(self, max: usize) {
        self.engine(|engine| engine.keep_request(self.stream, max));
    }

    /// Whether the request can be sent again.
    pub fn can_retry(self) -> bool {
        self.engine(|engine| engine.can_retry(self.stream))
    }

    /// Whether the request may be sent once more although an attempt failed like this: the target has
    /// not looked at it, or had closed a connection that was idle and repeating does no harm.
    ///
    /// Source: RFC 9110 §9.2.2; RFC 9113 §8.7.
    pub fn is_safe_to_repeat(self, failure: Failure) -> bool {
        const IDEMPOTENT: [&[u8]; 6] = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"];
        let harmless = match failure {
            Failure::Refused => Some(true),
            Failure::Closed => self.request(|head| IDEMPOTENT.contains(&head.method())),
            Failure::Reset(_) | Failure::Protocol | Failure::Timeout | Failure::Cancelled => None,
        };
        harmless == Some(true) && self.can_retry()
    }

    /// Whether a response with this status makes the exchange a tunnel.
    pub fn is_tunnel(self, status: u16) -> bool {
        let connected =
            || self.request(|head| head.method() == b"CONNECT" && (200..300).contains(&status));
        status == 101 || connected() == Some(true)
    }

    /// Whether all of the response is there.
    pub fn response_is_whole(self) -> bool {
        self.engine(|engine| engine.response_is_whole(self.stream))
    }

    /// What became of it, once it is over.
    pub fn summary(self) -> Option<Summary> {
        self.engine(|engine| engine.summary(self.stream))
    }

    /// How far it is.
    pub fn passed(self) -> Option<Passed> {
        self.engine(|engine| engine.passed(self.stream))
    }
}

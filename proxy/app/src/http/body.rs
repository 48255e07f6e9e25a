//! The one body type: nothing, some bytes, or what a peer sends, with an eye on its end.

use super::client::Pooled;
use super::observed::Observed;
use super::peek::Peeked;
use super::Broken;
use crate::outbound::endpoint::Pending;
use crate::tap::exchange::Tapped;
use crate::telemetry::exchange::Exchange;
use crate::telemetry::registry::Histogram;
use crate::telemetry::stream::Stream;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};

/// A request's or response's content.
#[derive(Debug)]
pub struct Body(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Counted(Box<(Incoming, Arc<Histogram>)>),
    Tracked(Box<Tracked>),
    Peeked(Box<Peeked>),
    /// What few routes ask for: timeouts and replays.
    Wrapped(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Broken> + Send>>),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Incoming(_) => "Incoming",
            Self::Counted(_) => "Counted",
            Self::Tracked(_) => "Tracked",
            Self::Peeked(_) => "Peeked",
            Self::Wrapped(_) => "Wrapped",
        })
    }
}

/// A response body and what must happen at its first frame and at its end.
pub struct Tracked {
    inner: Incoming,
    end: AtEnd,
}

/// What ends with a response.
#[derive(Default)]
pub struct AtEnd {
    /// Measures it.
    pub exchange: Option<Exchange>,
    /// Counts it as load of an endpoint.
    pub pending: Option<Pending>,
    /// Gives its HTTP/1 connection back.
    pub pooled: Option<Pooled>,
    /// Shows it to those who watch.
    pub tap: Option<Box<Tapped>>,
    /// Measures it for backend and route, or for a server.
    pub streams: [Option<Stream>; 2],
}

impl AtEnd {
    fn data(&mut self, bytes: usize) {
        for stream in self.streams.iter().flatten() {
            stream.frame(bytes);
        }
        if let Some(tap) = &mut self.tap {
            tap.data(bytes);
        }
    }

    fn first_frame(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.first_frame();
        }
        if let Some(pending) = &mut self.pending {
            pending.responded();
        }
    }

    fn complete(&mut self, trailers: Option<&HeaderMap>) {
        self.first_frame();
        if let Some(mut tap) = self.tap.take() {
            let grpc = self.exchange.as_ref().and_then(Exchange::grpc_code);
            tap.end(trailers, grpc.map(u32::from));
        }
        let class = self.exchange.take().and_then(|mut exchange| exchange.end());
        for stream in &mut self.streams {
            if let Some(mut stream) = stream.take() {
                stream.end(class);
            }
        }
        if let Some((mut pending, class)) = self.pending.take().zip(class) {
            pending.ended(class);
        }
        if let Some(pooled) = self.pooled.take() {
            pooled.give_back();
        }
    }

    fn fail(&mut self, error: &'static str, label: &'static str) {
        for stream in &mut self.streams {
            if let Some(mut stream) = stream.take() {
                stream.fail(label);
            }
        }
        if let Some(mut tap) = self.tap.take() {
            tap.fail();
        }
        let class = self
            .exchange
            .take()
            .map(|mut exchange| exchange.fail(error));
        if let Some((mut pending, class)) = self.pending.take().zip(class) {
            pending.ended(class);
        }
        self.pooled = None;
    }
}

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(bytes.into()))
    }

    /// What the peer sends; `end` happens when it is over.
    pub fn tracked(inner: Incoming, mut end: AtEnd) -> Self {
        if http_body::Body::is_end_stream(&inner) {
            end.complete(None);
            return Self(Kind::Incoming(inner));
        }
        Self(Kind::Tracked(Box::new(Tracked { inner, end })))
    }

    /// A body with something around it.
    pub fn wrapped(
        inner: impl http_body::Body<Data = Bytes, Error = Broken> + Send + 'static,
    ) -> Self {
        Self(Kind::Wrapped(Box::pin(inner)))
    }

    /// A body that keeps `held` until it is dropped.
    pub fn holding(self, held: impl Send + Unpin + 'static) -> Self {
        Self::wrapped(Holding {
            inner: self,
            _held: held,
        })
    }

    /// A body whose first frames were looked at.
    pub fn peeked(peeked: Peeked) -> Self {
        Self(Kind::Peeked(Box::new(peeked)))
    }

    /// Counts the exchange as failed because we end it.
    pub fn abort(&mut self, error: &'static str, label: &'static str) {
        match &mut self.0 {
            Kind::Tracked(tracked) => tracked.end.fail(error, label),
            Kind::Peeked(peeked) => peeked.inner().abort(error, label),
            Kind::Empty
            | Kind::Full(_)
            | Kind::Incoming(_)
            | Kind::Counted(_)
            | Kind::Wrapped(_) => {}
        }
    }

    /// A request's body whose frames are measured.
    pub fn counted(inner: Incoming, frames: &Option<Arc<Histogram>>) -> Self {
        match frames {
            Some(frames) if !http_body::Body::is_end_stream(&inner) => {
                Self(Kind::Counted(Box::new((inner, frames.clone()))))
            }
            Some(_) | None => Self(Kind::Incoming(inner)),
        }
    }

    /// Measures a response whose head was noted in `stream`.
    pub fn observed(mut self, mut stream: Stream) -> Self {
        match &mut self.0 {
            Kind::Tracked(tracked) => {
                if let Some(free) = tracked.end.streams.iter_mut().find(|slot| slot.is_none()) {
                    *free = Some(stream);
                    return self;
                }
                stream.end(None);
                self
            }
            Kind::Peeked(_) | Kind::Wrapped(_) => Self::wrapped(Observed {
                inner: self,
                stream: Some(stream),
                exchange: None,
            }),
            Kind::Empty | Kind::Full(_) | Kind::Incoming(_) | Kind::Counted(_) => {
                stream.end(None);
                self
            }
        }
    }

    /// Measures a response whose head was noted in `exchange`.
    pub fn exchanged(self, mut exchange: Exchange) -> Self {
        if http_body::Body::is_end_stream(&self) {
            exchange.end();
            return self;
        }
        Self::wrapped(Observed {
            inner: self,
            stream: None,
            exchange: Some(exchange),
        })
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self(Kind::Incoming(incoming))
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // A server that knows the length stops polling at the last byte.
        if http_body::Body::is_end_stream(&self.inner) {
            self.end.complete(None);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Broken::from),
            Kind::Counted(counted) => {
                let (incoming, frames) = &mut **counted;
                let polled = Pin::new(incoming).poll_frame(cx).map_err(Broken::from);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    if let Some(data) = frame.data_ref() {
                        frames.record(data.len() as u64);
                    }
                }
                polled
            }
            Kind::Tracked(tracked) => tracked.poll_frame(cx),
            Kind::Peeked(peeked) => Pin::new(&mut **peeked).poll_frame(cx),
            Kind::Wrapped(wrapped) => wrapped.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Counted(counted) => counted.0.is_end_stream(),
            Kind::Tracked(tracked) => tracked.inner.is_end_stream(),
            Kind::Peeked(peeked) => peeked.is_end_stream(),
            Kind::Wrapped(wrapped) => wrapped.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Counted(counted) => counted.0.size_hint(),
            Kind::Tracked(tracked) => tracked.inner.size_hint(),
            Kind::Peeked(peeked) => peeked.size_hint(),
            Kind::Wrapped(wrapped) => wrapped.size_hint(),
        }
    }
}

struct Holding<T> {
    inner: Body,
    _held: T,
}

impl<T: Unpin> http_body::Body for Holding<T> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Tracked {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match ready!(http_body::Body::poll_frame(Pin::new(&mut self.inner), cx)) {
            None => {
                self.end.complete(None);
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                self.end.first_frame();
                if let Some(trailers) = frame.trailers_ref() {
                    let grpc = trailers
                        .get("grpc-status")
                        .map(|value| value.as_bytes().to_vec());
                    if let Some(exchange) = &mut self.end.exchange {
                        exchange.trailers(grpc.as_deref());
                    }
                    self.end.complete(Some(trailers));
                } else if let Some(data) = frame.data_ref() {
                    self.end.data(data.len());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.end.fail("unclassified", "RESET");
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

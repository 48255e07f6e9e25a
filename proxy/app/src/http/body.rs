//! The one body type: nothing, some bytes, or what a peer sends, with an eye on its end.

use super::client::Pooled;
use super::Broken;
use crate::outbound::endpoint::Pending;
use crate::telemetry::exchange::Exchange;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

/// A request's or response's content.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Tracked(Box<Tracked>),
}

/// A response body and what must happen at its first frame and at its end.
pub struct Tracked {
    inner: Incoming,
    end: AtEnd,
}

impl std::fmt::Debug for Tracked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracked")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
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
}

impl AtEnd {
    fn first_frame(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.first_frame();
        }
        if let Some(pending) = &mut self.pending {
            pending.responded();
        }
    }

    fn complete(&mut self) {
        self.first_frame();
        if let Some(mut exchange) = self.exchange.take() {
            exchange.end();
        }
        self.pending = None;
        if let Some(pooled) = self.pooled.take() {
            pooled.give_back();
        }
    }

    fn fail(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.fail("unclassified");
        }
        self.pending = None;
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
            end.complete();
            return Self(Kind::Incoming(inner));
        }
        Self(Kind::Tracked(Box::new(Tracked { inner, end })))
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
            self.end.complete();
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
            Kind::Tracked(tracked) => tracked.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Tracked(tracked) => tracked.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Tracked(tracked) => tracked.inner.size_hint(),
        }
    }
}

impl Tracked {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match ready!(http_body::Body::poll_frame(Pin::new(&mut self.inner), cx)) {
            None => {
                self.end.complete();
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
                    self.end.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.end.fail();
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

//! What the admin and tap servers answer with, and what the control plane is sent.

use super::Broken;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A request's or response's content.
pub struct Body(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Wrapped(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Broken> + Send>>),
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

    /// Any other body.
    pub fn wrapped(
        inner: impl http_body::Body<Data = Bytes, Error = Broken> + Send + 'static,
    ) -> Self {
        Self(Kind::Wrapped(Box::pin(inner)))
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
            Kind::Wrapped(wrapped) => wrapped.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Wrapped(wrapped) => wrapped.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Wrapped(wrapped) => wrapped.size_hint(),
        }
    }
}

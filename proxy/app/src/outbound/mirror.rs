//! Copies of requests for backends whose responses nobody sees.
//!
//! A copy never slows the request down: one that does not keep up is cut.
//! Source: Gateway API HTTPRoute RequestMirror (behaviour).

use super::logical::{BackendTarget, Mirror};
use super::{Outbound, Source};
use crate::http::body::Body;
use crate::http::Broken;
use ::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, Semaphore};
use tokio::time::Instant;
use tracing::debug;

/// Copies at once; beyond that, requests go without.
const COPIES_MAX: usize = 1024;
/// Frames that a copy may lag behind.
const FRAMES_MAX: usize = 32;
/// Longest life of a copy, its response included.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// The limit of copies at once.
pub fn limit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(COPIES_MAX))
}

impl Outbound {
    /// Sends copies to those mirrors whose turn it is; returns the request to go on with.
    pub fn mirror(
        self: &Arc<Self>,
        mirrors: &[Mirror],
        request: Request<Body>,
        source: &Source,
    ) -> Request<Body> {
        mirrors.iter().fold(request, |request, mirror| {
            let (numerator, denominator) = mirror.ratio;
            let drawn = crate::random::with(|rng| rng.below(denominator.max(1) as usize));
            let permit = self.copies.clone().try_acquire_owned();
            let (true, Ok(permit)) = (drawn < numerator as usize, permit) else {
                return request;
            };
            let (parts, body) = request.into_parts();
            let (body, copied) = split(body);
            let copy = Request::from_parts(parts.clone(), copied);
            let (outbound, target, source) = (self.clone(), mirror.target.clone(), source.clone());
            tokio::spawn(async move {
                let sent = outbound.send_copy(&target, copy, &source);
                if tokio::time::timeout(LIFE_MAX, sent).await.is_err() {
                    debug!("copy of a request took too long");
                }
                drop(permit);
            });
            Request::from_parts(parts, body)
        })
    }

    async fn send_copy(&self, target: &BackendTarget, copy: Request<Body>, source: &Source) {
        let endpoint = match target {
            BackendTarget::Fail => return,
            BackendTarget::Forward(endpoint) => endpoint.clone(),
            BackendTarget::Balance(balancer) => {
                let direction = &self.settings.outbound;
                let deadline = Instant::now() + direction.failfast_timeout;
                match balancer.acquire(deadline, direction.queue_capacity).await {
                    Ok(endpoint) => endpoint,
                    Err(failure) => {
                        debug!(error = failure.answer().text, "copy of a request not sent");
                        return;
                    }
                }
            }
        };
        if let Ok(answer) = endpoint.send(copy, &mut None, source).await {
            let mut body = answer.response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
    }
}

/// One frame of a copy.
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

struct Original {
    inner: Body,
    /// `None` once everything was passed on, or the copy was given up.
    copy: Option<mpsc::Sender<Piece>>,
    /// Dropped at the clean end only, which the copy takes for its own.
    ended: Option<tokio::sync::oneshot::Sender<()>>,
}

struct Copy {
    pieces: mpsc::Receiver<Piece>,
    ended: tokio::sync::oneshot::Receiver<()>,
}

/// A body and one that repeats what is read from it.
fn split(body: Body) -> (Body, Body) {
    if body.is_end_stream() {
        return (body, Body::empty());
    }
    let (copy, pieces) = mpsc::channel(FRAMES_MAX);
    let (end, ended) = tokio::sync::oneshot::channel();
    let original = Original {
        inner: body,
        copy: Some(copy),
        ended: Some(end),
    };
    (
        Body::wrapped(original),
        Body::wrapped(Copy { pieces, ended }),
    )
}

impl Original {
    fn end(&mut self) {
        self.copy = None;
        if let Some(ended) = self.ended.take() {
            // Whoever received the copy may be gone.
            let _ = ended.send(());
        }
    }
}

impl http_body::Body for Original {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.end(),
            Some(Err(_)) => self.copy = None,
            Some(Ok(frame)) => {
                let data = frame.data_ref().cloned().map(Piece::Data);
                let piece = data.or_else(|| frame.trailers_ref().cloned().map(Piece::Trailers));
                let kept = match (&self.copy, piece) {
                    (Some(copy), Some(piece)) => copy.try_send(piece).is_ok(),
                    (None, _) | (_, None) => true,
                };
                if !kept {
                    // Without the sign of a clean end the copy breaks off.
                    (self.copy, self.ended) = (None, None);
                } else if self.inner.is_end_stream() {
                    self.end();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl http_body::Body for Copy {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            None => Poll::Ready(match self.ended.try_recv() {
                Ok(()) => None,
                Err(_) => Some(Err(Broken::timed_out())),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_end_as_the_original_does() {
        let whole = || Body::full("hello");
        let (original, copied) = split(whole());
        let read = original.collect().await.expect("no error").to_bytes();
        assert_eq!("hello", read);
        assert_eq!(
            "hello",
            copied.collect().await.expect("no error").to_bytes()
        );

        let (original, copied) = split(whole());
        drop(original);
        assert!(
            copied.collect().await.is_err(),
            "what was never read is no whole body"
        );

        let (original, copied) = split(Body::empty());
        assert!(original.is_end_stream() && copied.is_end_stream());
    }
}

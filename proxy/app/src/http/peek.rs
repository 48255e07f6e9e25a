//! Looks at the trailers of a response that has at most one frame of data, before it is passed on.
//!
//! Source: linkerd2-proxy linkerd/http/retry/src/peek_trailers.rs (behaviour).

use super::body::Body;
use super::Broken;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body and those of its frames that were taken already.
pub struct Peeked {
    frames: [Option<Result<Frame<Bytes>, Broken>>; 2],
    inner: Body,
    ended: bool,
}

/// Waits for the first frame and takes a second if it is there at once.
pub async fn peek(mut inner: Body) -> Peeked {
    let mut ended = false;
    let first = poll_fn(|cx| Pin::new(&mut inner).poll_frame(cx)).await;
    let mut second = None;
    match &first {
        None => ended = true,
        Some(Ok(frame)) if frame.is_data() => {
            second = poll_fn(|cx| {
                Poll::Ready(match Pin::new(&mut inner).poll_frame(cx) {
                    Poll::Ready(None) => {
                        ended = true;
                        None
                    }
                    Poll::Ready(frame) => frame,
                    Poll::Pending => None,
                })
            })
            .await;
        }
        Some(_) => {}
    }
    Peeked {
        frames: [first, second],
        inner,
        ended,
    }
}

impl Peeked {
    /// The trailers, if they were among the frames.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        let frames = self.frames.iter().flatten().flatten();
        frames.filter_map(Frame::trailers_ref).next()
    }

    /// What is left of the body.
    pub fn inner(&mut self) -> &mut Body {
        &mut self.inner
    }
}

impl http_body::Body for Peeked {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        for i in 0..2 {
            if let Some(frame) = self.frames[i].take() {
                return Poll::Ready(Some(frame));
            }
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.iter().all(Option::is_none) && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let taken: usize = self
            .frames
            .iter()
            .flatten()
            .flatten()
            .filter_map(Frame::data_ref)
            .map(Bytes::len)
            .sum();
        let rest = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + taken as u64);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + taken as u64);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    fn full(text: &'static str) -> Body {
        Body::full(text)
    }

    #[tokio::test]
    async fn nothing_is_lost_by_looking() {
        for text in ["", "hello"] {
            let body = Body::peeked(peek(full(text)).await);
            assert_eq!(Some(text.len() as u64), body.size_hint().exact());
            assert_eq!(text.is_empty(), body.is_end_stream());
            let all = body.collect().await.expect("no error").to_bytes();
            assert_eq!(text.as_bytes(), &all[..]);
        }
    }

    #[tokio::test]
    async fn trailers_after_one_frame_are_seen_and_still_come() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("14"));
        let sent = trailers.clone();
        let inner = Full::new(Bytes::from_static(b"x"))
            .map_err(|never| match never {})
            .with_trailers(async move { Some(Ok(sent)) });
        let peeked = peek(Body::wrapped(inner)).await;
        assert_eq!(Some(&trailers), peeked.trailers());
        let all = Body::peeked(peeked).collect().await.expect("no error");
        assert_eq!(Some(&trailers), all.trailers());
    }
}

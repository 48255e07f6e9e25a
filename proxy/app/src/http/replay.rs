//! Keeps a request's body while it is sent, so that it can be sent again.
//!
//! Only whole bodies within the limit are sent again; frames are shared, not copied.
//! Source: linkerd2-proxy linkerd/http/retry/src/replay.rs (behaviour).

use super::body::Body;
use super::Broken;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{ready, Context, Poll};

/// Data frames that are kept; smaller pieces than this limit allows are not worth keeping.
const FRAMES_MAX: usize = 1024;

#[derive(Default)]
struct Kept {
    frames: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: usize,
    complete: bool,
    given_up: bool,
}

/// What was kept.
#[derive(Clone)]
pub struct Keep(Arc<Mutex<Kept>>);

struct Keeping {
    inner: Body,
    keep: Keep,
    bytes_max: usize,
}

struct Again {
    frames: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

/// Wraps `body`; what passes is kept up to `bytes_max`.
pub fn keeping(body: Body, bytes_max: usize) -> (Body, Keep) {
    let keep = Keep(Arc::default());
    if body.is_end_stream() {
        keep.lock().complete = true;
        return (body, keep);
    }
    if body.size_hint().lower() > bytes_max as u64 {
        keep.lock().give_up();
        return (body, keep);
    }
    let keeping = Keeping {
        inner: body,
        keep: keep.clone(),
        bytes_max,
    };
    (Body::wrapped(keeping), keep)
}

impl Kept {
    fn give_up(&mut self) {
        self.given_up = true;
        self.frames = VecDeque::new();
    }
}

impl Keep {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same body once more; `None` when it was too long or has not ended.
    pub fn again(&self) -> Option<Body> {
        let kept = self.lock();
        if kept.given_up || !kept.complete {
            return None;
        }
        if kept.frames.is_empty() && kept.trailers.is_none() {
            return Some(Body::empty());
        }
        Some(Body::wrapped(Again {
            frames: kept.frames.clone(),
            trailers: kept.trailers.clone(),
        }))
    }
}

impl http_body::Body for Keeping {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let mut kept = self.keep.lock();
        match &frame {
            None => kept.complete = true,
            Some(Err(_)) => kept.give_up(),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref().filter(|_| !kept.given_up) {
                    kept.bytes = kept.bytes.saturating_add(data.len());
                    if kept.bytes > self.bytes_max || kept.frames.len() >= FRAMES_MAX {
                        kept.give_up();
                    } else if !data.is_empty() {
                        kept.frames.push_back(data.clone());
                    }
                }
                if let Some(trailers) = frame.trailers_ref() {
                    kept.trailers = Some(trailers.clone());
                    kept.complete = true;
                }
                kept.complete |= self.inner.is_end_stream();
            }
        }
        drop(kept);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl http_body::Body for Again {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(data) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = self.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes: usize = self.frames.iter().map(Bytes::len).sum();
        SizeHint::with_exact(bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// A body without a known length.
    fn chunks(parts: &[&'static str]) -> Body {
        struct Parts(VecDeque<Bytes>);
        impl http_body::Body for Parts {
            type Data = Bytes;
            type Error = Broken;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
                Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
            }
        }
        let parts = parts.iter().map(|part| Bytes::from_static(part.as_bytes()));
        Body::wrapped(Parts(parts.collect()))
    }

    async fn text(body: Body) -> String {
        let bytes = body.collect().await.expect("no error").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn whole_bodies_within_the_limit_come_again() {
        for (parts, limit, expected) in [
            (&[][..], 4, Some("")),
            (&["ab", "cd"][..], 4, Some("abcd")),
            (&["ab", "cd", "e"][..], 4, None),
            (&["abcde"][..], 4, None),
        ] {
            let (body, keep) = keeping(chunks(parts), limit);
            assert!(keep.again().is_none(), "nothing has been sent");
            assert_eq!(parts.concat(), text(body).await);
            for _ in 0..2 {
                let again = match keep.again() {
                    Some(body) => Some(text(body).await),
                    None => None,
                };
                assert_eq!(expected.map(str::to_owned), again, "{parts:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_known_to_be_too_long_is_not_kept() {
        let (body, keep) = keeping(Body::full("0123456789"), 4);
        assert_eq!("0123456789", text(body).await);
        assert!(keep.again().is_none());
    }
}

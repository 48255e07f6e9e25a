//! Watches over the time of one exchange.
//!
//! The decision is [`Timeouts::deadline`]; here are the clock, the marks that bodies set, and what
//! happens when time is up.

use super::body::Body;
use super::Broken;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::timeout::{Expired, Progress, Timeouts};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep_until, Instant, Sleep};

/// The marks of one attempt.
pub struct Clock {
    timeouts: Timeouts,
    /// When the first attempt began.
    origin: Instant,
    progress: Mutex<Progress>,
    flushed: Notify,
}

impl Clock {
    /// Starts an attempt of an exchange that began at `origin`.
    pub fn start(timeouts: Timeouts, origin: Instant) -> Arc<Self> {
        let progress = Progress {
            started: Duration::ZERO,
            flushed: None,
            head: None,
            frame: origin.elapsed(),
        };
        Arc::new(Self {
            timeouts,
            origin,
            progress: Mutex::new(progress),
            flushed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the response's head is there.
    pub fn head(&self) {
        let now = self.origin.elapsed();
        let mut progress = self.lock();
        progress.head.get_or_insert(now);
        progress.frame = now;
    }

    fn frame(&self) {
        self.lock().frame = self.origin.elapsed();
    }

    fn flush(&self) {
        let now = self.origin.elapsed();
        let first = self.lock().flushed.replace(now).is_none();
        if first {
            self.flushed.notify_one();
        }
    }

    fn deadline(&self) -> Option<(Instant, Expired)> {
        let (after, what) = self.timeouts.deadline(&self.lock())?;
        // A limit that no clock can hold is none.
        Some((self.origin.checked_add(after)?, what))
    }

    /// Waits until a limit is reached.
    pub async fn expired(&self) -> Expired {
        loop {
            let Some((at, what)) = self.deadline() else {
                self.flushed.notified().await;
                continue;
            };
            if at <= Instant::now() {
                return what;
            }
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.flushed.notified() => {}
            }
        }
    }

    /// The request's body, setting marks.
    pub fn request(self: &Arc<Self>, inner: Body) -> Body {
        if inner.is_end_stream() {
            self.flush();
            return inner;
        }
        Body::wrapped(Sending {
            inner,
            clock: self.clone(),
        })
    }

    /// The response's body, which ends when a limit is reached: with a status for gRPC, else by a
    /// reset.
    pub fn response(self: &Arc<Self>, inner: Body, grpc: bool) -> Body {
        if inner.is_end_stream() || self.deadline().is_none() {
            return inner;
        }
        Body::wrapped(Receiving {
            inner,
            clock: self.clone(),
            sleep: Box::pin(sleep_until(Instant::now())),
            grpc,
            over: false,
        })
    }
}

struct Sending {
    inner: Body,
    clock: Arc<Clock>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Whoever sends stops polling at the last byte of a known length.
        self.clock.flush();
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.clock.frame();
            if frame.is_none() || self.inner.is_end_stream() {
                self.clock.flush();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

struct Receiving {
    inner: Body,
    clock: Arc<Clock>,
    sleep: Pin<Box<Sleep>>,
    grpc: bool,
    over: bool,
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_ready() {
            self.clock.frame();
            return polled;
        }
        while let Some((at, what)) = self.clock.deadline() {
            if at <= Instant::now() {
                self.over = true;
                self.inner
                    .abort("timeout", Failure::from(what).route_label());
                return Poll::Ready(Some(if self.grpc {
                    Ok(Frame::trailers(trailers(what)))
                } else {
                    Err(Broken::timed_out())
                }));
            }
            self.sleep.as_mut().reset(at);
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn trailers(expired: Expired) -> HeaderMap {
    let answer = Failure::from(expired).answer();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(answer.grpc));
    trailers.insert("grpc-message", HeaderValue::from_static(answer.text));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// A body that never says anything.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Broken;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
            Poll::Pending
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_head_begins_when_the_request_is_out() {
        let timeouts = Timeouts {
            headers: Some(SECOND),
            ..Timeouts::default()
        };
        let start = Instant::now();
        let clock = Clock::start(timeouts, start);
        let body = clock.request(Body::wrapped(Silent));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.expired().await }
        });
        tokio::time::sleep(5 * SECOND).await;
        assert!(!waiting.is_finished());
        drop(body);
        assert_eq!(Expired::Headers, waiting.await.expect("no panic"));
        assert_eq!(6, start.elapsed().as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_stalls_is_ended() {
        let timeouts = Timeouts {
            idle: Some(2 * SECOND),
            ..Timeouts::default()
        };
        for grpc in [true, false] {
            let start = Instant::now();
            let clock = Clock::start(timeouts, start);
            clock.head();
            let body = clock.response(Body::wrapped(Silent), grpc);
            let ended = body.collect().await;
            assert_eq!(2, start.elapsed().as_secs());
            match ended {
                Ok(all) => {
                    let trailers = all.trailers().expect("a status");
                    assert!(grpc && trailers["grpc-status"] == "4");
                }
                Err(error) => assert!(!grpc, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn what_has_no_limit_is_not_wrapped() {
        let clock = Clock::start(Timeouts::default(), Instant::now());
        clock.head();
        let body = clock.response(Body::full("x"), false);
        assert_eq!("Body(Full)", format!("{body:?}"));
    }
}

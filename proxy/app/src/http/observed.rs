//! Measures a response body that something else is wrapped around already.

use super::body::Body;
use super::Broken;
use crate::telemetry::exchange::Exchange;
use crate::telemetry::stream::Stream;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::task::{ready, Context, Poll};

/// A body and what is measured of it.
pub struct Observed {
    /// The body.
    pub inner: Body,
    /// For its route.
    pub stream: Option<Stream>,
    /// For its profile's route.
    pub exchange: Option<Exchange>,
}

impl Observed {
    fn end(&mut self) {
        let class = self.exchange.take().and_then(|mut exchange| exchange.end());
        if let Some(mut stream) = self.stream.take() {
            stream.end(class);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if self.inner.is_end_stream() {
            self.end();
        }
    }
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.end(),
            Some(Err(error)) => {
                let label = match error {
                    Broken::Transport(_) => "RESET",
                    Broken::TimedOut(_) => "RESPONSE_STREAM_TIMEOUT",
                };
                if let Some(mut exchange) = self.exchange.take() {
                    exchange.fail("unclassified");
                }
                if let Some(mut stream) = self.stream.take() {
                    stream.fail(label);
                }
            }
            Some(Ok(frame)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.first_frame();
                }
                if let (Some(stream), Some(data)) = (&self.stream, frame.data_ref()) {
                    stream.frame(data.len());
                }
                if let Some(trailers) = frame.trailers_ref() {
                    let status = trailers.get("grpc-status").map(|value| value.as_bytes());
                    if let Some(exchange) = &mut self.exchange {
                        exchange.trailers(status);
                    }
                    let code = status.and_then(linkerd_proxy_core::classify::parse_code);
                    if let (Some(stream), Some(code)) = (&mut self.stream, code) {
                        stream.head(200, Some(code));
                    }
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

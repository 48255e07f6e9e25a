//! What is measured of a response, from its head to its end.

use super::heads::map_of;
use super::worker::{Exchange as Carried, Signal};
use crate::outbound::endpoint::Pending;
use crate::tap::exchange::Tapped;
use crate::telemetry::exchange::Exchange;
use crate::telemetry::spans::Active;
use crate::telemetry::stream::{Handles, Stream};
use http::{HeaderMap, StatusCode};
use linkerd_proxy_core::classify::parse_code;
use linkerd_proxy_core::engine::{Head, Summary};
use std::sync::Arc;

/// Everything that ends with a response. Dropping it counts the response as cut off.
#[derive(Default)]
pub struct Ending {
    /// Measures it for the endpoint or the server.
    pub exchange: Option<Exchange>,
    /// Measures it for the profile's route: of the attempt and of the whole.
    pub profile: [Option<Exchange>; 2],
    /// End with it, for those who trace it.
    pub spans: [Option<Box<Active>>; 2],
    /// Counts it as load of an endpoint.
    pub pending: Option<Pending>,
    /// Shows it to those who watch.
    pub tap: Option<Box<Tapped>>,
    /// Measures it for backend and route, or for a server.
    pub streams: [Option<Stream>; 2],
    /// Counts the request's pieces.
    pub requests: Option<Arc<Handles>>,
}

impl Ending {
    /// Notes the response's head.
    pub fn head(&mut self, head: &Head) {
        let (status, grpc) = (head.status(), head.get(b"grpc-status"));
        for exchange in self.exchanges() {
            exchange.head(status, grpc);
        }
        for span in self.spans.iter_mut().flatten() {
            span.head(status);
        }
        for stream in self.streams.iter_mut().flatten() {
            stream.head(status, || grpc.and_then(parse_code));
        }
        if let Some(tap) = &mut self.tap {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            tap.head(status, &map_of(head));
        }
    }

    fn exchanges(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.exchange
            .iter_mut()
            .chain(self.profile.iter_mut().flatten())
    }

    /// Notes that the body begins, or that there is none.
    pub fn first_frame(&mut self) {
        for exchange in self.exchanges() {
            exchange.first_frame();
        }
        if let Some(pending) = &mut self.pending {
            pending.responded();
        }
    }

    /// Notes the trailers.
    fn trailers(&mut self, head: &Head) -> Option<HeaderMap> {
        let grpc = head.get(b"grpc-status");
        for exchange in self.exchanges() {
            exchange.trailers(grpc);
        }
        if let Some(code) = grpc.and_then(parse_code) {
            for stream in self.streams.iter_mut().flatten() {
                stream.code(code);
            }
        }
        self.tap.as_ref().map(|_| map_of(head))
    }

    /// Counts the response as finished.
    pub fn complete(&mut self, trailers: Option<&HeaderMap>) {
        self.first_frame();
        if let Some(mut tap) = self.tap.take() {
            let grpc = self.exchange.as_ref().and_then(Exchange::grpc_code);
            tap.end(trailers, grpc.map(u32::from));
        }
        for exchange in self.profile.iter_mut().flatten() {
            exchange.end();
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
    }

    /// Counts it as failed, with the values of the `error` labels of both kinds of metrics.
    pub fn fail(&mut self, error: &'static str, label: &'static str) {
        for stream in &mut self.streams {
            if let Some(mut stream) = stream.take() {
                stream.fail(label);
            }
        }
        if let Some(mut tap) = self.tap.take() {
            tap.fail();
        }
        for exchange in self.profile.iter_mut().flatten() {
            exchange.fail("unclassified");
        }
        let class = self
            .exchange
            .take()
            .map(|mut exchange| exchange.fail(error));
        if let Some((mut pending, class)) = self.pending.take().zip(class) {
            pending.ended(class);
        }
    }

    fn over(&mut self, summary: &Summary, trailers: Option<&HeaderMap>) {
        if let Some(requests) = &self.requests {
            requests.request_pieces(&summary.request_frames);
        }
        for stream in self.streams.iter_mut().flatten() {
            stream.sent(summary.request_sent);
            stream.pieces(&summary.response_frames);
        }
        if let Some(tap) = &mut self.tap {
            tap.data(usize::try_from(summary.response_frames.octets).unwrap_or(usize::MAX));
        }
        match summary.failure {
            None => self.complete(trailers),
            // What its parts count when they are dropped is what is known of it.
            Some(_) if summary.by_client => {}
            Some(_) => self.fail("unclassified", "RESET"),
        }
    }

    /// Follows a response that was forwarded to its end.
    pub async fn follow(&mut self, carried: Carried) {
        let mut trailers = None;
        loop {
            let signal = carried.signal().await;
            if self.note(carried, signal, &mut trailers) {
                return;
            }
        }
    }

    /// Notes one signal; true when it was the last. `trailers` holds what watchers shall see.
    pub fn note(
        &mut self,
        carried: Carried,
        signal: Signal,
        trailers: &mut Option<HeaderMap>,
    ) -> bool {
        match signal {
            Signal::Body => self.first_frame(),
            Signal::Trailers => {
                *trailers = carried.trailers(|head| self.trailers(head)).flatten();
            }
            Signal::Finished => {
                if let Some(summary) = carried.summary() {
                    self.over(&summary, trailers.as_ref());
                }
                return true;
            }
            Signal::Response | Signal::Failed(_) => {}
        }
        false
    }
}

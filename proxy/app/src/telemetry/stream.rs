//! The newer families: durations, frame sizes and statuses per route, backend and server.
//!
//! Handles are resolved once per route or connection; an exchange adds to atomics at its end.
//! Source: linkerd2-proxy linkerd/http/prom (names, labels, buckets).

use super::registry::{Counter, Family, Histogram, Registry};
use crate::clock;
use linkerd_proxy_core::classify::{code_name, Class};
use linkerd_proxy_core::engine::Frames;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::octets::same;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Bounds of durations, in microseconds.
const ROUTE_US: &[u64] = &[50_000, 500_000, 1_000_000, 10_000_000];
const BACKEND_US: &[u64] = &[
    25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 10_000_000,
];
/// Bounds of frames, in bytes.
const FRAME_BYTES: &[u64] = &[
    Frames::BOUNDS[0] as u64,
    Frames::BOUNDS[1] as u64,
    Frames::BOUNDS[2] as u64,
];
/// Statuses are chosen by peers, so at most this many are kept at hand.
const HANDLES_MAX: usize = 64;

/// Families of one kind of stream; what it does not have is `None`.
pub struct Families {
    requests: Option<Arc<Family<Counter>>>,
    /// From the request's head to the response's end.
    duration: Option<Arc<Family<Histogram>>>,
    /// From the request's head to the response's end, where both are told apart.
    response_duration: Option<Arc<Family<Histogram>>>,
    request_frames: Option<Arc<Family<Histogram>>>,
    response_frames: Option<Arc<Family<Histogram>>>,
    statuses: Arc<Family<Counter>>,
    grpc: bool,
}

/// The two kinds of the same families.
pub struct Both {
    /// Of HTTP routes.
    pub http: Families,
    /// Of gRPC routes.
    pub grpc: Families,
}

impl Both {
    /// The families for a route.
    pub fn of(&self, grpc: bool) -> &Families {
        if grpc {
            &self.grpc
        } else {
            &self.http
        }
    }

    /// Declares those of outbound routes.
    pub fn routes(r: &mut Registry) -> Self {
        let mut make = |kind: &str, grpc| Families {
            requests: None,
            duration: Some(r.seconds(
                &format!("outbound_{kind}_route_request_duration_seconds"),
                "The time between request initialization and response completion",
                ROUTE_US,
            )),
            response_duration: None,
            request_frames: Some(r.bytes(
                &format!("outbound_{kind}_route_request_frame_size_bytes"),
                "Request data frame sizes",
                FRAME_BYTES,
            )),
            response_frames: None,
            statuses: r.counter(
                &format!("outbound_{kind}_route_request_statuses_total"),
                "Completed request-response streams",
            ),
            grpc,
        };
        Self {
            http: make("http", false),
            grpc: make("grpc", true),
        }
    }

    /// Declares those of backends of outbound routes.
    pub fn backends(r: &mut Registry) -> Self {
        let mut make = |kind: &str, grpc| Families {
            requests: Some(r.counter(
                &format!("outbound_{kind}_route_backend_requests_total"),
                "The total number of requests dispatched",
            )),
            duration: None,
            response_duration: Some(r.seconds(
                &format!("outbound_{kind}_route_backend_response_duration_seconds"),
                "The time between request completion and response completion",
                BACKEND_US,
            )),
            request_frames: None,
            response_frames: Some(r.bytes(
                &format!("outbound_{kind}_route_backend_response_frame_size_bytes"),
                "Response data frame sizes",
                FRAME_BYTES,
            )),
            statuses: r.counter(
                &format!("outbound_{kind}_route_backend_response_statuses_total"),
                "Completed responses",
            ),
            grpc,
        };
        Self {
            http: make("http", false),
            grpc: make("grpc", true),
        }
    }

    /// Declares those of inbound servers.
    pub fn servers(r: &mut Registry) -> Self {
        let mut make = |kind: &str, grpc| Families {
            requests: Some(r.counter(
                &format!("inbound_{kind}_requests_total"),
                "The total number of requests dispatched",
            )),
            duration: Some(r.seconds(
                &format!("inbound_{kind}_request_duration_seconds"),
                "The time between request initialization and response completion",
                BACKEND_US,
            )),
            response_duration: Some(r.seconds(
                &format!("inbound_{kind}_response_duration_seconds"),
                "The time between request completion and response completion",
                ROUTE_US,
            )),
            request_frames: Some(r.bytes(
                &format!("inbound_{kind}_request_frame_size_bytes"),
                "Request data frame sizes",
                FRAME_BYTES,
            )),
            response_frames: Some(r.bytes(
                &format!("inbound_{kind}_response_frame_size_bytes"),
                "Response data frame sizes",
                FRAME_BYTES,
            )),
            statuses: r.counter(
                &format!("inbound_{kind}_statuses_total"),
                "Completed request-response streams",
            ),
            grpc,
        };
        Self {
            http: make("http", false),
            grpc: make("grpc", true),
        }
    }
}

/// Handles for streams with the same labels.
pub struct Handles {
    requests: Option<Arc<Counter>>,
    duration: Option<Arc<Histogram>>,
    response_duration: Option<Arc<Histogram>>,
    /// Sizes of the request's frames.
    pub request_frames: Option<Arc<Histogram>>,
    response_frames: Option<Arc<Histogram>>,
    labels: Labels,
    statuses: Arc<Family<Counter>>,
    counters: Mutex<Vec<(Outcome, Arc<Counter>)>>,
    grpc: bool,
}

/// Status or code, if any, and error.
type Outcome = (Option<u16>, &'static str);

impl Handles {
    /// Resolves the handles for `labels`.
    pub fn new(families: &Families, labels: Labels) -> Arc<Self> {
        let histogram = |family: &Option<Arc<Family<Histogram>>>| {
            family.as_ref().map(|family| family.get(&labels))
        };
        Arc::new(Self {
            requests: families.requests.as_ref().map(|family| family.get(&labels)),
            duration: histogram(&families.duration),
            response_duration: histogram(&families.response_duration),
            request_frames: histogram(&families.request_frames),
            response_frames: histogram(&families.response_frames),
            statuses: families.statuses.clone(),
            counters: Mutex::default(),
            grpc: families.grpc,
            labels,
        })
    }

    /// Counts the pieces in which a request's body came.
    pub fn request_pieces(&self, pieces: &Frames) {
        if let Some(frames) = &self.request_frames {
            frames.merge(&pieces.counts, pieces.octets);
        }
    }

    fn count(&self, (status, error): Outcome) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counters
            .iter()
            .find(|((known, kind), _)| *known == status && same(kind.as_bytes(), error.as_bytes()));
        if let Some((_, counter)) = known {
            counter.add(1);
            return;
        }
        let labels = self.labels.clone();
        let labels = match (self.grpc, status) {
            (true, code) => labels.with("grpc_status", code.map_or("UNKNOWN", code_name)),
            (false, None) => labels.with("http_status", ""),
            (false, Some(status)) => labels.with_display("http_status", status),
        };
        let counter = self.statuses.get(&labels.with("error", error));
        counter.add(1);
        if counters.len() < HANDLES_MAX {
            counters.push(((status, error), counter));
        }
    }
}

/// One stream that is being measured; dropping it before its end counts it as cancelled.
pub struct Stream {
    handles: Option<Arc<Handles>>,
    started: Instant,
    /// When the request was complete.
    sent: Option<Instant>,
    status: Option<u16>,
}

impl Stream {
    /// Counts the request.
    pub fn begin(handles: &Arc<Handles>) -> Self {
        if let Some(requests) = &handles.requests {
            requests.add(1);
        }
        Self {
            handles: Some(handles.clone()),
            started: clock::now(),
            sent: None,
            status: None,
        }
    }

    /// Notes the response's status, and asks for that of gRPC if that is what counts.
    pub fn head(&mut self, status: u16, grpc: impl FnOnce() -> Option<u16>) {
        if let Some(handles) = &self.handles {
            self.status = if handles.grpc { grpc() } else { Some(status) };
        }
    }

    /// Notes the gRPC status of the trailers.
    pub fn code(&mut self, code: u16) {
        if self.handles.as_ref().is_some_and(|handles| handles.grpc) {
            self.status = Some(code);
        }
    }

    /// Notes when the request was complete, from which on the response's time counts.
    pub fn sent(&mut self, at: Option<Instant>) {
        self.sent = at;
    }

    /// Notes the pieces in which the response's body came.
    pub fn pieces(&self, pieces: &Frames) {
        let frames = self
            .handles
            .as_ref()
            .and_then(|h| h.response_frames.as_ref());
        if let Some(frames) = frames {
            frames.merge(&pieces.counts, pieces.octets);
        }
    }

    /// Counts it as ended.
    pub fn end(&mut self, class: Option<Class>) {
        let known = class.filter(|_| self.handles.as_ref().is_some_and(|h| h.grpc));
        if let Some(code) = known.and_then(|class| class.grpc) {
            self.status = Some(code);
        }
        self.over("");
    }

    /// Counts it as failed.
    pub fn fail(&mut self, error: &'static str) {
        self.over(error);
    }

    fn over(&mut self, error: &'static str) {
        let Some(handles) = self.handles.take() else {
            return;
        };
        let now = clock::now();
        let record = |histogram: &Option<Arc<Histogram>>, since: Instant| {
            if let Some(histogram) = histogram {
                let us = now.saturating_duration_since(since).as_micros();
                histogram.record(u64::try_from(us).unwrap_or(u64::MAX));
            }
        };
        record(&handles.duration, self.started);
        record(
            &handles.response_duration,
            self.sent.unwrap_or(self.started),
        );
        handles.count((self.status, error));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over("CANCEL");
    }
}

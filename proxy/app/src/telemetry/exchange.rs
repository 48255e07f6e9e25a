//! One request and its response, from the request's headers to the end of the response.

use super::registry::{Counter, Family, Histogram};
use super::Metrics;
use crate::clock;
use linkerd_proxy_core::classify::{classify, Class};
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::octets::same;
use linkerd_proxy_core::profile::ResponseMatch;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Handles for exchanges with the same labels.
pub struct HttpMetrics {
    labels: Labels,
    requests: Arc<Counter>,
    responses: Arc<Family<Counter>>,
    latencies: Option<Arc<Family<Histogram>>>,
    classes: Mutex<Vec<(Outcome, Arc<Counter>)>>,
    statuses: Mutex<Vec<(u16, Arc<Histogram>)>>,
    /// Which responses are failures, before anything else decides; the first that matches counts.
    judges: Vec<(ResponseMatch, bool)>,
}

/// How an exchange ended, and the transport's error if that is why.
type Outcome = (Class, &'static str);

/// A peer chooses statuses, so at most this many are kept at hand per endpoint.
const HANDLES_MAX: usize = 64;

impl HttpMetrics {
    /// Resolves the handles for `labels`.
    pub fn new(metrics: &Metrics, labels: Labels) -> Self {
        let latency = Some(&metrics.latency);
        Self::of(labels, &metrics.requests, &metrics.responses, latency)
    }

    /// Resolves handles of the given families.
    pub fn of(
        labels: Labels,
        requests: &Family<Counter>,
        responses: &Arc<Family<Counter>>,
        latencies: Option<&Arc<Family<Histogram>>>,
    ) -> Self {
        Self {
            requests: requests.get(&labels),
            responses: responses.clone(),
            latencies: latencies.cloned(),
            classes: Mutex::default(),
            statuses: Mutex::default(),
            judges: Vec::new(),
            labels,
        }
    }

    /// Lets a service profile's classes decide what is a failure.
    pub fn judged(mut self, judges: &[(ResponseMatch, bool)]) -> Self {
        self.judges = judges.to_vec();
        self
    }

    fn class(&self, grpc: bool, status: u16, grpc_status: Option<&[u8]>) -> Class {
        let class = classify(status, grpc, grpc_status);
        match self.judges.iter().find(|(judge, _)| judge.holds(status)) {
            Some((_, failed)) => Class {
                success: !failed,
                ..class
            },
            None => class,
        }
    }

    fn respond(&self, class: Class, error: &'static str) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = classes
            .iter()
            .find(|((known, kind), _)| *known == class && same(kind.as_bytes(), error.as_bytes()));
        if let Some((_, counter)) = known {
            counter.add(1);
            return;
        }
        let grpc = class.grpc.map(|code| code.to_string()).unwrap_or_default();
        let status = if class.status == 0 {
            String::new()
        } else {
            class.status.to_string()
        };
        let labels = self
            .labels
            .clone()
            .with("status_code", &status)
            .with(
                "classification",
                if class.success { "success" } else { "failure" },
            )
            .with("grpc_status", &grpc)
            .with("error", error);
        let counter = self.responses.get(&labels);
        counter.add(1);
        if classes.len() < HANDLES_MAX {
            classes.push(((class, error), counter));
        }
    }

    fn latency(&self, status: u16, ms: u64) {
        let Some(latencies) = &self.latencies else {
            return;
        };
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, histogram)) = statuses.iter().find(|(known, _)| *known == status) {
            histogram.record(ms);
            return;
        }
        let histogram = latencies.get(&self.labels.clone().with_display("status_code", status));
        histogram.record(ms);
        if statuses.len() < HANDLES_MAX {
            statuses.push((status, histogram));
        }
    }
}

/// An exchange that is being measured.
pub struct Exchange {
    metrics: Arc<HttpMetrics>,
    started: Instant,
    grpc: bool,
    status: u16,
    grpc_status: Option<Box<[u8]>>,
    timed: bool,
    finished: bool,
}

impl Exchange {
    /// Counts the request.
    pub fn begin(metrics: Arc<HttpMetrics>, grpc: bool) -> Self {
        metrics.requests.add(1);
        Self {
            metrics,
            started: clock::now(),
            grpc,
            status: 0,
            grpc_status: None,
            timed: false,
            finished: false,
        }
    }

    /// Notes the response head.
    pub fn head(&mut self, status: u16, grpc_status: Option<&[u8]>) {
        self.status = status;
        self.grpc_status = grpc_status.map(Into::into);
    }

    /// Notes that the first body frame, or the end, is there. Later calls change nothing.
    pub fn first_frame(&mut self) {
        if !self.timed && self.status != 0 {
            self.timed = true;
            let ms = u64::try_from(clock::now().duration_since(self.started).as_millis())
                .unwrap_or(u64::MAX);
            self.metrics.latency(self.status, ms);
        }
    }

    /// Notes the trailers.
    pub fn trailers(&mut self, grpc_status: Option<&[u8]>) {
        if grpc_status.is_some() {
            self.grpc_status = grpc_status.map(Into::into);
        }
    }

    /// The gRPC code so far, of a gRPC exchange.
    pub fn grpc_code(&self) -> Option<u16> {
        self.grpc_status.as_ref()?;
        classify(self.status, self.grpc, self.grpc_status.as_deref()).grpc
    }

    /// Counts the response as finished; later calls give `None`.
    pub fn end(&mut self) -> Option<Class> {
        if std::mem::replace(&mut self.finished, true) {
            return None;
        }
        self.first_frame();
        let status = self.grpc_status.as_deref();
        let class = self.metrics.class(self.grpc, self.status, status);
        self.metrics.respond(class, "");
        Some(class)
    }

    /// Counts the response as failed by the transport.
    pub fn fail(&mut self, error: &'static str) -> Class {
        let class = Class {
            success: false,
            grpc: None,
            ..classify(self.status, self.grpc, None)
        };
        if !std::mem::replace(&mut self.finished, true) {
            self.first_frame();
            self.metrics.respond(class, error);
        }
        class
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The peer went away before the end: what the head said counts, as in Linkerd.
        if self.status != 0 {
            self.end();
        }
    }
}

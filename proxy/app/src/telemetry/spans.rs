//! Spans of traced requests, sent to a collector.
//!
//! The proxy never starts a trace: it adds spans to those that requests carry, and hands them on.
//! Source: linkerd2-proxy linkerd/opentelemetry, linkerd/trace-context (behaviour, names).

use super::registry::{Counter, Registry};
use crate::control::client::Client;
use crate::http::heads::{Changes, Routed};
use http::uri::Authority;
use linkerd_proxy_api::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Resource, ResourceSpans,
    ScopeSpans, Span, SpanKind, Status,
};
use linkerd_proxy_core::engine::Head;
use linkerd_proxy_core::filter::Headers as _;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::route::Request as _;
use linkerd_proxy_core::trace::Context;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tracing::debug;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Spans that wait to be sent; more are dropped and counted.
const QUEUE_MAX: usize = 2048;
/// Spans of one message.
const BATCH_MAX: usize = 1000;
/// Longest wait for a full message.
const BATCH_TIME: Duration = Duration::from_secs(2);
/// Longest wait for the collector.
const EXPORT_TIME: Duration = Duration::from_secs(10);

/// Which side of the exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request came in.
    Server,
    /// A request goes out.
    Client,
}

/// Families of the export.
pub struct SpanFamilies {
    streams: Arc<Counter>,
    requests: Arc<Counter>,
    spans: Arc<Counter>,
    dropped: Arc<Counter>,
}

impl SpanFamilies {
    /// Declares them.
    pub fn new(r: &mut Registry) -> Self {
        let mut make = |name: &str, help| r.counter(name, help).get(&Labels::new());
        Self {
            streams: make(
                "opentelemetry_span_export_streams",
                "Total count of opened span export streams",
            ),
            requests: make(
                "opentelemetry_span_export_requests",
                "Total count of trace export requests sent to the collector",
            ),
            spans: make(
                "opentelemetry_span_exports",
                "Total count of trace spans exported",
            ),
            dropped: make(
                "l5dx_opentelemetry_spans_dropped_total",
                "Spans that were not exported because the collector was too slow or failed",
            ),
        }
    }
}

/// Where spans go, if anywhere.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Queue>>);

struct Queue {
    spans: mpsc::Sender<Span>,
    dropped: Arc<Counter>,
}

impl Tracer {
    /// Sends spans of this `resource` through `client`.
    pub fn start(client: Arc<Client>, resource: Vec<KeyValue>, families: &SpanFamilies) -> Self {
        let (spans, queue) = mpsc::channel(QUEUE_MAX);
        let dropped = families.dropped.clone();
        families.streams.add(1);
        tokio::spawn(export(
            client,
            resource,
            queue,
            (
                families.requests.clone(),
                families.spans.clone(),
                dropped.clone(),
            ),
        ));
        Self(Some(Arc::new(Queue { spans, dropped })))
    }

    /// Begins a span for a request that carries a context; [`Active::hand_on`] makes it the context's
    /// newest.
    ///
    /// A context that is not sampled is handed on as it is. `known` is what was changed in the head
    /// before.
    pub fn begin(
        &self,
        side: Side,
        direction: &str,
        head: &Head,
        known: &Changes,
    ) -> Option<Box<Active>> {
        let queue = self.0.as_ref()?;
        let value = |name: &str| known.value(name).or_else(|| head.get(name.as_bytes()));
        let context = Context::read(value)?;
        if !context.sampled {
            return None;
        }
        let id = crate::random::with(|rng| rng.bits()).to_be_bytes();
        let routed = Routed(head);
        let mut attributes = vec![
            KeyValue::text("direction", direction),
            KeyValue::text("http.request.method", routed.method()),
            KeyValue::text("url.path", routed.path()),
        ];
        if let Ok(authority) = Authority::try_from(head.authority()) {
            attributes.push(KeyValue::text("server.address", authority.host()));
            let port = authority.port_u16().map(i64::from);
            attributes.extend(port.map(|port| KeyValue::number("server.port", port)));
        }
        if let Some(query) = routed.query() {
            attributes.push(KeyValue::text("url.query", query));
        }
        if let Some(agent) = head.get(b"user-agent") {
            let agent = String::from_utf8_lossy(agent);
            attributes.push(KeyValue::text("user_agent.original", agent));
        }
        Some(Box::new(Active {
            handed_on: context.handed_on(id),
            span: Span {
                trace_id: context.trace.to_vec(),
                span_id: id.to_vec(),
                parent_span_id: context.span.to_vec(),
                name: routed.path().to_owned(),
                kind: match side {
                    Side::Server => SpanKind::Server as i32,
                    Side::Client => SpanKind::Client as i32,
                },
                start_time_unix_nano: now_ns(),
                attributes,
                ..Span::default()
            },
            queue: queue.clone(),
        }))
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// A span that ends when it is dropped.
pub struct Active {
    span: Span,
    handed_on: Vec<(&'static str, String)>,
    queue: Arc<Queue>,
}

impl Active {
    /// Makes it the newest of the request's context.
    pub fn hand_on(&self, changes: &mut Changes) {
        for (name, value) in &self.handed_on {
            changes.set(name, value.as_bytes());
        }
    }

    /// Notes the response's status.
    pub fn head(&mut self, status: u16) {
        let status_code = KeyValue::number("http.response.status_code", i64::from(status));
        self.span.attributes.push(status_code);
        if status >= 500 {
            self.span.status = Some(Status { code: 2 });
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut span = std::mem::take(&mut self.span);
        span.end_time_unix_nano = now_ns();
        if self.queue.spans.try_send(span).is_err() {
            self.queue.dropped.add(1);
        }
    }
}

/// Sends batches for ever; a batch that fails is lost, since spans are no reason to grow.
async fn export(
    client: Arc<Client>,
    resource: Vec<KeyValue>,
    mut queue: mpsc::Receiver<Span>,
    (requests, exported, dropped): (Arc<Counter>, Arc<Counter>, Arc<Counter>),
) {
    while let Some(first) = queue.recv().await {
        let mut spans = vec![first];
        let fill = async {
            while spans.len() < BATCH_MAX {
                match queue.recv().await {
                    Some(span) => spans.push(span),
                    None => return,
                }
            }
        };
        // What is there when the time is up has to do.
        let _ = tokio::time::timeout(BATCH_TIME, fill).await;
        let count = spans.len() as u64;
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: resource.clone(),
                }),
                scope_spans: vec![ScopeSpans { spans }],
            }],
        };
        requests.add(1);
        let sent = client.unary::<_, ExportTraceServiceResponse>(EXPORT, &request);
        match tokio::time::timeout(EXPORT_TIME, sent).await {
            Ok(Ok(ExportTraceServiceResponse {})) => exported.add(count),
            Ok(Err(status)) => {
                debug!(%status, "spans were not exported");
                dropped.add(count);
            }
            Err(_) => dropped.add(count),
        }
    }
}

//! Spans on their way to a collector: as much of OTLP as the proxy says.
//!
//! Source: open-telemetry/opentelemetry-proto opentelemetry/proto/trace/v1 (names and numbers).

use prost::Message;

/// A batch of spans.
#[derive(Clone, PartialEq, Message)]
pub struct ExportTraceServiceRequest {
    /// By who made them.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// The answer, of which nothing is read.
#[derive(Clone, PartialEq, Message)]
pub struct ExportTraceServiceResponse {}

/// Spans of one resource.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    /// Who made them.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By instrumentation.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// Who makes spans.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// What is known of it.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Spans of one instrumentation.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    /// They.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

/// A name and a value.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// It.
    #[prost(oneof = "Value", tags = "1, 3")]
    pub value: Option<Value>,
}

/// Kinds of values.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// A number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

impl KeyValue {
    /// A text under a name.
    pub fn text(key: &str, value: impl Into<String>) -> Self {
        Self::of(key, Value::Text(value.into()))
    }

    /// A number under a name.
    pub fn number(key: &str, value: i64) -> Self {
        Self::of(key, Value::Number(value))
    }

    fn of(key: &str, value: Value) -> Self {
        let value = Some(AnyValue { value: Some(value) });
        let key = key.to_owned();
        Self { key, value }
    }
}

/// Who a span belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SpanKind {
    /// Nobody said.
    Unspecified = 0,
    /// Answers a request.
    Server = 2,
    /// Makes one.
    Client = 3,
}

/// One exchange, seen from one side.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// What happens.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Which side.
    #[prost(enumeration = "SpanKind", tag = "6")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// How it ended.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// How a span ended.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// 0 is unset, 2 is an error.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_collectors_bytes() {
        let span = Span {
            trace_id: vec![1; 2],
            kind: SpanKind::Server as i32,
            start_time_unix_nano: 1,
            attributes: vec![KeyValue::number("a", 5)],
            ..Span::default()
        };
        let expected = [
            0x0a, 2, 1, 1, 0x30, 2, 0x39, 1, 0, 0, 0, 0, 0, 0, 0, 0x4a, 7, 0x0a, 1, b'a', 0x12, 2,
            0x18, 5,
        ];
        assert_eq!(expected[..], span.encode_to_vec());
    }
}

//! gRPC's framing and statuses.
//!
//! Source: grpc/grpc doc/PROTOCOL-HTTP2.md.

use super::replica::Call;
use crate::http::body::Body;
use crate::telemetry::exchange::Exchange;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use std::fmt;
use std::marker::PhantomData;

/// No control plane message is larger.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// gRPC status codes that decide something here.
pub mod code {
    /// The caller did something that makes no sense.
    pub const INVALID_ARGUMENT: u16 = 3;
    /// It took too long.
    pub const DEADLINE_EXCEEDED: u16 = 4;
    /// There is no such thing.
    pub const NOT_FOUND: u16 = 5;
    /// Not now, not ever in this state.
    pub const FAILED_PRECONDITION: u16 = 9;
    /// The caller is not allowed to.
    pub const PERMISSION_DENIED: u16 = 7;
    /// The server does not know the method.
    pub const UNIMPLEMENTED: u16 = 12;
    /// A message was malformed.
    pub const INTERNAL: u16 = 13;
    /// The server cannot be reached.
    pub const UNAVAILABLE: u16 = 14;
    /// No status came.
    pub const UNKNOWN: u16 = 2;
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// gRPC code.
    pub code: u16,
    /// What the server or the transport said.
    pub message: String,
}

impl Status {
    /// Makes a status.
    pub fn new(code: u16, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        matches!(
            self.code,
            code::INVALID_ARGUMENT | code::FAILED_PRECONDITION
        )
    }

    /// The status in headers or trailers, if there is one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let code = headers
            .get("grpc-status")?
            .to_str()
            .ok()?
            .parse()
            .unwrap_or(code::UNKNOWN);
        let message = headers
            .get("grpc-message")
            .map(|value| percent_decode(value.as_bytes()));
        Some(Self {
            code,
            message: message.unwrap_or_default(),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grpc status {}: {}", self.code, self.message)
    }
}

fn percent_decode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes
            .get(i + 1..i + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                out.push(byte);
                i += 3;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One message with its prefix.
pub fn encode(message: &impl Message) -> Bytes {
    let n = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + n);
    out.put_u8(0);
    out.put_u32(n as u32);
    // A BytesMut grows, so encoding cannot run out of room.
    let _ = message.encode(&mut out);
    out.freeze()
}

/// A call of one message, as [`encode`] makes it.
///
/// # Errors
/// When `authority` and `path` make no URI.
pub fn request(
    authority: impl fmt::Display,
    path: &str,
    message: Bytes,
) -> Result<Request<Body>, Status> {
    Request::post(format!("http://{authority}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::full(message))
        .map_err(|error| Status::new(code::INTERNAL, error))
}

/// Takes the next whole message out of `buf`.
///
/// # Errors
/// When the message is compressed, too long or malformed.
pub fn decode<M: Message + Default>(buf: &mut BytesMut) -> Result<Option<M>, Status> {
    let Some(head) = buf.get(..5) else {
        return Ok(None);
    };
    if head[0] != 0 {
        return Err(Status::new(
            code::INTERNAL,
            "compressed messages are not supported",
        ));
    }
    let n = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if n > MESSAGE_BYTES_MAX {
        return Err(Status::new(
            code::INTERNAL,
            format!("message of {n} bytes is too long"),
        ));
    }
    if buf.len() < 5 + n {
        return Ok(None);
    }
    buf.advance(5);
    let message = buf.split_to(n).freeze();
    M::decode(message)
        .map(Some)
        .map_err(|error| Status::new(code::INTERNAL, error))
}

/// Messages of a response, one at a time.
pub struct Streaming<M> {
    body: Incoming,
    exchange: Exchange,
    _call: Option<Call>,
    buf: BytesMut,
    kind: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Streaming<M> {
    /// Reads messages from `response`; `exchange` sees its end, and `call` counts until then.
    ///
    /// # Errors
    /// The server's status, if it came at once.
    pub fn open(
        response: Response<Incoming>,
        mut exchange: Exchange,
        call: Option<Call>,
    ) -> Result<Self, Status> {
        let code = response.headers().get("grpc-status");
        exchange.head(response.status().as_u16(), code.map(|code| code.as_bytes()));
        if let Some(status) = Status::from_headers(response.headers()) {
            if status.code != 0 {
                return Err(status);
            }
        }
        let code = match response.status() {
            StatusCode::OK => {
                return Ok(Self {
                    body: response.into_body(),
                    exchange,
                    _call: call,
                    buf: BytesMut::new(),
                    kind: PhantomData,
                })
            }
            StatusCode::NOT_FOUND => code::UNIMPLEMENTED,
            StatusCode::FORBIDDEN => code::PERMISSION_DENIED,
            _ => code::UNAVAILABLE,
        };
        let reason = format!("http status {}", response.status());
        Err(Status::new(code, reason))
    }

    /// The next message; `None` when the server ended the stream cleanly.
    ///
    /// # Errors
    /// The server's status, or the transport's failure as UNAVAILABLE.
    pub async fn next(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = decode(&mut self.buf)? {
                return Ok(Some(message));
            }
            let frame = match self.body.frame().await {
                None => return Err(Status::new(code::UNKNOWN, "stream ended without a status")),
                Some(Err(error)) => {
                    self.exchange.fail("unclassified");
                    return Err(Status::new(code::UNAVAILABLE, error));
                }
                Some(Ok(frame)) => frame,
            };
            self.exchange.first_frame();
            match frame.into_data() {
                Ok(data) => self.buf.extend_from_slice(&data),
                Err(frame) => {
                    let Ok(trailers) = frame.into_trailers() else {
                        continue;
                    };
                    let status = trailers.get("grpc-status");
                    self.exchange
                        .trailers(status.map(|status| status.as_bytes()));
                    self.exchange.end();
                    return match Status::from_headers(&trailers) {
                        Some(Status { code: 0, .. }) => Ok(None),
                        Some(status) => Err(status),
                        None => Err(Status::new(code::UNKNOWN, "trailers have no grpc-status")),
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_proxy_api::inbound::PortSpec;

    #[test]
    fn messages_come_out_whole_at_any_split() {
        let message = PortSpec {
            workload: "ns:pod".into(),
            port: 8080,
        };
        let bytes = [encode(&message), encode(&message)].concat();
        for cut in 0..bytes.len() {
            let mut buf = BytesMut::from(&bytes[..cut]);
            let mut got = Vec::new();
            while let Some(one) = decode::<PortSpec>(&mut buf).expect("valid") {
                got.push(one);
            }
            buf.extend_from_slice(&bytes[cut..]);
            while let Some(one) = decode::<PortSpec>(&mut buf).expect("valid") {
                got.push(one);
            }
            assert_eq!(vec![message.clone(), message.clone()], got);
        }
    }

    #[test]
    fn messages_are_percent_decoded() {
        assert_eq!("a b%", percent_decode(b"a%20b%"));
    }
}

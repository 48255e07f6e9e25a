//! Answers that the proxy gives itself.

use super::body::Body;
use super::headers::{PROXY_CONNECTION, PROXY_ERROR};
use super::worker::Exchange;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::filter::Injected;

/// Sends an answer of ours; `close` ends the client's connection after it.
pub fn send(exchange: Exchange, response: &Response<Body>, close: bool) {
    let headers = response.headers();
    let fields: Vec<(&[u8], &[u8])> = headers
        .iter()
        .filter(|(name, _)| !matches!(**name, CONTENT_LENGTH | CONNECTION))
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .collect();
    exchange.respond(response.status().as_u16(), &fields, b"", close);
}

/// What the client understands, noted before its request is taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether it waits for a gRPC status.
    pub grpc: bool,
    /// Whether the connection itself is HTTP/1.
    pub http1: bool,
    /// Whether it may learn why.
    pub emit: bool,
}

/// An answer that a filter gives in place of the application.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A failure.
    Injected(Injected, String),
    /// A redirect.
    Redirect {
        /// Status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The redirect makes no sense.
    Invalid,
}

impl Reply {
    /// The HTTP status that it counts as.
    pub fn status(&self) -> u16 {
        match self {
            Self::Injected(Injected::Http(status), _) | Self::Redirect { status, .. } => *status,
            Self::Injected(Injected::Grpc(_), _) => 200,
            Self::Invalid => 500,
        }
    }
}

/// Builds the response for a failure.
pub fn respond(failure: Failure, manner: Manner) -> Response<Body> {
    let answer = failure.answer();
    let mut response = Response::new(Body::empty());
    let text = HeaderValue::from_static(answer.text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if manner.emit {
        headers.insert(PROXY_ERROR, text.clone());
        if answer.close {
            headers.insert(PROXY_CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if manner.grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(answer.grpc));
        if manner.emit {
            headers.insert("grpc-message", text);
        }
        return response;
    }
    if manner.http1 && answer.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// gRPC's FAILED_PRECONDITION, for failures that a route injects as HTTP.
const GRPC_FAILED_PRECONDITION: u16 = 9;
/// gRPC's NOT_FOUND, for redirects.
const GRPC_NOT_FOUND: u16 = 5;

/// Builds the response that a filter gives.
pub fn reply(reply: &Reply, manner: Manner) -> Response<Body> {
    let (status, code, text, location) = match reply {
        Reply::Invalid => return respond(Failure::Unexpected, manner),
        Reply::Injected(Injected::Http(status), text) => {
            (*status, GRPC_FAILED_PRECONDITION, text.as_str(), None)
        }
        Reply::Injected(Injected::Grpc(code), text) => (200, *code, text.as_str(), None),
        Reply::Redirect { status, location } => {
            (*status, GRPC_NOT_FOUND, "redirected", Some(location))
        }
    };
    let mut response = Response::new(Body::empty());
    let grpc = manner.grpc || matches!(reply, Reply::Injected(Injected::Grpc(_), _));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(Ok(location)) = location.map(|location| HeaderValue::from_str(location)) {
        headers.insert(LOCATION, location);
    }
    let text = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("failure injected"));
    if manner.emit {
        headers.insert(PROXY_ERROR, text.clone());
    }
    if grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(code));
        if manner.emit {
            headers.insert("grpc-message", text);
        }
        return response;
    }
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_clients_get_a_status_in_the_head() {
        let response = respond(
            Failure::Unauthorized,
            Manner {
                grpc: true,
                http1: false,
                emit: true,
            },
        );
        assert_eq!(StatusCode::OK, response.status());
        assert_eq!("7", response.headers()["grpc-status"]);
        assert_eq!(
            "unauthorized request on route",
            response.headers()["grpc-message"]
        );
    }

    #[test]
    fn strangers_learn_no_reason() {
        let response = respond(
            Failure::Unauthorized,
            Manner {
                grpc: false,
                http1: true,
                emit: false,
            },
        );
        assert_eq!(StatusCode::FORBIDDEN, response.status());
        assert_eq!(1, response.headers().len());
    }

    #[test]
    fn fatal_failures_close_http1() {
        let response = respond(
            Failure::FailFast,
            Manner {
                grpc: false,
                http1: true,
                emit: true,
            },
        );
        assert_eq!("close", response.headers()["connection"]);
        assert_eq!("close", response.headers()["l5d-proxy-connection"]);
        assert_eq!(
            "service in fail-fast",
            response.headers()["l5d-proxy-error"]
        );
    }
}

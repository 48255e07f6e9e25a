//! Every way an exchange can fail inside the proxy, and what the peer is told: one table.
//!
//! Source: linkerd2-proxy linkerd/app/core/src/errors/respond.rs and the rescue layers of
//! linkerd/app/{inbound,outbound} (statuses, closing, texts that users search for).

use crate::timeout::Expired;

/// Why the proxy answers instead of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No route of the policy matches.
    NoRoute,
    /// The policy admits no such client.
    Unauthorized,
    /// The policy could not be understood.
    InvalidPolicy,
    /// The backend has had no usable endpoint for the fail-fast time.
    FailFast,
    /// A queue or a limit is full.
    LoadShed,
    /// The upstream connection could not be made in time.
    ConnectTimeout,
    /// The upstream connection could not be made.
    Connect,
    /// The upstream connection broke.
    Io,
    /// The upstream stream of an exchange carried over HTTP/2 broke.
    Downgraded,
    /// The route has no usable backend.
    NoBackend,
    /// The endpoint is not who the request asks for.
    IdentityRequired,
    /// The request itself makes no sense to a proxy.
    BadRequest,
    /// The target would be the proxy itself.
    Loop,
    /// The gateway serves no such name.
    GatewayDomain,
    /// The request has been at this gateway before.
    GatewayLoop,
    /// The exchange took longer than the route allows.
    RequestTimeout,
    /// The response did not end in the time that the route allows.
    ResponseTimeout,
    /// The response did not begin in the time of one attempt.
    HeadersTimeout,
    /// Nothing moved for longer than the route allows.
    IdleTimeout,
    /// The service profile's timeout is over.
    ProfileTimeout,
    /// The server's policy takes no more requests for now.
    RateLimited,
    /// Anything else.
    Unexpected,
}

/// What one failure means on the wire and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// gRPC status code.
    pub grpc: u16,
    /// Text for `l5d-proxy-error` and `grpc-message`.
    pub text: &'static str,
    /// Whether the client's connection ends with it.
    pub close: bool,
    /// Value of the `error` label of `*_http_errors_total`; `None` when it is not counted there.
    pub metric: Option<&'static str>,
}

impl Failure {
    /// Every failure, for tests and documentation.
    pub const ALL: [Failure; 22] = [
        Failure::NoRoute,
        Failure::Unauthorized,
        Failure::InvalidPolicy,
        Failure::FailFast,
        Failure::LoadShed,
        Failure::ConnectTimeout,
        Failure::Connect,
        Failure::Io,
        Failure::Downgraded,
        Failure::NoBackend,
        Failure::IdentityRequired,
        Failure::BadRequest,
        Failure::Loop,
        Failure::GatewayDomain,
        Failure::GatewayLoop,
        Failure::RequestTimeout,
        Failure::ResponseTimeout,
        Failure::HeadersTimeout,
        Failure::IdleTimeout,
        Failure::ProfileTimeout,
        Failure::RateLimited,
        Failure::Unexpected,
    ];

    /// Value of the `error` label of route metrics.
    pub fn route_label(self) -> &'static str {
        match self {
            Self::FailFast => "FAIL_FAST",
            Self::LoadShed => "LOAD_SHED",
            Self::ConnectTimeout | Self::Connect | Self::Io | Self::Downgraded => "IO",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::ResponseTimeout | Self::ProfileTimeout => "RESPONSE_STREAM_TIMEOUT",
            Self::HeadersTimeout => "RESPONSE_HEADERS_TIMEOUT",
            Self::IdleTimeout => "IDLE_TIMEOUT",
            Self::NoRoute
            | Self::RateLimited
            | Self::Unauthorized
            | Self::InvalidPolicy
            | Self::NoBackend
            | Self::IdentityRequired
            | Self::BadRequest
            | Self::Loop
            | Self::GatewayDomain
            | Self::GatewayLoop
            | Self::Unexpected => "UNKNOWN",
        }
    }

    /// The table.
    pub fn answer(self) -> Answer {
        let row = |status, grpc, text, close, metric| Answer {
            status,
            grpc,
            text,
            close,
            metric,
        };
        let timeout = |text, close| row(504, 4, text, close, Some("response timeout"));
        match self {
            Self::NoRoute => row(404, 5, "no route found for request", false, None),
            Self::Unauthorized => row(403, 7, "unauthorized request on route", false, None),
            Self::InvalidPolicy => row(
                500,
                13,
                "invalid client policy configuration",
                true,
                Some("unexpected"),
            ),
            Self::FailFast => row(504, 4, "service in fail-fast", true, Some("failfast")),
            Self::LoadShed => row(503, 14, "service unavailable", true, Some("loadshed")),
            Self::ConnectTimeout => row(504, 4, "connect timed out", true, Some("i/o")),
            Self::Connect => row(502, 14, "connection refused", true, Some("i/o")),
            Self::Io => row(
                502,
                14,
                "connection closed before message completed",
                true,
                Some("i/o"),
            ),
            Self::Downgraded => row(
                502,
                14,
                "stream error on upgraded request",
                true,
                Some("i/o"),
            ),
            Self::NoBackend => row(
                502,
                14,
                "route has no valid backend",
                true,
                Some("unexpected"),
            ),
            Self::IdentityRequired => row(
                502,
                14,
                "required server identity does not match",
                true,
                Some("identity required"),
            ),
            Self::BadRequest => row(400, 3, "bad request", true, Some("unexpected")),
            Self::Loop => row(
                502,
                14,
                "inbound connection must not target the inbound port",
                true,
                Some("unexpected"),
            ),
            Self::GatewayDomain => row(
                404,
                5,
                "bad gateway domain",
                false,
                Some("gateway domain invalid"),
            ),
            Self::GatewayLoop => row(508, 10, "gateway loop", true, Some("gateway loop")),
            Self::RequestTimeout => timeout("request timeout", false),
            Self::ResponseTimeout => timeout("response stream timeout", false),
            Self::HeadersTimeout => timeout("response header timeout", false),
            Self::IdleTimeout => timeout("idle timeout", false),
            Self::ProfileTimeout => timeout("request timed out", true),
            Self::RateLimited => row(429, 8, "rate limit exceeded", false, None),
            Self::Unexpected => row(500, 13, "unexpected error", true, Some("unexpected")),
        }
    }
}

impl From<Expired> for Failure {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::Request => Self::RequestTimeout,
            Expired::Response => Self::ResponseTimeout,
            Expired::Headers => Self::HeadersTimeout,
            Expired::Idle => Self::IdleTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_linkerds() {
        let cases = [
            (Failure::NoRoute, 404, 5, false),
            (Failure::Unauthorized, 403, 7, false),
            (Failure::FailFast, 504, 4, true),
            (Failure::LoadShed, 503, 14, true),
            (Failure::ConnectTimeout, 504, 4, true),
            (Failure::Io, 502, 14, true),
            (Failure::RequestTimeout, 504, 4, false),
            (Failure::HeadersTimeout, 504, 4, false),
            (Failure::RateLimited, 429, 8, false),
            (Failure::GatewayDomain, 404, 5, false),
            (Failure::GatewayLoop, 508, 10, true),
            (Failure::Unexpected, 500, 13, true),
        ];
        for (failure, status, grpc, close) in cases {
            let answer = failure.answer();
            assert_eq!(
                (status, grpc, close),
                (answer.status, answer.grpc, answer.close)
            );
        }
    }

    #[test]
    fn every_failure_has_a_text_for_a_header() {
        for failure in Failure::ALL {
            let text = failure.answer().text;
            assert!(
                !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b)),
                "{text}"
            );
        }
    }
}

//! Route filters on requests and responses.

use super::headers::Routed;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use linkerd_proxy_core::filter::{
    judge, request_headers, response_headers, Filter, Headers, Injected, Outcome,
};
use linkerd_proxy_core::route::{matched_prefix, Match};

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

struct Map<'a>(&'a mut HeaderMap);

impl Map<'_> {
    fn pair(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        // Both were checked when the policy came.
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    }
}

impl Headers for Map<'_> {
    fn add(&mut self, name: &str, value: &[u8]) {
        if let Some((name, value)) = Self::pair(name, value) {
            // A full map keeps what the client sent.
            let _ = self.0.try_append(name, value);
        }
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        if let Some((name, value)) = Self::pair(name, value) {
            let _ = self.0.try_insert(name, value);
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Applies filters to a request that matched `matches`.
///
/// # Errors
/// What to answer instead of forwarding it.
pub fn on_request<B>(
    filters: &[Filter],
    matches: &[Match],
    request: &mut Request<B>,
) -> Result<(), Reply> {
    if filters.is_empty() {
        return Ok(());
    }
    let routed = Routed(request);
    let prefix = matched_prefix(matches, &routed);
    let scheme = request.uri().scheme_str();
    let outcome = crate::random::with(|rng| judge(filters, &routed, scheme, prefix, rng));
    match outcome {
        Outcome::Pass => {}
        Outcome::Fail(kind, message) => return Err(Reply::Injected(kind, message)),
        Outcome::Redirect { status, location } => return Err(Reply::Redirect { status, location }),
        Outcome::Invalid => return Err(Reply::Invalid),
    }
    request_headers(filters, &mut Map(request.headers_mut()));
    Ok(())
}

/// Applies filters to a response.
pub fn on_response<B>(filters: &[Filter], response: &mut Response<B>) {
    if !filters.is_empty() {
        response_headers(filters, &mut Map(response.headers_mut()));
    }
}

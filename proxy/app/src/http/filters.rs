//! Route filters on requests and responses.

use super::headers::Routed;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};
use linkerd_proxy_core::filter::{
    judge, request_headers, response_headers, rewritten, Filter, Headers, Injected, Outcome,
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
    let (host, path) = rewritten(filters, &Routed(request), prefix).ok_or(Reply::Invalid)?;
    if host.is_some() || path.is_some() {
        rewrite(request, host, path).ok_or(Reply::Invalid)?;
    }
    request_headers(filters, &mut Map(request.headers_mut()));
    Ok(())
}

/// Changes where the request says it goes; `None` when that makes no URI.
fn rewrite<B>(request: &mut Request<B>, host: Option<String>, path: Option<String>) -> Option<()> {
    let mut parts = request.uri().clone().into_parts();
    if let Some(path) = path {
        parts.path_and_query = Some(path.parse().ok()?);
    }
    if let Some(host) = host {
        // HTTP/2 names it in the URI, HTTP/1 in a header or in both.
        if parts.authority.is_some() {
            parts.authority = Some(host.parse().ok()?);
        }
        if request.version() != Version::HTTP_2 || request.headers().contains_key(HOST) {
            let value = HeaderValue::from_str(&host).ok()?;
            request.headers_mut().insert(HOST, value);
        }
    }
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(())
}

/// Applies filters to a response.
pub fn on_response<B>(filters: &[Filter], response: &mut Response<B>) {
    if !filters.is_empty() {
        response_headers(filters, &mut Map(response.headers_mut()));
    }
}

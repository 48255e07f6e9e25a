//! Headers between proxies, and requests to the proxy itself that came carried as HTTP/2.
//!
//! Source: linkerd2-proxy linkerd/proxy/http/src/{orig_proto,h1}.rs (behaviour).

use http::header::{HeaderName, HeaderValue, HOST};
use http::uri::PathAndQuery;
use http::{Method, Request, Version};
use linkerd_proxy_core::route;

/// Names the HTTP/1 version of a message that travels as HTTP/2.
pub const ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");
/// Says why the proxy answered.
pub const PROXY_ERROR: HeaderName = HeaderName::from_static("l5d-proxy-error");
/// Asks the peer's proxy to close.
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("l5d-proxy-connection");

const ABSOLUTE_FORM: &str = "; absolute-form";

/// What an inbound request was before it became HTTP/2, if it names that.
pub fn downgrade_orig_proto<B>(request: &mut Request<B>) -> Option<Version> {
    let value = request.headers_mut().remove(ORIG_PROTO)?;
    let text = value.to_str().ok()?;
    let version = if text.starts_with("HTTP/1.1") {
        Version::HTTP_11
    } else if text.starts_with("HTTP/1.0") {
        Version::HTTP_10
    } else {
        return None;
    };
    to_http1(request, text.ends_with(ABSOLUTE_FORM));
    *request.version_mut() = version;
    Some(version)
}

/// Gives an HTTP/2 request the form of HTTP/1: origin form and a `Host`.
fn to_http1<B>(request: &mut Request<B>, absolute: bool) {
    set_host(request);
    if !absolute {
        to_origin_form(request);
    }
}

/// Sets `Host` from the URI when it is missing.
fn set_host<B>(request: &mut Request<B>) {
    if request.headers().contains_key(HOST) {
        return;
    }
    let host = request
        .uri()
        .authority()
        .and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// Leaves only path and query in the URI.
fn to_origin_form<B>(request: &mut Request<B>) {
    if *request.method() == Method::CONNECT {
        return;
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
}

/// A request as routes see it.
pub struct Routed<'a, B>(pub &'a Request<B>);

impl<B> route::Request for Routed<'_, B> {
    fn method(&self) -> &str {
        self.0.method().as_str()
    }

    fn authority(&self) -> Option<&str> {
        match self.0.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => self.0.headers().get(HOST)?.to_str().ok(),
        }
    }

    fn path(&self) -> &str {
        self.0.uri().path()
    }

    fn query(&self) -> Option<&str> {
        self.0.uri().query()
    }

    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0
            .headers()
            .get_all(name)
            .iter()
            .any(|value| test(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::builder().uri(uri).body(()).expect("valid");
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn a_carried_request_gets_its_form_back() {
        for (form, expected) in [
            ("HTTP/1.1", "/a?b=1"),
            ("HTTP/1.1; absolute-form", "http://web.ns/a?b=1"),
        ] {
            let mut message = request("http://web.ns/a?b=1", &[("l5d-orig-proto", form)]);
            assert_eq!(Some(Version::HTTP_11), downgrade_orig_proto(&mut message));
            assert_eq!(expected, message.uri().to_string());
            assert_eq!("web.ns", message.headers()["host"]);
            assert!(!message.headers().contains_key(ORIG_PROTO));
        }
    }
}

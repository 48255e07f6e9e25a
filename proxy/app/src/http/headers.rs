//! What a proxy must do to heads: hop-by-hop headers, authorities, and HTTP/1 inside HTTP/2.
//!
//! Source: RFC 9110 §7.6.1; linkerd2-proxy linkerd/proxy/http/src/{orig_proto,h1}.rs (behaviour).

use http::header::{
    HeaderMap, HeaderName, HeaderValue, CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri, Version};
use linkerd_proxy_core::route;
use std::net::SocketAddr;

/// Names the HTTP/1 version of a message that travels as HTTP/2.
pub const ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");
/// Names the client to the application.
pub const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
/// Says why the proxy answered.
pub const PROXY_ERROR: HeaderName = HeaderName::from_static("l5d-proxy-error");
/// Asks the peer's proxy to close.
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("l5d-proxy-connection");
/// The server that the request insists on.
pub const REQUIRE_ID: HeaderName = HeaderName::from_static("l5d-require-id");
/// Names the logical destination.
pub const DST_CANONICAL: HeaderName = HeaderName::from_static("l5d-dst-canonical");
/// Says where a request to an ingress's proxy goes.
pub const DST_OVERRIDE: HeaderName = HeaderName::from_static("l5d-dst-override");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HOP_PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const ABSOLUTE_FORM: &str = "; absolute-form";

/// Removes headers that concern one connection only.
pub fn strip_connection_headers(headers: &mut HeaderMap) {
    while let Some(value) = headers.remove(CONNECTION) {
        let Ok(text) = value.to_str() else {
            continue;
        };
        for name in text.split(',').map(str::trim) {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                // `te: trailers` is the one that HTTP/2 keeps.
                if name != TE && name != HOST && name != TRANSFER_ENCODING {
                    headers.remove(name);
                }
            }
        }
    }
    for name in [UPGRADE, KEEP_ALIVE, HOP_PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// The authority of the request: of its URI, else of its `Host`.
pub fn authority<B>(request: &Request<B>) -> Option<Authority> {
    request.uri().authority().cloned().or_else(|| {
        let host = request.headers().get(HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    })
}

/// Gives the request the absolute form that HTTP/2 needs.
///
/// The authority falls back to the original destination.
pub fn to_http2<B>(request: &mut Request<B>, fallback: SocketAddr) {
    let authority = authority(request).or_else(|| Authority::try_from(fallback.to_string()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if *request.method() != Method::CONNECT {
        parts.scheme = parts.scheme.or(Some(Scheme::HTTP));
        parts.path_and_query = parts
            .path_and_query
            .or(Some(PathAndQuery::from_static("/")));
    }
    parts.authority = authority;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    let headers = request.headers_mut();
    headers.remove(HOST);
    headers.remove(TRANSFER_ENCODING);
    let trailers = headers.get(TE).is_some_and(|te| {
        te.to_str().is_ok_and(|te| {
            te.split(',')
                .any(|item| item.trim().eq_ignore_ascii_case("trailers"))
        })
    });
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    *request.version_mut() = Version::HTTP_2;
}

/// Marks an HTTP/1 request that will travel as HTTP/2, and makes it one.
pub fn upgrade_orig_proto<B>(request: &mut Request<B>, fallback: SocketAddr) {
    let mut text = match request.version() {
        Version::HTTP_10 => "HTTP/1.0".to_owned(),
        _ => "HTTP/1.1".to_owned(),
    };
    if request.uri().scheme().is_some() {
        text.push_str(ABSOLUTE_FORM);
    }
    to_http2(request, fallback);
    // Only digits, letters and `; -` are in it.
    if let Ok(value) = HeaderValue::from_str(&text) {
        request.headers_mut().insert(ORIG_PROTO, value);
    }
}

/// Turns a response that travelled as HTTP/2 back into the version that it names.
pub fn restore_response<B>(response: &mut Response<B>) {
    let version = match response.headers_mut().remove(ORIG_PROTO) {
        Some(value) if value.as_bytes().starts_with(b"HTTP/1.0") => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    *response.version_mut() = version;
}

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
pub fn set_host<B>(request: &mut Request<B>) {
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
pub fn to_origin_form<B>(request: &mut Request<B>) {
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
    fn http1_survives_the_trip_over_http2() {
        for (uri, absolute) in [("/a?b=1", false), ("http://web.ns/a?b=1", true)] {
            let mut message = request(
                uri,
                &[("host", "web.ns"), ("x", "1"), ("te", "gzip, trailers")],
            );
            upgrade_orig_proto(&mut message, ([10, 0, 0, 1], 80).into());
            assert_eq!("http://web.ns/a?b=1", message.uri().to_string());
            assert_eq!(Version::HTTP_2, message.version());
            assert_eq!("trailers", message.headers()["te"]);
            assert_eq!(Some(Version::HTTP_11), downgrade_orig_proto(&mut message));
            assert_eq!(
                if absolute {
                    "http://web.ns/a?b=1"
                } else {
                    "/a?b=1"
                },
                message.uri().to_string()
            );
            assert_eq!("web.ns", message.headers()["host"]);
            assert!(!message.headers().contains_key(ORIG_PROTO));
        }
    }

    #[test]
    fn a_request_without_host_gets_the_original_destination() {
        let mut message = request("/", &[]);
        to_http2(&mut message, ([10, 0, 0, 1], 80).into());
        assert_eq!("http://10.0.0.1:80/", message.uri().to_string());
    }

    #[test]
    fn headers_of_the_connection_are_removed() {
        let pairs = [
            ("connection", "x-hop, host"),
            ("x-hop", "1"),
            ("host", "a"),
            ("keep-alive", "5"),
            ("x", "2"),
        ];
        let mut message = request("/", &pairs);
        strip_connection_headers(message.headers_mut());
        let mut names: Vec<&str> = message.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(vec!["host", "x"], names);
    }
}

//! What the admin server answers with.

use crate::http::body::Body;
use flate2::write::GzEncoder;
use flate2::Compression;
use http::header::{ACCEPT, ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use std::ffi::OsString;
use std::io::Write;

/// What clients of JSON have to accept.
const JSON: &str = "application/json";

/// A short answer.
pub fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(body.to_owned()));
    *response.status_mut() = status;
    if !body.is_empty() {
        let plain = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, plain);
    }
    response
}

/// The methods that would have done.
pub fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "");
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// The client is not in the pod.
pub fn only_local() -> Response<Body> {
    let reason = "Requests are only permitted from localhost.";
    text(StatusCode::FORBIDDEN, reason)
}

/// Whether the client can do with JSON.
pub fn takes_json<B>(request: &Request<B>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted
            .filter_map(|value| value.to_str().ok())
            .any(|value| {
                [JSON, "application/*", "*/*"]
                    .iter()
                    .any(|one| value.contains(one))
            })
}

/// The client cannot.
pub fn not_acceptable() -> Response<Body> {
    text(StatusCode::NOT_ACCEPTABLE, JSON)
}

/// A JSON document, or several lines of them.
pub fn json(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(JSON);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// What is wrong, for those who read JSON.
pub fn json_error(status: StatusCode, problem: &str) -> Response<Body> {
    let mut out = String::from("{\"error\":");
    json_string(&mut out, problem);
    out.push_str(&format!(",\"status\":{}}}", status.as_u16()));
    let mut response = json(Body::full(out));
    *response.status_mut() = status;
    response
}

/// The metrics, compressed if the client likes.
pub fn metrics_page(page: &str, gzip: bool) -> Response<Body> {
    let packed = gzip.then(|| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder
            .write_all(page.as_bytes())
            .and_then(|()| encoder.finish())
    });
    let mut response = match packed {
        Some(Ok(packed)) => {
            let mut response = Response::new(Body::full(packed));
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
            response
        }
        Some(Err(_)) | None => Response::new(Body::full(page.to_owned())),
    };
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The variables, or those that the query names, as a JSON object; `null` for what is not set.
pub fn env_json(
    query: Option<&str>,
    vars: impl Iterator<Item = (OsString, OsString)>,
) -> Response<Body> {
    let query = query.unwrap_or("");
    if query.contains('=') {
        let problem = "env.json query parameters may not contain key-value pairs";
        return json_error(StatusCode::BAD_REQUEST, problem);
    }
    json(Body::full(object(query, vars)))
}

fn object(query: &str, vars: impl Iterator<Item = (OsString, OsString)>) -> String {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let mut vars: Vec<(String, Option<String>)> = vars
        .map(|(name, value)| (text(name), Some(text(value))))
        .collect();
    if !query.is_empty() {
        let value = |name: &str| vars.iter().find(|(known, _)| known == name)?.1.clone();
        let names = query.split('&');
        vars = names.map(|name| (name.to_owned(), value(name))).collect();
    }
    vars.sort();
    vars.dedup();
    let mut out = String::from("{");
    for (i, (name, value)) in vars.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        json_string(&mut out, name);
        out.push(':');
        match value {
            Some(value) => json_string(&mut out, value),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    out
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_json() {
        let mut out = String::new();
        json_string(&mut out, "a\"b\\c\nd\u{1}");
        assert_eq!(r#""a\"b\\c\nd\u0001""#, out);
    }

    #[test]
    fn named_variables_are_there_even_if_they_are_not_set() {
        let cases = [
            ("", r#"{"A":"1","B":""}"#),
            ("A", r#"{"A":"1"}"#),
            ("C&A&C", r#"{"A":"1","C":null}"#),
        ];
        for (query, expected) in cases {
            let vars = [("B", ""), ("A", "1")];
            let vars = vars.map(|(name, value)| (name.into(), value.into()));
            assert_eq!(expected, object(query, vars.into_iter()), "{query}");
        }
    }

    #[test]
    fn clients_of_json_say_so_or_nothing() {
        let cases = [
            (None, true),
            (Some("application/json"), true),
            (Some("text/html, */*;q=0.1"), true),
            (Some("text/html"), false),
        ];
        for (accept, expected) in cases {
            let mut request = Request::new(());
            if let Some(accept) = accept {
                let accept = HeaderValue::from_static(accept);
                request.headers_mut().insert(ACCEPT, accept);
            }
            assert_eq!(expected, takes_json(&request), "{accept:?}");
        }
    }
}

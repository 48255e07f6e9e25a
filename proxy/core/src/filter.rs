//! What a route does to a request before it is forwarded, or instead of that.
//!
//! Source: linkerd2-proxy linkerd/http/route/src/http/filter (behaviour), Gateway API HTTPRoute filters.

use crate::rng::Rng;
use crate::route::Request;

/// One filter of a rule or backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Answers some requests with a failure.
    Fail(FailureInjector),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes where the request says it goes.
    Rewrite(Rewrite),
    /// Changes the request's headers.
    RequestHeaders(HeaderModifier),
    /// Changes the response's headers.
    ResponseHeaders(HeaderModifier),
}

/// What an injected failure looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// This HTTP status.
    Http(u16),
    /// This gRPC code.
    Grpc(u16),
}

/// Fails a share of the requests.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureInjector {
    /// How.
    pub kind: Injected,
    /// What to say.
    pub message: String,
    /// The share as numerator and denominator, the latter never 0.
    pub ratio: (u32, u32),
}

/// Adds, sets and removes headers, in this order; names are in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderModifier {
    /// Values added to those that are there.
    pub add: Vec<(String, Vec<u8>)>,
    /// Values that replace those that are there.
    pub set: Vec<(String, Vec<u8>)>,
    /// Names whose values go.
    pub remove: Vec<String>,
}

/// How a redirect changes the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// Replaces path and query.
    Full(String),
    /// Replaces the prefix that matched.
    Prefix(String),
}

/// Sends the client elsewhere; parts that are not set stay as the client sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host without port.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathModifier>,
    /// Status; 301 when not set.
    pub status: Option<u16>,
}

/// Changes where a request says it goes; parts that are not set stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Host, with a port if it shall have one.
    pub host: Option<String>,
    /// Path; the query stays.
    pub path: Option<PathModifier>,
}

/// A message whose headers can be changed.
pub trait Headers {
    /// Adds a value.
    fn add(&mut self, name: &str, value: &[u8]);
    /// Replaces all values.
    fn set(&mut self, name: &str, value: &[u8]);
    /// Removes all values.
    fn remove(&mut self, name: &str);
}

/// What a filter makes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It goes on.
    Pass,
    /// It is answered with a failure.
    Fail(Injected, String),
    /// It is answered with a redirect.
    Redirect {
        /// Status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The redirect makes no sense for this request.
    Invalid,
}

impl HeaderModifier {
    /// Changes `headers`.
    pub fn apply(&self, headers: &mut dyn Headers) {
        for (name, value) in &self.add {
            headers.add(name, value);
        }
        for (name, value) in &self.set {
            headers.set(name, value);
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

impl FailureInjector {
    fn strikes(&self, rng: &mut Rng) -> bool {
        let (numerator, denominator) = self.ratio;
        rng.below(denominator.max(1) as usize) < numerator as usize
    }
}

/// Applies what concerns a request, in order, until one answers it.
///
/// `matched_prefix` is the length of the path prefix by which the rule was found, if by one. Header
/// changes are made through [`request_headers`], after this has said `Pass`.
pub fn judge(
    filters: &[Filter],
    request: &dyn Request,
    scheme: Option<&str>,
    matched_prefix: Option<usize>,
    rng: &mut Rng,
) -> Outcome {
    for filter in filters {
        match filter {
            Filter::Fail(injector) if injector.strikes(rng) => {
                return Outcome::Fail(injector.kind, injector.message.clone());
            }
            Filter::Redirect(redirect) => {
                match redirect.location(request, scheme, matched_prefix) {
                    None => return Outcome::Invalid,
                    // The client is where it shall go.
                    Some(None) => {}
                    Some(Some(location)) => {
                        let status = redirect.status.unwrap_or(301);
                        return Outcome::Redirect { status, location };
                    }
                }
            }
            Filter::Fail(_)
            | Filter::Rewrite(_)
            | Filter::RequestHeaders(_)
            | Filter::ResponseHeaders(_) => {}
        }
    }
    Outcome::Pass
}

/// Makes the request header changes of `filters`, in order.
pub fn request_headers(filters: &[Filter], headers: &mut dyn Headers) {
    for filter in filters {
        if let Filter::RequestHeaders(modifier) = filter {
            modifier.apply(headers);
        }
    }
}

/// Makes the response header changes of `filters`, in order.
pub fn response_headers(filters: &[Filter], headers: &mut dyn Headers) {
    for filter in filters {
        if let Filter::ResponseHeaders(modifier) = filter {
            modifier.apply(headers);
        }
    }
}

/// The first host and the first path that `filters` ask for.
///
/// `None` when a prefix shall be replaced and the rule was not found by one; the path comes with the
/// request's query.
pub fn rewritten(
    filters: &[Filter],
    request: &dyn Request,
    matched_prefix: Option<usize>,
) -> Option<(Option<String>, Option<String>)> {
    let mut found = (None, None);
    for filter in filters {
        let Filter::Rewrite(rewrite) = filter else {
            continue;
        };
        let (host, path) = &mut found;
        *host = host.take().or_else(|| rewrite.host.clone());
        if path.is_some() {
            continue;
        }
        let query = request.query().map_or(String::new(), |q| format!("?{q}"));
        *path = match &rewrite.path {
            None => None,
            Some(PathModifier::Full(full)) => Some(format!("{full}{query}")),
            Some(PathModifier::Prefix(prefix)) => {
                let rest = request.path().get(matched_prefix?..)?;
                Some(format!("{}{query}", joined(prefix, rest)))
            }
        };
    }
    Some(found)
}

/// What is left of a path after a new prefix, with one slash between them.
fn joined(prefix: &str, rest: &str) -> String {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let slash = if rest.starts_with('/') || (rest.is_empty() && !prefix.is_empty()) {
        ""
    } else {
        "/"
    };
    format!("{prefix}{slash}{rest}")
}

impl Redirect {
    /// `None` when it cannot be applied, `Some(None)` when nothing would change.
    fn location(
        &self,
        request: &dyn Request,
        scheme: Option<&str>,
        matched_prefix: Option<usize>,
    ) -> Option<Option<String>> {
        let from = scheme.unwrap_or("http");
        let to = self.scheme.as_deref().unwrap_or(from);
        let original = request.authority();
        let authority = self.authority(original, to)?;
        let query = request.query().map_or(String::new(), |q| format!("?{q}"));
        let path = match &self.path {
            None => format!("{}{query}", request.path()),
            Some(PathModifier::Full(path)) => path.clone(),
            Some(PathModifier::Prefix(prefix)) => {
                let rest = request.path().get(matched_prefix?..)?;
                format!("{}{query}", joined(prefix, rest))
            }
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let location = format!("{to}://{authority}{slash}{path}");
        // Bytes that no header may carry come from a hostile path at best.
        if !location.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return None;
        }
        let here = format!(
            "{from}://{}{}{query}",
            original.unwrap_or(""),
            request.path()
        );
        Some((location != here || self.is_status_only()).then_some(location))
    }

    /// Whether nothing but a status is asked for: the client shall ask again, for 303 with GET.
    /// Linkerd's proxy lets such requests pass; the Gateway API's conformance tests want the status.
    fn is_status_only(&self) -> bool {
        self.scheme.is_none() && self.host.is_none() && self.port.is_none() && self.path.is_none()
    }

    fn authority(&self, original: Option<&str>, scheme: &str) -> Option<String> {
        let (host, port) = split(original.unwrap_or(""));
        let host = self.host.as_deref().unwrap_or(host);
        if host.is_empty() {
            return None;
        }
        let default = if scheme == "https" { 443 } else { 80 };
        let untouched = self.host.is_none() && self.port.is_none();
        match self.port.or(port) {
            Some(port) if port != default || untouched => Some(format!("{host}:{port}")),
            _ => Some(host.to_owned()),
        }
    }
}

fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Get(&'static str, &'static str);

    impl Request for Get {
        fn method(&self) -> &str {
            "GET"
        }
        fn authority(&self) -> Option<&str> {
            (!self.0.is_empty()).then_some(self.0)
        }
        fn path(&self) -> &str {
            self.1.split('?').next().unwrap_or("")
        }
        fn query(&self) -> Option<&str> {
            self.1.split_once('?').map(|(_, q)| q)
        }
        fn header(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            false
        }
    }

    fn redirected(
        redirect: Redirect,
        host: &'static str,
        path: &'static str,
        prefix: Option<usize>,
    ) -> Outcome {
        let filters = [Filter::Redirect(redirect)];
        judge(&filters, &Get(host, path), None, prefix, &mut Rng::new(1))
    }

    #[test]
    fn redirects_keep_what_is_not_set() {
        let host = |h: &str| Redirect {
            host: Some(h.into()),
            ..Redirect::default()
        };
        let port = |p| Redirect {
            port: Some(p),
            ..Redirect::default()
        };
        let secure = |port| Redirect {
            scheme: Some("https".into()),
            port,
            ..Redirect::default()
        };
        let path = |p: PathModifier| Redirect {
            path: Some(p),
            ..Redirect::default()
        };
        let cases = [
            (host("b"), "a", "/x?q=1", None, "http://b/x?q=1"),
            (host("b"), "a:8080", "/", None, "http://b:8080/"),
            (port(8080), "a", "/", None, "http://a:8080/"),
            (port(80), "a:8080", "/", None, "http://a/"),
            (secure(Some(443)), "a:8080", "/", None, "https://a/"),
            (secure(None), "a", "/", None, "https://a/"),
            (
                path(PathModifier::Full("/n".into())),
                "a",
                "/x?q=1",
                None,
                "http://a/n",
            ),
            (
                path(PathModifier::Prefix("/n".into())),
                "a",
                "/x/y?q=1",
                Some(2),
                "http://a/n/y?q=1",
            ),
            (
                path(PathModifier::Prefix("/".into())),
                "a",
                "/x",
                Some(2),
                "http://a/",
            ),
            (
                path(PathModifier::Prefix("/n".into())),
                "a",
                "/x",
                Some(0),
                "http://a/n/x",
            ),
        ];
        for (redirect, from, target, prefix, expected) in cases {
            let expected = Outcome::Redirect {
                status: 301,
                location: expected.into(),
            };
            assert_eq!(expected, redirected(redirect, from, target, prefix));
        }
    }

    #[test]
    fn rewrites_change_host_and_path_and_keep_the_query() {
        let some = |text: &str| Some(text.to_owned());
        let full = |p: &str| Some(PathModifier::Full(p.into()));
        let prefix = |p: &str| Some(PathModifier::Prefix(p.into()));
        for (path, target, matched, expected) in [
            (None, "/x", None, Some(None)),
            (full("/n"), "/x?q=1", None, Some(some("/n?q=1"))),
            (prefix("/n"), "/x/y?q=1", Some(2), Some(some("/n/y?q=1"))),
            (prefix("/n/"), "/x", Some(2), Some(some("/n"))),
            (prefix("/"), "/x", Some(2), Some(some("/"))),
            (prefix("/"), "/x/y", Some(2), Some(some("/y"))),
            (prefix("/n"), "/x", None, None),
        ] {
            let filters = [Filter::Rewrite(Rewrite {
                host: some("b"),
                path: path.clone(),
            })];
            let found = rewritten(&filters, &Get("a", target), matched);
            let expected = expected.map(|path| (some("b"), path));
            assert_eq!(expected, found, "{path:?} {target}");
        }
        let none = (None, None);
        assert_eq!(Some(none), rewritten(&[], &Get("a", "/"), None));
    }

    #[test]
    fn redirects_without_sense_are_invalid_and_those_to_itself_pass() {
        let prefix = Redirect {
            path: Some(PathModifier::Prefix("/n".into())),
            ..Redirect::default()
        };
        assert_eq!(Outcome::Invalid, redirected(prefix, "a", "/x", None));
        assert_eq!(
            Outcome::Invalid,
            redirected(Redirect::default(), "", "/x", None)
        );
        let port = Redirect {
            port: Some(80),
            ..Redirect::default()
        };
        assert_eq!(Outcome::Pass, redirected(port, "a", "/x?q", None));
    }

    #[test]
    fn a_redirect_that_is_only_a_status_is_answered() {
        let again = Redirect {
            status: Some(303),
            ..Redirect::default()
        };
        let expected = Outcome::Redirect {
            status: 303,
            location: "http://a:80/x?q".into(),
        };
        assert_eq!(expected, redirected(again, "a:80", "/x?q", None));
    }

    #[test]
    fn failures_strike_by_their_ratio() {
        let count = |ratio| {
            let filters = [Filter::Fail(FailureInjector {
                kind: Injected::Http(503),
                message: "no".into(),
                ratio,
            })];
            let mut rng = Rng::new(9);
            (0..1000)
                .filter(|_| judge(&filters, &Get("a", "/"), None, None, &mut rng) != Outcome::Pass)
                .count()
        };
        assert_eq!(1000, count((1, 1)));
        assert_eq!(0, count((0, 1)));
        assert!((200..300).contains(&count((1, 4))), "{}", count((1, 4)));
    }

    #[test]
    fn headers_are_added_then_set_then_removed() {
        #[derive(Default)]
        struct List(Vec<(String, Vec<u8>)>);
        impl Headers for List {
            fn add(&mut self, name: &str, value: &[u8]) {
                self.0.push((name.into(), value.into()));
            }
            fn set(&mut self, name: &str, value: &[u8]) {
                self.remove(name);
                self.add(name, value);
            }
            fn remove(&mut self, name: &str) {
                self.0.retain(|(known, _)| known != name);
            }
        }
        let pair = |n: &str, v: &str| (n.to_owned(), v.as_bytes().to_vec());
        let modifier = HeaderModifier {
            add: vec![pair("a", "2"), pair("c", "1")],
            set: vec![pair("b", "9")],
            remove: vec!["c".into()],
        };
        let mut headers = List(vec![pair("a", "1"), pair("b", "1")]);
        request_headers(&[Filter::ResponseHeaders(modifier.clone())], &mut headers);
        assert_eq!(2, headers.0.len());
        request_headers(&[Filter::RequestHeaders(modifier)], &mut headers);
        assert_eq!(
            vec![pair("a", "1"), pair("a", "2"), pair("b", "9")],
            headers.0
        );
    }
}

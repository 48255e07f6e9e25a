//! Which rule of which route a request belongs to.
//!
//! Source: linkerd2-proxy linkerd/http/route (precedence), Gateway API HTTPRoute and GRPCRoute.

use crate::meta::Meta;
use crate::octets::same;
use regex::Regex;
use std::sync::Arc;

/// What a match may look at.
pub trait Request {
    /// Method in upper case.
    fn method(&self) -> &str;
    /// Authority or `Host`, with or without a port.
    fn authority(&self) -> Option<&str>;
    /// Path without query, starting with `/`.
    fn path(&self) -> &str;
    /// Query without `?`.
    fn query(&self) -> Option<&str>;
    /// Whether any value of the header (lower-case name) satisfies `test`.
    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A host condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// This name, in lower case.
    Exact(String),
    /// At least one label, then this ending in lower case with its leading dot.
    Suffix(String),
}

/// A path condition.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole leading segments; without trailing slash.
    Prefix(String),
    /// The whole path matches; compile with [`full_regex`].
    Regex(Regex),
    /// `/service/method` of gRPC; empty matches any.
    Rpc {
        /// Full service name.
        service: String,
        /// Method name.
        method: String,
    },
}

/// A condition on a text value.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// Equal bytes.
    Exact(Vec<u8>),
    /// The whole value matches.
    Regex(Regex),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// On the path; `None` for any.
    pub path: Option<PathMatch>,
    /// On headers, by lower-case name.
    pub headers: Vec<(String, ValueMatch)>,
    /// On query parameters, by name.
    pub query: Vec<(String, ValueMatch)>,
    /// On the method.
    pub method: Option<String>,
}

/// One rule: any of its matches leads to its policy.
#[derive(Clone, Debug)]
pub struct Rule<P> {
    /// Alternatives; empty matches everything.
    pub matches: Vec<Match>,
    /// What then applies.
    pub policy: P,
}

/// A route: hosts and rules.
#[derive(Clone, Debug)]
pub struct Route<P> {
    /// Where it came from.
    pub meta: Arc<Meta>,
    /// Alternatives; empty matches every host.
    pub hosts: Vec<HostMatch>,
    /// Tried by precedence, not by order.
    pub rules: Vec<Rule<P>>,
}

/// Precedence of a match: greater wins, and the first among equals.
type Summary = ((u8, usize), (usize, usize), usize, usize, bool);

/// Compiles an expression that must match a whole value.
pub fn full_regex(text: &str) -> Option<Regex> {
    regex::RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(1 << 20)
        .build()
        .ok()
}

/// The indices of the best route and rule for `request`.
pub fn find<P>(routes: &[Route<P>], request: &dyn Request) -> Option<(usize, usize)> {
    let mut best: Option<(Summary, usize, usize)> = None;
    for (r, route) in routes.iter().enumerate() {
        let Some(host) = match_hosts(&route.hosts, request) else {
            continue;
        };
        for (u, rule) in route.rules.iter().enumerate() {
            let Some((path, headers, query, method)) = match_rule(&rule.matches, request) else {
                continue;
            };
            let summary = (host, path, headers, query, method);
            if best.as_ref().is_none_or(|(top, _, _)| summary > *top) {
                best = Some((summary, r, u));
            }
        }
    }
    best.map(|(_, r, u)| (r, u))
}

/// Length of the path prefix by which `request` matches best, if it is a prefix.
pub fn matched_prefix(matches: &[Match], request: &dyn Request) -> Option<usize> {
    let best = matches
        .iter()
        .filter_map(|m| Some((match_one(m, request)?, m)))
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best.and_then(|(_, m)| m.path.as_ref()) {
        Some(PathMatch::Prefix(prefix)) => Some(prefix.strip_suffix('/').unwrap_or(prefix).len()),
        Some(PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Rpc { .. }) | None => None,
    }
}

/// The host without its port and trailing dot.
fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn match_hosts(hosts: &[HostMatch], request: &dyn Request) -> Option<(u8, usize)> {
    if hosts.is_empty() {
        return Some((0, 0));
    }
    rank_host(hosts, host_of(request.authority()?))
}

/// How well `host` fits the best of `hosts`, greater is better; `None` when it fits none.
pub fn rank_host(hosts: &[HostMatch], host: &str) -> Option<(u8, usize)> {
    if hosts.is_empty() {
        return Some((0, 0));
    }
    hosts
        .iter()
        .filter_map(|candidate| match candidate {
            HostMatch::Exact(name) => name.eq_ignore_ascii_case(host).then_some((2, name.len())),
            HostMatch::Suffix(suffix) => {
                let n = host.len().checked_sub(suffix.len())?;
                let tail = host.get(n..)?;
                (n > 0 && tail.eq_ignore_ascii_case(suffix)).then_some((1, suffix.len()))
            }
        })
        .max()
}

type RuleSummary = ((usize, usize), usize, usize, bool);

fn match_rule(matches: &[Match], request: &dyn Request) -> Option<RuleSummary> {
    if matches.is_empty() {
        return Some(((1, 0), 0, 0, false));
    }
    matches.iter().filter_map(|m| match_one(m, request)).max()
}

fn match_one(m: &Match, request: &dyn Request) -> Option<RuleSummary> {
    if m.method
        .as_deref()
        .is_some_and(|method| method != request.method())
    {
        return None;
    }
    let path = match &m.path {
        None => (1, 0),
        Some(path) => match_path(path, request)?,
    };
    for (name, value) in &m.headers {
        if !request.header(name, &mut |bytes| match_value(value, bytes)) {
            return None;
        }
    }
    for (name, value) in &m.query {
        let found = request
            .query()
            .into_iter()
            .flat_map(|q| q.split('&'))
            .any(|pair| {
                let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
                unescape(key) == name.as_bytes() && match_value(value, &unescape(text))
            });
        if !found {
            return None;
        }
    }
    Some((path, m.headers.len(), m.query.len(), m.method.is_some()))
}

/// Decodes `%xx` and `+` of a query component.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16);
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => match (
                bytes.get(i + 1).copied().and_then(hex),
                bytes.get(i + 2).copied().and_then(hex),
            ) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            b => out.push(b),
        }
        i += 1;
    }
    out
}

fn match_path(m: &PathMatch, request: &dyn Request) -> Option<(usize, usize)> {
    let path = request.path();
    match m {
        PathMatch::Exact(exact) => (path == exact).then_some((exact.len(), 0)),
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let (start, rest) = path.split_at_checked(prefix.len())?;
            if !same(start.as_bytes(), prefix.as_bytes()) {
                return None;
            }
            (rest.is_empty() || rest.starts_with('/')).then_some((prefix.len().max(1), 0))
        }
        PathMatch::Regex(regex) => regex.is_match(path).then_some((path.len(), 0)),
        PathMatch::Rpc { service, method } => {
            if request.method() != "POST" {
                return None;
            }
            let (s, m) = path.strip_prefix('/')?.split_once('/')?;
            let service_ok = service.is_empty() || service == s;
            let method_ok = method.is_empty() || method == m;
            (service_ok && method_ok).then_some((service.len(), method.len()))
        }
    }
}

fn match_value(m: &ValueMatch, bytes: &[u8]) -> bool {
    match m {
        ValueMatch::Exact(exact) => exact == bytes,
        ValueMatch::Regex(regex) => {
            std::str::from_utf8(bytes).is_ok_and(|text| regex.is_match(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Get<'a>(&'a str, &'a str, &'a [(&'a str, &'a str)]);

    impl Request for Get<'_> {
        fn method(&self) -> &str {
            "GET"
        }
        fn authority(&self) -> Option<&str> {
            Some(self.0)
        }
        fn path(&self) -> &str {
            self.1.split('?').next().unwrap_or("")
        }
        fn query(&self) -> Option<&str> {
            self.1.split_once('?').map(|(_, q)| q)
        }
        fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.2.iter().any(|(n, v)| *n == name && test(v.as_bytes()))
        }
    }

    fn route(hosts: Vec<HostMatch>, paths: Vec<Option<PathMatch>>) -> Route<()> {
        Route {
            meta: Arc::new(Meta::default()),
            hosts,
            rules: paths
                .into_iter()
                .map(|path| Rule {
                    matches: vec![Match {
                        path,
                        ..Match::default()
                    }],
                    policy: (),
                })
                .collect(),
        }
    }

    #[test]
    fn longest_path_wins_and_first_among_equals() {
        let prefix = |p: &str| Some(PathMatch::Prefix(p.into()));
        let routes = [route(
            vec![],
            vec![
                None,
                prefix("/a"),
                prefix("/a/b/"),
                Some(PathMatch::Exact("/a/b".into())),
                full_regex("/x.*").map(PathMatch::Regex),
            ],
        )];
        let cases = [
            ("/", 0),
            ("/a", 1),
            ("/ab", 0),
            ("/a/b", 2),
            ("/a/b/c", 2),
            ("/xyz", 4),
        ];
        for (path, rule) in cases {
            assert_eq!(
                Some((0, rule)),
                find(&routes, &Get("h", path, &[])),
                "{path}"
            );
        }
    }

    #[test]
    fn exact_hosts_beat_suffixes_beat_none() {
        let routes = [
            route(vec![], vec![None]),
            route(vec![HostMatch::Suffix(".example.com".into())], vec![None]),
            route(vec![HostMatch::Exact("a.example.com".into())], vec![None]),
        ];
        let cases = [
            ("other", 0),
            ("example.com", 0),
            ("b.example.com:8080", 1),
            ("A.example.com.", 2),
            ("[::1]:80", 0),
        ];
        for (host, expected) in cases {
            assert_eq!(
                Some((expected, 0)),
                find(&routes, &Get(host, "/", &[])),
                "{host}"
            );
        }
    }

    #[test]
    fn headers_and_queries_narrow() {
        let rule = |headers: Vec<(String, ValueMatch)>, query: Vec<(String, ValueMatch)>| Rule {
            matches: vec![Match {
                headers,
                query,
                ..Match::default()
            }],
            policy: (),
        };
        let exact = |v: &str| ValueMatch::Exact(v.into());
        let routes = [Route {
            meta: Arc::new(Meta::default()),
            hosts: vec![],
            rules: vec![
                rule(vec![("x".into(), exact("1"))], vec![]),
                rule(vec![], vec![("q".into(), exact("a b"))]),
            ],
        }];
        assert_eq!(None, find(&routes, &Get("h", "/", &[])));
        assert_eq!(Some((0, 0)), find(&routes, &Get("h", "/", &[("x", "1")])));
        assert_eq!(Some((0, 1)), find(&routes, &Get("h", "/?q=a%20b", &[])));
        assert_eq!(
            Some((0, 0)),
            find(&routes, &Get("h", "/?q=a+b", &[("x", "1")]))
        );
    }
}

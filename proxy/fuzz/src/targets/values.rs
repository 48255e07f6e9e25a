//! Texts and numbers that users, workloads and control planes choose.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use linkerd_proxy_core::access_log::{self, Entry, Format};
use linkerd_proxy_core::authorize::{Authentication, Authorization, IpNet, Network, Peer};
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::path;
use linkerd_proxy_core::rate_limit::{Limiter, RateLimit};
use linkerd_proxy_core::route::{full_regex, HostMatch, Match, PathMatch, Route, Rule};
use linkerd_proxy_core::server::{Protocol, RoutePolicy, ServerPolicy, Verdict};

use super::messages::Asked;

// The formats belong to the program, which is no library.
#[allow(dead_code, missing_docs)]
#[path = "../../../app/src/settings/parse.rs"]
mod parse;

/// The input's lines as text.
fn lines(input: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(input);
    text.split('\n').map(str::to_owned).collect()
}

/// A route guards a path (first line) that nobody may reach, in whatever spelling (second line).
pub fn route_match(input: &[u8]) {
    let lines = lines(input);
    let [guarded, asked, ..] = lines.as_slice() else {
        return;
    };
    let everywhere = Authorization {
        networks: vec![Network {
            net: IpNet::parse("0.0.0.0/0").unwrap(),
            except: Vec::new(),
        }],
        authentication: Authentication::Unauthenticated,
        meta: Arc::new(Meta::default()),
    };
    let route = |path| Route {
        meta: Arc::new(Meta::default()),
        hosts: Vec::new(),
        rules: vec![Rule {
            matches: vec![Match {
                path: Some(path),
                ..Match::default()
            }],
            policy: RoutePolicy::default(),
        }],
    };
    let routes = vec![
        (route(PathMatch::Prefix("/".into())), vec![everywhere]),
        (route(PathMatch::Prefix(guarded.clone())), vec![]),
    ];
    let policy = ServerPolicy::new(Arc::new(Meta::default()), Protocol::Http1, vec![], routes);
    let passes = |path: &str| {
        let verdict = policy.check(&Asked(path), IpAddr::from([10, 0, 0, 1]), &Peer::Plain);
        matches!(verdict, Verdict::Allow { .. })
    };
    let readings = path::readings(asked);
    assert!(readings.len() <= 64);
    assert!(!path::is_plain(asked) || readings.is_empty());
    if passes(asked) {
        for reading in &readings {
            assert!(
                passes(reading) || !path::is_plain(reading),
                "{asked} as {reading}"
            );
        }
    }
    if let Some(regex) = full_regex(guarded) {
        let _ = regex.is_match(asked);
    }
    let hosts = [
        HostMatch::Exact(guarded.clone()),
        HostMatch::Suffix(guarded.clone()),
    ];
    let _ = linkerd_proxy_core::route::rank_host(&hosts, asked);
}

/// Every format of the environment's variables.
pub fn settings(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    let _ = parse::HostPort::parse(text);
    let _ = parse::parse_duration(text);
    let _ = parse::parse_bool(text);
    let _ = parse::parse_addr(text);
    let _ = parse::parse_addrs(text);
    let _ = parse::parse_ips(text);
    let _ = parse::parse_nets(text);
    let _ = parse::parse_size(text);
    let _ = parse::parse_socket(text);
    if let Ok(ports) = parse::parse_ports(text) {
        let _ = (ports.contains(0), ports.contains(u16::MAX));
    }
}

/// Names, ranges, rates and log lines.
pub fn values(input: &[u8]) {
    let lines = lines(input);
    for text in &lines {
        if let Some(id) = Id::parse(text) {
            assert_eq!(Some(&id), Id::parse(id.as_str()).as_ref());
            assert!(!id.as_str().contains(char::is_control));
        }
        if let Some(net) = IpNet::parse(text) {
            let _ = net.contains(IpAddr::from([10, 0, 0, 1]));
            let _ = net.contains(IpAddr::from([0; 16]));
        }
    }
    let text = String::from_utf8_lossy(input);
    for format in [Format::Apache, Format::Json] {
        let entry = Entry {
            client_addr: "10.0.0.1:1",
            // Names are parsed and methods are tokens; the rest is what a client likes.
            client_id: "web.ns",
            method: "GET",
            uri: &text,
            version: "HTTP/1.1",
            host: &text,
            user_agent: &text,
            trace_id: &text,
            request_bytes: &text,
            response_bytes: &text,
            ..Entry::default()
        };
        let line = access_log::line(format, &entry);
        let controls = line.chars().filter(|c| c.is_control()).count();
        assert_eq!(1, controls, "{line:?}");
    }
    let mut numbers = input.chunks_exact(4).map(|four| {
        four.iter()
            .fold(0u64, |sum, octet| sum << 8 | u64::from(*octet))
    });
    let mut next = || numbers.next().unwrap_or(0);
    let mut limiter = Limiter::new(RateLimit {
        meta: Arc::new(Meta::default()),
        total: u32::try_from(next()).ok(),
        identity: u32::try_from(next()).ok(),
        overrides: vec![(vec!["web.ns".to_owned()], next() as u32)],
    });
    let mut now = next();
    for step in 0..32 {
        now = now.saturating_add(next());
        let client = if step % 2 == 0 { Some("web.ns") } else { None };
        let _ = limiter.admit(client, now);
    }
    let _ = Duration::from_nanos(now);
}

//! Messages of a control plane: a bad field is an error, never a panic.

use std::net::IpAddr;

use linkerd_proxy_api::{convert, destination, inbound, outbound, tap};
use linkerd_proxy_core::authorize::Peer;
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::route;
use prost::Message;

/// A request for policies to look at.
pub struct Asked<'a>(pub &'a str);

impl route::Request for Asked<'_> {
    fn method(&self) -> &str {
        "POST"
    }

    fn authority(&self) -> Option<&str> {
        Some("web.ns.svc.cluster.local:80")
    }

    fn path(&self) -> &str {
        self.0
    }

    fn query(&self) -> Option<&str> {
        Some("a=b&c")
    }

    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        name == "x" && test(b"y")
    }
}

/// Endpoints.
pub fn destination(input: &[u8]) {
    if let Ok(message) = destination::Update::decode(input) {
        let _ = convert::destination::update(message);
    }
}

/// Service profiles, and names of destinations.
pub fn profile(input: &[u8]) {
    if let Ok(message) = destination::DestinationProfile::decode(input) {
        let _ = convert::destination::profile(message);
    }
    let _ = convert::destination::path(&String::from_utf8_lossy(input));
}

/// Policies of a port; what is read can be asked.
pub fn inbound(input: &[u8]) {
    let Ok(message) = inbound::Server::decode(input) else {
        return;
    };
    let Ok(policy) = convert::inbound::server(message) else {
        return;
    };
    let peers = [
        Peer::Plain,
        Peer::Mesh(None),
        Peer::Mesh(Id::parse("web.ns")),
    ];
    for ip in [IpAddr::from([10, 0, 0, 1]), IpAddr::from([0; 16])] {
        for peer in &peers {
            let _ = policy.authorize(ip, peer);
            for path in ["/", "/a/../b", "*", ""] {
                let _ = policy.check(&Asked(path), ip, peer);
            }
        }
    }
    if let Some(limiter) = &policy.limiter {
        let mut limiter = limiter.lock().unwrap();
        for now in [0, 1, u64::MAX] {
            let _ = limiter.admit(Some("web.ns"), now);
        }
    }
}

/// Policies of a target.
pub fn outbound(input: &[u8]) {
    if let Ok(message) = outbound::OutboundPolicy::decode(input) {
        let _ = convert::outbound::policy(message);
    }
}

/// What someone wants to watch.
pub fn tap(input: &[u8]) {
    if let Ok(message) = tap::observe_request::Match::decode(input) {
        let _ = convert::tap::condition(Some(message));
    }
}

//! What the proxy's own functions decide of policies and requests that another program made.

use std::net::IpAddr;

use linkerd_proxy_api::convert;
use linkerd_proxy_api::inbound;
use linkerd_proxy_core::authorize::Peer;
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::route;
use linkerd_proxy_core::server::Verdict;
use prost::Message;
use serde::Deserialize;

/// A policy as it travels and requests for the port that it guards.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// `io.linkerd.proxy.inbound.Server`, hexadecimal.
    pub policy: String,
    /// Each is decided by itself.
    pub requests: Vec<Request>,
}

/// A request and who sends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The client's address.
    pub ip: IpAddr,
    /// The client's identity: none without TLS of the mesh, empty with TLS but no certificate.
    pub identity: Option<String>,
    /// The method.
    pub method: String,
    /// The authority, or `host`.
    pub authority: Option<String>,
    /// The path, without query.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// Lower-case names and values, in order.
    pub headers: Vec<(String, String)>,
}

/// `allow ROUTE RULE`, `deny ROUTE` or `none` for each request.
///
/// # Errors
/// The policy is not what a control plane may send.
pub fn decide(case: &Case) -> Result<Vec<String>, String> {
    let octets = unhex(&case.policy).ok_or("the policy is no hexadecimal text")?;
    let message = inbound::Server::decode(octets.as_slice()).map_err(|error| error.to_string())?;
    let policy = convert::inbound::server(message).map_err(|error| error.to_string())?;
    let decided = case.requests.iter().map(|request| {
        match policy.check(request, request.ip, &request.peer()) {
            Verdict::Allow { route, rule, .. } => format!("allow {route} {rule}"),
            Verdict::Deny { route } => format!("deny {route}"),
            Verdict::NoRoute => "none".to_owned(),
        }
    });
    Ok(decided.collect())
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .map(|digit| digit.to_digit(16))
        .collect::<Option<_>>()?;
    let octets = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    octets.collect()
}

impl Request {
    fn peer(&self) -> Peer {
        match &self.identity {
            None => Peer::Plain,
            Some(name) => Peer::Mesh(Id::parse(name)),
        }
    }
}

impl route::Request for Request {
    fn method(&self) -> &str {
        &self.method
    }

    fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        values.any(|(_, value)| test(value.as_bytes()))
    }
}

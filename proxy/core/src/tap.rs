//! Which requests someone who watches wants to see.
//!
//! Source: linkerd2-proxy linkerd/proxy/tap/src/grpc/match_.rs (behaviour).

use crate::authorize::IpNet;
use crate::route::Request;
use std::net::SocketAddr;

/// Nesting of [`Match`]es that is understood.
pub const DEPTH_MAX: usize = 32;

/// A condition on an exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// All of these; none is fulfilled.
    All(Vec<Match>),
    /// Any of these; none is not fulfilled.
    Any(Vec<Match>),
    /// Not this.
    Not(Box<Match>),
    /// Where it comes from.
    Source(Tcp),
    /// Where it goes.
    Destination(Tcp),
    /// A label of the destination has this value.
    DestinationLabel(String, String),
    /// A label of the route has this value.
    RouteLabel(String, String),
    /// `http` or `https`.
    Scheme(String),
    /// Method in upper case.
    Method(String),
    /// Path without query.
    Path(Text),
    /// Authority.
    Authority(Text),
}

/// A condition on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// The IP is in it.
    Net(IpNet),
    /// The port is between these, both included.
    Ports(u16, u16),
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Equal.
    Exact(String),
    /// Begins with it.
    Prefix(String),
}

/// What is known of an exchange when its request passes.
pub trait Exchange {
    /// The client.
    fn source(&self) -> SocketAddr;
    /// The server.
    fn destination(&self) -> SocketAddr;
    /// A label of the destination.
    fn destination_label(&self, name: &str) -> Option<&str>;
    /// A label of the route.
    fn route_label(&self, name: &str) -> Option<&str>;
    /// The scheme, if the request names one.
    fn scheme(&self) -> Option<&str>;
    /// The request.
    fn request(&self) -> &dyn Request;
}

impl Match {
    /// Whether `exchange` fulfils the condition.
    pub fn holds(&self, exchange: &dyn Exchange) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(exchange)),
            Self::Any(any) => any.iter().any(|one| one.holds(exchange)),
            Self::Not(not) => !not.holds(exchange),
            Self::Source(tcp) => tcp.holds(exchange.source()),
            Self::Destination(tcp) => tcp.holds(exchange.destination()),
            Self::DestinationLabel(name, value) => {
                exchange.destination_label(name) == Some(value.as_str())
            }
            Self::RouteLabel(name, value) => exchange.route_label(name) == Some(value.as_str()),
            Self::Scheme(scheme) => exchange.scheme() == Some(scheme.as_str()),
            Self::Method(method) => exchange.request().method() == method,
            Self::Path(text) => text.holds(exchange.request().path()),
            Self::Authority(text) => exchange
                .request()
                .authority()
                .is_some_and(|authority| text.holds(authority)),
        }
    }
}

impl Tcp {
    fn holds(&self, addr: SocketAddr) -> bool {
        match self {
            Self::Net(net) => net.contains(addr.ip()),
            Self::Ports(low, high) => (*low..=*high).contains(&addr.port()),
        }
    }
}

impl Text {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen;

    impl Request for Seen {
        fn method(&self) -> &str {
            "GET"
        }
        fn authority(&self) -> Option<&str> {
            Some("web.ns:80")
        }
        fn path(&self) -> &str {
            "/a/b"
        }
        fn query(&self) -> Option<&str> {
            None
        }
        fn header(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            false
        }
    }

    impl Exchange for Seen {
        fn source(&self) -> SocketAddr {
            ([10, 0, 0, 1], 1000).into()
        }
        fn destination(&self) -> SocketAddr {
            ([10, 0, 0, 2], 80).into()
        }
        fn destination_label(&self, name: &str) -> Option<&str> {
            (name == "pod").then_some("web-1")
        }
        fn route_label(&self, name: &str) -> Option<&str> {
            (name == "route").then_some("list")
        }
        fn scheme(&self) -> Option<&str> {
            Some("http")
        }
        fn request(&self) -> &dyn Request {
            self
        }
    }

    #[test]
    fn every_condition_looks_at_its_own_part() {
        let net = |text| Tcp::Net(IpNet::parse(text).expect("a net"));
        let text = |s: &str| s.to_owned();
        let yes = || Match::Method(text("GET"));
        let no = || Match::Method(text("PUT"));
        let cases = [
            (Match::All(vec![]), true),
            (Match::Any(vec![]), false),
            (Match::All(vec![yes(), no()]), false),
            (Match::Any(vec![yes(), no()]), true),
            (Match::Not(Box::new(no())), true),
            (Match::Source(net("10.0.0.0/8")), true),
            (Match::Source(net("11.0.0.0/8")), false),
            (Match::Source(Tcp::Ports(80, 80)), false),
            (Match::Destination(Tcp::Ports(80, 80)), true),
            (Match::Destination(Tcp::Ports(81, 90)), false),
            (Match::DestinationLabel(text("pod"), text("web-1")), true),
            (Match::DestinationLabel(text("pod"), text("web")), false),
            (Match::DestinationLabel(text("ns"), text("")), false),
            (Match::RouteLabel(text("route"), text("list")), true),
            (Match::Scheme(text("https")), false),
            (Match::Path(Text::Prefix(text("/a"))), true),
            (Match::Path(Text::Exact(text("/a"))), false),
            (Match::Authority(Text::Exact(text("web.ns:80"))), true),
            (Match::Authority(Text::Prefix(text("api"))), false),
        ];
        for (condition, expected) in cases {
            assert_eq!(expected, condition.holds(&Seen), "{condition:?}");
        }
    }
}

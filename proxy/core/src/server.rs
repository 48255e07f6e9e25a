//! Inbound policy of one port.

use crate::authorize::{authorize, Authorization, Peer};
use crate::filter::Filter;
use crate::meta::Meta;
use crate::path;
use crate::rate_limit::{Limiter, RateLimit};
use crate::route::{find, Request, Route, Rule};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How connections to the port are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Detect TLS, then HTTP, waiting at most this long.
    Detect(Duration),
    /// HTTP/1 (over HTTP/2 between proxies).
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes, without any detection.
    Opaque,
    /// The application speaks TLS itself.
    Tls,
}

/// What a route of a server demands.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    /// What is done to requests.
    pub filters: Arc<[Filter]>,
}

impl Default for RoutePolicy {
    fn default() -> Self {
        Self {
            filters: Arc::new([]),
        }
    }
}

/// A route with the authorizations that apply to it.
#[derive(Clone, Debug)]
pub struct ServerRoute {
    /// Who may use it, in order.
    pub authorizations: Vec<Authorization>,
}

/// The policy of a port.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    /// The Server or default it came from.
    pub meta: Arc<Meta>,
    /// How to read connections.
    pub protocol: Protocol,
    /// Who may connect, in order.
    pub authorizations: Vec<Authorization>,
    /// HTTP routes, never empty.
    pub routes: Vec<Route<RoutePolicy>>,
    /// For each route, who may use it; same length as `routes`.
    pub route_authorizations: Vec<ServerRoute>,
    /// How many requests it takes; shared by all who hold a copy.
    pub limiter: Option<Arc<Mutex<Limiter>>>,
    /// Whether a path decides anything.
    reads_paths: bool,
    /// Whether a host decides anything.
    reads_hosts: bool,
}

/// Outcome for one request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Forward it.
    Allow {
        /// Index of the route.
        route: usize,
        /// Index of the rule in it.
        rule: usize,
        /// Who admitted it.
        authorization: &'a Authorization,
    },
    /// Refuse it.
    Deny {
        /// Index of the route.
        route: usize,
    },
    /// No route matches.
    NoRoute,
}

/// The default policies of `LINKERD2_PROXY_INBOUND_DEFAULT_POLICY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPolicy {
    /// Nobody.
    Deny,
    /// Mesh clients from anywhere.
    AllAuthenticated,
    /// Anybody.
    AllUnauthenticated,
    /// Mesh clients from the cluster's networks.
    ClusterAuthenticated,
    /// Anybody from the cluster's networks.
    ClusterUnauthenticated,
    /// Anybody, and say so.
    Audit,
}

impl DefaultPolicy {
    /// Reads the name that Linkerd uses.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "deny" => Self::Deny,
            "all-authenticated" => Self::AllAuthenticated,
            "all-unauthenticated" => Self::AllUnauthenticated,
            "cluster-authenticated" => Self::ClusterAuthenticated,
            "cluster-unauthenticated" => Self::ClusterUnauthenticated,
            "audit" => Self::Audit,
            _ => return None,
        })
    }

    /// The name that Linkerd uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::AllAuthenticated => "all-authenticated",
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::Audit => "audit",
        }
    }
}

impl ServerPolicy {
    /// Assembles a policy; a server without routes gets one that matches everything.
    ///
    /// Route authorizations extend those of the server, and `localhost` is always admitted.
    pub fn new(
        meta: Arc<Meta>,
        protocol: Protocol,
        mut authorizations: Vec<Authorization>,
        routes: Vec<(Route<RoutePolicy>, Vec<Authorization>)>,
    ) -> Self {
        authorizations.push(Authorization::localhost());
        let mut policy = Self {
            meta,
            protocol,
            authorizations,
            routes: Vec::new(),
            route_authorizations: Vec::new(),
            limiter: None,
            reads_paths: false,
            reads_hosts: false,
        };
        for (route, extra) in routes {
            let mut matches = route.rules.iter().flat_map(|rule| &rule.matches);
            policy.reads_paths |= matches.any(|m| m.path.is_some());
            policy.reads_hosts |= !route.hosts.is_empty();
            let mut all = extra;
            all.extend(policy.authorizations.iter().cloned());
            policy.routes.push(route);
            policy.route_authorizations.push(ServerRoute {
                authorizations: all,
            });
        }
        if policy.routes.is_empty() {
            policy.routes.push(Route {
                meta: Arc::new(Meta::default_named("default")),
                hosts: Vec::new(),
                rules: vec![Rule {
                    matches: Vec::new(),
                    policy: RoutePolicy::default(),
                }],
            });
            let authorizations = policy.authorizations.clone();
            policy
                .route_authorizations
                .push(ServerRoute { authorizations });
        }
        policy
    }

    /// Limits requests.
    #[must_use]
    pub fn limited(mut self, limiter: Option<Limiter>) -> Self {
        self.limiter = limiter.map(|limiter| Arc::new(Mutex::new(limiter)));
        self
    }

    /// Takes the place of `old`: what that counted stays counted where the limits are the same.
    #[must_use]
    pub fn following(mut self, old: &Self) -> Self {
        if let (Some(new), Some(known)) = (&self.limiter, &old.limiter) {
            if limits(new) == limits(known) {
                self.limiter = Some(known.clone());
            }
        }
        self
    }

    /// Whether a connection of bytes may pass, and who says so.
    pub fn authorize(&self, ip: IpAddr, peer: &Peer) -> Option<&Authorization> {
        authorize(&self.authorizations, ip, peer)
    }

    /// Whether a request may pass.
    ///
    /// Where routes tell paths or hosts apart, a request whose path or host has several spellings
    /// passes only when it would under each of them: the application may read any.
    pub fn check(&self, request: &dyn Request, ip: IpAddr, peer: &Peer) -> Verdict<'_> {
        if self.reads_hosts && !request.authority().is_none_or(is_plain_host) {
            return Verdict::NoRoute;
        }
        let verdict = self.decide(request, ip, peer);
        if !self.reads_paths || !matches!(verdict, Verdict::Allow { .. }) {
            return verdict;
        }
        for path in path::readings(request.path()) {
            let other = self.decide(&Reading { request, path }, ip, peer);
            if !matches!(other, Verdict::Allow { .. }) {
                return other;
            }
        }
        verdict
    }

    fn decide(&self, request: &dyn Request, ip: IpAddr, peer: &Peer) -> Verdict<'_> {
        let Some((route, rule)) = find(&self.routes, request) else {
            return Verdict::NoRoute;
        };
        let Some(guard) = self.route_authorizations.get(route) else {
            return Verdict::NoRoute;
        };
        match authorize(&guard.authorizations, ip, peer) {
            Some(authorization) => Verdict::Allow {
                route,
                rule,
                authorization,
            },
            None => Verdict::Deny { route },
        }
    }
}

/// A request with another spelling of its path.
struct Reading<'a> {
    request: &'a dyn Request,
    path: String,
}

impl Request for Reading<'_> {
    fn method(&self) -> &str {
        self.request.method()
    }

    fn authority(&self) -> Option<&str> {
        self.request.authority()
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.request.query()
    }

    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.request.header(name, test)
    }
}

/// True when no reader takes `authority` for another host: no user, escape, empty label or second port.
fn is_plain_host(authority: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    let ports = authority.rsplit(']').next().unwrap_or("");
    authority.bytes().all(known)
        && !authority.contains("..")
        && ports.bytes().filter(|&byte| byte == b':').count() <= 1
}

fn limits(limiter: &Mutex<Limiter>) -> Option<RateLimit> {
    limiter.lock().ok().map(|limiter| limiter.limit().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::{Authentication, IpNet, Network};
    use crate::route::{HostMatch, Match, PathMatch};

    struct Get(&'static str, &'static str);

    impl Request for Get {
        fn method(&self) -> &str {
            "GET"
        }
        fn authority(&self) -> Option<&str> {
            Some(self.0)
        }
        fn path(&self) -> &str {
            self.1
        }
        fn query(&self) -> Option<&str> {
            None
        }
        fn header(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            false
        }
    }

    fn route(host: Option<&str>, prefix: &str) -> Route<RoutePolicy> {
        Route {
            meta: Arc::new(Meta::default()),
            hosts: host
                .map(|host| HostMatch::Exact(host.to_owned()))
                .into_iter()
                .collect(),
            rules: vec![Rule {
                matches: vec![Match {
                    path: Some(PathMatch::Prefix(prefix.to_owned())),
                    ..Match::default()
                }],
                policy: RoutePolicy::default(),
            }],
        }
    }

    fn policy() -> ServerPolicy {
        let everybody = Authorization {
            networks: vec![Network {
                net: IpNet::parse("0.0.0.0/0").expect("valid net"),
                except: Vec::new(),
            }],
            authentication: Authentication::Unauthenticated,
            meta: Arc::new(Meta::default()),
        };
        let routes = vec![
            (route(None, "/public"), vec![everybody.clone()]),
            (route(None, "/public/admin"), vec![]),
            (route(Some("secret.ns"), "/"), vec![]),
        ];
        ServerPolicy::new(Arc::new(Meta::default()), Protocol::Http1, vec![], routes)
    }

    /// Source: CVE-2021-29492 and CVE-2021-31920 of others.
    #[test]
    fn a_spelling_that_means_a_guarded_path_is_refused() {
        let cases = [
            ("web.ns", "/public/a", true),
            ("web.ns", "/public/a%20b", true),
            ("web.ns", "/public/x/../a", true),
            ("web.ns", "/public/admin", false),
            ("web.ns", "/public/%61dmin", false),
            ("web.ns", "/public/a/../admin", false),
            ("web.ns", "/public//admin", false),
            ("web.ns", "/public/../other", false),
            ("secret.ns", "/public/a", false),
            ("SECRET.ns.:80", "/public/a", false),
            ("x@secret.ns", "/public/a", false),
            ("%73ecret.ns", "/public/a", false),
            ("secret.ns:80:80", "/public/a", false),
            ("[::1]:80", "/public/a", true),
        ];
        for (host, path, admitted) in cases {
            let policy = policy();
            let verdict = policy.check(&Get(host, path), [10, 0, 0, 1].into(), &Peer::Plain);
            let passed = matches!(verdict, Verdict::Allow { .. });
            assert_eq!(admitted, passed, "{host} {path}");
        }
    }
}

//! Inbound policy of one port.

use crate::authorize::{authorize, Authorization, Peer};
use crate::filter::Filter;
use crate::meta::Meta;
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
        };
        for (route, extra) in routes {
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
    pub fn check(&self, request: &dyn Request, ip: IpAddr, peer: &Peer) -> Verdict<'_> {
        let Some((route, rule)) = find(&self.routes, request) else {
            return Verdict::NoRoute;
        };
        match authorize(&self.route_authorizations[route].authorizations, ip, peer) {
            Some(authorization) => Verdict::Allow {
                route,
                rule,
                authorization,
            },
            None => Verdict::Deny { route },
        }
    }
}

fn limits(limiter: &Mutex<Limiter>) -> Option<RateLimit> {
    limiter.lock().ok().map(|limiter| limiter.limit().clone())
}

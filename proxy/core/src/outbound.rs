//! Outbound policy of one target.

use crate::breaker::Accrual;
use crate::dst::Dst;
use crate::endpoint::Endpoint;
use crate::filter::Filter;
use crate::meta::Meta;
use crate::profile::ProfileRoutes;
use crate::retry::Retry;
use crate::rng::Rng;
use crate::route::{rank_host, HostMatch, PathMatch, Route};
use crate::timeout::Timeouts;
use std::sync::Arc;
use std::time::Duration;

/// How load is estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Assumed round trip before the first sample.
    pub default_rtt: Duration,
    /// Time constant of the decay.
    pub decay: Duration,
    /// Round trip that a failed response counts as, and the longest `retry-after` that is believed.
    pub penalty: Option<(Duration, Duration)>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            default_rtt: Duration::from_millis(30),
            decay: Duration::from_secs(10),
            penalty: None,
        }
    }
}

/// Where requests may go.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Balance over what `Destination.Get` says about this `name:port`.
    Balance {
        /// The path to ask for.
        path: String,
        /// How to weigh endpoints.
        load: Load,
        /// When to take one out.
        accrual: Option<Arc<Accrual>>,
    },
    /// One endpoint.
    Forward(Box<Endpoint>),
    /// Nowhere; the text says why.
    Fail(String),
}

/// A backend of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The object behind it.
    pub meta: Arc<Meta>,
    /// Where its requests go.
    pub target: Target,
    /// What is done to requests that go there.
    pub filters: Arc<[Filter]>,
    /// Where else they go.
    pub mirrors: Vec<Mirror>,
}

/// Gets copies of requests; nobody sees its responses.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// It.
    pub backend: Backend,
    /// The share of requests as numerator and denominator, the latter never 0.
    pub ratio: (u32, u32),
}

impl Backend {
    /// A backend without filters.
    pub fn new(meta: Arc<Meta>, target: Target) -> Self {
        Self {
            meta,
            target,
            filters: Arc::new([]),
            mirrors: Vec::new(),
        }
    }
}

/// How a rule spreads requests over its backends.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// No backend at all.
    Empty,
    /// The first that is ready.
    FirstAvailable(Vec<Backend>),
    /// By weight.
    RandomAvailable(Vec<(Backend, u32)>),
}

/// Why nothing passes a route that forbids connections.
pub const FORBIDDEN: &str = "connection forbidden by route";

impl Distribution {
    /// Whether the route forbids connections.
    pub fn forbids(&self) -> bool {
        let forbidden =
            |one: &&Backend| matches!(&one.target, Target::Fail(why) if why == FORBIDDEN);
        self.backends().first().is_some_and(forbidden)
    }

    /// All backends in order.
    pub fn backends(&self) -> Vec<&Backend> {
        match self {
            Self::Empty => Vec::new(),
            Self::FirstAvailable(backends) => backends.iter().collect(),
            Self::RandomAvailable(backends) => {
                backends.iter().map(|(backend, _)| backend).collect()
            }
        }
    }

    /// Index into [`Self::backends`] of the one to use, given which are ready.
    ///
    /// When none is ready the choice is made as if all were, so that the request waits at (and is
    /// refused by) a backend and not by the distribution.
    pub fn pick(&self, ready: &dyn Fn(usize) -> bool, rng: &mut Rng) -> Option<usize> {
        match self {
            Self::Empty => None,
            Self::FirstAvailable(backends) => (0..backends.len())
                .find(|i| ready(*i))
                .or((!backends.is_empty()).then_some(0)),
            Self::RandomAvailable(backends) => {
                let weigh = |only_ready: bool| -> Vec<u64> {
                    let weight = |(i, (_, w)): (usize, &(Backend, u32))| {
                        if only_ready && !ready(i) {
                            0
                        } else {
                            u64::from(*w)
                        }
                    };
                    backends.iter().enumerate().map(weight).collect()
                };
                let mut weights = weigh(true);
                if weights.iter().sum::<u64>() == 0 {
                    weights = weigh(false);
                }
                let total: u64 = weights.iter().sum();
                if total == 0 {
                    return None;
                }
                let mut at = rng.below(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
                for (i, weight) in weights.iter().enumerate() {
                    if at < *weight {
                        return Some(i);
                    }
                    at -= weight;
                }
                None
            }
        }
    }
}

/// What a rule of an outbound route demands.
#[derive(Clone, Debug)]
pub struct RulePolicy {
    /// Where its requests go.
    pub distribution: Distribution,
    /// What is done to them.
    pub filters: Arc<[Filter]>,
    /// Where else they go.
    pub mirrors: Vec<Mirror>,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// Whether they are sent again.
    pub retry: Option<Arc<Retry>>,
    /// Whether clients may set timeouts and retries by header.
    pub obeys_headers: bool,
    /// Whether its requests are gRPC.
    pub grpc: bool,
}

impl RulePolicy {
    /// A rule that only forwards.
    pub fn plain(distribution: Distribution) -> Self {
        Self {
            distribution,
            filters: Arc::new([]),
            mirrors: Vec::new(),
            timeouts: Timeouts::default(),
            retry: None,
            obeys_headers: false,
            grpc: false,
        }
    }
}

/// Routes of one protocol.
pub type Routes = Arc<[Route<RulePolicy>]>;

/// A route of connections whose bytes are not read.
#[derive(Clone, Debug)]
pub struct ByteRoute {
    /// Where it came from.
    pub meta: Arc<Meta>,
    /// Names that TLS clients ask for; empty for any.
    pub snis: Vec<HostMatch>,
    /// Where connections go.
    pub distribution: Distribution,
}

/// The index of the route for a TLS client that asks for `sni`: exact names before endings, longer
/// endings before shorter ones, the first among equals.
pub fn find_sni(routes: &[ByteRoute], sni: &str) -> Option<usize> {
    let mut best: Option<((u8, usize), usize)> = None;
    for (i, route) in routes.iter().enumerate() {
        if let Some(rank) = rank_host(&route.snis, sni) {
            if best.is_none_or(|(top, _)| rank > top) {
                best = Some((rank, i));
            }
        }
    }
    best.map(|(_, i)| i)
}

/// How connections to a target are read.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// Detect HTTP within the time, bytes otherwise.
    Detect {
        /// Longest wait for the first bytes.
        timeout: Duration,
        /// Routes for HTTP/1.
        http1: Routes,
        /// Routes for HTTP/2.
        http2: Routes,
        /// Backends for bytes.
        opaque: ByteRoute,
    },
    /// HTTP/1 without detection.
    Http1(Routes),
    /// HTTP/2 without detection.
    Http2(Routes),
    /// Bytes.
    Opaque(ByteRoute),
    /// TLS of the application, routed by the name it asks for and forwarded as bytes.
    Tls(Arc<[ByteRoute]>),
}

/// The policy of a target.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// The parent: Service, EgressNetwork or a default.
    pub meta: Arc<Meta>,
    /// How to read connections and where they go.
    pub protocol: Protocol,
}

/// A ServiceProfile.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Full name of the service, if any.
    pub name: Option<String>,
    /// Whether connections are bytes.
    pub opaque: bool,
    /// The endpoint, when the target is a pod.
    pub endpoint: Option<Endpoint>,
    /// Weighted targets (`name:port`) that replace the service.
    pub overrides: Vec<(String, u32)>,
    /// Its routes, if it has any.
    pub routes: Option<ProfileRoutes>,
    /// Parent object, if the control plane named one.
    pub parent: Option<Meta>,
}

impl Profile {
    /// Whether requests follow the profile rather than the policy.
    pub fn leads(&self) -> bool {
        !self.overrides.is_empty() || (self.routes.is_some() && self.name.is_some())
    }

    /// Weighted `name:port`s that it sends to when it leads.
    fn targets(&self, port: u16) -> Vec<(String, u32)> {
        match &self.name {
            _ if !self.overrides.is_empty() => self.overrides.clone(),
            Some(name) if self.routes.is_some() => vec![(format!("{name}:{port}"), 1)],
            Some(_) | None => Vec::new(),
        }
    }
}

/// All endpoints of `path`, weighed as usual.
fn balance(path: &str) -> Target {
    Target::Balance {
        path: path.to_owned(),
        load: Load::default(),
        accrual: None,
    }
}

fn any_route(meta: Arc<Meta>, distribution: Distribution) -> Routes {
    Arc::new([Route {
        meta,
        hosts: Vec::new(),
        rules: vec![crate::route::Rule {
            matches: vec![crate::route::Match {
                path: Some(PathMatch::Prefix("/".into())),
                ..Default::default()
            }],
            policy: RulePolicy::plain(distribution),
        }],
    }])
}

/// Makes one policy of what the two watches say about a destination.
///
/// A profile with routes or overrides wins over the policy; without a policy the profile's endpoint, the
/// original address, or what discovery says about the name is used; an opaque profile makes any policy
/// opaque.
/// Source: linkerd2-proxy linkerd/app/outbound/src/discover.rs (behaviour).
pub fn combine(
    dst: &Dst,
    profile: Option<&Profile>,
    policy: Option<&ClientPolicy>,
    detect_timeout: Duration,
) -> ClientPolicy {
    let synthesized = |meta: Arc<Meta>, distribution: Distribution| {
        let routes = any_route(meta.clone(), distribution.clone());
        let protocol = Protocol::Detect {
            timeout: detect_timeout,
            http1: routes.clone(),
            http2: routes,
            opaque: ByteRoute {
                meta: meta.clone(),
                snis: Vec::new(),
                distribution,
            },
        };
        ClientPolicy { meta, protocol }
    };
    let split = profile.map(|profile| profile.targets(dst.port()));
    let mut out = match (profile, policy) {
        (Some(profile), _) if split.as_ref().is_some_and(|split| !split.is_empty()) => {
            let meta = Arc::new(
                profile
                    .parent
                    .clone()
                    .unwrap_or_else(|| Meta::default_named("profile")),
            );
            let backend = |(path, weight): &(String, u32)| {
                (Backend::new(meta.clone(), balance(path)), *weight)
            };
            let backends = split.iter().flatten().map(backend).collect();
            synthesized(meta.clone(), Distribution::RandomAvailable(backends))
        }
        (_, Some(policy)) => policy.clone(),
        (profile, None) => {
            let endpoint = profile.and_then(|profile| profile.endpoint.clone());
            let (name, target) = match (endpoint, dst) {
                (Some(endpoint), _) => ("endpoint", Target::Forward(Box::new(endpoint))),
                (None, Dst::Addr(addr)) => (
                    "fallback",
                    Target::Forward(Box::new(Endpoint::plain(*addr))),
                ),
                (None, Dst::Name(name)) => ("fallback", balance(&name.to_string())),
            };
            let meta = Arc::new(Meta::default_named(name));
            let backend = Backend::new(meta.clone(), target);
            synthesized(meta, Distribution::FirstAvailable(vec![backend]))
        }
    };
    if profile.is_some_and(|profile| profile.opaque) {
        let opaque = match &out.protocol {
            Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) => Some(opaque.clone()),
            Protocol::Tls(routes) => routes.first().cloned(),
            Protocol::Http1(routes) | Protocol::Http2(routes) => routes.first().and_then(|route| {
                Some(ByteRoute {
                    meta: route.meta.clone(),
                    snis: Vec::new(),
                    distribution: route.rules.first()?.policy.distribution.clone(),
                })
            }),
        };
        out.protocol = Protocol::Opaque(opaque.unwrap_or_else(|| ByteRoute {
            meta: out.meta.clone(),
            snis: Vec::new(),
            distribution: Distribution::Empty,
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn addr() -> SocketAddr {
        "10.0.0.1:80".parse().expect("address")
    }

    fn dst() -> Dst {
        addr().into()
    }

    fn first_target(policy: &ClientPolicy) -> Target {
        match &policy.protocol {
            Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) => {
                opaque.distribution.backends()[0].target.clone()
            }
            Protocol::Http1(_) | Protocol::Http2(_) | Protocol::Tls(_) => {
                Target::Fail("not bytes".into())
            }
        }
    }

    #[test]
    fn unknown_addresses_are_forwarded_as_they_are() {
        let policy = combine(&dst(), None, None, Duration::from_secs(10));
        assert_eq!(
            Target::Forward(Box::new(Endpoint::plain(addr()))),
            first_target(&policy)
        );
        assert_eq!("fallback", policy.meta.name);
    }

    #[test]
    fn names_without_a_policy_are_balanced() {
        let name = crate::dst::parse("web.ns.svc.cluster.local", 80).expect("a name");
        let policy = combine(&name, None, None, Duration::from_secs(10));
        assert_eq!(
            balance("web.ns.svc.cluster.local:80"),
            first_target(&policy)
        );
    }

    #[test]
    fn a_profiles_endpoint_is_used_without_policy() {
        let endpoint = Endpoint {
            hint: crate::endpoint::Hint::Http2,
            ..Endpoint::plain(addr())
        };
        let profile = Profile {
            endpoint: Some(endpoint.clone()),
            opaque: true,
            ..Profile::default()
        };
        let policy = combine(&dst(), Some(&profile), None, Duration::from_secs(10));
        assert_eq!(Target::Forward(Box::new(endpoint)), first_target(&policy));
        assert!(matches!(policy.protocol, Protocol::Opaque(_)));
    }

    #[test]
    fn overrides_win_over_policy() {
        let base = combine(&dst(), None, None, Duration::from_secs(1));
        let profile = Profile {
            overrides: vec![("a:80".into(), 1)],
            ..Profile::default()
        };
        let policy = combine(&dst(), Some(&profile), Some(&base), Duration::from_secs(1));
        let expected = Target::Balance {
            path: "a:80".into(),
            load: Load::default(),
            accrual: None,
        };
        assert_eq!(expected, first_target(&policy));
    }

    #[test]
    fn tls_connections_go_by_the_name_they_ask_for() {
        let route = |snis: &[HostMatch]| ByteRoute {
            meta: Arc::new(Meta::default()),
            snis: snis.to_vec(),
            distribution: Distribution::Empty,
        };
        let suffix = |text: &str| HostMatch::Suffix(text.into());
        let exact = HostMatch::Exact("a.example.com".into());
        let named = [
            route(&[suffix(".com")]),
            route(&[suffix(".example.com"), suffix(".org")]),
            route(&[exact]),
        ];
        for (sni, expected) in [
            ("a.example.com", Some(2)),
            ("A.Example.com", Some(2)),
            ("b.example.com", Some(1)),
            ("example.com", Some(0)),
            ("x.org", Some(1)),
            ("x.net", None),
        ] {
            assert_eq!(expected, find_sni(&named, sni), "{sni}");
        }
        assert_eq!(Some(0), find_sni(&[route(&[])], "any"));
    }

    #[test]
    fn weights_are_respected_and_unready_backends_skipped() {
        let backend = |name: &str| {
            let meta = Arc::new(Meta::default_named(name));
            Backend::new(meta, Target::Fail(name.into()))
        };
        let split = Distribution::RandomAvailable(vec![
            (backend("a"), 3),
            (backend("b"), 1),
            (backend("c"), 0),
        ]);
        let mut rng = Rng::new(42);
        let mut hits = [0; 3];
        for _ in 0..4000 {
            hits[split.pick(&|_| true, &mut rng).expect("a backend")] += 1;
        }
        assert!((2850..3150).contains(&hits[0]) && hits[2] == 0, "{hits:?}");
        assert_eq!(Some(1), split.pick(&|i| i == 1, &mut rng));
        let first = Distribution::FirstAvailable(vec![backend("a"), backend("b")]);
        assert_eq!(Some(1), first.pick(&|i| i == 1, &mut rng));
        assert_eq!(Some(0), first.pick(&|_| false, &mut rng));
        assert_eq!(None, Distribution::Empty.pick(&|_| true, &mut rng));
    }
}

//! A destination's policy with everything that its requests need at hand.

use super::balancer::{Balancer, Traffic};
use super::endpoint::Endpoint;
use super::profile::Table;
use super::Outbound;
use crate::telemetry::bytes::Arrivals;
use crate::telemetry::route::RetryMetrics;
use crate::telemetry::stream::Handles;
use crate::telemetry::{full_meta, route_meta, Metrics};
use linkerd_proxy_core::breaker::Accrual;
use linkerd_proxy_core::filter::Filter;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::outbound::{
    Backend as Facts, ByteRoute, ClientPolicy, Distribution, Load, Mirror as MirrorFacts, Protocol,
    Routes, RulePolicy, Target,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Everything resolved for one destination; replaced as a whole when anything changes.
pub struct Logical {
    /// The policy.
    pub policy: ClientPolicy,
    /// What is counted for its connections.
    pub arrivals: Arrivals,
    /// For every route and rule of `http1`, `http2`, where requests go.
    pub http1: Vec<Vec<Rule>>,
    /// The same for HTTP/2.
    pub http2: Vec<Vec<Rule>>,
    /// Where bytes go.
    pub opaque: ByteRule,
    /// Where TLS goes, for each route of the policy.
    pub tls: Vec<ByteRule>,
    /// The profile's routes, if requests follow the profile.
    pub profile: Option<Table>,
}

/// A rule with its backends at hand.
pub struct Rule {
    /// What the rule demands.
    pub policy: RulePolicy,
    /// What is counted for its requests, whatever they are for.
    pub counted: Counted,
    /// The same by hostname, where the settings ask for it.
    named: Option<Named>,
    /// Where else they go.
    pub mirrors: Vec<Mirror>,
    backends: Vec<Backend>,
}

/// What is counted for the requests of a rule.
pub struct Counted {
    /// For their retries.
    pub retries: RetryMetrics,
    /// For themselves.
    pub stream: Arc<Handles>,
}

/// What is counted for requests by the name that they are for.
struct Named {
    labels: Labels,
    by_name: Mutex<BTreeMap<String, Arc<Counted>>>,
}

/// Hostnames of one rule that are kept at hand; clients choose them.
const NAMES_MAX: usize = 1000;

/// A rule for connections whose bytes are not read.
pub struct ByteRule {
    /// Where they go.
    pub rule: Rule,
    /// Labels of parent and route.
    pub metrics: Labels,
    /// What they are.
    pub traffic: Traffic,
}

/// A backend at hand.
#[derive(Clone)]
pub struct Backend {
    /// Where its requests go.
    pub target: BackendTarget,
    /// What is done to them.
    pub filters: Arc<[Filter]>,
    /// What is counted for them.
    pub stream: Arc<Handles>,
    /// Where else they go.
    pub mirrors: Vec<Mirror>,
}

/// A backend that gets copies.
#[derive(Clone)]
pub struct Mirror {
    /// It.
    pub target: BackendTarget,
    /// The share of requests that it gets, as numerator and denominator.
    pub ratio: (u32, u32),
}

/// Where requests of a backend go.
#[derive(Clone)]
pub enum BackendTarget {
    /// One of many.
    Balance(Arc<Balancer>),
    /// One.
    Forward(Arc<Endpoint>),
    /// Nowhere.
    Fail,
}

impl Rule {
    /// The backend to use now.
    pub fn pick(&self) -> Option<&Backend> {
        let ready = |i: usize| match &self.backends[i].target {
            BackendTarget::Balance(balancer) => balancer.is_ready(),
            BackendTarget::Forward(_) => true,
            // What is wrong with a backend is told to those whom its weight sends there.
            BackendTarget::Fail => true,
        };
        let chosen = crate::random::with(|rng| self.policy.distribution.pick(&ready, rng));
        chosen.and_then(|i| self.backends.get(i))
    }

    /// What is counted for requests to `authority`, where the settings ask for that.
    pub fn named(
        &self,
        metrics: &Metrics,
        authority: impl FnOnce() -> String,
    ) -> Option<Arc<Counted>> {
        let named = self.named.as_ref()?;
        let host = hostname(&authority());
        let mut by_name = named.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_name.get(&host) {
            return Some(known.clone());
        }
        if by_name.len() >= NAMES_MAX {
            by_name.clear();
        }
        let labels = named.labels.clone().with("hostname", &host);
        let made = Arc::new(Counted::new(metrics, labels, self.policy.grpc));
        by_name.insert(host, made.clone());
        Some(made)
    }
}

impl Counted {
    fn new(metrics: &Metrics, labels: Labels, grpc: bool) -> Self {
        Self {
            retries: RetryMetrics::new(metrics, &labels, grpc),
            stream: Handles::new(metrics.routes.of(grpc), labels),
        }
    }
}

/// The host of an authority, in lower case.
fn hostname(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.to_ascii_lowercase()
}

impl Outbound {
    fn balancer(
        self: &Arc<Self>,
        path: &str,
        load: Load,
        accrual: Option<&Arc<Accrual>>,
        labels: Labels,
    ) -> Arc<Balancer> {
        let mut balancers = self
            .cache
            .balancers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let alike = |known: &Arc<Balancer>| known.is_for(load, accrual);
        let same_path = balancers.entry(path.to_owned()).or_default();
        same_path.retain(|balancer| balancer.strong_count() > 0);
        if let Some(known) = same_path.iter().filter_map(Weak::upgrade).find(alike) {
            return known;
        }
        let balancer = Balancer::new(self, path.to_owned(), load, accrual.cloned(), labels);
        same_path.push(Arc::downgrade(&balancer));
        balancer
    }

    /// Resolves a policy; endpoints of `old` that are still in use keep their connections.
    pub(super) fn resolve(
        self: &Arc<Self>,
        policy: ClientPolicy,
        profile: Option<Table>,
        old: Option<&Logical>,
    ) -> Logical {
        let parent = policy.meta.clone();
        let none: Routes = Arc::new([]);
        let no_bytes = || ByteRoute {
            meta: parent.clone(),
            snis: Vec::new(),
            distribution: Distribution::Empty,
        };
        let (http1, http2, opaque) = match &policy.protocol {
            Protocol::Detect {
                http1,
                http2,
                opaque,
                ..
            } => (http1.clone(), http2.clone(), opaque.clone()),
            Protocol::Http1(routes) => (routes.clone(), none, no_bytes()),
            Protocol::Http2(routes) => (none, routes.clone(), no_bytes()),
            Protocol::Opaque(bytes) => (none.clone(), none, bytes.clone()),
            Protocol::Tls(_) => (none.clone(), none, no_bytes()),
        };
        // Forwarded endpoints outlive an update, so that their connections do.
        let mut forwards: Vec<Arc<Endpoint>> = old.map(Logical::forwards).unwrap_or_default();
        let mut rules = |routes: &Routes| -> Vec<Vec<Rule>> {
            routes
                .iter()
                .map(|route| {
                    route
                        .rules
                        .iter()
                        .map(|rule| self.rule(&parent, &route.meta, &rule.policy, &mut forwards))
                        .collect()
                })
                .collect()
        };
        let (http1, http2) = (rules(&http1), rules(&http2));
        let traffic = match &policy.protocol {
            Protocol::Tls(_) => Traffic::Tls,
            Protocol::Detect { .. }
            | Protocol::Http1(_)
            | Protocol::Http2(_)
            | Protocol::Opaque(_) => Traffic::Bytes,
        };
        let mut bytes = |route: &ByteRoute| {
            let plain = RulePolicy::plain(route.distribution.clone());
            ByteRule {
                rule: self.rule(&parent, &route.meta, &plain, &mut forwards),
                metrics: full_meta("parent", &parent).and(&route_meta("route", &route.meta)),
                traffic,
            }
        };
        let opaque = bytes(&opaque);
        let tls = match &policy.protocol {
            Protocol::Tls(routes) => routes.iter().map(bytes).collect(),
            Protocol::Detect { .. }
            | Protocol::Http1(_)
            | Protocol::Http2(_)
            | Protocol::Opaque(_) => Vec::new(),
        };
        Logical {
            arrivals: Arrivals::new(full_meta("parent", &parent)),
            policy,
            http1,
            http2,
            opaque,
            tls,
            profile,
        }
    }

    fn rule(
        self: &Arc<Self>,
        parent: &Meta,
        route: &Meta,
        policy: &RulePolicy,
        forwards: &mut Vec<Arc<Endpoint>>,
    ) -> Rule {
        let parent = full_meta("parent", parent);
        let labels = parent.clone().and(&route_meta("route", route));
        let families = self.metrics.backends.of(policy.grpc);
        let backends = policy
            .distribution
            .backends()
            .into_iter()
            .map(|facts| {
                let backend = full_meta("backend", &facts.meta);
                Backend {
                    target: self.target(facts, parent.clone().and(&backend), forwards),
                    filters: facts.filters.clone(),
                    stream: Handles::new(families, labels.clone().and(&backend)),
                    mirrors: self.mirrors(&facts.mirrors, &parent, forwards),
                }
            })
            .collect();
        let mirrors = self.mirrors(&policy.mirrors, &parent, forwards);
        let named = self.settings.hostname_labels.then(|| Named {
            labels: labels.clone(),
            by_name: Mutex::default(),
        });
        Rule {
            policy: policy.clone(),
            counted: Counted::new(&self.metrics, labels.with("hostname", ""), policy.grpc),
            named,
            mirrors,
            backends,
        }
    }

    fn mirrors(
        self: &Arc<Self>,
        mirrors: &[MirrorFacts],
        parent: &Labels,
        forwards: &mut Vec<Arc<Endpoint>>,
    ) -> Vec<Mirror> {
        let resolve = |mirror: &MirrorFacts| {
            let labels = parent
                .clone()
                .and(&full_meta("backend", &mirror.backend.meta));
            Mirror {
                target: self.target(&mirror.backend, labels, forwards),
                ratio: mirror.ratio,
            }
        };
        mirrors.iter().map(resolve).collect()
    }

    fn target(
        self: &Arc<Self>,
        facts: &Facts,
        labels: Labels,
        forwards: &mut Vec<Arc<Endpoint>>,
    ) -> BackendTarget {
        match &facts.target {
            Target::Balance {
                path,
                load,
                accrual,
            } => BackendTarget::Balance(self.balancer(path, *load, accrual.as_ref(), labels)),
            Target::Forward(endpoint) => {
                if let Some(known) = forwards.iter().find(|known| known.facts == **endpoint) {
                    return BackendTarget::Forward(known.clone());
                }
                let made = Endpoint::new(self, Facts_::clone(endpoint), "", Load::default(), None);
                forwards.push(made.clone());
                BackendTarget::Forward(made)
            }
            Target::Fail(_) => BackendTarget::Fail,
        }
    }
}
type Facts_ = linkerd_proxy_core::endpoint::Endpoint;

impl Logical {
    fn forwards(&self) -> Vec<Arc<Endpoint>> {
        let rules = self
            .http1
            .iter()
            .chain(&self.http2)
            .flatten()
            .chain([&self.opaque.rule])
            .chain(self.tls.iter().map(|route| &route.rule));
        let targets = rules.flat_map(|rule| rule.backends.iter().map(|backend| &backend.target));
        let mut out: Vec<Arc<Endpoint>> = Vec::new();
        for target in targets {
            if let BackendTarget::Forward(endpoint) = target {
                if !out.iter().any(|known| Arc::ptr_eq(known, endpoint)) {
                    out.push(endpoint.clone());
                }
            }
        }
        out
    }
}

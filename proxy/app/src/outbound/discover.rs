//! What the control plane says about an original destination, followed while it is used.

use super::balancer::Balancer;
use super::endpoint::Endpoint;
use super::profile::Table;
use super::Outbound;
use crate::control::grpc::code;
use crate::control::watch::{follow, Event};
use crate::telemetry::route::RetryMetrics;
use crate::telemetry::stream::Handles;
use crate::telemetry::{full_meta, route_meta};
use linkerd_proxy_api::convert;
use linkerd_proxy_api::{destination as dst_api, outbound as api};
use linkerd_proxy_core::breaker::Accrual;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::filter::Filter;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::outbound::{
    combine, Backend as Facts, ClientPolicy, Distribution, Load, Profile, Protocol, Routes,
    RulePolicy, Target,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, warn};

const GET_PROFILE: &str = "/io.linkerd.proxy.destination.Destination/GetProfile";
const WATCH: &str = "/io.linkerd.proxy.outbound.OutboundPolicies/Watch";
/// Destinations followed at once.
const TARGETS_MAX: usize = 10_000;

/// Everything resolved for one destination; replaced as a whole when anything changes.
pub struct Logical {
    /// The policy.
    pub policy: ClientPolicy,
    /// For every route and rule of `http1`, `http2`, where requests go.
    pub http1: Vec<Vec<Rule>>,
    /// The same for HTTP/2.
    pub http2: Vec<Vec<Rule>>,
    /// Where bytes go.
    pub opaque: Rule,
    /// The profile's routes, if requests follow the profile.
    pub profile: Option<Table>,
}

/// A rule with its backends at hand.
pub struct Rule {
    /// What the rule demands.
    pub policy: RulePolicy,
    /// What is counted for its retries.
    pub metrics: RetryMetrics,
    /// What is counted for its requests.
    pub stream: Arc<Handles>,
    backends: Vec<Backend>,
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
            BackendTarget::Fail => false,
        };
        let chosen = crate::random::with(|rng| self.policy.distribution.pick(&ready, rng));
        chosen.and_then(|i| self.backends.get(i))
    }
}

/// One followed destination.
pub struct Entry {
    logical: watch::Receiver<Option<Arc<Logical>>>,
    used: Mutex<Instant>,
    task: tokio::task::AbortHandle,
}

impl Entry {
    /// What is known, waiting for the first answer.
    ///
    /// # Errors
    /// When the control plane refuses the destination.
    pub async fn logical(&self) -> Result<Arc<Logical>, Failure> {
        let mut rx = self.logical.clone();
        let known = rx
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Failure::Unexpected)?;
        known.clone().ok_or(Failure::Unexpected)
    }

    /// What is known now, after [`Entry::logical`] has answered once.
    pub fn current(&self) -> Option<Arc<Logical>> {
        self.logical.borrow().clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All followed destinations and balancers.
#[derive(Default)]
pub struct Cache {
    entries: Mutex<HashMap<SocketAddr, Arc<Entry>>>,
    /// By path; those of one path differ in how they weigh and break.
    balancers: Mutex<HashMap<String, Vec<Weak<Balancer>>>>,
}

impl Outbound {
    /// Starts to follow `addr`, or joins those who do.
    ///
    /// # Errors
    /// [`Failure::LoadShed`] when too many destinations are in use.
    pub fn discover(self: &Arc<Self>, addr: SocketAddr) -> Result<Arc<Entry>, Failure> {
        let mut entries = self
            .cache
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&addr) {
            *entry.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return Ok(entry.clone());
        }
        if entries.len() >= TARGETS_MAX {
            entries.retain(|_, entry| Arc::strong_count(entry) > 1);
            if entries.len() >= TARGETS_MAX {
                return Err(Failure::LoadShed);
            }
        }
        let (tx, logical) = watch::channel(None);
        let task = tokio::spawn(run(Arc::downgrade(self), addr, tx)).abort_handle();
        let entry = Arc::new(Entry {
            logical,
            used: Mutex::new(Instant::now()),
            task,
        });
        entries.insert(addr, entry.clone());
        Ok(entry)
    }

    /// Drops what nobody has used for the idle time.
    pub fn expire(&self) {
        let idle = self.settings.outbound.discovery_idle_timeout;
        let mut entries = self
            .cache
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| {
            let mut used = entry.used.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::strong_count(entry) > 1 {
                *used = Instant::now();
            }
            used.elapsed() < idle
        });
        drop(entries);
        let mut balancers = self
            .cache
            .balancers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        balancers.retain(|_, same_path| {
            same_path.retain(|balancer| balancer.strong_count() > 0);
            !same_path.is_empty()
        });
    }

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
        let balancer = Balancer::new(self, path.to_owned(), load, accrual.cloned(), &labels);
        same_path.push(Arc::downgrade(&balancer));
        balancer
    }

    fn resolve(
        self: &Arc<Self>,
        policy: ClientPolicy,
        profile: Option<Table>,
        old: Option<&Logical>,
    ) -> Logical {
        let parent = policy.meta.clone();
        let none: Routes = Arc::new([]);
        let (http1, http2, opaque) = match &policy.protocol {
            Protocol::Detect {
                http1,
                http2,
                opaque,
                ..
            } => (http1.clone(), http2.clone(), opaque.clone()),
            Protocol::Http1(routes) => (routes.clone(), none, Distribution::Empty),
            Protocol::Http2(routes) => (none, routes.clone(), Distribution::Empty),
            Protocol::Opaque(bytes) | Protocol::Tls(bytes) => (none.clone(), none, bytes.clone()),
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
        let opaque = RulePolicy::plain(opaque);
        let opaque = self.rule(&parent, &parent, &opaque, &mut forwards);
        Logical {
            policy,
            http1,
            http2,
            opaque,
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
                }
            })
            .collect();
        let labels = labels.with("hostname", "");
        Rule {
            policy: policy.clone(),
            metrics: RetryMetrics::new(&self.metrics, &labels, policy.grpc),
            stream: Handles::new(self.metrics.routes.of(policy.grpc), labels),
            backends,
        }
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
            .chain([&self.opaque]);
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

/// What has been heard of one of the two watches.
enum Heard<T> {
    NotYet,
    Nothing,
    Something(T),
}

impl<T> Heard<T> {
    fn known(&self) -> Option<Option<&T>> {
        match self {
            Self::NotYet => None,
            Self::Nothing => Some(None),
            Self::Something(value) => Some(Some(value)),
        }
    }
}

struct State {
    profile: Heard<Profile>,
    policy: Heard<ClientPolicy>,
}

/// Applies a change to the state and publishes the result.
type Update<'a> = dyn Fn(&dyn Fn(&mut State)) + Send + Sync + 'a;

/// Follows both watches for `addr` and publishes what they make together.
async fn run(
    outbound: Weak<Outbound>,
    addr: SocketAddr,
    publish: watch::Sender<Option<Arc<Logical>>>,
) {
    let Some(strong) = outbound.upgrade() else {
        return;
    };
    let looked_up = strong
        .settings
        .profile_networks
        .iter()
        .any(|net| net.contains(addr.ip()));
    let profile = if looked_up {
        Heard::NotYet
    } else {
        Heard::Nothing
    };
    let state = Mutex::new(State {
        profile,
        policy: Heard::NotYet,
    });
    let update = |change: &dyn Fn(&mut State)| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let (Some(profile), Some(policy)) = (state.profile.known(), state.policy.known()) else {
            return;
        };
        let timeout = strong.settings.outbound.detect_timeout;
        let combined = combine(addr, profile, policy, timeout);
        debug!(%addr, parent = %combined.meta.name, "outbound policy updated");
        let old = publish.borrow().clone();
        let before = old.as_ref().and_then(|old| old.profile.as_ref());
        let table = profile
            .filter(|profile| profile.leads())
            .map(|profile| Table::new(&strong, profile, addr.port(), before));
        let resolved = strong.resolve(combined, table, old.as_deref());
        publish.send_replace(Some(Arc::new(resolved)));
    };
    let profiles = async {
        if looked_up {
            follow_profile(&strong, addr, &update).await;
        }
    };
    tokio::join!(profiles, follow_policy(&strong, addr, &update));
    // Both ended for good; what is known stays until nobody uses it.
    std::future::pending::<()>().await;
}

async fn follow_profile(outbound: &Outbound, addr: SocketAddr, update: &Update<'_>) {
    let request = dst_api::GetDestination {
        scheme: "k8s".into(),
        path: addr.to_string(),
        context_token: outbound.settings.destination_context.clone(),
    };
    let mut heard = false;
    let on = |event: Event<dst_api::DestinationProfile>| {
        match event {
            Event::Opened => {}
            Event::Message(message) => {
                heard = true;
                match convert::destination::profile(message) {
                    Ok(profile) => {
                        update(&|state| state.profile = Heard::Something(profile.clone()))
                    }
                    Err(error) => {
                        warn!(%addr, %error, "profile is malformed and ignored");
                        update(&|state| state.profile = Heard::Nothing);
                    }
                }
            }
            Event::Failed(status) => {
                // An unreachable control plane says nothing about the destination.
                let answered =
                    !matches!(status.code, code::UNAVAILABLE | code::DEADLINE_EXCEEDED | 1);
                if answered && !heard {
                    update(&|state| state.profile = Heard::Nothing);
                }
                if status.is_final() {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    };
    follow(
        &outbound.destination,
        GET_PROFILE,
        &request,
        outbound.manner(),
        on,
    )
    .await;
}

async fn follow_policy(outbound: &Outbound, addr: SocketAddr, update: &Update<'_>) {
    let request = api::TrafficSpec {
        source_workload: outbound.settings.policy_workload.clone(),
        target: Some(api::traffic_spec::Target::Addr(convert::tcp_addr_message(
            addr,
        ))),
    };
    let on = |event: Event<api::OutboundPolicy>| {
        match event {
            Event::Opened => {}
            Event::Message(message) => match convert::outbound::policy(message) {
                Ok(policy) => update(&|state| state.policy = Heard::Something(policy.clone())),
                Err(error) => {
                    warn!(%addr, %error, "outbound policy is malformed, requests fail");
                    update(&|state| state.policy = Heard::Something(invalid()));
                }
            },
            Event::Failed(status) => match status.code {
                code::NOT_FOUND | code::UNIMPLEMENTED => {
                    update(&|state| state.policy = Heard::Nothing)
                }
                _ if status.is_final() => {
                    warn!(%addr, %status, "destination refused");
                    update(&|state| state.policy = Heard::Something(invalid()));
                    return ControlFlow::Break(());
                }
                _ => {}
            },
        }
        ControlFlow::Continue(())
    };
    follow(&outbound.policy, WATCH, &request, outbound.manner(), on).await;
}

/// A policy under which everything fails.
fn invalid() -> ClientPolicy {
    let meta = Arc::new(Meta::default_named("invalid"));
    let backend = Facts::new(meta.clone(), Target::Fail("invalid policy".into()));
    let distribution = Distribution::FirstAvailable(vec![backend]);
    let none: Routes = Arc::new([]);
    let protocol = Protocol::Detect {
        timeout: Duration::from_secs(10),
        http1: none.clone(),
        http2: none,
        opaque: distribution,
    };
    ClientPolicy { meta, protocol }
}

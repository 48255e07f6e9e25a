//! Endpoints of one destination: followed, balanced, waited for within bounds.
//!
//! Source: linkerd2-proxy linkerd/proxy/balance, linkerd/pool, linkerd/app/core failfast (behaviour).

use super::endpoint::Endpoint;
use super::gate::{Gate, Group};
use super::memory::PATIENCE;
use super::Outbound;
use crate::control::watch::{follow, Event};
use crate::telemetry::balancer::BalancerMetrics;
use crate::telemetry::Metrics;
use linkerd_proxy_api::convert::destination::{update, Update};
use linkerd_proxy_api::destination as api;
use linkerd_proxy_core::balance::{pick, two};
use linkerd_proxy_core::breaker::Accrual;
use linkerd_proxy_core::endpoint::Endpoint as Facts;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::outbound::Load;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};
use tracing::{debug, info, warn};

const GET: &str = "/io.linkerd.proxy.destination.Destination/Get";
/// Endpoints of one destination that are used; more are left out.
const ENDPOINTS_MAX: usize = 10_000;

/// Pairs that are drawn before those that take no requests are sorted out.
const DRAWS: usize = 4;

type Endpoints = Arc<Vec<Arc<Endpoint>>>;

/// What is balanced: it is counted apart, and shares endpoints and their readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Requests.
    Http,
    /// Connections of bytes.
    Bytes,
    /// Connections of TLS that go by name.
    Tls,
}

/// The endpoints of a `name:port`.
pub struct Balancer {
    path: String,
    load: Load,
    accrual: Option<Arc<Accrual>>,
    /// Labels of parent and backend.
    labels: Labels,
    families: Arc<Metrics>,
    /// By [`Traffic`], from its first use on.
    metrics: [OnceLock<BalancerMetrics>; 3],
    me: Weak<Self>,
    outbound: Weak<Outbound>,
    endpoints: Mutex<Endpoints>,
    changed: Notify,
    /// Whether nothing was ready for the fail-fast time; then nobody waits.
    shut: AtomicBool,
    waiting: AtomicUsize,
    task: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl Balancer {
    /// Starts to follow `path`; ends when the last user drops it.
    pub fn new(
        outbound: &Arc<Outbound>,
        path: String,
        load: Load,
        accrual: Option<Arc<Accrual>>,
        labels: Labels,
    ) -> Arc<Self> {
        let balancer = Arc::new_cyclic(|me| Self {
            path,
            load,
            accrual,
            labels,
            families: outbound.metrics.clone(),
            metrics: Default::default(),
            me: me.clone(),
            outbound: Arc::downgrade(outbound),
            endpoints: Mutex::default(),
            changed: Notify::new(),
            shut: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            task: Mutex::default(),
        });
        let task = tokio::spawn(watch(
            Arc::downgrade(&balancer),
            outbound.clone(),
            balancer.path.clone(),
        ));
        *balancer.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        balancer
    }

    /// What is counted for this kind of traffic.
    fn counted(&self, traffic: Traffic) -> &BalancerMetrics {
        self.metrics[traffic as usize].get_or_init(|| {
            let failfast = self.outbound.upgrade().map(|outbound| {
                let direction = &outbound.settings.outbound;
                match traffic {
                    Traffic::Http => direction.failfast_timeout,
                    Traffic::Bytes | Traffic::Tls => direction.tcp_failfast_timeout,
                }
            });
            let by_name = Labels::new().with("concrete", &self.path);
            let (families, labels) = match traffic {
                Traffic::Http => (&self.families.http_balancers, &self.labels),
                Traffic::Bytes => (&self.families.tcp_balancers, &self.labels),
                Traffic::Tls => (&self.families.tls_balancers, &by_name),
            };
            let made = BalancerMetrics::new(families, labels, failfast.unwrap_or_default());
            let endpoints = self.snapshot();
            if !endpoints.is_empty() {
                // What was there before came at once, as far as this traffic can tell.
                made.resets.add(1);
                let ready = endpoints.iter().filter(|one| one.is_ready()).count();
                made.endpoints(endpoints.len(), ready);
            }
            made
        })
    }

    /// What is counted for every kind of traffic that there was.
    fn all_counted(&self) -> impl Iterator<Item = &BalancerMetrics> {
        self.metrics.iter().filter_map(OnceLock::get)
    }

    /// Whether it weighs and breaks like this.
    pub fn is_for(&self, load: Load, accrual: Option<&Arc<Accrual>>) -> bool {
        self.load == load && self.accrual.as_ref() == accrual
    }

    /// Whether a request would be sent at once or at least wait, rather than fail.
    pub fn is_ready(&self) -> bool {
        !self.shut.load(Relaxed)
    }

    fn snapshot(&self) -> Endpoints {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn pick(&self) -> Option<Arc<Endpoint>> {
        let endpoints = self.snapshot();
        let usable = |i: &usize| endpoints[*i].is_ready() && endpoints[*i].facts.weight > 0;
        if let [only] = &endpoints[..] {
            return only.is_ready().then(|| only.clone());
        }
        // Mostly all are usable: then there is no need to look at all of them.
        let all = endpoints.len();
        for _ in 0..if all > 1 { DRAWS } else { 0 } {
            let (a, b) = crate::random::with(|rng| two(all, rng));
            if usable(&a) && usable(&b) {
                let dearer = endpoints[b].cost() < endpoints[a].cost();
                return Some(endpoints[if dearer { b } else { a }].clone());
            }
        }
        let mut eligible: Vec<usize> = Vec::with_capacity(all);
        eligible.extend((0..all).filter(usable));
        if eligible.is_empty() {
            eligible.extend((0..endpoints.len()).filter(|i| endpoints[*i].is_ready()));
        }
        let chosen = crate::random::with(|rng| pick(&eligible, |i| endpoints[i].cost(), rng));
        chosen.map(|i| endpoints[i].clone())
    }

    /// A ready endpoint, waiting for one until `deadline`.
    ///
    /// # Errors
    /// [`Failure::FailFast`] when none becomes ready, [`Failure::LoadShed`] when too many wait.
    pub async fn acquire(
        &self,
        traffic: Traffic,
        deadline: Instant,
        capacity: usize,
    ) -> Result<Arc<Endpoint>, Failure> {
        match self.pick() {
            Some(endpoint) => {
                self.counted(traffic).request(Duration::ZERO);
                Ok(endpoint)
            }
            // Boxed, so that exchanges that need not wait stay small.
            None => Box::pin(self.awaited(traffic, deadline, capacity)).await,
        }
    }

    async fn awaited(
        &self,
        traffic: Traffic,
        deadline: Instant,
        capacity: usize,
    ) -> Result<Arc<Endpoint>, Failure> {
        let began = Instant::now();
        let metrics = self.counted(traffic);
        if self.shut.load(Relaxed) {
            return Err(Failure::FailFast);
        }
        let waiting = self.waiting.fetch_add(1, Relaxed);
        metrics.waiting.add(1);
        let _waiter = Waiter(self, metrics);
        if waiting >= capacity {
            return Err(Failure::LoadShed);
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change between both is missed.
            changed.as_mut().enable();
            if let Some(endpoint) = self.pick() {
                metrics.request(began.elapsed());
                return Ok(endpoint);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                if !self.shut.swap(true, Relaxed) {
                    self.all_counted().for_each(BalancerMetrics::shut);
                    warn!(path = %self.path, "Service entering failfast");
                }
                return Err(Failure::FailFast);
            }
        }
    }

    /// Takes an endpoint out until it can be reached again.
    pub fn failed(self: &Arc<Self>, endpoint: &Arc<Endpoint>) {
        if !endpoint.set_ready(false) {
            return;
        }
        debug!(path = %self.path, addr = %endpoint.facts.addr, "endpoint is unreachable");
        self.count();
        tokio::spawn(recover(
            Arc::downgrade(self),
            Arc::downgrade(endpoint),
            self.outbound.clone(),
        ));
    }

    fn count(&self) {
        let endpoints = self.snapshot();
        let ready = endpoints.iter().filter(|one| one.is_ready()).count();
        for metrics in self.all_counted() {
            metrics.endpoints(endpoints.len(), ready);
        }
    }

    /// Replaces or changes the set; unchanged endpoints keep their connections and estimates.
    fn apply(&self, outbound: &Outbound, change: Change) {
        let mut slot = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut by_addr: HashMap<SocketAddr, Arc<Endpoint>> = slot
            .iter()
            .map(|endpoint| (endpoint.facts.addr, endpoint.clone()))
            .collect();
        for metrics in self.all_counted() {
            match &change {
                Change::Reset(_) => metrics.resets.add(1),
                Change::Add(facts) => metrics.adds.add(facts.len() as u64),
                Change::Remove(addrs) => metrics.removes.add(addrs.len() as u64),
            }
        }
        match change {
            Change::Reset(facts) => {
                let old = std::mem::take(&mut by_addr);
                self.add(outbound, &mut by_addr, &old, facts);
            }
            Change::Add(facts) => {
                let old = by_addr.clone();
                self.add(outbound, &mut by_addr, &old, facts);
            }
            Change::Remove(addrs) => {
                for addr in addrs {
                    by_addr.remove(&addr);
                }
            }
        }
        let mut list: Vec<Arc<Endpoint>> = by_addr.into_values().collect();
        list.sort_by_key(|endpoint| endpoint.facts.addr);
        debug!(path = %self.path, endpoints = list.len(), "endpoints updated");
        let any = list.iter().any(|endpoint| endpoint.is_ready());
        *slot = Arc::new(list);
        drop(slot);
        self.count();
        if any {
            self.opened();
        }
    }

    fn add(
        &self,
        outbound: &Outbound,
        into: &mut HashMap<SocketAddr, Arc<Endpoint>>,
        old: &HashMap<SocketAddr, Arc<Endpoint>>,
        facts: Vec<Facts>,
    ) {
        for facts in facts {
            if into.len() >= ENDPOINTS_MAX && !into.contains_key(&facts.addr) {
                warn!(path = %self.path, limit = ENDPOINTS_MAX, "too many endpoints, some are left out");
                return;
            }
            let endpoint = match old.get(&facts.addr) {
                Some(known) if known.facts == facts => known.clone(),
                Some(_) | None => {
                    let gate = self.accrual.as_deref();
                    let gate = gate.map(|kind| Gate::new(kind, self.me.clone(), facts.addr));
                    Endpoint::new(outbound, facts, &self.path, self.load, gate)
                }
            };
            into.insert(endpoint.facts.addr, endpoint);
        }
    }
}

impl Group for Balancer {
    fn ready(&self) -> usize {
        self.snapshot().iter().filter(|one| one.is_ready()).count()
    }

    fn taken_out(&self) {
        self.count();
    }

    fn opened(&self) {
        self.count();
        if self.shut.swap(false, Relaxed) {
            self.all_counted().for_each(BalancerMetrics::opened);
            info!(path = %self.path, "Service has recovered");
        }
        self.changed.notify_waiters();
    }
}

struct Waiter<'a>(&'a Balancer, &'a BalancerMetrics);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.1.waiting.add(-1);
    }
}

enum Change {
    Reset(Vec<Facts>),
    Add(Vec<Facts>),
    Remove(Vec<SocketAddr>),
}

async fn watch(balancer: Weak<Balancer>, outbound: Arc<Outbound>, path: String) {
    let request = api::GetDestination {
        scheme: "k8s".into(),
        path: path.clone(),
        context_token: outbound.settings.destination_context.clone(),
    };
    let mut fresh = true;
    let heard = AtomicBool::new(false);
    let on = |event: Event<api::Update>| {
        let Some(balancer) = balancer.upgrade() else {
            return ControlFlow::Break(());
        };
        match event {
            Event::Opened => fresh = true,
            Event::Message(message) => {
                let (change, skipped) = update(message);
                if skipped > 0 {
                    warn!(
                        path,
                        skipped, "endpoints without a usable address are left out"
                    );
                }
                let change = match change {
                    None => return ControlFlow::Continue(()),
                    Some(Update::Empty) => Change::Reset(Vec::new()),
                    Some(Update::Add(facts)) if fresh => Change::Reset(facts),
                    Some(Update::Add(facts)) => Change::Add(facts),
                    Some(Update::Remove(addrs)) => Change::Remove(addrs),
                };
                fresh = false;
                heard.store(true, Relaxed);
                balancer.apply(&outbound, change);
                let endpoints = balancer.snapshot();
                let facts = endpoints.iter().map(|one| one.facts.clone()).collect();
                outbound.memory.endpoints(&path, facts);
            }
            Event::Failed(status) if status.is_final() => {
                warn!(path, %status, "destination refused");
                return ControlFlow::Break(());
            }
            Event::Failed(_) => {}
        }
        ControlFlow::Continue(())
    };
    let recalled = async {
        tokio::time::sleep(PATIENCE).await;
        let known = heard.load(Relaxed);
        let old = outbound.memory.recall_endpoints(&path).filter(|_| !known);
        if let Some((facts, balancer)) = old.zip(balancer.upgrade()) {
            warn!(
                path,
                "control plane does not answer, known endpoints are used"
            );
            balancer.apply(&outbound, Change::Reset(facts));
        }
    };
    tokio::join!(
        follow(&outbound.destination, GET, &request, outbound.manner(), on),
        recalled
    );
}

/// Tries an endpoint with backoff until it answers or nobody needs it.
async fn recover(balancer: Weak<Balancer>, endpoint: Weak<Endpoint>, outbound: Weak<Outbound>) {
    let mut attempt = 0;
    loop {
        let Some(backoff) = outbound
            .upgrade()
            .map(|outbound| outbound.settings.outbound.connect_backoff)
        else {
            return;
        };
        let delay = crate::random::with(|rng| backoff.delay(attempt, rng));
        attempt += 1;
        tokio::time::sleep(delay).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        if balancer.strong_count() == 0 {
            return;
        }
        if endpoint.probe().await.is_ok() {
            endpoint.set_ready(true);
            if let Some(balancer) = balancer.upgrade() {
                balancer.opened();
            }
            return;
        }
    }
}

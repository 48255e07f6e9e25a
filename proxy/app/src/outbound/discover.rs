//! What the control plane says about an original destination, followed while it is used.

use super::balancer::Balancer;
use super::logical::Logical;
use super::memory::PATIENCE;
use super::profile::Table;
use super::Outbound;
use crate::control::grpc::code;
use crate::control::watch::{follow, Event};
use linkerd_proxy_api::convert;
use linkerd_proxy_api::{destination as dst_api, outbound as api};
use linkerd_proxy_core::dst::Dst;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::outbound::{
    combine, Backend as Facts, ByteRoute, ClientPolicy, Distribution, Profile, Protocol, Routes,
    Target,
};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, warn};

pub(crate) const GET_PROFILE: &str = "/io.linkerd.proxy.destination.Destination/GetProfile";
const WATCH: &str = "/io.linkerd.proxy.outbound.OutboundPolicies/Watch";
/// Destinations followed at once.
const TARGETS_MAX: usize = 10_000;

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
    entries: Mutex<HashMap<Dst, Arc<Entry>>>,
    /// By path; those of one path differ in how they weigh and break.
    pub(super) balancers: Mutex<HashMap<String, Vec<Weak<Balancer>>>>,
}

impl Outbound {
    /// Starts to follow `dst`, or joins those who do.
    ///
    /// # Errors
    /// [`Failure::LoadShed`] when too many destinations are in use.
    pub fn discover(self: &Arc<Self>, dst: &Dst) -> Result<Arc<Entry>, Failure> {
        let mut entries = self
            .cache
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(dst) {
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
        let task = tokio::spawn(run(Arc::downgrade(self), dst.clone(), tx)).abort_handle();
        let entry = Arc::new(Entry {
            logical,
            used: Mutex::new(Instant::now()),
            task,
        });
        entries.insert(dst.clone(), entry.clone());
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
}

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

impl State {
    /// Takes what was said earlier for what has not been said now.
    fn fall_back(&mut self, profile: Option<Profile>, policy: Option<ClientPolicy>) {
        if self.profile.known().is_none() {
            self.profile = profile.map_or(Heard::Nothing, Heard::Something);
        }
        if self.policy.known().is_none() {
            self.policy = policy.map_or(Heard::Nothing, Heard::Something);
        }
    }
}

/// Applies a change to the state and publishes the result.
type Update<'a> = dyn Fn(&dyn Fn(&mut State)) + Send + Sync + 'a;

/// Follows both watches for `dst` and publishes what they make together.
async fn run(outbound: Weak<Outbound>, dst: Dst, publish: watch::Sender<Option<Arc<Logical>>>) {
    let Some(strong) = outbound.upgrade() else {
        return;
    };
    let looked_up = match &dst {
        Dst::Addr(addr) => {
            let networks = &strong.settings.profile_networks;
            networks.iter().any(|net| net.contains(addr.ip()))
        }
        Dst::Name(name) => strong.settings.profile_suffixes.contain(&name.host),
    };
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
        strong
            .memory
            .target(&dst, (profile.cloned(), policy.cloned()));
        let timeout = strong.settings.outbound.detect_timeout;
        let combined = combine(&dst, profile, policy, timeout);
        debug!(%dst, parent = %combined.meta.name, "outbound policy updated");
        let old = publish.borrow().clone();
        let before = old.as_ref().and_then(|old| old.profile.as_ref());
        let table = profile
            .filter(|profile| profile.leads())
            .map(|profile| Table::new(&strong.metrics, "outbound", profile, dst.port(), before));
        let resolved = strong.resolve(combined, table, old.as_deref());
        publish.send_replace(Some(Arc::new(resolved)));
    };
    let profiles = async {
        if looked_up {
            follow_profile(&strong, &dst, &update).await;
        }
    };
    let patience = async {
        tokio::time::sleep(PATIENCE).await;
        let known = publish.borrow().is_some();
        if let Some((profile, policy)) = strong.memory.recall_target(&dst).filter(|_| !known) {
            warn!(%dst, "control plane does not answer, its last answer is used");
            update(&|state| state.fall_back(profile.clone(), policy.clone()));
        }
    };
    tokio::join!(profiles, follow_policy(&strong, &dst, &update), patience);
    // Both ended for good; what is known stays until nobody uses it.
    std::future::pending::<()>().await;
}

async fn follow_profile(outbound: &Outbound, dst: &Dst, update: &Update<'_>) {
    let request = dst_api::GetDestination {
        scheme: "k8s".into(),
        path: dst.to_string(),
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
                        warn!(%dst, %error, "profile is malformed and ignored");
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

async fn follow_policy(outbound: &Outbound, dst: &Dst, update: &Update<'_>) {
    use api::traffic_spec::Target as Asked;
    let asked = match dst {
        Dst::Addr(addr) => Asked::Addr(convert::tcp_addr_message(*addr)),
        Dst::Name(name) => Asked::Authority(name.to_string()),
    };
    let request = api::TrafficSpec {
        source_workload: outbound.settings.policy_workload.clone(),
        target: Some(asked),
    };
    let on = |event: Event<api::OutboundPolicy>| {
        match event {
            Event::Opened => {}
            Event::Message(message) => match convert::outbound::policy(message) {
                Ok(policy) => update(&|state| state.policy = Heard::Something(policy.clone())),
                Err(error) => {
                    warn!(%dst, %error, "outbound policy is malformed, requests fail");
                    update(&|state| state.policy = Heard::Something(invalid()));
                }
            },
            Event::Failed(status) => match status.code {
                code::NOT_FOUND | code::UNIMPLEMENTED => {
                    update(&|state| state.policy = Heard::Nothing)
                }
                // A name that the control plane cannot place is not one of its policies.
                _ if status.is_final() && matches!(dst, Dst::Name(_)) => {
                    update(&|state| state.policy = Heard::Nothing);
                    return ControlFlow::Break(());
                }
                _ if status.is_final() => {
                    warn!(%dst, %status, "destination refused");
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
        opaque: ByteRoute {
            meta: meta.clone(),
            snis: Vec::new(),
            distribution,
        },
    };
    ClientPolicy { meta, protocol }
}

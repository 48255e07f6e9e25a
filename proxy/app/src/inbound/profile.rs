//! Routes of the service profiles under whose names requests arrive; they are only counted here.
//!
//! Source: linkerd2-proxy linkerd/app/inbound/src/http/router.rs (behaviour).

use super::Inbound;
use crate::control::watch::{follow, Event};
use crate::outbound::discover::GET_PROFILE;
use crate::outbound::profile::Table;
use crate::outbound::Outbound;
use crate::telemetry::Metrics;
use linkerd_proxy_api::{convert, destination as api};
use linkerd_proxy_core::dst::{parse, Dst, Name};
use linkerd_proxy_core::engine::Head;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Names that are followed at once; requests for others have no profile.
const NAMES_MAX: usize = 256;
/// The port of an authority that names none.
const DEFAULT_PORT: u16 = 80;

/// What is known of a name; the outer `None` is "not yet".
pub type Known = watch::Receiver<Option<Option<Arc<Table>>>>;

/// All names that requests asked for lately.
#[derive(Default)]
pub struct Profiles(Mutex<HashMap<Name, Followed>>);

struct Followed {
    known: Known,
    used: Instant,
    task: tokio::task::AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Remembers the name that a connection asks for, which is mostly the same.
#[derive(Default)]
pub struct Lookup(Mutex<Option<(String, Option<Known>)>>);

impl Lookup {
    /// The routes of the profile of a request's name, waiting for it only as long as settings say.
    pub async fn table(&self, inbound: &Inbound, known: Option<Known>) -> Option<Arc<Table>> {
        let mut known = known?;
        if let Some(table) = known.borrow().as_ref() {
            return table.clone();
        }
        // Boxed, so that exchanges that need not wait stay small.
        let first = Box::pin(async move {
            let first = known.wait_for(Option::is_some);
            let first = tokio::time::timeout(inbound.settings.profile_timeout, first).await;
            first.ok()?.ok()?.clone()
        });
        first.await.flatten()
    }

    /// What is known of the profile of a request's name.
    pub fn known(&self, inbound: &Inbound, head: &Head) -> Option<Known> {
        let canonical = head.get(b"l5d-dst-canonical");
        let name = std::str::from_utf8(canonical.unwrap_or(head.authority())).ok()?;
        if name.is_empty() {
            return None;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((text, known)) if text == name && known.as_ref().is_none_or(is_live) => {
                known.clone()
            }
            Some(_) | None => {
                let known = inbound.profile(name);
                *last = Some((name.to_owned(), known.clone()));
                known
            }
        }
    }
}

/// Whether the profile is still followed.
fn is_live(known: &Known) -> bool {
    known.has_changed().is_ok()
}

impl Inbound {
    /// What is known of a name's profile; `None` for names that have none.
    fn profile(&self, name: &str) -> Option<Known> {
        let Some(Dst::Name(name)) = parse(name, DEFAULT_PORT) else {
            return None;
        };
        if !self.settings.profile_suffixes.contain(&name.host) {
            return None;
        }
        let mut names = self
            .profiles
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle = self.settings.inbound.discovery_idle_timeout;
        if let Some(found) = names.get_mut(&name).filter(|found| is_live(&found.known)) {
            found.used = Instant::now();
            return Some(found.known.clone());
        }
        names.retain(|_, one| one.used.elapsed() < idle);
        if names.len() >= NAMES_MAX {
            return None;
        }
        let (publish, known) = watch::channel(None);
        let (outbound, metrics) = (self.outbound.clone(), self.metrics.clone());
        let task = tokio::spawn(run(outbound, metrics, name.clone(), publish, idle));
        let followed = Followed {
            known: known.clone(),
            used: Instant::now(),
            task: task.abort_handle(),
        };
        names.insert(name, followed);
        Some(known)
    }
}

/// Follows the profile of `name` until nobody but its owner wants it.
async fn run(
    outbound: Arc<Outbound>,
    metrics: Arc<Metrics>,
    name: Name,
    publish: watch::Sender<Option<Option<Arc<Table>>>>,
    idle: Duration,
) {
    let request = api::GetDestination {
        scheme: "k8s".into(),
        path: name.to_string(),
        context_token: outbound.settings.destination_context.clone(),
    };
    let on = |event: Event<api::DestinationProfile>| {
        match event {
            Event::Opened => {}
            Event::Message(message) => match convert::destination::profile(message) {
                Ok(profile) => {
                    let routed = profile.name.is_some() && profile.routes.is_some();
                    let old = publish.borrow().clone().flatten();
                    let table = routed.then(|| {
                        let old = old.as_deref();
                        Arc::new(Table::new(&metrics, "inbound", &profile, name.port, old))
                    });
                    publish.send_replace(Some(table));
                }
                Err(error) => warn!(%name, %error, "profile is malformed and ignored"),
            },
            Event::Failed(status) => {
                debug!(%name, %status, "no profile");
                publish.send_if_modified(|known| {
                    known.is_none().then(|| *known = Some(None)).is_some()
                });
                if status.is_final() {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    };
    let unused = async {
        let mut used = Instant::now();
        while used.elapsed() < idle {
            tokio::time::sleep(idle / 4).await;
            // Its owner holds one; connections that asked hold the others.
            if publish.receiver_count() > 1 {
                used = Instant::now();
            }
        }
    };
    let manner = outbound.manner();
    tokio::select! {
        () = async {
            follow(&outbound.destination, GET_PROFILE, &request, manner, on).await;
            std::future::pending::<()>().await;
        } => {}
        () = unused => {}
    }
}

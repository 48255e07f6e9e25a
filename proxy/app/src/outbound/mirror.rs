//! Copies of requests for backends whose responses nobody sees.
//!
//! A copy never slows the request down: one that does not keep up is cut.
//! Source: Gateway API HTTPRoute RequestMirror (behaviour).

use super::balancer::Traffic;
use super::endpoint::Request;
use super::logical::{BackendTarget, Mirror};
use super::Outbound;
use crate::http::heads::Changes;
use crate::http::worker::{Exchange as Carried, Service};
use crate::http::Version;
use linkerd_proxy_core::engine::{code, HeadEdit};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::debug;

/// Copies at once; beyond that, requests go without.
const COPIES_MAX: usize = 1024;
/// Longest life of a copy, its response included.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// The limit of copies at once.
pub fn limit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(COPIES_MAX))
}

/// A copy of one request.
struct Copy {
    outbound: Arc<Outbound>,
    target: BackendTarget,
    changes: Changes,
    version: Version,
    grpc: bool,
    client: SocketAddr,
    original: &'static [u8],
    _permit: OwnedSemaphorePermit,
}

impl Outbound {
    /// Sends copies to those mirrors whose turn it is.
    pub fn mirror(self: &Arc<Self>, mirrors: &[Mirror], request: &Request, changes: &Changes) {
        for mirror in mirrors.iter().filter(|_| !request.upgrades) {
            let (numerator, denominator) = mirror.ratio;
            let drawn = crate::random::with(|rng| rng.below(denominator.max(1) as usize));
            let permit = self.copies.clone().try_acquire_owned();
            let (true, Ok(permit)) = (drawn < numerator as usize, permit) else {
                continue;
            };
            request.carried.copy_to(Rc::new(Copy {
                outbound: self.clone(),
                target: mirror.target.clone(),
                changes: changes.clone(),
                version: request.version,
                grpc: request.grpc,
                client: request.client,
                original: request.original,
                _permit: permit,
            }));
        }
    }
}

impl Service for Copy {
    fn call(self: Rc<Self>, carried: Carried) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let done = tokio::time::timeout(LIFE_MAX, self.carry(carried)).await;
            if done != Ok(true) {
                debug!("copy of a request not answered");
                carried.reset(code::CANCEL);
            }
        })
    }
}

impl Copy {
    /// Whether an answer came.
    async fn carry(&self, carried: Carried) -> bool {
        let endpoint = match &self.target {
            BackendTarget::Fail => return false,
            BackendTarget::Forward(endpoint) => endpoint.clone(),
            BackendTarget::Balance(balancer) => {
                let direction = &self.outbound.settings.outbound;
                let deadline = Instant::now() + direction.failfast_timeout;
                match balancer
                    .acquire(Traffic::Http, deadline, direction.queue_capacity)
                    .await
                {
                    Ok(endpoint) => endpoint,
                    Err(_) => return false,
                }
            }
        };
        let request = Request {
            carried,
            version: self.version,
            upgrades: false,
            grpc: self.grpc,
            client: self.client,
            original: self.original,
        };
        let Ok(mut answer) = endpoint.send(&request, &self.changes).await else {
            return false;
        };
        if carried.forward_response(&HeadEdit::default()).is_err() {
            return false;
        }
        answer.ending.follow(carried).await;
        true
    }
}

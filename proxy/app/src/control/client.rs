//! Calls to one part of the control plane, spread over all its replicas.

use super::grpc::{self, code, encode, Status, Streaming};
use super::replica::{Call, Replica};
use crate::net::resolve::{resolve, Resolved};
use crate::net::socket::Options;
use crate::net::tls::MeshTls;
use crate::settings::{ControlAddr, Direction, DnsTtl};
use crate::telemetry::balancer::BalancerMetrics;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::registry::{Counter, Family};
use crate::telemetry::route::ControlFamilies;
use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use linkerd_proxy_core::labels::Labels;
use prost::Message;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::debug;

/// Bounds of the time between lookups, when no settings say otherwise.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// How long the status of a call may come behind its message.
const STATUS_TIME: Duration = Duration::from_secs(1);
/// Between lookups while no replica is well.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// Calls one service over one HTTP/2 connection to each replica that is in use.
pub struct Client {
    target: ControlAddr,
    tls: Arc<MeshTls>,
    connect_timeout: Duration,
    options: Options,
    ttl: DnsTtl,
    known: Mutex<Known>,
    /// Held by who looks the name up; the others wait for its answer.
    lookup: tokio::sync::Mutex<()>,
    metrics: Arc<HttpMetrics>,
    balancer: BalancerMetrics,
    resolutions: Arc<Family<Counter>>,
    name: &'static str,
}

#[derive(Default)]
struct Known {
    replicas: Vec<Arc<Replica>>,
    /// When the name has to be looked up again.
    until: Option<Instant>,
    /// When it was looked up last.
    asked: Option<Instant>,
}

impl Client {
    /// Connects on first use, with the timeouts of `direction`; `name` is the service's in metrics.
    pub fn new(
        name: &'static str,
        target: ControlAddr,
        tls: Arc<MeshTls>,
        direction: &Direction,
        ttl: DnsTtl,
        metrics: &ControlFamilies,
    ) -> Self {
        let server = target.identity.as_ref().map(|id| id.as_str());
        let addr = target.addr.to_string();
        let options = Options {
            keepalive: direction.connect_keepalive,
            user_timeout: direction.connect_user_timeout,
        };
        Self {
            metrics: metrics.service(&addr, server),
            balancer: metrics.balancer(name, &addr),
            resolutions: metrics.resolutions.clone(),
            target,
            tls,
            connect_timeout: direction.connect_timeout,
            options,
            ttl,
            known: Mutex::default(),
            lookup: tokio::sync::Mutex::default(),
            name,
        }
    }

    /// Whether the service runs in our own pod.
    pub fn is_loopback(&self) -> bool {
        self.target.addr.is_loopback()
    }

    /// One request, one response.
    ///
    /// # Errors
    /// The server's status, or the transport's failure as UNAVAILABLE.
    pub async fn unary<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Res, Status> {
        let mut stream = self.server_stream::<Req, Res>(path, request).await?;
        let first = stream.next().await?;
        let first = first.ok_or_else(|| Status::new(code::INTERNAL, "response has no message"))?;
        // What counts is how the call ended; a server that does not end it has answered all the same.
        match tokio::time::timeout(STATUS_TIME, stream.next()).await {
            Ok(ended) => ended.map(|_| first),
            Err(_) => Ok(first),
        }
    }

    /// One request, a stream of responses.
    ///
    /// # Errors
    /// The server's status if it comes at once, or the transport's failure as UNAVAILABLE.
    pub async fn server_stream<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Streaming<Res>, Status> {
        let mut exchange = Exchange::begin(self.metrics.clone(), true);
        let sent = self.send(path, encode(request)).await;
        let (response, call) = match sent {
            Ok(sent) => sent,
            Err(status) => {
                exchange.fail("unclassified");
                return Err(status);
            }
        };
        Streaming::open(response, exchange, Some(call))
    }

    /// Sends to the least loaded of two replicas, and to others when it cannot be reached.
    async fn send(&self, path: &str, message: Bytes) -> Result<(Response<Incoming>, Call), Status> {
        let unavailable = |error: &dyn std::fmt::Display| Status::new(code::UNAVAILABLE, error);
        let replicas = self.replicas().await.map_err(|error| unavailable(&error))?;
        let mut untried: Vec<usize> = (0..replicas.len()).collect();
        let mut last = unavailable(&"no address");
        while !untried.is_empty() {
            let at = choose(&replicas, &untried);
            untried.retain(|i| *i != at);
            let replica = &replicas[at];
            let request = grpc::request(&self.target.addr, path, message.clone())?;
            let call = Call::to(replica.clone());
            let timeout = self.connect_timeout;
            let sender = replica.sender(&self.target, &self.tls, timeout, self.options);
            let mut sender = match sender.await {
                Ok(sender) => sender,
                Err(error) => {
                    debug!(target_addr = %self.target.addr, addr = %replica.addr(), %error, "cannot reach the control plane");
                    replica.failed();
                    self.count(&replicas);
                    last = unavailable(&error);
                    continue;
                }
            };
            self.count(&replicas);
            return match sender.send_request(request).await {
                Ok(response) => {
                    call.answered();
                    Ok((response, call))
                }
                Err(error) => {
                    // It may have seen the call, so whoever follows the stream decides to try again.
                    replica.failed();
                    Err(unavailable(&error))
                }
            };
        }
        Err(last)
    }

    fn count(&self, replicas: &[Arc<Replica>]) {
        let ready = replicas.iter().filter(|replica| replica.is_well()).count();
        self.balancer.endpoints(replicas.len(), ready);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All replicas, looked up again when what is known has become old.
    async fn replicas(&self) -> io::Result<Vec<Arc<Replica>>> {
        let fresh = |known: &Known| {
            let now = Instant::now();
            let fresh = known.until.is_some_and(|until| now < until);
            let well = known.replicas.iter().any(|replica| replica.is_well());
            let asked = known.asked.is_some_and(|at| now < at + LOOKUP_PAUSE);
            let enough = (fresh && well) || (asked && !known.replicas.is_empty());
            enough.then(|| known.replicas.clone())
        };
        if let Some(replicas) = fresh(&self.known()) {
            return Ok(replicas);
        }
        let _turn = self.lookup.lock().await;
        if let Some(replicas) = fresh(&self.known()) {
            return Ok(replicas);
        }
        let resolved = resolve(&self.target.addr).await;
        self.note(&resolved);
        let mut known = self.known();
        known.asked = Some(Instant::now());
        match resolved {
            Ok(resolved) => {
                let (min, max) = (self.ttl.min.unwrap_or(TTL.0), self.ttl.max.unwrap_or(TTL.1));
                let ttl = resolved.ttl.max(min).min(max.max(min));
                self.replace(&mut known, resolved.addrs);
                known.until = Some(Instant::now() + ttl);
            }
            // What answered before may still do, while names do not.
            Err(error) if known.replicas.is_empty() => return Err(error),
            Err(error) => {
                debug!(target_addr = %self.target.addr, %error, "cannot look the control plane up");
                known.until = Some(Instant::now() + TTL.0);
            }
        }
        Ok(known.replicas.clone())
    }

    fn replace(&self, known: &mut Known, addrs: Vec<SocketAddr>) {
        let keep = |addr: SocketAddr| {
            let old = known.replicas.iter().find(|old| old.addr() == addr);
            old.cloned().unwrap_or_else(|| Arc::new(Replica::new(addr)))
        };
        let replicas: Vec<Arc<Replica>> = addrs.into_iter().map(keep).collect();
        self.balancer.resets.add(1);
        known.replicas = replicas;
        self.count(&known.replicas);
    }

    fn note(&self, resolved: &io::Result<Resolved>) {
        let (record, result) = match resolved {
            Ok(resolved) => match resolved.record {
                Some(record) => (record, "ok"),
                None => return,
            },
            Err(_) => ("A/AAAA", "not_found"),
        };
        let labels = Labels::new()
            .with("client", self.name)
            .with("record_type", record)
            .with("result", result);
        self.resolutions.get(&labels).add(1);
    }
}

/// The better of two by chance, among those that are well if any is.
fn choose(replicas: &[Arc<Replica>], untried: &[usize]) -> usize {
    let well: Vec<usize> = untried
        .iter()
        .copied()
        .filter(|i| replicas[*i].is_well())
        .collect();
    let among = if well.is_empty() { untried } else { &well };
    let load = |i: usize| f64::from(replicas[i].open());
    let chosen = crate::random::with(|rng| linkerd_proxy_core::balance::pick(among, load, rng));
    chosen.unwrap_or(untried[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_to_the_less_loaded_of_those_that_are_well() {
        let replica = |port: u16| Arc::new(Replica::new(([127, 0, 0, 1], port).into()));
        let replicas = [replica(1), replica(2), replica(3)];
        let _busy = [Call::to(replicas[0].clone()), Call::to(replicas[0].clone())];
        replicas[1].failed();
        for _ in 0..20 {
            assert_eq!(2, choose(&replicas, &[0, 1, 2]));
            assert_eq!(0, choose(&replicas, &[0, 1]));
            assert_eq!(1, choose(&replicas, &[1]), "better than none");
        }
    }
}

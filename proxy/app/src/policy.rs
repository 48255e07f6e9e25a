//! Inbound policies by port, watched as long as someone uses them.

use crate::control::client::Client;
use crate::control::watch::{follow, Event, Manner};
use crate::settings::Settings;
use linkerd_proxy_api::convert;
use linkerd_proxy_api::inbound::{PortSpec, Server};
use linkerd_proxy_core::authorize::{Authentication, Authorization, IpNet, Network};
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::server::{DefaultPolicy, Protocol, ServerPolicy};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, warn};

const WATCH_PORT: &str = "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort";
/// Ports watched at once beyond the permanent ones.
const PORTS_MAX: usize = 1000;

/// The newest policy of a port.
pub type Watched = watch::Receiver<Arc<ServerPolicy>>;

/// All ports' policies.
pub struct Policies {
    client: Arc<Client>,
    workload: String,
    manner: Manner,
    default: Arc<ServerPolicy>,
    default_opaque: Arc<ServerPolicy>,
    opaque_ports: crate::settings::parse::PortSet,
    idle_timeout: Duration,
    ports: Mutex<HashMap<u16, Port>>,
}

struct Port {
    policy: watch::Sender<Arc<ServerPolicy>>,
    permanent: bool,
    used: Instant,
    task: tokio::task::JoinHandle<()>,
}

impl Policies {
    /// Starts to watch the permanent ports.
    pub fn new(client: Arc<Client>, settings: &Settings) -> Arc<Self> {
        let policies = Arc::new(Self {
            client,
            workload: settings.policy_workload.clone(),
            manner: Manner {
                backoff: settings.inbound.connect_backoff,
                limits: settings.stream_limits,
            },
            default: Arc::new(default_policy(
                settings,
                Protocol::Detect(settings.inbound.detect_timeout),
            )),
            default_opaque: Arc::new(default_policy(settings, Protocol::Opaque)),
            opaque_ports: settings.opaque_ports.clone(),
            idle_timeout: settings.inbound.discovery_idle_timeout,
            ports: Mutex::default(),
        });
        for port in settings
            .inbound_ports
            .iter()
            .copied()
            .chain([settings.admin_addr.port()])
        {
            policies.watch(port, true);
        }
        let weak = Arc::downgrade(&policies);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                match weak.upgrade() {
                    Some(policies) => policies.expire(),
                    None => return,
                }
            }
        });
        policies
    }

    /// The policy of `port`: the default until the control plane has answered.
    pub fn get(self: &Arc<Self>, port: u16) -> Watched {
        self.watch(port, false)
    }

    fn watch(self: &Arc<Self>, number: u16, permanent: bool) -> Watched {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = ports.get_mut(&number) {
            port.used = Instant::now();
            port.permanent |= permanent;
            return port.policy.subscribe();
        }
        if ports.len() >= PORTS_MAX && !permanent {
            warn!(
                port = number,
                limit = PORTS_MAX,
                "too many ports in use, default policy applies"
            );
            return watch::Sender::new(self.default_of(number)).subscribe();
        }
        let policy = watch::Sender::new(self.default_of(number));
        let task = tokio::spawn(self.clone().follow(number, policy.clone()));
        let watched = policy.subscribe();
        ports.insert(
            number,
            Port {
                policy,
                permanent,
                used: Instant::now(),
                task,
            },
        );
        watched
    }

    fn default_of(&self, port: u16) -> Arc<ServerPolicy> {
        if self.opaque_ports.contains(port) {
            self.default_opaque.clone()
        } else {
            self.default.clone()
        }
    }

    async fn follow(self: Arc<Self>, port: u16, policy: watch::Sender<Arc<ServerPolicy>>) {
        let request = PortSpec {
            workload: self.workload.clone(),
            port: port.into(),
        };
        follow(
            &self.client,
            WATCH_PORT,
            &request,
            self.manner,
            |event: Event<Server>| {
                match event {
                    Event::Opened => {}
                    Event::Message(message) => match convert::inbound::server(message) {
                        Ok(server) => {
                            debug!(port, server = %server.meta.name, "inbound policy updated");
                            let old = policy.borrow().clone();
                            policy.send_replace(Arc::new(server.following(&old)));
                        }
                        // Keeping what was in force beats opening or closing the port by accident.
                        Err(error) => {
                            warn!(port, %error, "inbound policy is malformed, the last one stays")
                        }
                    },
                    Event::Failed(status) if status.is_final() => {
                        warn!(port, %status, "inbound policy refused, the default stays");
                        return ControlFlow::Break(());
                    }
                    Event::Failed(_) => {}
                }
                ControlFlow::Continue(())
            },
        )
        .await;
    }

    fn expire(&self) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|_, port| {
            // Live connections hold receivers; the task holds a sender, not a receiver.
            if port.policy.receiver_count() > 0 {
                port.used = Instant::now();
            }
            let keep = port.permanent || port.used.elapsed() < self.idle_timeout;
            if !keep {
                port.task.abort();
            }
            keep
        });
    }
}

fn default_policy(settings: &Settings, protocol: Protocol) -> ServerPolicy {
    let kind = settings.default_policy;
    let meta = Arc::new(Meta::default_named(kind.name()));
    let everywhere = || {
        [
            (Ipv4Addr::UNSPECIFIED.into(), 0),
            (Ipv6Addr::UNSPECIFIED.into(), 0),
        ]
        .into_iter()
        .filter_map(|(ip, prefix)| IpNet::new(ip, prefix))
        .collect()
    };
    let (nets, authentication): (Vec<IpNet>, _) = match kind {
        DefaultPolicy::Deny => (Vec::new(), Authentication::Unauthenticated),
        DefaultPolicy::AllAuthenticated => (everywhere(), any_identity()),
        DefaultPolicy::AllUnauthenticated | DefaultPolicy::Audit => {
            (everywhere(), Authentication::Unauthenticated)
        }
        DefaultPolicy::ClusterAuthenticated => (settings.cluster_networks.clone(), any_identity()),
        DefaultPolicy::ClusterUnauthenticated => (
            settings.cluster_networks.clone(),
            Authentication::Unauthenticated,
        ),
    };
    let networks: Vec<Network> = nets
        .into_iter()
        .map(|net| Network {
            net,
            except: Vec::new(),
        })
        .collect();
    let authorizations = if networks.is_empty() {
        Vec::new()
    } else {
        vec![Authorization {
            networks,
            authentication,
            meta: meta.clone(),
        }]
    };
    ServerPolicy::new(meta, protocol, authorizations, Vec::new())
}

fn any_identity() -> Authentication {
    Authentication::TlsAuthenticated {
        identities: Vec::new(),
        suffixes: vec![String::new()],
    }
}

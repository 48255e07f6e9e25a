//! The control plane: Certify, GetProfile, Get, Watch and WatchPort, told from a [`World`].
//!
//! All of it is served on one port, in plaintext, as a proxy expects of a loopback address.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use linkerd_proxy_api::{destination as dst, identity, inbound, otlp, outbound};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::grpc::{self, Call, Code, Status};
use crate::messages;
use crate::world::World;

/// The log of calls keeps this many.
const CALLS_MAX: usize = 10_000;

/// A running control plane; streams follow [`ControlPlane::set`].
#[derive(Clone)]
pub struct ControlPlane {
    state: Arc<State>,
}

/// What tests change in the messages that a [`World`] makes, for what it has no words for.
#[derive(Default)]
pub struct Amendments {
    /// Of outbound policies that are not forwards to unknown addresses.
    pub outbound: Option<Change<outbound::OutboundPolicy>>,
    /// Of inbound policies.
    pub inbound: Option<Change<inbound::Server>>,
    /// Of profiles.
    pub profile: Option<Change<dst::DestinationProfile>>,
}

/// Changes a message.
pub type Change<M> = Box<dyn Fn(&mut M) + Send + Sync>;

struct State {
    authority: Authority,
    world: watch::Sender<World>,
    amendments: Mutex<Amendments>,
    stuck: AtomicBool,
    calls: Mutex<Vec<String>>,
}

impl ControlPlane {
    /// A control plane that says what `world` holds and signs with `authority`.
    pub fn new(authority: Authority, world: World) -> Self {
        let state = State {
            authority,
            world: watch::channel(world).0,
            amendments: Mutex::default(),
            stuck: AtomicBool::new(false),
            calls: Mutex::default(),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// Replaces the world; open streams get what changed for them.
    pub fn set(&self, world: World) {
        self.state.world.send_replace(world);
    }

    /// Changes messages from now on, on open streams too.
    ///
    /// # Panics
    /// A handler panicked before.
    pub fn amend(&self, amendments: Amendments) {
        *self.state.amendments.lock().expect("handlers do not panic") = amendments;
        self.state.world.send_modify(|_| {});
    }

    /// Takes calls from now on and answers none of them; open streams hear nothing more.
    pub fn get_stuck(&self) {
        self.state.stuck.store(true, Ordering::Relaxed);
    }

    /// The trust anchors, PEM.
    pub fn anchors(&self) -> &str {
        self.state.authority.anchors()
    }

    /// Every call so far as `Method argument`, oldest first.
    ///
    /// # Panics
    /// A handler panicked before.
    pub fn calls(&self) -> Vec<String> {
        self.state
            .calls
            .lock()
            .expect("handlers do not panic")
            .clone()
    }

    /// Serves connections until the task is dropped.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let state = self.state.clone();
            tokio::spawn(grpc::serve(socket, move |call| answer(state.clone(), call)));
        }
    }
}

async fn answer(state: Arc<State>, mut call: Call) {
    let status = match call.path.as_str() {
        "/io.linkerd.proxy.identity.Identity/Certify" => certify(&state, &mut call),
        "/io.linkerd.proxy.destination.Destination/GetProfile" => {
            get_profile(&state, &mut call).await
        }
        "/io.linkerd.proxy.destination.Destination/Get" => get(&state, &mut call).await,
        "/io.linkerd.proxy.outbound.OutboundPolicies/Watch" => {
            watch_outbound(&state, &mut call).await
        }
        "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort" => {
            watch_port(&state, &mut call).await
        }
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => export(&state, &mut call),
        path => Err(Status(Code::Unimplemented, format!("no method {path}"))),
    };
    let status = status
        .err()
        .unwrap_or_else(|| Status(Code::Ok, String::new()));
    // The client may have gone first.
    let _ = call.finish(status);
}

fn certify(state: &State, call: &mut Call) -> Result<(), Status> {
    let request: identity::CertifyRequest = decode(call)?;
    state.record(format!("Certify {}", request.identity));
    let leaf = state
        .authority
        .sign(&request.identity, &request.certificate_signing_request)
        .map_err(|error| {
            Status(
                Code::InvalidArgument,
                format!("cannot sign the request: {error}"),
            )
        })?;
    let response = identity::CertifyResponse {
        leaf_certificate: leaf.der,
        intermediate_certificates: vec![],
        valid_until: Some(prost_types::Timestamp {
            seconds: leaf.expires,
            nanos: 0,
        }),
        trust_anchors: vec![],
    };
    let _ = call.send(&response);
    Ok(())
}

/// Notes each span as `Span trace parent id kind`.
fn export(state: &State, call: &mut Call) -> Result<(), Status> {
    let request: otlp::ExportTraceServiceRequest = decode(call)?;
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let scopes = request
        .resource_spans
        .iter()
        .flat_map(|one| &one.scope_spans);
    for span in scopes.flat_map(|scope| &scope.spans) {
        let (trace, parent) = (hex(&span.trace_id), hex(&span.parent_span_id));
        let (id, kind) = (hex(&span.span_id), span.kind);
        state.record(format!("Span {trace} {parent} {id} {kind}"));
    }
    let _ = call.send(&otlp::ExportTraceServiceResponse {});
    Ok(())
}

async fn get_profile(state: &State, call: &mut Call) -> Result<(), Status> {
    let request: dst::GetDestination = decode(call)?;
    state.record(format!("GetProfile {}", request.path));
    follow(state, call, |world| {
        let target = placed(world, &request.path)?;
        let mut message = messages::profile(world, target);
        state.amended(|amendments| &amendments.profile, &mut message);
        Ok(message)
    })
    .await
}

async fn watch_outbound(state: &State, call: &mut Call) -> Result<(), Status> {
    let request: outbound::TrafficSpec = decode(call)?;
    use outbound::traffic_spec::Target;
    let target = match &request.target {
        Some(Target::Addr(address)) => messages::socket_address(address).map(|a| a.to_string()),
        Some(Target::Authority(name)) => Some(name.clone()),
        None => None,
    };
    let target =
        target.ok_or_else(|| Status(Code::InvalidArgument, "target is no address".to_owned()))?;
    state.record(format!("Watch {target}"));
    follow(state, call, |world| {
        let target = placed(world, &target)?;
        let mut message = messages::outbound_policy(world, target)
            .ok_or_else(|| Status(Code::NotFound, "No such service".to_owned()))?;
        state.amended(|amendments| &amendments.outbound, &mut message);
        Ok(message)
    })
    .await
}

async fn watch_port(state: &State, call: &mut Call) -> Result<(), Status> {
    let request: inbound::PortSpec = decode(call)?;
    state.record(format!("WatchPort {}", request.port));
    let port = u16::try_from(request.port).map_err(|_| {
        Status(
            Code::InvalidArgument,
            format!("not a port: {}", request.port),
        )
    })?;
    follow(state, call, |world| {
        let mut message = messages::server(world, port);
        state.amended(|amendments| &amendments.inbound, &mut message);
        Ok(message)
    })
    .await
}

/// Streams the endpoints of a name: what went, then all that is there.
async fn get(state: &State, call: &mut Call) -> Result<(), Status> {
    use dst::update::Update;
    let request: dst::GetDestination = decode(call)?;
    state.record(format!("Get {}", request.path));
    let mut world = state.world.subscribe();
    let mut sent: Option<dst::WeightedAddrSet> = None;
    state.answers(call).await?;
    loop {
        let next = messages::destination(&world.borrow_and_update(), &request.path);
        let mut updates = Vec::new();
        match &next {
            _ if sent.is_some() && next == sent => {}
            Some(set) if !set.addrs.is_empty() => {
                let stays = |address: &dst::WeightedAddr| {
                    set.addrs.iter().any(|new| new.addr == address.addr)
                };
                let gone: Vec<_> = sent
                    .iter()
                    .flat_map(|set| &set.addrs)
                    .filter(|address| !stays(address))
                    .filter_map(|address| address.addr)
                    .collect();
                if !gone.is_empty() {
                    updates.push(Update::Remove(dst::AddrSet { addrs: gone }));
                }
                updates.push(Update::Add(set.clone()));
            }
            other => updates.push(Update::NoEndpoints(dst::NoEndpoints {
                exists: other.is_some(),
            })),
        }
        for update in updates {
            if call
                .send(&dst::Update {
                    update: Some(update),
                })
                .is_err()
            {
                return Ok(());
            }
        }
        sent = next;
        if !changed(&mut world, call).await {
            return Ok(());
        }
    }
}

/// Sends `render(world)` now and whenever it changes.
async fn follow<M: Message + PartialEq>(
    state: &State,
    call: &mut Call,
    render: impl Fn(&World) -> Result<M, Status>,
) -> Result<(), Status> {
    let mut world = state.world.subscribe();
    let mut sent = None;
    state.answers(call).await?;
    loop {
        let message = render(&world.borrow_and_update())?;
        if sent.as_ref() != Some(&message) && call.send(&message).is_err() {
            return Ok(());
        }
        sent = Some(message);
        if !changed(&mut world, call).await {
            return Ok(());
        }
    }
}

/// The address of a target, which may be the name of a service.
fn placed(world: &World, target: &str) -> Result<SocketAddr, Status> {
    let named = || {
        let service = world.services.iter().find(|one| one.authority == target);
        service.map(|service| service.address)
    };
    target
        .parse()
        .ok()
        .or_else(named)
        .ok_or_else(|| Status(Code::NotFound, format!("no service {target}")))
}

/// Waits for a new world; false when the client has gone.
async fn changed(world: &mut watch::Receiver<World>, call: &mut Call) -> bool {
    tokio::select! {
        changed = world.changed() => changed.is_ok(),
        () = call.closed() => false,
    }
}

fn decode<M: Message + Default>(call: &Call) -> Result<M, Status> {
    M::decode(call.message.clone()).map_err(|error| {
        Status(
            Code::InvalidArgument,
            format!("cannot read the message: {error}"),
        )
    })
}

impl State {
    /// Goes on, unless the control plane is stuck; then it waits until the client has gone.
    async fn answers(&self, call: &mut Call) -> Result<(), Status> {
        if self.stuck.load(Ordering::Relaxed) {
            call.closed().await;
            return Err(Status(Code::NotFound, "the client has gone".to_owned()));
        }
        Ok(())
    }

    fn amended<M>(&self, which: impl Fn(&Amendments) -> &Option<Change<M>>, message: &mut M) {
        let amendments = self.amendments.lock().expect("handlers do not panic");
        if let Some(change) = which(&amendments) {
            change(message);
        }
    }

    fn record(&self, call: String) {
        let mut calls = self.calls.lock().expect("handlers do not panic");
        if calls.len() < CALLS_MAX {
            calls.push(call);
        }
    }
}

//! Puts the parts together, and takes them down in order.

use crate::admin::Admin;
use crate::control::client::Client;
use crate::drain::{Drain, Drainer};
use crate::http::in_flight::InFlight;
use crate::http::worker;
use crate::identity::{self, key_pair, spire};
use crate::inbound::Inbound;
use crate::log::Log;
use crate::net::accept::Room;
use crate::net::anchors;
use crate::net::socket::{listen, Options};
use crate::net::tls::MeshTls;
use crate::outbound::{self, Outbound};
use crate::policy::Policies;
use crate::settings::identity::Certifier;
use crate::settings::parse::parse_attributes;
use crate::settings::{ControlAddr, Direction, Settings, Trace};
use crate::tap::{self, Taps};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::spans::Tracer;
use crate::telemetry::Metrics;
use linkerd_proxy_api::otlp::KeyValue;
use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// Runs the proxy until it is told to stop.
pub fn run(settings: Settings, log: Log) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start a runtime");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(serve(settings, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem}");
            ExitCode::FAILURE
        }
    };
    runtime.shutdown_background();
    code
}

/// A runtime for one thread: an engine belongs to a thread, and with it its connections.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
}

/// Serves the same listeners as the first thread, on a thread of its own.
fn another_thread(
    inbound: &Arc<Inbound>,
    outbound: &Arc<Outbound>,
    listeners: (&TcpListener, &[TcpListener]),
    (drain, room): (Drain, Arc<Room>),
) -> io::Result<()> {
    let (inbound, outbound) = (inbound.clone(), outbound.clone());
    let here = duplicate(listeners.0)?;
    let there: io::Result<Vec<_>> = listeners.1.iter().map(duplicate).collect();
    let there = there?;
    let runtime = runtime()?;
    inbound.metrics.runtimes.add(runtime.handle().clone());
    let serve = async move {
        worker::limit(inbound.settings.limits);
        let accept = |listener: std::net::TcpListener| TcpListener::from_std(listener);
        let listeners: io::Result<Vec<_>> = there.into_iter().map(accept).collect();
        match accept(here).and_then(|here| Ok((here, listeners?))) {
            Ok((here, there)) => {
                for listener in there {
                    tokio::spawn(outbound.clone().run(listener, drain.clone(), room.clone()));
                }
                inbound.run(here, drain, room).await;
            }
            Err(error) => warn!(%error, "a worker thread cannot listen"),
        }
        // Its connections end with the process, after the drain.
        std::future::pending::<()>().await;
    };
    let thread = std::thread::Builder::new().name("proxy".into());
    thread.spawn(move || runtime.block_on(serve)).map(|_| ())
}

fn duplicate(listener: &TcpListener) -> io::Result<std::net::TcpListener> {
    Ok(socket2::SockRef::from(listener).try_clone()?.into())
}

async fn serve(settings: Settings, log: Log) -> Result<(), String> {
    let settings = Arc::new(settings);
    let metrics = Arc::new(Metrics::new(
        settings.metrics_retain_idle,
        settings.series_max,
    ));
    metrics.runtimes.add(tokio::runtime::Handle::current());
    worker::limit(settings.limits);
    let id = &settings.identity;
    let bad = |error| format!("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS: {error}");
    let roots = anchors::parse(&id.trust_anchors).map_err(bad)?;
    let (server_id, server_name) = (id.server_id.clone(), id.server_name.clone());
    let tls = MeshTls::new(
        roots.clone(),
        server_id,
        server_name,
        settings.opaque_streams,
    );
    let tls = Arc::new(tls.map_err(bad)?);
    if let Some(path) = &id.trust_anchors_file {
        tokio::spawn(anchors::follow(path.clone(), tls.clone()));
    }
    let client = |name, target: &ControlAddr| {
        let direction = if target.addr.is_loopback() {
            &settings.inbound
        } else {
            &settings.outbound
        };
        Arc::new(Client::new(
            name,
            target.clone(),
            tls.clone(),
            direction,
            settings.dns_ttl,
            &metrics.control,
        ))
    };
    let policy_client = client("policy", &settings.policy);
    announce(&settings);
    let room = Room::of_process();
    // Bound before anything else, so that early connections wait instead of being refused.
    let admin_listener = bind(settings.admin_addr, 1024, Options::default())?;
    let accepted = |side: &Direction| Options {
        keepalive: side.accept_keepalive,
        user_timeout: side.accept_user_timeout,
    };
    let (inward, outward) = (&settings.inbound, &settings.outbound);
    let inbound_listener = bind(settings.inbound_addr, inward.backlog, accepted(inward))?;
    let mut outbound_listeners = Vec::new();
    for addr in &settings.outbound_addrs {
        outbound_listeners.push(bind(*addr, outward.backlog, accepted(outward))?);
    }
    let tap_listener = match &settings.tap_client {
        Some(client) => Some((
            bind(settings.tap_addr, 1024, Options::default())?,
            client.clone(),
        )),
        None => None,
    };
    let tracer = match &settings.trace {
        None => Tracer::default(),
        Some(trace) => {
            let client = client("opentelemetry", &trace.collector);
            Tracer::start(client, resource(trace), &metrics.spans)
        }
    };
    let taps: Arc<Taps> = Arc::default();
    let outbound = Arc::new(Outbound {
        destination: client("destination", &settings.destination),
        policy: policy_client.clone(),
        settings: settings.clone(),
        tls: tls.clone(),
        metrics: metrics.clone(),
        cache: Default::default(),
        memory: Default::default(),
        tracer: tracer.clone(),
        taps: taps.clone(),
        speakers: Default::default(),
        in_flight: InFlight::default(),
        copies: outbound::mirror::limit(),
    });
    let inbound = Arc::new(Inbound {
        policies: Policies::new(policy_client, &settings),
        outbound: outbound.clone(),
        settings: settings.clone(),
        tls: tls.clone(),
        metrics: metrics.clone(),
        clients: Default::default(),
        profiles: Default::default(),
        tracer,
        taps: taps.clone(),
        access_log: settings.access_log.map(AccessLog::start),
        started: std::time::Instant::now(),
        speakers: Default::default(),
        in_flight: InFlight::default(),
        room: room.clone(),
        application: Default::default(),
    });
    let (shutdown, asked) = mpsc::channel(1);
    // Admin connections do not hold the drain: whoever watches the end should see it.
    let admin_drainer = Drainer::new();
    let admin = Arc::new(Admin {
        inbound: inbound.clone(),
        log,
        shutdown,
    });
    tokio::spawn(admin.run(admin_listener, admin_drainer.watch()));
    // A file of anchors is the word of whoever runs the pod, so it wins.
    let told = id.trust_anchors_file.is_none();
    match &id.certifier {
        Certifier::Service(certify) => {
            let pair = key_pair(&certify.dir, id.server_id.as_str())?;
            let client = client("identity", &certify.svc);
            let (certify, tls) = (certify.clone(), tls.clone());
            tokio::spawn(identity::run(certify, told, pair, client, tls, metrics));
        }
        Certifier::Spire(agent) => {
            let anchors = told.then_some(roots);
            let (agent, tls) = (agent.clone(), tls.clone());
            tokio::spawn(spire::run(agent, anchors, tls, metrics));
        }
    }
    let drainer = Drainer::new();
    let traffic = async {
        tls.ready().await;
        if let Some((listener, admitted)) = tap_listener {
            let server = tap::server::Server {
                inbound: inbound.clone(),
                admitted,
                taps,
            };
            tokio::spawn(Arc::new(server).run(listener, admin_drainer.watch()));
        }
        tokio::spawn(crate::memory::trim_after_bursts(inbound.metrics.clone()));
        for _ in 1..settings.cores {
            let listeners = (&inbound_listener, &outbound_listeners[..]);
            let drain = drainer.watch();
            if let Err(error) =
                another_thread(&inbound, &outbound, listeners, (drain, room.clone()))
            {
                warn!(%error, "a worker thread cannot start");
            }
        }
        tokio::spawn(inbound.run(inbound_listener, drainer.watch(), room.clone()));
        tokio::spawn(outbound.clone().sweep());
        for listener in outbound_listeners {
            tokio::spawn(
                outbound
                    .clone()
                    .run(listener, drainer.watch(), room.clone()),
            );
        }
        std::future::pending::<()>().await;
    };
    let stop = stop_signal(asked);
    tokio::select! {
        () = traffic => {}
        reason = stop => info!(reason = reason?, "shutting down"),
    }
    if !drainer.drain(settings.shutdown_grace).await {
        warn!("graceful shutdown timed out, some connections were cut");
    }
    Ok(())
}

/// What spans are told to be from; of one name the last value counts.
fn resource(trace: &Trace) -> Vec<KeyValue> {
    let file = trace.attributes_file.as_ref().map(|path| {
        std::fs::read_to_string(path).unwrap_or_else(|error| {
            warn!(path, %error, "trace attributes are left out");
            String::new()
        })
    });
    let file = parse_attributes(&file.unwrap_or_default());
    let all = trace.first.iter().chain(&file).chain(&trace.last);
    let by_name: BTreeMap<&String, &String> = all.map(|(name, value)| (name, value)).collect();
    let pairs = by_name.into_iter();
    pairs
        .map(|(name, value)| KeyValue::text(name, value))
        .collect()
}

fn announce(settings: &Settings) {
    info!("{} by l5dx", env!("CARGO_PKG_VERSION"));
    info!("Admin interface on {}", settings.admin_addr);
    info!("Inbound interface on {}", settings.inbound_addr);
    for addr in &settings.outbound_addrs {
        info!("Outbound interface on {addr}");
    }
    match &settings.tap_client {
        Some(client) => info!("Tap interface on {} for {client}", settings.tap_addr),
        None => info!("Tap DISABLED"),
    }
    info!("SNI is {}", settings.identity.server_name);
    info!("Local identity is {}", settings.identity.server_id);
    let destination = &settings.destination;
    match &destination.identity {
        Some(id) => info!("Destinations resolved via {} ({id})", destination.addr),
        None => info!("Destinations resolved via {}", destination.addr),
    }
}

fn bind(addr: std::net::SocketAddr, backlog: u32, options: Options) -> Result<TcpListener, String> {
    listen(addr, backlog, options).map_err(|error| format!("cannot listen on {addr}: {error}"))
}

/// Waits for SIGTERM, SIGINT or the admin endpoint.
async fn stop_signal(mut asked: mpsc::Receiver<()>) -> Result<&'static str, String> {
    let handler = |kind| signal(kind).map_err(|error| format!("cannot handle signals: {error}"));
    let (mut term, mut int) = (
        handler(SignalKind::terminate())?,
        handler(SignalKind::interrupt())?,
    );
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
        Some(()) = asked.recv() => "admin endpoint",
    })
}

//! Opaque connections that a peer's proxy sends as streams of one connection.
//!
//! Each stream is authorized, counted and ended as if it were a connection of its own with a transport
//! header: by the policy of the port that it asks for.

use super::tcp::{withdrawn, Judged};
use super::{Accepted, ClientTls, Inbound};
use crate::drain::Drain;
use crate::http::worker::{dialled, forsake, serve_streams, Exchange, Service, Signal};
use crate::net::io::Io;
use crate::telemetry::registry::Counter;
use crate::telemetry::target_labels;
use crate::telemetry::transport::Transport;
use linkerd_proxy_core::engine::{code, Head, HeadEdit};
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::server::ServerPolicy;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tracing::debug;

/// Ports of which something is remembered for one peer.
const PORTS_MAX: usize = 64;

/// A peer's proxy.
struct Peer {
    inbound: Arc<Inbound>,
    client: SocketAddr,
    local: IpAddr,
    tls: ClientTls,
    ports: RefCell<HashMap<u16, Rc<Known>>>,
}

/// What the streams to one port have in common.
struct Known {
    policy: Arc<ServerPolicy>,
    source: Transport,
    asked: Arc<Counter>,
    judged: Judged,
}

impl Inbound {
    /// Serves the streams of a peer from now on, in the background.
    pub(super) fn streams(
        self: Arc<Self>,
        io: Io,
        client: SocketAddr,
        local: IpAddr,
        tls: ClientTls,
        drain: Drain,
    ) {
        let settings = self.settings.inbound.server_http2;
        let peer = Peer {
            inbound: self,
            client,
            local,
            tls,
            ports: RefCell::default(),
        };
        serve_streams(io, &settings, drain, Rc::new(peer));
    }
}

impl Service for Peer {
    fn call(self: Rc<Self>, exchange: Exchange) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.carry(exchange).await })
    }
}

impl Peer {
    async fn carry(&self, exchange: Exchange) {
        let port = exchange.request(port_of).flatten();
        let own = self.inbound.settings.inbound_addr.port();
        let Some(port) = port.filter(|port| *port != own) else {
            return exchange.reset(code::PROTOCOL_ERROR);
        };
        let inbound = &self.inbound;
        let accepted = Accepted {
            client: self.client,
            target: SocketAddr::new(self.local, port),
            tls: self.tls.clone(),
            policy: inbound.policies.get(port),
        };
        if let Err(error) = self.serve(exchange, &accepted).await {
            let (client, target) = (accepted.client, accepted.target);
            debug!(%client, %target, %error, "inbound connection failed");
            exchange.reset(code::CONNECT_ERROR);
            if error.kind() != io::ErrorKind::PermissionDenied {
                let labels = Labels::new()
                    .with("error", "i/o")
                    .and(&target_labels(target));
                inbound.metrics.inbound_tcp_errors.get(&labels).add(1);
            }
        }
    }

    async fn serve(&self, exchange: Exchange, accepted: &Accepted) -> io::Result<()> {
        let inbound = &self.inbound;
        let mut policy = accepted.policy.clone();
        policy.mark_unchanged();
        let known = self.known(accepted);
        known.asked.add(1);
        let mut meter = known.source.open();
        let allowed = inbound.admit(accepted, &known.judged)?;
        // The application's side takes a descriptor like any other connection.
        let seat = inbound.room.seat();
        let _seat = seat.ok_or_else(|| io::Error::other("too many connections"))?;
        // Boxed, like all that is large and soon over: what is left idles with the connection.
        let server = Box::pin(inbound.dial(accepted.target)).await?;
        let to = dialled(server.mirrored(known.source.clone()));
        if exchange.forward(to, &HeadEdit::default()).is_err() {
            forsake(to);
            return Ok(());
        }
        loop {
            tokio::select! {
                signal = exchange.signal() => match signal {
                    Signal::Response => {
                        // When it is too late, the end follows.
                        let _ = exchange.forward_response(&HeadEdit::default());
                    }
                    Signal::Finished => {
                        let summary = exchange.summary();
                        if summary.is_some_and(|summary| summary.failure.is_none()) {
                            return Ok(());
                        }
                        meter.reset();
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                    Signal::Failed(_) => return Err(io::ErrorKind::ConnectionReset.into()),
                    Signal::Body | Signal::Trailers => {}
                },
                () = withdrawn(&mut policy, accepted) => {
                    inbound.metrics.tcp_terminate.get(allowed).add(1);
                    let kind = io::ErrorKind::PermissionDenied;
                    return Err(io::Error::new(kind, "permission withdrawn"));
                }
            }
        }
    }

    /// What is known of a port, found out again when its policy has changed.
    fn known(&self, accepted: &Accepted) -> Rc<Known> {
        let port = accepted.target.port();
        let policy = accepted.policy.borrow().clone();
        let mut ports = self.ports.borrow_mut();
        if let Some(known) = ports.get(&port) {
            if Arc::ptr_eq(&known.policy, &policy) {
                return known.clone();
            }
        }
        let known = Rc::new(Known {
            policy,
            source: self.inbound.source_transport(accepted),
            asked: self.inbound.asked_for("", port, "", &self.tls),
            judged: self.inbound.judge(accepted),
        });
        if ports.len() >= PORTS_MAX {
            ports.clear();
        }
        ports.insert(port, known.clone());
        known
    }
}

/// The port that a CONNECT asks for.
fn port_of(head: &Head) -> Option<u16> {
    if head.method() != b"CONNECT" {
        return None;
    }
    let authority = std::str::from_utf8(head.authority()).ok()?;
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0)
}

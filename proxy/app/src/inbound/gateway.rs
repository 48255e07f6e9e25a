//! Carries what peers of other clusters send to names of this one.
//!
//! Source: linkerd2-proxy linkerd/app/gateway (behaviour).

use super::{audit, Accepted, ClientTls, Inbound};
use crate::drain::Drain;
use crate::http::heads::{Changes, Routed};
use crate::http::respond::{respond, send, Manner};
use crate::http::worker::{serve, Exchange, Service};
use crate::http::Version;
use crate::net::io::Io;
use crate::outbound::endpoint::original;
use crate::outbound::http::{Arrival, Connection};
use crate::outbound::ingress::Lookup;
use crate::telemetry::registry::Counter;
use linkerd_proxy_core::dst::{host, Dst, Name};
use linkerd_proxy_core::engine::Head;
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::filter::Headers;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::server::{ServerPolicy, Verdict};
use linkerd_proxy_core::transport_header::{Header, Session};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// Requests of one peer to one name.
struct Gateway {
    inbound: Arc<Inbound>,
    accepted: Accepted,
    /// The way out; `None` when no such name is served here.
    outbound: Option<Connection>,
    version: Version,
    host: String,
    /// The last admission and what counts its like.
    admitted: RefCell<Option<Admission>>,
}

/// What a policy said of a request.
struct Admission {
    policy: Arc<ServerPolicy>,
    route: usize,
    by: Arc<Meta>,
    counter: Arc<Counter>,
}

impl Inbound {
    /// Serves a direct connection whose header names something other than this pod.
    ///
    /// # Errors
    /// The name or the peer is refused, or the connection's.
    pub(super) async fn gateway(
        self: Arc<Self>,
        io: Io,
        header: &Header,
        accepted: Accepted,
        drain: Drain,
    ) -> io::Result<()> {
        let served = header.name.as_deref().and_then(host);
        let served = served.filter(|host| self.settings.gateway_suffixes.contain(host));
        let dst = served.map(|host| {
            Dst::Name(Name {
                host,
                port: header.port,
            })
        });
        let Some(session) = header.session else {
            let refused = || io::Error::new(io::ErrorKind::AddrNotAvailable, "bad gateway domain");
            return self
                .gateway_bytes(io, &dst.ok_or_else(refused)?, accepted, drain)
                .await;
        };
        let version = match session {
            Session::Http1 => Version::Http1,
            Session::Http2 => Version::Http2,
        };
        let outbound = match &dst {
            None => None,
            Some(dst) => {
                let entry = self.outbound.discover(dst);
                let entry = entry.map_err(|_| io::Error::other("too many destinations"))?;
                entry
                    .logical()
                    .await
                    .map_err(|_| io::Error::other("destination refused"))?;
                let lookup = Lookup::Known(entry);
                let (target, client) = (accepted.target, accepted.client);
                let outbound = self.outbound.clone();
                Some(Connection::new(outbound, version, target, lookup, client))
            }
        };
        let io = io.metered(self.source_transport(&accepted).open());
        let settings = self.settings.inbound.server_http2;
        let gateway = Gateway {
            inbound: self,
            accepted,
            outbound,
            version,
            host: dst.map_or(String::new(), |dst| dst.to_string()),
            admitted: RefCell::default(),
        };
        serve(io, version, &settings, drain, Rc::new(gateway));
        Ok(())
    }

    async fn gateway_bytes(
        self: Arc<Self>,
        io: Io,
        dst: &Dst,
        accepted: Accepted,
        drain: Drain,
    ) -> io::Result<()> {
        self.admit(&accepted, &self.judge(&accepted))?;
        let entry = self.outbound.discover(dst);
        let entry = entry.map_err(|_| io::Error::other("too many destinations"))?;
        let logical = entry.logical().await;
        let logical = logical.map_err(|_| io::Error::other("destination refused"))?;
        let io = io.metered(self.source_transport(&accepted).open());
        self.outbound
            .clone()
            .bytes(io, logical, accepted.target, drain, None)
            .await
    }
}

impl Service for Gateway {
    fn call(self: Rc<Self>, exchange: Exchange) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.carry(exchange).await })
    }
}

impl Gateway {
    async fn carry(&self, carried: Exchange) {
        let read = carried.request(|head| {
            let mut arrival = self.arrival(head);
            let version = match arrival.original {
                Some(_) => Version::Http1,
                None => self.version,
            };
            let manner = Manner {
                http1: self.version == Version::Http1,
                ..Manner::of_head(head, version, true)
            };
            (self.admit(head, version, &mut arrival), arrival, manner)
        });
        match read {
            None => {}
            Some((Err(failure), arrival, manner)) => {
                self.fail(carried, failure, manner, &arrival.response);
            }
            Some((Ok(outbound), arrival, _)) => outbound.carry(carried, arrival).await,
        }
    }

    /// What the request was before it was carried as HTTP/2.
    fn arrival(&self, head: &Head) -> Arrival {
        let mut arrival = Arrival::default();
        let value = head.get(b"l5d-orig-proto");
        let Some(value) = value.filter(|_| self.version == Version::Http2) else {
            return arrival;
        };
        let absolute = value.ends_with(b"; absolute-form");
        let (http10, text) = match value {
            value if value.starts_with(b"HTTP/1.1") => (false, &b"HTTP/1.1"[..]),
            value if value.starts_with(b"HTTP/1.0") => (true, &b"HTTP/1.0"[..]),
            _ => return arrival,
        };
        arrival.original = Some(original(http10, absolute));
        arrival.response.set("l5d-orig-proto", text);
        arrival
    }

    /// Lets the request through, marked as having been here.
    fn admit(
        &self,
        head: &Head,
        version: Version,
        arrival: &mut Arrival,
    ) -> Result<&Connection, Failure> {
        let client = match &self.accepted.tls {
            ClientTls::Mesh(Some(id)) => id.as_str(),
            ClientTls::Mesh(None) | ClientTls::Opaque(_) | ClientTls::None(_) => "",
        };
        let own = self.inbound.tls.id().as_str();
        let refused = self.refused(head, client, own);
        let outbound = match (refused, &self.outbound) {
            (Some(failure), _) => return Err(failure),
            (None, None) => return Err(Failure::GatewayDomain),
            (None, Some(outbound)) => outbound,
        };
        let authority = String::from_utf8_lossy(head.authority());
        let forwarded = format!("by={own};for={client};host={authority};proto=https");
        arrival.request.add("forwarded", forwarded.as_bytes());
        if version == Version::Http1 {
            arrival.request.set("host", self.host.as_bytes());
        }
        Ok(outbound)
    }

    fn refused(&self, head: &Head, client: &str, own: &str) -> Option<Failure> {
        self.outbound.as_ref()?;
        let accepted = &self.accepted;
        let policy = accepted.policy.borrow().clone();
        let (metrics, tls) = (&self.inbound.metrics, &accepted.tls);
        match policy.check(&Routed(head), accepted.client.ip(), &tls.peer()) {
            Verdict::Allow {
                route,
                authorization,
                ..
            } => {
                let by = &authorization.meta;
                audit(&by.name, accepted.client, accepted.target, tls);
                let mut last = self.admitted.borrow_mut();
                let known = last.as_ref().filter(|last| {
                    Arc::ptr_eq(&last.policy, &policy)
                        && last.route == route
                        && Arc::ptr_eq(&last.by, by)
                });
                if let Some(known) = known {
                    known.counter.add(1);
                } else {
                    let meta = &policy.routes[route].meta;
                    let [_, labels] = accepted.admitted_labels(&policy, meta, by);
                    let counter = metrics.http_allow.get(&labels);
                    counter.add(1);
                    *last = Some(Admission {
                        policy: policy.clone(),
                        route,
                        by: by.clone(),
                        counter,
                    });
                }
            }
            Verdict::Deny { route } => {
                accepted.count_denied(metrics, &policy, route);
                return Some(Failure::Unauthorized);
            }
            Verdict::NoRoute => {
                accepted.count_unrouted(metrics, &policy);
                return Some(Failure::NoRoute);
            }
        }
        let seen = head.values(b"forwarded").any(|value| is_by(value, own));
        (client == own || seen).then_some(Failure::GatewayLoop)
    }

    fn fail(&self, carried: Exchange, failure: Failure, manner: Manner, response: &Changes) {
        let answer = failure.answer();
        if let Some(kind) = answer.metric {
            self.accepted.count_failed(&self.inbound.metrics, kind);
        }
        let mut answered = respond(failure, manner);
        response.apply(answered.headers_mut());
        send(carried, &answered, answer.close);
    }
}

/// Whether an element of a `forwarded` header was added by `own`.
fn is_by(value: &[u8], own: &str) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    text.split([',', ';']).any(|part| {
        let (name, value) = part.trim().split_once('=').unwrap_or_default();
        name.eq_ignore_ascii_case("by") && value.trim_matches('"') == own
    })
}

#[cfg(test)]
mod tests {
    use super::is_by;

    #[test]
    fn gateways_recognise_themselves_in_any_element() {
        for (value, expected) in [
            ("by=gw.ns;for=a;host=b;proto=https", true),
            ("by=other;for=a, For=x;By=\"gw.ns\"", true),
            ("for=gw.ns;by=other", false),
            ("", false),
        ] {
            assert_eq!(expected, is_by(value.as_bytes(), "gw.ns"), "{value}");
        }
    }
}

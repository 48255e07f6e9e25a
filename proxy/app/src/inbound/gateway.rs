//! Carries what peers of other clusters send to names of this one.
//!
//! Source: linkerd2-proxy linkerd/app/gateway (behaviour).

use super::{Accepted, ClientTls, Inbound};
use crate::drain::Drain;
use crate::http::body::Body;
use crate::http::headers::{self, Routed, ORIG_PROTO};
use crate::http::respond::{respond, Manner};
use crate::http::server::{serve, Closer, Service};
use crate::http::{Broken, Version};
use crate::net::io::Io;
use crate::outbound::http::Connection;
use crate::outbound::ingress::Lookup;
use crate::outbound::Source;
use crate::telemetry::{short_meta, target_labels};
use ::http::header::{FORWARDED, HOST, TRANSFER_ENCODING};
use ::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use linkerd_proxy_core::dst::{host, Dst, Name};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::labels::Labels;
use linkerd_proxy_core::server::Verdict;
use linkerd_proxy_core::transport_header::{Header, Session};
use std::io;
use std::sync::Arc;

/// Requests of one peer to one name.
struct Gateway {
    inbound: Arc<Inbound>,
    accepted: Accepted,
    /// The way out; `None` when no such name is served here.
    outbound: Option<Arc<Connection>>,
    host: HeaderValue,
    closer: Closer,
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
        let closer = Closer::default();
        let source = Source {
            client: accepted.client,
            drain: drain.clone(),
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
                let (target, closer) = (accepted.target, closer.clone());
                let way = Connection::new(
                    self.outbound.clone(),
                    version,
                    target,
                    lookup,
                    closer,
                    source,
                );
                Some(Arc::new(way))
            }
        };
        let io = io.metered(self.source_transport(&accepted).open());
        let settings = self.settings.inbound.server_http2;
        let host = dst.map_or(String::new(), |dst| dst.to_string());
        let gateway = Arc::new(Gateway {
            inbound: self,
            accepted,
            outbound,
            host: HeaderValue::from_str(&host).map_err(io::Error::other)?,
            closer: closer.clone(),
        });
        let service: Service = Box::new(move |request| {
            let gateway = gateway.clone();
            Box::pin(async move { gateway.handle(request).await })
        });
        serve(io, version, settings, drain, closer, service)
            .await
            .map_err(io::Error::other)
    }

    async fn gateway_bytes(
        self: Arc<Self>,
        io: Io,
        dst: &Dst,
        accepted: Accepted,
        drain: Drain,
    ) -> io::Result<()> {
        self.admit(&accepted)?;
        let entry = self.outbound.discover(dst);
        let entry = entry.map_err(|_| io::Error::other("too many destinations"))?;
        let logical = entry.logical().await;
        let logical = logical.map_err(|_| io::Error::other("destination refused"))?;
        let io = io.metered(self.source_transport(&accepted).open());
        self.outbound
            .clone()
            .bytes(io, &logical, accepted.target, drain, None)
            .await
    }
}

impl Gateway {
    async fn handle(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let carried = headers::downgrade_orig_proto(&mut request);
        let manner = Manner {
            http1: carried.is_none() && Manner::of(&request, true).http1,
            ..Manner::of(&request, true)
        };
        let mut response = match self.admit(&mut request) {
            Err(failure) => self.fail(failure, manner),
            Ok(outbound) => outbound.handle(request).await?,
        };
        if let Some(version) = carried {
            headers::strip_connection_headers(response.headers_mut());
            response.headers_mut().remove(TRANSFER_ENCODING);
            let text = if version == ::http::Version::HTTP_10 {
                "HTTP/1.0"
            } else {
                "HTTP/1.1"
            };
            response
                .headers_mut()
                .insert(ORIG_PROTO, HeaderValue::from_static(text));
            *response.version_mut() = ::http::Version::HTTP_2;
        }
        Ok(response)
    }

    /// Lets the request through, marked as having been here.
    fn admit(&self, request: &mut Request<Incoming>) -> Result<Arc<Connection>, Failure> {
        let outbound = self.outbound.as_ref().ok_or(Failure::GatewayDomain)?;
        let policy = self.accepted.policy.borrow().clone();
        let peer = self.accepted.tls.peer();
        match policy.check(&Routed(request), self.accepted.client.ip(), &peer) {
            Verdict::Allow { .. } => {}
            Verdict::Deny { .. } => return Err(Failure::Unauthorized),
            Verdict::NoRoute => return Err(Failure::NoRoute),
        }
        let own = self.inbound.tls.id().as_str();
        let client = match &self.accepted.tls {
            ClientTls::Mesh(Some(id)) => id.as_str(),
            ClientTls::Mesh(None) | ClientTls::Opaque(_) | ClientTls::None(_) => "",
        };
        let seen = request.headers().get_all(FORWARDED);
        if client == own || seen.iter().any(|value| is_by(value.as_bytes(), own)) {
            return Err(Failure::GatewayLoop);
        }
        let authority = headers::authority(request);
        let authority = authority
            .as_ref()
            .map_or("", |authority| authority.as_str());
        let forwarded = format!("by={own};for={client};host={authority};proto=https");
        let forwarded = HeaderValue::from_str(&forwarded).map_err(|_| Failure::BadRequest)?;
        request.headers_mut().append(FORWARDED, forwarded);
        if request.version() != ::http::Version::HTTP_2 {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        Ok(outbound.clone())
    }

    fn fail(&self, failure: Failure, manner: Manner) -> Response<Body> {
        let answer = failure.answer();
        if let Some(kind) = answer.metric {
            let server = self.accepted.policy.borrow().meta.clone();
            let labels = Labels::new()
                .with("error", kind)
                .and(&target_labels(self.accepted.target))
                .and(&short_meta("srv", &server))
                .with_display("srv_port", self.accepted.target.port());
            self.inbound.metrics.inbound_http_errors.get(&labels).add(1);
        }
        if answer.close && !manner.http1 {
            self.closer.close();
        }
        respond(failure, manner)
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

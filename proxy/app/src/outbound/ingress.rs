//! Ingress mode: each request says by header where it goes.
//!
//! Source: linkerd2-proxy linkerd/app/outbound/src/ingress.rs (behaviour).

use super::discover::Entry;
use super::endpoint::Request;
use super::logical::Logical;
use super::{Outbound, Source};
use crate::drain::Drain;
use crate::http::detect::{detect, Detected};
use crate::net::io::Io;
use linkerd_proxy_core::dst::{parse, Dst};
use linkerd_proxy_core::failure::Failure;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Says where a request goes.
pub const DST_OVERRIDE: &str = "l5d-dst-override";
/// The port of an override that names none.
const DEFAULT_PORT: u16 = 80;

/// How the destination of a request is found.
pub enum Lookup {
    /// It is that of its connection.
    Known(Arc<Entry>),
    /// The request names it, or it is this address.
    Named(SocketAddr),
}

impl Lookup {
    /// What is known of the destination of a request, which may name it.
    ///
    /// # Errors
    /// [`Failure::BadRequest`] when the header names nothing, or why discovery failed.
    pub async fn logical(
        &self,
        outbound: &Arc<Outbound>,
        request: &Request,
    ) -> Result<Arc<Logical>, Failure> {
        match self {
            Self::Known(entry) => entry.current().ok_or(Failure::Unexpected),
            // Boxed, so that exchanges without stay small.
            Self::Named(original) => Box::pin(Self::named(*original, outbound, request)).await,
        }
    }

    async fn named(
        original: SocketAddr,
        outbound: &Arc<Outbound>,
        request: &Request,
    ) -> Result<Arc<Logical>, Failure> {
        let read = request.carried.request(|head| {
            let value = head.get(DST_OVERRIDE.as_bytes())?;
            let text = std::str::from_utf8(value).ok();
            Some(text.and_then(|text| parse(text.trim(), DEFAULT_PORT)))
        });
        let dst = match read.flatten() {
            None => Dst::Addr(original),
            Some(named) => named.ok_or(Failure::BadRequest)?,
        };
        let dst = match dst {
            // Nobody could say anything about this name, so it goes where it was sent.
            Dst::Name(name) if !outbound.settings.profile_suffixes.contain(&name.host) => {
                Dst::Addr(original)
            }
            dst @ (Dst::Name(_) | Dst::Addr(_)) => dst,
        };
        outbound.discover(&dst)?.logical().await
    }
}

impl Outbound {
    /// Serves a connection of an ingress: HTTP by request, everything else by address.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn ingress(
        self: Arc<Self>,
        mut io: Io,
        client: SocketAddr,
        target: SocketAddr,
        drain: Drain,
    ) -> io::Result<()> {
        let detected = detect(&mut io, self.settings.outbound.detect_timeout).await?;
        let io = io.metered(self.source_transport(target).open());
        match detected {
            Detected::Http(version) => {
                let source = Source { client, drain };
                self.http(io, version, target, Lookup::Named(target), source);
                Ok(())
            }
            Detected::NotHttp | Detected::TimedOut => {
                let entry = self.discover(&target.into());
                let entry = entry.map_err(|_| io::Error::other("too many destinations"))?;
                let logical = entry.logical().await;
                let logical = logical.map_err(|_| io::Error::other("destination refused"))?;
                self.bytes(io, logical, target, drain, None).await
            }
            Detected::Closed => Ok(()),
        }
    }
}

//! Endpoints and profiles.

use super::{bad, duration, metadata, tcp_addr, Invalid};
use crate::destination as api;
use linkerd_proxy_core::endpoint::{Endpoint, Hint, Http2Params, ServerTls};
use linkerd_proxy_core::identity::Id;
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::outbound::Profile;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A change to the endpoints of a destination.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// These exist now, in addition or with new properties.
    Add(Vec<Endpoint>),
    /// These are gone.
    Remove(Vec<SocketAddr>),
    /// None exist.
    Empty,
}

/// Reads an update; endpoints that make no sense are left out and counted in the second value.
pub fn update(message: api::Update) -> (Option<Update>, usize) {
    match message.update {
        Some(api::update::Update::Add(set)) => {
            let total = set.addrs.len();
            let endpoints: Vec<Endpoint> = set
                .addrs
                .into_iter()
                .filter_map(|addr| endpoint(addr, &set.metric_labels).ok())
                .collect();
            let skipped = total - endpoints.len();
            (
                (!endpoints.is_empty()).then_some(Update::Add(endpoints)),
                skipped,
            )
        }
        Some(api::update::Update::Remove(set)) => {
            let addrs: Vec<SocketAddr> = set
                .addrs
                .into_iter()
                .filter_map(|addr| tcp_addr(Some(addr)).ok())
                .collect();
            ((!addrs.is_empty()).then_some(Update::Remove(addrs)), 0)
        }
        Some(api::update::Update::NoEndpoints(_)) => (Some(Update::Empty), 0),
        None => (None, 0),
    }
}

/// Reads one endpoint; its own labels win over those of its set.
///
/// # Errors
/// When the address is missing or malformed.
pub fn endpoint(
    message: api::WeightedAddr,
    set_labels: &BTreeMap<String, String>,
) -> Result<Endpoint, Invalid> {
    let addr = tcp_addr(message.addr)?;
    let mut labels = set_labels.clone();
    labels.extend(message.metric_labels);
    let (hint, opaque_transport) = match message.protocol_hint {
        None => (Hint::Unknown, None),
        Some(hint) => {
            let kind = match hint.protocol {
                None => Hint::Unknown,
                Some(api::protocol_hint::Protocol::H2(_)) => Hint::Http2,
                Some(api::protocol_hint::Protocol::Opaque(_)) => Hint::Opaque,
            };
            let port = hint.opaque_transport.and_then(|transport| {
                u16::try_from(transport.inbound_port)
                    .ok()
                    .filter(|p| (1..65535).contains(p))
            });
            (kind, port)
        }
    };
    Ok(Endpoint {
        addr,
        weight: message.weight,
        tls: message.tls_identity.and_then(server_tls),
        hint,
        opaque_transport,
        authority_override: message
            .authority_override
            .map(|over| over.authority_override)
            .filter(|authority| !authority.is_empty()),
        labels: labels.into_iter().collect(),
        http2: message.http2.map(http2),
    })
}

/// Values that no connection can use are left to the proxy's own settings.
fn http2(message: api::Http2ClientParams) -> Http2Params {
    let flow = message.flow_control.unwrap_or_default();
    let window = |size: u32| (1..1 << 31).contains(&size).then_some(size);
    let keep_alive = message.keep_alive.and_then(|keep| {
        let positive = |time: Option<prost_types::Duration>| {
            duration(time?).ok().filter(|time| !time.is_zero())
        };
        Some((
            positive(keep.interval)?,
            positive(keep.timeout)?,
            keep.while_idle,
        ))
    });
    Http2Params {
        stream_window: window(flow.initial_stream_window_size),
        connection_window: window(flow.initial_connection_window_size),
        adaptive: flow.adaptive_flow_control,
        keep_alive,
    }
}

/// A URI identity needs a server name; a DNS identity is its own.
fn server_tls(message: api::TlsIdentity) -> Option<ServerTls> {
    let name = message.server_name.map(|name| name.name);
    match message.strategy? {
        api::tls_identity::Strategy::DnsLikeIdentity(dns) => {
            let id = Id::parse(&dns.name)?;
            Some(ServerTls {
                server_name: name.unwrap_or(dns.name),
                id,
            })
        }
        api::tls_identity::Strategy::UriLikeIdentity(uri) => Some(ServerTls {
            server_name: name?,
            id: Id::parse(&uri.uri)?,
        }),
    }
}

/// Reads a profile.
///
/// # Errors
/// When its endpoint or an override is malformed.
pub fn profile(message: api::DestinationProfile) -> Result<Profile, Invalid> {
    let overrides = message
        .dst_overrides
        .into_iter()
        .map(|dst| {
            path(&dst.authority)?;
            Ok((dst.authority, dst.weight))
        })
        .collect::<Result<Vec<_>, Invalid>>()?;
    let routes = super::profile::routes(message.routes, message.retry_budget)?;
    let parent = message
        .parent_ref
        .map(|meta| Meta::clone(&metadata(Some(meta), "profile")));
    Ok(Profile {
        name: (!message.fully_qualified_name.is_empty()).then_some(message.fully_qualified_name),
        opaque: message.opaque_protocol,
        endpoint: message
            .endpoint
            .map(|addr| endpoint(addr, &BTreeMap::new()))
            .transpose()?,
        overrides,
        routes,
        parent,
    })
}

/// Checks a `name:port` or `ip:port`.
///
/// # Errors
/// When there is no host or no port from 1 to 65535.
pub fn path(text: &str) -> Result<(), Invalid> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("path", text))?;
    let port_ok = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || !port_ok || host.contains('/') {
        return Err(bad("path", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tcp_addr_message;

    #[test]
    fn an_endpoints_own_labels_win() {
        let addr = "10.0.0.1:80".parse().expect("address");
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect()
        };
        let message = api::WeightedAddr {
            addr: Some(tcp_addr_message(addr)),
            metric_labels: map(&[("pod", "a"), ("zone", "z")]),
            ..Default::default()
        };
        let endpoint = endpoint(message, &map(&[("pod", "b"), ("service", "s")])).expect("valid");
        let expected = vec![
            ("pod".to_string(), "a".to_string()),
            ("service".to_string(), "s".to_string()),
            ("zone".to_string(), "z".to_string()),
        ];
        assert_eq!(expected, endpoint.labels);
    }

    #[test]
    fn paths_need_host_and_port() {
        for (text, valid) in [
            ("web.ns:80", true),
            ("web.ns", false),
            (":80", false),
            ("a:0", false),
            ("a:b", false),
        ] {
            assert_eq!(valid, path(text).is_ok(), "{text}");
        }
    }
}

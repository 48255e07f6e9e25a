//! From messages to core's types, refusing what makes no sense.
//!
//! Every function takes what the control plane sent and returns a value that the proxy can use
//! without further checks. Nothing here panics on any message.

pub mod destination;
pub mod filters;
pub mod inbound;
pub mod outbound;
pub mod profile;
pub mod routes;
pub mod tap;

use crate::{meta, net};
use linkerd_proxy_core::meta::Meta;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A message that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A field that must be set is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value that is out of range or malformed.
    #[error("{field} is invalid: {value}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What it contained.
        value: String,
    },
}

pub(crate) fn bad(field: &'static str, value: impl std::fmt::Display) -> Invalid {
    Invalid::Value {
        field,
        value: value.to_string(),
    }
}

/// Reads an IP address.
///
/// # Errors
/// When the message names none.
pub fn ip(message: Option<net::IpAddress>) -> Result<IpAddr, Invalid> {
    match message.and_then(|message| message.ip) {
        Some(net::ip_address::Ip::Ipv4(bits)) => Ok(Ipv4Addr::from(bits).into()),
        Some(net::ip_address::Ip::Ipv6(v6)) => {
            let bits = u128::from(v6.first) << 64 | u128::from(v6.last);
            Ok(Ipv6Addr::from(bits).into())
        }
        None => Err(Invalid::Missing("ip")),
    }
}

/// Writes an IP address.
pub fn ip_message(ip: IpAddr) -> net::IpAddress {
    let ip = match ip {
        IpAddr::V4(v4) => net::ip_address::Ip::Ipv4(v4.into()),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            net::ip_address::Ip::Ipv6(net::IPv6 {
                first: (bits >> 64) as u64,
                last: bits as u64,
            })
        }
    };
    net::IpAddress { ip: Some(ip) }
}

/// Reads an address with a port from 1 to 65535.
///
/// # Errors
/// When the IP is missing or the port out of range.
pub fn tcp_addr(message: Option<net::TcpAddress>) -> Result<SocketAddr, Invalid> {
    let message = message.ok_or(Invalid::Missing("address"))?;
    let port = port(message.port)?;
    Ok(SocketAddr::new(ip(message.ip)?, port))
}

/// Writes an address.
pub fn tcp_addr_message(addr: SocketAddr) -> net::TcpAddress {
    net::TcpAddress {
        ip: Some(ip_message(addr.ip())),
        port: addr.port().into(),
    }
}

pub(crate) fn port(value: u32) -> Result<u16, Invalid> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| bad("port", value))
}

/// Reads a duration.
///
/// # Errors
/// When it is negative or absurd.
pub fn duration(message: prost_types::Duration) -> Result<Duration, Invalid> {
    Duration::try_from(message).map_err(|_| bad("duration", format!("{}s", message.seconds)))
}

/// Reads metadata; `fallback` names the default that stands for an absent one.
pub fn metadata(message: Option<meta::Metadata>, fallback: &str) -> Arc<Meta> {
    Arc::new(match message.and_then(|message| message.kind) {
        Some(meta::metadata::Kind::Default(name)) => Meta::default_named(&name),
        Some(meta::metadata::Kind::Resource(resource)) => Meta {
            group: resource.group,
            kind: resource.kind,
            name: resource.name,
            namespace: resource.namespace,
            section: resource.section,
            port: u16::try_from(resource.port).unwrap_or(0),
        },
        None => Meta::default_named(fallback),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["1.2.3.4:80", "[2001:db8::1]:65535"] {
            let addr: SocketAddr = text.parse().expect("address");
            assert_eq!(Ok(addr), tcp_addr(Some(tcp_addr_message(addr))));
        }
        let v4 = ip_message("1.2.3.4".parse().expect("ip"));
        assert_eq!(Some(net::ip_address::Ip::Ipv4(0x0102_0304)), v4.ip);
    }

    #[test]
    fn ports_have_a_range() {
        let addr = |port| {
            tcp_addr(Some(net::TcpAddress {
                ip: Some(ip_message(Ipv4Addr::LOCALHOST.into())),
                port,
            }))
        };
        assert_eq!(Err(bad("port", 0)), addr(0));
        assert_eq!(Err(bad("port", 65536)), addr(65536));
    }
}

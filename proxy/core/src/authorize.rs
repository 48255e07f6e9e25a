//! Who may talk to a port.

use crate::identity::Id;
use crate::meta::Meta;
use crate::octets::same;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// An address range in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNet {
    addr: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// Makes a range; `None` when the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let max = if addr.is_ipv4() { 32 } else { 128 };
        (prefix <= max).then_some(Self { addr, prefix })
    }

    /// Parses `addr/prefix` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((addr, prefix)) => Self::new(addr.parse().ok()?, prefix.parse().ok()?),
            None => {
                let addr: IpAddr = text.parse().ok()?;
                Self::new(addr, if addr.is_ipv4() { 32 } else { 128 })
            }
        }
    }

    /// Whether `ip` is inside; families never match each other, but IPv4-mapped addresses count
    /// as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

/// A range with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The range.
    pub net: IpNet,
    /// Ranges inside it that do not count.
    pub except: Vec<IpNet>,
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        self.net.contains(ip) && !self.except.iter().any(|net| net.contains(ip))
    }
}

/// What a client must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing.
    Unauthenticated,
    /// A mesh TLS connection, with or without a client certificate.
    TlsUnauthenticated,
    /// A client certificate with one of these names.
    TlsAuthenticated {
        /// Exact names.
        identities: Vec<String>,
        /// Name endings starting with a dot (`.ns.serviceaccount…`); the empty one admits any name.
        suffixes: Vec<String>,
    },
}

/// One reason to admit a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Where it may come from.
    pub networks: Vec<Network>,
    /// What it must prove.
    pub authentication: Authentication,
    /// Who says so.
    pub meta: Arc<Meta>,
}

/// How the peer reached us, as far as authorization cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Plaintext, or TLS that is not ours to open.
    Plain,
    /// Mesh TLS, with the client's name if it showed a certificate.
    Mesh(Option<Id>),
}

impl Authorization {
    /// The authorization named `localhost` that every port has: loopback clients need no proof.
    pub fn localhost() -> Self {
        let net = |ip: IpAddr, prefix| Network {
            net: IpNet { addr: ip, prefix },
            except: Vec::new(),
        };
        Self {
            networks: vec![
                net(IpAddr::V4(Ipv4Addr::LOCALHOST), 32),
                net(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
            authentication: Authentication::Unauthenticated,
            meta: Arc::new(Meta::default_named("localhost")),
        }
    }

    /// Whether this admits a client at `ip` who proved `peer`.
    pub fn permits(&self, ip: IpAddr, peer: &Peer) -> bool {
        if !self.networks.iter().any(|net| net.contains(ip)) {
            return false;
        }
        match (&self.authentication, peer) {
            (Authentication::Unauthenticated, _) => true,
            (Authentication::TlsUnauthenticated, Peer::Mesh(_)) => true,
            (
                Authentication::TlsAuthenticated {
                    identities,
                    suffixes,
                },
                Peer::Mesh(Some(id)),
            ) => {
                identities
                    .iter()
                    .any(|name| same(name.as_bytes(), id.as_str().as_bytes()))
                    || suffixes.iter().any(|suffix| {
                        suffix.is_empty()
                            || (!id.is_uri() && id.as_str().ends_with(suffix.as_str()))
                    })
            }
            (Authentication::TlsUnauthenticated, Peer::Plain)
            | (Authentication::TlsAuthenticated { .. }, _) => false,
        }
    }
}

/// The first authorization in order that admits the client, `None` to deny.
pub fn authorize<'a>(
    authorizations: impl IntoIterator<Item = &'a Authorization>,
    ip: IpAddr,
    peer: &Peer,
) -> Option<&'a Authorization> {
    authorizations
        .into_iter()
        .find(|authz| authz.permits(ip, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authz(nets: &[&str], except: &[&str], authentication: Authentication) -> Authorization {
        let parse = |text: &&str| IpNet::parse(text).expect("valid net");
        Authorization {
            networks: nets
                .iter()
                .map(|net| Network {
                    net: parse(net),
                    except: except.iter().map(parse).collect(),
                })
                .collect(),
            authentication,
            meta: Arc::new(Meta::default()),
        }
    }

    fn mesh(name: &str) -> Peer {
        Peer::Mesh(Id::parse(name))
    }

    #[test]
    fn networks_have_holes() {
        let open = authz(
            &["10.0.0.0/8"],
            &["10.1.0.0/16"],
            Authentication::Unauthenticated,
        );
        for (ip, admitted) in [("10.0.0.1", true), ("10.1.0.1", false), ("11.0.0.1", false)] {
            let ip = ip.parse().expect("ip");
            assert_eq!(admitted, open.permits(ip, &Peer::Plain), "{ip}");
        }
    }

    #[test]
    fn identities_must_match() {
        let ip = "10.0.0.1".parse().expect("ip");
        let exact = Authentication::TlsAuthenticated {
            identities: vec!["web.ns".into()],
            suffixes: vec![".other".into()],
        };
        let some = authz(&["0.0.0.0/0"], &[], exact);
        let cases = [
            (Peer::Plain, false),
            (Peer::Mesh(None), false),
            (mesh("web.ns"), true),
            (mesh("api.ns"), false),
            (mesh("api.other"), true),
            (mesh("other"), false),
        ];
        for (peer, admitted) in cases {
            assert_eq!(admitted, some.permits(ip, &peer), "{peer:?}");
        }
        let any = authz(
            &["0.0.0.0/0"],
            &[],
            Authentication::TlsAuthenticated {
                identities: vec![],
                suffixes: vec![String::new()],
            },
        );
        assert!(any.permits(ip, &mesh("api.ns")));
        assert!(!any.permits(ip, &Peer::Mesh(None)));
    }

    #[test]
    fn whole_and_empty_prefixes_do_not_overflow() {
        assert!(IpNet::parse("0.0.0.0/0")
            .expect("net")
            .contains("1.2.3.4".parse().expect("ip")));
        assert!(IpNet::parse("::/0")
            .expect("net")
            .contains("::1".parse().expect("ip")));
        assert!(IpNet::parse("1.2.3.4/33").is_none());
        assert!(!IpNet::parse("::/0")
            .expect("net")
            .contains("1.2.3.4".parse().expect("ip")));
    }
}

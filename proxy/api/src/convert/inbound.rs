//! Inbound policy.

use super::routes::{grpc_matches, hosts, http_matches};
use super::{bad, duration, filters, ip, metadata, Invalid};
use crate::{inbound as api, net};
use linkerd_proxy_core::authorize::{Authentication, Authorization, IpNet, Network};
use linkerd_proxy_core::meta::Meta;
use linkerd_proxy_core::rate_limit::{Limiter, RateLimit};
use linkerd_proxy_core::route::{Route, Rule};
use linkerd_proxy_core::server::{Protocol, RoutePolicy, ServerPolicy};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type Routes = Vec<(Route<RoutePolicy>, Vec<Authorization>)>;

/// Reads the policy of a port.
///
/// # Errors
/// When the protocol is missing, or an authorization or route makes no sense.
pub fn server(message: api::Server) -> Result<ServerPolicy, Invalid> {
    use api::proxy_protocol::Kind;
    let authorizations = authorizations(message.authorizations)?;
    let kind = message
        .protocol
        .and_then(|protocol| protocol.kind)
        .ok_or(Invalid::Missing("protocol"))?;
    let (protocol, routes, limit) = match kind {
        Kind::Detect(detect) => {
            let timeout = detect.timeout.map(duration).transpose()?;
            let timeout = timeout.unwrap_or(Duration::from_secs(10));
            (
                Protocol::Detect(timeout),
                http_routes(detect.http_routes)?,
                detect.http_local_rate_limit,
            )
        }
        Kind::Http1(http) => (
            Protocol::Http1,
            http_routes(http.routes)?,
            http.local_rate_limit,
        ),
        Kind::Http2(http) => (
            Protocol::Http2,
            http_routes(http.routes)?,
            http.local_rate_limit,
        ),
        Kind::Grpc(grpc) => (Protocol::Grpc, grpc_routes(grpc.routes)?, None),
        Kind::Opaque(_) => (Protocol::Opaque, Vec::new(), None),
        Kind::Tls(_) => (Protocol::Tls, Vec::new(), None),
    };
    let policy = ServerPolicy::new(labelled(&message.labels), protocol, authorizations, routes);
    Ok(policy.limited(limit.map(rate_limit)))
}

fn rate_limit(message: api::HttpLocalRateLimit) -> Limiter {
    use api::http_local_rate_limit::Limit;
    let rate = |limit: Limit| limit.requests_per_second;
    let over = |over: api::http_local_rate_limit::Override| {
        let names = over.clients?.identities.into_iter().map(|id| id.name);
        Some((names.collect(), rate(over.limit?)))
    };
    Limiter::new(RateLimit {
        meta: metadata(message.metadata, "default"),
        total: message.total.map(rate),
        identity: message.identity.map(rate),
        overrides: message.overrides.into_iter().filter_map(over).collect(),
    })
}

/// Labels `group`, `kind` and `name` name the server.
fn labelled(labels: &BTreeMap<String, String>) -> Arc<Meta> {
    let label = |name: &str, default: &str| labels.get(name).map_or(default, |v| v).to_owned();
    let name = label("name", "");
    if label("group", "").is_empty() && label("kind", "") == "default" {
        return Arc::new(Meta::default_named(&name));
    }
    Arc::new(Meta {
        group: label("group", "policy.linkerd.io"),
        kind: label("kind", "server"),
        name,
        ..Meta::default()
    })
}

/// HTTP and gRPC routes differ only in their messages.
macro_rules! routes {
    ($name:ident, $route:ident, $module:ident, $matches:ident, $filters:path) => {
        fn $name(messages: Vec<api::$route>) -> Result<Routes, Invalid> {
            let rule = |rule: api::$module::Rule| {
                Ok(Rule {
                    matches: $matches(rule.matches)?,
                    policy: RoutePolicy {
                        filters: $filters(rule.filters)?,
                    },
                })
            };
            messages
                .into_iter()
                .map(|route| {
                    let made = Route {
                        meta: metadata(route.metadata, "default"),
                        hosts: hosts(route.hosts)?,
                        rules: route
                            .rules
                            .into_iter()
                            .map(rule)
                            .collect::<Result<_, Invalid>>()?,
                    };
                    Ok((made, authorizations(route.authorizations)?))
                })
                .collect()
        }
    };
}

routes!(
    http_routes,
    HttpRoute,
    http_route,
    http_matches,
    filters::inbound_http
);
routes!(
    grpc_routes,
    GrpcRoute,
    grpc_route,
    grpc_matches,
    filters::inbound_grpc
);

/// An authorization without networks admits nobody and is left out.
fn authorizations(messages: Vec<api::Authz>) -> Result<Vec<Authorization>, Invalid> {
    messages
        .into_iter()
        .filter(|authz| !authz.networks.is_empty())
        .map(|authz| {
            let networks = authz
                .networks
                .into_iter()
                .map(network)
                .collect::<Result<_, _>>()?;
            let meta = match authz.metadata {
                Some(meta) => metadata(Some(meta), "default"),
                None => Arc::new(Meta {
                    group: authz.labels.get("group").cloned().unwrap_or_default(),
                    kind: authz
                        .labels
                        .get("kind")
                        .cloned()
                        .unwrap_or_else(|| "default".into()),
                    name: authz.labels.get("name").cloned().unwrap_or_default(),
                    ..Meta::default()
                }),
            };
            let authn = authz.authentication.and_then(|authn| authn.permit);
            Ok(Authorization {
                networks,
                authentication: authentication(authn)?,
                meta,
            })
        })
        .collect()
}

fn authentication(permit: Option<api::authn::Permit>) -> Result<Authentication, Invalid> {
    use api::authn::permit_mesh_tls::Clients;
    match permit.ok_or(Invalid::Missing("authentication"))? {
        api::authn::Permit::Unauthenticated(_) => Ok(Authentication::Unauthenticated),
        api::authn::Permit::MeshTls(mesh) => match mesh.clients {
            None => Err(Invalid::Missing("clients")),
            Some(Clients::Unauthenticated(_)) => Ok(Authentication::TlsUnauthenticated),
            Some(Clients::Identities(clients)) => Ok(Authentication::TlsAuthenticated {
                identities: clients.identities.into_iter().map(|id| id.name).collect(),
                suffixes: clients
                    .suffixes
                    .into_iter()
                    .map(|suffix| match suffix.parts.as_slice() {
                        [] => String::new(),
                        parts => format!(".{}", parts.join(".")),
                    })
                    .collect(),
            }),
        },
    }
}

fn network(message: api::Network) -> Result<Network, Invalid> {
    Ok(Network {
        net: ip_net(message.net.ok_or(Invalid::Missing("network"))?)?,
        except: message
            .except
            .into_iter()
            .map(ip_net)
            .collect::<Result<_, _>>()?,
    })
}

fn ip_net(message: net::IpNetwork) -> Result<IpNet, Invalid> {
    let addr = ip(message.ip)?;
    u8::try_from(message.prefix_len)
        .ok()
        .and_then(|prefix| IpNet::new(addr, prefix))
        .ok_or_else(|| bad("prefix length", message.prefix_len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::ip_message;
    use linkerd_proxy_core::authorize::Peer;
    use linkerd_proxy_core::identity::Id;

    #[test]
    fn identities_and_suffixes_admit_clients() {
        use api::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
        let clients = PermitClientIdentities {
            identities: vec![api::Identity {
                name: "web.ns".into(),
            }],
            suffixes: vec![api::IdentitySuffix {
                parts: vec!["good".into(), "ns".into()],
            }],
        };
        let authz = api::Authz {
            networks: vec![api::Network {
                net: Some(net::IpNetwork {
                    ip: Some(ip_message([0, 0, 0, 0].into())),
                    prefix_len: 0,
                }),
                except: vec![],
            }],
            authentication: Some(api::Authn {
                permit: Some(api::authn::Permit::MeshTls(api::authn::PermitMeshTls {
                    clients: Some(Clients::Identities(clients)),
                })),
            }),
            ..Default::default()
        };
        let message = api::Server {
            protocol: Some(api::ProxyProtocol {
                kind: Some(api::proxy_protocol::Kind::Opaque(
                    api::proxy_protocol::Opaque {},
                )),
            }),
            authorizations: vec![authz],
            ..Default::default()
        };
        let policy = server(message).expect("valid");
        let client = [10, 0, 0, 1].into();
        for (name, admitted) in [
            ("web.ns", true),
            ("a.good.ns", true),
            ("good.ns", false),
            ("bad.ns", false),
        ] {
            let peer = Peer::Mesh(Id::parse(name));
            assert_eq!(
                admitted,
                policy.authorize(client, &peer).is_some(),
                "{name}"
            );
        }
        assert!(policy
            .authorize([127, 0, 0, 1].into(), &Peer::Plain)
            .is_some());
    }

    #[test]
    fn a_server_without_protocol_is_refused() {
        let error = server(api::Server::default()).expect_err("no protocol");
        assert_eq!(Invalid::Missing("protocol"), error);
    }
}

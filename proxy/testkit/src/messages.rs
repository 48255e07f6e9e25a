//! The world's values as the control plane's messages.
//!
//! Source: linkerd/linkerd2 policy-controller/grpc and controller/api/destination (shape of the messages).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use linkerd_proxy_api::{destination as dst, http_route, inbound, meta, net, outbound};
use prost::Message as _;
use prost_types::Duration;

use crate::world::{Allow, Endpoint, Protocol, Server, Service, World};

const DETECT_TIMEOUT: Duration = Duration {
    seconds: 10,
    nanos: 0,
};
const WEIGHT: u32 = 10_000;

/// An address as the API spells it.
pub fn address(address: SocketAddr) -> net::TcpAddress {
    net::TcpAddress {
        ip: Some(ip(address.ip())),
        port: address.port().into(),
    }
}

fn ip(ip: IpAddr) -> net::IpAddress {
    use net::ip_address::Ip;
    let ip = match ip {
        IpAddr::V4(ip) => Ip::Ipv4(ip.into()),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            Ip::Ipv6(net::IPv6 {
                first: (bits >> 64) as u64,
                last: bits as u64,
            })
        }
    };
    net::IpAddress { ip: Some(ip) }
}

/// The API's address as ours; `None` when a part is missing or out of range.
pub fn socket_address(address: &net::TcpAddress) -> Option<SocketAddr> {
    use net::ip_address::Ip;
    let ip = match address.ip.as_ref()?.ip.as_ref()? {
        Ip::Ipv4(bits) => IpAddr::V4((*bits).into()),
        Ip::Ipv6(v6) => IpAddr::V6((u128::from(v6.first) << 64 | u128::from(v6.last)).into()),
    };
    Some(SocketAddr::new(ip, u16::try_from(address.port).ok()?))
}

/// The answer to `Destination.GetProfile` for an address.
pub fn profile(world: &World, target: SocketAddr) -> dst::DestinationProfile {
    let retry_budget = Some(dst::RetryBudget {
        retry_ratio: 0.2,
        min_retries_per_second: 10,
        ttl: Some(Duration {
            seconds: 10,
            nanos: 0,
        }),
    });
    if let Some(service) = world
        .services
        .iter()
        .find(|service| service.address == target)
    {
        return dst::DestinationProfile {
            fully_qualified_name: host(&service.authority).to_owned(),
            opaque_protocol: service.protocol == Protocol::Opaque,
            parent_ref: Some(service_reference(service)),
            retry_budget,
            ..Default::default()
        };
    }
    let known = endpoints(world).find(|endpoint| endpoint.address == target);
    let endpoint = known
        .cloned()
        .unwrap_or_else(|| Endpoint::plain(&target.to_string()));
    dst::DestinationProfile {
        opaque_protocol: endpoint.opaque,
        endpoint: Some(weighted(&endpoint)),
        retry_budget,
        ..Default::default()
    }
}

/// The endpoints of the service with this `name:port`; `None` when there is no such service.
pub fn destination(world: &World, authority: &str) -> Option<dst::WeightedAddrSet> {
    let service = world
        .services
        .iter()
        .find(|service| service.authority == authority)?;
    let (name, namespace) = name_and_namespace(&service.authority);
    Some(dst::WeightedAddrSet {
        addrs: service.endpoints.iter().map(weighted).collect(),
        metric_labels: labels(&[("namespace", namespace), ("service", name)]),
    })
}

/// The answer to `OutboundPolicies.Watch` for an address; `None` is NotFound.
///
/// An endpoint's own address is not found, as in Linkerd, so the proxy uses its profile.
pub fn outbound_policy(world: &World, target: SocketAddr) -> Option<outbound::OutboundPolicy> {
    if let Some(service) = world
        .services
        .iter()
        .find(|service| service.address == target)
    {
        let backend = balancer(service);
        let kind = outbound_protocol(service.protocol, "http", "opaq", &backend);
        return Some(policy(kind, service_reference(service)));
    }
    if endpoints(world).any(|endpoint| endpoint.address == target) {
        return None;
    }
    let backend = outbound::Backend {
        metadata: Some(default_reference("egress-fallback")),
        kind: Some(outbound::backend::Kind::Forward(weighted(
            &Endpoint::plain(&target.to_string()),
        ))),
        queue: Some(queue()),
    };
    let kind = outbound_protocol(
        Protocol::Detect,
        "egress-fallback",
        "egress-fallback",
        &backend,
    );
    Some(policy(kind, default_reference("egress-fallback")))
}

fn policy(
    kind: outbound::proxy_protocol::Kind,
    reference: meta::Metadata,
) -> outbound::OutboundPolicy {
    outbound::OutboundPolicy {
        protocol: Some(outbound::ProxyProtocol { kind: Some(kind) }),
        metadata: Some(reference),
    }
}

fn balancer(service: &Service) -> outbound::Backend {
    use outbound::backend::{
        balance_p2c::{Load, PeakEwma},
        endpoint_discovery::{DestinationGet, Kind as Discovery},
        BalanceP2c, EndpointDiscovery, Kind,
    };
    let discovery = Discovery::Dst(DestinationGet {
        path: service.authority.clone(),
    });
    outbound::Backend {
        metadata: Some(service_reference(service)),
        kind: Some(Kind::Balancer(BalanceP2c {
            discovery: Some(EndpointDiscovery {
                kind: Some(discovery),
            }),
            load: Some(Load::PeakEwma(PeakEwma {
                default_rtt: Some(Duration {
                    seconds: 0,
                    nanos: 30_000_000,
                }),
                decay: Some(Duration {
                    seconds: 10,
                    nanos: 0,
                }),
            })),
        })),
        queue: Some(queue()),
    }
}

fn queue() -> outbound::Queue {
    outbound::Queue {
        capacity: 100,
        failfast_timeout: Some(Duration {
            seconds: 3,
            nanos: 0,
        }),
    }
}

fn outbound_protocol(
    protocol: Protocol,
    http_name: &str,
    opaque_name: &str,
    backend: &outbound::Backend,
) -> outbound::proxy_protocol::Kind {
    use outbound::proxy_protocol as proto;
    let http = || vec![http_route(http_name, backend)];
    let opaque = || proto::Opaque {
        routes: vec![opaque_route(opaque_name, backend)],
    };
    let http1 = || proto::Http1 {
        routes: http(),
        failure_accrual: None,
    };
    let http2 = || proto::Http2 {
        routes: http(),
        failure_accrual: None,
    };
    match protocol {
        Protocol::Detect => proto::Kind::Detect(proto::Detect {
            timeout: Some(DETECT_TIMEOUT),
            opaque: Some(opaque()),
            http1: Some(http1()),
            http2: Some(http2()),
        }),
        Protocol::Http1 => proto::Kind::Http1(http1()),
        Protocol::Http2 => proto::Kind::Http2(http2()),
        Protocol::Grpc => {
            let routes = vec![grpc_route("grpc", backend)];
            proto::Kind::Grpc(proto::Grpc {
                routes,
                failure_accrual: None,
            })
        }
        // TLS routes need names; what is not read is forwarded alike.
        Protocol::Opaque | Protocol::Tls => proto::Kind::Opaque(opaque()),
    }
}

fn http_route(name: &str, backend: &outbound::Backend) -> outbound::HttpRoute {
    use outbound::http_route::{distribution, Distribution, RouteBackend, Rule};
    let backend = RouteBackend {
        backend: Some(backend.clone()),
        ..Default::default()
    };
    let first = distribution::FirstAvailable {
        backends: vec![backend],
    };
    outbound::HttpRoute {
        metadata: Some(default_reference(name)),
        hosts: vec![],
        rules: vec![Rule {
            matches: vec![any_path()],
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first)),
            }),
            ..Default::default()
        }],
    }
}

fn grpc_route(name: &str, backend: &outbound::Backend) -> outbound::GrpcRoute {
    use outbound::grpc_route::{distribution, Distribution, RouteBackend, Rule};
    let backend = RouteBackend {
        backend: Some(backend.clone()),
        ..Default::default()
    };
    let first = distribution::FirstAvailable {
        backends: vec![backend],
    };
    outbound::GrpcRoute {
        metadata: Some(default_reference(name)),
        hosts: vec![],
        rules: vec![Rule {
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first)),
            }),
            ..Default::default()
        }],
    }
}

fn opaque_route(name: &str, backend: &outbound::Backend) -> outbound::OpaqueRoute {
    use outbound::opaque_route::{distribution, Distribution, RouteBackend, Rule};
    let backend = RouteBackend {
        backend: Some(backend.clone()),
        filters: vec![],
    };
    let first = distribution::FirstAvailable {
        backends: vec![backend],
    };
    outbound::OpaqueRoute {
        metadata: Some(default_reference(name)),
        rules: vec![Rule {
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first)),
            }),
            filters: vec![],
        }],
    }
}

/// The answer to `InboundServerPolicies.WatchPort`.
pub fn server(world: &World, port: u16) -> inbound::Server {
    let server = world.servers.iter().find(|server| server.port == port);
    let octets = server.and_then(|server| crate::decide::unhex(server.message.as_deref()?));
    if let Some(message) = octets.and_then(|octets| inbound::Server::decode(&octets[..]).ok()) {
        return message;
    }
    let (protocol, allow, labels, reference) = match server {
        Some(Server {
            name,
            protocol,
            allow,
            ..
        }) => (
            *protocol,
            allow.clone(),
            labels(&[
                ("group", "policy.linkerd.io"),
                ("kind", "server"),
                ("name", name),
            ]),
            resource("policy.linkerd.io", "authorizationpolicy", name, "test", 0),
        ),
        None => (
            Protocol::Detect,
            Allow::All,
            labels(&[
                ("group", ""),
                ("kind", "default"),
                ("name", "all-unauthenticated"),
            ]),
            default_reference("all-unauthenticated"),
        ),
    };
    let authorizations: Vec<inbound::Authz> =
        authorization(&allow, reference).into_iter().collect();
    inbound::Server {
        protocol: Some(inbound::ProxyProtocol {
            kind: Some(inbound_protocol(protocol, &authorizations)),
        }),
        server_ips: vec![],
        authorizations,
        labels,
    }
}

fn authorization(allow: &Allow, reference: meta::Metadata) -> Option<inbound::Authz> {
    use inbound::authn::{permit_mesh_tls::*, Permit, PermitMeshTls, PermitUnauthenticated};
    let clients = |identities: &[String], suffixes| {
        let identities = identities
            .iter()
            .map(|name| inbound::Identity { name: name.clone() })
            .collect();
        Permit::MeshTls(PermitMeshTls {
            clients: Some(Clients::Identities(PermitClientIdentities {
                identities,
                suffixes,
            })),
        })
    };
    let permit = match allow {
        Allow::All => Permit::Unauthenticated(PermitUnauthenticated {}),
        Allow::Meshed => clients(&[], vec![inbound::IdentitySuffix { parts: vec![] }]),
        Allow::Identities(names) => clients(names, vec![]),
        Allow::Nobody => return None,
    };
    let labels = match &reference.kind {
        Some(meta::metadata::Kind::Resource(r)) => {
            labels(&[("group", &r.group), ("kind", &r.kind), ("name", &r.name)])
        }
        Some(meta::metadata::Kind::Default(name)) => {
            labels(&[("group", ""), ("kind", "default"), ("name", name)])
        }
        None => BTreeMap::new(),
    };
    Some(inbound::Authz {
        networks: ["0.0.0.0", "::"].map(everywhere).to_vec(),
        authentication: Some(inbound::Authn {
            permit: Some(permit),
        }),
        labels,
        metadata: Some(reference),
    })
}

fn everywhere(zero: &str) -> inbound::Network {
    let address = zero.parse().expect("a literal address");
    let net = net::IpNetwork {
        ip: Some(ip(address)),
        prefix_len: 0,
    };
    inbound::Network {
        net: Some(net),
        except: vec![],
    }
}

fn inbound_protocol(
    protocol: Protocol,
    authorizations: &[inbound::Authz],
) -> inbound::proxy_protocol::Kind {
    use inbound::proxy_protocol as proto;
    let http = || {
        vec![inbound::HttpRoute {
            metadata: Some(default_reference("default")),
            hosts: vec![],
            authorizations: authorizations.to_vec(),
            rules: vec![inbound::http_route::Rule {
                matches: vec![any_path()],
                filters: vec![],
            }],
        }]
    };
    let grpc = || {
        vec![inbound::GrpcRoute {
            metadata: Some(default_reference("default")),
            hosts: vec![],
            authorizations: authorizations.to_vec(),
            rules: vec![inbound::grpc_route::Rule::default()],
        }]
    };
    match protocol {
        Protocol::Detect => proto::Kind::Detect(proto::Detect {
            timeout: Some(DETECT_TIMEOUT),
            http_routes: http(),
            http_local_rate_limit: None,
        }),
        Protocol::Http1 => proto::Kind::Http1(proto::Http1 {
            routes: http(),
            local_rate_limit: None,
        }),
        Protocol::Http2 => proto::Kind::Http2(proto::Http2 {
            routes: http(),
            local_rate_limit: None,
        }),
        Protocol::Grpc => proto::Kind::Grpc(proto::Grpc { routes: grpc() }),
        Protocol::Opaque => proto::Kind::Opaque(proto::Opaque {}),
        Protocol::Tls => proto::Kind::Tls(proto::Tls {}),
    }
}

fn any_path() -> http_route::HttpRouteMatch {
    let kind = http_route::path_match::Kind::Prefix("/".to_owned());
    http_route::HttpRouteMatch {
        path: Some(http_route::PathMatch { kind: Some(kind) }),
        ..Default::default()
    }
}

fn weighted(endpoint: &Endpoint) -> dst::WeightedAddr {
    use dst::protocol_hint::{OpaqueTransport, Protocol as Hint};
    use dst::tls_identity::Strategy;
    let name = |name: &String| dst::tls_identity::DnsLikeIdentity { name: name.clone() };
    let protocol = match (endpoint.opaque, endpoint.h2) {
        (true, _) => Some(Hint::Opaque(dst::protocol_hint::Opaque {})),
        (false, true) => Some(Hint::H2(dst::protocol_hint::H2 {})),
        (false, false) => None,
    };
    let opaque_transport = endpoint.inbound_port.map(|port| OpaqueTransport {
        inbound_port: port.into(),
    });
    let hinted = protocol.is_some() || opaque_transport.is_some();
    dst::WeightedAddr {
        addr: Some(address(endpoint.address)),
        weight: WEIGHT,
        metric_labels: endpoint.labels.clone(),
        tls_identity: endpoint.identity.as_ref().map(|identity| dst::TlsIdentity {
            strategy: Some(if identity.contains("://") {
                let uri = identity.clone();
                Strategy::UriLikeIdentity(dst::tls_identity::UriLikeIdentity { uri })
            } else {
                Strategy::DnsLikeIdentity(name(identity))
            }),
            server_name: Some(name(endpoint.server_name.as_ref().unwrap_or(identity))),
        }),
        protocol_hint: hinted.then_some(dst::ProtocolHint {
            opaque_transport,
            protocol,
        }),
        authority_override: endpoint
            .gateway_for
            .as_ref()
            .map(|name| dst::AuthorityOverride {
                authority_override: name.clone(),
            }),
        ..Default::default()
    }
}

fn endpoints(world: &World) -> impl Iterator<Item = &Endpoint> {
    world.services.iter().flat_map(|service| &service.endpoints)
}

fn service_reference(service: &Service) -> meta::Metadata {
    let (name, namespace) = name_and_namespace(&service.authority);
    resource("core", "Service", name, namespace, service.address.port())
}

fn resource(group: &str, kind: &str, name: &str, namespace: &str, port: u16) -> meta::Metadata {
    let resource = meta::Resource {
        group: group.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        section: String::new(),
        port: port.into(),
    };
    meta::Metadata {
        kind: Some(meta::metadata::Kind::Resource(resource)),
    }
}

fn default_reference(name: &str) -> meta::Metadata {
    meta::Metadata {
        kind: Some(meta::metadata::Kind::Default(name.to_owned())),
    }
}

fn host(authority: &str) -> &str {
    authority.split(':').next().unwrap_or(authority)
}

fn name_and_namespace(authority: &str) -> (&str, &str) {
    let mut labels = host(authority).split('.');
    (
        labels.next().unwrap_or_default(),
        labels.next().unwrap_or_default(),
    )
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let web = Service::new("10.96.0.1:80", "web.shop.svc.cluster.local:80").endpoint(
            Endpoint::meshed(
                "10.0.0.5:8080",
                "web.shop.serviceaccount.identity.linkerd.cluster.local",
            ),
        );
        World::new()
            .service(web)
            .server(Server::new(8080, "web").allow(Allow::Nobody))
    }

    #[test]
    fn services_have_policies_and_endpoints_have_profiles() {
        let world = world();
        let service = "10.96.0.1:80".parse().expect("literal");
        let endpoint = "10.0.0.5:8080".parse().expect("literal");
        let outside = "203.0.113.1:443".parse().expect("literal");
        assert!(outbound_policy(&world, service).is_some());
        assert_eq!(None, outbound_policy(&world, endpoint));
        assert_eq!(
            Some(default_reference("egress-fallback")),
            outbound_policy(&world, outside).and_then(|p| p.metadata)
        );
        assert_eq!(
            "web.shop.svc.cluster.local",
            profile(&world, service).fully_qualified_name
        );
        assert_eq!(
            Some(endpoint),
            profile(&world, endpoint)
                .endpoint
                .and_then(|e| socket_address(&e.addr?))
        );
    }

    #[test]
    fn a_server_that_allows_nobody_has_no_authorization() {
        assert_eq!(0, server(&world(), 8080).authorizations.len());
        assert_eq!(1, server(&world(), 9090).authorizations.len());
    }

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["10.1.2.3:80", "[fd00::1:2]:65535"] {
            let value: SocketAddr = text.parse().expect("literal");
            assert_eq!(Some(value), socket_address(&address(value)));
        }
    }
}

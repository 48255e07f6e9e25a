//! A proxy that carries other clusters' requests to the services of its own.
//!
//! Source: linkerd/linkerd2-proxy linkerd/app/gateway (behaviour).

use http::{StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Allow, Endpoint, Protocol, Server, Service, World};

use crate::fixture::*;

/// The mirrored service, as clients of the other cluster know it.
const MIRROR: &str = "10.96.0.20:80";
const MIRROR_AUTHORITY: &str = "web-east.shop.svc.cluster.local:80";
const SETTINGS: [(&str, &str); 1] = [("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.")];

/// A mirror of `authority` behind the server's proxy, and the service itself with a plain endpoint.
fn mirrored(authority: &str, protocol: Protocol) -> World {
    let gateway = Endpoint::meshed("10.9.0.2:80", SERVER_ID).gateway_for(authority);
    let gateway = if protocol == Protocol::Opaque {
        gateway.opaque()
    } else {
        gateway
    };
    let mirror = Service::new(MIRROR, MIRROR_AUTHORITY).protocol(protocol);
    let local = Service::new(SERVICE, AUTHORITY).protocol(protocol);
    World::new()
        .service(mirror.endpoint(gateway))
        .service(local.endpoint(Endpoint::plain(POD)))
}

fn start(world: World, settings: &[(&str, &str)]) -> Option<Mesh> {
    Mesh::start_with(world, Authority::generate(), settings)
}

#[test]
fn requests_pass_the_gateway_and_say_so() {
    let Some(mesh) = start(mirrored(AUTHORITY, Protocol::Detect), &SETTINGS) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let answer = mesh.send(From::Meshed, MIRROR, get(version, "/path"));
        assert_eq!(StatusCode::OK, answer.status, "{version:?}: {answer:?}");
        let expected =
            format!("forwarded: by={SERVER_ID};for={CLIENT_ID};host={AUTHORITY};proto=https");
        assert!(answer.body.contains(&expected), "{}", answer.body);
        assert!(answer.body.contains("/path"), "{}", answer.body);
        assert_eq!(version, answer.version);
    }
    let answer = mesh.send(From::Meshed, MIRROR, grpc("/shop.Web/Echo"));
    assert_eq!("0", answer.header("grpc-status"), "{answer:?}");
    let page = mesh.server.metrics();
    let name = "target_name=\"web.shop.svc.cluster.local\"";
    assert!(page.contains(name), "{page}");
    let admitted = "inbound_http_authz_allow_total{target_addr=\"10.9.0.2:4143\"";
    let count: u64 = page
        .lines()
        .filter(|line| line.starts_with(admitted))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(3, count, "{page}");
}

#[test]
fn bytes_pass_the_gateway() {
    let Some(mesh) = start(mirrored(AUTHORITY, Protocol::Opaque), &SETTINGS) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    let bytes = b"\x00\x01no http";
    assert_eq!(
        bytes.to_vec(),
        mesh.exchange(From::Meshed, MIRROR, bytes, bytes.len())
    );
}

#[test]
fn gateways_serve_their_own_names_to_admitted_peers_only() {
    let refused = Server::new(4143, "gateway").allow(Allow::Nobody);
    for (world, settings, status) in [
        (
            mirrored(AUTHORITY, Protocol::Detect),
            &[][..],
            StatusCode::NOT_FOUND,
        ),
        (
            mirrored("web.example.com:80", Protocol::Detect),
            &SETTINGS[..],
            StatusCode::NOT_FOUND,
        ),
        (
            mirrored(AUTHORITY, Protocol::Detect).server(refused),
            &SETTINGS[..],
            StatusCode::FORBIDDEN,
        ),
    ] {
        let Some(mesh) = start(world, settings) else {
            return;
        };
        mesh.server.serve(PORT, Kind::Http);
        // The first connection does not wait for the policy, so ask until it is there.
        eventually(&format!("{status}"), || {
            mesh.send(From::Meshed, MIRROR, get(Version::HTTP_11, "/"))
                .status
                == status
        });
        let denied = "inbound_http_authz_deny_total{target_addr=\"10.9.0.2:4143\"";
        let counted = mesh.server.metrics().contains(denied);
        assert_eq!(status == StatusCode::FORBIDDEN, counted);
    }
}

#[test]
fn a_request_that_comes_back_is_refused() {
    let Some(mesh) = start(mirrored(AUTHORITY, Protocol::Detect), &SETTINGS) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let mut request = get(Version::HTTP_2, "/");
    let seen = format!("by={SERVER_ID};for=x;host=y;proto=https");
    let seen = http::HeaderValue::from_str(&seen).expect("a legal value");
    request.headers_mut().insert("forwarded", seen);
    let answer = mesh.send(From::Meshed, MIRROR, request);
    assert_eq!(StatusCode::LOOP_DETECTED, answer.status, "{answer:?}");
}

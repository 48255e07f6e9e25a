//! The same over IPv6: redirect rules, original destinations, discovery, mTLS and metrics.

use http::{Request, StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Endpoint, Protocol, Service, World};

use crate::fixture::*;

const CLIENT: &str = "fd00:9::1";
const SERVER: &str = "fd00:9::2";
const WEB: &str = "[fd00:96::10]:80";
const BYTES: &str = "[fd00:96::11]:80";
const OPAQUE_PORT: u16 = 8081;

/// The environment of the injector for pods of both families.
const SETTINGS: [(&str, &str); 4] = [
    ("INBOUND_LISTEN_ADDR", "[::]:4143"),
    ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140"),
    ("ADMIN_LISTEN_ADDR", "[::]:4191"),
    ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8,fd00::/8"),
];

#[test]
fn requests_and_bytes_pass_between_pods_of_ipv6() {
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return;
    }
    let pod = format!("[{SERVER}]:{PORT}");
    let opaque = format!("[{SERVER}]:{OPAQUE_PORT}");
    let world = World::new()
        .service(Service::new(WEB, AUTHORITY).endpoint(Endpoint::meshed(&pod, SERVER_ID)))
        .service(
            Service::new(BYTES, "bytes.shop.svc.cluster.local:80")
                .protocol(Protocol::Opaque)
                .endpoint(Endpoint::meshed(&opaque, SERVER_ID).opaque()),
        );
    let (client, server) = (
        proxy(CLIENT_ID, CLIENT, &SETTINGS),
        proxy(SERVER_ID, SERVER, &SETTINGS),
    );
    let Some(mesh) = Mesh::of(world, Authority::generate(), &client, &server) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    mesh.server.serve(OPAQUE_PORT, Kind::Tcp);
    for (from, to) in [
        (From::Meshed, WEB),
        (From::Meshed, pod.as_str()),
        (From::Unmeshed, pod.as_str()),
    ] {
        let request = Request::get("/").header("host", "web").body("");
        let answer = mesh.send(from, to, request.expect("literal parts"));
        assert_eq!(StatusCode::OK, answer.status, "{from:?} {to}");
        let named = answer.body.contains(&format!("l5d-client-id: {CLIENT_ID}"));
        assert_eq!(matches!(from, From::Meshed), named, "{from:?} {to}");
    }
    let answer = mesh.send(From::Meshed, WEB, get(Version::HTTP_2, "/"));
    assert_eq!(StatusCode::OK, answer.status);
    assert_eq!(
        b"hello"[..],
        mesh.exchange(From::Meshed, BYTES, b"hello", 5)
    );
    let target = format!("target_addr=\"{pod}\",target_ip=\"{SERVER}\",target_port=\"8080\"");
    for (page, direction) in [
        (mesh.client.metrics(), "outbound"),
        (mesh.server.metrics(), "inbound"),
    ] {
        let counted = |line: &str| {
            line.starts_with("request_total{") && line.contains(direction) && line.contains(&target)
        };
        assert!(page.lines().any(counted), "{direction}\n{page}");
    }
}

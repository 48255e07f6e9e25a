//! HTTP/1, HTTP/2, gRPC and upgrades across both proxies, and to and from the unmeshed.

use http::{Request, StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::control::ControlPlane;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::namespace::{permitted, Namespace};
use linkerd_proxy_testkit::pod::{self, Pod, Proxy};
use linkerd_proxy_testkit::world::{Endpoint, Service, World};

use crate::fixture::*;

/// The value of a header in an echoed request, empty when it was not there.
fn seen(body: &str, header: &str) -> String {
    let prefix = format!("{header}: ");
    body.lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn both_versions_reach_the_application_as_they_were_sent() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for (version, to) in [
        (Version::HTTP_11, SERVICE),
        (Version::HTTP_2, SERVICE),
        (Version::HTTP_11, POD),
        (Version::HTTP_2, POD),
    ] {
        let answer = mesh.send(From::Meshed, to, get(version, "/hello?x=1"));
        assert_eq!(
            StatusCode::OK,
            answer.status,
            "{version:?} to {to}: {answer:?}"
        );
        assert_eq!(version, answer.version);
        let first = answer.body.lines().next().unwrap_or_default();
        assert!(
            first.contains("/hello?x=1") && first.ends_with(&format!("{version:?}")),
            "{first}"
        );
        assert_eq!(
            CLIENT_ID,
            seen(&answer.body, "l5d-client-id"),
            "{version:?} to {to}"
        );
        for internal in ["l5d-orig-proto", "l5d-proxy-error", "l5d-proxy-connection"] {
            assert_eq!("", seen(&answer.body, internal), "{version:?} to {to}");
            assert_eq!("", answer.header(internal), "{version:?} to {to}");
        }
        if version == Version::HTTP_11 {
            assert_eq!("web.shop.svc.cluster.local", seen(&answer.body, "host"));
        }
    }
}

#[test]
fn statuses_and_bodies_pass_unchanged() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/status/503"));
    assert_eq!(StatusCode::SERVICE_UNAVAILABLE, answer.status);
    assert_eq!("", answer.header("l5d-proxy-error"));
    let body: &'static str = Box::leak("0123456789abcdef".repeat(1 << 16).into_boxed_str());
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let uri = "http://web.shop.svc.cluster.local/upload";
        let request = Request::post(uri)
            .version(version)
            .header("host", "web")
            .body(body);
        let answer = mesh.send(From::Meshed, SERVICE, request.expect("literal parts"));
        assert!(
            answer.body.ends_with(body),
            "{version:?}: {} bytes came back",
            answer.body.len()
        );
    }
}

#[test]
fn grpc_status_arrives_as_a_trailer() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for (path, code) in [("/shop.Web/Echo", "0"), ("/shop.Web/fail/13", "13")] {
        let answer = mesh.send(From::Meshed, SERVICE, grpc(path));
        assert_eq!(StatusCode::OK, answer.status);
        assert_eq!("\0\0\0\0\u{4}ping", answer.body);
        let trailer = answer
            .trailers
            .get("grpc-status")
            .map(|value| value.as_bytes().to_vec());
        assert_eq!(
            Some(code.as_bytes().to_vec()),
            trailer,
            "{path}: {answer:?}"
        );
    }
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let request =
        b"GET /chat HTTP/1.1\r\nhost: web.shop.svc.cluster.local\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";
    let both: &'static [u8] = Box::leak(
        [&request[..], b"after the switch"]
            .concat()
            .into_boxed_slice(),
    );
    // Answer heads differ in length by proxy, so read until the echoed bytes must have come.
    let head = mesh.exchange(From::Meshed, SERVICE, request, 12);
    assert_eq!("HTTP/1.1 101", String::from_utf8_lossy(&head));
    let answer = mesh.client.namespace.block_on(None, async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(SERVICE).await?;
        socket.write_all(both).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"after the switch") {
            let mut byte = [0; 512];
            match tokio::time::timeout(
                linkerd_proxy_testkit::client::TIMEOUT,
                socket.read(&mut byte),
            )
            .await??
            {
                0 => break,
                read => answer.extend_from_slice(&byte[..read]),
            }
        }
        std::io::Result::Ok(answer)
    });
    let answer = String::from_utf8_lossy(&answer.expect("the connection holds")).to_lowercase();
    assert!(answer.contains("upgrade: websocket"), "{answer}");
    assert!(answer.ends_with("after the switch"), "{answer}");
}

#[test]
fn bytes_between_the_proxies_are_encrypted() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let capture = mesh.server.namespace.capture();
    mesh.send(
        From::Unmeshed,
        POD,
        get(Version::HTTP_11, "/marker-in-the-clear"),
    );
    eventually("the capture sees plaintext", || {
        capture.contains("/marker-in-the-clear")
    });
    let before = capture.length();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let uri = "http://web.shop.svc.cluster.local/";
        let request = Request::post(uri)
            .version(version)
            .header("host", "web")
            .body("marker-that-is-secret");
        let answer = mesh.send(From::Meshed, SERVICE, request.expect("literal parts"));
        assert!(
            answer.body.ends_with("marker-that-is-secret"),
            "{version:?}"
        );
    }
    eventually("the capture sees the exchange", || {
        capture.length() > before
    });
    assert!(!capture.contains("marker-that-is-secret"));
}

#[test]
fn an_unmeshed_client_reaches_a_meshed_server_without_an_identity() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut request = get(version, "/plain");
        request
            .headers_mut()
            .insert("l5d-client-id", http::HeaderValue::from_static("forged.id"));
        let answer = mesh.send(From::Unmeshed, POD, request);
        assert_eq!(StatusCode::OK, answer.status, "{version:?}");
        assert_eq!("", seen(&answer.body, "l5d-client-id"), "{version:?}");
    }
}

#[test]
fn a_meshed_client_reaches_an_unmeshed_server() {
    if !permitted() {
        return;
    }
    let (client, server) = (Namespace::new(), Namespace::new());
    client.join(CLIENT_IP, &server, SERVER_IP);
    let plain = Service::new(SERVICE, AUTHORITY).endpoint(Endpoint::plain(POD));
    let control = ControlPlane::new(Authority::generate(), World::new().service(plain));
    let binary = env!("CARGO_BIN_EXE_linkerd-proxy");
    let proxy = Proxy {
        binary,
        identity: CLIENT_ID,
        ip: CLIENT_IP,
        environment: &[],
        descriptors: None,
    };
    let pod = Pod::start(&client, &control, &proxy);
    pod::serve(&server, PORT, Kind::Http);
    for (version, to) in [
        (Version::HTTP_11, SERVICE),
        (Version::HTTP_2, SERVICE),
        (Version::HTTP_11, POD),
    ] {
        let request = get(version, "/out");
        let answer = pod.namespace.block_on(None, async move {
            linkerd_proxy_testkit::client::send(to.parse().expect("literal"), request).await
        });
        let answer = answer.unwrap_or_else(|error| panic!("{version:?} to {to}: {error}"));
        assert_eq!(
            StatusCode::OK,
            answer.status,
            "{version:?} to {to}: {answer:?}"
        );
        assert!(answer.body.contains("/out"), "{version:?} to {to}");
    }
}

#[test]
fn a_server_that_is_down_is_a_bad_gateway() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    assert!(
        [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT].contains(&answer.status),
        "{answer:?}"
    );
    let answer = mesh.send(From::Meshed, SERVICE, grpc("/shop.Web/Echo"));
    assert_eq!(StatusCode::OK, answer.status);
    assert!(
        ["14", "4"].contains(&answer.header("grpc-status").as_str()),
        "{answer:?}"
    );
}

#[test]
fn endpoints_follow_the_control_plane() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    mesh.server.serve(9090, Kind::Http);
    assert_eq!(
        StatusCode::OK,
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
            .status
    );
    let moved = Endpoint::meshed("10.9.0.2:9090", SERVER_ID);
    mesh.control
        .set(World::new().service(Service::new(SERVICE, AUTHORITY).endpoint(moved)));
    eventually("requests go to the new endpoint", || {
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
        mesh.server.metrics().contains("target_port=\"9090\"")
    });
}

//! Bytes that are not HTTP: marked opaque, detected as such, and servers that speak first.

use linkerd_proxy_testkit::echo::{Kind, BANNER};
use linkerd_proxy_testkit::world::{Protocol, Server, World};

use crate::fixture::*;

const QUERY: &[u8] = b"\x00\x01binary that is no http";

fn opaque_world() -> World {
    let service = linkerd_proxy_testkit::world::Service::new(SERVICE, AUTHORITY)
        .protocol(Protocol::Opaque)
        .endpoint(endpoint().opaque());
    World::new()
        .service(service)
        .server(Server::new(PORT, "db").protocol(Protocol::Opaque))
}

#[test]
fn opaque_bytes_pass_encrypted() {
    let Some(mesh) = Mesh::start(opaque_world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    let capture = mesh.server.namespace.capture();
    for to in [SERVICE, POD] {
        let answer = mesh.exchange(From::Meshed, to, QUERY, QUERY.len());
        assert_eq!(QUERY, answer, "{to}");
    }
    assert!(!capture.contains("binary that is no http"));
    let answer = mesh.exchange(From::Unmeshed, POD, QUERY, QUERY.len());
    assert_eq!(QUERY, answer, "an unmeshed client");
}

#[test]
fn a_server_may_speak_first_on_an_opaque_port() {
    let Some(mesh) = Mesh::start(opaque_world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Banner);
    for (from, to) in [
        (From::Meshed, SERVICE),
        (From::Meshed, POD),
        (From::Unmeshed, POD),
    ] {
        let answer = mesh.exchange(from, to, b"", BANNER.len());
        assert_eq!(BANNER, String::from_utf8_lossy(&answer), "{from:?} to {to}");
    }
}

#[test]
fn bytes_that_are_no_http_pass_where_the_protocol_is_detected() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    for (from, to) in [
        (From::Meshed, SERVICE),
        (From::Meshed, POD),
        (From::Unmeshed, POD),
    ] {
        let answer = mesh.exchange(from, to, QUERY, QUERY.len());
        assert_eq!(QUERY, answer, "{from:?} to {to}");
    }
}

#[test]
fn the_end_of_a_connection_reaches_the_other_side() {
    let Some(mesh) = Mesh::start(opaque_world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    let rest = mesh.client.namespace.block_on(None, async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(SERVICE).await?;
        socket.write_all(QUERY).await?;
        socket.shutdown().await?;
        let mut rest = Vec::new();
        let limit = linkerd_proxy_testkit::client::TIMEOUT;
        tokio::time::timeout(limit, socket.read_to_end(&mut rest)).await??;
        std::io::Result::Ok(rest)
    });
    assert_eq!(QUERY, rest.expect("half-closed connections still deliver"));
}

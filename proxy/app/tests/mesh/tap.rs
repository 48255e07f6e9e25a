//! Watching exchanges on the tap port.

use http::{HeaderValue, Request, StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::client::Answer;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Endpoint, Service};

use crate::fixture::*;

const TAP: &str = "10.9.0.2:4190";

/// `ObserveRequest{limit: 1, extract: {http: {headers: {}}}}` as a gRPC message.
const ONE_EXCHANGE: &str = "\0\0\0\0\u{8}\u{8}\u{1}\u{1a}\u{4}\u{a}\u{2}\u{a}\0";

fn mesh(watcher: &str) -> Option<Mesh> {
    let port = Endpoint {
        inbound_port: None,
        ..Endpoint::meshed(TAP, SERVER_ID)
    };
    let tap = Service::new("10.96.0.11:4190", "tap.shop.svc.cluster.local:4190").endpoint(port);
    let environment = [("TAP_SVC_NAME", watcher)];
    let mesh = Mesh::start_with(world().service(tap), Authority::generate(), &environment)?;
    mesh.server.serve(PORT, Kind::Http);
    Some(mesh)
}

fn observe(mesh: &Mesh, from: From, message: &'static str) -> Answer {
    let request = Request::post("http://tap/io.linkerd.proxy.tap.Tap/Observe")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(message)
        .expect("literal parts");
    mesh.send(from, TAP, request)
}

#[test]
fn a_watcher_sees_an_exchange_from_request_to_end() {
    let Some(mesh) = mesh(CLIENT_ID) else {
        return;
    };
    let answer = std::thread::scope(|scope| {
        let watching = scope.spawn(|| observe(&mesh, From::Meshed, ONE_EXCHANGE));
        while !watching.is_finished() {
            let mut request = get(Version::HTTP_11, "/watched");
            let forged = HeaderValue::from_static("forged");
            request.headers_mut().insert("l5d-client-id", forged);
            let answer = mesh.send(From::Meshed, SERVICE, request);
            assert_eq!(StatusCode::OK, answer.status);
        }
        watching.join().expect("no panic")
    });
    let status = answer.trailers.get("grpc-status");
    assert_eq!(
        Some("0"),
        status.and_then(|s| s.to_str().ok()),
        "{answer:?}"
    );
    for text in [
        "/watched",
        "web.shop.svc.cluster.local",
        CLIENT_ID,
        "srv_name",
        "l5d-client-id",
    ] {
        assert!(answer.body.contains(text), "{text}: {answer:?}");
    }
    assert!(!answer.body.contains("forged"), "{answer:?}");
}

#[test]
fn strangers_see_nothing() {
    let Some(mesh) = mesh("tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local") else {
        return;
    };
    let answer = observe(&mesh, From::Meshed, ONE_EXCHANGE);
    assert_eq!("16", answer.header("grpc-status"), "{answer:?}");
    let answer = observe(&mesh, From::Unmeshed, ONE_EXCHANGE);
    assert_eq!("16", answer.header("grpc-status"), "{answer:?}");
}

#[test]
fn a_watch_without_a_limit_is_refused() {
    let Some(mesh) = mesh(CLIENT_ID) else {
        return;
    };
    let answer = observe(&mesh, From::Meshed, "\0\0\0\0\0");
    assert_eq!("3", answer.header("grpc-status"), "{answer:?}");
}

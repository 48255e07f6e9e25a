//! Ingress mode: requests go where their header says, whatever address they were sent to.
//!
//! Source: linkerd/linkerd2-proxy linkerd/app/outbound/src/ingress.rs (behaviour).

use http::{Request, StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;

use crate::fixture::*;

/// Somewhere that no service has and no server listens at.
const ELSEWHERE: &str = "10.96.0.99:80";

fn overridden(version: Version, dst: &'static str) -> Request<&'static str> {
    let mut request = get(version, "/seen");
    let dst = http::HeaderValue::from_static(dst);
    request.headers_mut().insert("l5d-dst-override", dst);
    request
}

#[test]
fn requests_follow_their_override_over_mtls() {
    let settings = [("INGRESS_MODE", "true")];
    let Some(mesh) = Mesh::start_with(world(), Authority::generate(), &settings) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for dst in [
            AUTHORITY,
            "web.shop.svc.cluster.local",
            "WEB.shop.svc.cluster.local.:80",
        ] {
            let answer = mesh.send(From::Meshed, ELSEWHERE, overridden(version, dst));
            assert_eq!(
                StatusCode::OK,
                answer.status,
                "{version:?} {dst}: {answer:?}"
            );
            let seen = format!("l5d-client-id: {CLIENT_ID}");
            assert!(answer.body.contains(&seen), "{}", answer.body);
            assert!(!answer.body.contains("l5d-dst-override"), "{}", answer.body);
        }
        let answer = mesh.send(From::Meshed, SERVICE, get(version, "/"));
        assert_eq!(
            StatusCode::OK,
            answer.status,
            "without the header: {answer:?}"
        );
        let answer = mesh.send(
            From::Meshed,
            SERVICE,
            overridden(version, "outside.example"),
        );
        assert_eq!(
            StatusCode::OK,
            answer.status,
            "a name of nobody's: {answer:?}"
        );
    }
}

#[test]
fn overrides_that_name_nothing_are_refused_without_explanation() {
    let settings = [("INGRESS_MODE", "true")];
    let Some(mesh) = Mesh::start_with(world(), Authority::generate(), &settings) else {
        return;
    };
    for dst in ["http://web", "web:0", ":80"] {
        let answer = mesh.send(From::Meshed, SERVICE, overridden(Version::HTTP_11, dst));
        assert_eq!(StatusCode::BAD_REQUEST, answer.status, "{dst}");
        assert_eq!("", answer.header("l5d-proxy-error"), "{dst}");
    }
}

#[test]
fn what_is_no_http_goes_by_address() {
    let settings = [("INGRESS_MODE", "true")];
    let Some(mesh) = Mesh::start_with(world(), Authority::generate(), &settings) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    let bytes = b"\x00\x01no http";
    assert_eq!(
        bytes.to_vec(),
        mesh.exchange(From::Meshed, SERVICE, bytes, bytes.len())
    );
}

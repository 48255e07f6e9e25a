//! Probes, shutdown, and what a proxy does without its control plane.

use http::{StatusCode, Version};
use linkerd_proxy_testkit::echo::Kind;

use crate::fixture::*;

#[test]
fn probes_answer_and_a_signal_ends_the_proxy_cleanly() {
    let Some(mut mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for path in ["/live", "/ready"] {
        assert_eq!(
            StatusCode::OK,
            mesh.server
                .admin(path)
                .expect("the admin server answers")
                .status,
            "{path}"
        );
    }
    assert_eq!(
        StatusCode::OK,
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
            .status
    );
    assert!(mesh.client.terminate().success());
    assert!(mesh.server.terminate().success());
}

#[test]
fn one_certificate_and_one_discovery_serve_many_connections() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for _ in 0..20 {
        assert_eq!(
            StatusCode::OK,
            mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
                .status
        );
    }
    let calls = mesh.control.calls();
    let count = |text: &str| calls.iter().filter(|call| call.starts_with(text)).count();
    assert_eq!(1, count(&format!("Certify {CLIENT_ID}")), "{calls:?}");
    assert_eq!(1, count(&format!("Watch {SERVICE}")), "{calls:?}");
    assert_eq!(1, count(&format!("Get {AUTHORITY}")), "{calls:?}");
}

#[test]
fn several_workers_share_the_work() {
    let environment = [("CORES", "2")];
    let authority = linkerd_proxy_testkit::authority::Authority::generate();
    let Some(mesh) = Mesh::start_with(world(), authority, &environment) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for version in [Version::HTTP_11, Version::HTTP_2].repeat(10) {
                    let answer = mesh.send(From::Meshed, SERVICE, get(version, "/"));
                    assert_eq!(StatusCode::OK, answer.status);
                }
            });
        }
    });
}

//! Inbound policy is enforced, and follows the control plane.

use http::{StatusCode, Version};
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Allow, Protocol, Server, World};

use crate::fixture::*;

fn admitting(allow: Allow) -> World {
    world().server(Server::new(PORT, "web").allow(allow))
}

fn only(identity: &str) -> Allow {
    Allow::Identities(vec![identity.to_owned()])
}

#[test]
fn who_is_not_admitted_gets_403_or_permission_denied() {
    for (allow, from, admitted) in [
        (Allow::Nobody, From::Meshed, false),
        (Allow::Nobody, From::Unmeshed, false),
        (Allow::Meshed, From::Meshed, true),
        (Allow::Meshed, From::Unmeshed, false),
        (only(CLIENT_ID), From::Meshed, true),
        (
            only("other.shop.serviceaccount.identity.linkerd.cluster.local"),
            From::Meshed,
            false,
        ),
    ] {
        let Some(mesh) = Mesh::start(admitting(allow.clone())) else {
            return;
        };
        mesh.server.serve(PORT, Kind::Http);
        let to = match from {
            From::Meshed => SERVICE,
            From::Unmeshed => POD,
        };
        // The first connection does not wait for the policy, so ask until it is there.
        let expected = if admitted {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        eventually(&format!("{allow:?} {from:?}: {expected}"), || {
            mesh.send(from, to, get(Version::HTTP_11, "/")).status == expected
        });
        let expected = if admitted { "0" } else { "7" };
        let answer = mesh.send(from, to, grpc("/shop.Web/Echo"));
        assert_eq!(StatusCode::OK, answer.status, "{allow:?} {from:?}");
        assert_eq!(
            expected,
            answer.header("grpc-status"),
            "{allow:?} {from:?}: {answer:?}"
        );
    }
}

#[test]
fn opaque_connections_without_permission_are_closed() {
    let server = Server::new(PORT, "db")
        .protocol(Protocol::Opaque)
        .allow(Allow::Nobody);
    let service = service().protocol(Protocol::Opaque);
    let service = linkerd_proxy_testkit::world::Service {
        endpoints: vec![endpoint().opaque()],
        ..service
    };
    let Some(mesh) = Mesh::start(World::new().service(service).server(server)) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Banner);
    for (from, to) in [(From::Meshed, SERVICE), (From::Unmeshed, POD)] {
        eventually(&format!("{from:?} is closed"), || {
            mesh.exchange(from, to, b"", 1).is_empty()
        });
    }
}

#[test]
fn a_changed_policy_takes_hold_and_is_taken_back() {
    let Some(mesh) = Mesh::start(admitting(Allow::All)) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let status = || {
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
            .status
    };
    eventually("everybody is admitted", || status() == StatusCode::OK);
    mesh.control.set(admitting(only("other.shop")));
    eventually("another identity is admitted", || {
        status() == StatusCode::FORBIDDEN
    });
    mesh.control.set(admitting(only(CLIENT_ID)));
    eventually("the client is admitted", || status() == StatusCode::OK);
    mesh.control.set(admitting(Allow::Nobody));
    eventually("nobody is admitted", || status() == StatusCode::FORBIDDEN);
}

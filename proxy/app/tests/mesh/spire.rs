//! Proxies whose identity is a SPIFFE id, from a SPIFFE agent, among those with DNS-like names.

use http::{StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::workload::{svid, Agent};
use linkerd_proxy_testkit::world::{Allow, Endpoint, Server, Service, World};

use crate::fixture::*;

const CLIENT_URI: &str = "spiffe://root.linkerd.cluster.local/client";
const SERVER_URI: &str = "spiffe://root.linkerd.cluster.local/server";
const SERVER_NAME: &str = "vm.cluster.local";

type Environment = Vec<(&'static str, String)>;

/// The settings of a proxy that asks `agent`; what only the identity service needs is not there.
fn asking(agent: &Agent, id: &str) -> Environment {
    let socket = format!("unix://{}", agent.socket().display());
    let empty = |name| (name, String::new());
    vec![
        ("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", socket),
        ("IDENTITY_SERVER_ID", id.to_owned()),
        ("IDENTITY_SERVER_NAME", SERVER_NAME.to_owned()),
        empty("IDENTITY_LOCAL_NAME"),
        empty("IDENTITY_DIR"),
        empty("IDENTITY_TOKEN_FILE"),
        empty("IDENTITY_SVC_ADDR"),
    ]
}

/// Starts both pods with their own settings.
fn start(
    world: World,
    authority: Authority,
    client: &Environment,
    server: &Environment,
) -> Option<Mesh> {
    let client: Vec<_> = client
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let server: Vec<_> = server
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let client = proxy(CLIENT_ID, CLIENT_IP, &client);
    let server = proxy(SERVER_ID, SERVER_IP, &server);
    Mesh::of(world, authority, &client, &server)
}

fn on_a_vm() -> World {
    let endpoint = Endpoint::meshed(POD, SERVER_URI).server_name(SERVER_NAME);
    World::new().service(Service::new(SERVICE, AUTHORITY).endpoint(endpoint))
}

fn only(world: World, identity: &str) -> World {
    let allow = Allow::Identities(vec![identity.to_owned()]);
    world.server(Server::new(PORT, "web").allow(allow))
}

fn ask(mesh: &Mesh, version: Version) -> StatusCode {
    mesh.send(From::Meshed, SERVICE, get(version, "/")).status
}

#[test]
fn a_server_is_known_by_its_uri_and_knows_clients_by_name() {
    let (mesh_ca, spire_ca) = (Authority::generate(), Authority::generate());
    let both = format!("{}{}", mesh_ca.anchors(), spire_ca.anchors());
    let agent = Agent::start();
    // The proxy is told about its own anchor by the agent alone.
    agent.say(vec![svid(&spire_ca, SERVER_URI, &[&spire_ca])]);
    let client = vec![("IDENTITY_TRUST_ANCHORS", both)];
    let world = only(on_a_vm(), CLIENT_ID);
    let Some(mesh) = start(world, mesh_ca, &client, &asking(&agent, SERVER_URI)) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(StatusCode::OK, ask(&mesh, version), "{version:?}");
    }
    let refused = mesh.send(From::Unmeshed, POD, get(Version::HTTP_11, "/"));
    assert_eq!(StatusCode::FORBIDDEN, refused.status);
    let page = mesh.client.metrics();
    let label = format!("tls=\"true\",server_id=\"{SERVER_URI}\"");
    assert!(page.contains(&label), "{page}");
    let page = mesh.server.metrics();
    let label = format!("client_id=\"{CLIENT_ID}\"");
    assert!(page.contains(&label), "{page}");
    assert!(
        page.contains("identity_cert_expiration_timestamp_seconds "),
        "{page}"
    );
}

#[test]
fn a_client_is_admitted_by_exactly_its_uri() {
    let agent = Agent::start();
    for (admitted, status) in [
        (CLIENT_URI, StatusCode::OK),
        (
            "spiffe://root.linkerd.cluster.local/clien",
            StatusCode::FORBIDDEN,
        ),
        ("*.root.linkerd.cluster.local", StatusCode::FORBIDDEN),
    ] {
        let ca = Authority::generate();
        agent.say(vec![svid(&ca, CLIENT_URI, &[&ca])]);
        let client = asking(&agent, CLIENT_URI);
        let Some(mesh) = start(only(world(), admitted), ca, &client, &vec![]) else {
            return;
        };
        mesh.server.serve(PORT, Kind::Http);
        // The first connection does not wait for the policy, so ask until it is there.
        eventually(admitted, || ask(&mesh, Version::HTTP_11) == status);
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
        let header = format!("l5d-client-id: {CLIENT_URI}");
        let passed = status == StatusCode::OK;
        assert_eq!(passed, answer.body.contains(&header), "{answer:?}");
        let page = mesh.server.metrics();
        let label = format!("client_id=\"{CLIENT_URI}\"");
        assert!(page.contains(&label), "{page}");
    }
}

#[test]
fn bundles_and_certificates_are_followed_without_a_restart() {
    let (mesh_ca, old, new) = (
        Authority::generate(),
        Authority::generate(),
        Authority::generate(),
    );
    let (client_agent, server_agent) = (Agent::start(), Agent::start());
    client_agent.say(vec![svid(&old, CLIENT_URI, &[&old])]);
    server_agent.say(vec![svid(&new, SERVER_URI, &[&old, &new])]);
    let client = asking(&client_agent, CLIENT_URI);
    let server = asking(&server_agent, SERVER_URI);
    let Some(mesh) = start(on_a_vm(), mesh_ca, &client, &server) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    assert_ne!(
        StatusCode::OK,
        ask(&mesh, Version::HTTP_11),
        "it trusts the old one only"
    );
    client_agent.say(vec![svid(&old, CLIENT_URI, &[&old, &new])]);
    eventually("the new anchor is trusted", || {
        ask(&mesh, Version::HTTP_11) == StatusCode::OK
    });
    let certified = |count: u32| {
        let sample = format!("identity_cert_refreshes_total{{result=\"ok\"}} {count}");
        move |mesh: &Mesh| mesh.client.metrics().contains(&sample)
    };
    assert!(certified(2)(&mesh), "{}", mesh.client.metrics());
    // A stream that ends is opened again, and says what has changed meanwhile.
    client_agent.refuse();
    eventually("the stream has ended", || client_agent.refused() >= 1);
    client_agent.say(vec![svid(&new, CLIENT_URI, &[&old, &new])]);
    eventually("there is a third certificate", || certified(3)(&mesh));
}

#[test]
fn a_proxy_becomes_ready_when_its_agent_knows_it() {
    let ca = Authority::generate();
    let agent = Agent::start();
    let client = asking(&agent, CLIENT_URI);
    let first = svid(&ca, CLIENT_URI, &[&ca]);
    std::thread::scope(|scope| {
        let started = scope.spawn(|| start(world(), ca, &client, &vec![]).is_some());
        if linkerd_proxy_testkit::namespace::permitted() {
            eventually("it has asked twice", || agent.refused() >= 2);
            assert!(!started.is_finished(), "it is not ready");
        }
        // Registered by somebody after the machine has started.
        agent.say(vec![first]);
        started.join().expect("it becomes ready");
    });
}

//! Bytes that are not HTTP: marked opaque, detected as such, and servers that speak first.

use linkerd_proxy_testkit::echo::{Kind, BANNER};
use linkerd_proxy_testkit::world::{Protocol, Server, World};

use crate::fixture::*;

const QUERY: &[u8] = b"\x00\x01binary that is no http";

pub fn opaque_world() -> World {
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
    let page = mesh.client.metrics();
    let balanced = |family: &str, end: &str| {
        let mut lines = page.lines();
        lines.any(|line| line.starts_with(family) && line.ends_with(end))
    };
    for (family, end) in [
        ("outbound_tcp_balancer_p2c_endpoints{parent_group=", "} 1"),
        (
            "outbound_tcp_balancer_endpoints{parent_group=",
            "endpoint_state=\"ready\"} 1",
        ),
        (
            "outbound_tcp_balancer_queue_requests_total{parent_group=",
            "} 1",
        ),
        (
            "outbound_tcp_balancer_queue_gate_timeout_seconds{parent_group=",
            "} 3",
        ),
    ] {
        assert!(balanced(family, end), "{family}\n{page}");
    }
    assert!(!page.contains("outbound_http_balancer_"), "{page}");
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

/// A ClientHello record that names `host`, with nothing else in it that a proxy looks at.
fn client_hello(host: &str) -> &'static [u8] {
    let name = host.as_bytes();
    let sized = |head: &[u8], body: &[u8]| -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [head, &length, body].concat()
    };
    let entry = sized(&[0], name);
    let extension = sized(&[0, 0], &sized(&[], &entry));
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(&[], &extension));
    let message = sized(&[1, 0], &body);
    Box::leak(sized(&[22, 3, 1], &message).into_boxed_slice())
}

#[test]
fn bytes_for_a_service_without_endpoints_fail_fast_and_are_counted_so() {
    let service = linkerd_proxy_testkit::world::Service::new(SERVICE, AUTHORITY);
    let world = World::new().service(service.protocol(Protocol::Opaque));
    let settings = [("OUTBOUND_TCP_FAILFAST_TIMEOUT", "200ms")];
    let authority = linkerd_proxy_testkit::authority::Authority::generate();
    let Some(mesh) = Mesh::start_with(world, authority, &settings) else {
        return;
    };
    assert!(mesh.exchange(From::Meshed, SERVICE, QUERY, 1).is_empty());
    let counted =
        "outbound_tcp_errors_total{target_addr=\"10.96.0.10:80\",target_ip=\"10.96.0.10\",\
                   target_port=\"80\",error=\"failfast\"} 1";
    let page = mesh.client.metrics();
    assert!(page.contains(counted), "{page}");
}

#[test]
fn tls_goes_by_the_name_that_the_client_asks_for() {
    use linkerd_proxy_api::outbound::{self, proxy_protocol::Kind as Protocol};
    use linkerd_proxy_api::tls_route::{sni_match, SniMatch};
    use linkerd_proxy_testkit::control::Amendments;
    use outbound::tls_route::{distribution, Distribution, RouteBackend, Rule};
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    mesh.control.amend(Amendments {
        outbound: Some(Box::new(|policy| {
            let kind = policy.protocol.as_mut().and_then(|p| p.kind.as_mut());
            let Some(kind) = kind else { return };
            let Protocol::Detect(detect) = &*kind else {
                return;
            };
            let http = detect.http1.as_ref().map(|http| &http.routes[0].rules[0]);
            let Some(outbound::http_route::distribution::Kind::FirstAvailable(first)) =
                http.and_then(|rule| rule.backends.as_ref()?.kind.clone())
            else {
                return;
            };
            let backends = vec![RouteBackend {
                backend: first.backends[0].backend.clone(),
                filters: vec![],
            }];
            let first = distribution::FirstAvailable { backends };
            let name = sni_match::Match::Exact("good.example".to_owned());
            *kind = Protocol::Tls(outbound::proxy_protocol::Tls {
                routes: vec![outbound::TlsRoute {
                    metadata: None,
                    snis: vec![SniMatch {
                        r#match: Some(name),
                    }],
                    rules: vec![Rule {
                        backends: Some(Distribution {
                            kind: Some(distribution::Kind::FirstAvailable(first)),
                        }),
                        filters: vec![],
                    }],
                }],
            });
        })),
        ..Amendments::default()
    });
    let (good, bad) = (client_hello("Good.example"), client_hello("bad.example"));
    // The echoed hello shows that it passed unread.
    assert_eq!(good, mesh.exchange(From::Meshed, SERVICE, good, good.len()));
    assert!(mesh.exchange(From::Meshed, SERVICE, bad, 1).is_empty());
    let page = mesh.client.metrics();
    assert!(page.contains("outbound_tls_route_open_total{"), "{page}");
    assert!(page.contains("hostname=\"good.example\""), "{page}");
    let balanced =
        format!("outbound_tls_balancer_queue_requests_total{{concrete=\"{AUTHORITY}\"}} 1");
    assert!(page.contains(&balanced), "{page}");
}

#[test]
fn a_server_that_speaks_first_is_heard_without_waiting_for_the_client() {
    // Detection would take ten seconds, after which the exchanges here have long given up.
    let settings = [
        ("INBOUND_DETECT_TIMEOUT", "60s"),
        ("OUTBOUND_DETECT_TIMEOUT", "60s"),
    ];
    let Some(mesh) = Mesh::start_with(
        world(),
        linkerd_proxy_testkit::authority::Authority::generate(),
        &settings,
    ) else {
        return;
    };
    mesh.control.amend(slow_detection());
    mesh.server.serve(PORT, Kind::Banner);
    for (from, to) in [
        (From::Meshed, SERVICE),
        (From::Meshed, POD),
        (From::Unmeshed, POD),
        (From::Meshed, SERVICE),
    ] {
        let answer = mesh.exchange(from, to, b"", BANNER.len());
        assert_eq!(BANNER, String::from_utf8_lossy(&answer), "{from:?} to {to}");
    }
    let page = mesh.client.metrics();
    assert!(page.contains("result=\"not_http\"} 2"), "{page}");
}

/// Policies under which detection may take a minute.
fn slow_detection() -> linkerd_proxy_testkit::control::Amendments {
    use linkerd_proxy_api::inbound::proxy_protocol::Kind as Inbound;
    use linkerd_proxy_api::outbound::proxy_protocol::Kind as Outbound;
    let minute = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    linkerd_proxy_testkit::control::Amendments {
        outbound: Some(Box::new(move |policy| {
            let kind = policy.protocol.as_mut().and_then(|p| p.kind.as_mut());
            if let Some(Outbound::Detect(detect)) = kind {
                detect.timeout = minute;
            }
        })),
        inbound: Some(Box::new(move |server| {
            let kind = server.protocol.as_mut().and_then(|p| p.kind.as_mut());
            if let Some(Inbound::Detect(detect)) = kind {
                detect.timeout = minute;
            }
        })),
        ..Default::default()
    }
}

#[test]
fn a_client_that_is_silent_for_longer_than_detection_takes_is_still_http() {
    let settings = [
        ("INBOUND_DETECT_TIMEOUT", "200ms"),
        ("OUTBOUND_DETECT_TIMEOUT", "200ms"),
    ];
    let Some(mesh) = Mesh::start_with(
        world(),
        linkerd_proxy_testkit::authority::Authority::generate(),
        &settings,
    ) else {
        return;
    };
    mesh.control
        .amend(linkerd_proxy_testkit::control::Amendments {
            outbound: Some(Box::new(|policy| {
                use linkerd_proxy_api::outbound::proxy_protocol::Kind as Outbound;
                let kind = policy.protocol.as_mut().and_then(|p| p.kind.as_mut());
                if let Some(Outbound::Detect(detect)) = kind {
                    detect.timeout = Some(prost_types::Duration {
                        seconds: 0,
                        nanos: 200_000_000,
                    });
                }
            })),
            ..Default::default()
        });
    mesh.server.serve(PORT, Kind::Http);
    for (from, to) in [
        (None, SERVICE),
        (None, POD),
        (Some(linkerd_proxy_testkit::pod::PROXY_UID), POD),
    ] {
        let answer = mesh.client.namespace.block_on(from, async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut socket = tokio::net::TcpStream::connect(to).await?;
            // The silence is what is tested, so it takes its time.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            socket
                .write_all(b"GET /late HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        });
        let answer = answer.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{to}: {answer}");
        assert!(answer.contains("/late"), "{to}: {answer}");
    }
    let page = mesh.server.metrics();
    assert!(page.contains("inbound_http_authz_allow_total{"), "{page}");
    assert!(
        !page.contains("inbound_tcp_authz_terminate_total"),
        "{page}"
    );
}

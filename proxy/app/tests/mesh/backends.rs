//! Where requests and connections go when a route has several backends, or none that works.

use http::{StatusCode, Version};
use linkerd_proxy_api::{inbound, opaque_route, outbound};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::control::Amendments;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Endpoint, Protocol, Service, World};
use outbound::http_route::{distribution, Distribution, RouteBackend, Rule, WeightedRouteBackend};

use crate::fixture::*;
use crate::routes::{limited, ms, policies, rules};

const OTHER: &str = "other.shop.svc.cluster.local:80";

/// The rule's own backend.
fn own(rule: &Rule) -> RouteBackend {
    let kind = rule.backends.as_ref().and_then(|all| all.kind.clone());
    let Some(distribution::Kind::FirstAvailable(first)) = kind else {
        panic!("the testkit's rules have a first backend");
    };
    first.backends[0].clone()
}

/// The rule's own backend, for the endpoints of another service.
fn other(rule: &Rule) -> RouteBackend {
    use outbound::backend::endpoint_discovery::Kind as Discovery;
    let mut route = own(rule);
    let backend = route.backend.as_mut().expect("a backend");
    if let Some(outbound::backend::Kind::Balancer(balancer)) = &mut backend.kind {
        let discovery = balancer.discovery.as_mut().and_then(|d| d.kind.as_mut());
        let Some(Discovery::Dst(dst)) = discovery else {
            panic!("the testkit's backends are discovered");
        };
        OTHER.clone_into(&mut dst.path);
    }
    route
}

/// A backend of which nothing is known but that it exists.
fn unusable(rule: &Rule) -> RouteBackend {
    let mut route = own(rule);
    if let Some(backend) = &mut route.backend {
        backend.kind = None;
    }
    route
}

fn weighted(backends: Vec<(RouteBackend, u32)>) -> Option<Distribution> {
    let weigh = |(backend, weight)| WeightedRouteBackend {
        backend: Some(backend),
        weight,
    };
    let backends = backends.into_iter().map(weigh).collect();
    let random = distribution::RandomAvailable { backends };
    Some(Distribution {
        kind: Some(distribution::Kind::RandomAvailable(random)),
    })
}

fn start(world: World, settings: &[(&str, &str)], amendments: Amendments) -> Option<Mesh> {
    let mesh = Mesh::start_with(world, Authority::generate(), settings)?;
    mesh.control.amend(amendments);
    mesh.server.serve(PORT, Kind::Http);
    Some(mesh)
}

#[test]
fn the_first_backend_with_endpoints_takes_the_requests() {
    let amendments = rules(|rule| {
        let backends = vec![other(rule), own(rule)];
        let first = distribution::FirstAvailable { backends };
        rule.backends = Some(Distribution {
            kind: Some(distribution::Kind::FirstAvailable(first)),
        });
    });
    let settings = [("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "200ms")];
    let empty = || world().service(Service::new("10.96.0.11:80", OTHER));
    let Some(mesh) = start(empty(), &settings, amendments) else {
        return;
    };
    eventually("the second backend takes over", || {
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
        answer.status == StatusCode::OK
    });
    // The first comes back when it has endpoints: this one refuses connections.
    let dead = Endpoint::plain("10.9.0.2:4190");
    mesh.control
        .set(world().service(Service::new("10.96.0.11:80", OTHER).endpoint(dead)));
    for _ in 0..20 {
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/"));
        let ended = [StatusCode::OK, StatusCode::GATEWAY_TIMEOUT];
        assert!(ended.contains(&answer.status), "{answer:?}");
    }
}

#[test]
fn weights_share_requests_and_an_unusable_backend_fails_its_share() {
    for (usable, broken, expected) in [(1, 0, StatusCode::OK), (0, 1, StatusCode::BAD_GATEWAY)] {
        let amendments = rules(move |rule| {
            rule.backends = weighted(vec![(own(rule), usable), (unusable(rule), broken)]);
        });
        let Some(mesh) = start(world(), &[], amendments) else {
            return;
        };
        for _ in 0..20 {
            let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/"));
            assert_eq!(expected, answer.status);
        }
    }
    let amendments = rules(|rule| {
        rule.backends = weighted(vec![(own(rule), 1), (unusable(rule), 1)]);
    });
    let Some(mesh) = start(world(), &[], amendments) else {
        return;
    };
    let statuses: Vec<StatusCode> = (0..60)
        .map(|_| {
            mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/"))
                .status
        })
        .collect();
    for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
}

#[test]
fn an_endpoint_that_asks_for_a_rest_gets_it() {
    let busy = "10.9.0.2:9090";
    let both = Service::new(SERVICE, AUTHORITY)
        .endpoint(endpoint())
        .endpoint(Endpoint::meshed(busy, SERVER_ID));
    let amendments = policies(|_, accrual| {
        use outbound::failure_accrual::{Kind, Unified};
        *accrual = Some(outbound::FailureAccrual {
            kind: Some(Kind::Unified(Unified {
                success_rate_threshold: 0.9,
                decay: ms(10_000),
                min_requests: 1,
                max_consecutive_failures: 0,
                backoff: Some(outbound::ExponentialBackoff {
                    min_backoff: ms(1),
                    max_backoff: ms(2),
                    respect_retry_after_hint: true,
                    ..Default::default()
                }),
            })),
            ejection: None,
        });
    });
    let Some(mesh) = start(World::new().service(both), &[], amendments) else {
        return;
    };
    mesh.server.serve(9090, Kind::Http);
    // Both answer the same way; after one 429 each, nobody is left, although the back-off is short.
    let busy = || {
        mesh.send(
            From::Meshed,
            SERVICE,
            get(Version::HTTP_2, "/retry-after/60"),
        )
    };
    assert_eq!(StatusCode::TOO_MANY_REQUESTS, busy().status);
    assert_eq!(StatusCode::TOO_MANY_REQUESTS, busy().status);
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, busy().status);
}

#[test]
fn a_named_client_has_a_rate_of_its_own() {
    use inbound::http_local_rate_limit::{r#override::ClientIdentities, Limit, Override};
    let rate = |requests_per_second| {
        Some(Limit {
            requests_per_second,
        })
    };
    let limit = inbound::HttpLocalRateLimit {
        identity: rate(1),
        overrides: vec![Override {
            limit: rate(100_000),
            clients: Some(ClientIdentities {
                identities: vec![inbound::Identity {
                    name: CLIENT_ID.to_owned(),
                }],
            }),
        }],
        ..Default::default()
    };
    let Some(mesh) = start(world(), &[], limited(limit)) else {
        return;
    };
    eventually("strangers share one small bucket", || {
        let answer = mesh.send(From::Unmeshed, POD, get(Version::HTTP_11, "/"));
        answer.status == StatusCode::TOO_MANY_REQUESTS
    });
    for _ in 0..20 {
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
        assert_eq!(StatusCode::OK, answer.status);
    }
}

#[test]
fn a_body_that_does_not_move_is_cut_off_and_counted() {
    for (timeouts, label) in [
        (
            linkerd_proxy_api::http_route::Timeouts {
                idle: ms(500),
                ..Default::default()
            },
            "IDLE_TIMEOUT",
        ),
        (
            linkerd_proxy_api::http_route::Timeouts {
                response: ms(500),
                ..Default::default()
            },
            "RESPONSE_STREAM_TIMEOUT",
        ),
    ] {
        let Some(mesh) = start(
            world(),
            &[],
            rules(move |rule| rule.timeouts = Some(timeouts)),
        ) else {
            return;
        };
        let request =
            b"POST /stream HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        let answer = mesh.exchange(From::Meshed, SERVICE, request, 100_000);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{label}: {answer:?}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{label}: {answer:?}");
        let page = mesh.client.metrics();
        let label = format!("error=\"{label}\"}} 1");
        let counted = |family: &str| {
            page.lines()
                .any(|line| line.starts_with(family) && line.ends_with(&label))
        };
        assert!(
            counted("outbound_http_route_request_statuses_total"),
            "{label}\n{page}"
        );
    }
}

#[test]
fn connections_are_refused_for_the_reason_that_the_route_gives() {
    use outbound::opaque_route::{filter, Filter};
    for (kind, error) in [
        (
            filter::Kind::Forbidden(opaque_route::Forbidden {}),
            "forbidden",
        ),
        (
            filter::Kind::Invalid(opaque_route::Invalid {
                message: "no such service".to_owned(),
            }),
            "invalid_backend",
        ),
    ] {
        let service = Service::new(SERVICE, AUTHORITY)
            .protocol(Protocol::Opaque)
            .endpoint(endpoint().opaque());
        let amendments = Amendments {
            outbound: Some(Box::new(move |policy| {
                let protocol = policy.protocol.as_mut().and_then(|p| p.kind.as_mut());
                if let Some(outbound::proxy_protocol::Kind::Opaque(opaque)) = protocol {
                    for rule in opaque.routes.iter_mut().flat_map(|route| &mut route.rules) {
                        rule.filters = vec![Filter {
                            kind: Some(kind.clone()),
                        }];
                    }
                }
            })),
            ..Amendments::default()
        };
        let Some(mesh) = start(World::new().service(service), &[], amendments) else {
            return;
        };
        let answer = mesh.exchange(From::Meshed, SERVICE, b"hello", 5);
        assert_eq!(b"", &answer[..]);
        let page = mesh.client.metrics();
        let label = format!("error=\"{error}\"}} 1");
        assert!(
            page.lines()
                .any(|line| line.starts_with("outbound_tcp_route_close_total{")
                    && line.ends_with(&label)),
            "{label}\n{page}"
        );
    }
}

#[test]
fn grpc_routes_are_counted_by_the_names_of_statuses() {
    let service = service().protocol(Protocol::Grpc);
    let Some(mesh) = start(World::new().service(service), &[], Amendments::default()) else {
        return;
    };
    for path in ["/shop.Web/Echo", "/shop.Web/fail/14", "/shop.Web/fail/99"] {
        let answer = mesh.send(From::Meshed, SERVICE, grpc(path));
        assert_eq!(StatusCode::OK, answer.status, "{path}");
    }
    let page = mesh.client.metrics();
    for status in ["OK", "UNAVAILABLE", "UNKNOWN"] {
        for family in [
            "outbound_grpc_route_request_statuses_total{",
            "outbound_grpc_route_backend_response_statuses_total{",
        ] {
            let label = format!("grpc_status=\"{status}\",error=\"\"}} 1");
            assert!(
                page.lines()
                    .any(|line| line.starts_with(family) && line.ends_with(&label)),
                "{family} {label}\n{page}"
            );
        }
    }
}

#[test]
fn service_profiles_split_traffic_and_the_near_is_told_from_the_far() {
    use linkerd_proxy_api::destination as dst;
    let amendments = || Amendments {
        profile: Some(Box::new(|profile| {
            if profile.fully_qualified_name.starts_with("web.") {
                profile.dst_overrides = vec![dst::WeightedDst {
                    authority: OTHER.to_owned(),
                    weight: 1000,
                    backend_ref: None,
                }];
            }
        })),
        ..Amendments::default()
    };
    let far = Endpoint::meshed("10.9.0.2:9090", SERVER_ID)
        .label("pod", "other-1")
        .label("zone_locality", "remote");
    let split = Service::new("10.96.0.11:80", OTHER).endpoint(far);
    let Some(mesh) = start(world().service(split), &[], amendments()) else {
        return;
    };
    mesh.server.serve(9090, Kind::Http);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let answer = mesh.send(From::Meshed, SERVICE, get(version, "/"));
        assert_eq!(StatusCode::OK, answer.status);
    }
    let page = mesh.client.metrics();
    let counted = |family: &str, label: &str| {
        let mut lines = page.lines();
        lines.any(|line| line.starts_with(family) && line.contains(label) && !line.ends_with(" 0"))
    };
    assert!(counted("request_total{", "dst_pod=\"other-1\""), "{page}");
    assert!(!counted("request_total{", "dst_pod=\"web-1\""), "{page}");
    let cost = "outbound_tcp_transfer_cost_bytes_total{";
    assert!(counted(cost, "zone_locality=\"Remote\""), "{page}");
    assert!(!counted(cost, "zone_locality=\"Local\""), "{page}");
}

#[test]
fn a_request_that_insists_on_an_identity_reaches_no_other() {
    let Some(mesh) = start(world(), &[], Amendments::default()) else {
        return;
    };
    for (id, status) in [
        (SERVER_ID, StatusCode::OK),
        (CLIENT_ID, StatusCode::BAD_GATEWAY),
    ] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut request = get(version, "/");
            let value = http::HeaderValue::from_static(id);
            request.headers_mut().insert("l5d-require-id", value);
            let answer = mesh.send(From::Meshed, SERVICE, request);
            assert_eq!(status, answer.status, "{id}");
            assert!(!answer.body.contains("l5d-require-id"), "{id}");
        }
    }
    let counted = "outbound_http_errors_total{error=\"identity required\"} 2";
    assert!(mesh.client.metrics().contains(counted));
}

#[test]
fn a_pod_whose_application_is_gone_ends_the_connection_of_whoever_chose_it() {
    let pod = "10.9.0.2:9999";
    let gone = Service::new("10.96.0.12:80", OTHER).endpoint(Endpoint::meshed(pod, SERVER_ID));
    let Some(mesh) = start(world().service(gone), &[], Amendments::default()) else {
        return;
    };
    // Behind a service, the next request may find another endpoint, so there it stays open.
    for (to, closes) in [(pod, true), ("10.96.0.12:80", false)] {
        let request = b"GET / HTTP/1.1\r\nhost: other\r\n\r\n";
        let until = if closes { 1 << 20 } else { 47 };
        let answer = mesh.exchange(From::Meshed, to, request, until);
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.starts_with("http/1.1 502"), "{to}: {answer}");
        assert_eq!(
            closes,
            answer.contains("connection: close"),
            "{to}: {answer}"
        );
        assert!(!answer.contains("l5d-proxy-connection"), "{to}: {answer}");
    }
}

#[test]
fn an_address_that_refuses_is_counted_as_a_failure() {
    let Some(mesh) = start(world(), &[], Amendments::default()) else {
        return;
    };
    // No proxy takes this port's connections, and nobody listens.
    let refusing = "10.9.0.2:4190";
    let answer = mesh.send(From::Meshed, refusing, get(Version::HTTP_11, "/"));
    assert_eq!(StatusCode::BAD_GATEWAY, answer.status);
    let page = mesh.client.metrics();
    let counted = |line: &str| {
        line.starts_with("response_total{")
            && line.contains(refusing)
            && line.contains("status_code=\"502\",classification=\"failure\"")
    };
    assert!(page.lines().any(counted), "{page}");
}

//! Filters, timeouts, retries, rate limits and circuit breaking, as policies ask for them.

use std::time::Instant;

use http::{Request, StatusCode, Version};
use linkerd_proxy_api::{http_route, http_types, inbound, outbound};
use linkerd_proxy_testkit::control::Amendments;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Endpoint, Service, World};
use outbound::http_route::{filter::Kind as FilterKind, Filter, Rule};
use outbound::proxy_protocol::Kind as Protocol;

use crate::fixture::*;

type Accrual = outbound::FailureAccrual;

/// Changes every HTTP rule of the service's policy.
pub fn rules(change: impl Fn(&mut Rule) + Send + Sync + 'static) -> Amendments {
    policies(move |routes, _| {
        for rule in routes.iter_mut().flat_map(|route| &mut route.rules) {
            change(rule);
        }
    })
}

pub fn policies(
    change: impl Fn(&mut Vec<outbound::HttpRoute>, &mut Option<Accrual>) + Send + Sync + 'static,
) -> Amendments {
    Amendments {
        outbound: Some(Box::new(move |policy| {
            let kind = policy.protocol.as_mut().and_then(|p| p.kind.as_mut());
            if let Some(Protocol::Detect(detect)) = kind {
                if let Some(http) = &mut detect.http1 {
                    change(&mut http.routes, &mut http.failure_accrual);
                }
                if let Some(http) = &mut detect.http2 {
                    change(&mut http.routes, &mut http.failure_accrual);
                }
            }
        })),
        ..Amendments::default()
    }
}

pub fn filter(kind: FilterKind) -> Filter {
    Filter { kind: Some(kind) }
}

fn header(name: &str, value: &str) -> Option<http_types::Headers> {
    Some(http_types::Headers {
        headers: vec![http_types::headers::Header {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
        }],
    })
}

pub fn ms(ms: u32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: i64::from(ms / 1000),
        nanos: (ms % 1000) as i32 * 1_000_000,
    })
}

pub fn start(amendments: Amendments) -> Option<Mesh> {
    let mesh = Mesh::start(world())?;
    mesh.control.amend(amendments);
    mesh.server.serve(PORT, Kind::Http);
    Some(mesh)
}

#[test]
fn an_injected_failure_denies_and_the_server_sees_nothing() {
    let Some(mesh) = start(rules(|rule| {
        rule.filters = vec![filter(FilterKind::FailureInjector(
            http_route::HttpFailureInjector {
                status: 418,
                message: "no tea".to_owned(),
                ratio: None,
            },
        ))];
    })) else {
        return;
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let answer = mesh.send(From::Meshed, SERVICE, get(version, "/"));
        assert_eq!(StatusCode::IM_A_TEAPOT, answer.status, "{version:?}");
        assert_eq!("no tea", answer.header("l5d-proxy-error"));
    }
    let answer = mesh.send(From::Meshed, SERVICE, grpc("/shop.Web/Echo"));
    assert_eq!(
        (StatusCode::OK, "9"),
        (answer.status, answer.header("grpc-status").as_str())
    );
    let reached = "request_total{direction=\"inbound\",target_addr=\"10.9.0.2:8080\"";
    assert!(!mesh.server.metrics().contains(reached));
}

#[test]
fn redirects_and_header_changes_are_made_both_ways() {
    let Some(mesh) = start(rules(|rule| {
        rule.filters = vec![
            filter(FilterKind::RequestHeaderModifier(
                http_route::RequestHeaderModifier {
                    add: header("x-added", "1"),
                    set: header("x-set", "2"),
                    remove: vec!["x-removed".to_owned()],
                },
            )),
            filter(FilterKind::ResponseHeaderModifier(
                http_route::ResponseHeaderModifier {
                    add: None,
                    set: header("x-answer", "3"),
                    remove: vec![],
                },
            )),
        ];
    })) else {
        return;
    };
    let mut request = get(Version::HTTP_11, "/");
    for name in ["x-set", "x-removed"] {
        let value = http::HeaderValue::from_static("old");
        request.headers_mut().insert(name, value);
    }
    let answer = mesh.send(From::Meshed, SERVICE, request);
    assert_eq!("3", answer.header("x-answer"));
    assert!(answer.body.contains("x-added: 1") && answer.body.contains("x-set: 2"));
    assert!(!answer.body.contains("x-removed") && !answer.body.contains("old"));
    mesh.control.amend(rules(|rule| {
        rule.filters = vec![filter(FilterKind::Redirect(http_route::RequestRedirect {
            host: "other.example".to_owned(),
            status: 302,
            ..Default::default()
        }))];
    }));
    eventually("requests are redirected", || {
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/a?b=c"));
        answer.status == StatusCode::FOUND
            && answer.header("location") == "http://other.example/a?b=c"
    });
}

#[test]
fn a_request_that_takes_too_long_is_a_gateway_timeout() {
    let Some(mesh) = start(rules(|rule| {
        rule.timeouts = Some(http_route::Timeouts {
            request: ms(2000),
            ..Default::default()
        });
    })) else {
        return;
    };
    let started = Instant::now();
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/sleep/60000"));
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, answer.status);
    assert_eq!("request timeout", answer.header("l5d-proxy-error"));
    assert!(started.elapsed().as_secs() < 30);
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/quick"));
    assert_eq!(StatusCode::OK, answer.status);
}

fn retry(limit: u32) -> outbound::http_route::Retry {
    use outbound::http_route::retry::{conditions::StatusRange, Conditions};
    outbound::http_route::Retry {
        max_retries: limit,
        max_request_bytes: 64 * 1024,
        conditions: Some(Conditions {
            status_ranges: vec![StatusRange {
                start: 500,
                end: 599,
            }],
        }),
        timeout: None,
        backoff: None,
    }
}

#[test]
fn failed_requests_are_sent_again_with_their_body_and_within_the_limit() {
    let Some(mesh) = start(rules(|rule| rule.retry = Some(retry(2)))) else {
        return;
    };
    let post = |version, path: &'static str, body: &'static str| {
        let uri = format!("http://web.shop.svc.cluster.local{path}");
        let request = Request::post(uri).version(version).header("host", "web");
        let request = request.body(body).expect("literal parts");
        mesh.send(From::Meshed, SERVICE, request)
    };
    for (version, path, expected) in [
        (Version::HTTP_11, "/1/flaky/2", StatusCode::OK),
        (Version::HTTP_2, "/2/flaky/2", StatusCode::OK),
        (
            Version::HTTP_11,
            "/3/flaky/3",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (Version::HTTP_11, "/status/404", StatusCode::NOT_FOUND),
    ] {
        let answer = post(version, path, "the whole body");
        assert_eq!(expected, answer.status, "{path}");
        assert!(answer.body.ends_with("the whole body"), "{path}");
    }
    // A body is kept up to 64 KiB, and not an octet more.
    let kept: &'static str = Box::leak("x".repeat(65_536).into_boxed_str());
    let larger: &'static str = Box::leak("x".repeat(65_537).into_boxed_str());
    for (version, path, body, expected) in [
        (Version::HTTP_11, "/41/flaky/1", kept, StatusCode::OK),
        (Version::HTTP_2, "/42/flaky/1", kept, StatusCode::OK),
        (
            Version::HTTP_11,
            "/43/flaky/1",
            larger,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            Version::HTTP_2,
            "/44/flaky/1",
            larger,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
    ] {
        let answer = post(version, path, body);
        assert_eq!(expected, answer.status, "{path}");
        assert!(answer.body.ends_with(body), "{path}");
    }
    let page = mesh.client.metrics();
    for (family, value) in [
        ("outbound_http_route_retry_requests_total", " 8"),
        ("outbound_http_route_retry_successes_total", " 4"),
        ("outbound_http_route_retry_limit_exceeded_total", " 1"),
        ("outbound_http_route_retry_overflow_total", " 2"),
    ] {
        let sum: u64 = page
            .lines()
            .filter(|line| line.starts_with(family) && line.contains('{'))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(value.trim(), sum.to_string(), "{family}");
    }
}

#[test]
fn clients_may_ask_by_header_where_the_route_lets_them() {
    let Some(mesh) = start(rules(|rule| rule.allow_l5d_request_headers = true)) else {
        return;
    };
    let ask = |path: &'static str, name: &'static str, value: &'static str| {
        let mut request = get(Version::HTTP_11, path);
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
        mesh.send(From::Meshed, SERVICE, request)
    };
    let answer = ask("/5/flaky/1", "l5d-retry-http", "5xx");
    assert_eq!(StatusCode::OK, answer.status);
    assert!(!answer.body.contains("l5d-retry-http"), "{}", answer.body);
    let answer = ask("/sleep/10000", "l5d-timeout", "200ms");
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, answer.status);
    // A trailing failure of gRPC is seen before the answer is passed on.
    let mut request = grpc("/6/flaky/1");
    let value = http::HeaderValue::from_static("unavailable");
    request.headers_mut().insert("l5d-retry-grpc", value);
    let answer = mesh.send(From::Meshed, SERVICE, request);
    assert_eq!(
        Some("0"),
        answer
            .trailers
            .get("grpc-status")
            .and_then(|v| v.to_str().ok())
    );
}

#[test]
fn an_endpoint_that_keeps_failing_is_taken_out() {
    let good = "10.9.0.2:9090";
    let both = Service::new(SERVICE, AUTHORITY)
        .endpoint(endpoint())
        .endpoint(Endpoint::meshed(good, SERVER_ID));
    let Some(mesh) = Mesh::start(World::new().service(both)) else {
        return;
    };
    mesh.control.amend(policies(|_, accrual| {
        use outbound::failure_accrual::{ConsecutiveFailures, Kind};
        *accrual = Some(Accrual {
            kind: Some(Kind::ConsecutiveFailures(ConsecutiveFailures {
                max_failures: 3,
                backoff: Some(outbound::ExponentialBackoff {
                    min_backoff: ms(60_000),
                    max_backoff: ms(60_000),
                    ..Default::default()
                }),
            })),
            ejection: None,
        });
    }));
    // One server knows the path and fails, the other fails too; both go, and nothing is left.
    mesh.server.serve(PORT, Kind::Http);
    mesh.server.serve(9090, Kind::Http);
    for _ in 0..6 {
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/status/500"));
        assert_eq!(StatusCode::INTERNAL_SERVER_ERROR, answer.status);
    }
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/status/500"));
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, answer.status, "{answer:?}");
    assert_eq!("service in fail-fast", answer.header("l5d-proxy-error"));
}

pub fn limited(limit: inbound::HttpLocalRateLimit) -> Amendments {
    Amendments {
        inbound: Some(Box::new(move |server| {
            let kind = server.protocol.as_mut().and_then(|p| p.kind.as_mut());
            if let Some(inbound::proxy_protocol::Kind::Detect(detect)) = kind {
                detect.http_local_rate_limit = Some(limit.clone());
            }
        })),
        ..Amendments::default()
    }
}

#[test]
fn rate_limits_answer_429_and_are_counted_by_scope() {
    use inbound::http_local_rate_limit::Limit;
    let one = Some(Limit {
        requests_per_second: 1,
    });
    for (scope, limit) in [
        (
            "total",
            inbound::HttpLocalRateLimit {
                total: one,
                ..Default::default()
            },
        ),
        (
            "identity",
            inbound::HttpLocalRateLimit {
                identity: one,
                ..Default::default()
            },
        ),
    ] {
        let Some(mesh) = start(limited(limit)) else {
            return;
        };
        eventually("a request is over the limit", || {
            let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
            answer.status == StatusCode::TOO_MANY_REQUESTS
        });
        let label = format!("ratelimit_scope=\"{scope}\"");
        let page = mesh.server.metrics();
        let line = page
            .lines()
            .find(|line| line.starts_with("inbound_http_local_ratelimit_total{"));
        assert!(line.is_some_and(|line| line.contains(&label)), "{line:?}");
    }
}

#[test]
fn inbound_filters_answer_for_the_application() {
    let amendments = Amendments {
        inbound: Some(Box::new(|server| {
            let kind = server.protocol.as_mut().and_then(|p| p.kind.as_mut());
            if let Some(inbound::proxy_protocol::Kind::Detect(detect)) = kind {
                let failure = http_route::HttpFailureInjector {
                    status: 418,
                    ..Default::default()
                };
                let kind = inbound::http_route::filter::Kind::FailureInjector(failure);
                for rule in detect.http_routes.iter_mut().flat_map(|r| &mut r.rules) {
                    rule.filters = vec![inbound::http_route::Filter {
                        kind: Some(kind.clone()),
                    }];
                }
            }
        })),
        ..Amendments::default()
    };
    let Some(mesh) = start(amendments) else {
        return;
    };
    eventually("the filter answers", || {
        mesh.send(From::Unmeshed, POD, get(Version::HTTP_11, "/"))
            .status
            == StatusCode::IM_A_TEAPOT
    });
}

/// A profile with one retryable route that ends its requests after a while.
fn profiled() -> Amendments {
    use linkerd_proxy_api::destination as dst;
    Amendments {
        profile: Some(Box::new(|profile| {
            if profile.fully_qualified_name.is_empty() {
                return;
            }
            let regex = "/(list|flaky|sleep|[0-9]+).*".to_owned();
            let path = dst::request_match::Match::Path(dst::PathMatch { regex });
            profile.routes = vec![dst::Route {
                condition: Some(dst::RequestMatch {
                    r#match: Some(path),
                }),
                metrics_labels: [("route".to_owned(), "list".to_owned())].into(),
                is_retryable: true,
                timeout: ms(2000),
                ..Default::default()
            }];
        })),
        ..Amendments::default()
    }
}

#[test]
fn routes_of_service_profiles_retry_time_out_and_count() {
    let Some(mesh) = start(profiled()) else {
        return;
    };
    let status = |path| {
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, path))
            .status
    };
    assert_eq!(StatusCode::OK, status("/list"));
    assert_eq!(StatusCode::OK, status("/7/flaky/3"));
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, status("/sleep/5000"));
    assert_eq!(StatusCode::OK, status("/other"));
    let page = mesh.client.metrics();
    let value = |series: &str| {
        page.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok())
            .unwrap_or_default()
    };
    let labels = format!("direction=\"outbound\",dst=\"{AUTHORITY}\"");
    for (family, route, expected) in [
        ("route_request_total", ",rt_route=\"list\"", 3),
        ("route_actual_request_total", ",rt_route=\"list\"", 6),
        ("route_retryable_total", ",rt_route=\"list\"", 3),
        ("route_request_total", "", 1),
    ] {
        let series = format!("{family}{{{labels}{route}}}");
        assert_eq!(expected, value(&series), "{series}\n{page}");
    }
    // The server's proxy counts what reaches it under the same name.
    let labels = labels.replace("outbound", "inbound");
    let series = format!("route_request_total{{{labels},rt_route=\"list\"}} 6");
    eventually("the server counts routes", || {
        mesh.server.metrics().contains(&series)
    });
}

#[test]
fn routes_backends_and_servers_are_measured() {
    let Some(mesh) = start(Amendments::default()) else {
        return;
    };
    mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/status/404"));
    mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/"));
    let outbound = mesh.client.metrics();
    for part in [
        "outbound_http_route_request_duration_seconds_bucket{parent_group=\"core\"",
        "outbound_http_route_request_statuses_total{parent_group=\"core\"",
        "hostname=\"\",http_status=\"404\",error=\"\"} 1",
        "hostname=\"\",http_status=\"200\",error=\"\"} 1",
        "outbound_http_route_backend_response_statuses_total{",
        "outbound_http_route_backend_response_frame_size_bytes_bucket{",
        "le=\"10240.0\"}",
        "outbound_http_balancer_endpoints{",
        "endpoint_state=\"ready\"} 1",
        "outbound_http_balancer_p2c_updates_total{",
        "outbound_http_balancer_queue_requests_total{",
    ] {
        assert!(outbound.contains(part), "{part}\n{outbound}");
    }
    let inbound = mesh.server.metrics();
    for part in [
        "inbound_http_requests_total{parent_group=\"\",parent_kind=\"default\"",
        "inbound_http_request_duration_seconds_bucket{",
        "inbound_http_response_frame_size_bytes_bucket{",
        "http_status=\"404\",error=\"\"} 1",
    ] {
        assert!(inbound.contains(part), "{part}\n{inbound}");
    }
}

//! Names and labels of the golden metrics, as dashboards and `linkerd viz` query them.
//!
//! Source: linkerd/linkerd2-proxy linkerd/app/core/src/metrics.rs and linkerd/app/core/src/transport/labels.rs (label sets).

use std::collections::BTreeMap;

use http::{StatusCode, Version};
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::Server;

use crate::fixture::*;

type Labels = BTreeMap<String, String>;

/// Every sample of a family: labels and value.
fn samples(page: &str, family: &str) -> Vec<(Labels, f64)> {
    page.lines()
        .filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'))
        .filter_map(|rest| rest.rsplit_once("} "))
        .map(|(labels, value)| (parse(labels), value.parse().expect("a number")))
        .collect()
}

fn parse(labels: &str) -> Labels {
    let mut out = Labels::new();
    let mut rest = labels;
    while let Some((key, tail)) = rest.split_once("=\"") {
        let (value, tail) = tail
            .split_once('"')
            .expect("values are quoted and hold no quotes here");
        out.insert(key.trim_start_matches(',').to_owned(), value.to_owned());
        rest = tail;
    }
    out
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn expect(page: &str, family: &str, expected: &Labels, value: f64) {
    let all = samples(page, family);
    let found = all.iter().find(|(labels, _)| labels == expected);
    let Some((_, found)) = found else {
        panic!("{family} has no {expected:#?}\nbut:\n{all:#?}");
    };
    assert!(
        (found - value).abs() < 0.5,
        "{family}: expected {value}, found {found}"
    );
}

fn with(base: &Labels, pairs: &[(&str, &str)]) -> Labels {
    let mut out = base.clone();
    out.extend(labels(pairs));
    out
}

#[test]
fn golden_metrics_carry_linkerds_names_and_labels() {
    let Some(mesh) = Mesh::start(world().server(Server::new(PORT, "web"))) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    // Until the policy has come, requests count under the default server.
    eventually("the server's policy is known", || {
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/warm-up"));
        mesh.server.metrics().contains("srv_name=\"web\"")
    });
    let count = |page: &str, family: &str, expected: &Labels| {
        let all = samples(page, family);
        all.iter()
            .find(|(labels, _)| labels == expected)
            .map_or(0.0, |(_, value)| *value)
    };
    let (target, srv) = (
        [
            ("target_addr", POD),
            ("target_ip", SERVER_IP),
            ("target_port", "8080"),
        ],
        [
            ("srv_group", "policy.linkerd.io"),
            ("srv_kind", "server"),
            ("srv_name", "web"),
            ("srv_port", "8080"),
        ],
    );
    let policy = [
        ("route_group", ""),
        ("route_kind", "default"),
        ("route_name", "default"),
        ("authz_group", "policy.linkerd.io"),
        ("authz_kind", "authorizationpolicy"),
        ("authz_name", "web"),
    ];
    let tls = [("tls", "true"), ("client_id", CLIENT_ID)];
    let inbound = labels(
        &[
            &[("direction", "inbound")][..],
            &target,
            &tls,
            &srv,
            &policy,
        ]
        .concat(),
    );
    let outbound = labels(
        &[
            &[("direction", "outbound"), ("authority", AUTHORITY)][..],
            &target,
            &[("tls", "true"), ("server_id", SERVER_ID)],
            &[
                ("dst_namespace", "shop"),
                ("dst_service", "web"),
                ("dst_pod", "web-1"),
                ("dst_deployment", "web"),
            ],
        ]
        .concat(),
    );
    let classes: [(&str, Labels, f64); 3] = [
        (
            "/",
            labels(&[
                ("status_code", "200"),
                ("classification", "success"),
                ("grpc_status", ""),
                ("error", ""),
            ]),
            2.0,
        ),
        (
            "/status/500",
            labels(&[
                ("status_code", "500"),
                ("classification", "failure"),
                ("grpc_status", ""),
                ("error", ""),
            ]),
            1.0,
        ),
        (
            "grpc",
            labels(&[
                ("status_code", "200"),
                ("classification", "failure"),
                ("grpc_status", "13"),
                ("error", ""),
            ]),
            1.0,
        ),
    ];
    let pages = || {
        [
            (mesh.client.metrics(), &outbound),
            (mesh.server.metrics(), &inbound),
        ]
    };
    let before = pages();
    for _ in 0..2 {
        assert_eq!(
            StatusCode::OK,
            mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
                .status
        );
    }
    mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/status/500"));
    mesh.send(From::Meshed, SERVICE, grpc("/shop.Web/fail/13"));
    let after = pages();
    for ((page, base), (old, _)) in after.iter().zip(&before) {
        expect(
            page,
            "request_total",
            base,
            count(old, "request_total", base) + 4.0,
        );
        for (path, class, sent) in &classes {
            // An absent class label is an empty one to Prometheus.
            let class: Vec<(&str, &str)> = class
                .iter()
                .filter(|(_, v)| !v.is_empty())
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            let full = with(base, &class);
            let (old, page) = (without_empty_class(old), without_empty_class(page));
            let expected = count(&old, "response_total", &full) + sent;
            expect(&page, "response_total", &full, expected);
            assert!(page.contains("response_latency_ms_bucket"), "{path}");
        }
    }
    let page = mesh.server.metrics();
    let allowed = labels(&[&target[..], &tls, &srv, &policy].concat());
    assert!(
        count(&page, "inbound_http_authz_allow_total", &allowed) >= 4.0,
        "{page}"
    );
    // The meshed connection may be older than the policy and keep the default server's labels.
    mesh.send(From::Unmeshed, POD, get(Version::HTTP_11, "/"));
    let plain = [
        ("tls", "no_identity"),
        ("no_tls_reason", "no_tls_from_remote"),
    ];
    let accepted = labels(
        &[
            &[("direction", "inbound"), ("peer", "src")][..],
            &target,
            &plain,
            &srv,
        ]
        .concat(),
    );
    let page = mesh.server.metrics();
    assert!(
        count(&page, "tcp_open_total", &accepted) >= 1.0,
        "{:#?}",
        samples(&page, "tcp_open_total")
    );
    let dialled = with(&outbound, &[("peer", "dst")]);
    let page = mesh.client.metrics();
    assert!(
        count(&page, "tcp_open_total", &dialled) >= 1.0,
        "{:#?}",
        samples(&page, "tcp_open_total")
    );
    assert!(samples(&page, "tcp_write_bytes_total")
        .iter()
        .any(|(l, v)| *l == dialled && *v > 0.0));
    assert!(page.contains("control_identity_cert_expiration_timestamp_seconds"));
    assert!(page.contains("proxy_build_info"));
}

/// Drops `grpc_status=""` and `error=""`, which some classes carry empty.
fn without_empty_class(page: &str) -> String {
    page.replace(",grpc_status=\"\"", "")
        .replace(",error=\"\"", "")
}

#[test]
fn families_that_describe_the_proxy_are_there() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    let page = mesh.client.metrics();
    for part in [
        "rustls_info{tls_suites=\"TLS13_AES_128_GCM_SHA256,",
        "tls_kx_groups=\"X25519MLKEM768,X25519,secp256r1,secp384r1\"",
        "outbound_tcp_transfer_cost_bytes_total{op=\"Send\",zone_locality=\"Unknown\"}",
        "control_destination_balancer_endpoints{addr=\"127.0.0.1:8086\",endpoint_state=\"ready\"} 1",
        "outbound_tcp_detect_http_results_total{",
        "\ntokio_rt_workers 1\n",
        "\ntokio_rt_busy_seconds_total ",
        "\nopentelemetry_span_export_streams 0\n",
        "status_code=\"200\",classification=\"success\",grpc_status=\"0\",error=\"\"} 1",
        "outbound_http_balancer_queue_gate_open_time_seconds{",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let page = mesh.server.metrics();
    assert!(
        page.contains("control_policy_balancer_endpoints{"),
        "{page}"
    );
}

#[test]
fn requests_to_the_proxy_itself_are_counted_as_those_of_applications() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    let admin = "10.9.0.2:4191";
    mesh.send(From::Unmeshed, admin, get(Version::HTTP_11, "/live"));
    mesh.send(From::Unmeshed, admin, get(Version::HTTP_11, "/nothing"));
    let page = mesh.server.metrics();
    let target = [
        ("target_addr", admin),
        ("target_ip", SERVER_IP),
        ("target_port", "4191"),
    ];
    let tls = [
        ("tls", "no_identity"),
        ("no_tls_reason", "no_tls_from_remote"),
    ];
    let srv = [
        ("srv_group", ""),
        ("srv_kind", "default"),
        ("srv_name", "all-unauthenticated"),
        ("srv_port", "4191"),
    ];
    let admitted = [
        ("route_group", ""),
        ("route_kind", "default"),
        ("route_name", "default"),
        ("authz_group", ""),
        ("authz_kind", "default"),
        ("authz_name", "all-unauthenticated"),
    ];
    let inbound = [("direction", "inbound")];
    let endpoint = labels(&[&inbound[..], &target, &tls, &srv, &admitted].concat());
    expect(&page, "request_total", &endpoint, 2.0);
    for status in ["200", "404"] {
        let class = [("status_code", status), ("classification", "success")];
        let page = without_empty_class(&page);
        expect(&page, "response_total", &with(&endpoint, &class), 1.0);
    }
    let allowed = labels(&[&target[..], &tls, &srv, &admitted].concat());
    expect(&page, "inbound_http_authz_allow_total", &allowed, 2.0);
    let source = [("direction", "inbound"), ("peer", "src")];
    let transport = labels(&[&source[..], &target, &tls, &srv].concat());
    expect(&page, "tcp_open_total", &transport, 2.0);
}

#[test]
fn names_that_clients_choose_are_labels_where_that_is_set() {
    let settings = [
        ("OUTBOUND_METRICS_HOSTNAME_LABELS", "true"),
        ("INBOUND_METRICS_AUTHORITY_LABELS", "unsafe"),
    ];
    let authority = linkerd_proxy_testkit::authority::Authority::generate();
    let Some(mesh) = Mesh::start_with(world(), authority, &settings) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/"));
    let page = mesh.client.metrics();
    let label = "hostname=\"web.shop.svc.cluster.local\",http_status=\"200\",error=\"\"} 2";
    let family = "outbound_http_route_request_statuses_total{";
    assert!(
        page.lines()
            .any(|line| line.starts_with(family) && line.ends_with(label)),
        "{page}"
    );
    let page = mesh.server.metrics();
    let label = "authority=\"web.shop.svc.cluster.local\"} 2";
    assert!(
        page.lines()
            .any(|line| line.starts_with("request_total{") && line.ends_with(label)),
        "{page}"
    );
}

#[test]
fn a_responses_time_counts_from_the_end_of_its_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let send = || {
        let answer = mesh.client.namespace.block_on(None, async {
            let mut socket = tokio::net::TcpStream::connect(SERVICE).await?;
            let head =
                b"POST / HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 2\r\n\r\na";
            socket.write_all(head).await?;
            tokio::time::sleep(PAUSE).await;
            socket.write_all(b"b").await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        });
        assert!(answer.expect("an answer").ends_with("ab"));
    };
    let sum = |page: &str, family: &str| -> f64 {
        let sums = samples(page, &format!("{family}_sum"));
        sums.iter().map(|(_, value)| value).sum()
    };
    // A busy machine may begin to look at a request late, so there are several.
    eventually("requests take longer than their responses", || {
        send();
        let (client, server) = (mesh.client.metrics(), mesh.server.metrics());
        let whole = sum(&client, "outbound_http_route_request_duration_seconds");
        let response = sum(
            &client,
            "outbound_http_route_backend_response_duration_seconds",
        );
        let there = sum(&server, "inbound_http_request_duration_seconds")
            - sum(&server, "inbound_http_response_duration_seconds");
        (whole - response).min(there) >= 0.4
    });
}

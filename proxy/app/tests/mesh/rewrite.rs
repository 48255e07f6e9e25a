//! What Gateway API routes ask for and Linkerd's do not know: rewrites and mirrors.

use http::{StatusCode, Version};
use linkerd_proxy_api::{destination as dst, http_route, outbound};
use linkerd_proxy_testkit::control::Amendments;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::messages::address;
use outbound::http_route::Rule;
use outbound::proxy_protocol::Kind as Protocol;

use crate::fixture::*;

/// Where copies go: another port of the server's pod.
const MIRROR: &str = "10.9.0.2:8081";

fn start(change: impl Fn(&mut Rule) + Send + Sync + 'static) -> Option<Mesh> {
    let mesh = Mesh::start(world())?;
    mesh.control.amend(Amendments {
        outbound: Some(Box::new(move |policy| {
            let kind = policy.protocol.as_mut().and_then(|p| p.kind.as_mut());
            if let Some(Protocol::Detect(detect)) = kind {
                let http1 = detect.http1.iter_mut().flat_map(|http| &mut http.routes);
                let http2 = detect.http2.iter_mut().flat_map(|http| &mut http.routes);
                for rule in http1.chain(http2).flat_map(|route| &mut route.rules) {
                    change(rule);
                }
            }
        })),
        ..Amendments::default()
    });
    mesh.server.serve(PORT, Kind::Http);
    Some(mesh)
}

#[test]
fn hosts_and_paths_are_rewritten_before_the_request_leaves() {
    use http_route::path_modifier::Replace;
    for (replace, expected) in [
        (Replace::Full("/new".to_owned()), "/new?q=1"),
        (Replace::Prefix("/new".to_owned()), "/new/old?q=1"),
    ] {
        let path = http_route::PathModifier {
            replace: Some(replace),
        };
        let Some(mesh) = start(move |rule| {
            rule.rewrite = Some(http_route::UrlRewrite {
                host: "other.example".to_owned(),
                path: Some(path.clone()),
            });
        }) else {
            return;
        };
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/old?q=1"));
        assert_eq!(StatusCode::OK, answer.status, "{answer:?}");
        assert!(
            answer.body.starts_with(&format!("GET {expected} ")),
            "{}",
            answer.body
        );
        assert!(
            answer.body.contains("host: other.example\n"),
            "{}",
            answer.body
        );
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_2, "/old?q=1"));
        let expected = format!("GET http://other.example{expected} ");
        assert!(answer.body.starts_with(&expected), "{}", answer.body);
    }
}

fn plain(target: &str) -> outbound::RequestMirror {
    let addr = dst::WeightedAddr {
        addr: Some(address(target.parse().expect("a literal address"))),
        weight: 10_000,
        ..Default::default()
    };
    outbound::RequestMirror {
        backend: Some(outbound::Backend {
            kind: Some(outbound::backend::Kind::Forward(addr)),
            ..Default::default()
        }),
        ratio: None,
    }
}

#[test]
fn mirrors_get_whole_copies_and_nobody_waits_for_them() {
    let Some(mesh) = start(|rule| {
        // The second does not answer, which nobody must notice.
        rule.mirrors = vec![plain(MIRROR), plain("10.9.0.2:9")];
    }) else {
        return;
    };
    mesh.server.serve(8081, Kind::Http);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut request = get(version, "/mirrored");
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = "some content";
        let answer = mesh.send(From::Meshed, SERVICE, request);
        assert_eq!(StatusCode::OK, answer.status, "{version:?}: {answer:?}");
        assert!(answer.body.ends_with("some content"), "{}", answer.body);
    }
    eventually("both copies arrived", || {
        let page = mesh.server.metrics();
        let lines = page.lines().filter(|line| {
            line.starts_with("response_total{") && line.contains("target_port=\"8081\"")
        });
        let ended: u64 = lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum();
        ended == 2
    });
}

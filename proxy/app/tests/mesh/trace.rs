//! Traces that requests carry are continued by both proxies, and their spans reach a collector.

use http::{StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;

use crate::fixture::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const SERVER: &str = "2";
const CLIENT: &str = "3";

#[test]
fn each_proxy_adds_a_server_and_a_client_span() {
    let settings = [("TRACE_COLLECTOR_SVC_ADDR", "127.0.0.1:8086")];
    let Some(mesh) = Mesh::start_with(world(), Authority::generate(), &settings) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let send = |name: &'static str, value: String| {
        let mut request = get(Version::HTTP_11, "/traced");
        let value = value.parse().expect("a legal value");
        request.headers_mut().insert(name, value);
        let answer = mesh.send(From::Meshed, SERVICE, request);
        assert_eq!(StatusCode::OK, answer.status, "{answer:?}");
        answer.body
    };
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    let body = send("traceparent", unsampled.clone());
    assert!(body.contains(&unsampled), "handed on as it is: {body}");
    let body = send("traceparent", format!("00-{TRACE}-{SPAN}-01"));
    let spans = || {
        let calls = mesh.control.calls();
        let spans = calls.iter().filter_map(|call| call.strip_prefix("Span "));
        spans
            .map(|span| span.split(' ').map(str::to_owned).collect())
            .collect::<Vec<Vec<String>>>()
    };
    eventually("four spans were exported", || spans().len() == 4);
    let mut parent = SPAN.to_owned();
    for kind in [SERVER, CLIENT, SERVER, CLIENT] {
        let spans = spans();
        let found = spans.iter().find(|span| span[1] == parent);
        let found = found.unwrap_or_else(|| panic!("no child of {parent}: {spans:?}"));
        assert_eq!(
            (TRACE, kind),
            (found[0].as_str(), found[3].as_str()),
            "{spans:?}"
        );
        parent.clone_from(&found[2]);
    }
    let last = format!("traceparent: 00-{TRACE}-{parent}-01");
    assert!(body.contains(&last), "{last}: {body}");
}

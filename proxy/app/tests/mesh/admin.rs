//! The admin server: who may see what, in which form.
//!
//! Source: linkerd2-proxy linkerd/app/admin/src/server.rs (texts, statuses).

use http::{Method, Request, StatusCode};
use linkerd_proxy_testkit::client::{self, Answer, TIMEOUT};
use linkerd_proxy_testkit::namespace::Namespace;
use linkerd_proxy_testkit::pod::PROXY_UID;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::*;

const LOCAL: &str = "127.0.0.1:4191";
const FORBIDDEN: &str = "Requests are only permitted from localhost.";

fn ask(from: &Namespace, to: &'static str, request: Request<&'static str>) -> Answer {
    let to = to.parse().expect("a literal address");
    let answer = from.block_on(
        Some(PROXY_UID),
        async move { client::send(to, request).await },
    );
    answer.expect("the admin server answers")
}

fn request(method: &str, path: &str, body: &'static str) -> Request<&'static str> {
    let method = Method::from_bytes(method.as_bytes()).expect("a literal method");
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "admin");
    request.body(body).expect("literal parts")
}

#[test]
fn admin_pages_have_their_forms() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    let ask = |request| ask(&mesh.client.namespace, LOCAL, request);
    let with = |path, name: &'static str, value: &'static str| {
        let mut request = request("GET", path, "");
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
        request
    };
    let packed = ask(with("/metrics", "accept-encoding", "gzip, br"));
    assert_eq!("gzip", packed.header("content-encoding"));
    assert!(!packed.body.contains("proxy_build_info"), "it is packed");
    let html = |path| with(path, "accept", "text/html");
    let cases = [
        (request("GET", "/metrics", ""), 200, ""),
        (request("GET", "/live", ""), 200, "live\n"),
        (request("POST", "/ready", ""), 200, "ready\n"),
        (request("GET", "/env.json", ""), 200, ""),
        (
            request("GET", "/env.json?NOT_SET", ""),
            200,
            r#"{"NOT_SET":null}"#,
        ),
        (
            with("/env.json?NOT_SET", "accept", "application/json"),
            200,
            r#"{"NOT_SET":null}"#,
        ),
        (html("/env.json"), 406, "application/json"),
        (
            request("GET", "/env.json?a=b", ""),
            400,
            r#"{"error":"env.json query parameters may not contain key-value pairs","status":400}"#,
        ),
        (request("POST", "/env.json", ""), 405, ""),
        (request("GET", "/proxy-log-level", ""), 200, ""),
        (request("PUT", "/proxy-log-level", "warn"), 204, ""),
        (request("GET", "/proxy-log-level", ""), 200, "warn"),
        (request("PUT", "/proxy-log-level", "a=b=c"), 400, ""),
        (request("POST", "/proxy-log-level", ""), 405, ""),
        (
            request("GET", "/logs.json", ""),
            400,
            r#"{"error":"Missing query string for log-streaming filter","status":400}"#,
        ),
        (request("GET", "/logs.json?a=b=c", ""), 400, ""),
        (request("QUERY", "/logs.json", "a=b=c"), 400, ""),
        (html("/logs.json?warn"), 406, "application/json"),
        (request("POST", "/logs.json", ""), 405, ""),
        (request("GET", "/shutdown", ""), 405, ""),
        (
            request("POST", "/shutdown", ""),
            404,
            "shutdown endpoint is not enabled\n",
        ),
        (request("GET", "/nothing", ""), 404, ""),
    ];
    for (request, status, body) in cases {
        let asked = format!("{} {}", request.method(), request.uri());
        let answer = ask(request);
        assert_eq!(status, answer.status.as_u16(), "{asked}: {answer:?}");
        assert!(
            body.is_empty() || body == answer.body,
            "{asked}: {answer:?}"
        );
    }
    let refused = ask(request("DELETE", "/logs.json", ""));
    assert_eq!("GET, QUERY", refused.header("allow"));
}

#[test]
fn strangers_learn_and_do_nothing() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    let cases = [
        ("GET", "/live", StatusCode::OK),
        ("GET", "/metrics", StatusCode::OK),
        ("GET", "/env.json", StatusCode::FORBIDDEN),
        ("GET", "/proxy-log-level", StatusCode::FORBIDDEN),
        ("PUT", "/proxy-log-level", StatusCode::FORBIDDEN),
        ("GET", "/logs.json?trace", StatusCode::FORBIDDEN),
        ("QUERY", "/logs.json", StatusCode::FORBIDDEN),
        ("GET", "/shutdown", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/shutdown", StatusCode::FORBIDDEN),
    ];
    for (method, path, status) in cases {
        let to = "10.9.0.2:4191";
        let answer = ask(&mesh.client.namespace, to, request(method, path, ""));
        assert_eq!(status, answer.status, "{method} {path}: {answer:?}");
        if status == StatusCode::FORBIDDEN {
            assert_eq!(FORBIDDEN, answer.body, "{method} {path}");
        }
    }
}

#[test]
fn log_events_are_streamed_while_they_happen() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    let queries = [
        "GET /logs.json?h2=debug HTTP/1.1\r\nhost: admin\r\n\r\n",
        "QUERY /logs.json HTTP/1.1\r\nhost: admin\r\ncontent-length: 8\r\n\r\nh2=debug",
    ];
    for query in queries {
        let read = async move {
            let mut socket = TcpStream::connect(LOCAL).await.expect("it listens");
            let sent = socket.write_all(query.as_bytes()).await;
            sent.expect("it reads");
            let mut read = String::new();
            let mut asked = false;
            while !(read.contains(r#""target":"h2::"#) && read.ends_with("\r\n")) {
                let mut part = [0; 4096];
                let length = socket.read(&mut part).await.expect("the stream goes on");
                assert_ne!(0, length, "it ended: {read}");
                read.push_str(&String::from_utf8_lossy(&part[..length]));
                if read.contains("\r\n\r\n") && !asked {
                    asked = true;
                    let live = Request::get(format!("http://{LOCAL}/live"));
                    let live = live.version(http::Version::HTTP_2).body("");
                    let live = live.expect("literal parts");
                    let answer = client::send(LOCAL.parse().expect("literal"), live).await;
                    assert_eq!(StatusCode::OK, answer.expect("an answer").status);
                }
            }
            read
        };
        let read = async move { tokio::time::timeout(TIMEOUT, read).await };
        let read = mesh.client.namespace.block_on(Some(PROXY_UID), read);
        let read = read.expect("events come in time");
        assert!(read.starts_with("HTTP/1.1 200"), "{read}");
        assert!(read.contains("content-type: application/json"), "{read}");
        let events = read.lines().filter(|line| line.starts_with('{'));
        for event in events {
            assert!(event.contains(r#""level":"DEBUG""#), "{event}");
            assert!(event.ends_with('}'), "{event}");
        }
    }
}

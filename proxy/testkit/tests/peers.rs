//! The scripted peers are what the proxy's tests rest on, so they are tested without a proxy.

use http::{Request, StatusCode, Version};
use linkerd_proxy_testkit::client;
use linkerd_proxy_testkit::echo::{Kind, BANNER};
use linkerd_proxy_testkit::namespace::{permitted, Namespace};
use linkerd_proxy_testkit::pod::serve;

const SERVER: &str = "10.9.0.2:8080";

fn joined(kind: Kind) -> Option<(Namespace, Namespace)> {
    if !permitted() {
        return None;
    }
    let (client, server) = (Namespace::new(), Namespace::new());
    client.join("10.9.0.1", &server, "10.9.0.2");
    serve(&server, 8080, kind);
    Some((client, server))
}

fn send(from: &Namespace, request: Request<&'static str>) -> client::Answer {
    let to = SERVER.parse().expect("literal");
    from.block_on(None, async move { client::send(to, request).await })
        .expect("an answer")
}

#[test]
fn the_http_server_shows_what_reached_it() {
    let Some((client, server)) = joined(Kind::Http) else {
        return;
    };
    let capture = server.capture();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request = Request::post("http://web/a?b=c")
            .version(version)
            .header("x-one", "1");
        let answer = send(
            &client,
            request.body("body of the request").expect("literal parts"),
        );
        assert_eq!((StatusCode::OK, version), (answer.status, answer.version));
        assert!(
            answer.body.contains("x-one: 1") && answer.body.ends_with("\n\nbody of the request")
        );
    }
    assert!(capture.comes_to_contain("body of the request"));
    let answer = send(
        &client,
        Request::get("/status/418").body("").expect("literal parts"),
    );
    assert_eq!(StatusCode::IM_A_TEAPOT, answer.status);
}

#[test]
fn grpc_answers_end_with_a_trailer() {
    let Some((client, _server)) = joined(Kind::Http) else {
        return;
    };
    for (path, code) in [("http://web/Svc/Echo", "0"), ("http://web/Svc/fail/5", "5")] {
        let request = Request::post(path)
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc");
        let answer = send(&client, request.body("message").expect("literal parts"));
        assert_eq!("message", answer.body);
        assert_eq!(
            Some(code),
            answer
                .trailers
                .get("grpc-status")
                .and_then(|value| value.to_str().ok())
        );
    }
}

#[test]
fn tcp_servers_give_bytes_back_and_may_speak_first() {
    for (kind, sent, expected) in [
        (Kind::Tcp, "ping", "ping".to_owned()),
        (Kind::Banner, "ping", format!("{BANNER}ping")),
    ] {
        let Some((client, _server)) = joined(kind) else {
            return;
        };
        let length = expected.len();
        let to = SERVER.parse().expect("literal");
        let got = client.block_on(None, async move {
            client::exchange(to, sent.as_bytes(), length).await
        });
        assert_eq!(expected.as_bytes(), got.expect("bytes"), "{kind:?}");
    }
}

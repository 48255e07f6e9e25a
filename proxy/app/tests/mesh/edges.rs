//! Streams, odd and hostile input, empty services, renewal: where proxies tend to break.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::client::TIMEOUT;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Allow, Server, Service, World};

use crate::fixture::*;

#[test]
fn streamed_messages_pass_before_the_stream_ends() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let dialogue = async {
        let socket = tokio::net::TcpStream::connect(SERVICE)
            .await
            .map_err(|e| e.to_string())?;
        let (sender, connection) = h2::client::handshake(socket)
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let mut sender = sender.ready().await.map_err(|e| e.to_string())?;
        let request = Request::post("http://web.shop.svc.cluster.local/stream").body(());
        let (response, mut send) = sender
            .send_request(request.expect("literal parts"), false)
            .map_err(|e| e.to_string())?;
        send.send_data(Bytes::from_static(b"one"), false)
            .map_err(|e| e.to_string())?;
        let mut body = response.await.map_err(|e| e.to_string())?.into_body();
        let mut seen = Vec::new();
        for message in ["two", "three", ""] {
            let chunk = body.data().await.ok_or("the stream ended early")?;
            seen.push(String::from_utf8_lossy(&chunk.map_err(|e| e.to_string())?).into_owned());
            let last = message.is_empty();
            send.send_data(Bytes::from_static(message.as_bytes()), last)
                .map_err(|e| e.to_string())?;
        }
        Ok::<_, String>(seen)
    };
    let seen = mesh
        .client
        .namespace
        .block_on(None, tokio_timeout(dialogue));
    assert_eq!(
        Ok(vec!["one".to_owned(), "two".to_owned(), "three".to_owned()]),
        seen
    );
}

async fn tokio_timeout<T>(
    work: impl std::future::Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::time::timeout(TIMEOUT, work)
        .await
        .map_err(|_| "not in time".to_owned())?
}

#[test]
fn methods_without_bodies_and_odd_requests_pass() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for (method, version) in [
        (Method::HEAD, Version::HTTP_11),
        (Method::HEAD, Version::HTTP_2),
        (Method::DELETE, Version::HTTP_11),
        (Method::OPTIONS, Version::HTTP_2),
    ] {
        let uri = "http://web.shop.svc.cluster.local/x";
        let request = Request::builder()
            .method(&method)
            .uri(uri)
            .version(version)
            .header("host", "web");
        let answer = mesh.send(
            From::Meshed,
            SERVICE,
            request.body("").expect("literal parts"),
        );
        assert_eq!(
            StatusCode::OK,
            answer.status,
            "{method} {version:?}: {answer:?}"
        );
    }
    for (sent, status) in [
        (&b"GET / HTTP/1.0\r\n\r\n"[..], "200"),
        (b"GET http://web.shop.svc.cluster.local/ HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n", "200"),
        (b"POST /x HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200"),
        (b"POST /x HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc", "100"),
    ] {
        let answer = mesh.exchange(From::Meshed, SERVICE, sent, 12);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let sent = String::from_utf8_lossy(sent);
        assert!(answer.ends_with(status) || status == "100" && answer.ends_with("200"), "{sent}: {answer}");
    }
}

#[test]
fn hostile_input_ends_its_own_connection_only() {
    let Some(mesh) = Mesh::start(world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let long = format!(
        "GET / HTTP/1.1\r\nhost: web\r\nx: {}\r\n\r\n",
        "a".repeat(2 << 20)
    )
    .into_bytes();
    for sent in [
        &b"GET / HTTP/1.1\r\nhost: web\r\nbad header line\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -1\r\n\r\n",
        b"GET web:443 HTTP/1.1\r\nhost: web:443\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        Box::leak(long.into_boxed_slice()),
    ] {
        for (from, to) in [(From::Meshed, SERVICE), (From::Unmeshed, POD)] {
            let answer = mesh.exchange(from, to, sent, 12);
            let answer = String::from_utf8_lossy(&answer);
            let shown = String::from_utf8_lossy(&sent[..sent.len().min(60)]);
            assert!(!answer.ends_with(" 200"), "{from:?} {shown}: {answer}");
        }
        let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
        assert_eq!(StatusCode::OK, answer.status, "both proxies serve on");
    }
}

#[test]
fn a_service_without_endpoints_fails_fast() {
    let empty = World::new().service(Service::new(SERVICE, AUTHORITY));
    let Some(mesh) = Mesh::start(empty) else {
        return;
    };
    let start = Instant::now();
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, answer.status, "{answer:?}");
    assert!(
        answer.header("l5d-proxy-error").contains("fail"),
        "{answer:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(8), "the limit is 3 s");
    let start = Instant::now();
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    assert_eq!(StatusCode::GATEWAY_TIMEOUT, answer.status);
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "a shut gate answers at once"
    );
    mesh.server.serve(PORT, Kind::Http);
    mesh.control.set(world());
    eventually("the endpoint that came is used", || {
        mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"))
            .status
            == StatusCode::OK
    });
}

#[test]
fn only_meshed_clients_are_told_why() {
    let world = world().server(Server::new(PORT, "web").allow(Allow::Nobody));
    let Some(mesh) = Mesh::start(world) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    for from in [From::Meshed, From::Unmeshed] {
        let to = if matches!(from, From::Meshed) {
            SERVICE
        } else {
            POD
        };
        eventually(&format!("{from:?} is denied"), || {
            mesh.send(from, to, get(Version::HTTP_11, "/")).status == StatusCode::FORBIDDEN
        });
    }
    let answer = mesh.send(From::Unmeshed, POD, get(Version::HTTP_11, "/"));
    assert_eq!("", answer.header("l5d-proxy-error"), "{answer:?}");
    assert_eq!("0", answer.header("content-length"), "{answer:?}");
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let authority = Authority::generate().leaf_lifetime(4);
    let settings = [("IDENTITY_MIN_REFRESH", "1s")];
    let Some(mesh) = Mesh::start_with(world(), authority, &settings) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Http);
    let certified = || {
        let calls = mesh.control.calls();
        calls
            .iter()
            .filter(|call| call.ends_with(SERVER_ID))
            .count()
    };
    eventually("the server's certificate was renewed twice", || {
        certified() >= 3
    });
    let answer = mesh.send(From::Meshed, SERVICE, get(Version::HTTP_11, "/"));
    assert_eq!(
        StatusCode::OK,
        answer.status,
        "after the first certificate has ended"
    );
}

#[test]
fn the_number_of_fields_is_limited_as_far_as_is_set() {
    let request = |fields: usize| -> &'static [u8] {
        let fields: String = (0..fields).map(|i| format!("x-{i}: 1\r\n")).collect();
        let text = format!("GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n{fields}\r\n");
        Box::leak(text.into_boxed_str()).as_bytes()
    };
    // The server behind takes a hundred fields, and says so with a date.
    for (setting, fields, refused) in [
        ("", 90, false),
        ("", 210, true),
        ("300", 210, false),
        ("50", 60, true),
        ("50", 40, false),
    ] {
        let settings = [("LIMIT_HEAD_FIELDS", setting)];
        let Some(mesh) = Mesh::start_with(world(), Authority::generate(), &settings) else {
            return;
        };
        mesh.server.serve(PORT, Kind::Http);
        let answer = mesh.exchange(From::Unmeshed, POD, request(fields), 1 << 16);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let ours = answer.starts_with("HTTP/1.1 431") && !answer.contains("date: ");
        assert_eq!(refused, ours, "{setting} {fields}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 "), "{setting} {fields}");
    }
}

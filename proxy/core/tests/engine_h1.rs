//! HTTP/1 to HTTP/1: tables of RFC 9110 and 9112, refusals, pipelining, upgrades.
#![allow(clippy::unwrap_used)]

mod engine_support;

use std::time::Duration;

use engine_support::Rig;
use linkerd_proxy_core::engine::{Failure, HeadEdit, Io, Protocol};

fn rig() -> Rig {
    Rig::new(Protocol::H1, Protocol::H1)
}

#[test]
fn a_request_and_its_response_pass() {
    let mut rig = rig();
    rig.client(b"GET /a?b HTTP/1.1\r\nHost: x.test\r\nAccept: */*\r\n\r\n");
    assert_eq!(
        "GET /a?b HTTP/1.1\r\nhost: x.test\r\naccept: */*\r\n\r\n",
        rig.server_text()
    );
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\n\r\nhello");
    assert_eq!(
        "HTTP/1.1 200 OK\r\nserver: s\r\ncontent-length: 5\r\n\r\nhello",
        rig.client_text()
    );
    assert_eq!(1, rig.finished.len());
    assert_eq!(5, rig.finished[0].response_bytes);
    assert_eq!(None, rig.finished[0].failure);
    assert_eq!((Io::Open, Io::Open), (rig.client_io(), rig.server_io()));
    assert_eq!(0, rig.engine.streams());
}

/// What a client sends, and what the server gets.
#[test]
fn requests() {
    let table: &[(&str, &str)] = &[
        // Bodies by length and by chunks; a body in pieces; trailers.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n\
             1\r\na\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\na\r\n0\r\nx: y\r\n\r\n",
        ),
        // Targets: absolute form overrides host, the asterisk, a query without a path.
        (
            "GET http://b:80/c HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /c HTTP/1.1\r\nhost: b:80\r\n\r\n",
        ),
        (
            "GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?c HTTP/1.1\r\nhost: b\r\n\r\n",
        ),
        (
            "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: b\r\n\r\n",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nhost: b\r\n\r\n",
        ),
        // What belongs to the connection stays behind, and what it names.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n\
             Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip\r\nHTTP2-Settings: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx-end: 2\r\n\r\n",
        ),
        // Empty lines before the request line, HTTP/1.0 without host, empty and odd values.
        (
            "\r\nGET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: \r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t b \t\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: \r\ny: b\r\n\r\n",
        ),
        // Cookies are one field.
        (
            "GET / HTTP/1.1\r\nCookie: a=1\r\nHost: a\r\nCookie: b=2\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=2\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n\r\n",
        ),
        // An upgrade passes, unless it is to HTTP/2, where it would hide requests.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
        ),
    ];
    for (sent, expected) in table {
        let mut rig = rig();
        rig.client(sent.as_bytes());
        assert_eq!(*expected, rig.server_text(), "{sent}");
        assert_eq!("", rig.client_text(), "{sent}");
    }
}

/// What is ambiguous or malformed never reaches the server: one refusal, then the end.
#[test]
fn refusals() {
    let table: &[(u16, &str)] = &[
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n"),
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"),
        (400, "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03"),
        // Lengths.
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nx"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nx"),
        // Both framings, and codings that are not exactly `chunked`.
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: teapot\r\n\r\n"),
    ];
    for (status, sent) in table {
        let mut rig = rig();
        rig.client(sent.as_bytes());
        assert_eq!("", rig.server_text(), "{sent:?}");
        assert!(
            rig.client_text()
                .starts_with(&format!("HTTP/1.1 {status} ")),
            "{sent:?}: {}",
            rig.client_text()
        );
        assert_eq!(Io::Close, rig.client_io(), "{sent:?}");
        // Nothing that follows is looked at.
        let before = rig.client_text();
        rig.client(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!("", rig.server_text(), "{sent:?}");
        assert_eq!(before, rig.client_text());
    }
}

/// A body that cannot be followed ends the connection, and no later byte is read as a request.
#[test]
fn broken_chunks() {
    let table = [
        "x\r\n",
        "5\r\nabcdeX\r\n",
        "5\r\nabcde\n",
        "5\nabcde\r\n",
        "5 \r\nabcde\r\n",
        "\r\n",
        "ffffffffffffffff\r\n",
        "-1\r\n",
        "1;\x01\r\n",
        "1;a\nb\r\n",
        "0\r\nbad line\r\n\r\n",
        "0\r\nX: a\n\r\n",
        "0\r\n X: a\r\n\r\n",
    ];
    for chunks in table {
        let mut rig = rig();
        rig.client(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        rig.client(chunks.as_bytes());
        rig.client(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(!rig.server_text().contains("smuggled"), "{chunks:?}");
        assert!(!rig.server_text().contains("0\r\n\r\n"), "{chunks:?}");
        assert!(rig.client_text().starts_with("HTTP/1.1 400 "), "{chunks:?}");
        assert_eq!(Io::Close, rig.client_io(), "{chunks:?}");
        assert_eq!(Io::Abort, rig.server_io(), "{chunks:?}");
        assert_eq!(Some(Failure::Protocol), rig.finished[0].failure);
    }
}

/// What a server answers to a method, and what the client gets; `=` closes the server's side.
#[test]
fn responses() {
    let table: &[(&str, &str, &str, Io)] = &[
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Io::Open,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            Io::Open,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\n\r\nabc=",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            Io::Open,
        ),
        // A server that cannot be understood is a bad gateway.
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            Io::Open,
        ),
        (
            "GET",
            "=",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            Io::Open,
        ),
        // Cut short: so is what the client gets.
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab=",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
            Io::Close,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab=",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
            Io::Close,
        ),
    ];
    for (method, sent, expected, io) in table {
        let mut rig = rig();
        rig.client(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        rig.server(sent.trim_end_matches('=').as_bytes());
        if sent.ends_with('=') {
            rig.server_end();
        }
        assert_eq!(*expected, rig.client_text(), "{sent:?}");
        assert_eq!(*io, rig.client_io(), "{sent:?}");
        assert_eq!(1, rig.finished.len(), "{sent:?}");
        assert_eq!(0, rig.engine.streams(), "{sent:?}");
    }
}

#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let mut rig = rig();
    rig.client(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n", rig.server_text());
    for _ in 0..3 {
        rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    }
    assert_eq!(
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi\
         GET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
        rig.server_text()
    );
    assert_eq!(3, rig.client_text().matches("200 OK").count());
    assert_eq!(3, rig.finished.len());
}

#[test]
fn pipelining_is_bounded() {
    let mut rig = rig();
    rig.client(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(rig.engine.wants_read(rig.client));
    rig.client(&[b'x'; 20_000]);
    assert!(!rig.engine.wants_read(rig.client));
}

#[test]
fn old_clients_get_what_they_understand() {
    let table: &[(&str, &str, &str, Io)] = &[
        (
            "GET / HTTP/1.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\na",
            Io::Close,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\na",
            Io::Open,
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            Io::Close,
        ),
    ];
    for (sent, answered, expected, io) in table {
        let mut rig = rig();
        rig.client(sent.as_bytes()).server(answered.as_bytes());
        assert_eq!(*expected, rig.client_text());
        assert_eq!(*io, rig.client_io());
    }
}

#[test]
fn an_upgrade_becomes_a_tunnel_both_ways() {
    let mut rig = rig();
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly");
    assert!(!rig.server_text().contains("early"));
    rig.server(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi");
    rig.client(b"\0bytes");
    assert!(rig.server_text().ends_with("early\0bytes"));
    assert_eq!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi",
        rig.client_text()
    );
    rig.client_end();
    assert_eq!(Io::Shutdown, rig.server_io());
    rig.server(b"late").server_end();
    assert!(rig.client_text().ends_with("late"));
    assert_eq!((Io::Close, Io::Close), (rig.client_io(), rig.server_io()));
    assert_eq!(None, rig.finished[0].failure);
}

#[test]
fn a_refused_upgrade_leaves_http_behind() {
    let mut rig = rig();
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    rig.client(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(rig.server_text().contains("GET /2"));
}

#[test]
fn nothing_passes_a_connect_before_its_answer() {
    let mut rig = rig();
    rig.client(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
    assert!(!rig.server_text().contains("smuggled"));
    rig.server(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
    assert!(!rig.server_text().contains("smuggled"));
    assert_ne!(Io::Open, rig.server_io());

    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.client(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nhello");
    rig.server(b"HTTP/1.1 200 OK\r\n\r\nworld");
    assert!(rig.server_text().ends_with("\r\n\r\nhello"));
    assert_eq!("HTTP/1.1 200 OK\r\n\r\nworld", rig.client_text());
}

#[test]
fn opaque_connections_are_tunnels() {
    let mut rig = Rig::new(Protocol::Raw, Protocol::Raw);
    rig.client(b"\0\x01").server(b"\x02");
    assert_eq!(b"\0\x01", &rig.to_server[..]);
    assert_eq!(b"\x02", &rig.to_client[..]);
    rig.server_end();
    assert_eq!(Io::Shutdown, rig.client_io());
    rig.client(b"more").client_end();
    assert_eq!(b"\0\x01more", &rig.to_server[..]);
    assert_eq!(1, rig.finished.len());
}

#[test]
fn a_slow_server_holds_the_client_back() {
    let mut rig = rig();
    let size = 1_000_000;
    rig.client(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes());
    let mut sent = 0;
    while rig.engine.wants_read(rig.client) && sent < size {
        let count = 10_000.min(size - sent);
        rig.engine.recv(rig.client, &vec![b'x'; count], rig.now);
        rig.events();
        sent += count;
    }
    assert!(sent < 200_000, "{sent}");
    assert!(rig.engine.out(rig.server).len() <= 140_000);
    while sent < size {
        rig.settle();
        assert!(rig.engine.wants_read(rig.client));
        let count = 10_000.min(size - sent);
        rig.client(&vec![b'x'; count]);
        sent += count;
    }
    assert_eq!(size, rig.to_server.iter().filter(|b| **b == b'x').count());
}

#[test]
fn the_driver_edits_heads() {
    let mut rig = rig();
    rig.auto = false;
    rig.client(b"GET /a HTTP/1.1\r\nHost: a\r\nX-1: old\r\nX-2: gone\r\n\r\n");
    let stream = rig.requests[0];
    let edit = HeadEdit {
        authority: Some(b"b:1"),
        path: Some(b"/c"),
        remove: &[b"x-2"],
        set: &[(b"x-1", b"new")],
        add: &[(b"x-3", b"more")],
        ..HeadEdit::default()
    };
    let bad = HeadEdit {
        set: &[(b"x", b"a\r\nevil: 1")],
        ..HeadEdit::default()
    };
    assert!(rig.engine.forward(stream, rig.server, &bad).is_err());
    rig.engine.forward(stream, rig.server, &edit).unwrap();
    rig.settle();
    assert_eq!(
        "GET /c HTTP/1.1\r\nhost: b:1\r\nx-1: new\r\nx-3: more\r\n\r\n",
        rig.server_text()
    );
    rig.server(b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\nX-2: y\r\n\r\nno");
    let edit = HeadEdit {
        status: Some(503),
        remove: &[b"x-2"],
        ..HeadEdit::default()
    };
    rig.engine.forward_response(stream, &edit).unwrap();
    rig.settle();
    assert_eq!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno",
        rig.client_text()
    );
}

#[test]
fn the_driver_answers_by_itself() {
    let mut rig = rig();
    rig.auto = false;
    rig.client(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
    let fields: &[(&[u8], &[u8])] = &[(b"l5d-proxy-error", b"unauthorized")];
    rig.engine
        .respond(rig.requests[0], 403, fields, b"no entry")
        .unwrap();
    rig.settle();
    assert_eq!(
        "HTTP/1.1 403 Forbidden\r\nl5d-proxy-error: unauthorized\r\ncontent-length: 8\r\n\
         connection: close\r\n\r\nno entry",
        rig.client_text()
    );
    // The rest of the request is read and dropped, then the connection ends.
    assert_eq!(Io::Open, rig.client_io());
    rig.client(b"dyGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(Io::Close, rig.client_io());
    assert_eq!(1, rig.requests.len());
    assert_eq!(1, rig.finished.len());
    assert_eq!(0, rig.engine.streams());
}

#[test]
fn a_failed_attempt_can_be_repeated_elsewhere() {
    let mut rig = rig();
    rig.auto = false;
    rig.client(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = rig.requests[0];
    let edit = HeadEdit::default();
    rig.engine.forward(stream, rig.server, &edit).unwrap();
    rig.settle();
    rig.engine.close(rig.server, rig.now);
    rig.settle();
    assert_eq!(vec![Failure::Closed], rig.failed);
    assert!(rig.engine.can_retry(stream));
    let role = linkerd_proxy_core::engine::Role::Client;
    rig.server = rig.engine.open(role, Protocol::H1, rig.now);
    rig.engine.forward(stream, rig.server, &edit).unwrap();
    rig.settle();
    rig.server(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n");
    // An answer that the driver does not like is given up the same way.
    rig.engine.release(stream);
    assert!(rig.engine.can_retry(stream));
    rig.server = rig.engine.open(role, Protocol::H1, rig.now);
    rig.engine.forward(stream, rig.server, &edit).unwrap();
    rig.settle();
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    rig.engine.forward_response(stream, &edit).unwrap();
    rig.settle();
    assert!(rig.client_text().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(0, rig.engine.streams());
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    let mut rig = rig();
    rig.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    rig.client_end();
    assert_eq!(Io::Abort, rig.server_io());
    assert_eq!(Some(Failure::Closed), rig.finished[0].failure);
    assert_eq!(0, rig.engine.streams());
}

#[test]
fn a_client_may_say_that_it_is_done_and_still_get_its_answer() {
    let mut rig = rig();
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .client_end();
    assert_eq!(Io::Open, rig.client_io());
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(rig.client_text().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(Io::Close, rig.client_io());
}

#[test]
fn heads_have_limits_in_size_number_and_time() {
    let mut rig = rig();
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n");
    for _ in 0..100 {
        rig.client(format!("X: {}\r\n", "y".repeat(700)).as_bytes());
    }
    assert!(rig.client_text().starts_with("HTTP/1.1 431 "));

    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    let many = "X: y\r\n".repeat(300);
    rig.client(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes());
    assert!(rig.client_text().starts_with("HTTP/1.1 431 "));

    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.client(b"GET / HT");
    rig.pass(Duration::from_secs(9)).client(b"TP/1.1\r\n");
    assert_eq!("", rig.client_text());
    rig.pass(Duration::from_secs(2));
    assert!(rig.client_text().starts_with("HTTP/1.1 408 "));
    assert_eq!(Io::Close, rig.client_io());

    // An idle connection ends without a word.
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.pass(Duration::from_secs(300));
    rig.server(b"HTTP/1.1 204 x\r\n\r\n");
    let before = rig.client_text();
    rig.pass(Duration::from_secs(59));
    assert_eq!(Io::Open, rig.client_io());
    rig.pass(Duration::from_secs(2));
    assert_eq!((Io::Close, before), (rig.client_io(), rig.client_text()));
}

#[test]
fn bytes_that_no_request_asked_for_end_a_client_connection() {
    let mut rig = rig();
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(Io::Abort, rig.server_io());
    let mut rig = Rig::new(Protocol::H1, Protocol::H1);
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.server(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(Io::Abort, rig.server_io());
    assert_eq!(1, rig.client_text().matches("200 OK").count());
}

#[test]
fn a_drained_connection_ends_after_its_request() {
    let mut rig = rig();
    rig.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.engine.drain(rig.client, rig.now);
    assert_eq!(Io::Open, rig.client_io());
    rig.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(rig.client_text().contains("connection: close"));
    assert_eq!(Io::Close, rig.client_io());
}

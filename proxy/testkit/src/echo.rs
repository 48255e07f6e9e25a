//! Servers that show what reached them.
//!
//! * HTTP/1 and HTTP/2 (prior knowledge): the answer's body is the request's method, path, version
//!   and headers, one a line, then an empty line and the body. `/status/NNN` answers with that status;
//!   `/stream` gives the body back as it comes.
//!   A request with `content-type: application/grpc…` gets its body back and trailers with
//!   `grpc-status` 0, or N for a path that ends in `/fail/N`. A request to upgrade gets 101 and then
//!   its own bytes. `/sleep/N` answers after N milliseconds. The first N requests for a path that ends in
//!   `/flaky/N` get 503, or UNAVAILABLE as a gRPC trailer. `/retry-after/N` asks for N seconds with a 429.
//! * TCP: every byte back; or a banner first, then every byte back.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// What the server-first server says before anything is asked.
pub const BANNER: &str = "220 ready\r\n";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HTTP/1, HTTP/2 and gRPC.
    Http,
    /// Bytes back.
    Tcp,
    /// [`BANNER`], then bytes back.
    Banner,
}

/// Serves connections until the task is dropped.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, kind: Kind) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            // A peer that breaks off is part of many tests.
            let _ = connection(socket, kind).await;
        });
    }
}

async fn connection(mut socket: TcpStream, kind: Kind) -> io::Result<()> {
    match kind {
        Kind::Http => auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(socket), hyper::service::service_fn(http))
            .await
            .map_err(io::Error::other),
        Kind::Tcp => tcp(socket).await,
        Kind::Banner => {
            socket.write_all(BANNER.as_bytes()).await?;
            tcp(socket).await
        }
    }
}

async fn tcp(mut socket: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = socket.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

async fn http(mut request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    if request.headers().contains_key("upgrade") && request.version() == Version::HTTP_11 {
        return Ok(upgrade(&mut request));
    }
    let grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let (parts, body) = request.into_parts();
    if parts.uri.path().ends_with("/stream") {
        return Ok(Response::new(body.boxed()));
    }
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path();
    if let Some(ms) = last_number(path, "sleep") {
        tokio::time::sleep(std::time::Duration::from_millis(ms.into())).await;
    }
    let fails = last_number(path, "flaky").is_some_and(|times| fails(path, times));
    if grpc {
        let code = if fails { 14 } else { 0 };
        return Ok(grpc_answer(body, last_number(path, "fail").unwrap_or(code)));
    }
    let retry_after = last_number(path, "retry-after");
    let code = last_number(path, "status")
        .or(fails.then_some(503))
        .or(retry_after.map(|_| 429));
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        text.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    text.push('\n');
    let body = [text.as_bytes(), &body].concat();
    // hyper would send it over HTTP/2, where a client must refuse it.
    let body = if parts.method == Method::HEAD {
        Vec::new()
    } else {
        body
    };
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = status.unwrap_or(StatusCode::OK);
    if let Some(seconds) = retry_after {
        let seconds = HeaderValue::from(seconds);
        answer.headers_mut().insert("retry-after", seconds);
    }
    Ok(answer)
}

fn full(body: Bytes) -> BoxBody<Bytes, hyper::Error> {
    Full::new(body).map_err(|never| match never {}).boxed()
}

/// `N` of a path that ends in `/<word>/N`.
fn last_number(path: &str, word: &str) -> Option<u16> {
    let mut parts = path.rsplit('/');
    let number = parts.next()?.parse().ok()?;
    (parts.next() == Some(word)).then_some(number)
}

/// Whether this is one of the first `times` requests for `path`.
fn fails(path: &str, times: u16) -> bool {
    static SEEN: Mutex<BTreeMap<String, u16>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = seen.entry(path.to_owned()).or_default();
    *count = count.saturating_add(1);
    *count <= times
}

fn grpc_answer(body: Bytes, code: u16) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    let body = full(body)
        .with_trailers(async move { Some(Ok(trailers)) })
        .boxed();
    let mut answer = Response::new(body.boxed());
    answer
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

fn upgrade(request: &mut Request<Incoming>) -> Answer {
    let protocol = request.headers().get("upgrade").cloned();
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            // Ends with the connection.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        }
    });
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer
        .headers_mut()
        .insert("connection", HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        answer.headers_mut().insert("upgrade", protocol);
    }
    answer
}

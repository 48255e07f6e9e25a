//! The engine between hyper and h2: what one library sends through it the other receives, for all
//! four pairs of protocols.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use linkerd_proxy_core::engine::{ConnId, Engine, Event, HeadEdit, Io, Limits, Protocol, Role};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{spawn_local, LocalSet};

/// One message as both libraries see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    method: String,
    path: String,
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

#[derive(Clone, Copy)]
struct Local;

impl<F: std::future::Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn body(message: &Message, streamed: bool) -> Body {
    if message.trailers.is_empty() && !streamed {
        return Full::new(Bytes::from(message.body.clone())).boxed();
    }
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = message
        .body
        .chunks(700)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    if !message.trailers.is_empty() {
        frames.push(Ok(Frame::trailers(map(&message.trailers))));
    }
    Planned(frames.into_iter()).boxed()
}

/// A body that hands out its frames one by one.
struct Planned(std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Planned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next())
    }
}

fn map(fields: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

fn list(map: &HeaderMap) -> Vec<(String, String)> {
    let mut fields: Vec<_> = map
        .iter()
        .filter(|(name, _)| {
            ![
                "host",
                "content-length",
                "transfer-encoding",
                "date",
                "trailer",
            ]
            .contains(&name.as_str())
        })
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    fields.sort();
    fields
}

async fn collect(body: Incoming) -> (Vec<u8>, Vec<(String, String)>) {
    let body = body.collect().await.expect("a complete body");
    let trailers = body.trailers().map(list).unwrap_or_default();
    (body.to_bytes().to_vec(), trailers)
}

/// Carries bytes between two pipes and an engine until both ends are gone.
async fn drive(front: Protocol, back: Protocol, client: DuplexStream, server: DuplexStream) {
    let mut engine = Engine::new(Limits::default(), Instant::now());
    let ids = [
        engine.open(Role::Server, front, Instant::now()),
        engine.open(Role::Client, back, Instant::now()),
    ];
    let mut pipes = [client, server];
    let mut waiting = Vec::new();
    let mut buffers = [vec![0; 3000], vec![0; 3000]];
    loop {
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Request { stream, .. } => waiting.push(stream),
                Event::Response { stream } => engine
                    .forward_response(stream, &HeadEdit::default())
                    .unwrap(),
                Event::Failed { stream, .. } => engine.respond(stream, 502, &[], b"").unwrap(),
                Event::Body { .. }
                | Event::Trailers { .. }
                | Event::Finished { .. }
                | Event::Ready { .. }
                | Event::Draining { .. } => {}
            }
            if engine.capacity(ids[1]) > 0 && !waiting.is_empty() {
                let stream = waiting.remove(0);
                let _ = engine.forward(stream, ids[1], &HeadEdit::default());
            }
        }
        let dirty: Vec<ConnId> = std::iter::from_fn(|| engine.poll_dirty()).collect();
        if !dirty.is_empty() {
            for id in dirty {
                let at = usize::from(id == ids[1]);
                let out = engine.out(id).to_vec();
                if pipes[at].write_all(&out).await.is_err() {
                    return;
                }
                engine.sent(id, out.len(), Instant::now());
                if engine.io(id) != Io::Open {
                    let _ = pipes[at].shutdown().await;
                }
            }
            continue;
        }
        let [client, server] = &mut pipes;
        let [one, other] = &mut buffers;
        let (at, count) = tokio::select! {
            count = client.read(one), if engine.wants_read(ids[0]) => (0, count.unwrap_or(0)),
            count = server.read(other), if engine.wants_read(ids[1]) => (1, count.unwrap_or(0)),
            else => return,
        };
        match count {
            0 => engine.recv_end(ids[at], Instant::now()),
            count => engine.recv(ids[at], &buffers[at][..count], Instant::now()),
        }
    }
}

/// Sends the pairs through an engine; what server and client saw.
async fn run(
    front: Protocol,
    back: Protocol,
    pairs: &[(Message, Message)],
) -> Vec<(Message, Message)> {
    let (client, front_pipe) = tokio::io::duplex(5000);
    let (server, back_pipe) = tokio::io::duplex(5000);
    spawn_local(drive(front, back, front_pipe, back_pipe));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let plan = Rc::new(RefCell::new(
        pairs
            .iter()
            .map(|pair| pair.1.clone())
            .collect::<Vec<_>>()
            .into_iter(),
    ));
    let at = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, plan) = (at.clone(), plan.clone());
        async move {
            let (parts, incoming) = request.into_parts();
            let (body_bytes, trailers) = collect(incoming).await;
            seen.borrow_mut().push(Message {
                method: parts.method.to_string(),
                path: parts.uri.path_and_query().unwrap().to_string(),
                status: 0,
                fields: list(&parts.headers),
                body: body_bytes,
                trailers,
            });
            let answer = plan.borrow_mut().next().unwrap();
            let mut response = Response::new(body(&answer, answer.body.len() > 1000));
            *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
            *response.headers_mut() = map(&answer.fields);
            if !answer.trailers.is_empty() {
                response
                    .headers_mut()
                    .insert("trailer", HeaderValue::from_static("x-t"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    if back == Protocol::H2 {
        spawn_local(http2::Builder::new(Local).serve_connection(TokioIo::new(server), service));
    } else {
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    }
    let mut answers = Vec::new();
    let (mut one, mut two) = (None, None);
    if front == Protocol::H2 {
        let (sender, conn) = client2::handshake(Local, TokioIo::new(client))
            .await
            .unwrap();
        spawn_local(conn);
        two = Some(sender);
    } else {
        let (sender, conn) = client1::handshake(TokioIo::new(client)).await.unwrap();
        spawn_local(conn);
        one = Some(sender);
    }
    for (asked, _) in pairs {
        let mut request = Request::new(body(asked, asked.body.len() > 1000));
        *request.method_mut() = Method::from_bytes(asked.method.as_bytes()).unwrap();
        *request.headers_mut() = map(&asked.fields);
        if !asked.trailers.is_empty() {
            request
                .headers_mut()
                .insert("trailer", HeaderValue::from_static("x-t"));
        }
        let response = if let Some(sender) = &mut two {
            *request.uri_mut() = format!("http://a.test{}", asked.path).parse().unwrap();
            sender.send_request(request).await.unwrap()
        } else {
            *request.uri_mut() = asked.path.parse().unwrap();
            request
                .headers_mut()
                .insert("host", HeaderValue::from_static("a.test"));
            let sender = one.as_mut().unwrap();
            sender.ready().await.unwrap();
            sender.send_request(request).await.unwrap()
        };
        let (parts, incoming) = response.into_parts();
        let (body, trailers) = collect(incoming).await;
        answers.push(Message {
            method: String::new(),
            path: String::new(),
            status: parts.status.as_u16(),
            fields: list(&parts.headers),
            body,
            trailers,
        });
    }
    let seen = seen.borrow().clone();
    seen.into_iter().zip(answers).collect()
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        "x-[a-z0-9-]{1,30}",
        Just("accept".to_owned()),
        Just("user-agent".to_owned()),
        Just("authorization".to_owned()),
        Just("content-type".to_owned()),
        Just("etag".to_owned()),
    ];
    prop::collection::vec((name, "[!-~]{0,40}"), 0..12).prop_map(|mut fields| {
        fields.sort();
        fields.dedup_by(|a, b| a.0 == b.0);
        fields
    })
}

fn message(request: bool) -> impl Strategy<Value = Message> {
    let method = prop_oneof![Just("POST"), Just("PUT"), Just("PATCH"), Just("REPORT")];
    let path = "/[a-z0-9/%._~-]{0,40}([?][a-z=&]{0,10})?";
    let size = prop_oneof![
        Just(0usize),
        1usize..50,
        900usize..5000,
        60_000usize..200_000
    ];
    let status = prop_oneof![Just(200u16), Just(201), Just(404), Just(503), Just(418)];
    (method, path, size, status, fields(), any::<bool>()).prop_map(
        move |(method, path, size, status, fields, trailing)| Message {
            method: if request {
                method.to_owned()
            } else {
                String::new()
            },
            path: if request { path } else { String::new() },
            status: if request { 0 } else { status },
            fields,
            body: (0..size).map(|at| (at % 253) as u8).collect(),
            // hyper sends trailers on HTTP/1 only when asked in ways that differ; see `run`.
            trailers: if trailing && size > 1000 {
                vec![("x-t".to_owned(), "1".to_owned())]
            } else {
                Vec::new()
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn libraries_understand_each_other_through_the_engine(
        pairs in prop::collection::vec((message(true), message(false)), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for front in [Protocol::H1, Protocol::H2] {
            for back in [Protocol::H1, Protocol::H2] {
                let mut expected = pairs.clone();
                for (asked, answered) in &mut expected {
                    // hyper's HTTP/1 server writes trailers only to clients that ask with TE,
                    // which does not cross to it here.
                    if back == Protocol::H1 {
                        answered.trailers.clear();
                    }
                    if front == Protocol::H1 && answered.trailers.is_empty() {
                        answered.trailers.clear();
                    }
                    asked.fields.sort();
                    answered.fields.sort();
                }
                let found = LocalSet::new().block_on(&runtime, run(front, back, &pairs));
                prop_assert_eq!(&expected, &found, "{:?} to {:?}", front, back);
            }
        }
    }
}

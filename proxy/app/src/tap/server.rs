//! Serves `io.linkerd.proxy.tap.Tap/Observe` to one identity.

use super::Taps;
use crate::control::grpc::{code, decode, encode};
use crate::drain::Drain;
use crate::http::body::Body;
use crate::http::server::{serve, Service};
use crate::http::{Broken, Version};
use crate::inbound::{ClientTls, Inbound};
use crate::net::socket::canonical;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use linkerd_proxy_api::convert::tap::condition;
use linkerd_proxy_api::tap::{observe_request, ObserveRequest, TapEvent};
use linkerd_proxy_core::identity::Id;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::debug;

const OBSERVE: &str = "/io.linkerd.proxy.tap.Tap/Observe";
const DETECT_TIMEOUT: Duration = Duration::from_secs(1);
/// No request to observe is longer.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// gRPC's UNAUTHENTICATED.
const UNAUTHENTICATED: u16 = 16;
/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u16 = 8;

/// The tap server.
pub struct Server {
    /// For TLS and settings.
    pub inbound: Arc<Inbound>,
    /// The only client that may watch.
    pub admitted: Id,
    /// Where watchers are kept.
    pub taps: Arc<Taps>,
}

impl Server {
    /// Accepts until the process ends.
    pub async fn run(self: Arc<Self>, listener: TcpListener, drain: Drain) {
        let stop = drain.signaled();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => return,
            };
            match accepted {
                Ok((tcp, client)) => {
                    let server = self.clone();
                    let drain = drain.clone();
                    tokio::spawn(async move {
                        let client = canonical(client);
                        if let Err(error) = server.connection(tcp, drain).await {
                            debug!(%client, %error, "tap connection failed");
                        }
                    });
                }
                Err(error) => {
                    debug!(%error, "failed to accept on the tap port");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, drain: Drain) -> io::Result<()> {
        let (io, tls) = self.inbound.accept_tls(tcp.into(), DETECT_TIMEOUT).await?;
        let settings = self.inbound.settings.inbound.server_http2;
        let tls = Arc::new(tls);
        let service: Service = Box::new(move |request| {
            let (server, tls) = (self.clone(), tls.clone());
            Box::pin(async move { Ok(server.handle(request, &tls).await) })
        });
        serve(io, Version::Http2, settings, drain, service)
            .await
            .map_err(io::Error::other)
    }

    async fn handle(&self, request: Request<Incoming>, tls: &ClientTls) -> Response<Body> {
        let admitted = matches!(tls, ClientTls::Mesh(Some(id)) if *id == self.admitted);
        if !admitted {
            return refused(UNAUTHENTICATED, "client is not the tap controller");
        }
        if request.uri().path() != OBSERVE {
            return refused(code::UNIMPLEMENTED, "unknown method");
        }
        let body = http_body_util::Limited::new(request.into_body(), REQUEST_BYTES_MAX);
        let Ok(body) = body.collect().await else {
            return refused(code::INVALID_ARGUMENT, "request is too long or broken");
        };
        let mut bytes = BytesMut::from(&body.to_bytes()[..]);
        let Ok(Some(request)) = decode::<ObserveRequest>(&mut bytes) else {
            return refused(code::INVALID_ARGUMENT, "request is malformed");
        };
        self.observe(request)
    }

    fn observe(&self, request: ObserveRequest) -> Response<Body> {
        use observe_request::extract::Extract;
        if request.limit == 0 {
            return refused(code::INVALID_ARGUMENT, "limit must be positive");
        }
        let condition = match condition(request.r#match) {
            Ok(condition) => condition,
            Err(error) => return refused(code::INVALID_ARGUMENT, &error.to_string()),
        };
        let extract = request.extract.and_then(|extract| extract.extract);
        let headers = matches!(extract, Some(Extract::Http(http)) if http.extract.is_some());
        let Some(events) = self.taps.watch(condition, request.limit, headers) else {
            return refused(RESOURCE_EXHAUSTED, "too many taps");
        };
        let stream = Stream {
            events,
            taps: Arc::downgrade(&self.taps),
            over: false,
        };
        grpc(Body::wrapped(stream))
    }
}

fn grpc(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

fn refused(code: u16, text: &str) -> Response<Body> {
    let mut response = grpc(Body::empty());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(text) = HeaderValue::from_str(text) {
        headers.insert("grpc-message", text);
    }
    response
}

/// Events as a response body; dropping it ends the watch.
struct Stream {
    events: mpsc::Receiver<TapEvent>,
    taps: Weak<Taps>,
    over: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.events.close();
        if let Some(taps) = self.taps.upgrade() {
            taps.tidy();
        }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.events.poll_recv(cx).map(|event| match event {
            Some(event) => Some(Ok(Frame::data(encode(&event)))),
            None => {
                self.over = true;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
        })
    }
}

//! One exchange that is watched, as events.

use super::Tap;
use crate::http::headers::Routed;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use linkerd_proxy_api::convert::tcp_addr_message;
use linkerd_proxy_api::http_types::{self, http_method, scheme};
use linkerd_proxy_api::tap::tap_event::http::{
    Event as Stage, RequestInit, ResponseEnd, ResponseInit, StreamId,
};
use linkerd_proxy_api::tap::tap_event::{EndpointMeta, Event, Http, ProxyDirection, RouteMeta};
use linkerd_proxy_api::tap::{eos, Eos, TapEvent};
use linkerd_proxy_core::tap;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// INTERNAL_ERROR of HTTP/2, for exchanges that end without a reason of their own.
const RESET_INTERNAL: u32 = 2;

/// What is known when a request passes.
pub struct View<'a> {
    /// Which way.
    pub direction: ProxyDirection,
    /// The client.
    pub source: SocketAddr,
    /// How it is encrypted.
    pub source_labels: Labels,
    /// The server.
    pub destination: SocketAddr,
    /// What it is, and how it is encrypted.
    pub destination_labels: Labels,
    /// Of the route.
    pub route_labels: Labels,
    /// The request, without its body.
    pub request: Routed<'a, ()>,
}

impl tap::Exchange for View<'_> {
    fn source(&self) -> SocketAddr {
        self.source
    }

    fn destination(&self) -> SocketAddr {
        self.destination
    }

    fn destination_label(&self, name: &str) -> Option<&str> {
        self.destination_labels.get(name).map(String::as_str)
    }

    fn route_label(&self, name: &str) -> Option<&str> {
        self.route_labels.get(name).map(String::as_str)
    }

    fn scheme(&self) -> Option<&str> {
        self.request.0.uri().scheme_str().or(Some("http"))
    }

    fn request(&self) -> &dyn linkerd_proxy_core::route::Request {
        &self.request
    }
}

/// An exchange and those who watch it.
pub struct Tapped {
    watching: Vec<(Arc<Tap>, StreamId)>,
    base: TapEvent,
    started: Instant,
    responded: Option<Instant>,
    bytes: u64,
    ended: bool,
}

impl Tapped {
    /// Shows the request.
    pub fn begin(taps: Vec<Arc<Tap>>, view: &View<'_>) -> Self {
        let base = TapEvent {
            source: Some(tcp_addr_message(view.source)),
            source_meta: Some(EndpointMeta {
                labels: view.source_labels.clone(),
            }),
            destination: Some(tcp_addr_message(view.destination)),
            destination_meta: Some(EndpointMeta {
                labels: view.destination_labels.clone(),
            }),
            proxy_direction: view.direction.into(),
            route_meta: (!view.route_labels.is_empty()).then(|| RouteMeta {
                labels: view.route_labels.clone(),
            }),
            event: None,
        };
        let id = |tap: Arc<Tap>| {
            let stream = tap.streams.fetch_add(1, Relaxed);
            let id = StreamId {
                base: tap.base,
                stream,
            };
            (tap, id)
        };
        let tapped = Self {
            watching: taps.into_iter().map(id).collect(),
            base,
            started: Instant::now(),
            responded: None,
            bytes: 0,
            ended: false,
        };
        tapped.show_request(view);
        tapped
    }

    fn show_request(&self, view: &View<'_>) {
        let request = view.request.0;
        let routed: &dyn linkerd_proxy_core::route::Request = &view.request;
        let authority = routed.authority().unwrap_or("").to_owned();
        let scheme = request.uri().scheme_str().unwrap_or("http").to_owned();
        self.show(|id, headers| {
            Stage::RequestInit(RequestInit {
                id: Some(id),
                method: Some(method(request.method())),
                scheme: Some(scheme_message(&scheme)),
                authority: authority.clone(),
                path: request.uri().path().to_owned(),
                headers: headers.then(|| {
                    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
                    let pseudo = [
                        (":method", request.method().as_str()),
                        (":scheme", &scheme),
                        (":authority", &authority),
                        (":path", path),
                    ];
                    message(&pseudo, request.headers())
                }),
            })
        });
    }

    /// Shows the response's head.
    pub fn head(&mut self, status: StatusCode, map: &HeaderMap) {
        let now = Instant::now();
        self.responded = Some(now);
        let since = duration(now - self.started);
        self.show(|id, headers| {
            Stage::ResponseInit(ResponseInit {
                id: Some(id),
                since_request_init: Some(since),
                http_status: status.as_u16().into(),
                headers: headers.then(|| message(&[(":status", status.as_str())], map)),
            })
        });
    }

    /// Notes bytes of the response.
    pub fn data(&mut self, n: usize) {
        self.bytes += n as u64;
    }

    /// Shows the end, with the gRPC status if there is one.
    pub fn end(&mut self, trailers: Option<&HeaderMap>, grpc: Option<u32>) {
        let end = grpc.map(|code| Eos {
            end: Some(eos::End::GrpcStatusCode(code)),
        });
        self.over(end, trailers);
    }

    /// Shows that it broke.
    pub fn fail(&mut self) {
        let end = Eos {
            end: Some(eos::End::ResetErrorCode(RESET_INTERNAL)),
        };
        self.over(Some(end), None);
    }

    fn over(&mut self, eos: Option<Eos>, trailers: Option<&HeaderMap>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = Instant::now();
        let since_response = self.responded.map(|at| duration(now - at));
        self.show(|id, headers| {
            Stage::ResponseEnd(ResponseEnd {
                id: Some(id),
                since_request_init: Some(duration(now - self.started)),
                since_response_init: since_response,
                response_bytes: self.bytes,
                eos,
                trailers: trailers.filter(|_| headers).map(|map| message(&[], map)),
            })
        });
    }

    fn show(&self, stage: impl Fn(StreamId, bool) -> Stage) {
        for (tap, id) in &self.watching {
            let event = TapEvent {
                event: Some(Event::Http(Http {
                    event: Some(stage(*id, tap.headers)),
                })),
                ..self.base.clone()
            };
            // Who reads too slowly misses it.
            let _ = tap.events.try_send(event);
        }
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        self.fail();
    }
}

fn method(method: &Method) -> http_types::HttpMethod {
    let known = http_method::Registered::from_str_name(method.as_str());
    http_types::HttpMethod {
        r#type: Some(match known {
            Some(known) => http_method::Type::Registered(known.into()),
            None => http_method::Type::Unregistered(method.to_string()),
        }),
    }
}

fn scheme_message(text: &str) -> http_types::Scheme {
    let kind = match text {
        "http" => scheme::Type::Registered(scheme::Registered::Http.into()),
        "https" => scheme::Type::Registered(scheme::Registered::Https.into()),
        other => scheme::Type::Unregistered(other.to_owned()),
    };
    http_types::Scheme { r#type: Some(kind) }
}

fn message(pseudo: &[(&str, &str)], map: &HeaderMap) -> http_types::Headers {
    let one = |name: &str, value: &[u8]| http_types::headers::Header {
        name: name.to_owned(),
        value: value.to_vec(),
    };
    let first = pseudo.iter().map(|(n, v)| one(n, v.as_bytes()));
    let rest = map
        .iter()
        .map(|(name, value)| one(name.as_str(), HeaderValue::as_bytes(value)));
    http_types::Headers {
        headers: first.chain(rest).collect(),
    }
}

fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: time.subsec_nanos() as i32,
    }
}

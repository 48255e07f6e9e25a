//! Liveness, readiness, metrics, log level and shutdown on the admin port.

use crate::drain::Drain;
use crate::http::body::Body;
use crate::http::detect::{detect, Detected};
use crate::http::headers::{self, Routed};
use crate::http::server::{serve, Service};
use crate::http::Version;
use crate::inbound::{audit, Accepted, ClientTls, Inbound};
use crate::log::Level;
use crate::net::io::Io;
use crate::net::socket::canonical;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use crate::telemetry::short_meta;
use flate2::write::GzEncoder;
use flate2::Compression;
use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use linkerd_proxy_core::server::Verdict;
use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::{debug, info};

const DETECT_TIMEOUT: Duration = Duration::from_secs(1);
/// No log filter is longer.
const FILTER_BYTES_MAX: usize = 64 * 1024;

/// The admin server.
pub struct Admin {
    /// For policy, TLS, metrics and settings.
    pub inbound: Arc<Inbound>,
    /// The log filter.
    pub level: Level,
    /// Asks the process to end.
    pub shutdown: mpsc::Sender<()>,
}

impl Admin {
    /// Accepts until the process ends; a drain is no reason to go blind.
    pub async fn run(self: Arc<Self>, listener: TcpListener, drain: Drain) {
        let drain = Arc::new(drain);
        loop {
            match listener.accept().await {
                Ok((tcp, client)) => {
                    let admin = self.clone();
                    let drain = drain.clone();
                    tokio::spawn(
                        async move { admin.connection(tcp, canonical(client), drain).await },
                    );
                }
                Err(error) => {
                    debug!(%error, "failed to accept on the admin port");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, client: SocketAddr, drain: Arc<Drain>) {
        if let Err(error) = self.serve(tcp, client, &drain).await {
            debug!(%client, %error, "admin connection failed");
        }
    }

    async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        client: SocketAddr,
        drain: &Drain,
    ) -> io::Result<()> {
        let local = canonical(tcp.local_addr()?);
        let (mut io, tls): (Io, ClientTls) =
            self.inbound.accept_tls(tcp.into(), DETECT_TIMEOUT).await?;
        let accepted = Arc::new(Accepted {
            client,
            target: local,
            tls,
            policy: self.inbound.policies.get(local.port()),
        });
        io = io.metered(self.inbound.source_transport(&accepted).open());
        let version = match detect(&mut io, DETECT_TIMEOUT).await? {
            Detected::Http(version) => version,
            Detected::TimedOut if matches!(accepted.tls, ClientTls::Mesh(_)) => Version::Http2,
            Detected::TimedOut => Version::Http1,
            Detected::NotHttp | Detected::Closed => return Ok(()),
        };
        let settings = self.inbound.settings.inbound.server_http2;
        let service: Service = Box::new(move |request| {
            let (admin, accepted) = (self.clone(), accepted.clone());
            Box::pin(async move { Ok(admin.handle(request, &accepted).await) })
        });
        serve(io, version, settings, drain.clone(), service)
            .await
            .map_err(io::Error::other)
    }

    /// Answers what the port's policy admits, counted as the requests of applications are.
    async fn handle(&self, mut request: Request<Incoming>, accepted: &Accepted) -> Response<Body> {
        let carried = headers::downgrade_orig_proto(&mut request).is_some();
        let policy = accepted.policy.borrow().clone();
        let (client, tls) = (accepted.client, &accepted.tls);
        let metrics = &self.inbound.metrics;
        let verdict = policy.check(&Routed(&request), client.ip(), &tls.peer());
        let mut response = match verdict {
            Verdict::Allow {
                route,
                authorization,
                ..
            } => {
                let (route, by) = (&policy.routes[route].meta, &authorization.meta);
                let [endpoint, admitted] = accepted.admitted_labels(&policy, route, by);
                metrics.http_allow.get(&admitted).add(1);
                audit(&by.name, client, accepted.target, tls);
                let endpoint = Arc::new(HttpMetrics::new(metrics, endpoint));
                let mut exchange = Exchange::begin(endpoint, false);
                let response = self.route(request, client).await;
                exchange.head(response.status().as_u16(), None);
                exchange.end();
                response
            }
            Verdict::Deny { route } => {
                let route = short_meta("route", &policy.routes[route].meta);
                let labels = accepted.server_labels(&policy).and(&route);
                metrics.http_deny.get(&labels.and(&tls.labels())).add(1);
                info!(%client, tls = tls.labels().as_str(), "Request denied");
                text(StatusCode::FORBIDDEN, "")
            }
            Verdict::NoRoute => {
                let labels = accepted.server_labels(&policy).and(&tls.labels());
                metrics.http_no_route.get(&labels).add(1);
                text(StatusCode::NOT_FOUND, "")
            }
        };
        if carried {
            response
                .headers_mut()
                .insert(headers::ORIG_PROTO, HeaderValue::from_static("HTTP/1.1"));
        }
        response
    }

    async fn route(&self, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
        let get = *request.method() == Method::GET;
        match request.uri().path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" if self.inbound.tls.is_ready() => text(StatusCode::OK, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" if get => {
                let accepted = request.headers().get_all(ACCEPT_ENCODING).iter();
                let gzip = accepted
                    .filter_map(|value| value.to_str().ok())
                    .any(|value| value.contains("gzip"));
                metrics_page(&self.inbound.metrics.render(), gzip)
            }
            "/proxy-log-level" if client.ip().is_loopback() => self.log_level(request).await,
            "/shutdown" => self.shut_down(&request, client),
            // The environment may hold secrets of the pod.
            "/env.json" if !client.ip().is_loopback() => only_local(),
            "/env.json" if get && !takes_json(&request) => text(StatusCode::NOT_ACCEPTABLE, ""),
            "/env.json" if get => env_json(request.uri().query()),
            "/metrics" | "/env.json" => text(StatusCode::METHOD_NOT_ALLOWED, ""),
            "/proxy-log-level" => only_local(),
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }

    fn shut_down(&self, request: &Request<Incoming>, client: SocketAddr) -> Response<Body> {
        if *request.method() != Method::POST {
            return not_allowed("POST");
        }
        if !self.inbound.settings.shutdown_endpoint {
            return text(StatusCode::NOT_FOUND, "shutdown endpoint is not enabled\n");
        }
        if !client.ip().is_loopback() {
            return only_local();
        }
        // A full channel means that a shutdown is under way already.
        let _ = self.shutdown.try_send(());
        text(StatusCode::OK, "shutdown\n")
    }

    async fn log_level(&self, request: Request<Incoming>) -> Response<Body> {
        match *request.method() {
            Method::GET => match self.level.current() {
                Some(filter) => text(StatusCode::OK, &filter),
                None => text(StatusCode::NOT_FOUND, ""),
            },
            Method::PUT => {
                let body = http_body_util::Limited::new(request.into_body(), FILTER_BYTES_MAX);
                let Ok(body) = body.collect().await else {
                    return text(StatusCode::BAD_REQUEST, "body is too long or broken\n");
                };
                let bytes = body.to_bytes();
                let filter = String::from_utf8_lossy(&bytes);
                match self.level.set(filter.trim()) {
                    Ok(()) => text(StatusCode::NO_CONTENT, ""),
                    Err(Some(reason)) => text(StatusCode::BAD_REQUEST, &reason),
                    Err(None) => text(StatusCode::NOT_FOUND, ""),
                }
            }
            _ => not_allowed("GET, PUT"),
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(body.to_owned()));
    *response.status_mut() = status;
    if !body.is_empty() {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn only_local() -> Response<Body> {
    text(
        StatusCode::FORBIDDEN,
        "Requests are only permitted from localhost.",
    )
}

/// Whether the client can do with JSON.
fn takes_json(request: &Request<Incoming>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted
            .filter_map(|value| value.to_str().ok())
            .any(|value| {
                ["application/json", "application/*", "*/*"]
                    .iter()
                    .any(|one| value.contains(one))
            })
}

/// The metrics, compressed if the client likes.
fn metrics_page(page: &str, gzip: bool) -> Response<Body> {
    let packed = gzip.then(|| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder
            .write_all(page.as_bytes())
            .and_then(|()| encoder.finish())
    });
    let mut response = match packed {
        Some(Ok(packed)) => {
            let mut response = Response::new(Body::full(packed));
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
            response
        }
        Some(Err(_)) | None => Response::new(Body::full(page.to_owned())),
    };
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The environment, or the named variables, as a JSON object.
fn env_json(query: Option<&str>) -> Response<Body> {
    let query = query.unwrap_or("");
    if query.contains('=') {
        return text(StatusCode::BAD_REQUEST, "names take no values\n");
    }
    let names: Vec<&str> = query.split('&').filter(|name| !name.is_empty()).collect();
    let mut out = String::from("{");
    let mut vars: Vec<(String, String)> = if names.is_empty() {
        std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect()
    } else {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect()
    };
    vars.sort();
    for (i, (name, value)) in vars.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        json_string(&mut out, name);
        out.push(':');
        json_string(&mut out, value);
    }
    out.push('}');
    let mut response = Response::new(Body::full(out));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::json_string;

    #[test]
    fn text_is_escaped_for_json() {
        let mut out = String::new();
        json_string(&mut out, "a\"b\\c\nd\u{1}");
        assert_eq!(r#""a\"b\\c\nd\u0001""#, out);
    }
}

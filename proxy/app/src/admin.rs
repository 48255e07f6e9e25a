//! Liveness, readiness, metrics, logs, log level and shutdown on the admin port.
//!
//! Source: linkerd2-proxy linkerd/app/admin/src/server.rs (paths, texts, who may ask).

mod pages;

use crate::drain::Drain;
use crate::http::body::Body;
use crate::http::detect::{detect, Detected};
use crate::http::headers::{self, Routed};
use crate::http::server::{serve, Service};
use crate::http::Version;
use crate::inbound::{audit, Accepted, ClientTls, Inbound};
use crate::log::stream::Refused;
use crate::log::Log;
use crate::net::io::Io;
use crate::net::socket::canonical;
use crate::telemetry::exchange::{Exchange, HttpMetrics};
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use linkerd_proxy_core::server::Verdict;
use pages::{
    env_json, json, json_error, metrics_page, not_acceptable, not_allowed, only_local, takes_json,
    text,
};
use std::io;
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
    /// The log filter, and who else reads the log.
    pub log: Log,
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
                // What probes hear of a proxy that is not ready yet is no failure of its workload.
                let ready = self.inbound.tls.is_ready();
                let mut exchange = ready.then(|| Exchange::begin(endpoint, false));
                let response = self.route(request, client).await;
                if let Some(exchange) = &mut exchange {
                    exchange.head(response.status().as_u16(), None);
                    exchange.end();
                }
                response
            }
            Verdict::Deny { route } => {
                accepted.count_denied(metrics, &policy, route);
                info!(%client, tls = tls.labels().as_str(), "Request denied");
                text(StatusCode::FORBIDDEN, "")
            }
            Verdict::NoRoute => {
                accepted.count_unrouted(metrics, &policy);
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
        let local = client.ip().is_loopback();
        match request.uri().path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" if self.inbound.tls.is_ready() => text(StatusCode::OK, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" => {
                let accepted = request.headers().get_all(ACCEPT_ENCODING).iter();
                let gzip = accepted
                    .filter_map(|value| value.to_str().ok())
                    .any(|value| value.contains("gzip"));
                metrics_page(&self.inbound.metrics.render(), gzip)
            }
            "/shutdown" => self.shut_down(&request, local),
            // The log and the environment may hold secrets of the pod.
            "/proxy-log-level" | "/logs.json" | "/env.json" if !local => only_local(),
            "/proxy-log-level" => self.log_level(request).await,
            "/logs.json" => self.logs(request).await,
            "/env.json" if !get => not_allowed("GET"),
            "/env.json" if !takes_json(&request) => not_acceptable(),
            "/env.json" => env_json(request.uri().query(), std::env::vars_os()),
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }

    fn shut_down(&self, request: &Request<Incoming>, local: bool) -> Response<Body> {
        if *request.method() != Method::POST {
            return not_allowed("POST");
        }
        if !local {
            return only_local();
        }
        if !self.inbound.settings.shutdown_endpoint {
            return text(StatusCode::NOT_FOUND, "shutdown endpoint is not enabled\n");
        }
        // A full channel means that a shutdown is under way already.
        let _ = self.shutdown.try_send(());
        text(StatusCode::OK, "shutdown\n")
    }

    async fn log_level(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(level) = self.log.level() else {
            return text(StatusCode::NOT_FOUND, "");
        };
        match *request.method() {
            Method::GET => text(StatusCode::OK, &level),
            Method::PUT => {
                let Some(filter) = read_filter(request).await else {
                    return text(StatusCode::BAD_REQUEST, "body is too long or broken\n");
                };
                match self.log.set_level(&filter) {
                    Ok(()) => text(StatusCode::NO_CONTENT, ""),
                    Err(reason) => text(StatusCode::BAD_REQUEST, &reason),
                }
            }
            _ => not_allowed("GET, PUT"),
        }
    }

    /// Events as they happen, until the client has had enough.
    async fn logs(&self, request: Request<Incoming>) -> Response<Body> {
        let bad = |problem: &str| json_error(StatusCode::BAD_REQUEST, problem);
        if !self.log.is_on() {
            return text(StatusCode::NOT_FOUND, "");
        }
        if !takes_json(&request) {
            return not_acceptable();
        }
        let filter = match request.method().as_str() {
            "GET" => match request.uri().query() {
                Some(query) => query.to_owned(),
                None => return bad("Missing query string for log-streaming filter"),
            },
            "QUERY" => match read_filter(request).await {
                Some(filter) => filter,
                None => return bad("body is too long or broken"),
            },
            _ => return not_allowed("GET, QUERY"),
        };
        match self.log.read(&filter) {
            Ok(reader) => json(reader.map_or_else(Body::empty, Body::wrapped)),
            Err(problem @ Refused::Filter(_)) => bad(&problem.to_string()),
            Err(problem @ Refused::TooMany) => {
                json_error(StatusCode::SERVICE_UNAVAILABLE, &problem.to_string())
            }
        }
    }
}

/// The body as text; `None` when it is too long for a filter, or broken.
async fn read_filter(request: Request<Incoming>) -> Option<String> {
    let body = http_body_util::Limited::new(request.into_body(), FILTER_BYTES_MAX);
    let bytes = body.collect().await.ok()?.to_bytes();
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

//! Serves requests to the proxy itself.

use super::body::Body;
use super::{Broken, Version};
use crate::drain::Drain;
use crate::net::io::Io;
use crate::settings::Http2;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::pin::{pin, Pin};

/// The least that the library takes as a limit of HTTP/1 heads.
const HEAD_BYTES_MIN: usize = 8 * 1024;
/// Streams that one peer may have open when no setting says otherwise.
const STREAMS_MAX: u32 = 10_000;

/// The answer to one request.
///
/// One allocation per request buys independence from the handlers' types.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Broken>> + Send>>;

/// Answers the requests of one connection.
pub type Service = Box<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// Serves until the client is done or the proxy drains.
///
/// # Errors
/// The connection's.
pub async fn serve(
    io: Io,
    version: Version,
    settings: Http2,
    drain: Drain,
    service: Service,
) -> Result<(), Broken> {
    let service = service_fn(service);
    let io = TokioIo::new(io);
    let stop = drain.signaled();
    match version {
        Version::Http1 => {
            let connection = http1::Builder::new()
                .max_buf_size((settings.head_bytes as usize).max(HEAD_BYTES_MIN))
                .serve_connection(io, service)
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                done = connection.as_mut() => return done.map_err(Broken::from),
                () = stop => connection.as_mut().graceful_shutdown(),
            }
            connection.await.map_err(Broken::from)
        }
        Version::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(settings.stream_window)
                .initial_connection_window_size(settings.connection_window)
                .max_header_list_size(settings.head_bytes)
                .max_concurrent_streams(settings.max_concurrent_streams.unwrap_or(STREAMS_MAX));
            if settings.adaptive {
                builder.adaptive_window(true);
            }
            if let Some((interval, timeout)) = settings.keep_alive {
                builder
                    .keep_alive_interval(interval)
                    .keep_alive_timeout(timeout);
            }
            let connection = builder.serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                done = connection.as_mut() => return done.map_err(Broken::from),
                () = stop => connection.as_mut().graceful_shutdown(),
            }
            connection.await.map_err(Broken::from)
        }
    }
}

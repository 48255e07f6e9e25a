//! Sends requests to one endpoint: pooled HTTP/1 connections and one shared HTTP/2 connection.

use super::body::Body;
use crate::net::connect::Connector;
use crate::settings::Http2;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use linkerd_proxy_core::failure::Failure;
use linkerd_proxy_core::transport_header::Session;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tracing::debug;

/// Bounds of the HTTP/1 pool.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Idle connections kept.
    pub max_idle: usize,
    /// How long.
    pub idle_timeout: Duration,
}

/// A client of one endpoint.
pub struct HttpClient {
    connector: Connector,
    settings: Http2,
    pool: Pool,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Option<http2::SendRequest<Body>>>,
    dialing: tokio::sync::Mutex<()>,
    /// Whether a task watches the idle connections; changed only with `idle` locked.
    reaping: AtomicBool,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

/// Why a request got no response.
pub enum SendError {
    /// It never left: it may go elsewhere.
    Unsent(Failure, Box<Request<Body>>),
    /// The connection broke under way.
    Broken(hyper::Error),
}

/// An HTTP/1 connection on loan until its response has ended.
pub struct Pooled {
    sender: http1::SendRequest<Body>,
    client: Weak<HttpClient>,
}

impl Pooled {
    /// Makes the connection available again.
    pub fn give_back(self) {
        if let Some(client) = self.client.upgrade() {
            client.check_in(self.sender);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpClient {
    /// Connects on first use.
    pub fn new(connector: Connector, settings: Http2, pool: Pool) -> Arc<Self> {
        Arc::new(Self {
            connector,
            settings,
            pool,
            idle: Mutex::default(),
            shared: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
            reaping: AtomicBool::new(false),
        })
    }

    /// How the endpoint is reached.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends over HTTP/1, on a connection of its own when `reuse` is false.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_http1(
        self: &Arc<Self>,
        mut request: Request<Body>,
        reuse: bool,
    ) -> Result<(Response<Incoming>, Option<Pooled>), SendError> {
        loop {
            let pooled = if reuse { self.check_out().await } else { None };
            let reused = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => match self.dial_http1().await {
                    Ok(sender) => sender,
                    Err(failure) => return Err(SendError::Unsent(failure, Box::new(request))),
                },
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let pooled = reuse.then(|| Pooled {
                        sender,
                        client: Arc::downgrade(self),
                    });
                    return Ok((response, pooled));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    Some(unsent) => return Err(SendError::Unsent(Failure::Io, Box::new(unsent))),
                    None => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
    }

    /// Sends over the shared HTTP/2 connection.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_http2(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, SendError> {
        // The connection may end between looking and sending; a second time is a real failure.
        for last in [false, true] {
            let mut sender = match self.shared_sender().await {
                Ok(sender) => sender,
                Err(failure) => return Err(SendError::Unsent(failure, Box::new(request))),
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if last => {
                        return Err(SendError::Unsent(Failure::Io, Box::new(unsent)))
                    }
                    Some(unsent) => {
                        self.forget_closed();
                        request = unsent;
                    }
                    None => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
        unreachable!("the second pass returns")
    }

    /// Makes sure that the endpoint can be reached, keeping the connection for requests.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn probe(self: &Arc<Self>, http2: bool) -> Result<(), Failure> {
        if http2 {
            self.shared_sender().await.map(|_| ())
        } else {
            let sender = self.dial_http1().await?;
            self.check_in(sender);
            Ok(())
        }
    }

    fn forget_closed(&self) {
        let mut shared = lock(&self.shared);
        if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *shared = None;
        }
    }

    fn live_shared(&self) -> Option<http2::SendRequest<Body>> {
        lock(&self.shared)
            .as_ref()
            .filter(|sender| !sender.is_closed())
            .cloned()
    }

    async fn shared_sender(&self) -> Result<http2::SendRequest<Body>, Failure> {
        if let Some(sender) = self.live_shared() {
            return Ok(sender);
        }
        let _dialing = self.dialing.lock().await;
        if let Some(sender) = self.live_shared() {
            return Ok(sender);
        }
        let io = self.connector.connect(Some(Session::Http2)).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.settings.stream_window)
            .initial_connection_window_size(self.settings.connection_window);
        if self.settings.adaptive {
            builder.adaptive_window(true);
        }
        if let Some((interval, timeout)) = self.settings.keep_alive {
            builder
                .keep_alive_interval(interval)
                .keep_alive_while_idle(self.settings.ping_idle)
                .keep_alive_timeout(timeout);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(|_| Failure::Connect)?;
        let addr = self.connector.addr;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%addr, %error, "connection ended");
            }
        });
        *lock(&self.shared) = Some(sender.clone());
        Ok(sender)
    }

    async fn dial_http1(&self) -> Result<http1::SendRequest<Body>, Failure> {
        let io = self.connector.connect(Some(Session::Http1)).await?;
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(io))
            .await
            .map_err(|_| Failure::Connect)?;
        let addr = self.connector.addr;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%addr, %error, "connection ended");
            }
        });
        Ok(sender)
    }

    async fn check_out(&self) -> Option<http1::SendRequest<Body>> {
        loop {
            let mut idle = lock(&self.idle).pop()?;
            if idle.sender.is_ready() {
                return Some(idle.sender);
            }
            // Its task may have yet to notice that the last exchange is over.
            if !idle.sender.is_closed() && idle.sender.ready().await.is_ok() {
                return Some(idle.sender);
            }
        }
    }

    fn check_in(self: &Arc<Self>, sender: http1::SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() >= self.pool.max_idle {
            return;
        }
        idle.push(Idle {
            sender,
            since: Instant::now(),
        });
        if !self.reaping.swap(true, Relaxed) {
            tokio::spawn(reap(Arc::downgrade(self), self.pool.idle_timeout));
        }
    }
}

/// Closes idle connections after their time; ends when none is left.
async fn reap(client: Weak<HttpClient>, timeout: Duration) {
    loop {
        tokio::time::sleep(timeout.max(Duration::from_millis(100))).await;
        let Some(client) = client.upgrade() else {
            return;
        };
        let mut idle = lock(&client.idle);
        idle.retain(|one| one.since.elapsed() < timeout && !one.sender.is_closed());
        if idle.is_empty() {
            client.reaping.store(false, Relaxed);
            return;
        }
    }
}

/// Whether the peer reset one HTTP/2 stream, which is passed on rather than answered.
pub fn is_stream_error(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return h2.is_reset();
        }
        source = cause.source();
    }
    false
}

//! One replica of a part of the control plane.

use crate::http::body::Body;
use crate::net::io::{Io, Socket};
use crate::net::socket::{connect, Options};
use crate::net::tls::MeshTls;
use crate::settings::ControlAddr;
use bytes::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use linkerd_proxy_core::endpoint::ServerTls;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::debug;

const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a replica that failed is the last to be asked.
const PENALTY: Duration = Duration::from_secs(5);
/// A call that was given up after this without an answer speaks against its replica.
const PATIENCE: Duration = Duration::from_secs(1);

/// A replica, with its connection if there is one.
pub struct Replica {
    addr: SocketAddr,
    connection: tokio::sync::Mutex<Option<SendRequest<Body>>>,
    open: AtomicU32,
    shunned: Mutex<Option<Instant>>,
}

impl Replica {
    /// Connects on first use.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            connection: tokio::sync::Mutex::new(None),
            open: AtomicU32::new(0),
            shunned: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Calls and streams that are open.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    fn shunned(&self) -> MutexGuard<'_, Option<Instant>> {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has not failed lately.
    pub fn is_well(&self) -> bool {
        self.shunned().is_none_or(|until| until <= Instant::now())
    }

    /// Notes that it cannot be reached or does not answer.
    pub fn failed(&self) {
        *self.shunned() = Some(Instant::now() + PENALTY);
        if let Ok(mut connection) = self.connection.try_lock() {
            // Its open streams end when they time out; new ones get a new connection.
            *connection = None;
        }
    }

    /// The live connection, or a new one.
    ///
    /// # Errors
    /// The socket's, or the handshake's.
    pub async fn sender(
        &self,
        target: &ControlAddr,
        tls: &MeshTls,
        timeout: Duration,
        options: Options,
    ) -> io::Result<SendRequest<Body>> {
        let mut slot = self.connection.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        *slot = None;
        let io = self.dial(target, tls, timeout, options).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(1 << 16)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let addr = self.addr;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%addr, %error, "control plane connection ended");
            }
        });
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn dial(
        &self,
        target: &ControlAddr,
        tls: &MeshTls,
        timeout: Duration,
        options: Options,
    ) -> io::Result<Io> {
        // The control plane deserves more patience than an endpoint that has equals.
        let tcp = connect(self.addr, timeout.max(Duration::from_secs(1)), options).await?;
        let Some(id) = &target.identity else {
            return Ok(tcp.into());
        };
        let server = ServerTls {
            id: id.clone(),
            server_name: id.to_string(),
        };
        let handshake = tls.connect(Socket::new(tcp, Bytes::new()), &server, &[]);
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "tls handshake timed out");
        let done = tokio::time::timeout(Duration::from_secs(10), handshake);
        let (io, _) = done.await.map_err(late)??;
        Ok(io)
    }
}

/// A call or stream that counts as load of its replica until dropped.
pub struct Call {
    replica: Arc<Replica>,
    began: Instant,
    answered: AtomicBool,
}

impl Call {
    /// Counts from now on.
    pub fn to(replica: Arc<Replica>) -> Self {
        replica.open.fetch_add(1, Relaxed);
        Self {
            replica,
            began: Instant::now(),
            answered: AtomicBool::new(false),
        }
    }

    /// Notes that the replica is alive.
    pub fn answered(&self) {
        self.answered.store(true, Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.replica.open.fetch_sub(1, Relaxed);
        if !self.answered.load(Relaxed) && self.began.elapsed() >= PATIENCE {
            self.replica.failed();
        }
    }
}

//! Accepts connections, and sheds those for which there are no descriptors.
//!
//! Each carried connection needs two descriptors, so as many are admitted as leave a reserve. The
//! others are told 503, if they speak HTTP, and closed, so that clients learn at once and the listener
//! never runs dry.

use crate::drain::Drain;
use crate::net::io::{Io, Peeked, Seat};
use crate::net::socket::canonical;
use linkerd_proxy_core::detect::{http, Http};
use rustix::process::{getrlimit, setrlimit, Resource};
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{info, warn};

/// Pause after the kernel refuses to accept for another reason than descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// Descriptors for listeners, the control plane, the admin server and refusals.
const RESERVE: u64 = 64;
/// Refusals that are being told.
const REFUSALS_MAX: usize = 16;
/// How long a refused client may take to show that it speaks HTTP.
const REFUSAL_TIME: Duration = Duration::from_millis(100);
const DETECT_BYTES_MAX: usize = 1024;
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\
    l5d-proxy-error: too many connections\r\nconnection: close\r\n\r\n";

/// How many connections the process can carry.
pub struct Room {
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Room {
    /// Raises the limit of descriptors as far as allowed and divides it up.
    pub fn of_process() -> Arc<Self> {
        let mut limit = getrlimit(Resource::Nofile);
        let mut raised = limit;
        raised.current = limit.maximum;
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
        let descriptors = limit.current.unwrap_or(u64::MAX);
        // At least some, whatever the limit: the kernel refuses what really does not fit.
        let connections = (descriptors.saturating_sub(RESERVE) / 2).max(8);
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        info!(descriptors, connections, "connections are limited");
        Arc::new(Self::new(connections))
    }

    fn new(connections: usize) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// A seat for a connection that came as a stream, while there is one.
    pub fn seat(&self) -> Option<Seat> {
        self.connections.clone().try_acquire_owned().ok()
    }

    fn refuse(&self, tcp: TcpStream) {
        let Ok(turn) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            // Whoever does not listen is closed all the same.
            let _ = tell(tcp).await;
            drop(turn);
        });
    }
}

/// Answers HTTP/1 with a refusal and everything else with silence.
async fn tell(tcp: TcpStream) -> io::Result<()> {
    let mut io = Io::from(tcp);
    let decide = |bytes: &[u8]| match http(bytes) {
        Http::Incomplete => None,
        Http::Http1 => Some(true),
        Http::Http2 | Http::NotHttp => Some(false),
    };
    let seen = io.peek_within(REFUSAL_TIME, DETECT_BYTES_MAX, decide);
    if matches!(seen.await?, Peeked::Answer(true)) {
        io.write_all(REFUSAL).await?;
        io.shutdown().await?;
    }
    Ok(())
}

/// Accepts until the proxy drains and hands each connection with its seat to `serve`.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    drain: &Drain,
    room: &Room,
    serve: impl Fn(TcpStream, SocketAddr, Seat) -> F,
) {
    let stop = drain.signaled();
    tokio::pin!(stop);
    let mut spare = spare();
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => return,
        };
        match accepted {
            Ok((tcp, client)) => match room.connections.clone().try_acquire_owned() {
                Ok(seat) => {
                    full = false;
                    tokio::spawn(serve(tcp, canonical(client), seat));
                }
                Err(_) => {
                    if !std::mem::replace(&mut full, true) {
                        warn!("too many connections, new ones are refused");
                    }
                    room.refuse(tcp);
                }
            },
            Err(error) if is_exhausted(&error) => {
                // Giving the spare descriptor up makes room to take one connection off the queue.
                drop(spare.take());
                if let Ok((tcp, _)) = listener.accept().await {
                    drop(tcp);
                }
                spare = self::spare();
                if spare.is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
                if !std::mem::replace(&mut full, true) {
                    warn!(%error, "new connections are refused");
                }
            }
            Err(error) => {
                warn!(%error, "failed to accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether the process or the machine has no descriptor left.
pub fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::Drainer;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn connections_without_a_seat_are_refused_until_one_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let drainer = Drainer::new();
        let drain = drainer.watch();
        let accepting = tokio::spawn(async move {
            let room = Room::new(1);
            let serve = |mut tcp: TcpStream, _, seat: Seat| async move {
                let mut byte = [0];
                let _ = tcp.read(&mut byte).await;
                drop(seat);
                let _ = tcp.write_all(b"served").await;
            };
            accept(listener, &drain, &room, serve).await;
        });
        let answer = |bytes: &'static [u8]| async move {
            let mut tcp = TcpStream::connect(to).await.expect("connects");
            tcp.write_all(bytes).await.expect("sends");
            let mut answer = String::new();
            let _ = tcp.read_to_string(&mut answer).await;
            answer
        };
        let mut seated = TcpStream::connect(to).await.expect("connects");
        let refused = answer(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("l5d-proxy-error: "), "{refused}");
        assert_eq!("", answer(b"\x00\x01").await, "no HTTP, no words");
        seated.write_all(b"x").await.expect("sends");
        let mut served = String::new();
        seated.read_to_string(&mut served).await.expect("reads");
        assert_eq!(
            ("served".into(), "served".into()),
            (served, answer(b"x").await)
        );
        accepting.abort();
    }
}

//! Listening, connecting and finding out where a redirected connection was going.

use linkerd_proxy_intercept::users;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Options of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Time before the kernel probes an idle connection.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT.
    pub user_timeout: Option<Duration>,
}

/// Opens a listener. What it accepts has its options, as Linux hands them on.
///
/// # Errors
/// The kernel's, when the address cannot be bound.
pub fn listen(addr: SocketAddr, backlog: u32, options: Options) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    apply(&socket, options)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

fn apply(socket: &Socket, options: Options) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(time) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

/// Where `client` meant to connect before the kernel redirected it.
///
/// # Errors
/// When the connection was not redirected by this machine's rules.
pub fn original_dst(stream: &TcpStream, client: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let addr = match client.ip().to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4()?,
        IpAddr::V6(_) => socket.original_dst_v6()?,
    };
    addr.as_socket()
        .map(canonical)
        .ok_or_else(|| io::Error::other("original destination is not an IP address"))
}

/// An IPv4-mapped address as IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

async fn open(addr: SocketAddr) -> io::Result<TcpStream> {
    // Where only one user exists, the redirect rules know the proxy by its sockets' priority.
    static MARKED: LazyLock<bool> = LazyLock::new(|| {
        std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| users::one_user(&map))
    });
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if *MARKED && addr.is_ipv4() {
        SockRef::from(&socket).set_tos_v4(users::PROXY_TOS)?;
    }
    socket.connect(addr).await
}

/// Connects within `timeout`.
///
/// # Errors
/// The kernel's, or `TimedOut`.
pub async fn connect(
    addr: SocketAddr,
    timeout: Duration,
    options: Options,
) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(timeout, open(addr))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connect timed out"))??;
    apply(&SockRef::from(&stream), options)?;
    Ok(stream)
}

//! Opaque connections between two proxies of ours travel as streams of one connection, and nobody can
//! tell: neither applications, nor policies, nor a peer that does not know of it.

use std::io;
use std::time::Duration;

use linkerd_proxy_testkit::authority::Authority;
use linkerd_proxy_testkit::echo::Kind;
use linkerd_proxy_testkit::world::{Allow, Protocol, Server, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::fixture::*;
use crate::opaque::opaque_world;

/// The proxy's inbound port as the kernel prints it.
const INBOUND_HEX: &str = ":102F";
const LIMIT: Duration = Duration::from_secs(20);
/// A busy machine takes its time, and a dial that came too late would show as another connection.
const PATIENT: [(&str, &str); 2] = [
    ("OUTBOUND_CONNECT_TIMEOUT", "30s"),
    ("INBOUND_CONNECT_TIMEOUT", "30s"),
];
const WITHOUT: [(&str, &str); 3] = [PATIENT[0], PATIENT[1], ("OPAQUE_STREAMS", "false")];

fn start(world: World) -> Option<Mesh> {
    Mesh::start_with(world, Authority::generate(), &PATIENT)
}

impl Mesh {
    /// How many connections of peers the server's proxy has.
    fn carried(&self) -> usize {
        let table = self.server.namespace.run(|| {
            std::fs::read_to_string("/proc/thread-self/net/tcp").expect("procfs is mounted")
        });
        let of_peers = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().unwrap_or_default();
            local.ends_with(INBOUND_HEX) && words.nth(1) == Some("01")
        };
        table.lines().filter(of_peers).count()
    }

    /// Serves connections of the server's application by `talk`.
    fn serve_by<F>(&self, talk: impl Fn(TcpStream) -> F + Send + 'static)
    where
        F: std::future::Future<Output = ()> + Send + 'static,
    {
        let (ready, started) = std::sync::mpsc::channel();
        self.server.namespace.background(async move {
            let listener = TcpListener::bind(("0.0.0.0", PORT)).await.expect("free");
            let _ = ready.send(());
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(talk(socket));
            }
        });
        started.recv().expect("the application listens");
    }

    /// Runs the client's application.
    fn client<T: Send + 'static>(
        &self,
        work: impl std::future::Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let limited = async move { tokio::time::timeout(LIMIT, work).await? };
        self.client.namespace.block_on(None, limited)
    }

    /// Opens `count` connections that stay open while `look` looks, each after an echo.
    fn with_open(&self, count: usize, look: impl FnOnce()) {
        let (opened, open) = std::sync::mpsc::channel();
        let (done, end) = tokio::sync::oneshot::channel::<()>();
        let holder = self.client.namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let mut held = Vec::new();
                for _ in 0..count {
                    let mut socket = TcpStream::connect(SERVICE).await?;
                    held.push(echoed(&mut socket, b"hello").await.map(|()| socket)?);
                }
                let _ = opened.send(());
                let _ = end.await;
                io::Result::Ok(())
            })
        });
        open.recv_timeout(LIMIT).expect("connections are echoed");
        look();
        drop(done);
        holder
            .join()
            .expect("no panic")
            .expect("connections stay open");
    }
}

async fn echoed(socket: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    socket.write_all(text).await?;
    let mut back = vec![0; text.len()];
    tokio::time::timeout(LIMIT, socket.read_exact(&mut back)).await??;
    assert_eq!(text, back);
    Ok(())
}

/// The sum of a family's samples that have these labels: the first connections may have come before
/// the port's policy.
fn sum(page: &str, family: &str, labels: &str) -> u64 {
    page.lines()
        .filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'))
        .filter(|rest| rest.contains(labels))
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

#[test]
fn connections_between_two_proxies_of_ours_share_one() {
    let Some(mesh) = start(opaque_world()) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    mesh.with_open(5, || {
        assert_eq!(1, mesh.carried());
        let (client, server) = (mesh.client.metrics(), mesh.server.metrics());
        let of_server = format!("tls=\"true\",server_id=\"{SERVER_ID}\"");
        let of_client = format!("tls=\"true\",client_id=\"{CLIENT_ID}\"");
        for (page, labels) in [(&client, &of_server), (&server, &of_client)] {
            assert_eq!(5, sum(page, "tcp_open_connections", labels), "{page}");
            assert_eq!(25, sum(page, "tcp_read_bytes_total", labels), "{page}");
            assert_eq!(25, sum(page, "tcp_write_bytes_total", labels), "{page}");
        }
        assert!(
            server.contains("inbound_tcp_transport_header_connections_total{"),
            "{server}"
        );
    });
    eventually("closes are counted", || {
        5 == sum(&mesh.server.metrics(), "tcp_close_total", CLIENT_ID)
    });
}

#[test]
fn a_peer_that_knows_no_streams_gets_connections_and_may_take_the_place_of_one_that_does() {
    let own = proxy(SERVER_ID, SERVER_IP, &PATIENT);
    let stock = proxy(SERVER_ID, SERVER_IP, &WITHOUT);
    let client = proxy(CLIENT_ID, CLIENT_IP, &PATIENT);
    let Some(mut mesh) = Mesh::of(opaque_world(), Authority::generate(), &client, &stock) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    mesh.with_open(3, || assert_eq!(3, mesh.carried()));
    for (peer, expected) in [(&own, 1), (&stock, 3), (&own, 1)] {
        mesh.server.restart(&mesh.control, peer);
        mesh.with_open(3, || ());
        // The dial that found out may have been one of them.
        mesh.with_open(3, || {
            assert!((expected..=expected + 1).contains(&mesh.carried()))
        });
    }
}

#[test]
fn a_client_that_knows_no_streams_is_served() {
    let server = proxy(SERVER_ID, SERVER_IP, &PATIENT);
    let client = proxy(CLIENT_ID, CLIENT_IP, &WITHOUT);
    let Some(mesh) = Mesh::of(opaque_world(), Authority::generate(), &client, &server) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    mesh.with_open(2, || assert_eq!(2, mesh.carried()));
}

#[test]
fn half_a_connection_stays_open_either_way() {
    let Some(mesh) = start(opaque_world()) else {
        return;
    };
    // Ends its side first, and then takes what comes.
    mesh.serve_by(|mut socket| async move {
        let _ = socket.write_all(b"all of it").await;
        let _ = socket.shutdown().await;
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        assert_eq!(b"thanks"[..], rest);
    });
    let all = mesh.client(async {
        let mut socket = TcpStream::connect(SERVICE).await?;
        let mut all = String::new();
        socket.read_to_string(&mut all).await?;
        socket.write_all(b"thanks").await?;
        socket.shutdown().await?;
        Ok(all)
    });
    assert_eq!("all of it", all.expect("a whole answer"));
    eventually("it ended well", || {
        let page = mesh.server.metrics();
        page.lines().any(|line| {
            line.starts_with("tcp_close_total{")
                && line.contains(CLIENT_ID)
                && line.contains("errno=\"\"")
        })
    });
}

#[test]
fn a_reset_of_either_side_reaches_the_other() {
    let Some(mesh) = start(opaque_world()) else {
        return;
    };
    let (tell, told) = std::sync::mpsc::channel();
    mesh.serve_by(move |mut socket| {
        let tell = tell.clone();
        async move {
            let mut word = [0; 4];
            let _ = socket.read_exact(&mut word).await;
            if &word == b"die!" {
                let _ = socket.write_all(b"ok").await;
                let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                return;
            }
            let _ = socket.write_all(b"ok").await;
            let end = socket.read(&mut word).await;
            let _ = tell.send(end.err().is_some_and(|error| is_reset(&error)));
        }
    });
    let end = mesh.client(async {
        let mut socket = TcpStream::connect(SERVICE).await?;
        socket.write_all(b"die!").await?;
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await
    });
    assert!(end.is_err_and(|error| is_reset(&error)));
    let left = mesh.client(async {
        let mut socket = TcpStream::connect(SERVICE).await?;
        socket.write_all(b"live").await?;
        let mut answer = [0; 2];
        socket.read_exact(&mut answer).await?;
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))
    });
    left.expect("an answer");
    assert!(told.recv_timeout(LIMIT).expect("an end"));
}

#[test]
fn who_does_not_read_holds_back_his_own_connection_only() {
    let Some(mesh) = start(opaque_world()) else {
        return;
    };
    mesh.serve_by(|mut socket| async move {
        let mut word = [0; 4];
        let _ = socket.read_exact(&mut word).await;
        if &word == b"stop" {
            let () = std::future::pending().await;
        }
        let _ = socket.write_all(&word).await;
    });
    let sent = mesh.client(async {
        let (mut sent, mut stuck) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let mut socket = TcpStream::connect(SERVICE).await?;
            socket.write_all(b"stop").await?;
            let mut count = 0usize;
            let chunk = vec![7; 64 * 1024];
            // Nothing moves any more when nothing has moved for a second.
            while let Ok(written) =
                tokio::time::timeout(Duration::from_secs(1), socket.write(&chunk)).await
            {
                count += written?;
            }
            sent.push(count);
            stuck.push(socket);
        }
        let mut free = TcpStream::connect(SERVICE).await?;
        echoed(&mut free, b"free").await?;
        Ok(sent)
    });
    for count in sent.expect("others go on") {
        // What the kernel holds on both sides, and the window.
        assert!(count < 64 << 20, "{count}");
    }
}

#[test]
fn an_open_connection_ends_when_its_permission_does() {
    let world = |allow| {
        opaque_world().server(
            Server::new(PORT, "db")
                .protocol(Protocol::Opaque)
                .allow(allow),
        )
    };
    let Some(mesh) = start(world(Allow::All)) else {
        return;
    };
    mesh.server.serve(PORT, Kind::Tcp);
    let (opened, open) = std::sync::mpsc::channel();
    let client = mesh.client.namespace.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let mut socket = TcpStream::connect(SERVICE).await?;
            echoed(&mut socket, b"hello").await?;
            let _ = opened.send(());
            tokio::time::timeout(LIMIT, socket.read_u8()).await?
        })
    });
    open.recv_timeout(LIMIT).expect("the connection is open");
    mesh.control.set(world(Allow::Nobody));
    assert!(client.join().expect("no panic").is_err());
    eventually("it is counted", || {
        let page = mesh.server.metrics();
        page.contains("inbound_tcp_authz_terminate_total{")
    });
}

#[test]
fn an_application_that_is_not_there_ends_its_connection_only() {
    let Some(mesh) = start(opaque_world()) else {
        return;
    };
    let refused = mesh.client(async {
        let mut socket = TcpSocket::new_v4()?
            .connect(SERVICE.parse().expect("literal"))
            .await?;
        socket.read_u8().await
    });
    assert!(refused.is_err());
    mesh.server.serve(PORT, Kind::Tcp);
    mesh.with_open(1, || assert_eq!(1, mesh.carried()));
}

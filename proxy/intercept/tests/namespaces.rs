//! The rules in real network namespaces: what is redirected, what passes, what a second run leaves.
//!
//! Needs root; each test thread moves into a namespace of its own, which ends with the thread.
//! Covers IPv4 only, the machine that runs it may have no IPv6.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::net::sockopt::ip_original_dst;
use rustix::thread::{move_into_link_name_space, LinkNameSpaceType, UnshareFlags};

const PROXY_UID: u32 = 2102;
const FLAGS: &str = "--incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 \
                     --inbound-ports-to-ignore 4190,5000-5010 --outbound-ports-to-ignore 6000 --log-level error";

fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .expect("program exists");
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn init(flags: &str) -> ExitCode {
    linkerd_proxy_intercept::main(flags.split_whitespace().map(str::to_owned))
}

/// Answers each connection with its own port and the connection's original destination.
fn serve(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("port is free in a new namespace");
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").expect("procfs is mounted");
    std::thread::spawn(move || {
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(LinkNameSpaceType::Network),
        )
        .expect("root may enter a namespace");
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept works");
            let original = ip_original_dst(&stream)
                .ok()
                .map_or_else(|| stream.local_addr().expect("connected"), SocketAddr::V4);
            let _ = stream.write_all(format!("{port} {original}").as_bytes());
        }
    });
}

fn ask(to: &str) -> String {
    let address: SocketAddrV4 = to.parse().expect("a literal address");
    let mut stream = match TcpStream::connect_timeout(&address.into(), Duration::from_secs(5)) {
        Ok(stream) => stream,
        Err(error) => return error.kind().to_string(),
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a positive timeout");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the server answers and closes");
    answer
}

/// Moves this thread into a fresh network namespace.
// Only unsharing the descriptor table is unsafe, and with it the whole call became deprecated.
#[allow(deprecated)]
fn new_namespace() {
    rustix::thread::unshare(UnshareFlags::NEWNET).expect("root may make a namespace");
}

/// Runs `test` on a thread in a fresh pod-like namespace: 10.9.0.2 with a peer namespace at 10.9.0.1.
fn in_pod(test: fn(peer: std::fs::File)) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::thread::spawn(move || {
        new_namespace();
        run("ip link set lo up");
        let pod = std::fs::File::open("/proc/thread-self/ns/net").expect("procfs is mounted");
        let peer = std::thread::spawn(move || {
            new_namespace();
            run("ip link set lo up");
            std::fs::File::open("/proc/thread-self/ns/net").expect("procfs is mounted")
        });
        let peer = peer.join().expect("peer namespace exists");
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&peer);
        let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
        run(&format!(
            "ip link add eth0 type veth peer name eth1 netns {path}"
        ));
        run("ip address add 10.9.0.2/24 dev eth0");
        run("ip link set eth0 up");
        run("ip route add default via 10.9.0.1");
        run(&format!(
            "nsenter --net={path} ip address add 10.9.0.1/24 dev eth1"
        ));
        run(&format!("nsenter --net={path} ip link set eth1 up"));
        drop(pod);
        test(peer);
    })
    .join()
    .expect("assertions hold");
}

fn on_peer<T: Send + 'static>(
    peer: &std::fs::File,
    what: impl FnOnce() -> T + Send + 'static,
) -> T {
    let peer = peer.try_clone().expect("descriptors are left");
    std::thread::spawn(move || {
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&peer),
            Some(LinkNameSpaceType::Network),
        )
        .expect("root may enter a namespace");
        what()
    })
    .join()
    .expect("the peer's part holds")
}

#[test]
fn connections_are_redirected_and_keep_their_destination() {
    in_pod(|peer| {
        assert_eq!(ExitCode::SUCCESS, init(FLAGS));
        for port in [4140, 4143, 8080, 5005] {
            serve(port);
        }
        on_peer(&peer, || {
            serve(80);
            serve(6000);
        });
        let inbound = |to: &'static str| on_peer(&peer, move || ask(to));
        assert_eq!("4143 10.9.0.2:8080", inbound("10.9.0.2:8080"));
        assert_eq!(
            "5005 10.9.0.2:5005",
            inbound("10.9.0.2:5005"),
            "ignored inbound range"
        );
        assert_eq!("4140 10.9.0.1:80", ask("10.9.0.1:80"));
        assert_eq!(
            "4140 198.51.100.7:443",
            ask("198.51.100.7:443"),
            "an address nobody has"
        );
        assert_eq!(
            "6000 10.9.0.1:6000",
            ask("10.9.0.1:6000"),
            "ignored outbound port"
        );
        assert_eq!("8080 127.0.0.1:8080", ask("127.0.0.1:8080"), "loopback");
        assert_eq!(
            "8080 10.9.0.2:8080",
            ask("10.9.0.2:8080"),
            "own address leaves through lo"
        );
        let bypass = std::thread::spawn(|| {
            let uid = rustix::process::Uid::from_raw(PROXY_UID);
            rustix::thread::set_thread_uid(uid).expect("root may change its user");
            ask("10.9.0.1:80")
        });
        assert_eq!(
            "80 10.9.0.1:80",
            bypass.join().expect("the proxy's user connects")
        );
    });
}

#[test]
fn running_twice_leaves_the_last_rules_only() {
    in_pod(|peer| {
        assert_eq!(ExitCode::SUCCESS, init(FLAGS));
        let second = "--incoming-proxy-port 7143 --outgoing-proxy-port 7140 --subnets-to-ignore 192.0.2.0/24";
        assert_eq!(ExitCode::SUCCESS, init(second));
        serve(7143);
        serve(4143);
        assert_eq!(
            "7143 10.9.0.2:5005",
            on_peer(&peer, || ask("10.9.0.2:5005"))
        );
    });
}

#[test]
fn another_namespace_can_be_named() {
    in_pod(|peer| {
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&peer);
        let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
        let flags = format!("{FLAGS} --netns {path} --subnets-to-ignore 10.9.0.0/31");
        let status = std::thread::spawn(move || init(&flags))
            .join()
            .expect("init returns");
        assert_eq!(ExitCode::SUCCESS, status);
        on_peer(&peer, || {
            serve(4143);
            serve(80);
        });
        assert_eq!(
            "4143 10.9.0.1:80",
            ask("10.9.0.1:80"),
            "10.9.0.2 is outside the ignored subnet"
        );
        assert_eq!(ExitCode::SUCCESS, init(&format!("{FLAGS} --simulate")));
        assert_eq!(
            "connection refused",
            ask("10.9.0.2:81"),
            "simulating writes nothing"
        );
        let gone = format!("{FLAGS} --netns /nowhere");
        assert_eq!(ExitCode::FAILURE, init(&gone));
    });
}

//! Network namespaces for tests: made, joined and left without touching the machine's own.
//!
//! Needs root. A namespace ends with its last thread, process and descriptor, so nothing is left
//! behind even after a kill.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::net::{recv, socket, AddressFamily, Protocol, RecvFlags, SocketType};
use rustix::thread::{move_into_link_name_space, LinkNameSpaceType, UnshareFlags};

/// A capture stops growing here.
const CAPTURE_BYTES_MAX: usize = 16 << 20;
const ETH_P_ALL: u16 = 3;

/// A network namespace with its loopback up.
#[derive(Clone)]
pub struct Namespace {
    descriptor: Arc<File>,
}

/// Whether this process may make namespaces; tests that need them end early otherwise.
pub fn permitted() -> bool {
    rustix::process::geteuid().is_root()
}

impl Namespace {
    /// Makes a namespace.
    ///
    /// # Panics
    /// Without root.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare_network();
            File::open("/proc/thread-self/ns/net").expect("procfs is mounted")
        });
        let descriptor = Arc::new(made.join().expect("root may make a namespace"));
        let namespace = Self { descriptor };
        namespace.command("ip link set lo up");
        namespace
    }

    /// Joins two namespaces by a veth pair named eth0 in both, with these addresses, of one family, and
    /// routes.
    pub fn join(&self, own: &str, peer: &Namespace, other: &str) {
        let path = peer.path();
        self.command(&format!(
            "ip link add eth0 type veth peer name eth0 netns {path}"
        ));
        for (namespace, address) in [(self, own), (peer, other)] {
            // An address of IPv6 is of no use before it was looked for, which nobody needs here.
            let (prefix, flags) = if address.contains(':') {
                (64, " nodad")
            } else {
                (24, "")
            };
            namespace.command(&format!(
                "ip address add {address}/{prefix} dev eth0{flags}"
            ));
            namespace.command("ip link set eth0 up");
        }
        self.command(&format!("ip route add default via {other}"));
        peer.command(&format!("ip route add default via {own}"));
    }

    /// A path of this namespace for as long as it lives.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.descriptor.as_raw_fd()
        )
    }

    /// Runs a command inside.
    ///
    /// # Panics
    /// It cannot be started or fails.
    pub fn command(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
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
        })
    }

    /// Starts `work` on a thread inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let descriptor = self.descriptor.clone();
        std::thread::spawn(move || {
            move_into_link_name_space(descriptor.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a namespace");
            work()
        })
    }

    /// Runs `work` on a thread inside and returns its result.
    ///
    /// # Panics
    /// `work` does.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.spawn(work).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a future inside, on a runtime of its own, as `uid` when given.
    ///
    /// # Panics
    /// The future does.
    pub fn block_on<T: Send + 'static>(
        &self,
        uid: Option<u32>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.run(move || {
            if let Some(uid) = uid {
                let uid = rustix::process::Uid::from_raw(uid);
                rustix::thread::set_thread_uid(uid).expect("root may change its user");
            }
            runtime().block_on(work)
        })
    }

    /// Starts a future inside that runs until the test process ends.
    pub fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(move || runtime().block_on(work));
    }

    /// Records every frame that passes this namespace's interfaces from now on, except its loopback.
    pub fn capture(&self) -> Capture {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = bytes.clone();
        let protocol =
            Protocol::from_raw(u32::from(ETH_P_ALL.to_be()).try_into().expect("not zero"));
        let descriptor = self.run(move || {
            socket(AddressFamily::PACKET, SocketType::RAW, Some(protocol))
                .expect("root may capture")
        });
        std::thread::spawn(move || {
            let mut frame = vec![0; 1 << 16];
            while let Ok((_, length)) = recv(&descriptor, &mut frame[..], RecvFlags::empty()) {
                // A packet socket sees every interface; frames on lo have no hardware addresses.
                let on_loopback = frame[..12].iter().all(|&byte| byte == 0);
                let mut bytes = sink.lock().expect("readers do not panic");
                if !on_loopback && bytes.len() < CAPTURE_BYTES_MAX {
                    bytes.extend_from_slice(&frame[..length]);
                }
            }
        });
        Capture { bytes }
    }
}

/// Frames seen so far, one after the other.
pub struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Capture {
    /// Whether `text` passed in the clear.
    ///
    /// # Panics
    /// The capturing thread did.
    pub fn contains(&self, text: &str) -> bool {
        let bytes = self.bytes.lock().expect("the writer does not panic");
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    /// Whether `text` passed in the clear, or does within five seconds: the capturing thread may
    /// be behind the traffic.
    ///
    /// # Panics
    /// The capturing thread did.
    pub fn comes_to_contain(&self, text: &str) -> bool {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !self.contains(text) {
            if std::time::Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        true
    }

    /// How many bytes passed.
    ///
    /// # Panics
    /// The capturing thread did.
    pub fn length(&self) -> usize {
        self.bytes.lock().expect("the writer does not panic").len()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs descriptors only")
}

// Only unsharing the descriptor table is unsafe, and with it the whole call became deprecated.
#[allow(deprecated)]
fn unshare_network() {
    rustix::thread::unshare(UnshareFlags::NEWNET).expect("root may make a namespace");
}

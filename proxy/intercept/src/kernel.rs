//! The edge: network namespace, sysctl, and the netlink socket.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_send_buffer_size, set_socket_timeout, Timeout,
};
use rustix::net::{bind, recv, send, socket, AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::thread::{
    capabilities, move_into_link_name_space, set_capabilities, CapabilitySet, LinkNameSpaceType,
};

use crate::plan::{Family, Ruleset};
use crate::{netlink as wire, Error};

const CLOSE_WAIT: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
/// The kernel answers within its own call; anything longer is a broken kernel.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 1 << 20;

/// Why a ruleset could not be written.
#[derive(Debug)]
pub(crate) enum ReplaceError {
    /// The kernel has no tables for this family.
    NoFamily,
    /// The kernel refused, at this stage.
    Refused(&'static str, Errno),
}

impl ReplaceError {
    pub(crate) fn describe(&self, family: Family) -> Error {
        let family = family.name();
        Error(match self {
            ReplaceError::NoFamily => format!("kernel has no nf_tables for family {family}"),
            ReplaceError::Refused(_, Errno::PERM | Errno::ACCESS) => {
                format!("cannot set {family} redirect rules: permission denied, the capability NET_ADMIN is needed")
            }
            ReplaceError::Refused(stage, errno) => {
                format!("cannot set {family} redirect rules: {stage}: {errno}")
            }
        })
    }
}

/// The users of this process's user namespace; empty when the kernel has none of that.
pub(crate) fn uid_map() -> String {
    std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()
}

/// Moves this thread into the network namespace at `path`.
pub(crate) fn enter(path: &str) -> Result<(), Error> {
    let describe =
        |error: std::io::Error| Error(format!("cannot enter network namespace {path}: {error}"));
    let file = File::open(path).map_err(describe)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| describe(errno.into()))
}

/// Sets how long conntrack keeps half-closed connections, in seconds.
pub(crate) fn set_close_wait(seconds: u32) -> Result<(), Error> {
    std::fs::write(CLOSE_WAIT, seconds.to_string())
        .map_err(|error| Error(format!("cannot write {seconds} to {CLOSE_WAIT}: {error}")))
}

/// Makes use of the permitted NET_ADMIN, without which nothing here works.
///
/// The binary of an image carries its file capability as permitted only: were it effective, the same
/// binary could not be executed at all as the proxy, whose container drops every capability.
pub(crate) fn raise_net_admin() {
    let Ok(mut sets) = capabilities(None) else {
        return;
    };
    if sets.permitted.contains(CapabilitySet::NET_ADMIN) {
        sets.effective |= CapabilitySet::NET_ADMIN;
        // When it fails, the kernel's refusal of the rules tells why.
        let _ = set_capabilities(None, sets);
    }
}

/// Whether our table of this family is there.
pub(crate) fn present(family: Family) -> Result<bool, Error> {
    match exchange(&wire::look_up(family)) {
        Ok(()) => Ok(true),
        Err(ReplaceError::Refused(_, Errno::NOENT)) => Ok(false),
        Err(error) => Err(error.describe(family)),
    }
}

/// Replaces our table of the ruleset's family in one transaction.
pub(crate) fn replace(ruleset: &Ruleset) -> Result<(), ReplaceError> {
    exchange(&wire::replace(ruleset))
}

fn exchange(transaction: &wire::Transaction) -> Result<(), ReplaceError> {
    let refused = |stage| move |errno| ReplaceError::Refused(stage, errno);
    let fd = socket(
        AddressFamily::NETLINK,
        SocketType::RAW,
        Some(netlink::NETFILTER),
    )
    .map_err(refused("open netlink socket"))?;
    bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(refused("bind netlink socket"))?;
    set_socket_timeout(&fd, Timeout::Recv, Some(REPLY_TIMEOUT)).map_err(refused("set timeout"))?;
    // The kernel caps these without an error; the bounded lists of the settings fit the default.
    let _ = set_socket_send_buffer_size(&fd, BUFFER_BYTES);
    let _ = set_socket_recv_buffer_size(&fd, BUFFER_BYTES);
    send(&fd, &transaction.bytes, SendFlags::empty()).map_err(refused("send rules"))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (_, length) =
            recv(&fd, &mut buffer[..], RecvFlags::empty()).map_err(refused("read reply"))?;
        for reply in wire::replies(&buffer[..length]) {
            if reply.errno != 0 {
                let errno = Errno::from_raw_os_error(reply.errno);
                return Err(match errno {
                    Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT => {
                        ReplaceError::NoFamily
                    }
                    errno => ReplaceError::Refused("kernel refused the rules", errno),
                });
            }
            if reply.sequence == transaction.acknowledged {
                return Ok(());
            }
        }
    }
}

//! How the redirect rules know the proxy's connections where only one user exists.
//!
//! Rules normally match the proxy by the owner of its sockets. In a user namespace with a single
//! user (an unprivileged local cluster) every process has the same owner. There the proxy raises its
//! sockets' priority, which needs no right, and the rules match that. Both sides decide by the same
//! function of `/proc/self/uid_map`, so neither has to be told.

/// The priority (SO_PRIORITY) of the proxy's sockets; the highest that needs no capability.
pub const PROXY_PRIORITY: u32 = 6;
/// The IPv4 TOS (low delay) by which the kernel gives a socket [`PROXY_PRIORITY`].
pub const PROXY_TOS: u32 = 0x10;

/// Whether a user namespace with this `uid_map` has a single user.
pub fn one_user(uid_map: &str) -> bool {
    let count = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    let mut counts = uid_map.lines().map(count);
    counts.next() == Some(Some(1)) && counts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_one_line_and_one_user_is_alone() {
        for (expected, map) in [
            (false, "         0          0 4294967295\n"),
            (true, "      2102          0          1\n"),
            (false, "0 1000 1\n1 100000 65536\n"),
            (false, ""),
            (false, "no map"),
        ] {
            assert_eq!(expected, one_user(map), "{map:?}");
        }
    }
}

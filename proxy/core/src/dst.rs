//! What a connection or request is meant for: an address, or a name with a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A destination that discovery can be asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dst {
    /// Where the client connected to.
    Addr(SocketAddr),
    /// What it asks for by name.
    Name(Name),
}

impl Dst {
    /// Its port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Addr(addr) => addr.port(),
            Self::Name(name) => name.port,
        }
    }
}

impl From<SocketAddr> for Dst {
    fn from(addr: SocketAddr) -> Self {
        Self::Addr(addr)
    }
}

impl fmt::Display for Dst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A DNS name in lower case without a trailing dot, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The name.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// No DNS name is longer.
const NAME_BYTES_MAX: usize = 253;

/// Reads a DNS name into lower case without its trailing dot; `None` for anything else, addresses too.
pub fn host(text: &str) -> Option<String> {
    let host = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner)
    };
    let valid = host.len() <= NAME_BYTES_MAX && host.split('.').all(label);
    (valid && host.parse::<IpAddr>().is_err()).then(|| host.to_ascii_lowercase())
}

/// Reads `host[:port]`, where the host is a name or an address; without a port it is `port`.
///
/// `None` when it is neither.
pub fn parse(text: &str, port: u16) -> Option<Dst> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return (addr.port() != 0).then_some(Dst::Addr(addr));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Dst::Addr(SocketAddr::new(ip, port)));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, digits)) => (name, digits.parse().ok().filter(|port| *port != 0)?),
        None => (text, port),
    };
    let host = host(name)?;
    Some(Dst::Name(Name { host, port }))
}

/// Names under which something applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffixes {
    /// In lower case without dots at the ends; an empty one is every name.
    names: Vec<String>,
}

impl Suffixes {
    /// Reads a list of names separated by commas; `.` is every name. `None` when one is no name.
    pub fn parse(text: &str) -> Option<Self> {
        let one = |text: &str| match text.trim() {
            "." => Some(String::new()),
            name => host(name),
        };
        let names = text.split(',').filter(|part| !part.trim().is_empty());
        Some(Self {
            names: names.map(one).collect::<Option<_>>()?,
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether `host` is one of the names or below one.
    pub fn contain(&self, host: &str) -> bool {
        self.names.iter().any(|suffix| {
            let rest = host.strip_suffix(suffix.as_str());
            suffix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_names_or_addresses_with_a_port() {
        let name = |host: &str, port| {
            let host = host.to_owned();
            Some(Dst::Name(Name { host, port }))
        };
        let addr = |text: &str| Some(Dst::Addr(text.parse().expect("an address")));
        for (text, expected) in [
            (
                "web.ns.svc.cluster.local",
                name("web.ns.svc.cluster.local", 80),
            ),
            ("Web.NS.:8080", name("web.ns", 8080)),
            ("10.0.0.1", addr("10.0.0.1:80")),
            ("10.0.0.1:81", addr("10.0.0.1:81")),
            ("[fd00::1]:81", addr("[fd00::1]:81")),
            ("fd00::1", addr("[fd00::1]:80")),
            ("", None),
            (":80", None),
            ("web:0", None),
            ("web:http", None),
            ("web:70000", None),
            ("a b", None),
            ("http://web", None),
            ("a..b", None),
        ] {
            assert_eq!(expected, parse(text, 80), "{text:?}");
        }
    }

    #[test]
    fn suffixes_end_at_labels() {
        let some = Suffixes::parse("svc.cluster.local., Example.com").expect("valid");
        for (host, expected) in [
            ("web.ns.svc.cluster.local", true),
            ("svc.cluster.local", true),
            ("xsvc.cluster.local", false),
            ("example.com", true),
            ("example.com.org", false),
        ] {
            assert_eq!(expected, some.contain(host), "{host}");
        }
        assert!(Suffixes::parse(".").expect("valid").contain("anything"));
        assert!(Suffixes::parse("").expect("valid").is_empty());
        assert_eq!(None, Suffixes::parse("a b"));
    }
}

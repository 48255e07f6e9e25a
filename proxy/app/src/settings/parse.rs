//! The formats of settings. Each parser says what it expected.

use linkerd_proxy_core::authorize::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// A host name or address with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name (maybe with a trailing dot) or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "host:port".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(expected)?;
        if host.is_empty() {
            return Err(expected());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Whether it never leaves this pod.
    pub fn is_loopback(&self) -> bool {
        let name = self.host.strip_suffix('.').unwrap_or(&self.host);
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A set of ports as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&port))
    }

    /// All ports in ascending order of their ranges.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().flat_map(|(low, high)| *low..=*high)
    }
}

/// `1500ms`, `10s`, `5m`, `1h`, `1d`; the unit may be missing for 0 only.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "a duration such as 100ms, 10s, 5m, 1h or 1d".to_owned();
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| expected())?;
    let scale_ms = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return Err(expected()),
    };
    number
        .checked_mul(scale_ms)
        .map(Duration::from_millis)
        .ok_or_else(expected)
}

/// Lines of `name=value` or `name="value"`; others are ignored.
pub fn parse_attributes(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let bare = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let value = bare.unwrap_or(value).to_owned();
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    text.lines().filter_map(pair).collect()
}

/// `true` or `false`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// A socket address.
pub fn parse_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "ip:port".to_owned())
}

/// One or two socket addresses.
pub fn parse_addrs(text: &str) -> Result<Vec<SocketAddr>, String> {
    let addrs = list(text, parse_addr, "one or two ip:port, separated by commas")?;
    match addrs.len() {
        1 | 2 => Ok(addrs),
        _ => Err("one or two ip:port, separated by commas".into()),
    }
}

/// Addresses.
pub fn parse_ips(text: &str) -> Result<Vec<IpAddr>, String> {
    list(
        text,
        |item| item.parse().map_err(|_| String::new()),
        "IP addresses, separated by commas",
    )
}

/// Networks.
pub fn parse_nets(text: &str) -> Result<Vec<IpNet>, String> {
    list(
        text,
        |item| IpNet::parse(item).ok_or_default(),
        "networks, separated by commas",
    )
}

/// Ports and ranges.
pub fn parse_ports(text: &str) -> Result<PortSet, String> {
    let range = |item: &str| -> Result<(u16, u16), String> {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| String::new());
        let (low, high) = (number(low)?, number(high)?);
        if low > high {
            return Err(String::new());
        }
        Ok((low, high))
    };
    list(text, range, "ports or ranges such as 80,8000-8010").map(PortSet)
}

/// A window or limit that HTTP/2 can carry.
pub fn parse_size(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|n| *n <= i32::MAX as u32)
        .ok_or_else(|| "a number below 2^31".into())
}

/// A share that is added to a delay at random.
pub fn parse_jitter(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|jitter| (0.0..=100.0).contains(jitter))
        .ok_or_else(|| "a ratio between 0 and 100".into())
}

/// Anything that parses, described by `expected`.
pub fn parse_any<T: FromStr>(expected: &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |text| text.parse().map_err(|_| expected.to_owned())
}

fn list<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
    expected: &str,
) -> Result<Vec<T>, String> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(|_| expected.to_owned())
}

/// Turns a missing value into the empty text that `list` replaces.
trait OkOrDefault<T> {
    fn ok_or_default(self) -> Result<T, String>;
}

impl<T> OkOrDefault<T> for Option<T> {
    fn ok_or_default(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

/// `unix:/path`, `unix:///path` or a path: where a local service listens.
pub fn parse_socket(text: &str) -> Result<String, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    let path = path.strip_prefix("//").unwrap_or(path);
    let absolute = path.starts_with('/') && path.len() > 1;
    absolute
        .then(|| path.to_owned())
        .ok_or_else(|| "unix: and the path of a socket".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_lines_with_or_without_quotes() {
        let text = "a=1\nb=\"two, three\"\n\nnonsense\n=x\n k8s.pod.uid = u \n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = vec![
            pair("a", "1"),
            pair("b", "two, three"),
            pair("k8s.pod.uid", "u"),
        ];
        assert_eq!(expected, parse_attributes(text));
    }

    #[test]
    fn durations_have_units() {
        let cases = [
            ("0", Some(0)),
            ("150ms", Some(150)),
            (" 10s ", Some(10_000)),
            ("5m", Some(300_000)),
            ("365d", Some(31_536_000_000)),
            ("10", None),
            ("ms", None),
            ("-1s", None),
        ];
        for (text, expected) in cases {
            let parsed = parse_duration(text).ok().map(|d| d.as_millis());
            assert_eq!(expected, parsed, "{text}");
        }
    }

    #[test]
    fn ports_may_be_ranges() {
        let ports = parse_ports("25, 80-82").expect("valid");
        assert_eq!(vec![25, 80, 81, 82], ports.iter().collect::<Vec<_>>());
        assert!(ports.contains(81) && !ports.contains(83));
        assert!(parse_ports("9-1").is_err());
    }

    #[test]
    fn loopback_names_are_known() {
        for (text, loopback) in [
            ("localhost.:8086", true),
            ("127.0.0.9:1", true),
            ("[::1]:1", true),
            ("web:1", false),
        ] {
            assert_eq!(
                loopback,
                HostPort::parse(text).expect("valid").is_loopback(),
                "{text}"
            );
        }
    }
}

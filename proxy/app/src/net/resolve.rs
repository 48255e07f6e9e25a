//! Names of the control plane become addresses.
//!
//! A stub resolver over UDP that reads `/etc/resolv.conf` each time: lookups are rare, and the
//! C library's resolver would need threads and cannot be linked statically.

use crate::settings::parse::HostPort;
use linkerd_proxy_core::dns::{self, Kind, Record};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERY_ATTEMPTS: usize = 2;
/// A larger answer is cut by the server; what fits is more than enough.
const ANSWER_BYTES_MAX: usize = 4096;
const TARGETS_MAX: usize = 64;
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Each once.
    pub addrs: Vec<SocketAddr>,
    /// How long this holds.
    pub ttl: Duration,
    /// The type of record that told; `None` when nobody had to be asked.
    pub record: Option<&'static str>,
}

impl Resolved {
    fn known(ip: IpAddr, port: u16) -> Self {
        Self {
            addrs: vec![SocketAddr::new(ip, port)],
            ttl: FOR_EVER,
            record: None,
        }
    }

    fn told(record: &'static str, mut addrs: Vec<SocketAddr>, ttl: Duration) -> Self {
        addrs.sort_unstable();
        addrs.dedup();
        Self {
            addrs,
            ttl,
            record: Some(record),
        }
    }
}

/// Finds the addresses of a part of the control plane: SRV first, then A and AAAA.
///
/// # Errors
/// When no server answers or the name has no address.
pub async fn resolve(target: &HostPort) -> io::Result<Resolved> {
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(Resolved::known(ip, target.port));
    }
    if target.is_loopback() {
        return Ok(Resolved::known(Ipv4Addr::LOCALHOST.into(), target.port));
    }
    let config = Config::read();
    for name in config.candidates(&target.host) {
        if let Ok((addrs, ttl)) = srv(&config, &name).await {
            if !addrs.is_empty() {
                return Ok(Resolved::told("SRV", addrs, ttl));
            }
        }
        let (ips, ttl) = addresses(&config, &name).await?;
        if !ips.is_empty() {
            let with_port = |ip| SocketAddr::new(ip, target.port);
            let addrs = ips.into_iter().map(with_port).collect();
            return Ok(Resolved::told("A/AAAA", addrs, ttl));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("no address for {}", target.host),
    ))
}

async fn srv(config: &Config, name: &str) -> io::Result<(Vec<SocketAddr>, Duration)> {
    let mut out = Vec::new();
    let answer = query(config, name, Kind::Srv).await?;
    let mut ttl = seconds(answer.ttl_s);
    for record in answer.records.into_iter().take(TARGETS_MAX) {
        let Record::Srv { name, port } = record else {
            continue;
        };
        match dashed_ip(&name) {
            Some(ip) => out.push(SocketAddr::new(ip, port)),
            None => {
                let (ips, life) = addresses(config, &name).await?;
                ttl = ttl.min(life);
                out.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, port)));
            }
        }
    }
    Ok((out, ttl))
}

fn seconds(ttl_s: u32) -> Duration {
    Duration::from_secs(ttl_s.into())
}

/// `10-1-2-3.svc…` names its address.
fn dashed_ip(name: &str) -> Option<IpAddr> {
    name.split('.')
        .next()?
        .replace('-', ".")
        .parse::<Ipv4Addr>()
        .ok()
        .map(IpAddr::V4)
}

async fn addresses(config: &Config, name: &str) -> io::Result<(Vec<IpAddr>, Duration)> {
    let ips = |answer: dns::Answer| -> (Vec<IpAddr>, Duration) {
        let ttl = seconds(answer.ttl_s);
        let found = answer
            .records
            .into_iter()
            .filter_map(|record| match record {
                Record::Ip(ip) => Some(ip),
                Record::Srv { .. } => None,
            })
            .collect();
        (found, ttl)
    };
    let v4 = ips(query(config, name, Kind::A).await?);
    if !v4.0.is_empty() {
        return Ok(v4);
    }
    query(config, name, Kind::Aaaa).await.map(ips)
}

async fn query(config: &Config, name: &str, kind: Kind) -> io::Result<dns::Answer> {
    let id = crate::random::u16();
    let message = dns::query(id, name, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("bad name {name}")))?;
    let mut last = io::Error::new(io::ErrorKind::TimedOut, "no DNS server answered");
    for _ in 0..QUERY_ATTEMPTS {
        for server in &config.servers {
            match tokio::time::timeout(QUERY_TIMEOUT, ask(*server, &message, id)).await {
                Ok(Ok(answer)) if answer.code == 0 || answer.code == 3 => return Ok(answer),
                Ok(Ok(answer)) => {
                    last =
                        io::Error::other(format!("DNS server answered with code {}", answer.code));
                }
                Ok(Err(error)) => last = error,
                Err(_) => {}
            }
        }
    }
    Err(last)
}

async fn ask(server: SocketAddr, message: &[u8], id: u16) -> io::Result<dns::Answer> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buf = vec![0; ANSWER_BYTES_MAX];
    loop {
        let n = socket.recv(&mut buf).await?;
        if let Some(answer) = dns::parse(&buf[..n], id) {
            return Ok(answer);
        }
    }
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq)]
struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Config {
    fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut config = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    config.servers.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("search") => config.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words
                        .filter_map(|word| word.strip_prefix("ndots:"))
                        .next_back();
                    config.ndots = ndots.and_then(|n| n.parse().ok()).unwrap_or(config.ndots);
                }
                Some(_) | None => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(([127, 0, 0, 1], 53).into());
        }
        config
    }

    /// Absolute names to try, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let dots = host.matches('.').count();
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|domain| format!("{host}.{}", domain.trim_end_matches('.')))
            .collect();
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, host.to_owned());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_domains_follow_ndots() {
        let config = Config::parse("nameserver 10.96.0.10\nsearch ns.svc.cluster.local svc.cluster.local\noptions ndots:5\n");
        assert_eq!(
            vec![SocketAddr::from(([10, 96, 0, 10], 53))],
            config.servers
        );
        assert_eq!(vec!["a.b".to_owned()], config.candidates("a.b."));
        let expected = vec![
            "a.ns.svc.cluster.local".to_owned(),
            "a.svc.cluster.local".into(),
            "a".into(),
        ];
        assert_eq!(expected, config.candidates("a"));
    }

    #[test]
    fn pod_names_of_srv_records_are_addresses() {
        assert_eq!(
            Some("10.1.2.3".parse().expect("ip")),
            dashed_ip("10-1-2-3.dst.linkerd.svc.cluster.local")
        );
        assert_eq!(None, dashed_ip("pod-0.dst"));
    }
}

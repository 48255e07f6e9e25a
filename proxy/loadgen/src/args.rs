//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Which HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    /// With prior knowledge.
    Http2,
}

impl Version {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::Http1 => "http1",
            Version::Http2 => "http2",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Args {
    pub(crate) address: SocketAddr,
    /// `host:port` of the URL.
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) version: Version,
    pub(crate) connections: u32,
    /// Concurrent requests a connection.
    pub(crate) streams: u32,
    /// Measured time, after the warm-up.
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    /// Requests a second over all workers; `None` is closed loop.
    pub(crate) rate: Option<f64>,
    /// Extra headers, sent as they are.
    pub(crate) headers: Vec<(String, String)>,
}

const USAGE: &str =
    "usage: loadgen --url http://HOST:PORT/PATH [--http 1|2] [--connections N] [--streams N] \
                     [--seconds S] [--warmup S] [--rate R] [--header 'name: value']…";

/// Parses the words after the program's name.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut url = None;
    let (mut version, mut connections, mut streams, mut rate) = (Version::Http1, 1, 1, None);
    let (mut duration, mut warmup) = (Duration::from_secs(5), Duration::ZERO);
    let mut headers = Vec::new();
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value; {USAGE}"))?;
        let bad = || format!("{flag}={value}: not understood; {USAGE}");
        let seconds = || {
            value
                .parse()
                .ok()
                .and_then(|s| Duration::try_from_secs_f64(s).ok())
                .ok_or_else(bad)
        };
        let count = || {
            value
                .parse()
                .ok()
                .filter(|n| (1..=10_000).contains(n))
                .ok_or_else(bad)
        };
        match flag.as_str() {
            "--url" => url = Some(value.clone()),
            "--http" if value == "1" => version = Version::Http1,
            "--http" if value == "2" => version = Version::Http2,
            "--connections" => connections = count()?,
            "--streams" => streams = count()?,
            "--seconds" => duration = seconds()?,
            "--warmup" => warmup = seconds()?,
            "--rate" => {
                rate = Some(
                    value
                        .parse()
                        .ok()
                        .filter(|r: &f64| *r > 0.0)
                        .ok_or_else(bad)?,
                )
            }
            "--header" => {
                let (name, text) = value.split_once(": ").ok_or_else(bad)?;
                headers.push((name.to_lowercase(), text.to_owned()));
            }
            _ => return Err(bad()),
        }
    }
    let url = url.ok_or(USAGE)?;
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url}: only http:// is spoken"))?;
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    let address = authority
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| format!("{url}: {authority} is no host and port"))?;
    if version == Version::Http1 && streams != 1 {
        return Err("--streams needs --http 2".to_owned());
    }
    Ok(Args {
        address,
        authority: authority.to_owned(),
        path: path.to_owned(),
        version,
        connections,
        streams,
        duration,
        warmup,
        rate,
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Args, String> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_urls_and_counts() {
        let args =
            line("--url http://127.0.0.1:80/a/b --http 2 --connections 4 --streams 16 --rate 100")
                .expect("valid");
        assert_eq!(
            ("/a/b", 4, 16, Some(100.0)),
            (&*args.path, args.connections, args.streams, args.rate)
        );
        assert_eq!("/", line("--url http://127.0.0.1:80").expect("valid").path);
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for text in [
            "",
            "--url https://127.0.0.1:80",
            "--url http://127.0.0.1:80 --streams 2",
            "--url",
            "--what 1",
            "--url http://127.0.0.1:80 --connections 0",
        ] {
            assert!(line(text).is_err(), "{text}");
        }
    }
}

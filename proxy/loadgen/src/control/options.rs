//! The command line of `loadgen control`.

use std::net::SocketAddr;

use bytes::Bytes;

const USAGE: &str = "usage: loadgen control --address HOST:PORT --path /package.Service/Method \
                     --request FILE… [--connections N] [--streams N] [--unary CALLS] [--members yes]";

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// Encoded request messages, taken in turn.
    pub(crate) requests: Vec<Bytes>,
    pub(crate) connections: usize,
    /// Streams over all connections, or calls in flight.
    pub(crate) streams: usize,
    /// How many calls to make that are answered once; `None` keeps streams open.
    pub(crate) unary: Option<usize>,
    /// Whether messages are destination updates whose endpoints are counted.
    pub(crate) members: bool,
}

/// Parses the words after `control`, and reads the request files.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut address, mut path, mut requests) = (None, None, Vec::new());
    let (mut connections, mut streams, mut unary, mut members) = (1, 1, None, false);
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value; {USAGE}"))?;
        let bad = || format!("{flag}={value}: not understood; {USAGE}");
        let count = || value.parse().ok().filter(|n| *n > 0).ok_or_else(bad);
        match flag.as_str() {
            "--address" => address = Some(value.parse().map_err(|_| bad())?),
            "--path" => path = Some(value.clone()),
            "--request" => {
                let bytes = std::fs::read(&value).map_err(|error| format!("{value}: {error}"))?;
                requests.push(Bytes::from(bytes));
            }
            "--connections" => connections = count()?,
            "--streams" => streams = count()?,
            "--unary" => unary = Some(count()?),
            "--members" => members = value == "yes",
            _ => return Err(bad()),
        }
    }
    if requests.is_empty() {
        return Err(USAGE.to_owned());
    }
    Ok(Options {
        address: address.ok_or(USAGE)?,
        path: path.ok_or(USAGE)?,
        requests,
        connections,
        streams,
        unary,
        members,
    })
}

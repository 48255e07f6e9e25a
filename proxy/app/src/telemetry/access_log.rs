//! Writes the access log to stderr without ever making a request wait for it.

use http::{HeaderMap, Request};
use linkerd_proxy_core::access_log::{line, Entry, Format};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{sync_channel, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Lines that wait to be written; when a reader is too slow, lines are left out.
const LINES_MAX: usize = 4096;
const TRACE_HEADERS: [&str; 3] = ["x-b3-traceid", "x-request-id", "x-amzn-trace-id"];

/// The log.
pub struct AccessLog {
    format: Format,
    lines: SyncSender<String>,
}

/// What is noted of a request until its response begins.
pub struct Noted {
    at: Duration,
    started: Instant,
    method: String,
    uri: String,
    version: http::Version,
    host: String,
    user_agent: String,
    trace_id: String,
    request_bytes: String,
}

impl AccessLog {
    /// Starts the thread that writes.
    pub fn start(format: Format) -> Self {
        let (lines, waiting) = sync_channel::<String>(LINES_MAX);
        let write = move || {
            for line in waiting {
                // There is nobody to tell when stderr is gone.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
        };
        // Without the thread the channel is closed and lines go nowhere.
        let _ = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(write);
        Self { format, lines }
    }

    /// Notes a request.
    pub fn note<B>(&self, request: &Request<B>) -> Noted {
        let headers = request.headers();
        let trace_id = TRACE_HEADERS.iter().find_map(|name| headers.get(*name));
        let authority = request.uri().authority().map(|a| a.as_str().to_owned());
        Noted {
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            started: Instant::now(),
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            version: request.version(),
            host: authority.unwrap_or_else(|| text(headers, "host")),
            user_agent: text(headers, "user-agent"),
            trace_id: trace_id.map_or(String::new(), |v| {
                String::from_utf8_lossy(v.as_bytes()).into_owned()
            }),
            request_bytes: text(headers, "content-length"),
        }
    }

    /// Writes a line about a request of `client`, whose name is empty if it has none.
    pub fn write(
        &self,
        noted: &Noted,
        client: (SocketAddr, &str),
        status: u16,
        length: Option<u64>,
    ) {
        let entry = Entry {
            client_addr: &client.0.to_string(),
            client_id: client.1,
            at: noted.at,
            method: &noted.method,
            uri: &noted.uri,
            version: &format!("{:?}", noted.version),
            host: &noted.host,
            user_agent: &noted.user_agent,
            trace_id: &noted.trace_id,
            request_bytes: &noted.request_bytes,
            status,
            response_bytes: &length.map(|length| length.to_string()).unwrap_or_default(),
            total: noted.started.elapsed(),
        };
        let _ = self.lines.try_send(line(self.format, &entry));
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| value.as_bytes());
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

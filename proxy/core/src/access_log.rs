//! Lines of the inbound access log.
//!
//! Source: linkerd2-proxy linkerd/http/access-log (fields and layouts).

use std::fmt::Write;
use std::time::Duration;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Like Apache's common log, without sizes.
    Apache,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Reads the setting's value.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "apache" => Some(Self::Apache),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// One exchange whose response has begun.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// `ip:port`.
    pub client_addr: &'a str,
    /// The client's identity; empty when it has none.
    pub client_id: &'a str,
    /// When the request came, since 1970.
    pub at: Duration,
    /// Method.
    pub method: &'a str,
    /// URI as it came.
    pub uri: &'a str,
    /// `HTTP/1.1` and so on.
    pub version: &'a str,
    /// Host or authority.
    pub host: &'a str,
    /// `user-agent`.
    pub user_agent: &'a str,
    /// The first of the usual headers that name a trace.
    pub trace_id: &'a str,
    /// The request's `content-length`, if it has one.
    pub request_bytes: &'a str,
    /// Status.
    pub status: u16,
    /// The response's `content-length`, if it has one.
    pub response_bytes: &'a str,
    /// From request to response head.
    pub total: Duration,
}

/// The line of an exchange, with its line feed. Control characters never come through.
pub fn line(format: Format, entry: &Entry<'_>) -> String {
    let mut out = String::with_capacity(256);
    let time = timestamp(entry.at);
    let client_id = if entry.client_id.is_empty() {
        "-"
    } else {
        entry.client_id
    };
    let Entry {
        client_addr,
        method,
        uri,
        version,
        status,
        ..
    } = *entry;
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Apache => {
            let uri = quoted(uri);
            writeln!(
                out,
                "{client_addr} {client_id} - [{time}] \"{method} {uri} {version}\" {status}"
            )
        }
        Format::Json => {
            let ns = entry.total.as_nanos();
            let fields = [
                ("client.addr", client_addr),
                ("client.id", client_id),
                ("timestamp", &time),
                ("method", method),
                ("uri", uri),
                ("version", version),
                ("trace_id", entry.trace_id),
                ("request_bytes", entry.request_bytes),
                ("response_bytes", entry.response_bytes),
                ("total_ns", &ns.to_string()),
                ("processing_ns", &ns.to_string()),
                ("user_agent", entry.user_agent),
                ("host", entry.host),
            ]
            .map(|(name, value)| format!("\"{name}\":\"{}\"", quoted(value)));
            // The one field that is a number, there as here.
            writeln!(out, "{{{},\"status\":{status}}}", fields.join(","))
        }
    };
    out
}

/// Escapes for a JSON string, which a quoted field of the other layout may look like too.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// RFC 3339 in UTC with microseconds.
fn timestamp(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from March, so that the leap day ends a year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since_1970.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_years() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(expected, timestamp(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn lines_have_their_layout_and_no_line_breaks() {
        let entry = Entry {
            client_addr: "10.0.0.1:1000",
            method: "GET",
            uri: "/a\"\r\nb",
            version: "HTTP/1.1",
            status: 200,
            ..Entry::default()
        };
        assert_eq!(
            "10.0.0.1:1000 - - [1970-01-01T00:00:00.000000Z] \"GET /a\\\"\\u000d\\u000ab HTTP/1.1\" 200\n",
            line(Format::Apache, &entry)
        );
        let json = line(Format::Json, &entry);
        assert!(json.starts_with("{\"client.addr\":\"10.0.0.1:1000\",\"client.id\":\"-\""));
        assert!(json.ends_with(",\"status\":200}\n"), "{json}");
        assert_eq!(1, json.matches('\n').count());
    }
}

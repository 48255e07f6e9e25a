//! Structured logs on stdout, and for whoever asks.

pub mod stream;

use std::time::Instant;
use stream::{Reader, Refused, Streams};
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload, EnvFilter, Registry};

/// What is logged when nothing is set.
pub const DEFAULT_FILTER: &str = "warn,linkerd=info";

/// What is under the layer that writes to stdout.
type Base = Layered<Filtered<Streams, Streams, Registry>, Registry>;

/// Reads and replaces the filter while the proxy runs, and lets others read events.
#[derive(Clone)]
pub struct Log(Option<(reload::Handle<EnvFilter, Base>, Streams)>);

impl Log {
    /// Whether anything is logged at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The filter's text; `None` when logging is off.
    pub fn level(&self) -> Option<String> {
        let (stdout, _) = self.0.as_ref()?;
        stdout.with_current(|filter| filter.to_string()).ok()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// When the text is not a filter, or logging is off.
    pub fn set_level(&self, text: &str) -> Result<(), String> {
        let (stdout, _) = self.0.as_ref().ok_or("logging is off")?;
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        stdout.reload(filter).map_err(|error| error.to_string())
    }

    /// Lets one more read what passes a filter of its own; `None` when logging is off.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn read(&self, filter: &str) -> Result<Option<Reader>, Refused> {
        let streams = self.0.as_ref().map(|(_, streams)| streams);
        streams.map(|streams| streams.read(filter)).transpose()
    }
}

/// Seconds since start, as Linkerd prints them.
struct Uptime(Instant);

impl FormatTime for Uptime {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let up = self.0.elapsed();
        write!(w, "[{:>6}.{:06}s]", up.as_secs(), up.subsec_micros())
    }
}

/// Installs logging as `filter` and `format` (`plain` or `json`) say; `off` installs nothing.
///
/// # Errors
/// When the filter or the format is malformed.
pub fn install(filter: Option<&str>, format: Option<&str>) -> Result<Log, String> {
    let text = filter
        .filter(|text| !text.is_empty())
        .unwrap_or(DEFAULT_FILTER);
    if text.eq_ignore_ascii_case("off") {
        return Ok(Log(None));
    }
    let filter = EnvFilter::try_new(text)
        .map_err(|error| format!("LINKERD2_PROXY_LOG={text}: expected a log filter ({error})"))?;
    let (filter, level) = reload::Layer::new(filter);
    let streams = Streams::default();
    let base = tracing_subscriber::registry().with(streams.clone().with_filter(streams.clone()));
    match format.unwrap_or("plain").to_ascii_lowercase().as_str() {
        "" | "plain" => {
            let plain = fmt::layer()
                .with_ansi(false)
                .with_thread_ids(true)
                .with_timer(Uptime(Instant::now()));
            base.with(plain.with_filter(filter)).init();
        }
        "json" => base.with(json().with_filter(filter)).init(),
        other => {
            return Err(format!(
                "LINKERD2_PROXY_LOG_FORMAT={other}: expected plain or json"
            ));
        }
    }
    Ok(Log(Some((level, streams))))
}

/// One JSON object a line.
fn json<S>() -> fmt::Layer<S, JsonFields, Format<Json, WallClock>> {
    let layer = fmt::layer().json().with_timer(WallClock);
    layer.with_current_span(false).with_thread_ids(true)
}

/// RFC 3339 in UTC.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let (days, second) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = now.subsec_micros();
        write!(
            w,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

/// Year, month and day of a count of days since 1970.
///
/// Counts in years that start in March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let cases = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_454, (2026, 1, 1)),
        ];
        for (days, date) in cases {
            assert_eq!(date, civil(days), "{days}");
        }
    }
}

//! Structured logs on stdout.

use std::time::Instant;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{reload, EnvFilter, Registry};

/// What is logged when nothing is set.
pub const DEFAULT_FILTER: &str = "warn,linkerd=info";

/// Reads and replaces the filter while the proxy runs.
#[derive(Clone)]
pub struct Level(Option<reload::Handle<EnvFilter, Registry>>);

impl Level {
    /// The filter's text; `None` when logging is off.
    pub fn current(&self) -> Option<String> {
        self.0
            .as_ref()?
            .with_current(|filter| filter.to_string())
            .ok()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// When the text is not a filter; `None` inside when logging is off.
    pub fn set(&self, text: &str) -> Result<(), Option<String>> {
        let handle = self.0.as_ref().ok_or(None)?;
        let filter = EnvFilter::try_new(text).map_err(|error| Some(error.to_string()))?;
        handle
            .reload(filter)
            .map_err(|error| Some(error.to_string()))
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
pub fn install(filter: Option<&str>, format: Option<&str>) -> Result<Level, String> {
    let text = filter
        .filter(|text| !text.is_empty())
        .unwrap_or(DEFAULT_FILTER);
    if text.eq_ignore_ascii_case("off") {
        return Ok(Level(None));
    }
    let filter = EnvFilter::try_new(text)
        .map_err(|error| format!("LINKERD2_PROXY_LOG={text}: expected a log filter ({error})"))?;
    let (layer, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(layer);
    let fmt = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_thread_ids(true);
    match format.unwrap_or("plain").to_ascii_lowercase().as_str() {
        "" | "plain" => registry.with(fmt.with_timer(Uptime(Instant::now()))).init(),
        "json" => registry.with(fmt.json().with_timer(WallClock)).init(),
        other => {
            return Err(format!(
                "LINKERD2_PROXY_LOG_FORMAT={other}: expected plain or json"
            ));
        }
    }
    Ok(Level(Some(handle)))
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

//! Whether a request is sent again, and what a client may ask for by header.
//!
//! Source: linkerd2-proxy linkerd/app/outbound/src/http/logical/policy/route (behaviour).

use crate::backoff::Backoff;
use crate::timeout::Timeouts;
use std::time::Duration;

/// Bodies up to this size are kept for another attempt when nothing else is said.
pub const REPLAY_BYTES: usize = 64 * 1024;

/// When and how often a request is sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Attempts besides the first.
    pub limit: u32,
    /// A larger body is not kept.
    pub body_bytes_max: usize,
    /// HTTP statuses, first and last.
    pub statuses: Vec<(u16, u16)>,
    /// gRPC codes.
    pub codes: Vec<u16>,
    /// Longest wait for the head of each attempt but the last.
    pub timeout: Option<Duration>,
    /// Between attempts; `None` for at once.
    pub backoff: Option<Backoff>,
}

impl Retry {
    /// What a client's headers ask for on a route that has none.
    fn asked() -> Self {
        Self {
            limit: 1,
            body_bytes_max: REPLAY_BYTES,
            statuses: Vec::new(),
            codes: Vec::new(),
            timeout: None,
            backoff: Some(Backoff {
                min: Duration::from_millis(25),
                max: Duration::from_millis(250),
                jitter: 1.0,
            }),
        }
    }

    /// Whether a response calls for another attempt. `grpc` is its code, if one came.
    pub fn wants(&self, status: u16, grpc: Option<u16>) -> bool {
        grpc.is_some_and(|code| self.codes.contains(&code))
            || self
                .statuses
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&status))
    }
}

/// The request headers by which clients set timeouts and retries.
pub const HEADERS: [&str; 7] = [
    "l5d-retry-http",
    "l5d-retry-grpc",
    "l5d-retry-limit",
    "l5d-retry-timeout",
    "l5d-timeout",
    "l5d-request-timeout",
    "l5d-response-timeout",
];

/// What applies to a request on a route that lets clients speak, given its headers by name.
///
/// Values that cannot be read count as absent.
pub fn with_headers<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    retry: Option<&Retry>,
    timeouts: Timeouts,
) -> (Option<Retry>, Timeouts) {
    let mut timeouts = timeouts;
    for name in ["l5d-timeout", "l5d-request-timeout"] {
        timeouts.request = header(name).and_then(duration).or(timeouts.request);
    }
    let response = header("l5d-response-timeout").and_then(duration);
    timeouts.response = response.or(timeouts.response);
    let statuses = header("l5d-retry-http").and_then(statuses);
    let codes = header("l5d-retry-grpc").and_then(codes);
    let limit = header("l5d-retry-limit").and_then(|text| text.trim().parse().ok());
    let timeout = header("l5d-retry-timeout").and_then(duration);
    if statuses.is_none() && codes.is_none() && limit.is_none() && timeout.is_none() {
        return (retry.cloned(), timeouts);
    }
    let mut asked = retry.cloned().unwrap_or_else(Retry::asked);
    asked.statuses = statuses.unwrap_or(asked.statuses);
    asked.codes = codes.unwrap_or(asked.codes);
    asked.limit = limit.unwrap_or(asked.limit);
    asked.timeout = timeout.or(asked.timeout);
    (Some(asked), timeouts)
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn statuses(text: &str) -> Option<Vec<(u16, u16)>> {
    let code = |text: &str| {
        let code: u16 = text.trim().parse().ok()?;
        (100..=599).contains(&code).then_some(code)
    };
    text.split(',')
        .map(|item| match item.trim() {
            "5xx" => Some((500, 599)),
            "gateway-error" => Some((502, 504)),
            item => match item.split_once('-') {
                Some((low, high)) => {
                    let (low, high) = (code(low)?, code(high)?);
                    (low <= high).then_some((low, high))
                }
                None => code(item).map(|code| (code, code)),
            },
        })
        .collect()
}

fn codes(text: &str) -> Option<Vec<u16>> {
    text.split(',')
        .map(|item| match item.trim() {
            "cancelled" => Some(1),
            "deadline-exceeded" => Some(4),
            "resource-exhausted" => Some(8),
            "internal" => Some(13),
            "unavailable" => Some(14),
            _ => None,
        })
        .collect()
}

/// How many retries a service profile allows in relation to requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetConfig {
    /// Retries per request.
    pub ratio: f32,
    /// Retries per second that are always allowed.
    pub min_per_second: u32,
    /// How long a request counts.
    pub ttl: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            min_per_second: 10,
            ttl: Duration::from_secs(10),
        }
    }
}

const SLOTS: usize = 10;

/// Retries that may still be made: every request of the last `ttl` adds its share.
///
/// Times are nanoseconds since any fixed moment. Amounts are thousandths of a retry.
#[derive(Clone, Debug)]
pub struct Budget {
    slot_ns: u64,
    deposit: i64,
    reserve: i64,
    slots: [i64; SLOTS],
    current: u64,
}

impl Budget {
    /// Starts with what `min_per_second` allows.
    pub fn new(config: BudgetConfig) -> Self {
        let ttl = config
            .ttl
            .clamp(Duration::from_secs(1), Duration::from_secs(60));
        let reserve = u64::from(config.min_per_second).saturating_mul(1000) * ttl.as_secs();
        let ratio = if config.ratio.is_finite() {
            config.ratio.clamp(0.0, 1000.0)
        } else {
            0.0
        };
        Self {
            slot_ns: (ttl.as_nanos() as u64 / SLOTS as u64).max(1),
            deposit: (f64::from(ratio) * 1000.0).round() as i64,
            reserve: i64::try_from(reserve).unwrap_or(i64::MAX / 2),
            slots: [0; SLOTS],
            current: 0,
        }
    }

    /// Counts a request that is no retry.
    pub fn deposit(&mut self, now_ns: u64) {
        self.advance(now_ns);
        let slot = self.slot();
        self.slots[slot] = self.slots[slot].saturating_add(self.deposit);
    }

    /// Takes a retry out; false when there is none left.
    pub fn withdraw(&mut self, now_ns: u64) -> bool {
        self.advance(now_ns);
        let sum = self
            .slots
            .iter()
            .fold(0i64, |sum, n| sum.saturating_add(*n));
        if sum.saturating_add(self.reserve) < 1000 {
            return false;
        }
        let slot = self.slot();
        self.slots[slot] = self.slots[slot].saturating_sub(1000);
        true
    }

    fn slot(&self) -> usize {
        (self.current % SLOTS as u64) as usize
    }

    fn advance(&mut self, now_ns: u64) {
        let now = now_ns / self.slot_ns;
        let passed = now.saturating_sub(self.current).min(SLOTS as u64);
        self.current = self.current.max(now);
        for back in 0..passed {
            let slot = (self.current - back) % SLOTS as u64;
            self.slots[slot as usize] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const SECOND: u64 = 1_000_000_000;

    fn asked(headers: &[(&str, &'static str)], retry: Option<&Retry>) -> (Option<Retry>, Timeouts) {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        };
        with_headers(header, retry, Timeouts::default())
    }

    #[test]
    fn statuses_are_lists_of_codes_ranges_and_names() {
        let cases = [
            ("5xx", Some(vec![(500, 599)])),
            ("gateway-error, 429", Some(vec![(502, 504), (429, 429)])),
            ("500-502", Some(vec![(500, 502)])),
            ("502-500", None),
            ("nonsense", None),
            ("99", None),
        ];
        for (text, expected) in cases {
            assert_eq!(expected, statuses(text), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_unless_zero() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("2s", Some(2000)),
            ("0", Some(0)),
            ("5", None),
            ("s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(
                expected.map(Duration::from_millis),
                duration(text),
                "{text}"
            );
        }
    }

    #[test]
    fn headers_alone_give_one_retry_with_backoff() {
        let (retry, timeouts) = asked(&[("l5d-retry-http", "5xx"), ("l5d-timeout", "1s")], None);
        let retry = retry.expect("asked for");
        assert_eq!((1, 64 * 1024), (retry.limit, retry.body_bytes_max));
        assert!(retry.wants(503, None) && !retry.wants(404, None));
        assert_eq!(Some(Duration::from_secs(1)), timeouts.request);
        assert_eq!(None, asked(&[("l5d-timeout", "1s")], None).0);
    }

    #[test]
    fn headers_change_only_what_they_name() {
        let base = Retry {
            limit: 5,
            statuses: vec![(500, 599)],
            ..Retry::asked()
        };
        let headers = [
            ("l5d-retry-grpc", "unavailable"),
            ("l5d-timeout", "9s"),
            ("l5d-request-timeout", "1s"),
            ("l5d-response-timeout", "bad"),
        ];
        let (retry, timeouts) = asked(&headers, Some(&base));
        let retry = retry.expect("the route's");
        assert_eq!((5, vec![14]), (retry.limit, retry.codes.clone()));
        assert!(retry.wants(200, Some(14)) && retry.wants(500, None));
        assert_eq!(
            (Some(Duration::from_secs(1)), None),
            (timeouts.request, timeouts.response)
        );
    }

    #[test]
    fn budgets_refill_with_requests_and_forget_them() {
        let mut budget = Budget::new(BudgetConfig {
            ratio: 0.5,
            min_per_second: 0,
            ttl: Duration::from_secs(10),
        });
        assert!(!budget.withdraw(0));
        for _ in 0..4 {
            budget.deposit(SECOND);
        }
        assert!(budget.withdraw(SECOND) && budget.withdraw(2 * SECOND));
        assert!(!budget.withdraw(2 * SECOND));
        for _ in 0..4 {
            budget.deposit(3 * SECOND);
        }
        assert!(!budget.withdraw(30 * SECOND));
    }

    #[test]
    fn a_minimum_is_always_there() {
        let mut budget = Budget::new(BudgetConfig {
            ratio: 0.0,
            min_per_second: 1,
            ttl: Duration::from_secs(10),
        });
        let taken = (0..100).filter(|_| budget.withdraw(SECOND)).count();
        assert_eq!(10, taken);
        assert_eq!(
            10,
            (0..100).filter(|_| budget.withdraw(60 * SECOND)).count()
        );
    }

    proptest! {
        #[test]
        fn retries_never_exceed_ratio_and_reserve(
            ratio in 0.0f32..2.0,
            steps in proptest::collection::vec((0u64..300_000_000, 0u8..2), 1..500),
        ) {
            let config = BudgetConfig { ratio, min_per_second: 1, ttl: Duration::from_secs(1) };
            let mut budget = Budget::new(config);
            let (mut now, mut requests, mut retries) = (0u64, 0u32, 0u32);
            for (gap, retry) in steps {
                now += gap;
                if retry == 0 {
                    budget.deposit(now);
                    requests += 1;
                } else if budget.withdraw(now) {
                    retries += 1;
                }
            }
            let seconds = now as f64 / 1e9 + 2.0;
            let most = f64::from(requests) * (f64::from(ratio) + 0.001) + 2.0 * seconds;
            prop_assert!(f64::from(retries) <= most, "{retries} > {most}");
        }
    }
}

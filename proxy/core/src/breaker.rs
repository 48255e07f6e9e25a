//! Taking an endpoint out of the balancer that keeps failing, and letting it prove itself.
//!
//! ```text
//! closed ──failures──▶ open ──backoff──▶ probation ──success──▶ closed
//!                        ▲                   │
//!                        └──────failure──────┘  (longer backoff)
//! ```
//!
//! Source: linkerd2-proxy linkerd/app/outbound/src/http/breaker (behaviour).

use crate::backoff::Backoff;
use crate::rng::Rng;
use std::time::Duration;

/// When an endpoint is taken out, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Accrual {
    /// When.
    pub rule: Rule,
    /// How long it stays out.
    pub backoff: Backoff,
    /// Whether it stays out for as long as it asks for with `retry-after` or gRPC's push-back.
    pub heeds_hints: bool,
    /// Endpoints that stay in whatever happens.
    pub ready_min: u32,
}

/// What counts against an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// This many failures in a row.
    Consecutive {
        /// How many, at least 1.
        failures: u32,
    },
    /// A low success rate, and failures in a row.
    Unified {
        /// Successes per response below which it goes, `0.0..=1.0`; 0 for never.
        threshold: f64,
        /// How long a response counts.
        window: Duration,
        /// Responses in the window without which the rate says nothing.
        min_requests: u32,
        /// Failures in a row; 0 for any number.
        failures: u32,
    },
}

/// Longer hints are not believed.
const HINT_MAX: Duration = Duration::from_secs(300);

/// How a response counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is well.
    Success,
    /// It failed.
    Failure,
    /// It asks for less traffic (429, RESOURCE_EXHAUSTED): counts against the rate, not in a row.
    Limited,
}

const SLOTS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until_ns: u64,
    },
    /// Waiting for one request, or for its response.
    Probation {
        sent: bool,
    },
}

/// The breaker of one endpoint. Times are nanoseconds since any fixed moment.
#[derive(Clone, Debug)]
pub struct Breaker {
    accrual: Accrual,
    state: State,
    /// Openings since the last recovery.
    attempt: u32,
    in_a_row: u32,
    /// Successes and all responses by slot of the window.
    slots: [(u32, u32); SLOTS],
    current: u64,
    /// How long the last response asked to be left alone.
    hint: Option<Duration>,
}

impl Breaker {
    /// Starts closed.
    pub fn new(accrual: Accrual) -> Self {
        Self {
            accrual,
            state: State::Closed,
            attempt: 0,
            in_a_row: 0,
            slots: [(0, 0); SLOTS],
            current: 0,
            hint: None,
        }
    }

    /// Whether a request may go to the endpoint now.
    pub fn is_open_for_requests(&self, now_ns: u64) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until_ns } => now_ns >= until_ns,
            State::Probation { sent } => !sent,
        }
    }

    /// Notes that a request goes there.
    pub fn sent(&mut self, now_ns: u64) {
        match self.state {
            State::Open { until_ns } if now_ns >= until_ns => {
                self.state = State::Probation { sent: true };
            }
            State::Probation { .. } => self.state = State::Probation { sent: true },
            State::Open { .. } | State::Closed => {}
        }
    }

    /// Notes that a request ended without a sign: whoever waits for the probe may send another.
    pub fn forgotten(&mut self) {
        if let State::Probation { sent } = &mut self.state {
            *sent = false;
        }
    }

    /// Notes how long a response asks to be left alone, before it is taken in.
    pub fn hinted(&mut self, hint: Duration) {
        if self.accrual.heeds_hints {
            self.hint = Some(hint.min(HINT_MAX));
        }
    }

    /// Takes a response in. `Some` is how long the endpoint stays out from now; an endpoint that is
    /// `needed` stays in.
    pub fn responded(
        &mut self,
        sign: Sign,
        needed: bool,
        now_ns: u64,
        rng: &mut Rng,
    ) -> Option<Duration> {
        self.count(sign, now_ns);
        let hint = self.hint.take();
        match self.state {
            // Responses to requests from before it was taken out decide nothing.
            State::Open { .. } => None,
            State::Probation { .. } if sign == Sign::Success => {
                self.state = State::Closed;
                self.attempt = 0;
                self.in_a_row = 0;
                self.slots = [(0, 0); SLOTS];
                None
            }
            State::Probation { .. } => Some(self.open(hint, now_ns, rng)),
            State::Closed => (!needed && self.has_failed()).then(|| self.open(hint, now_ns, rng)),
        }
    }

    fn open(&mut self, hint: Option<Duration>, now_ns: u64, rng: &mut Rng) -> Duration {
        let delay = self.accrual.backoff.delay(self.attempt, rng);
        let delay = delay.max(hint.unwrap_or_default());
        self.attempt = self.attempt.saturating_add(1);
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.state = State::Open {
            until_ns: now_ns.saturating_add(delay_ns),
        };
        delay
    }

    fn has_failed(&self) -> bool {
        match self.accrual.rule {
            Rule::Consecutive { failures } => self.in_a_row >= failures.max(1),
            Rule::Unified {
                threshold,
                min_requests,
                failures,
                ..
            } => {
                if failures > 0 && self.in_a_row >= failures {
                    return true;
                }
                let (good, all) = self.slots.iter().fold((0u64, 0u64), |sum, slot| {
                    (sum.0 + u64::from(slot.0), sum.1 + u64::from(slot.1))
                });
                threshold > 0.0
                    && all > 0
                    && all >= u64::from(min_requests)
                    && (good as f64) < threshold * all as f64
            }
        }
    }

    fn count(&mut self, sign: Sign, now_ns: u64) {
        match sign {
            Sign::Success => self.in_a_row = 0,
            Sign::Failure => self.in_a_row = self.in_a_row.saturating_add(1),
            Sign::Limited if matches!(self.accrual.rule, Rule::Consecutive { .. }) => {
                self.in_a_row = 0;
            }
            Sign::Limited => {}
        }
        let Rule::Unified { window, .. } = self.accrual.rule else {
            return;
        };
        let slot_ns = (window.as_nanos() as u64 / SLOTS as u64).max(1);
        let now = now_ns / slot_ns;
        let passed = now.saturating_sub(self.current).min(SLOTS as u64);
        self.current = self.current.max(now);
        for back in 0..passed {
            self.slots[((self.current - back) % SLOTS as u64) as usize] = (0, 0);
        }
        let slot = &mut self.slots[(self.current % SLOTS as u64) as usize];
        slot.0 = slot.0.saturating_add(u32::from(sign == Sign::Success));
        slot.1 = slot.1.saturating_add(1);
    }
}

/// The sign that a classified response gives.
pub fn sign(status: u16, grpc: Option<u16>, success: bool) -> Sign {
    if status == 429 || grpc == Some(8) {
        Sign::Limited
    } else if success {
        Sign::Success
    } else {
        Sign::Failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const MS: u64 = 1_000_000;

    fn backoff() -> Backoff {
        Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
            jitter: 0.0,
        }
    }

    fn with(rule: Rule) -> Breaker {
        Breaker::new(Accrual {
            rule,
            backoff: backoff(),
            heeds_hints: true,
            ready_min: 0,
        })
    }

    fn consecutive(failures: u32) -> Breaker {
        with(Rule::Consecutive { failures })
    }

    fn unified(threshold: f64, min_requests: u32, failures: u32) -> Breaker {
        with(Rule::Unified {
            threshold,
            window: Duration::from_secs(10),
            min_requests,
            failures,
        })
    }

    fn feed(breaker: &mut Breaker, signs: &[Sign], now_ns: u64) -> Option<Duration> {
        let mut rng = Rng::new(1);
        signs
            .iter()
            .filter_map(|sign| breaker.responded(*sign, false, now_ns, &mut rng))
            .last()
    }

    use Sign::{Failure, Limited, Success};

    #[test]
    fn hints_lengthen_the_pause_within_bounds_and_needed_endpoints_stay() {
        let second = Duration::from_secs(1);
        for (hint, heeds, expected) in [
            (Some(7 * second), true, 7 * second),
            (Some(7 * second), false, Duration::from_millis(100)),
            (
                Some(Duration::from_millis(1)),
                true,
                Duration::from_millis(100),
            ),
            (Some(9000 * second), true, HINT_MAX),
            (None, true, Duration::from_millis(100)),
        ] {
            let mut breaker = consecutive(1);
            breaker.accrual.heeds_hints = heeds;
            if let Some(hint) = hint {
                breaker.hinted(hint);
            }
            let mut rng = Rng::new(1);
            assert_eq!(None, breaker.responded(Success, true, 0, &mut rng));
            if let Some(hint) = hint {
                breaker.hinted(hint);
            }
            assert_eq!(None, breaker.responded(Failure, true, 0, &mut rng));
            if let Some(hint) = hint {
                breaker.hinted(hint);
            }
            let paused = breaker.responded(Failure, false, 0, &mut rng);
            assert_eq!(Some(expected), paused, "{hint:?} {heeds}");
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_resets() {
        let mut breaker = consecutive(3);
        assert_eq!(
            None,
            feed(
                &mut breaker,
                &[Failure, Failure, Success, Failure, Failure],
                0
            )
        );
        assert!(breaker.is_open_for_requests(0));
        assert_eq!(
            Some(Duration::from_millis(100)),
            feed(&mut breaker, &[Failure], 0)
        );
        assert!(!breaker.is_open_for_requests(99 * MS));
        assert!(breaker.is_open_for_requests(100 * MS));
    }

    #[test]
    fn probation_takes_one_request_and_its_response_decides() {
        let mut breaker = consecutive(1);
        feed(&mut breaker, &[Failure], 0);
        breaker.sent(100 * MS);
        assert!(!breaker.is_open_for_requests(100 * MS));
        assert_eq!(
            Some(Duration::from_millis(200)),
            feed(&mut breaker, &[Failure], 110 * MS)
        );
        assert!(!breaker.is_open_for_requests(300 * MS));
        breaker.sent(310 * MS);
        breaker.forgotten();
        assert!(breaker.is_open_for_requests(310 * MS));
        breaker.sent(310 * MS);
        assert_eq!(None, feed(&mut breaker, &[Success], 320 * MS));
        assert!(breaker.is_open_for_requests(320 * MS));
        // The backoff starts over.
        assert_eq!(
            Some(Duration::from_millis(100)),
            feed(&mut breaker, &[Failure], 330 * MS)
        );
    }

    #[test]
    fn late_responses_do_not_prolong_an_opening() {
        let mut breaker = consecutive(1);
        assert!(feed(&mut breaker, &[Failure], 0).is_some());
        assert_eq!(None, feed(&mut breaker, &[Failure, Success], 50 * MS));
        assert!(!breaker.is_open_for_requests(99 * MS));
        assert!(breaker.is_open_for_requests(100 * MS));
    }

    #[test]
    fn the_rate_needs_enough_responses() {
        let mut breaker = unified(0.5, 10, 0);
        assert_eq!(None, feed(&mut breaker, &[Failure; 9], 0));
        assert!(feed(&mut breaker, &[Failure], 0).is_some());
        let mut healthy = unified(0.5, 10, 0);
        assert_eq!(None, feed(&mut healthy, &[Success, Failure].repeat(20), 0));
    }

    #[test]
    fn limits_count_against_the_rate_and_not_in_a_row() {
        let mut by_row = unified(0.0, 1, 3);
        assert_eq!(None, feed(&mut by_row, &[Limited; 50], 0));
        assert!(feed(&mut by_row, &[Failure; 3], 0).is_some());
        let mut by_rate = unified(0.9, 5, 0);
        assert!(feed(&mut by_rate, &[Limited; 5], 0).is_some());
        by_rate.sent(u64::MAX / 2);
        assert!(feed(&mut by_rate, &[Limited], u64::MAX / 2).is_some());
    }

    #[test]
    fn old_responses_are_forgotten() {
        let mut breaker = unified(0.5, 10, 0);
        assert_eq!(None, feed(&mut breaker, &[Failure; 9], 0));
        assert_eq!(None, feed(&mut breaker, &[Failure; 9], 20_000 * MS));
    }

    #[test]
    fn signs_follow_status_code_and_class() {
        for (status, grpc, success, expected) in [
            (200, None, true, Success),
            (503, None, false, Failure),
            (429, None, true, Limited),
            (200, Some(8), true, Limited),
            (200, Some(14), false, Failure),
        ] {
            assert_eq!(expected, sign(status, grpc, success));
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_always_gets_another_chance(
            steps in proptest::collection::vec((0u64..2_000 * MS, 0u8..5), 1..300),
            failures in 1u32..5,
        ) {
            let mut breaker = consecutive(failures);
            let (mut now, mut rng) = (0, Rng::new(5));
            for (gap, step) in steps {
                now += gap;
                match step {
                    0 => { breaker.responded(Success, false, now, &mut rng); }
                    1 => { breaker.responded(Failure, false, now, &mut rng); }
                    2 => { breaker.responded(Limited, false, now, &mut rng); }
                    3 => breaker.sent(now),
                    _ => breaker.forgotten(),
                }
                let mut later = breaker.clone();
                later.forgotten();
                prop_assert!(later.is_open_for_requests(now + 1_000 * MS));
            }
        }
    }
}

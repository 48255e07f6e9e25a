//! Power of two choices over peak-sensitive latency estimates.
//!
//! Source: linkerd2-proxy linkerd/proxy/balance and linkerd/pool/p2c (behaviour); Finagle's peak
//! EWMA (algorithm).

use crate::rng::Rng;
use std::time::Duration;

/// Weight that counts as one share.
pub const WEIGHT_UNIT: u32 = 10_000;

/// A decaying estimate of the round trip that jumps up at once and comes down slowly.
///
/// Time is nanoseconds since any fixed moment, never going back by more than it is clamped.
#[derive(Clone, Copy, Debug)]
pub struct PeakEwma {
    rtt_ns: f64,
    updated_ns: u64,
    decay_ns: f64,
}

impl PeakEwma {
    /// Starts at `default_rtt`.
    pub fn new(default_rtt: Duration, decay: Duration, now_ns: u64) -> Self {
        Self {
            rtt_ns: default_rtt.as_nanos() as f64,
            updated_ns: now_ns,
            decay_ns: (decay.as_nanos() as f64).max(1.0),
        }
    }

    /// Takes a sample in.
    pub fn record(&mut self, rtt: Duration, now_ns: u64) {
        let sample = rtt.as_nanos() as f64;
        let current = self.estimate(now_ns);
        self.rtt_ns = if sample > current {
            sample
        } else {
            let w = self.keep(now_ns);
            self.rtt_ns * w + sample * (1.0 - w)
        };
        self.updated_ns = self.updated_ns.max(now_ns);
    }

    /// The estimate in nanoseconds at `now_ns`, decayed since the last sample.
    pub fn estimate(&self, now_ns: u64) -> f64 {
        self.rtt_ns * self.keep(now_ns)
    }

    fn keep(&self, now_ns: u64) -> f64 {
        (-(now_ns.saturating_sub(self.updated_ns) as f64) / self.decay_ns).exp()
    }
}

/// The cost of sending one more request: smaller is better.
pub fn load(rtt_ns: f64, pending: u32, weight: u32) -> f64 {
    let share = f64::from(weight.max(1)) / f64::from(WEIGHT_UNIT);
    rtt_ns.max(1.0) * (f64::from(pending) + 1.0) / share
}

/// The round trip that a response counts as at least, when failures are penalised.
///
/// `grpc` is the code of a response without a body; `hint` is what the endpoint itself asks for,
/// believed up to `hint_max` and only with statuses that mean overload.
/// Source: linkerd2-proxy linkerd/load-biaser (behaviour).
pub fn penalized(
    status: u16,
    grpc: Option<u16>,
    hint: Option<Duration>,
    penalty: Duration,
    hint_max: Duration,
) -> Option<Duration> {
    let overloaded = matches!(status, 429 | 503) || matches!(grpc, Some(8 | 14));
    let failed = (500..600).contains(&status) || matches!(grpc, Some(2 | 4 | 13 | 15));
    let hint = hint.filter(|_| overloaded).unwrap_or_default();
    (overloaded || failed).then(|| penalty.max(hint.min(hint_max)))
}

/// Picks one of `eligible` (indices into the caller's list) by comparing two random ones.
///
/// `None` only when there are none; ties go to the first drawn.
pub fn pick(eligible: &[usize], cost: impl Fn(usize) -> f64, rng: &mut Rng) -> Option<usize> {
    match eligible {
        [] => None,
        [only] => Some(*only),
        _ => {
            let (a, b) = two(eligible.len(), rng);
            let (a, b) = (eligible[a], eligible[b]);
            Some(if cost(b) < cost(a) { b } else { a })
        }
    }
}

/// Two different indices below `count`, which is at least 2.
pub fn two(count: usize, rng: &mut Rng) -> (usize, usize) {
    let a = rng.below(count);
    let b = rng.below(count - 1);
    (a, if b >= a { b + 1 } else { b })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn peaks_count_at_once_and_decay() {
        let mut ewma = PeakEwma::new(Duration::from_millis(30), Duration::from_secs(10), 0);
        ewma.record(Duration::from_millis(500), SECOND);
        assert!((ewma.estimate(SECOND) - 5e8).abs() < 1.0);
        ewma.record(Duration::from_millis(1), 2 * SECOND);
        let after = ewma.estimate(2 * SECOND);
        assert!(after < 4.6e8 && after > 4.4e8, "{after}");
        assert!(ewma.estimate(40 * SECOND) < 2e7);
    }

    #[test]
    fn a_slow_endpoint_gets_little() {
        let cost = |i: usize| if i == 0 { 100.0 } else { 1.0 };
        let mut rng = Rng::new(3);
        let picks = (0..3000)
            .filter(|_| pick(&[0, 1, 2], cost, &mut rng) == Some(0))
            .count();
        assert_eq!(0, picks);
    }

    #[test]
    fn failures_cost_a_penalty_or_what_the_endpoint_asks_for() {
        let s = Duration::from_secs;
        let cases = [
            (200, None, None, None),
            (404, None, Some(s(60)), None),
            (500, None, Some(s(60)), Some(s(5))),
            (503, None, Some(s(60)), Some(s(60))),
            (429, None, Some(s(9999)), Some(s(300))),
            (429, None, Some(s(1)), Some(s(5))),
            (200, Some(14), Some(s(60)), Some(s(60))),
            (200, Some(13), Some(s(60)), Some(s(5))),
            (200, Some(5), None, None),
        ];
        for (status, grpc, hint, expected) in cases {
            let found = penalized(status, grpc, hint, s(5), s(300));
            assert_eq!(expected, found, "{status} {grpc:?} {hint:?}");
        }
    }

    #[test]
    fn a_heavier_endpoint_costs_less() {
        assert!(load(1e6, 3, 20_000) < load(1e6, 3, 10_000));
        assert!(load(1e6, 0, 0).is_finite());
    }

    proptest! {
        #[test]
        fn picks_only_eligible_ones_and_evenly(n in 1usize..20, seed in any::<u64>()) {
            let eligible: Vec<usize> = (0..n).map(|i| i * 3).collect();
            let mut rng = Rng::new(seed);
            let mut hits = vec![0usize; n * 3];
            for _ in 0..n * 200 {
                let i = pick(&eligible, |_| 1.0, &mut rng).expect("an endpoint");
                prop_assert!(eligible.contains(&i));
                hits[i] += 1;
            }
            for i in eligible {
                prop_assert!((80..=350).contains(&hits[i]), "{:?}", hits);
            }
        }
    }
}

//! Exponential backoff with jitter.

use crate::rng::Rng;
use std::time::Duration;

/// Bounds of the delays between attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub min: Duration,
    /// Longest delay, before jitter.
    pub max: Duration,
    /// Fraction of the delay that may be added at random, `0.0..=100.0`.
    pub jitter: f64,
}

impl Backoff {
    /// The delay before attempt `attempt + 1`, where `attempt` counts failures from 0.
    ///
    /// Doubles from `min` to `max`, plus up to `jitter` of itself.
    pub fn delay(&self, attempt: u32, rng: &mut Rng) -> Duration {
        let factor = 2f64.powi(attempt.min(30) as i32);
        let base = (self.min.as_secs_f64() * factor).min(self.max.as_secs_f64());
        Duration::from_secs_f64(base * (1.0 + self.jitter.clamp(0.0, 100.0) * rng.unit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
            jitter: 0.0,
        };
        let mut rng = Rng::new(1);
        let delays: Vec<u128> = (0..6)
            .map(|n| backoff.delay(n, &mut rng).as_millis())
            .collect();
        assert_eq!(vec![100, 200, 400, 800, 1000, 1000], delays);
    }

    #[test]
    fn jitter_only_adds() {
        let backoff = Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
            jitter: 0.5,
        };
        let mut rng = Rng::new(7);
        for _ in 0..100 {
            let delay = backoff.delay(0, &mut rng).as_millis();
            assert!((100..=150).contains(&delay), "{delay}");
        }
    }
}

//! A histogram of durations with a fixed relative precision.
//!
//! Values up to 2^7 ns have a bucket each; above, every power of two has 2^7 equal buckets, so a
//! quantile is at most 0.8 % too high.

const PRECISION_BITS: u32 = 7;
const BUCKETS: usize = ((64 - PRECISION_BITS as usize) << PRECISION_BITS) + (1 << PRECISION_BITS);

/// Counts of nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            sum: 0,
            max: 0,
        }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.counts[index(nanoseconds)] += 1;
        self.total += 1;
        self.sum += u128::from(nanoseconds);
        self.max = self.max.max(nanoseconds);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// Mean in nanoseconds; zero when empty.
    pub(crate) fn mean(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.sum as f64 / self.total as f64
        }
    }

    /// The smallest recorded value that at least `share` (0..=1) of all values do not exceed, in
    /// nanoseconds, rounded up to its bucket's end; zero when empty.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn index(value: u64) -> usize {
    let bits = 64 - value.leading_zeros();
    if bits <= PRECISION_BITS {
        return value as usize;
    }
    let shift = bits - PRECISION_BITS - 1;
    // The top bit is implied, the next seven choose the bucket.
    ((shift as usize + 1) << PRECISION_BITS)
        + ((value >> shift) as usize & ((1 << PRECISION_BITS) - 1))
}

fn upper(bucket: usize) -> u64 {
    let (power, offset) = (
        bucket >> PRECISION_BITS,
        (bucket & ((1 << PRECISION_BITS) - 1)) as u64,
    );
    if power == 0 {
        return offset;
    }
    let shift = power as u32 - 1;
    let lowest = ((1 << PRECISION_BITS) + offset) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..2000).chain([12_345, 999_999, 1 << 40, u64::MAX]) {
            let bucket = index(value);
            assert!(upper(bucket) >= value, "{value}");
            assert!(bucket == 0 || upper(bucket - 1) < value, "{value}");
            assert!(upper(bucket) as f64 <= value as f64 * 1.008, "{value}");
        }
    }

    #[test]
    fn quantiles_are_counted_from_below() {
        let mut histogram = Histogram::new();
        assert_eq!(0, histogram.quantile(0.5));
        for value in 1..=100 {
            histogram.record(value);
        }
        assert_eq!(
            (1, 50, 99, 100),
            (
                histogram.quantile(0.0),
                histogram.quantile(0.5),
                histogram.quantile(0.99),
                histogram.quantile(1.0)
            )
        );
        assert_eq!((100, 100), (histogram.max(), histogram.total()));
    }
}

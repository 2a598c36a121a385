//! Latencies and their percentiles.

use std::time::Duration;

use serde::Serialize;

/// Samples kept; a load of a few seconds stays below, and nothing grows without bound.
const MAX_SAMPLES: usize = 4_000_000;

/// How long the median, the slowest hundredth and the slowest thousandth took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Median, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// 999 of 1,000 were faster.
    pub p999_us: f64,
}

/// Gathers samples.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn record(&mut self, sample: Duration) {
        if self.0.len() < MAX_SAMPLES {
            self.0.push(sample);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// `None` without a sample.
    pub(super) fn percentiles(mut self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_unstable();
        // The nearest rank: the smallest sample that at least so many per mille do not exceed.
        let at = |per_mille: usize| {
            let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
            self.0[rank - 1].as_nanos() as f64 / 1000.0
        };
        Some(Percentiles {
            p50_us: at(500),
            p99_us: at(990),
            p999_us: at(999),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut latencies = Latencies::default();
        for us in (1..=1000).rev() {
            latencies.record(Duration::from_micros(us));
        }
        let expected = Percentiles {
            p50_us: 500.0,
            p99_us: 990.0,
            p999_us: 999.0,
        };
        assert_eq!(latencies.percentiles(), Some(expected));

        let mut one = Latencies::default();
        one.record(Duration::from_micros(7));
        let expected = Percentiles {
            p50_us: 7.0,
            p99_us: 7.0,
            p999_us: 7.0,
        };
        assert_eq!(one.percentiles(), Some(expected));
        assert_eq!(Latencies::default().percentiles(), None);
    }
}

//! The allowance of refused packets of a client.

use super::moment::Moment;
use crate::limits::Rate;

/// What is left of a [`Rate`]: its number at once, and again in each period.
#[derive(Debug)]
pub(super) struct Allowance {
    left: f64,
    at: Moment,
}

impl Allowance {
    pub(super) fn new(rate: Rate, at: Moment) -> Self {
        let left = f64::from(rate.count.get());
        Self { left, at }
    }

    /// Takes `count`; false when fewer are left.
    pub(super) fn take(&mut self, count: u32, rate: Rate, now: Moment) -> bool {
        let most = f64::from(rate.count.get());
        let period = rate.period.as_secs_f64().max(1e-9);
        let earned = now.seconds_since(self.at) / period;
        self.left = earned.mul_add(most, self.left).min(most) - f64::from(count);
        self.at = now;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn as_many_at_once_and_again_in_each_period() {
        let start = Instant::now();
        let rate = Rate::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(10));
        let mut allowance = Allowance::new(rate, Moment::now(start));
        assert!(allowance.take(10, rate, Moment::now(start)));
        assert!(!allowance.take(1, rate, Moment::now(start)));
        advance(Duration::from_secs(3)).await;
        assert!(allowance.take(2, rate, Moment::now(start)));
        assert!(!allowance.take(1, rate, Moment::now(start)));
        advance(Duration::from_secs(1000)).await;
        assert!(!allowance.take(11, rate, Moment::now(start)), "no savings");
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_of_any_length_is_a_number() {
        let start = Instant::now();
        for period in [Duration::ZERO, Duration::MAX] {
            let rate = Rate::new(NonZeroU32::MIN, period);
            let mut allowance = Allowance::new(rate, Moment::now(start));
            assert!(allowance.take(1, rate, Moment::now(start)));
            advance(Duration::from_secs(1)).await;
            let refilled = allowance.take(1, rate, Moment::now(start));
            assert_eq!(refilled, period.is_zero());
        }
    }
}

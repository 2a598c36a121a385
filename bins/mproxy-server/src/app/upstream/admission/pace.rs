//! When the next CONNECT may go to the broker. It reads no clock.

use std::time::{Duration, Instant};

use mproxy_session::Rate;

/// The part of a period by which CONNECTs may be late, because a timer was, and still go. Another such part
/// is for the way to the broker, on which a slow one may catch up with the one before it.
const SLACK: u32 = 50;

/// A rate that no period exceeds, wherever it begins, at the broker too.
///
/// ```text
///           period           SLACK SLACK
/// |-------------------------|-----|-----|      `count` CONNECTs in this time: less than the rate
///   |   |   |   |   |   |   |   |   |
/// ```
/// In any period there are at most those of the period and one `SLACK`, which are fewer than `count`.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rate: Option<Rate>,
    /// When the next one is due.
    due: Option<Instant>,
}

impl Pace {
    /// Sets the rate; those that went count.
    pub(super) fn set(&mut self, rate: Option<Rate>) {
        if self.rate != rate {
            // what is due at the old rate may be in an hour
            self.due = None;
            self.rate = rate;
        }
    }

    /// When the next CONNECT may go; `None` = at once.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.due.filter(|due| *due > now)
    }

    /// A CONNECT goes.
    pub(super) fn take(&mut self, now: Instant) {
        let Some((slack, every)) = self.steps() else {
            return;
        };
        // what was not used does not add up
        let soonest = now.checked_sub(slack).unwrap_or(now);
        self.due = Some(self.due.map_or(now, |due| due.max(soonest)) + every);
    }

    /// A CONNECT that was [taken](Self::take) before goes only now.
    pub(super) fn goes(&mut self, now: Instant) {
        if let Some((slack, every)) = self.steps() {
            let soonest = now.checked_sub(slack).unwrap_or(now) + every;
            self.due = self.due.map(|due| due.max(soonest));
        }
    }

    /// How many may have been taken and not gone yet: a thread that is late must not let more go at once.
    pub(super) fn ahead(&self) -> usize {
        let ahead = |rate: Rate| (rate.count.get() / SLACK).max(1) as usize;
        self.rate.map_or(usize::MAX, ahead)
    }

    fn steps(&self) -> Option<(Duration, Duration)> {
        let rate = self.rate?;
        let slack = rate.period / SLACK;
        Some((slack, (rate.period + 2 * slack) / rate.count.get()))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn pace(count: u32, period: Duration) -> Pace {
        let mut pace = Pace::default();
        pace.set(NonZeroU32::new(count).map(|count| Rate::new(count, period)));
        pace
    }

    /// Takes as many as it can in `time`, each time up to `late` too late; returns when.
    fn taken(pace: &mut Pace, time: Duration, late: Duration) -> Vec<Instant> {
        let begin = Instant::now();
        let (mut now, mut all) = (begin, Vec::new());
        while now < begin + time {
            while pace.due(now).is_none() {
                pace.take(now);
                all.push(now);
            }
            let jitter = late.mul_f64(rand::random_range(0.0..1.0));
            now = pace.due(now).unwrap_or(now) + jitter;
        }
        all
    }

    #[test]
    fn no_period_has_more_than_the_rate_however_late_the_timers_are() {
        let second = Duration::from_secs(1);
        for (count, period) in [(1, second), (3, second), (100, second), (5000, second)] {
            for late in [Duration::ZERO, period / 1000, period / 30, period / 3] {
                let mut pace = pace(count, period);
                let all = taken(&mut pace, 20 * period, late);
                for (index, since) in all.iter().enumerate() {
                    let within = all[index..].partition_point(|at| *at < *since + period);
                    assert!(
                        within <= count as usize,
                        "{within} of {count} in {period:?}"
                    );
                }
                if late <= period / 1000 {
                    let least = 20 * count as usize * 95 / 100;
                    assert!(all.len() >= least, "{} of {count}", all.len());
                }
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut pace = pace(10, Duration::from_secs(1));
        let mut now = Instant::now();
        pace.take(now);
        now += Duration::from_secs(60);
        pace.take(now);
        assert!(pace.due(now).is_some());
    }

    #[test]
    fn what_goes_late_is_followed_by_the_next_one_in_time() {
        let mut pace = pace(100, Duration::from_secs(1));
        let called = Instant::now();
        pace.take(called);
        let gone = called + Duration::from_millis(500);
        pace.goes(gone);
        pace.take(gone);
        pace.take(gone);
        assert!(pace.due(gone).is_some(), "no more than the slack at once");
        assert_eq!(pace.ahead(), 2);
    }

    #[test]
    fn a_new_rate_counts_at_once() {
        let mut pace = pace(1, Duration::from_secs(3600));
        let now = Instant::now();
        pace.take(now);
        assert!(pace.due(now + Duration::from_secs(60)).is_some());
        let hundred = NonZeroU32::new(100).map(|count| Rate::new(count, Duration::from_secs(1)));
        pace.set(hundred);
        assert_eq!(pace.due(now), None);
        pace.set(None);
        pace.take(now);
        assert_eq!(pace.due(now), None, "unlimited");
    }
}

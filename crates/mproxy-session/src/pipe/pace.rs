//! How fast a side may send. The session delays reading, so the sender's own network slows it down, as with
//! a slow receiver, and nothing is buffered for it.

use std::time::Duration;

use tokio::time::Instant;

use super::deadlines::NEVER;
use crate::flow::Intake;
use crate::limits::{Pace, Paces, Rate};
use crate::recorder::Batch;

/// How much of its [`Pace`] a direction has used.
#[derive(Debug)]
pub(super) struct Throttle {
    pace: Pace,
    /// When the buckets of packets and bytes are full again.
    full: [Instant; 2],
    /// When to read again.
    held_until: Option<Instant>,
}

/// The use of both directions; `None` if neither has a pace.
pub(super) type Throttles = Option<Box<[Throttle; 2]>>;

impl Throttle {
    pub(super) fn both(paces: Paces) -> Throttles {
        let is_paced = paces.iter().any(Option::is_some);
        is_paced.then(|| Box::new(paces.map(|pace| Self::new(pace.unwrap_or_default()))))
    }

    fn new(pace: Pace) -> Self {
        Self {
            pace,
            full: [Instant::now(); 2],
            held_until: None,
        }
    }

    /// How far a direction may go. Reads the clock only if its sender was too fast.
    pub(super) fn intake(&mut self) -> Intake {
        if self.held_until.is_some_and(|until| Instant::now() < until) {
            return Intake::Hold;
        }
        self.held_until = None;
        Intake::Free
    }

    /// When a side will be read again, if it is not read now.
    pub(super) const fn resumes_at(&self) -> Option<Instant> {
        self.held_until
    }

    /// Takes what was read from the buckets. The amount is known only afterwards, so a read may take more
    /// than available; the next one then waits accordingly.
    pub(super) fn spend(&mut self, batch: &Batch) {
        let packets = batch.packets.iter().map(|count| u64::from(*count)).sum();
        if packets == 0 && batch.bytes == 0 || self.pace == Pace::default() {
            return;
        }
        let now = Instant::now();
        let taken = [(self.pace.packets, packets), (self.pace.bytes, batch.bytes)];
        let held = taken.into_iter().zip(&mut self.full);
        let held = held.filter_map(|((rate, count), full)| take(rate?, count, full, now));
        self.held_until = held.max();
    }
}

/// Takes `count` from a bucket that is full again at `full`, and returns until when it is in debt. A time
/// too far for any clock is as good as never.
fn take(rate: Rate, count: u64, full: &mut Instant, now: Instant) -> Option<Instant> {
    let period = rate.period.clamp(Duration::from_nanos(1), NEVER);
    let seconds = period.as_secs_f64() * count as f64 / f64::from(rate.count.get());
    let cost = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    *full = (*full).max(now) + cost.min(NEVER * 2);
    let debt = full.duration_since(now).saturating_sub(period);
    (debt > Duration::ZERO).then(|| now + debt)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tokio::time::advance;

    use super::*;

    fn read(packets: u32, bytes: u64) -> Batch {
        let mut batch = Batch {
            bytes,
            ..Batch::default()
        };
        batch.packets[3] = packets;
        batch
    }

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate::new(
            NonZeroU32::new(count).unwrap(),
            Duration::from_secs(seconds),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_at_once_and_then_at_the_rate() {
        let mut throttle = Throttle::new(Pace::default().packets(rate(10, 1)));
        throttle.spend(&read(10, 1_000_000));
        assert_eq!(throttle.intake(), Intake::Free);
        throttle.spend(&read(5, 0));
        assert_eq!(throttle.intake(), Intake::Hold);
        advance(Duration::from_millis(499)).await;
        assert_eq!(throttle.intake(), Intake::Hold);
        advance(Duration::from_millis(2)).await;
        assert_eq!(throttle.intake(), Intake::Free);
        // credit is limited to one period
        advance(Duration::from_secs(100)).await;
        throttle.spend(&read(11, 0));
        let resumes = throttle.resumes_at().unwrap();
        assert_eq!((resumes - Instant::now()).as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slower_of_packets_and_bytes_counts() {
        let pace = Pace::default().packets(rate(10, 1)).bytes(rate(1000, 1));
        let mut throttle = Throttle::new(pace);
        throttle.spend(&read(1, 3000));
        let resumes = throttle.resumes_at().unwrap();
        assert_eq!((resumes - Instant::now()).as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_any_period_is_a_time() {
        for period in [Duration::ZERO, Duration::MAX] {
            let rate = Rate::new(NonZeroU32::MIN, period);
            let mut throttle = Throttle::new(Pace::default().packets(rate));
            throttle.spend(&read(u32::MAX, 0));
            assert_eq!(throttle.intake(), Intake::Hold, "{period:?}");
        }
    }
}

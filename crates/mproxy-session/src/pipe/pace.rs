//! How fast a side may send. Reading is what is delayed: the sender is held back by its own network, as by
//! a slow receiver, and nothing is kept for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::flow::Intake;
use crate::limits::{Pace, Rate};
use crate::recorder::Batch;

/// What a direction has read of its [`Pace`].
#[derive(Debug)]
pub(super) struct Throttle {
    pace: Pace,
    /// When the buckets of packets and bytes are full again.
    full: [Instant; 2],
    /// Not read before.
    held_until: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            full: [Instant::now(); 2],
            held_until: None,
        }
    }

    /// How far a direction may go. The clock is read only if its sender was too fast.
    pub(super) fn intake(throttle: &mut Option<Self>) -> Intake {
        let Some(throttle) = throttle else {
            return Intake::Free;
        };
        match throttle.held_until {
            Some(until) if Instant::now() < until => Intake::Hold,
            _ => {
                throttle.held_until = None;
                Intake::Free
            }
        }
    }

    /// When a side is to be read again, if it is not now.
    pub(super) fn resumes_at(throttle: &Option<Self>) -> Option<Instant> {
        throttle.as_ref()?.held_until
    }

    /// Takes what was read out of the buckets. That is known afterwards only, so that a read may take more
    /// than there is; the next one waits for all of it.
    pub(super) fn spend(throttle: &mut Option<Self>, batch: &Batch) {
        let packets = batch.packets.iter().map(|count| u64::from(*count)).sum();
        let Some(throttle) = throttle.as_mut().filter(|_| packets > 0 || batch.bytes > 0) else {
            return;
        };
        let now = Instant::now();
        let Pace {
            packets: packet_rate,
            bytes: byte_rate,
        } = throttle.pace;
        let taken = [(packet_rate, packets), (byte_rate, batch.bytes)];
        let held = taken.into_iter().zip(&mut throttle.full);
        let held = held.filter_map(|((rate, count), full)| take(rate?, count, full, now));
        throttle.held_until = held.max();
    }
}

/// Takes `count` out of a bucket that is full again at `full`, and says until when it is in debt.
fn take(rate: Rate, count: u64, full: &mut Instant, now: Instant) -> Option<Instant> {
    let period = rate.period.max(Duration::from_nanos(1));
    let seconds = period.as_secs_f64() * count as f64 / f64::from(rate.count.get());
    let cost = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    // so far in the future that nobody waits for it
    *full = (*full).max(now).checked_add(cost)?;
    let until = full.checked_sub(period)?;
    (until > now).then_some(until)
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
        let mut throttle = Some(Throttle::new(Pace::default().packets(rate(10, 1))));
        Throttle::spend(&mut throttle, &read(10, 1_000_000));
        assert_eq!(Throttle::intake(&mut throttle), Intake::Free);
        Throttle::spend(&mut throttle, &read(5, 0));
        assert_eq!(Throttle::intake(&mut throttle), Intake::Hold);
        advance(Duration::from_millis(499)).await;
        assert_eq!(Throttle::intake(&mut throttle), Intake::Hold);
        advance(Duration::from_millis(2)).await;
        assert_eq!(Throttle::intake(&mut throttle), Intake::Free);
        // nothing is saved beyond a period
        advance(Duration::from_secs(100)).await;
        Throttle::spend(&mut throttle, &read(11, 0));
        let resumes = Throttle::resumes_at(&throttle).unwrap();
        assert_eq!((resumes - Instant::now()).as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slower_of_packets_and_bytes_counts() {
        let pace = Pace::default().packets(rate(10, 1)).bytes(rate(1000, 1));
        let mut throttle = Some(Throttle::new(pace));
        Throttle::spend(&mut throttle, &read(1, 3000));
        let resumes = Throttle::resumes_at(&throttle).unwrap();
        assert_eq!((resumes - Instant::now()).as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_any_period_is_a_time() {
        for period in [Duration::ZERO, Duration::MAX] {
            let rate = Rate::new(NonZeroU32::MIN, period);
            let mut throttle = Some(Throttle::new(Pace::default().packets(rate)));
            Throttle::spend(&mut throttle, &read(u32::MAX, 0));
            Throttle::intake(&mut throttle);
        }
    }
}

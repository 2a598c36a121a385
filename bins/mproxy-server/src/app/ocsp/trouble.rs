//! Failures in a row, and when it is tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::Failure;

/// The pause after a first failure, and the longest one; it doubles in between. Clients are refused meanwhile, so
/// it is not long.
const BACK_OFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// All pauses vary by this share, so that replicas do not ask together.
const JITTER: f64 = 0.1;

/// Failures in a row: of a responder, or about one certificate.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) why: Arc<Failure>,
    count: u32,
    pub(super) since: Instant,
    pub(super) retry: Instant,
    /// Somebody tries whether it is over: all others do not.
    pub(super) is_tried: bool,
}

impl Trouble {
    /// The trouble after one more failure, of a request that began at this time. `None` if it is no news,
    /// because it began before the last failure. `chance` is from 0 to 1.
    pub(super) fn after(
        before: Option<&Self>,
        why: &Arc<Failure>,
        begun: Instant,
        now: Instant,
        chance: f64,
    ) -> Option<Self> {
        if before.is_some_and(|it| begun < it.since) {
            return None;
        }
        let count = before.map_or(0, |it| it.count).saturating_add(1);
        Some(Self {
            why: Arc::clone(why),
            count,
            since: now,
            retry: now + pause(count).mul_f64(1.0 - JITTER + 2.0 * JITTER * chance),
            is_tried: false,
        })
    }
}

/// The pause after so many failures, one or more.
fn pause(count: u32) -> Duration {
    let [first, longest] = BACK_OFF;
    let doubled = first.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1)));
    doubled.min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_requests_that_fail_together_count_once() {
        for (count, seconds) in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (u32::MAX, 30)] {
            assert_eq!(pause(count), Duration::from_secs(seconds), "{count}");
        }
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let why = Arc::new(Failure::Stopped);
        let after = |before: Option<&Trouble>, begun, now| {
            Trouble::after(before, &why, at(begun), at(now), 0.5)
        };
        let first = after(None, 0, 5).unwrap();
        assert_eq!(first.retry, at(6));
        assert!(after(Some(&first), 1, 5).is_none());
        let second = after(Some(&first), 6, 11).unwrap();
        assert_eq!(second.retry, at(13));
    }
}

//! Points in time that take little memory.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::deadlines::NEVER;

/// A point in time as hundredths of a second since the session began, rounded up; more than a year
/// fits. A quarter of the size of an `Instant`, of which a pipe would need four more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(NonZeroU32);

impl Moment {
    const UNIT: u32 = 10;

    pub(super) fn now(start: Instant) -> Self {
        let passed = start.elapsed().as_millis().div_ceil(Self::UNIT.into());
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        Self(NonZeroU32::MIN.saturating_add(passed))
    }

    pub(super) fn seconds_since(self, earlier: Self) -> f64 {
        let passed = self.0.get().saturating_sub(earlier.0.get());
        f64::from(passed) * f64::from(Self::UNIT) / 1000.0
    }

    /// The instant that lies `duration` after this one.
    pub(super) fn after(self, start: Instant, duration: Duration) -> Instant {
        let passed = u64::from(self.0.get() - 1) * u64::from(Self::UNIT);
        let moment = start + Duration::from_millis(passed);
        // a limit too long for any clock is none
        moment.checked_add(duration).unwrap_or(moment + NEVER)
    }
}

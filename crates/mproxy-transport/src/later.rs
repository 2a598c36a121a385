//! Times that lie ahead.

use std::time::Duration;

use tokio::time::Instant;

/// When this time is over. One that is too long for any clock is no limit.
pub(crate) fn later(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + CENTURY)
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

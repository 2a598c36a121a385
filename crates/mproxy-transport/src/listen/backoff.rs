//! How long to wait after resources ran out, and how often to log it. No clock, no IO: time is a
//! parameter.

use std::time::Duration;

use tokio::time::Instant;

/// The state between failed accepts.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The next wait; doubles with each failure in a row.
    delay: Duration,
    resume_at: Option<Instant>,
    next_report_at: Instant,
    suppressed: u64,
}

/// What to log about a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) delay: Duration,
    /// Failures since the last report that were not logged.
    pub(super) suppressed: u64,
}

impl Backoff {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            delay: MIN_DELAY,
            resume_at: None,
            next_report_at: now,
            suppressed: 0,
        }
    }

    /// Until when not to try; `None` if there is no reason to wait.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    /// A connection was accepted.
    pub(super) fn succeeded(&mut self) {
        self.delay = MIN_DELAY;
        self.resume_at = None;
    }

    /// Resources ran out. Returns what to log, unless the last report is too recent.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Report> {
        let delay = self.delay;
        self.delay = (delay * 2).min(MAX_DELAY);
        self.resume_at = Some(now + delay);
        if now < self.next_report_at {
            self.suppressed += 1;
            return None;
        }
        self.next_report_at = now + REPORT_INTERVAL;
        Some(Report {
            delay,
            suppressed: std::mem::take(&mut self.suppressed),
        })
    }
}

/// Short enough that a moment's shortage goes unnoticed.
const MIN_DELAY: Duration = Duration::from_millis(10);
/// Long enough to cost nothing, short enough that service is back a second after files are.
const MAX_DELAY: Duration = Duration::from_secs(1);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_second_and_starts_over_after_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        assert_eq!(backoff.resume_at(), None);
        let mut waits = Vec::new();
        for _ in 0..9 {
            backoff.failed(now);
            waits.push((backoff.resume_at().unwrap() - now).as_millis());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.succeeded();
        assert_eq!(backoff.resume_at(), None);
        backoff.failed(now);
        assert_eq!(backoff.resume_at(), Some(now + MIN_DELAY));
    }

    #[test]
    fn reports_once_a_second_with_the_number_of_silent_failures() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        let mut reports = Vec::new();
        // Succeeding in between, as a shortage that comes and goes does, must not unleash the log.
        for tenth in 0..25 {
            let now = start + Duration::from_millis(100) * tenth;
            reports.extend(backoff.failed(now).map(|report| report.suppressed));
            backoff.succeeded();
        }
        assert_eq!(reports, [0, 9, 9]);
    }
}

//! Whether a broker serves clients: reports of sessions and probes go in, when to probe and what
//! readiness shows come out. It opens no sockets and reads no clock.
//!
//! ```text
//!             probe or session answered
//!  Unknown ------------------------------> Up <--------------------.
//!     |                                    | a session fails, or   | probe or session answered
//!     | probe failed                       | waits: one probe      |
//!     '--------------> Down <--------------'                       |
//!                       | probes, less and less often              |
//!                       '------------------------------------------'
//! ```

use std::time::{Duration, Instant};

use super::probe::Failure;

/// How many CONNECTs in a row without CONNACK start a probe.
///
/// Clients must not be able to make the proxy unready: anyone can send a CONNECT at which the broker closes
/// the connection, so that only starts a probe, and the probe decides.
const DOUBTFUL: u32 = 3;

/// The first pause after a failed probe, and the minimum time between two probes.
const PAUSE: Duration = Duration::from_secs(1);

/// What a session reports about its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The broker sent a CONNACK with any code.
    Answered,
    /// Connecting to the broker failed.
    Unreachable,
    /// The broker accepted the connection, but sent no CONNACK.
    Unanswered,
    /// The broker closed the connection of an accepted client, which was the last one.
    LastClosed,
}

/// The state of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Neither a session nor a probe has reported yet.
    Unknown,
    /// It serves clients.
    Up,
    /// It does not: a probe failed.
    Down(Failure),
}

/// The health of one broker.
#[derive(Debug)]
pub(super) struct BrokerHealth {
    /// Whether CONNACK counts (`check = "session"`), or only that a connection opens ("tcp").
    asks: bool,
    interval: Duration,
    verdict: Verdict,
    /// When to probe; `None` while a probe runs, and while there is no reason to.
    due: Option<Instant>,
    /// The last result of [`due`](Self::due): until then nobody looks, unless notified.
    alarm: Option<Instant>,
    probing: bool,
    last_probe: Option<Instant>,
    /// Probes that failed in a row.
    failures: u32,
    /// CONNECTs of clients in a row without CONNACK.
    unanswered: u32,
    /// Sessions that wait for CONNACK.
    waiting: u32,
    /// Since when sessions have waited without any answer; `None` if none waits.
    silent_since: Option<Instant>,
}

impl BrokerHealth {
    /// Nothing is known, so the first probe is due.
    pub(super) fn new(asks: bool, interval: Duration, now: Instant) -> Self {
        Self {
            asks,
            interval,
            verdict: Verdict::Unknown,
            due: Some(now),
            alarm: None,
            probing: false,
            last_probe: None,
            failures: 0,
            unanswered: 0,
            waiting: 0,
            silent_since: None,
        }
    }

    /// The state.
    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// When to probe; `None` for not before something happens.
    pub(super) fn due(&mut self) -> Option<Instant> {
        self.alarm = self.due.into_iter().chain(self.silence()).min();
        self.alarm
    }

    /// Whether a probe runs whose result still matters.
    pub(super) fn is_probing(&self) -> bool {
        self.probing
    }

    /// How many CONNECTs of clients had no CONNACK, if enough to report.
    pub(super) fn unanswered(&self) -> Option<u32> {
        Some(self.unanswered).filter(|count| *count >= DOUBTFUL)
    }

    /// The CONNECT of a client was sent. True if a probe is now due earlier.
    pub(super) fn wait(&mut self, now: Instant) -> bool {
        self.waiting = self.waiting.saturating_add(1);
        self.silent_since.get_or_insert(now);
        self.silence()
            .is_some_and(|due| self.alarm.is_none_or(|alarm| due < alarm))
    }

    /// A client has its CONNACK, or no longer waits.
    pub(super) fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.silent_since = None;
        }
    }

    /// A session reports. True if this changes the state or the next probe.
    pub(super) fn session(&mut self, outcome: Outcome, now: Instant) -> bool {
        match outcome {
            Outcome::Answered => {
                let is_news = self.probing
                    || self.verdict != Verdict::Up
                    || (self.asks && self.due.is_some());
                self.up(now);
                is_news
            }
            Outcome::Unreachable | Outcome::LastClosed => self.doubt(now),
            Outcome::Unanswered => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.asks && self.unanswered >= DOUBTFUL && self.doubt(now)
            }
        }
    }

    /// A probe begins.
    pub(super) fn probe(&mut self, now: Instant) {
        self.probing = true;
        self.last_probe = Some(now);
        self.due = None;
        self.alarm = None;
    }

    /// The probe has ended. It no longer matters if a session was answered meanwhile.
    pub(super) fn probed(&mut self, result: Result<(), Failure>, now: Instant) {
        if !self.probing {
            return;
        }
        match result {
            Ok(()) => self.up(now),
            Err(failure) => {
                self.probing = false;
                self.verdict = Verdict::Down(failure);
                self.due = Some(now + self.pause());
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    fn up(&mut self, now: Instant) {
        self.verdict = Verdict::Up;
        self.probing = false;
        self.failures = 0;
        self.unanswered = 0;
        // the broker answers others, so waiting sessions are no sign of trouble
        self.silent_since = (self.waiting > 0).then_some(now);
        // an unneeded probe leaves a line in the broker's log
        self.due = (!self.asks).then(|| now + self.interval);
    }

    /// Moves the next probe forward. While the broker is down, probes follow each other anyway.
    fn doubt(&mut self, now: Instant) -> bool {
        if self.verdict != Verdict::Up || self.probing {
            return false;
        }
        let soonest = self.after_pause(now);
        if self.due.is_some_and(|due| due <= soonest) {
            return false;
        }
        self.due = Some(soonest);
        true
    }

    /// When sessions will have waited so long that a probe is due. A stopped broker
    /// lets clients wait until `connack_timeout` before any of them fails.
    fn silence(&self) -> Option<Instant> {
        let asks = self.asks && self.verdict == Verdict::Up && !self.probing;
        let since = self.silent_since.filter(|_| asks)?;
        Some(self.after_pause(since + self.interval))
    }

    /// This time, or later if the last probe was just before.
    fn after_pause(&self, at: Instant) -> Instant {
        self.last_probe.map_or(at, |last| at.max(last + PAUSE))
    }

    /// One second, doubled each time, up to the interval.
    fn pause(&self) -> Duration {
        PAUSE
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(self.interval)
    }
}

#[cfg(test)]
mod tests;

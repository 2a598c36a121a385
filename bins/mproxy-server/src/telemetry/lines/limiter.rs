//! Limits the lines of a kind, no matter who causes them.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mproxy_admin::LogMetrics;
use tracing::{Event, Level, Metadata};

use super::kind::{Kind, Names, source};
use super::sources::{Source, Sources, Top};

/// How many kinds are limited separately; the rest share a limit. The program has about fifty
/// places that log, and a few reasons and listeners for each.
const KINDS: usize = 1024;

/// The target of lines about the life of the process. Their kinds are always limited separately: no client
/// can add to them, and none of these lines may be lost because of clients.
const PROCESS: &str = "mproxy::server";

/// The target of the mistakes of a configuration, which only an operator can make: each is a line of its own.
const CONFIG: &str = "mproxy::config";

/// How long a kind must be silent before a separate line reports what was left out.
const SILENCE: Duration = Duration::from_secs(1);

/// After this time at the latest, a separate line reports it.
const LATEST: Duration = Duration::from_secs(10);

/// The limit of lines of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Lines at once, at least one.
    pub(crate) burst: u32,
    /// The time per line in the long run.
    pub(crate) interval: Duration,
}

impl Allowance {
    /// For lines at `warn` and `error`.
    pub(crate) const ATTENTION: Self = Self {
        burst: 10,
        interval: Duration::from_millis(100),
    };
}

/// Decides which lines are written.
#[derive(Debug)]
pub(crate) struct Limiter {
    keys: RandomState,
    start: Instant,
    /// At `info` and below.
    repeats: Option<Allowance>,
    state: Mutex<State>,
    /// Lines were left out that no line has reported yet.
    owes: AtomicBool,
    dropped: LogMetrics,
}

#[derive(Debug, Default)]
struct State {
    kinds: HashMap<u64, Bucket>,
    /// Shared by all kinds without a separate limit, at `warn` and above, and at `info` and below.
    others: [Bucket; 2],
    swept: Duration,
}

/// A token bucket, stored as the time at which it is full again, and what it left out.
#[derive(Debug, Default)]
struct Bucket {
    full_at: Duration,
    left_out: Option<Box<LeftOut>>,
}

#[derive(Debug)]
struct LeftOut {
    count: u64,
    sources: Sources,
    first: Duration,
    last: Duration,
    level: Level,
    /// `None` for lines of many kinds.
    target: Option<&'static str>,
    names: Names,
}

/// Lines left out before a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) suppressed: u64,
    pub(super) top: Option<Top>,
}

/// Lines of a kind that were left out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) level: Level,
    /// `None` for lines of many kinds.
    pub(super) target: Option<&'static str>,
    pub(super) names: Names,
    pub(super) gap: Gap,
}

/// Whether a line is written.
#[derive(Debug)]
pub(super) enum Decision {
    /// It is written, and reports these earlier lines.
    Write(Option<Gap>),
    /// It is left out.
    LeaveOut {
        /// It is the first one in a while, so the writer should check for reports later.
        is_first: bool,
    },
}

impl Limiter {
    pub(super) fn new(repeats: Option<Allowance>, dropped: LogMetrics) -> Self {
        Self {
            keys: RandomState::new(),
            start: Instant::now(),
            repeats,
            state: Mutex::default(),
            owes: AtomicBool::new(false),
            dropped,
        }
    }

    /// Decides about a line.
    pub(super) fn judge(&self, event: &Event<'_>, now: Instant) -> Decision {
        let Some(allowance) = self.allowance(event.metadata()) else {
            return Decision::Write(None);
        };
        let kind = Kind::of(event, &self.keys);
        let now = now.saturating_duration_since(self.start);
        let mut state = self.lock();
        let (bucket, _) = state.bucket(&kind, now);
        if bucket.take(allowance, now) {
            let gap = bucket.left_out.take().map(|it| it.gap(kind.suppressed));
            return Decision::Write(gap);
        }
        drop(state);
        // a `Debug` may do anything, so it is not called under the lock
        let (source, names) = (source(event), || Names::of(event));
        let is_first = self.leave_out(&kind, source, names, now);
        Decision::LeaveOut { is_first }
    }

    /// `None` for lines without a limit.
    fn allowance(&self, metadata: &Metadata<'_>) -> Option<Allowance> {
        match *metadata.level() <= Level::WARN {
            true if metadata.target() == CONFIG => None,
            true => Some(Allowance::ATTENTION),
            false => self.repeats,
        }
    }

    fn leave_out(
        &self,
        kind: &Kind,
        source: Option<Source>,
        names: impl FnOnce() -> Names,
        now: Duration,
    ) -> bool {
        self.dropped.suppressed();
        let is_known = {
            let mut state = self.lock();
            let (bucket, _) = state.bucket(kind, now);
            bucket.add(kind, source, now)
        };
        if !is_known {
            let names = names();
            let mut state = self.lock();
            let (bucket, is_own) = state.bucket(kind, now);
            // another thread may have been faster
            if !bucket.add(kind, source, now) {
                let (target, names) = match is_own {
                    true => (Some(kind.metadata.target()), names),
                    false => (None, Names::default()),
                };
                bucket.left_out = Some(Box::new(LeftOut {
                    count: 0,
                    sources: Sources::default(),
                    first: now,
                    last: now,
                    level: *kind.metadata.level(),
                    target,
                    names,
                }));
                bucket.add(kind, source, now);
            }
        }
        !self.owes.swap(true, Ordering::AcqRel)
    }

    /// True if [`reports`](Self::reports) has lines to report, now or later.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Acquire)
    }

    /// Reports about kinds that have become silent, or about all of them.
    pub(super) fn reports(&self, now: Instant, all: bool) -> Vec<Report> {
        let now = now.saturating_duration_since(self.start);
        let mut state = self.lock();
        let state = &mut *state;
        let mut reports = Vec::new();
        let mut owes = false;
        for bucket in state.kinds.values_mut().chain(&mut state.others) {
            let is_due = |it: &mut Box<LeftOut>| {
                all || now.saturating_sub(it.last) >= SILENCE
                    || now.saturating_sub(it.first) >= LATEST
            };
            if let Some(left_out) = bucket.left_out.take_if(is_due) {
                reports.push(left_out.report());
            }
            owes |= bucket.left_out.is_some();
        }
        self.owes.store(owes, Ordering::Release);
        reports
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic while the lock was held leaves the counters valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The bucket of a kind, and whether it is separate.
    fn bucket(&mut self, kind: &Kind, now: Duration) -> (&mut Bucket, bool) {
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind.key) {
            self.sweep(now);
            if self.kinds.len() >= KINDS && kind.metadata.target() != PROCESS {
                let is_attention = *kind.metadata.level() <= Level::WARN;
                return (&mut self.others[usize::from(!is_attention)], false);
            }
        }
        (self.kinds.entry(kind.key).or_default(), true)
    }

    /// Forgets kinds with a full bucket, which are as good as new, at most once per second.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) >= SILENCE {
            self.swept = now;
            self.kinds
                .retain(|_, it| it.full_at > now || it.left_out.is_some());
        }
    }
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&mut self, allowance: Allowance, now: Duration) -> bool {
        let full_at = self.full_at.max(now);
        let missing = full_at - now;
        let most = allowance
            .interval
            .saturating_mul(allowance.burst.max(1) - 1);
        let is_free = missing <= most;
        if is_free {
            self.full_at = full_at + allowance.interval;
        }
        is_free
    }

    /// Counts a line that was left out, if it is not the first one.
    fn add(&mut self, kind: &Kind, source: Option<Source>, now: Duration) -> bool {
        let Some(left_out) = &mut self.left_out else {
            return false;
        };
        left_out.count += 1;
        left_out.count = left_out.count.saturating_add(kind.suppressed);
        left_out.last = now;
        if let Some(source) = source {
            left_out.sources.note(source);
        }
        true
    }
}

impl LeftOut {
    /// Adds the lines that an event itself reports as missing.
    fn gap(&self, more: u64) -> Gap {
        Gap {
            suppressed: self.count.saturating_add(more),
            top: self.sources.top(self.count),
        }
    }

    fn report(self) -> Report {
        Report {
            level: self.level,
            target: self.target,
            gap: self.gap(0),
            names: self.names,
        }
    }
}

#[cfg(test)]
mod tests;

//! The fetches of a list one after the other, and those that an operator asks for.

use std::time::Instant;

use mproxy_admin::{Crl, CrlFetch};
use mproxy_transport::RevocationList;

use super::{Kept, Lists, Source};

/// The fetches of a list, by number from 1.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last one that was begun.
    begun: u64,
    /// The last one that has ended. One that a reload aborts never does.
    done: u64,
    /// The one that somebody waits for, if it is later than that.
    wanted: u64,
    /// When the last one ended.
    ended: Option<Instant>,
    /// When the next one is due.
    next: Option<Instant>,
    /// Why the list of the last one is not in use.
    error: Option<String>,
}

impl Lists {
    /// A fetch begins: its number.
    pub(in crate::app::lists) fn begin(&self, source: &Source) -> u64 {
        let mut all = self.lock();
        let rounds = all.get_mut(source).map(|it| &mut it.rounds);
        rounds.map_or(0, |rounds| {
            rounds.begun += 1;
            rounds.begun
        })
    }

    /// A fetch has ended, and what it brought is in effect, or there was an `error`.
    pub(in crate::app::lists) fn ended(
        &self,
        source: &Source,
        round: u64,
        error: Option<String>,
        next: Instant,
    ) {
        if let Some(kept) = self.lock().get_mut(source) {
            let rounds = &mut kept.rounds;
            rounds.done = round;
            rounds.ended = Some(Instant::now());
            rounds.next = Some(next);
            rounds.error = error;
        }
        self.0.fetched.notify_waiters();
    }

    /// Waits until somebody wants a later fetch than this one.
    pub(in crate::app::lists) async fn wanted(&self, source: &Source, round: u64) {
        loop {
            let asked = self.0.asked.notified();
            tokio::pin!(asked);
            // before looking, so that nothing is missed in between
            asked.as_mut().enable();
            if self
                .lock()
                .get(source)
                .is_some_and(|it| it.rounds.wanted > round)
            {
                return;
            }
            asked.await;
        }
    }

    /// Fetches each list now, and waits until all were tried. One that is being fetched already is fetched once
    /// more: its server may have read it before the list changed.
    pub(crate) async fn fetch_now(&self) {
        let mut rounds = Vec::new();
        for (source, kept) in self.lock().iter_mut().filter(|(_, it)| !it.stands_in) {
            kept.rounds.wanted = kept.rounds.begun + 1;
            rounds.push((source.clone(), kept.rounds.wanted));
        }
        self.0.asked.notify_waiters();
        let is_done = |kept: Option<&Kept>, round: u64| {
            // it may be gone from the configuration by now
            kept.is_none_or(|it| it.stands_in || it.rounds.done >= round)
        };
        self.until(|all| {
            rounds
                .iter()
                .all(|(source, round)| is_done(all.get(source), *round))
        })
        .await;
    }

    /// The lists as operators see them.
    pub(crate) fn report(&self) -> Vec<Crl> {
        let mut report: Vec<_> = self
            .lock()
            .iter()
            .map(|(source, kept)| kept.report(source))
            .collect();
        report.sort_by(|a, b| (&a.source, &a.used_by).cmp(&(&b.source, &b.used_by)));
        report
    }
}

impl Kept {
    fn report(&self, source: &Source) -> Crl {
        let updates = |it: &RevocationList| [it.this_update(), it.next_update()];
        let updates = self.list.as_ref().map(updates);
        let used_by = self.used_by.iter().map(|it| format!("listeners.{it}"));
        let rounds = &self.rounds;
        let waits = rounds.begun == rounds.done;
        let next = rounds.next.filter(|_| waits && !self.stands_in);
        let left = |next: Instant| next.saturating_duration_since(Instant::now()).as_secs_f64();
        Crl::new(source.url.to_string(), used_by.collect(), updates).fetched(CrlFetch {
            successes: self.successes,
            failures: self.failures,
            age_s: rounds.ended.map(|it| it.elapsed().as_secs_f64()),
            remaining_s: next.map(left),
            error: rounds.error.clone(),
        })
    }
}

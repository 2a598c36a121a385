//! Which addresses of a broker did not answer a moment ago.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::later::later;

/// How long an address that failed is tried last. Afterwards one client tries it in its turn, and the
/// others only if that one succeeds.
const REMEMBERED: Duration = Duration::from_secs(10);

/// How many addresses are remembered: names have a few at a time, which change.
const MOST: usize = 256;

/// The least time between an attempt that failed and another one that is only a repetition, of any client: some
/// thousands that wait for a broker must not keep it from coming up.
const APART: Duration = Duration::from_millis(50);

/// A place where a broker listens: the position of its address, and which of those of its name; `None` for a
/// Unix socket.
pub(super) type Place = (usize, Option<SocketAddr>);

/// What all dials to a broker know of its addresses.
#[derive(Debug, Default)]
pub(super) struct Outages {
    state: Mutex<State>,
    /// Notified when an attempt succeeds.
    back: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Until when each is tried last.
    until: HashMap<Place, Instant>,
    /// When an attempt failed, unless one has succeeded since.
    failed: Option<Instant>,
}

impl Outages {
    /// Whether a place is to be tried last. If it was for long enough, the answer is no for one client,
    /// which has the time of `trial` to find out.
    pub(super) fn has(&self, place: Place, trial: Duration, now: Instant) -> bool {
        match self.lock().until.get_mut(&place) {
            None => false,
            Some(until) if *until > now => true,
            Some(until) => {
                *until = later(now, trial);
                false
            }
        }
    }

    /// An attempt failed.
    pub(super) fn failed(&self, place: Place, now: Instant) {
        let mut state = self.lock();
        state.failed = Some(now);
        if state.until.len() >= MOST {
            state.until.retain(|_, until| *until > now);
        }
        if state.until.len() < MOST || state.until.contains_key(&place) {
            state.until.insert(place, now + REMEMBERED);
        }
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&self, place: Place) {
        let mut state = self.lock();
        state.until.remove(&place);
        let is_news = state.failed.take().is_some();
        drop(state);
        if is_news {
            self.back.notify_waiters();
        }
    }

    /// Whether it is worth while to try again already.
    pub(super) fn may_repeat(&self, now: Instant) -> bool {
        let failed = self.lock().failed;
        failed.is_none_or(|failed| now.saturating_duration_since(failed) >= APART)
    }

    /// Waits until an attempt of another client succeeds.
    pub(super) async fn over(&self) {
        self.back.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // the changes are independent of each other, so a panic leaves no invalid state
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: Duration = Duration::from_secs(5);
    const ONE: Place = (0, None);

    fn place(index: usize) -> Place {
        (index, Some(SocketAddr::from(([127, 0, 0, 1], 1883))))
    }

    /// A trial has the time of a dial, which may be `Duration::MAX`.
    #[tokio::test(start_paused = true)]
    async fn a_trial_may_have_any_time() {
        let outages = Outages::default();
        outages.failed(ONE, Instant::now());
        let now = Instant::now() + Duration::from_secs(3600);
        assert!(!outages.has(ONE, Duration::MAX, now));
        assert!(outages.has(ONE, Duration::MAX, now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_failed_is_tried_last_and_then_by_one_client_at_a_time() {
        let outages = Outages::default();
        let mut now = Instant::now();
        assert!(!outages.has(ONE, TRIAL, now));
        outages.failed(ONE, now);
        assert!(outages.has(ONE, TRIAL, now));
        assert!(!outages.has(place(1), TRIAL, now), "another one");
        now += REMEMBERED;
        assert!(!outages.has(ONE, TRIAL, now), "its turn");
        assert!(outages.has(ONE, TRIAL, now), "only one client");
        // that one has left without an answer
        now += TRIAL;
        assert!(!outages.has(ONE, TRIAL, now));
        outages.succeeded(ONE);
        assert!(!outages.has(ONE, TRIAL, now));
        assert!(!outages.has(ONE, TRIAL, now));
    }

    #[tokio::test(start_paused = true)]
    async fn repetitions_are_apart_until_one_succeeds() {
        let outages = Outages::default();
        let now = Instant::now();
        assert!(outages.may_repeat(now));
        outages.failed(ONE, now);
        assert!(!outages.may_repeat(now));
        assert!(outages.may_repeat(now + APART));
        outages.succeeded(ONE);
        assert!(outages.may_repeat(now));
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_change_cost_a_bounded_memory() {
        let outages = Outages::default();
        let now = Instant::now();
        for index in 0..2 * MOST {
            outages.failed(place(index), now);
        }
        assert_eq!(outages.lock().until.len(), MOST);
        assert!(outages.has(place(0), TRIAL, now));
        assert!(!outages.has(place(MOST), TRIAL, now));
        outages.failed(place(MOST), now + REMEMBERED);
        assert_eq!(outages.lock().until.len(), 1);
    }
}

//! How far a drain is, for callers of the admin port.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mproxy_admin::{Drain, DrainState};

/// How far the drain of the process is; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<Inner>>);

#[derive(Clone, Copy, Debug, Default)]
struct Inner {
    state: DrainState,
    ends: bool,
}

impl Progress {
    /// The state for an answer, with so many sessions.
    pub(crate) fn with(&self, sessions: usize) -> Drain {
        let Inner { state, ends } = *self.lock();
        Drain {
            state,
            sessions,
            ends,
        }
    }

    pub(super) fn set(&self, state: DrainState) {
        self.lock().state = state;
    }

    /// A signal has come: the process ends after the drain.
    pub(super) fn ends(&self) {
        self.lock().ends = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // two plain values: a panic elsewhere leaves them usable
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

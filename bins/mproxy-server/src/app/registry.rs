//! The running sessions.
//!
//! Each worker keeps the sessions that it serves, so that a connection takes no lock that all workers
//! share. A list of all sessions goes through the workers one by one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mproxy_session::{Order, SessionHandle};
use tokio::sync::Notify;

/// The sessions of all workers; clones share them.
#[derive(Clone)]
pub(crate) struct Registry(Arc<[Arc<Sessions>]>);

/// The sessions of one worker.
#[derive(Default)]
pub(crate) struct Sessions {
    slots: Mutex<Slots>,
    /// Wakes tasks that wait for the last session to end.
    ended: Notify,
}

#[derive(Default)]
struct Slots {
    running: Vec<Option<Listed>>,
    free: Vec<usize>,
}

/// A running session.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) handle: SessionHandle,
    /// When its connection was accepted: tenths of a second since the process started, which is half the
    /// size of an instant.
    since: u32,
}

/// A session's place among those of its worker. Dropping it gives the place back.
pub(crate) struct Entered {
    sessions: Arc<Sessions>,
    index: usize,
}

// ===== impl Registry =====

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("sessions", &self.len())
            .finish()
    }
}

impl Registry {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Arc::default()).collect())
    }

    /// The sessions of each worker.
    pub(crate) fn workers(&self) -> &[Arc<Sessions>] {
        &self.0
    }

    /// The sessions that run now.
    pub(crate) fn running(&self) -> impl Iterator<Item = SessionHandle> + '_ {
        self.0.iter().flat_map(|sessions| sessions.running())
    }

    /// The sessions that run now, and since when.
    pub(crate) fn listed(&self) -> impl Iterator<Item = Listed> + '_ {
        self.0.iter().flat_map(|sessions| sessions.listed())
    }

    /// The session of this number, if it runs.
    pub(crate) fn find(&self, id: u64) -> Option<Listed> {
        self.0.iter().find_map(|sessions| sessions.find(id))
    }

    /// How many sessions run now.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|sessions| sessions.len()).sum()
    }

    /// Tells every session to end.
    pub(crate) fn close_all(&self, order: Order) {
        for handle in self.running() {
            handle.close(order);
        }
    }

    /// Waits until no session runs.
    pub(crate) async fn wait_until_empty(&self) {
        for sessions in &*self.0 {
            sessions.wait_until_empty().await;
        }
    }
}

// ===== impl Sessions =====

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        // a panic while the lock was held leaves the list consistent
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a session until the place is dropped.
    pub(crate) fn enter(self: &Arc<Self>, handle: SessionHandle) -> Entered {
        let listed = Listed {
            handle,
            since: tenths(),
        };
        let mut slots = self.lock();
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.running.push(None);
            slots.running.len() - 1
        });
        slots.running[index] = Some(listed);
        drop(slots);
        Entered {
            sessions: Arc::clone(self),
            index,
        }
    }

    /// The sessions that run now.
    pub(crate) fn running(&self) -> Vec<SessionHandle> {
        let slots = self.lock();
        let running = slots.running.iter().flatten();
        running.map(|it| it.handle.clone()).collect()
    }

    fn find(&self, id: u64) -> Option<Listed> {
        let slots = self.lock();
        let mut running = slots.running.iter().flatten();
        running.find(|it| it.handle.id().as_u64() == id).cloned()
    }

    fn listed(&self) -> Vec<Listed> {
        self.lock().running.iter().flatten().cloned().collect()
    }

    fn len(&self) -> usize {
        let slots = self.lock();
        slots.running.len() - slots.free.len()
    }

    async fn wait_until_empty(&self) {
        loop {
            let ended = self.ended.notified();
            if self.len() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Listed {
    /// How long ago its connection was accepted.
    pub(crate) fn age(&self) -> Duration {
        TENTH * tenths().saturating_sub(self.since)
    }
}

const TENTH: Duration = Duration::from_millis(100);

/// Since the first call. 13 years fit.
fn tenths() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u32::try_from(since.as_millis() / TENTH.as_millis()).unwrap_or(u32::MAX)
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut slots = self.sessions.lock();
        slots.running[self.index] = None;
        slots.free.push(self.index);
        drop(slots);
        self.sessions.ended.notify_waiters();
    }
}

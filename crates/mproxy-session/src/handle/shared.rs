//! The state shared by clones of a handle.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::Book;
use super::{Order, SessionId};
use crate::context::SessionInfo;
use crate::limits::Paces;
use crate::memory::MemoryBudget;

/// There is an order in the slot.
pub(super) const ORDERED: u8 = 1;
/// The broker has let the client in.
pub(super) const ESTABLISHED: u8 = 1 << 1;
/// There is an expiry in the slot.
pub(super) const EXPIRES: u8 = 1 << 2;
/// The rules have changed, and the session has not been judged again yet.
pub(super) const RENEW: u8 = 1 << 4;
/// There are new paces in the slot, which the session has not taken yet.
pub(super) const PACED: u8 = 1 << 5;
/// The session has ended.
pub(super) const CLOSED: u8 = 1 << 3;
/// A session has this handle.
pub(super) const GIVEN: u8 = 1 << 6;
/// The waker in the slot is the session's, and no other may replace it.
pub(super) const RUNS: u8 = 1 << 7;

pub(super) struct Shared {
    pub(super) id: SessionId,
    pub(super) info: OnceLock<SessionInfo>,
    pub(super) book: Book,
    pub(super) policy: AtomicU64,
    /// Bytes taken from the budget. Written only by the session.
    pub(super) drawn: AtomicU32,
    /// What the connection draws as long as it lives, in units of 4 KiB.
    pub(super) pages: u8,
    /// What the transport below the session keeps, in units of `CARRIED_UNIT`.
    pub(super) carried: AtomicU16,
    pub(super) flags: AtomicU8,
    pub(super) memory: Option<Arc<MemoryBudget>>,
    pub(super) slot: Mutex<Slot>,
}

/// State that changes rarely.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) order: Option<Order>,
    /// That of the session, or of the task that waits for an order before it runs.
    pub(super) waker: Option<Waker>,
    /// Boxed, because few sessions have any of it.
    pub(super) rare: Option<Box<Rare>>,
}

#[derive(Default)]
pub(super) struct Rare {
    pub(super) expiry: Option<(Instant, Order)>,
    pub(super) paces: Option<Paces>,
    /// The last other task that waits for an order.
    pub(super) waiter: Option<Waker>,
    /// Wakes tasks that wait for the end.
    pub(super) closed: Option<Arc<Notify>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            // returning memory cannot fail
            let _ = memory.draw(-to_isize(*self.drawn.get_mut()), 0);
        }
    }
}

impl Shared {
    #[inline]
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    pub(super) fn set(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::Release);
    }

    /// True if it was not set.
    pub(super) fn set_first(&self, flag: u8) -> bool {
        self.flags.fetch_or(flag, Ordering::AcqRel) & flag == 0
    }

    pub(super) fn slot(&self) -> MutexGuard<'_, Slot> {
        let slot = self.slot.lock();
        slot.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the session, if one runs. The waker stays for later events.
pub(super) fn wake(slot: MutexGuard<'_, Slot>) {
    let waker = slot.waker.clone();
    drop(slot);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// As large as a pointer or larger on every system that has a network.
pub(super) const fn to_isize(bytes: u32) -> isize {
    bytes as isize
}

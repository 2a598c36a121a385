//! What a connection draws on the budget of memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::to_isize;
use super::{Order, SessionHandle};
use crate::memory::{Exhausted, MemoryBudget};

/// What a connection draws on its [`MemoryBudget`] for as long as it lives, in bytes: the state of an
/// idle session, and the first bytes of what it holds.
pub(super) const CONNECTION: u32 = 4096;

/// Bytes of what a session holds that are in [`CONNECTION`]: the beginning of the next packet, as it is
/// left over by most reads of a busy connection, changes no counter.
const INCLUDED: usize = 2048;

/// What is held beyond is counted in steps of this.
const STEP: usize = 4096;

/// What the transport keeps is counted in units of this, so that 16 bits are enough.
const CARRIED_UNIT: usize = 16;

impl SessionHandle {
    /// What a connection draws on its [`MemoryBudget`] for as long as it lives, in bytes.
    pub const COST: usize = CONNECTION as usize;

    /// A handle for a connection that draws on this budget, from now until its session has ended.
    #[must_use]
    pub fn with_memory(memory: &Arc<MemoryBudget>) -> Self {
        Self::with_transport(memory, 0)
    }

    /// [`with_memory`](Self::with_memory), for a connection whose transport keeps so many bytes for as long
    /// as it lives: the keys and the state of TLS. They count in steps of 4 KiB, up to 1 MiB.
    #[must_use]
    pub fn with_transport(memory: &Arc<MemoryBudget>, bytes: usize) -> Self {
        let pages = 1 + bytes.div_ceil(CONNECTION as usize);
        let pages = u8::try_from(pages).unwrap_or(u8::MAX);
        let cost = u32::from(pages) * CONNECTION;
        // the session that finds no room for what it holds ends
        let _ = memory.draw(to_isize(cost), 0);
        Self::drawing(pages, Some(Arc::clone(memory)))
    }

    /// What is drawn for the connection as long as it lives.
    fn cost(&self) -> u32 {
        u32::from(self.0.pages) * CONNECTION
    }

    /// Bytes that the session holds because of what its peers sent, in steps of 4 KiB; 0 for less than
    /// 2 KiB, and without a budget.
    #[must_use]
    pub fn held(&self) -> usize {
        self.drawn().saturating_sub(self.cost()) as usize
    }

    fn drawn(&self) -> u32 {
        self.0.drawn.load(Ordering::Relaxed)
    }

    /// So many bytes are held for the connection now, before its session runs, which counts by itself.
    /// It is ordered to end [at once](Order::overload) if they are more than there are left.
    pub fn holds(&self, bytes: usize) {
        if self.hold(bytes).is_err() {
            self.close(Order::overload());
        }
    }

    /// The transport below the session keeps so many bytes of the peer: the part of a TLS record that has
    /// come. They count with what the session holds, from its next turn on, or at once
    /// before it runs.
    pub fn carries(&self, bytes: usize) {
        let units = bytes.div_ceil(CARRIED_UNIT);
        let units = u16::try_from(units).unwrap_or(u16::MAX);
        self.0.carried.store(units, Ordering::Relaxed);
        if self.info().is_none() {
            self.holds(0);
        }
    }

    /// The session holds so many bytes now.
    ///
    /// # Errors
    /// They are more than there are left.
    #[inline]
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Exhausted> {
        let carried = usize::from(self.0.carried.load(Ordering::Relaxed)) * CARRIED_UNIT;
        let bytes = bytes.saturating_add(carried);
        if bytes <= INCLUDED && self.drawn() <= self.cost() {
            return Ok(());
        }
        let steps = match bytes {
            ..=INCLUDED => 0,
            _ => bytes.next_multiple_of(STEP),
        };
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.draw(self.cost().saturating_add(steps))
    }

    pub(super) fn draw(&self, bytes: u32) -> Result<(), Exhausted> {
        let Some(memory) = &self.0.memory else {
            return Ok(());
        };
        let before = self.drawn();
        if before == bytes {
            return Ok(());
        }
        self.0.drawn.store(bytes, Ordering::Relaxed);
        memory.draw(to_isize(bytes) - to_isize(before), self.held())
    }
}

//! Memory of the budget for what is no connection: files that mproxy fetches.

use std::sync::Arc;

use mproxy_session::{MemoryBudget, SessionHandle};

use super::{MARGIN, SCARCE};

/// Bytes of the budget, given back on drop. They never make memory scarce, so that no client has to make room for
/// them.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<MemoryBudget>,
    handle: SessionHandle,
}

/// There are not so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// How many there are, with those that the room has.
    pub(crate) free: usize,
}

impl Room {
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            handle: SessionHandle::with_memory(budget),
        }
    }

    /// Takes so many bytes in all, or gives back what is more.
    ///
    /// # Errors
    /// Memory would soon be scarce: from there on clients are closed until less than that is used. The room is as
    /// it was.
    pub(crate) fn resize(&self, bytes: usize) -> Result<(), NoRoom> {
        let held = self.handle.held();
        let others = self.budget.used().saturating_sub(held);
        let free = (self.budget.limit() / 100 * (SCARCE - MARGIN)).saturating_sub(others);
        if bytes > held && bytes > free {
            return Err(NoRoom { free });
        }
        self.handle.holds(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_grows_until_memory_would_be_scarce_and_gives_everything_back() {
        let budget = MemoryBudget::new(10 << 20);
        let (room, other) = (Room::new(&budget), Room::new(&budget));
        room.resize(3 << 20).unwrap();
        other.resize(4 << 20).unwrap();
        let free = room.resize(5 << 20).unwrap_err().free;
        assert!((3 << 20..4 << 20).contains(&free), "{free}");
        assert!(budget.percent() < SCARCE);
        room.resize(1 << 20).unwrap();
        other.resize(5 << 20).unwrap();
        drop((room, other));
        assert_eq!(budget.used(), 0);
    }
}

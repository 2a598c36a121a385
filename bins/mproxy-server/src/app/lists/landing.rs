//! Where a list is received: what all fetches together may hold.

use std::sync::Arc;

use mproxy_transport::{FetchError, Receive, RevocationList};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fetcher::MAX_LIST;
use crate::app::memory::Room;

/// Lists up to this size are received side by side. Larger ones wait for each other, so that a hundred URLs do
/// not take a hundred times as much as one. Most lists are smaller.
const SMALL: usize = 64 * 1024;

/// Bytes of memory per byte of a list while it is received and checked: it, a copy, and its entries. Measured
/// with 200,000 entries of 22 bytes: an entry takes 120 bytes, and up to twice as much while the table of
/// entries grows.
const CHECKED: usize = 16;

/// The same for a list in use: for itself, and for each listener that looks into it. When it comes into effect, the
/// entries of the one before are still there.
const KEPT: [usize; 2] = [1, 16];

/// The turn of a large list: one for the process.
#[derive(Clone, Debug)]
pub(super) struct Large(Arc<Semaphore>);

impl Default for Large {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// A list that is being received, until it is checked.
#[derive(Debug)]
pub(super) struct Landing {
    room: Room,
    large: Large,
    /// Held by a large one.
    turn: Option<OwnedSemaphorePermit>,
}

impl Landing {
    pub(super) fn new(room: Room, large: &Large) -> Self {
        Self {
            room,
            large: large.clone(),
            turn: None,
        }
    }

    /// The list was checked, and will be in use by so many listeners. Returns the room that it keeps. The
    /// `first` one of its URL needs room for the next one beside it: otherwise all would be well until it
    /// is to be replaced.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn keep(
        self,
        list: &RevocationList,
        listeners: usize,
        is_first: bool,
    ) -> Result<Room, FetchError> {
        let [own, each] = KEPT;
        let bytes = list.size() * (own + each * listeners);
        if is_first {
            resize(&self.room, 2 * bytes)?;
        }
        resize(&self.room, bytes)?;
        Ok(self.room)
    }
}

impl Receive for Landing {
    async fn room(&mut self, bytes: usize) -> Result<(), FetchError> {
        if bytes > SMALL && self.turn.is_none() {
            let large = Arc::clone(&self.large.0);
            self.turn = large.acquire_owned().await.ok();
        }
        resize(&self.room, bytes * CHECKED)
    }

    fn judge(&self, first: &[u8], is_all: bool) -> Result<(), FetchError> {
        match RevocationList::may_begin_with(first, is_all, MAX_LIST) {
            true => Ok(()),
            false => Err(FetchError::Unwanted(
                "not a revocation list, neither PEM nor DER",
            )),
        }
    }
}

fn resize(room: &Room, bytes: usize) -> Result<(), FetchError> {
    let resized = room.resize(bytes);
    resized.map_err(|it| FetchError::NoRoom {
        needs: bytes,
        free: it.free,
    })
}

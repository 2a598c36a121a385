//! The session's side of a handle, and the renewal of many sessions.

use std::ops::Deref;
use std::time::Duration;

use tokio::time::sleep;

use mproxy_codec::Direction;

use super::SessionHandle;
use super::shared::{CLOSED, GIVEN};
use crate::recorder::{Batch, Recorder};

/// The session's side of its handle: dropping it returns the memory to the budget, and orders then wake
/// no task.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) SessionHandle);

impl Running {
    /// A handle that nobody else has yet.
    pub(crate) fn new() -> Self {
        Self(SessionHandle::new())
    }

    /// The session's side of this handle; `None` if another session has it, or had it.
    pub(crate) fn of(handle: SessionHandle) -> Option<Self> {
        // not `then_some`: dropping one says that the session has ended
        handle.0.set_first(GIVEN).then(|| Self(handle))
    }

    /// Counts that hooks refused the CONNECT, or what is judged with it.
    pub(crate) fn denied(&self, recorder: &dyn Recorder) {
        let batch = Batch {
            denied: 1,
            ..Batch::default()
        };
        self.enter(Direction::ToServer, &batch, recorder);
    }
}

impl Deref for Running {
    type Target = SessionHandle;

    #[inline]
    fn deref(&self) -> &SessionHandle {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // returning memory cannot fail
        let _ = self.0.draw(0);
        let mut slot = self.0.0.slot();
        slot.waker = None;
        self.0.0.set(CLOSED);
        let closed = slot.rare.as_mut().and_then(|it| it.closed.take());
        drop(slot);
        if let Some(closed) = closed {
            closed.notify_waiters();
        }
    }
}

/// How many sessions are judged before the thread does something else for a [`PAUSE`]. Judging one takes
/// some microseconds.
const BATCH: usize = 16;

/// Between two batches. A thread that judges without a pause keeps its core for milliseconds, in which
/// other processes of the machine wait too: the clients and the broker, on small ones.
const PAUSE: Duration = Duration::from_millis(1);

/// Most batches: so many sessions that they need more get larger ones, so that all are told within a
/// quarter of a second or little more.
const BATCHES: usize = 250;

/// Has sessions judged again, as [`SessionHandle::renew`] does, a few at a time, so that a thread with
/// thousands of them serves their packets meanwhile. Takes at most about a quarter of a second on a
/// thread that is not busy, and returns when all have been told, which is before the last of them has
/// been judged. Needs the timers of a tokio runtime.
pub async fn renew_all<I>(handles: I, generation: u64)
where
    I: IntoIterator<Item = SessionHandle>,
{
    let handles = handles.into_iter();
    let most = handles.size_hint().1.unwrap_or_default();
    let batch = most.div_ceil(BATCHES).max(BATCH);
    for (count, handle) in (1..).zip(handles) {
        handle.renew(generation);
        if count % batch == 0 {
            sleep(PAUSE).await;
        }
    }
}

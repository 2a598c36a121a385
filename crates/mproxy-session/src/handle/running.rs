//! A handle in the hands of its session, and the renewal of many.

use std::ops::Deref;

use super::SessionHandle;
use super::shared::CLOSED;

/// The session's own side of its handle: when it is gone, what it held is given back, and an order wakes
/// no task.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) SessionHandle);

impl Deref for Running {
    type Target = SessionHandle;

    #[inline]
    fn deref(&self) -> &SessionHandle {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // giving back cannot fail
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

/// How many sessions are woken before others of the thread get their turn.
const WOKEN: usize = 32;

/// Has sessions judged again, as [`SessionHandle::renew`] does, a few at a time: a thread that serves
/// thousands of them serves their packets meanwhile. Returns when all have been told, which is before
/// the last of them has been judged.
pub async fn renew_all(handles: impl IntoIterator<Item = SessionHandle>, generation: u64) {
    for (count, handle) in (1..).zip(handles) {
        handle.renew(generation);
        if count % WOKEN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

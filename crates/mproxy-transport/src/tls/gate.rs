//! How many handshakes of a thread take a step between two looks at its sockets.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

thread_local! {
    static GATE: Arc<Semaphore> = Arc::new(Semaphore::new(STEPS));
}

/// Steps of handshakes in one turn of a thread. One takes about 0.2 ms. Measured with 1,500 handshakes
/// at once: without a gate, established clients wait 55 to 79 ms, with four steps 14 to 18, with one or
/// eight 25 to 30.
const STEPS: usize = 4;

/// Waits for the turn of a handshake to take a step. Who waits for the peer waits without one.
pub(super) async fn turn() -> Option<Turn> {
    let gate = GATE.with(Arc::clone);
    gate.acquire_owned().await.ok().map(Turn)
}

/// The right to take one step.
pub(super) struct Turn(OwnedSemaphorePermit);

impl Turn {
    /// Ends it once the thread has looked at its sockets: tokio does so before a task that yields runs
    /// again.
    pub(super) async fn end(self) {
        tokio::task::yield_now().await;
        drop(self.0);
    }
}

//! The last step before CONNECT: the broker sees when CONNECTs are sent, not when clients had their turns.

use std::time::Instant;

use tokio::time::sleep_until;

use super::Admission;

/// A client that is connected to the broker, and may not send CONNECT yet. Meanwhile nobody has a turn.
struct Early<'a>(&'a Admission);

impl Admission {
    /// A client that had its turn is connected to the broker: waits until it may send CONNECT, mostly not at
    /// all. Threads and connections that were late let several clients get here together.
    ///
    /// The wait is as long as those before it need at the rate, and they are no more than have connected at
    /// the same time: `connect_timeout` bounds it.
    pub(crate) async fn sends(&self) {
        let Some(_early) = self.is_early() else {
            return;
        };
        let _first = self.line.lock().await;
        while let Some(due) = self.send(Instant::now()) {
            tokio::select! {
                () = sleep_until(due.into()) => {}
                () = self.set.notified() => {}
            }
        }
    }

    /// `None` if a client may send CONNECT at once; it has to, then.
    fn is_early(&self) -> Option<Early<'_>> {
        if !self.is_on() {
            return None;
        }
        let now = Instant::now();
        let mut state = self.lock();
        if state.early == 0 && state.sent.due(now).is_none() {
            state.sent.take(now);
            return None;
        }
        state.early += 1;
        Some(Early(self))
    }

    /// The first one in the line sends CONNECT, or learns when it may.
    fn send(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let due = state.sent.due(now);
        if due.is_none() {
            state.sent.take(now);
        }
        due
    }
}

impl Drop for Early<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.early -= 1;
        let is_awaited = state.early == 0 && !state.queue.is_empty();
        drop(state);
        if is_awaited {
            self.0.changed.notify_one();
        }
    }
}

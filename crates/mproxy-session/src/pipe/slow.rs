//! A client that accepts less than the broker has for it.

use std::time::Duration;

use super::Pipe;
use crate::hook::PacketService;
use crate::limits::SlowConsumer;

impl<C, S, U: PacketService, D: PacketService> Pipe<C, S, U, D> {
    /// How long the client may accept less than what waits for it, if that has a deadline.
    #[inline]
    pub(super) fn watch_consumer(&mut self, caught_up: bool) -> Option<Duration> {
        let limits = &self.rules.limits;
        if limits.slow_consumer == SlowConsumer::Wait {
            return None;
        }
        let time = limits.slow_consumer_time;
        if caught_up {
            self.deadlines.watch_consumer(false);
            if std::mem::take(&mut self.sheds) {
                let dropped = self.handle.shed();
                self.recorder.caught_up(&self.rules.session, dropped);
            }
        }
        self.deadlines.watch_consumer(self.to_client.is_behind());
        Some(time).filter(|_| !self.sheds)
    }

    /// The client was behind for too long. True if messages are dropped for it from now on; false if the
    /// session ends.
    #[cold]
    pub(super) fn sheds_for_consumer(&mut self) -> bool {
        if self.rules.limits.slow_consumer != SlowConsumer::DropQos0 {
            return false;
        }
        self.sheds = true;
        self.to_client.shed();
        self.recorder.sheds(&self.rules.session);
        true
    }
}

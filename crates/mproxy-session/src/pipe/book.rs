//! What a session counts: each number is written once, into the batch of a read, and added up here.

use mproxy_codec::{Direction, Kind};

use crate::recorder::{Batch, Recorder};
use crate::summary::Traffic;

/// The sums of both directions.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) to_server: Traffic,
    pub(crate) to_client: Traffic,
}

impl Book {
    /// `received` is what was counted before there was a pipe: the client's CONNECT.
    pub(super) fn new(received: Traffic) -> Self {
        Self {
            to_server: received,
            to_client: Traffic::default(),
        }
    }

    /// Adds a batch and hands it out. The recorder sees no empty ones: most polls of an idle session
    /// count nothing.
    pub(super) fn enter(&mut self, direction: Direction, batch: &Batch, recorder: &dyn Recorder) {
        if is_empty(batch) {
            return;
        }
        let traffic = match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        };
        traffic.packets += batch.packets.iter().copied().map(u64::from).sum::<u64>();
        traffic.bytes += batch.bytes;
        traffic.publishes += u64::from(batch.packets[usize::from(Kind::Publish.as_u8())]);
        traffic.denied += u64::from(batch.denied);
        recorder.record(direction, batch);
    }
}

fn is_empty(batch: &Batch) -> bool {
    batch.bytes == 0 && batch.denied == 0 && batch.stalls == 0 && batch.injected == [0; 16]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicU64);

    impl Recorder for Calls {
        fn record(&self, _: Direction, _: &Batch) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_batch_is_added_and_handed_out_unless_it_is_empty() {
        let mut book = Book::new(Traffic::default());
        let calls = Calls::default();
        let mut batch = Batch::default();
        book.enter(Direction::ToClient, &batch, &calls);
        assert_eq!(calls.0.load(Ordering::Relaxed), 0, "nothing was counted");
        batch.read(Kind::Publish, 10);
        batch.read(Kind::Pingreq, 2);
        batch.denied = 1;
        for _ in 0..2 {
            book.enter(Direction::ToServer, &batch, &calls);
        }
        let Traffic {
            packets,
            bytes,
            publishes,
            denied,
        } = book.to_server;
        assert_eq!((packets, bytes, publishes, denied), (4, 24, 2, 2));
        assert_eq!(book.to_client, Traffic::default());
        assert_eq!(calls.0.load(Ordering::Relaxed), 2);
    }
}

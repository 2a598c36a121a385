//! The counters of a session, which others can read while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mproxy_codec::{Direction, Kind};

use crate::recorder::{Batch, Recorder};
use crate::summary::Traffic;

/// The counters of a session, one page per direction. Only the session writes, once per read, so
/// a plain store is enough instead of an atomic addition.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: [Page; 2],
    /// Separate from the pages, where it would cause padding in each.
    denied: [AtomicU32; 2],
    /// Messages dropped for a slow client.
    shed: AtomicU32,
}

#[derive(Debug, Default)]
struct Page {
    packets: AtomicU64,
    bytes: AtomicU64,
    publishes: AtomicU64,
}

impl Book {
    /// Adds the counts of one read and reports them. The recorder gets no empty batches: most polls of an
    /// idle session count nothing.
    pub(super) fn enter(&self, direction: Direction, batch: &Batch, recorder: &dyn Recorder) {
        if is_empty(batch) {
            return;
        }
        self.add(direction, batch);
        recorder.record(direction, batch);
    }

    /// Adds counts without reporting them to the recorder.
    pub(super) fn add(&self, direction: Direction, batch: &Batch) {
        let page = &self.pages[index(direction)];
        let packets: u32 = batch.packets.iter().sum();
        let publishes = batch.packets[usize::from(Kind::Publish.as_u8())];
        add(&page.packets, packets.into());
        add(&page.bytes, batch.bytes);
        if publishes > 0 {
            add(&page.publishes, publishes.into());
        }
        if batch.denied > 0 {
            add_few(&self.denied[index(direction)], batch.denied);
        }
        if batch.shed > 0 {
            add_few(&self.shed, batch.shed);
        }
    }

    /// Messages that were dropped because the client was slow.
    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed).into()
    }

    /// The counts up to now.
    pub(super) fn read(&self, direction: Direction) -> Traffic {
        let page = &self.pages[index(direction)];
        Traffic {
            packets: page.packets.load(Ordering::Relaxed),
            bytes: page.bytes.load(Ordering::Relaxed),
            publishes: page.publishes.load(Ordering::Relaxed),
            denied: self.denied[index(direction)].load(Ordering::Relaxed).into(),
        }
    }
}

fn is_empty(batch: &Batch) -> bool {
    batch.bytes == 0 && batch.denied == 0 && batch.stalls == 0 && batch.injected == [0; 16]
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

fn add(counter: &AtomicU64, more: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
    counter.store(sum, Ordering::Relaxed);
}

/// The same for counts that stay small; at its end it stops.
fn add_few(counter: &AtomicU32, more: u32) {
    let sum = counter.load(Ordering::Relaxed).saturating_add(more);
    counter.store(sum, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Counters, Events};

    #[derive(Default)]
    struct Calls(AtomicU64);

    impl Counters for Calls {
        fn record(&self, _: Direction, _: &Batch) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Events for Calls {}

    #[test]
    fn a_batch_is_added_and_handed_out_unless_it_is_empty() {
        let (book, calls) = (Book::default(), Calls::default());
        let mut batch = Batch::default();
        book.enter(Direction::ToClient, &batch, &calls);
        assert_eq!(calls.0.load(Ordering::Relaxed), 0, "nothing was counted");
        batch.stalls = 1;
        book.enter(Direction::ToServer, &batch, &calls);
        assert_eq!(book.read(Direction::ToServer), Traffic::default());
        batch.read(Kind::Pingreq, 2);
        book.enter(Direction::ToServer, &batch, &calls);
        assert_eq!(book.read(Direction::ToServer).packets, 1);
        assert_eq!(calls.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn directions_are_counted_apart_and_every_packet_is_a_packet() {
        let book = Book::default();
        let mut batch = Batch::default();
        batch.read(Kind::Connect, 20);
        batch.read(Kind::Publish, 7);
        batch.denied = 1;
        book.add(Direction::ToServer, &batch);
        book.add(Direction::ToServer, &batch);
        let up = book.read(Direction::ToServer);
        assert_eq!(
            (up.packets, up.bytes, up.publishes, up.denied),
            (4, 54, 2, 2)
        );
        assert_eq!(book.read(Direction::ToClient), Traffic::default());
    }
}

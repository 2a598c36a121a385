//! The memory budget of all sessions of a process for what peers send.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many threads count without contention.
const SHARDS: usize = 16;

/// What a thread counts locally before it updates the shared count. The count that [`MemoryBudget`]
/// compares with its limit is off by less than this per thread.
const BATCH: isize = 64 * 1024;

/// The part of its budget, in percent, above which [`MemoryBudget::pressed`] wakes.
const PRESSED: usize = 80;

/// What a connection may hold, in bytes, and the part of the budget, in percent, above which one that holds more
/// gets nothing: the rest is for new clients, and for small packets of all others.
const LEFT_TO_OTHERS: [(usize, usize); 2] = [(64 * 1024, 90), (8 * 1024, 95)];

/// One budget of bytes for everything that grows with what peers send: packets that are incomplete or
/// wait for a hook, bytes that a slow peer does not accept, topic aliases, unanswered requests.
///
/// Every [`SessionHandle`](crate::SessionHandle) made by
/// [`with_memory`](crate::SessionHandle::with_memory) counts against it:
/// 4 KiB for the connection, and what its session holds beyond 2 KiB, in steps of 4 KiB. A session that
/// would exceed the budget ends with [`CloseReason::Overload`](crate::CloseReason::Overload); one that holds
/// more than 64 KiB at 90 % of it, and more than 8 KiB at 95 %. So the limit holds by itself, and those that hold
/// much leave room for others. The owner of
/// the handles can do better before it is reached: [`pressed`](Self::pressed) wakes, and
/// [`SessionHandle::held`](crate::SessionHandle::held) says who holds how much.
///
/// ```
/// use mproxy_session::{MemoryBudget, SessionHandle};
///
/// let budget = MemoryBudget::new(64 << 20);
/// let handle = SessionHandle::with_memory(&budget);
/// assert_eq!((budget.used(), handle.held()), (4096, 0));
/// drop(handle);
/// assert_eq!(budget.used(), 0);
/// ```
#[derive(Debug)]
pub struct MemoryBudget {
    limit: AtomicUsize,
    /// The shared count; may be negative for a moment.
    told: AtomicIsize,
    shards: [Shard; SHARDS],
    pressed: Notify,
}

/// The local counts of threads, in separate cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicIsize);

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl MemoryBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            told: AtomicIsize::new(0),
            shards: std::array::from_fn(|_| Shard::default()),
            pressed: Notify::new(),
        })
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the limit. A limit below the current use does not end sessions by itself.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        if self.share(self.told()) >= PRESSED {
            self.pressed.notify_one();
        }
    }

    /// The bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        let shards = self.shards.iter();
        let counting: isize = shards.map(|it| it.0.load(Ordering::Relaxed)).sum();
        let used = self.told.load(Ordering::Relaxed).saturating_add(counting);
        usize::try_from(used).unwrap_or(0)
    }

    /// The part that is used, in percent; more than 100 if the limit was lowered.
    #[must_use]
    pub fn percent(&self) -> usize {
        self.share(self.used())
    }

    /// Waits until more is used while 80 % or more are in use. For one task: of several that wait, each use wakes
    /// one.
    pub async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// What may be in use when a connection takes more that holds so many bytes then.
    fn limit_of(&self, held: usize) -> usize {
        let parts = LEFT_TO_OTHERS.iter();
        match parts.copied().find(|(most, _)| held > *most) {
            Some((_, percent)) => self.limit() / 100 * percent,
            None => self.limit(),
        }
    }

    fn told(&self) -> usize {
        usize::try_from(self.told.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn share(&self, used: usize) -> usize {
        used.saturating_mul(100) / self.limit().max(1)
    }

    /// Takes from the budget, or returns to it with a negative number, for a connection that holds so many
    /// bytes then.
    ///
    /// # Errors
    /// There is no room for that. The bytes are counted anyway: their holder returns them when it
    /// has ended.
    pub(crate) fn draw(&self, bytes: isize, held: usize) -> Result<(), Exhausted> {
        let shard = &self.shards[shard()].0;
        let counted = shard.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let told = if counted.abs() >= BATCH {
            let counted = shard.swap(0, Ordering::Relaxed);
            let told = self.told.fetch_add(counted, Ordering::Relaxed) + counted;
            if bytes > 0 && self.share(usize::try_from(told).unwrap_or(0)) >= PRESSED {
                self.pressed.notify_one();
            }
            told
        } else {
            self.told.load(Ordering::Relaxed)
        };
        if bytes > 0 && usize::try_from(told).unwrap_or(0) > self.limit_of(held) {
            return Err(Exhausted);
        }
        Ok(())
    }
}

/// The slot of the thread.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// One thread takes and another one returns, when a session ends on the thread that ordered it.
    #[test]
    fn what_is_drawn_is_given_back_whatever_the_threads() {
        let budget = MemoryBudget::new(1 << 30);
        let drawing: Vec<_> = (0..8)
            .map(|_| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || (0..1000).for_each(|_| budget.draw(5000, 0).unwrap()))
            })
            .collect();
        for thread in drawing {
            thread.join().unwrap();
        }
        assert_eq!(budget.used(), 8 * 1000 * 5000);
        (0..8000).for_each(|_| budget.draw(-5000, 0).unwrap());
        assert_eq!(budget.used(), 0);
    }

    /// The keys of TLS were not counted: ten thousand connections took 40 MB more than was known.
    #[test]
    fn what_the_transport_keeps_is_drawn_and_is_not_held_for_the_client() {
        let budget = MemoryBudget::new(1 << 20);
        let handle = crate::SessionHandle::with_transport(&budget, 5000);
        assert_eq!((budget.used(), handle.held()), (3 * 4096, 0));
        handle.holds(1000);
        assert_eq!((budget.used(), handle.held()), (3 * 4096, 0));
        handle.holds(5000);
        assert_eq!((budget.used(), handle.held()), (5 * 4096, 2 * 4096));
        // the part of a record that has come
        handle.carries(16_000);
        handle.holds(0);
        assert_eq!(handle.held(), 4 * 4096);
        handle.carries(0);
        assert_eq!((budget.used(), handle.held()), (3 * 4096, 0));
        drop(handle);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn no_more_is_drawn_than_there_is_but_for_a_batch() {
        let budget = MemoryBudget::new(1 << 20);
        let drawn = (0..).take_while(|_| budget.draw(4096, 0).is_ok()).count();
        let over = drawn * 4096 - (1 << 20);
        assert!(over < BATCH as usize, "{over}");
        assert_eq!(budget.draw(4096, 0), Err(Exhausted));
        budget.draw(-(budget.used() as isize), 0).unwrap();
        assert_eq!(budget.draw(4096, 0), Ok(()));
    }

    /// A thousand clients, each with most of a large packet, took all there was between two looks of those
    /// who would have closed them: new clients, who need 4 KiB, were refused.
    #[test]
    fn those_that_hold_much_leave_room_for_others() {
        let budget = MemoryBudget::new(10 << 20);
        let large = crate::SessionHandle::with_memory(&budget);
        large.hold(64 << 10).unwrap();
        large.hold(8 << 20).unwrap();
        large.hold(10 << 20).unwrap_err();
        // less than before is always well
        large.hold(19 << 19).unwrap();
        large.hold((19 << 19) + 4096).unwrap_err();
        let middle = crate::SessionHandle::with_memory(&budget);
        middle.hold(8 << 10).unwrap();
        middle.hold(64 << 10).unwrap_err();
        large.hold(37 << 18).unwrap();
        middle.hold((64 << 10) + 1).unwrap_err();
        middle.hold(32 << 10).unwrap();
        middle.hold(64 << 10).unwrap();
        assert!(budget.used() < budget.limit());
    }

    #[tokio::test]
    async fn wakes_above_four_fifths() {
        let budget = MemoryBudget::new(1 << 20);
        let mut pressed = tokio_test::task::spawn(budget.pressed());
        tokio_test::assert_pending!(pressed.poll());
        budget.draw(790_000, 0).unwrap();
        tokio_test::assert_pending!(pressed.poll());
        budget.draw(70_000, 0).unwrap();
        tokio_test::assert_ready!(pressed.poll());
        assert_eq!(budget.percent(), 82);
    }
}

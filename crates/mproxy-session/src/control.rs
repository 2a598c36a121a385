//! Ends a session from outside: a drain, or somebody's order.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use mproxy_codec::ReasonCode;

use crate::memory::{Exhausted, MemoryBudget};
use crate::summary::CloseReason;

/// What a connection draws on its [`MemoryBudget`] for as long as it lives, in bytes: the state of an
/// idle session, and the first bytes of what it holds.
const CONNECTION: u32 = 4096;

/// Bytes of what a session holds that are in [`CONNECTION`]: the beginning of the next packet, as it is
/// left over by most reads of a busy connection, changes no counter.
const INCLUDED: usize = 2048;

/// What is held beyond is counted in steps of this.
const STEP: usize = 4096;

/// An order to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Order {
    /// What logs and metrics call it.
    pub reason: CloseReason,
    /// What DISCONNECT says to a client of MQTT 5.0.
    pub reason_code: ReasonCode,
    /// True: the broker gets a DISCONNECT, so that the client's will is not published.
    pub suppress_will: bool,
    /// True: the client is told, by a DISCONNECT of MQTT 5.0, or by a CONNACK while it has none.
    /// False: its connection is closed, as by a network that failed, and it comes back.
    pub notice: bool,
    /// True: it ends where it is, and what waits to be written is thrown away. False: between packets,
    /// after what has arrived is flushed.
    pub at_once: bool,
}

impl Order {
    /// The proxy shuts down. The client is not told: some take DISCONNECT as final and never come
    /// back. With [`with_notice`](Self::with_notice) it is: 0x8B, server shutting down.
    #[must_use]
    pub const fn drain(suppress_will: bool) -> Self {
        let reason_code = ReasonCode::SERVER_SHUTTING_DOWN;
        Self {
            reason: CloseReason::Drain,
            reason_code,
            suppress_will,
            notice: false,
            at_once: false,
        }
    }

    /// Tells the client.
    #[must_use]
    pub const fn with_notice(mut self) -> Self {
        self.notice = true;
        self
    }

    /// An administrator wants the client gone: 0x98, administrative action.
    #[must_use]
    pub const fn kick() -> Self {
        let reason_code = ReasonCode::ADMINISTRATIVE_ACTION;
        Self {
            reason: CloseReason::Kicked,
            reason_code,
            suppress_will: false,
            notice: true,
            at_once: false,
        }
    }

    /// There is no more memory for what it holds: 0x97, quota exceeded, which the client is not told.
    #[must_use]
    pub const fn overload() -> Self {
        Self {
            reason: CloseReason::Overload,
            reason_code: ReasonCode::QUOTA_EXCEEDED,
            suppress_will: false,
            notice: false,
            at_once: true,
        }
    }

    /// The connection has to make room for another one: it holds a place and has not sent a whole
    /// CONNECT yet. The client is not told: an answer to bytes that may not be MQTT costs more than
    /// the place is worth.
    #[must_use]
    pub const fn evict() -> Self {
        Self {
            reason: CloseReason::Evicted,
            reason_code: ReasonCode::SERVER_BUSY,
            suppress_will: false,
            notice: false,
            at_once: true,
        }
    }
}

/// A handle on a running session. Clones refer to the same session, and are equal.
#[derive(Clone, Default)]
pub struct Control(Arc<Shared>);

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Control {}

#[derive(Default)]
struct Shared {
    ordered: AtomicBool,
    established: AtomicBool,
    /// Bytes of the budget. Written by the session alone.
    drawn: AtomicU32,
    memory: Option<Arc<MemoryBudget>>,
    slot: Mutex<Slot>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            // giving back cannot fail
            let _ = memory.draw(-to_isize(*self.drawn.get_mut()));
        }
    }
}

#[derive(Default)]
struct Slot {
    order: Option<Order>,
    waker: Option<Waker>,
}

impl Control {
    /// What a connection draws on its [`MemoryBudget`] for as long as it lives, in bytes.
    pub const COST: usize = CONNECTION as usize;

    /// A handle for a session that is about to run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle for a connection that draws on this budget, from now until its session has ended.
    #[must_use]
    pub fn with_memory(memory: &Arc<MemoryBudget>) -> Self {
        // the session that finds no room for what it holds ends
        let _ = memory.draw(to_isize(CONNECTION));
        let mut shared = Shared::default();
        shared.drawn = AtomicU32::new(CONNECTION);
        shared.memory = Some(Arc::clone(memory));
        Self(Arc::new(shared))
    }

    /// Bytes that the session holds because of what its peers sent, in steps of 4 KiB; 0 for less than
    /// 2 KiB, and without a budget.
    #[must_use]
    pub fn held(&self) -> usize {
        self.drawn().saturating_sub(CONNECTION) as usize
    }

    fn drawn(&self) -> u32 {
        self.0.drawn.load(Ordering::Relaxed)
    }

    /// True once the broker has let the client in.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.0.established.load(Ordering::Relaxed)
    }

    pub(crate) fn establish(&self) {
        self.0.established.store(true, Ordering::Relaxed);
    }

    /// So many bytes are held for the connection now, before its session runs, which counts by itself.
    /// It is ordered to end [at once](Order::overload) if they are more than there are left.
    pub fn holds(&self, bytes: usize) {
        if self.hold(bytes).is_err() {
            self.close(Order::overload());
        }
    }

    /// The session holds so many bytes now.
    ///
    /// # Errors
    /// They are more than there are left.
    #[inline]
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= INCLUDED && self.drawn() <= CONNECTION {
            return Ok(());
        }
        let steps = match bytes {
            ..=INCLUDED => 0,
            _ => bytes.next_multiple_of(STEP),
        };
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.draw(CONNECTION.saturating_add(steps))
    }

    fn draw(&self, bytes: u32) -> Result<(), Exhausted> {
        let Some(memory) = &self.0.memory else {
            return Ok(());
        };
        let before = self.drawn();
        if before == bytes {
            return Ok(());
        }
        self.0.drawn.store(bytes, Ordering::Relaxed);
        memory.draw(to_isize(bytes) - to_isize(before))
    }

    /// Orders the session to end: between packets, after what has arrived is flushed, unless the order
    /// says [at once](Order::at_once). The first order counts, but for one that says so.
    pub fn close(&self, order: Order) {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot
            .order
            .is_none_or(|earlier| order.at_once && !earlier.at_once)
        {
            slot.order = Some(order);
        }
        self.0.ordered.store(true, Ordering::Release);
        // it stays: a later order may have to wake as well
        let waker = slot.waker.clone();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Runs what a connection does to close, unless it is ordered to end [at once](Order::at_once).
    pub(crate) async fn unless_at_once(&self, closing: impl Future<Output = ()>) {
        let mut closing = pin!(closing);
        poll_fn(|cx| {
            self.register(cx);
            if self.ends_at_once() {
                return Poll::Ready(());
            }
            closing.as_mut().poll(cx)
        })
        .await;
    }

    /// True once it was ordered to end [at once](Order::at_once).
    #[must_use]
    pub fn ends_at_once(&self) -> bool {
        self.order().is_some_and(|order| order.at_once)
    }

    /// Waits for an order, for what comes before the session: a handshake of the transport, for one.
    /// A session that runs does this itself. The last task that polled is woken.
    pub fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        self.register(cx);
        self.order().map_or(Poll::Pending, Poll::Ready)
    }

    /// The order, if there is one. A relaxed load while there is none.
    #[inline]
    pub(crate) fn order(&self) -> Option<Order> {
        if !self.0.ordered.load(Ordering::Acquire) {
            return None;
        }
        self.0
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .order
    }

    /// Has the task woken when an order comes.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => slot.waker = Some(cx.waker().clone()),
        }
    }
}

/// The session's own side of its handle: when it is gone, what it held is given back, and an order wakes
/// nobody.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Control);

impl Deref for Running {
    type Target = Control;

    #[inline]
    fn deref(&self) -> &Control {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // giving back cannot fail
        let _ = self.0.draw(0);
        let shared = &self.0.0;
        let mut slot = shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.waker = None;
    }
}

/// As large as a pointer or larger on every system that has a network.
const fn to_isize(bytes: u32) -> isize {
    bytes as isize
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("order", &self.order())
            .finish()
    }
}

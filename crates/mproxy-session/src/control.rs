//! Ends a session from outside: a drain, or somebody's order.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use mproxy_codec::ReasonCode;

use crate::error::End;
use crate::summary::{CloseReason, Side};

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
        }
    }
}

impl From<Order> for End {
    fn from(order: Order) -> Self {
        let mut end = Self::told(Side::Proxy, order.reason, order.reason_code);
        end.tell_client = order.notice;
        end.suppress_will = order.suppress_will;
        end
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
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    order: Option<Order>,
    waker: Option<Waker>,
}

impl Control {
    /// A handle for a session that is about to run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders the session to end: between packets, after what has arrived is flushed. The first
    /// order counts.
    pub fn close(&self, order: Order) {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.order.get_or_insert(order);
        self.0.ordered.store(true, Ordering::Release);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
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

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("order", &self.order())
            .finish()
    }
}

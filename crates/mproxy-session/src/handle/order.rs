//! Orders to end a session.

use mproxy_codec::ReasonCode;

use crate::summary::CloseReason;

/// When an [`Order`] is obeyed. A later one is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum When {
    /// At the next border: packets that are on their way, or with the hooks, are finished first, and
    /// what has arrived is written, for up to 5 seconds.
    Border,
    /// Within 100 ms, also where a hook does not answer, a large PUBLISH is on its way, or a peer takes
    /// no bytes. A packet that is with the hooks is thrown away. The client gets the notice of the order
    /// unless its connection is inside a packet, or takes no bytes.
    Now,
    /// Now, and what waits to be written is thrown away as well: its memory, or its place, is needed.
    Abort,
}

/// An order to end a session.
///
/// ```
/// use mproxy_codec::ReasonCode;
/// use mproxy_session::{CloseReason, Order, When};
///
/// // the client's token is not valid any more
/// let order = Order::new(CloseReason::TokenExpired, ReasonCode::NOT_AUTHORIZED).when(When::Now);
/// assert!(order.notice && !order.suppress_will);
/// ```
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
    /// When it is obeyed.
    pub when: When,
}

impl Order {
    /// An order that tells the client this reason code, at the next border, and lets the broker publish
    /// the client's will.
    #[must_use]
    pub const fn new(reason: CloseReason, reason_code: ReasonCode) -> Self {
        Self {
            reason,
            reason_code,
            suppress_will: false,
            notice: true,
            when: When::Border,
        }
    }

    /// Says when the order is obeyed.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Tells the client.
    #[must_use]
    pub const fn with_notice(mut self) -> Self {
        self.notice = true;
        self
    }

    /// Closes the client's connection without a word: it takes that for a failure of the network, and
    /// comes back.
    #[must_use]
    pub const fn without_notice(mut self) -> Self {
        self.notice = false;
        self
    }

    /// Keeps the client's will from being published.
    #[must_use]
    pub const fn without_will(mut self) -> Self {
        self.suppress_will = true;
        self
    }

    /// The proxy shuts down. The client is not told: some take DISCONNECT as final and never come
    /// back. With [`with_notice`](Self::with_notice) it is: 0x8B, server shutting down.
    #[must_use]
    pub const fn drain(suppress_will: bool) -> Self {
        let mut order = Self::new(CloseReason::Drain, ReasonCode::SERVER_SHUTTING_DOWN);
        order.suppress_will = suppress_will;
        order.without_notice()
    }

    /// An administrator wants the client gone, [now](When::Now): 0x98, administrative action.
    #[must_use]
    pub const fn kick() -> Self {
        Self::new(CloseReason::Kicked, ReasonCode::ADMINISTRATIVE_ACTION).when(When::Now)
    }

    /// There is no more memory for what it holds: 0x97, quota exceeded, which the client is not told.
    #[must_use]
    pub const fn overload() -> Self {
        Self::new(CloseReason::Overload, ReasonCode::QUOTA_EXCEEDED)
            .without_notice()
            .when(When::Abort)
    }

    /// The connection has to make room for another one: it holds a place and has not sent a whole
    /// CONNECT yet. The client is not told: an answer to bytes that may not be MQTT costs more than
    /// the place is worth.
    #[must_use]
    pub const fn evict() -> Self {
        Self::new(CloseReason::Evicted, ReasonCode::SERVER_BUSY)
            .without_notice()
            .when(When::Abort)
    }

    /// The order that counts when this one comes after another: the first, unless a later one is more
    /// urgent.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) if self.when <= earlier.when => earlier,
            _ => self,
        }
    }
}

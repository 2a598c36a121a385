//! Orders to end a session.

use mproxy_codec::ReasonCode;

use crate::summary::CloseReason;

/// When an [`Order`] takes effect. Later variants are more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum When {
    /// At the next packet border: packets in progress, or with the hooks, are finished first, and
    /// data that has arrived is written, for up to 5 seconds.
    Border,
    /// Within 100 ms, even if a hook does not answer, a large PUBLISH is streaming, or a peer accepts
    /// no bytes. A packet with the hooks is discarded. The client gets the notice of the order
    /// unless its connection is inside a packet, or accepts no bytes.
    Now,
    /// At once, and queued data is discarded as well, because its memory or its place is needed.
    Abort,
}

/// An order to end a session.
///
/// ```
/// use mproxy_codec::ReasonCode;
/// use mproxy_session::{CloseReason, Order, When};
///
/// // the client's token is no longer valid
/// let order = Order::new(CloseReason::TokenExpired, ReasonCode::NOT_AUTHORIZED).when(When::Now);
/// assert!(order.notice && !order.suppress_will);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Order {
    /// Its reason in logs and metrics.
    pub reason: CloseReason,
    /// The reason code of the DISCONNECT to an MQTT 5.0 client.
    pub reason_code: ReasonCode,
    /// True: the broker gets a DISCONNECT, so that it does not publish the client's will.
    pub suppress_will: bool,
    /// True: the client gets a DISCONNECT (MQTT 5.0), or a CONNACK if it has none yet. False: its
    /// connection is just closed, and it reconnects as after a network failure.
    pub notice: bool,
    /// When it takes effect.
    pub when: When,
}

impl Order {
    /// An order that sends the client this reason code, at the next packet border, and lets the broker
    /// publish the client's will.
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

    /// Sets when the order takes effect.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Sends the client the reason.
    #[must_use]
    pub const fn with_notice(mut self) -> Self {
        self.notice = true;
        self
    }

    /// Closes the client's connection without a packet: it takes that for a network failure, and
    /// reconnects.
    #[must_use]
    pub const fn without_notice(mut self) -> Self {
        self.notice = false;
        self
    }

    /// Keeps the broker from publishing the client's will.
    #[must_use]
    pub const fn without_will(mut self) -> Self {
        self.suppress_will = true;
        self
    }

    /// The proxy shuts down. The client is not told, because some take DISCONNECT as final and never
    /// reconnect. With [`with_notice`](Self::with_notice) it gets 0x8B, server shutting down.
    #[must_use]
    pub const fn drain(suppress_will: bool) -> Self {
        let mut order = Self::new(CloseReason::Drain, ReasonCode::SERVER_SHUTTING_DOWN);
        order.suppress_will = suppress_will;
        order.without_notice()
    }

    /// An administrator disconnects the client, [now](When::Now): 0x98, administrative action.
    #[must_use]
    pub const fn kick() -> Self {
        Self::new(CloseReason::Kicked, ReasonCode::ADMINISTRATIVE_ACTION).when(When::Now)
    }

    /// The memory budget is used up: 0x97, quota exceeded. The client is not told.
    #[must_use]
    pub const fn overload() -> Self {
        Self::new(CloseReason::Overload, ReasonCode::QUOTA_EXCEEDED)
            .without_notice()
            .when(When::Abort)
    }

    /// The connection must make room for another one: it holds a place and has not sent a complete
    /// CONNECT yet. The client is not told: answering bytes that may not be MQTT costs more than
    /// the place is worth.
    #[must_use]
    pub const fn evict() -> Self {
        Self::new(CloseReason::Evicted, ReasonCode::SERVER_BUSY)
            .without_notice()
            .when(When::Abort)
    }

    /// The order that counts if this one comes after another: the first, unless a later one is more
    /// urgent.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) if self.when <= earlier.when => earlier,
            _ => self,
        }
    }
}

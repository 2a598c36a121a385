//! The handle of a session: who it is, what it has counted, and how to end it.

mod book;
mod drawn;
mod id;
mod order;
mod running;
mod shared;

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mproxy_codec::Direction;
use tokio::time::{Instant, timeout};

use self::book::Book;
use self::drawn::CONNECTION;
pub use self::id::SessionId;
pub use self::order::{Order, When};
pub(crate) use self::running::Running;
pub use self::running::renew_all;
use self::shared::{CLOSED, ESTABLISHED, EXPIRES, ORDERED, PACED, RENEW, RUNS, Shared, wake};
use crate::context::SessionInfo;
use crate::limits::{Pace, Paces};
use crate::memory::MemoryBudget;
use crate::recorder::{Batch, Recorder};
use crate::summary::Traffic;

/// A handle of a session, valid from before its first byte until after its end.
///
/// Clones refer to the same session and are equal. Handles of two sessions differ, whatever their clients are
/// called. A registry by client identifier needs that: a client that connects again takes over its own
/// session, and the end of the older session must not remove the entry of the newer one.
///
/// ```
/// use std::collections::HashMap;
/// use mproxy_session::SessionHandle;
///
/// /// Called at the end of each session.
/// fn forget(registry: &mut HashMap<String, SessionHandle>, client_id: &str, ended: &SessionHandle) {
///     if registry.get(client_id) == Some(ended) {
///         registry.remove(client_id);
///     }
/// }
/// # let (older, newer) = (SessionHandle::new(), SessionHandle::new());
/// # let mut registry = HashMap::from([("c".to_owned(), newer.clone())]);
/// # forget(&mut registry, "c", &older);
/// # assert_eq!(registry.len(), 1);
/// # forget(&mut registry, "c", &newer);
/// # assert!(registry.is_empty());
/// ```
///
/// Hooks get it at CONNECT ([`Connect::handle`](crate::Connect::handle)); other code makes one and gives it
/// to the session ([`Session::handle`](crate::Session::handle)).
#[derive(Clone)]
pub struct SessionHandle(Arc<Shared>);

impl SessionHandle {
    /// A handle for a session that is about to run.
    #[must_use]
    pub fn new() -> Self {
        Self::drawing(0, None)
    }

    fn drawing(pages: u8, memory: Option<Arc<MemoryBudget>>) -> Self {
        Self(Arc::new(Shared {
            id: SessionId::next(),
            info: OnceLock::new(),
            book: Book::default(),
            policy: AtomicU64::new(0),
            drawn: AtomicU32::new(u32::from(pages) * CONNECTION),
            pages,
            carried: AtomicU16::new(0),
            flags: AtomicU8::new(0),
            memory,
            slot: Mutex::default(),
        }))
    }

    /// The number of the session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// Client identifier, user name, version, address and so on of the session. `None` before the
    /// CONNECT stage has admitted the client.
    #[must_use]
    pub fn info(&self) -> Option<&SessionInfo> {
        self.0.info.get()
    }

    pub(crate) fn set_info(&self, info: &SessionInfo) {
        // once per session
        let _ = self.0.info.set(info.clone());
    }

    /// What was read from the sender of this direction up to now, without a read that is in progress.
    /// The numbers are read one by one, so they may not match each other exactly.
    #[must_use]
    pub fn traffic(&self, direction: Direction) -> Traffic {
        self.0.book.read(direction)
    }

    /// QoS 0 messages that were dropped up to now because the client was
    /// [slow](crate::SlowConsumer::DropQos0).
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.0.book.shed()
    }

    /// Adds the counts of one read, and reports them unless they are empty.
    pub(crate) fn enter(&self, direction: Direction, batch: &Batch, recorder: &dyn Recorder) {
        self.0.book.enter(direction, batch, recorder);
    }

    /// Adds counts without reporting them to the recorder.
    pub(crate) fn count(&self, direction: Direction, batch: &Batch) {
        self.0.book.add(direction, batch);
    }

    /// The generation of the rules under which the client was admitted, as the CONNECT stage has
    /// [set](Self::set_policy) it; 0 until then.
    #[must_use]
    pub fn policy(&self) -> u64 {
        self.0.policy.load(Ordering::Acquire)
    }

    /// Sets the generation of the rules that judge the session. For a CONNECT stage whose rules change:
    /// it sets the generation before it applies the rules.
    pub fn set_policy(&self, generation: u64) {
        self.0.policy.store(generation, Ordering::Release);
    }

    /// Has the session judged again, because the rules have changed: the CONNECT stage is called again
    /// ([`Connect::is_renewal`](crate::Connect::is_renewal)), and its hooks replace those of the
    /// session. If it refuses, fails, or takes longer than
    /// [`Limits::hook_timeout`](crate::Limits::hook_timeout), the session ends. The new hooks are offered
    /// the client's will again: if they refuse or discard it, the session ends so that the broker discards
    /// it.
    ///
    /// This happens at the next packet border at which no packet is with the hooks, and not
    /// before CONNACK. Nothing is read until the stage has answered; from then on, the new hooks judge
    /// every packet, and remembered verdicts are dropped. A session whose
    /// [`policy`](Self::policy) is already of this generation, or a later one, is not judged again.
    ///
    /// The CONNECT stage must read the current rules from a shared place, such as an
    /// `Arc<ArcSwap<..>>`. [`renew_all`] is for many sessions at once.
    pub fn renew(&self, generation: u64) {
        if self.policy() < generation {
            let slot = self.0.slot();
            self.0.set(RENEW);
            wake(slot);
        }
    }

    /// True if the session must be judged again. One load.
    #[inline]
    pub(crate) fn wants_renewal(&self) -> bool {
        self.0.has(RENEW)
    }

    /// The session is about to be judged again: later changes need another renewal.
    pub(crate) fn begin_renewal(&self) {
        self.0.flags.fetch_and(!RENEW, Ordering::AcqRel);
    }

    /// Changes the paces of the session, instead of [`Limits::pace_to_server`] and
    /// [`Limits::pace_to_client`] (`None` = unlimited). They apply from the next packet on, and their buckets
    /// start full.
    ///
    /// [`Limits::pace_to_server`]: field@crate::Limits::pace_to_server
    /// [`Limits::pace_to_client`]: field@crate::Limits::pace_to_client
    pub fn set_pace(&self, to_server: Option<Pace>, to_client: Option<Pace>) {
        let mut slot = self.0.slot();
        slot.rare.get_or_insert_default().paces = Some([to_server, to_client]);
        self.0.set(PACED);
        wake(slot);
    }

    /// Takes new paces, if there are any. One load if not.
    #[inline]
    pub(crate) fn take_paces(&self) -> Option<Paces> {
        if !self.0.has(PACED) {
            return None;
        }
        let mut slot = self.0.slot();
        self.0.flags.fetch_and(!PACED, Ordering::AcqRel);
        slot.rare.as_mut()?.paces.take()
    }

    /// True once the broker has let the client in.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.0.has(ESTABLISHED)
    }

    pub(crate) fn establish(&self) {
        self.0.set(ESTABLISHED);
    }

    /// Orders the session to end, at the time that [`Order::when`] says. The first order counts, unless a
    /// later one is more urgent.
    pub fn close(&self, order: Order) {
        let mut slot = self.0.slot();
        slot.order = Some(order.after(slot.order));
        self.0.set(ORDERED);
        let waiter = slot.rare.as_mut().and_then(|it| it.waiter.take());
        wake(slot);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Orders the session to end at a later time, for example when the credentials of its client
    /// expire. Replaces an earlier time and its order. A time in the past means now; one before
    /// the broker is dialled takes effect when it has been.
    ///
    /// A CONNECT stage calls this on [`Connect::handle`](crate::Connect::handle).
    pub fn expires_at(&self, at: Instant, order: Order) {
        let mut slot = self.0.slot();
        slot.rare.get_or_insert_default().expiry = Some((at, order));
        self.0.set(EXPIRES);
        wake(slot);
    }

    /// Moves the time at which the session [expires](Self::expires_at), for example when its client has
    /// authenticated again. False if the session has no such time, or it has passed.
    pub fn prolong(&self, at: Instant) -> bool {
        let mut slot = self.0.slot();
        let Some((expiry, _)) = slot.rare.as_mut().and_then(|it| it.expiry.as_mut()) else {
            return false;
        };
        *expiry = at;
        wake(slot);
        true
    }

    /// When the session [expires](Self::expires_at), if it does. Free while it does not.
    #[must_use]
    pub fn expiry(&self) -> Option<Instant> {
        if !self.expires() {
            return None;
        }
        let slot = self.0.slot();
        let expiry = slot.rare.as_ref().and_then(|it| it.expiry);
        expiry.map(|(at, _)| at)
    }

    /// True if it has a time at which it expires. One load.
    #[inline]
    pub(crate) fn expires(&self) -> bool {
        self.0.has(EXPIRES)
    }

    /// The time has come: gives the order that was set for it.
    pub(crate) fn expire(&self) {
        let expiry = self.0.slot().rare.as_mut().and_then(|it| it.expiry.take());
        if let Some((_, order)) = expiry {
            self.close(order);
        }
    }

    /// Waits for the end of the session: both connections are closed, and its memory is returned to the
    /// budget. Notices of its end ([`Hooks::on_close`](crate::Hooks::on_close)) may still run. Waits
    /// forever if no session is run with this handle.
    ///
    /// After an order such as [`Order::kick`] it can take up to [`Limits::linger`](field@crate::Limits::linger)
    /// longer than the order: that is how long a peer is read that does not close its side.
    pub async fn closed(&self) {
        let closed = {
            let mut slot = self.0.slot();
            let rare = slot.rare.get_or_insert_default();
            Arc::clone(rare.closed.get_or_insert_default())
        };
        let closed = closed.notified();
        // notifications from here on are received
        if !self.is_closed() {
            closed.await;
        }
    }

    /// True when the session is over; see [`closed`](Self::closed).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.has(CLOSED)
    }

    /// Runs the closing of a connection that began with this urgency, unless that is [abort](When::Abort). An
    /// order that is more urgent cuts it short: at once if it says abort, after `patience` if it says
    /// [now](When::Now).
    pub(crate) async fn unless_hurried(
        &self,
        began: When,
        patience: Duration,
        mut closing: Pin<&mut impl Future<Output = ()>>,
    ) {
        if began == When::Abort {
            return;
        }
        let hurry = poll_fn(|cx| {
            self.register(cx);
            let when = self.order().map(|order| order.when);
            when.filter(|when| *when > began)
                .map_or(Poll::Pending, Poll::Ready)
        });
        let when = tokio::select! {
            biased;
            when = hurry => when,
            () = closing.as_mut() => return,
        };
        if when == When::Now {
            // a peer with room in its buffers takes what is left at once
            let _ = timeout(patience, closing).await;
        }
    }

    /// True once it was ordered to [abort](When::Abort).
    #[must_use]
    pub fn ends_at_once(&self) -> bool {
        self.order().is_some_and(|order| order.when == When::Abort)
    }

    /// Waits for an order, for work before the session, such as a handshake of the transport, or beside it.
    /// A running session does this itself. Of several other tasks that wait, the last one that polled is woken.
    pub fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut slot = self.0.slot();
        if self.0.has(RUNS) {
            set_waker(&mut slot.rare.get_or_insert_default().waiter, cx);
        } else {
            set_waker(&mut slot.waker, cx);
        }
        slot.order.map_or(Poll::Pending, Poll::Ready)
    }

    /// The same for the session itself.
    pub(crate) fn poll_own_order(&self, cx: &Context<'_>) -> Poll<Order> {
        self.register(cx);
        self.order().map_or(Poll::Pending, Poll::Ready)
    }

    /// The order, if there is one. One load while there is none.
    #[inline]
    pub(crate) fn order(&self) -> Option<Order> {
        if !self.0.has(ORDERED) {
            return None;
        }
        self.0.slot().order
    }

    /// Registers the task of the session, to be woken when an order comes or the rules change.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut slot = self.0.slot();
        let waiter = (self.0.set_first(RUNS).then(|| slot.waker.take())).flatten();
        set_waker(&mut slot.waker, cx);
        drop(slot);
        // another task that still waits for an order polls again, and has a place of its own then
        if let Some(waiter) = waiter.filter(|waiter| !waiter.will_wake(cx.waker())) {
            waiter.wake();
        }
    }
}

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl Default for SessionHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for SessionHandle {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for SessionHandle {}

impl Hash for SessionHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("id", &self.id())
            .field("order", &self.order())
            .finish_non_exhaustive()
    }
}

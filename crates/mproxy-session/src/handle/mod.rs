//! A session, seen from outside while it runs: who it is, what it has counted, and how to end it.

mod book;
mod drawn;
mod id;
mod order;
mod running;
mod shared;

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use mproxy_codec::Direction;
use tokio::time::Instant;

use self::book::Book;
pub use self::id::SessionId;
pub use self::order::{Order, When};
pub(crate) use self::running::Running;
pub use self::running::renew_all;
use self::shared::{CLOSED, ESTABLISHED, EXPIRES, ORDERED, PACED, RENEW, Shared, wake};
use crate::context::SessionInfo;
use crate::limits::{Pace, Paces};
use crate::memory::MemoryBudget;
use crate::recorder::{Batch, Recorder};
use crate::summary::Traffic;

/// A handle on a session, from before its first byte until after its end.
///
/// Clones refer to the same session and are equal; two sessions are not, whatever their clients are
/// called. A registry by client identifier needs that: a client that connects again takes its own
/// session over, and the end of the older session must not remove the entry of the newer one.
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
/// Hooks get it at CONNECT ([`Connect::handle`](crate::Connect::handle)), others make one and give it
/// to the session ([`Session::handle`](crate::Session::handle)).
#[derive(Clone)]
pub struct SessionHandle(Arc<Shared>);

impl SessionHandle {
    /// A handle for a session that is about to run.
    #[must_use]
    pub fn new() -> Self {
        Self::drawing(0, None)
    }

    fn drawing(drawn: u32, memory: Option<Arc<MemoryBudget>>) -> Self {
        Self(Arc::new(Shared {
            id: SessionId::next(),
            info: OnceLock::new(),
            book: Book::default(),
            policy: AtomicU64::new(0),
            drawn: AtomicU32::new(drawn),
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

    /// What the session is known as: client identifier, user name, version, address, and so on. `None`
    /// before the CONNECT stage has admitted the client.
    #[must_use]
    pub fn info(&self) -> Option<&SessionInfo> {
        self.0.info.get()
    }

    pub(crate) fn set_info(&self, info: &SessionInfo) {
        // once per session
        let _ = self.0.info.set(info.clone());
    }

    /// What was read from the sender of this direction up to now; a read that is under way is not in
    /// it. The numbers are read one by one: they need not fit each other exactly.
    #[must_use]
    pub fn traffic(&self, direction: Direction) -> Traffic {
        self.0.book.read(direction)
    }

    /// Adds what one read brought, and hands it out unless it is empty.
    pub(crate) fn enter(&self, direction: Direction, batch: &Batch, recorder: &dyn Recorder) {
        self.0.book.enter(direction, batch, recorder);
    }

    /// Adds what no recorder is to count.
    pub(crate) fn count(&self, direction: Direction, batch: &Batch) {
        self.0.book.add(direction, batch);
    }

    /// The generation of the rules under which the client was admitted: what the CONNECT stage has
    /// [set](Self::set_policy), and 0 until it does.
    #[must_use]
    pub fn policy(&self) -> u64 {
        self.0.policy.load(Ordering::Acquire)
    }

    /// Says which generation of the rules judges the session. For a CONNECT stage whose rules change:
    /// it sets the generation of those that it asks, before it asks them.
    pub fn set_policy(&self, generation: u64) {
        self.0.policy.store(generation, Ordering::Release);
    }

    /// Has the session judged again, because the rules have changed: the CONNECT stage is asked again
    /// ([`Connect::is_renewal`](crate::Connect::is_renewal)), and the hooks that it answers with take the
    /// place of those that the session has. If it refuses, fails, or takes longer than
    /// [`Limits::hook_timeout`](crate::Limits::hook_timeout), the session ends. The new hooks are offered
    /// the client's will again: if they refuse or discard it, the session ends so that the broker forgets
    /// it.
    ///
    /// This comes at the next border between packets at which no packet is with the hooks, and not
    /// before CONNACK. Nothing is read until the stage has answered; from then on every packet is judged
    /// by the new hooks, and verdicts that were remembered are forgotten. A session whose
    /// [`policy`](Self::policy) is of this generation, or a later one, is left alone.
    ///
    /// The CONNECT stage must be one that changes by itself: a service that asks a shared place, an
    /// `Arc<ArcSwap<..>>` for one, for the rules of now. [`renew_all`] is for many sessions at once.
    pub fn renew(&self, generation: u64) {
        if self.policy() < generation {
            let slot = self.0.slot();
            self.0.set(RENEW);
            wake(slot);
        }
    }

    /// True when the session is to be judged again. One load.
    #[inline]
    pub(crate) fn wants_renewal(&self) -> bool {
        self.0.has(RENEW)
    }

    /// The session is about to be judged again: what changes from here on is for another time.
    pub(crate) fn begin_renewal(&self) {
        self.0.flags.fetch_and(!RENEW, Ordering::AcqRel);
    }

    /// Has the session keep other paces, in the place of [`Limits::pace_to_server`] and
    /// [`Limits::pace_to_client`] (`None` = unlimited). They hold from the next packet, and their buckets
    /// are full.
    ///
    /// [`Limits::pace_to_server`]: field@crate::Limits::pace_to_server
    /// [`Limits::pace_to_client`]: field@crate::Limits::pace_to_client
    pub fn set_pace(&self, to_server: Option<Pace>, to_client: Option<Pace>) {
        let mut slot = self.0.slot();
        slot.rare.get_or_insert_default().paces = Some([to_server, to_client]);
        self.0.set(PACED);
        wake(slot);
    }

    /// The paces that the session is to keep from now on. One load while there are no new ones.
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

    /// Orders the session to end, [when](Order::when) the order says. The first order counts, unless a
    /// later one is more urgent.
    pub fn close(&self, order: Order) {
        let mut slot = self.0.slot();
        slot.order = Some(order.after(slot.order));
        self.0.set(ORDERED);
        wake(slot);
    }

    /// Orders the session to end at a later time, at which the credentials of its client expire, for
    /// one. Takes the place of an earlier time and its order. A time that has passed is now; one before
    /// the broker is dialled is looked at when it has been.
    ///
    /// A CONNECT stage calls this on [`Connect::handle`](crate::Connect::handle).
    pub fn expires_at(&self, at: Instant, order: Order) {
        let mut slot = self.0.slot();
        slot.rare.get_or_insert_default().expiry = Some((at, order));
        self.0.set(EXPIRES);
        wake(slot);
    }

    /// Moves the time at which the session [expires](Self::expires_at), when its client has
    /// authenticated again, for one. False if the session has no such time, or it has passed.
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
        if !self.0.has(EXPIRES) {
            return None;
        }
        let slot = self.0.slot();
        let expiry = slot.rare.as_ref().and_then(|it| it.expiry);
        expiry.map(|(at, _)| at)
    }

    /// The time has come: the order that was set for it is given.
    pub(crate) fn expire(&self) {
        let expiry = self.0.slot().rare.as_mut().and_then(|it| it.expiry.take());
        if let Some((_, order)) = expiry {
            self.close(order);
        }
    }

    /// Waits for the end of the session: both connections are closed, and what the session held is given
    /// back. Notices of its end ([`Hooks::on_close`](crate::Hooks::on_close)) may still run. Waits
    /// forever if no session is run with this handle.
    pub async fn closed(&self) {
        let closed = {
            let mut slot = self.0.slot();
            let rare = slot.rare.get_or_insert_default();
            Arc::clone(rare.closed.get_or_insert_default())
        };
        let closed = closed.notified();
        // what is notified from here on is heard
        if !self.is_closed() {
            closed.await;
        }
    }

    /// True when the session is over; see [`closed`](Self::closed).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.has(CLOSED)
    }

    /// Runs what a connection does to close, unless it is ordered to [abort](When::Abort).
    pub(crate) async fn unless_aborted(&self, closing: impl Future<Output = ()>) {
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

    /// True once it was ordered to [abort](When::Abort).
    #[must_use]
    pub fn ends_at_once(&self) -> bool {
        self.order().is_some_and(|order| order.when == When::Abort)
    }

    /// Waits for an order, for what comes before the session: a handshake of the transport, for one.
    /// A session that runs does this itself. The last task that polled is woken.
    pub fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
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

    /// Has the task woken when an order comes.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut slot = self.0.slot();
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => slot.waker = Some(cx.waker().clone()),
        }
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

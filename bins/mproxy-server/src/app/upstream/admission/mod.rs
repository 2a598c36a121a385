//! Lets clients through to a broker at its pace, and has the others wait.
//!
//! ```text
//!            full: it, or a client of the   time over, or the client leaves
//!            address with most of them,
//!            is turned away
//!                 ^                                ^
//!   enter --------+----> queue --------------------+-------> a permit: dial, sends, CONNECT, CONNACK
//!     |                  who is next: `Queue`                     ^
//!     '--- nobody waits, and one may go: at once -----------------'
//! ```
//! A task gives the turns as long as somebody waits: [`Pace`] says when, and permits that come back
//! say whether `concurrent` lets one more go. Another pace is for the CONNECTs themselves: clients whose turns
//! were apart may have connected to the broker together.

mod debts;
mod pace;
mod queue;
mod send;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mproxy_admin::{QueueRefusal, UpstreamMetrics};
use mproxy_config::{UpstreamAdmission as Settings, WhenFull};
use mproxy_session::Busy;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep_until, timeout};

use self::pace::Pace;
use self::queue::{Called, Holder, Queue, Seat};

/// The least part of `queue_timeout` that a client waits before it is turned away. Between this and all
/// of it, chance decides, so that clients that came together do not come back together.
const PATIENCE: f64 = 0.75;

/// The admission of clients to a broker. A reload keeps it, with those who wait.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Whether it limits anything. Otherwise clients do not take the lock.
    is_on: AtomicBool,
    state: Mutex<State>,
    /// Notified if a turn may be given earlier than expected.
    changed: Notify,
    /// Clients that may not send CONNECT yet: one after the other.
    line: tokio::sync::Mutex<()>,
    /// Notified, for the first in the line, if the limits are other ones.
    set: Notify,
    metrics: UpstreamMetrics,
    /// Gives the turns: of the supervisor, which outlives the workers.
    runtime: Handle,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    /// Of the turns.
    pace: Pace,
    /// Of the CONNECTs.
    sent: Pace,
    queue: Queue,
    /// Permits that are out.
    permits: usize,
    /// Clients that were called and have not gone yet: their threads are busy.
    called: usize,
    /// Clients that are connected to the broker, and may not send CONNECT yet.
    early: usize,
    /// Whether a task gives turns.
    is_served: bool,
}

/// A client may connect to the broker; one of `concurrent` until it is dropped, at CONNACK or the
/// broker's first AUTH. A client that leaves before its CONNECT is sent drops it; later, the broker works on that
/// CONNECT all the same, and clients that connect and leave must not give it more than `concurrent`.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Admission>);

/// The answer to a client.
pub(crate) enum Entered {
    /// It is its turn.
    Now(Permit),
    /// It has to wait.
    Later(Place),
    /// It cannot.
    Full(Busy),
}

/// A place in the queue; dropping it leaves.
pub(crate) struct Place {
    admission: Arc<Admission>,
    seat: Seat,
    called: oneshot::Receiver<Called>,
    since: Instant,
    patience: Duration,
    is_done: bool,
}

/// When the next turn may be given.
enum Next {
    At(Instant),
    /// When a permit comes back, or a client goes that was called.
    Changed,
    /// Nobody waits.
    Idle,
}

impl Admission {
    /// The admission of one broker. It spawns on the runtime that calls this.
    pub(super) fn new(settings: &Settings, metrics: UpstreamMetrics) -> Arc<Self> {
        let admission = Self {
            is_on: AtomicBool::new(false),
            state: Mutex::new(State {
                settings: settings.clone(),
                pace: Pace::default(),
                sent: Pace::default(),
                queue: Queue::default(),
                permits: 0,
                called: 0,
                early: 0,
                is_served: false,
            }),
            changed: Notify::new(),
            line: tokio::sync::Mutex::default(),
            set: Notify::new(),
            metrics,
            runtime: Handle::current(),
        };
        admission.set(settings);
        Arc::new(admission)
    }

    /// Sets the limits, for those who wait too.
    pub(super) fn set(&self, settings: &Settings) {
        let mut state = self.lock();
        state.pace.set(settings.rate);
        state.sent.set(settings.rate);
        state.settings = settings.clone();
        let is_on = settings.rate.is_some() || settings.concurrent.is_some();
        self.is_on.store(is_on, Ordering::Relaxed);
        drop(state);
        self.changed.notify_one();
        self.set.notify_one();
    }

    /// Whether clients have to [enter](Self::enter).
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// A client of this address wants to connect; `is_resumed` if it continues a session.
    pub(crate) fn enter(self: &Arc<Self>, holder: Holder, is_resumed: bool) -> Entered {
        let now = Instant::now();
        let mut state = self.lock();
        if state.queue.is_empty() && state.due(now).is_none() {
            state.take(now);
            self.metrics.admitted(Duration::ZERO);
            return Entered::Now(Permit(Arc::clone(self)));
        }
        if state.queue.len() >= state.settings.queue.get() {
            let Some(other) = state.queue.make_room(holder) else {
                self.metrics.not_admitted(QueueRefusal::Queue);
                return Entered::Full(Busy::full(state.is_told()));
            };
            // a place leaves the queue before it is gone, so that somebody is there
            let _ = other.send(Called::MakeRoom);
        }
        let (call, called) = oneshot::channel();
        let was_empty = state.queue.is_empty();
        let seat = state.queue.enter(holder, is_resumed, call);
        self.metrics.queued(state.queue.len());
        let patience = state.settings.queue_timeout;
        if !state.is_served {
            state.is_served = true;
            let admission = Arc::clone(self);
            self.runtime.spawn(async move { admission.serve().await });
        } else if was_empty {
            // the task may wait for a permit that came back while nobody waited
            self.changed.notify_one();
        }
        Entered::Later(Place {
            admission: Arc::clone(self),
            seat,
            called,
            since: now,
            patience: patience.mul_f64(rand::random_range(PATIENCE..1.0)),
            is_done: false,
        })
    }

    /// A CONNECT of mproxy itself goes to the broker: it counts, and does not wait.
    pub(super) fn count(&self) {
        if self.is_on() {
            self.lock().pace.take(Instant::now());
        }
    }

    /// Gives turns as long as somebody waits.
    async fn serve(&self) {
        loop {
            match self.give(Instant::now()) {
                Next::Idle => return,
                Next::Changed => self.changed.notified().await,
                Next::At(due) => tokio::select! {
                    () = sleep_until(due.into()) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// Gives all turns that may be given now.
    fn give(&self, now: Instant) -> Next {
        let mut state = self.lock();
        let next = state.give(now);
        self.metrics.queued(state.queue.len());
        next
    }

    /// A client goes that was called.
    fn goes(&self) {
        let mut state = self.lock();
        let is_awaited = state.called >= state.pace.ahead();
        state.called = state.called.saturating_sub(1);
        state.pace.goes(Instant::now());
        drop(state);
        if is_awaited {
            self.changed.notify_one();
        }
    }

    /// A permit comes back.
    fn free(&self) {
        let mut state = self.lock();
        state.permits = state.permits.saturating_sub(1);
        let is_awaited = state.settings.concurrent.is_some() && !state.queue.is_empty();
        drop(state);
        if is_awaited {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic leaves at worst a permit that does not come back
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When one more may go; `None` = now.
    fn due(&self, now: Instant) -> Option<Next> {
        let concurrent = self.settings.concurrent;
        if concurrent.is_some_and(|most| self.permits >= most.get()) {
            return Some(Next::Changed);
        }
        if self.called >= self.pace.ahead() || self.early > 0 {
            return Some(Next::Changed);
        }
        self.pace.due(now).map(Next::At)
    }

    /// Whether a client that gets no turn is told so.
    fn is_told(&self) -> bool {
        self.settings.when_full == WhenFull::Connack
    }

    /// One goes.
    fn take(&mut self, now: Instant) {
        self.pace.take(now);
        self.permits += 1;
    }

    fn give(&mut self, now: Instant) -> Next {
        loop {
            if self.queue.is_empty() {
                self.is_served = false;
                return Next::Idle;
            }
            if let Some(next) = self.due(now) {
                return next;
            }
            if let Some(call) = self.queue.next(self.settings.prefer) {
                self.take(now);
                self.called += 1;
                // a place leaves the queue before it is gone, so that somebody is there
                let _ = call.send(Called::Turn);
            }
        }
    }
}

impl Place {
    /// Waits for the turn.
    ///
    /// # Errors
    /// It did not come in time, or the client had to make room.
    pub(crate) async fn wait(mut self) -> Result<Permit, Busy> {
        let called = timeout(self.patience, &mut self.called).await;
        let called = match called {
            Ok(called) => called.ok(),
            // the two may come at once
            Err(_) if !self.leave() => self.called.try_recv().ok(),
            Err(_) => None,
        };
        let (refusal, busy) = match called {
            Some(Called::Turn) => return Ok(self.go()),
            Some(Called::MakeRoom) => (QueueRefusal::Queue, Busy::full as fn(bool) -> Busy),
            None => (QueueRefusal::QueueTimeout, Busy::late as fn(bool) -> Busy),
        };
        self.is_done = true;
        self.admission.metrics.not_admitted(refusal);
        let is_told = self.admission.lock().is_told();
        Err(busy(is_told))
    }

    fn go(&mut self) -> Permit {
        self.is_done = true;
        self.admission.goes();
        self.admission.metrics.admitted(self.since.elapsed());
        Permit(Arc::clone(&self.admission))
    }

    /// Leaves the queue; false if the client was called.
    fn leave(&mut self) -> bool {
        let mut state = self.admission.lock();
        self.is_done = state.queue.leave(self.seat);
        self.admission.metrics.queued(state.queue.len());
        self.is_done
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_done && !self.leave() && self.called.try_recv() == Ok(Called::Turn) {
            self.admission.goes();
            self.admission.free();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.free();
    }
}

#[cfg(test)]
mod tests;

//! How many tasks of a thread do something long between two looks at its sockets, and whose is next.
//!
//! ```text
//! a task ---+--> waits: clients have turns one after the other --+--> a turn: one step, then a look
//!           '--- nobody waits, and a turn is free: at once ------'
//! ```
//! Turns go from hand to hand: one that ends, or that its task no longer wants, is the next one's. So none is
//! lost, whenever a task is dropped.

mod rounds;

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use self::rounds::{Rounds, Seat};

/// Whose tasks share turns. All without an address are those of one client.
type Holder = Option<IpAddr>;

/// How many tasks of a thread may do something long, a step of it each, between two looks at its sockets.
///
/// Without a gate, a packet that comes while a thousand tasks each have a step of 0.2 ms to do waits for 0.2 s.
/// Behind a gate of four turns, it waits for four steps. Make one per thread: tasks of several
/// threads may share one, but then their looks do not count.
///
/// Clients have turns one after the other, however many tasks of each wait, so that one of which a thousand wait
/// delays another one by a turn.
///
/// ```
/// use mproxy_patience::Gate;
///
/// thread_local! {
///     static GATE: Gate = Gate::new(4);
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = Some([192, 0, 2, 1].into());
/// for step in 0..10 {
///     let turn = GATE.with(Gate::clone).turn(client).await;
///     // what takes long
///     turn.end().await;
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// None while a task waits.
    free: usize,
    waiting: Rounds<Holder, oneshot::Sender<Turn>>,
}

/// The right to do one step. Dropping it ends it at once: [`end`](Self::end) looks at the sockets first.
#[derive(Debug)]
#[must_use = "a turn that is dropped has ended"]
pub struct Turn(Option<Gate>);

/// A place in the queue: a future that is ready with the turn. Dropping it leaves.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Place {
    gate: Gate,
    seat: Seat<Holder>,
    called: oneshot::Receiver<Turn>,
}

impl Gate {
    /// A gate with this many turns.
    #[must_use]
    pub fn new(turns: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: turns,
            waiting: Rounds::default(),
        })))
    }

    /// Waits for a turn of this client. All clients without an address are one.
    pub async fn turn(self, client: Option<IpAddr>) -> Turn {
        match self.enter(client) {
            Ok(turn) => turn,
            Err(place) => place.await,
        }
    }

    /// A turn of this client.
    ///
    /// # Errors
    /// All turns are taken: a place to wait for one.
    pub fn enter(self, client: Option<IpAddr>) -> Result<Turn, Place> {
        let mut state = self.lock();
        if let Some(rest) = state.free.checked_sub(1) {
            state.free = rest;
            drop(state);
            return Ok(Turn(Some(self)));
        }
        let (call, called) = oneshot::channel();
        let seat = state.waiting.enter(client, call);
        drop(state);
        Err(Place {
            gate: self,
            seat,
            called,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // nothing that can panic lies between two changes that belong together
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Ends it once the thread has looked at its sockets: tokio does so before a task that yields runs
    /// again.
    pub async fn end(self) {
        tokio::task::yield_now().await;
        drop(self);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(gate) = self.0.take() else { return };
        let mut state = gate.lock();
        let Some(call) = state.waiting.next() else {
            state.free += 1;
            return;
        };
        drop(state);
        // from one that has just left it comes back, and is dropped again
        let _ = call.send(Self(Some(gate)));
    }
}

impl Future for Place {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        // it is called before it is forgotten
        let called = ready!(Pin::new(&mut self.called).poll(cx));
        Poll::Ready(called.unwrap_or(Turn(None)))
    }
}

impl Drop for Place {
    /// Leaves the queue. A turn that was given to it, and not taken, is dropped with `called`.
    fn drop(&mut self) {
        let call = self.gate.lock().waiting.leave(self.seat);
        drop(call);
    }
}

#[cfg(test)]
mod tests;

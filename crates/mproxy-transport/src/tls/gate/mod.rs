//! How many handshakes of a thread take a step between two looks at its sockets, and whose is next.
//!
//! ```text
//! a handshake ---+--> waits: clients have turns one after the other --+--> a turn: one step, then a look
//!                '--- nobody waits, and a turn is free: at once ------'
//! ```
//! Turns go from hand to hand: one that ends, or that its handshake no longer wants, is the next one's. So none is
//! lost, whenever a handshake is dropped.

mod rounds;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use self::rounds::{Rounds, Seat};

thread_local! {
    static GATE: Arc<Gate> = Arc::new(Gate::new(STEPS));
}

/// Steps of handshakes in one turn of a thread. One takes about 0.2 ms. Measured with 1,500 handshakes
/// at once: without a gate, established clients wait 55 to 79 ms, with four steps 14 to 18, with one or
/// eight 25 to 30.
const STEPS: usize = 4;

/// Whose handshakes share turns. All without an address are those of one client.
type Holder = Option<IpAddr>;

/// Waits for the turn of a client's handshake to take a step. Who waits for the peer waits without one.
pub(super) async fn turn(client: Holder) -> Option<Turn> {
    GATE.with(Arc::clone).turn(client).await
}

/// The turns of a thread.
struct Gate(Mutex<State>);

struct State {
    /// None while a handshake waits.
    free: usize,
    waiting: Rounds<Holder, oneshot::Sender<Turn>>,
}

/// The right to take one step.
pub(super) struct Turn(Arc<Gate>);

/// A handshake that waits; dropping it leaves.
struct Place {
    gate: Arc<Gate>,
    seat: Seat<Holder>,
    called: oneshot::Receiver<Turn>,
}

impl Gate {
    fn new(turns: usize) -> Self {
        Self(Mutex::new(State {
            free: turns,
            waiting: Rounds::default(),
        }))
    }

    async fn turn(self: Arc<Self>, client: Holder) -> Option<Turn> {
        match self.enter(client) {
            Ok(turn) => Some(turn),
            // it is called before it is forgotten
            Err(mut place) => (&mut place.called).await.ok(),
        }
    }

    /// A turn, or a place to wait for one.
    fn enter(self: Arc<Self>, client: Holder) -> Result<Turn, Place> {
        let mut state = self.lock();
        if let Some(rest) = state.free.checked_sub(1) {
            state.free = rest;
            drop(state);
            return Ok(Turn(self));
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
    pub(super) async fn end(self) {
        tokio::task::yield_now().await;
        drop(self);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let Some(call) = state.waiting.next() else {
            state.free += 1;
            return;
        };
        drop(state);
        // from one that has just left it comes back, and is dropped again
        let _ = call.send(Self(Arc::clone(&self.0)));
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

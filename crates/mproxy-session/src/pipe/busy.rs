//! Pipes that have more to move than they may at once, and their turns.
//!
//! ```text
//! a poll ---> a little, at once ---> nothing more: it waits for its sides
//!                 |  more
//!                 '-> a turn, or a place in the queue for one ---> a look at the sockets ---> the next one's turn
//! ```
//! Most sessions never have a turn: who sends little is served as soon as the thread sees it, however many others
//! send a lot.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mproxy_patience::{Gate, Place, Turn, yield_turn};

use crate::flow::Events;

/// Rounds of both directions in a poll. A round reads at most one scratch buffer per direction.
const ROUNDS: u8 = 4;

/// What a pipe may move without a turn, in reads of 16 to 32 KiB: 96 to 128 KiB. Smaller reads do not count.
const AT_ONCE: u8 = 3;

/// Turns between two looks of a thread at its sockets. One takes up to 0.4 ms. Measured without a gate, with 1,000
/// clients that send 1 MiB each: a message of another client waits for a third of a second.
const TURNS: usize = 4;

thread_local! {
    static GATE: Gate = Gate::new(TURNS);
}

/// What a pipe may do in a poll.
#[derive(Debug, Default)]
pub(super) struct Share {
    rounds: u8,
    moved: u8,
    /// `None` as long as it needs none.
    turn: Option<Result<Turn, Place>>,
    /// It needs no turn.
    is_urgent: bool,
}

/// What a pipe does that has had its share.
#[derive(Debug)]
pub(super) enum Busy {
    /// Its next poll is like the first, when the thread has looked at its sockets.
    Ends(Option<Turn>),
    /// It needs another turn when the thread has looked at its sockets.
    Yields(Option<Turn>),
    /// It goes on when others have had their turns.
    Waits(Place),
}

impl Share {
    fn with(turn: Turn) -> Self {
        Self {
            turn: Some(Ok(turn)),
            ..Self::default()
        }
    }

    /// That of a pipe with something to do that must not wait for the turns of others.
    pub(super) fn urgent() -> Self {
        Self {
            is_urgent: true,
            ..Self::default()
        }
    }

    /// Whether there may be another round of this client's pipe.
    #[inline]
    pub(super) fn may_go_on(&mut self, client: impl FnOnce() -> Option<IpAddr>) -> bool {
        if self.rounds == ROUNDS {
            return false;
        }
        if self.is_light() {
            return true;
        }
        self.turn.get_or_insert_with(|| enter(client())).is_ok()
    }

    /// It needs no turn for what it has moved.
    const fn is_light(&self) -> bool {
        self.moved < AT_ONCE || self.is_urgent
    }

    /// There was a round that moved something.
    #[inline]
    pub(super) fn moved(&mut self, both: [Events; 2]) {
        self.rounds += 1;
        for events in both {
            self.moved += u8::from(events.has(Events::MUCH)) + u8::from(events.has(Events::LARGE));
        }
    }

    /// All was moved that there was.
    #[inline]
    pub(super) fn end(self, cx: &mut Context<'_>) -> Option<Busy> {
        let turn = self.turn?.ok()?;
        let _: Poll<()> = yield_turn(cx);
        Some(Busy::Ends(Some(turn)))
    }

    /// There is more to move: wakes the task when it may. `is_spent` says that this is work, and not only bytes.
    pub(super) fn go_on(self, is_spent: bool, cx: &mut Context<'_>) -> Busy {
        let is_light = self.is_light() && !is_spent;
        let turn = match self.turn.transpose() {
            Ok(turn) => turn,
            Err(mut place) => match Pin::new(&mut place).poll(cx) {
                Poll::Ready(turn) => Some(turn),
                Poll::Pending => return Busy::Waits(place),
            },
        };
        let _: Poll<()> = yield_turn(cx);
        match is_light {
            true => Busy::Ends(turn),
            false => Busy::Yields(turn),
        }
    }
}

impl Busy {
    /// What it may do next: behind all who wait already, if it had more to move.
    pub(super) fn poll_next(
        &mut self,
        client: Option<IpAddr>,
        cx: &mut Context<'_>,
    ) -> Poll<Share> {
        let turn = match self {
            Self::Ends(turn) => {
                drop(turn.take());
                return Poll::Ready(Share::default());
            }
            Self::Waits(place) => ready!(Pin::new(place).poll(cx)),
            Self::Yields(turn) => {
                drop(turn.take());
                match enter(client) {
                    Ok(turn) => turn,
                    Err(mut place) => {
                        let polled = Pin::new(&mut place).poll(cx);
                        *self = Self::Waits(place);
                        ready!(polled)
                    }
                }
            }
        };
        Poll::Ready(Share::with(turn))
    }
}

fn enter(client: Option<IpAddr>) -> Result<Turn, Place> {
    GATE.with(Gate::clone).enter(client)
}

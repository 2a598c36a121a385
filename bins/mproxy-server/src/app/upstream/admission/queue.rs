//! Who waits, and whose turn is next. It reads no clock and opens nothing.
//!
//! Addresses have turns one after the other, however many clients of each wait: an address that fills the
//! queue delays the others by one turn each. Two rings of addresses, in the order in which they came, or had
//! their last turn:
//!
//! ```text
//!                    .-- first:  continue a session, and have credit ---. 3 of 4 turns
//! a client enters ---+                                                  +---> the client's turn
//!                    '-- others: all others ----------------------------' 1 of 4, at least
//! ```
//! A turn before others costs an address credit, which a turn in the ring of the others gives back. So a fleet
//! of many addresses that continues its sessions goes first, while one address that claims to has three
//! turns where another one has one. What an address owes is remembered while somebody waits who was there
//! before it had its turn: otherwise it could leave, come back, and be the first again.
//!
//! Each step costs the logarithm of the number of clients, whatever an attacker does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mproxy_config::Prefer;
use tokio::sync::oneshot;

use super::debts::Debts;
use crate::app::gate::Client;

/// Of so many turns one is for the clients that are not preferred, while any of them waits.
const SHARE: u32 = 4;

/// Turns of an address before others, between two turns in its order: with that one, three of four.
const CREDIT: u32 = SHARE - 2;

/// The number of a waiting client, or of the turn of an address, in order.
pub(super) type Number = u64;

/// Whose clients share turns. All clients without an address (Unix sockets) are one.
pub(super) type Holder = Option<Client>;

/// Wakes a client that waits.
pub(super) type Call = oneshot::Sender<Called>;

/// Why a client waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// Its turn has come.
    Turn,
    /// It makes room for a client of an address that has fewer in the queue.
    MakeRoom,
}

/// The place of a client: those of an address together, and among them those that continue a session first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    holder: Holder,
    is_fresh: bool,
    number: Number,
}

/// The waiting clients.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Seat, Call>,
    /// Their addresses. None is without a client.
    held: HashMap<Holder, Held>,
    /// The addresses by how many clients of each wait: the last one makes room.
    sizes: BTreeSet<(usize, Holder)>,
    first: BTreeMap<Number, Holder>,
    others: BTreeMap<Number, Holder>,
    /// Addresses without a client that have had turns before others.
    debts: Debts,
    next: Number,
    /// Turns in a row of addresses that went first.
    preferred: u32,
}

/// What an address has in the queue.
#[derive(Clone, Copy, Debug)]
struct Held {
    resumed: usize,
    fresh: usize,
    /// Its place in its ring.
    turn: Number,
    /// Turns that it may have before others.
    credit: u32,
    /// When it had the last one of them, if it has had no turn in its order since.
    owes: Option<Number>,
    /// Turns in a row of its clients that went first.
    preferred: u32,
}

impl Queue {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A client begins to wait; `is_resumed` if it continues a session.
    pub(super) fn enter(&mut self, holder: Holder, is_resumed: bool, call: Call) -> Seat {
        let number = self.number();
        let seat = Seat {
            holder,
            is_fresh: !is_resumed,
            number,
        };
        self.waiting.insert(seat, call);
        let mut held = self.take_out(holder).unwrap_or_else(|| {
            let owes = self.debts.take(holder);
            Held {
                resumed: 0,
                fresh: 0,
                turn: number,
                credit: if owes.is_none() { CREDIT } else { 0 },
                owes,
                preferred: 0,
            }
        });
        *held.count(seat) += 1;
        self.put_back(holder, held);
        seat
    }

    /// A client does not wait any longer; false if it was called.
    pub(super) fn leave(&mut self, seat: Seat) -> bool {
        self.remove(seat).is_some()
    }

    /// Takes out the client whose turn is next.
    pub(super) fn next(&mut self, prefer: Prefer) -> Option<Call> {
        let (first, others) = (self.first.first_key_value(), self.others.first_key_value());
        let is_first = match (first, others) {
            (Some((first, _)), Some((other, _))) => match prefer {
                Prefer::Resumed => self.preferred + 1 < SHARE,
                Prefer::None => first < other,
            },
            (first, _) => first.is_some(),
        };
        let ring = if is_first { first } else { others };
        let holder = *ring?.1;
        let is_before_others = is_first && prefer == Prefer::Resumed && !self.others.is_empty();
        self.preferred = if is_before_others {
            self.preferred + 1
        } else {
            0
        };

        let mut held = self.take_out(holder)?;
        let seat = self.next_of(holder, &mut held, prefer);
        held.turn = self.number();
        if is_before_others {
            held.credit = held.credit.saturating_sub(1);
            held.owes = Some(held.turn);
        } else if !is_first {
            held.credit = CREDIT;
            held.owes = None;
        }
        self.put_back(holder, held);
        self.remove(seat?)
    }

    /// Takes out the last client of the address with most of them, if that makes room for one of `newcomer`
    /// and leaves the two apart: nobody makes room for an address that would have as many.
    pub(super) fn make_room(&mut self, newcomer: Holder) -> Option<Call> {
        let (most, holder) = *self.sizes.last()?;
        let own = self.held.get(&newcomer).map_or(0, Held::len);
        if most <= own + 1 {
            return None;
        }
        let last = Seat {
            holder,
            is_fresh: true,
            number: Number::MAX,
        };
        let seat = *self.waiting.range(..=last).next_back()?.0;
        self.remove(seat)
    }

    /// The client of an address whose turn is next.
    fn next_of(&self, holder: Holder, held: &mut Held, prefer: Prefer) -> Option<Seat> {
        let oldest = |is_fresh| {
            let from = Seat {
                holder,
                is_fresh,
                number: 0,
            };
            let seat = *self.waiting.range(from..).next()?.0;
            (seat.holder == holder && seat.is_fresh == is_fresh).then_some(seat)
        };
        let (resumed, fresh) = (oldest(false), oldest(true));
        let is_resumed = match (resumed, fresh) {
            (Some(resumed), Some(fresh)) => match prefer {
                Prefer::Resumed => held.preferred + 1 < SHARE,
                Prefer::None => resumed.number < fresh.number,
            },
            (resumed, _) => resumed.is_some(),
        };
        held.preferred = match is_resumed && fresh.is_some() {
            true => held.preferred + 1,
            false => 0,
        };
        if is_resumed { resumed } else { fresh }
    }

    fn remove(&mut self, seat: Seat) -> Option<Call> {
        let call = self.waiting.remove(&seat)?;
        if let Some(mut held) = self.take_out(seat.holder) {
            *held.count(seat) -= 1;
            self.put_back(seat.holder, held);
        }
        Some(call)
    }

    /// Takes an address out of everything that depends on what it has.
    fn take_out(&mut self, holder: Holder) -> Option<Held> {
        let held = self.held.remove(&holder)?;
        self.sizes.remove(&(held.len(), holder));
        self.ring(&held).remove(&held.turn);
        Some(held)
    }

    fn put_back(&mut self, holder: Holder, held: Held) {
        if held.len() > 0 {
            self.sizes.insert((held.len(), holder));
            self.ring(&held).insert(held.turn, holder);
            self.held.insert(holder, held);
        } else if let Some(since) = held.owes {
            self.debts.add(holder, since);
        }
        let oldest = self.others.first_key_value().map(|(turn, _)| *turn);
        self.debts.forget_before(oldest);
    }

    fn ring(&mut self, held: &Held) -> &mut BTreeMap<Number, Holder> {
        match held.resumed > 0 && held.credit > 0 {
            true => &mut self.first,
            false => &mut self.others,
        }
    }

    fn number(&mut self) -> Number {
        let number = self.next;
        self.next += 1;
        number
    }
}

impl Held {
    fn len(&self) -> usize {
        self.resumed + self.fresh
    }

    fn count(&mut self, seat: Seat) -> &mut usize {
        match seat.is_fresh {
            true => &mut self.fresh,
            false => &mut self.resumed,
        }
    }
}

#[cfg(test)]
mod tests;

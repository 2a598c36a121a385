//! Who waits, and who is next. It knows neither tasks nor clocks.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// What waits, by client. Clients have turns one after the other, however much of each waits: one of which a
/// thousand wait delays another one by one turn. Each step costs the logarithm of what waits.
#[derive(Debug)]
pub(super) struct Rounds<C, T> {
    waiting: BTreeMap<Seat<C>, T>,
    /// The clients of which something waits, in the order in which they came, or had their last turn.
    ring: BTreeMap<u64, C>,
    /// Where each is in it.
    turns: HashMap<C, u64>,
    next: u64,
}

/// The place of one that waits: those of a client together, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat<C> {
    client: C,
    number: u64,
}

impl<C: Copy + Ord + Hash, T> Rounds<C, T> {
    /// One more waits. A client that waits already keeps its place among the others.
    pub(super) fn enter(&mut self, client: C, waiting: T) -> Seat<C> {
        let number = self.number();
        let seat = Seat { client, number };
        self.waiting.insert(seat, waiting);
        if !self.turns.contains_key(&client) {
            self.line_up(client);
        }
        seat
    }

    /// Takes out one that does not wait any longer; `None` if its turn has come.
    pub(super) fn leave(&mut self, seat: Seat<C>) -> Option<T> {
        let left = self.waiting.remove(&seat)?;
        if self.first_of(seat.client).is_none()
            && let Some(turn) = self.turns.remove(&seat.client)
        {
            self.ring.remove(&turn);
        }
        Some(left)
    }

    /// Takes out the one whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let (_, client) = self.ring.pop_first()?;
        self.turns.remove(&client);
        let called = self.waiting.remove(&self.first_of(client)?);
        if self.first_of(client).is_some() {
            self.line_up(client);
        }
        called
    }

    /// The longest wait of a client.
    fn first_of(&self, client: C) -> Option<Seat<C>> {
        let from = Seat { client, number: 0 };
        let (seat, _) = self.waiting.range(from..).next()?;
        (seat.client == client).then_some(*seat)
    }

    /// Behind all others.
    fn line_up(&mut self, client: C) {
        let turn = self.number();
        self.ring.insert(turn, client);
        self.turns.insert(client, turn);
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ring.is_empty() && self.turns.is_empty()
    }
}

impl<C, T> Default for Rounds<C, T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ring: BTreeMap::new(),
            turns: HashMap::new(),
            next: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The clients, a letter each, in the order of their turns.
    fn order(clients: &str) -> String {
        let mut rounds = Rounds::default();
        for client in clients.chars() {
            rounds.enter(client, client);
        }
        let order = std::iter::from_fn(|| rounds.next()).collect();
        assert!(rounds.is_empty());
        order
    }

    /// A client waited behind all tasks of an address that had begun a thousand.
    #[test]
    fn clients_have_turns_one_after_the_other() {
        assert_eq!(order("aaaaaab"), "abaaaaa");
        assert_eq!(order("aaabbbccd"), "abcdabcab");
        assert_eq!(order("aaaa"), "aaaa");
        assert_eq!(order(""), "");
    }

    #[test]
    fn those_of_a_client_keep_their_order() {
        let mut rounds = Rounds::default();
        for (client, number) in [('a', 1), ('b', 2), ('a', 3), ('b', 4)] {
            rounds.enter(client, number);
        }
        let order: Vec<_> = std::iter::from_fn(|| rounds.next()).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }

    /// Or it would leave, come back, and be the first again.
    #[test]
    fn a_client_that_comes_back_is_behind_all_who_wait() {
        let mut rounds = Rounds::default();
        let first = rounds.enter('a', 0);
        rounds.enter('b', 1);
        rounds.leave(first);
        rounds.enter('a', 2);
        rounds.enter('c', 3);
        assert_eq!(rounds.next(), Some(1));
        rounds.enter('b', 4);
        let order: Vec<_> = std::iter::from_fn(|| rounds.next()).collect();
        assert_eq!(order, [2, 3, 4]);
    }

    #[test]
    fn who_leaves_is_out_at_once_and_costs_nobody_a_turn() {
        let mut rounds = Rounds::default();
        let seats: Vec<_> = "aabac".chars().map(|it| rounds.enter(it, it)).collect();
        assert_eq!(rounds.leave(seats[0]), Some('a'));
        assert_eq!(rounds.leave(seats[0]), None);
        assert_eq!(rounds.next(), Some('a'));
        assert_eq!(rounds.leave(seats[1]), None, "it has had its turn");
        assert_eq!(rounds.leave(seats[2]), Some('b'));
        assert_eq!(rounds.next(), Some('c'));
        assert_eq!(rounds.leave(seats[3]), Some('a'));
        assert_eq!(rounds.next(), None);
        assert!(rounds.is_empty());
    }

    /// A client, and what waits of it.
    type Waiting = (u8, Vec<(Seat<u8>, u32)>);

    /// The order of a list of clients, in which each that was called and has more moves to the end.
    #[test]
    fn it_does_what_a_simple_list_does() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut rounds = Rounds::default();
            let mut list: Vec<Waiting> = Vec::new();
            for number in 0..200 {
                match random.u8(0..4) {
                    0 | 1 => {
                        let client = random.u8(0..5);
                        let seat = rounds.enter(client, number);
                        match list.iter_mut().find(|it| it.0 == client) {
                            Some((_, waiting)) => waiting.push((seat, number)),
                            None => list.push((client, vec![(seat, number)])),
                        }
                    }
                    2 if !list.is_empty() => {
                        let client = random.usize(0..list.len());
                        let waiting = &mut list[client].1;
                        let (seat, left) = waiting.remove(random.usize(0..waiting.len()));
                        assert_eq!(rounds.leave(seat), Some(left));
                        list.retain(|it| !it.1.is_empty());
                    }
                    _ if list.is_empty() => assert_eq!(rounds.next(), None),
                    _ => {
                        let (client, mut waiting) = list.remove(0);
                        assert_eq!(rounds.next(), Some(waiting.remove(0).1));
                        if !waiting.is_empty() {
                            list.push((client, waiting));
                        }
                    }
                }
            }
            while rounds.next().is_some() {}
            assert!(rounds.is_empty());
        }
    }

    /// Many tasks, of one address or of as many, are no reason to hold the lock for long.
    #[test]
    fn a_turn_costs_no_more_with_many_waiting() {
        let time = |count: u32, clients: u32| {
            let mut rounds = Rounds::default();
            let begin = Instant::now();
            let seats: Vec<_> = (0..count)
                .map(|it| rounds.enter(it % clients, it))
                .collect();
            for seat in seats.into_iter().step_by(2) {
                rounds.leave(seat);
                rounds.next();
            }
            begin.elapsed() / count
        };
        for clients in [1, 50_000] {
            let (few, many) = (time(500, clients), time(50_000, clients));
            // a scan would cost a hundred times as much
            assert!(
                many < few * 30,
                "{clients} clients: {few:?} with 500 waiting, {many:?} with 50,000"
            );
        }
    }
}

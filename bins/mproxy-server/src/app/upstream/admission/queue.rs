//! Who waits, and whose turn is next. It reads no clock and opens nothing.

use std::collections::BTreeMap;

use mproxy_config::Prefer;
use tokio::sync::oneshot;

/// Of so many turns one is for the clients that are not preferred, while any of them waits.
const SHARE: u32 = 4;

/// The number of a waiting client, in the order of arrival.
pub(super) type Number = u64;

/// Wakes a client whose turn it is.
pub(super) type Call = oneshot::Sender<()>;

/// The waiting clients.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those that continue a session, and the others.
    resumed: BTreeMap<Number, Call>,
    fresh: BTreeMap<Number, Call>,
    next: Number,
    /// Turns in a row of clients that went first.
    preferred: u32,
}

impl Queue {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.resumed.len() + self.fresh.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A client begins to wait.
    pub(super) fn enter(&mut self, is_resumed: bool, call: Call) -> Number {
        let number = self.next;
        self.next += 1;
        let own = if is_resumed {
            &mut self.resumed
        } else {
            &mut self.fresh
        };
        own.insert(number, call);
        number
    }

    /// A client does not wait any longer; false if it has had its turn.
    pub(super) fn leave(&mut self, number: Number) -> bool {
        self.resumed.remove(&number).is_some() || self.fresh.remove(&number).is_some()
    }

    /// Takes out the client whose turn is next.
    pub(super) fn next(&mut self, prefer: Prefer) -> Option<Call> {
        let first = |of: &BTreeMap<Number, Call>| of.first_key_value().map(|(number, _)| *number);
        let is_resumed = match (first(&self.resumed), first(&self.fresh)) {
            (Some(resumed), Some(fresh)) => match prefer {
                Prefer::Resumed => self.preferred + 1 < SHARE,
                Prefer::None => resumed < fresh,
            },
            (resumed, _) => resumed.is_some(),
        };
        let own = if is_resumed {
            &mut self.resumed
        } else {
            &mut self.fresh
        };
        let (_, call) = own.pop_first()?;
        self.preferred = match is_resumed && !self.fresh.is_empty() {
            true => self.preferred + 1,
            false => 0,
        };
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of clients that are resumed (`r`) or not (`f`); and who gets their calls.
    fn queue(clients: &str) -> (Queue, Vec<oneshot::Receiver<()>>) {
        let mut queue = Queue::default();
        let enter = |client| {
            let (call, called) = oneshot::channel();
            queue.enter(client == 'r', call);
            called
        };
        let called = clients.chars().map(enter).collect();
        (queue, called)
    }

    /// The places of the clients in the order of their turns.
    fn order(clients: &str, prefer: Prefer) -> Vec<usize> {
        let (mut queue, mut called) = queue(clients);
        let mut order = Vec::new();
        while let Some(call) = queue.next(prefer) {
            call.send(()).unwrap();
            let is_called = |it: &mut oneshot::Receiver<()>| it.try_recv().is_ok();
            order.extend(called.iter_mut().position(is_called));
        }
        assert!(queue.is_empty());
        order
    }

    #[test]
    fn those_that_continue_a_session_go_first_and_leave_every_fourth_turn() {
        let turns = order("ffrrrrrr", Prefer::Resumed);
        assert_eq!(turns, [2, 3, 4, 0, 5, 6, 7, 1]);
        // nobody was passed over, so there is nothing to make up for
        assert_eq!(order("rrrr", Prefer::Resumed), [0, 1, 2, 3]);
        assert_eq!(order("ff", Prefer::Resumed), [0, 1]);
    }

    #[test]
    fn without_a_preference_it_is_the_order_of_arrival() {
        assert_eq!(order("frfrr", Prefer::None), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_leaves_is_out_at_once() {
        let (mut queue, _called) = queue("rfr");
        assert!(queue.leave(0));
        assert!(!queue.leave(0));
        assert_eq!(queue.len(), 2);
        let _ = queue.next(Prefer::None);
        assert!(!queue.leave(1), "it has had its turn");
        assert!(queue.leave(2));
        assert!(queue.is_empty());
    }
}

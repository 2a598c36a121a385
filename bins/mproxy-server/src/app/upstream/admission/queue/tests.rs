use std::time::Instant;

use super::*;

/// A queue of clients of addresses (a letter each) that are resumed (capital) or not, and who gets their calls.
struct Crowd {
    queue: Queue,
    clients: Vec<(char, Seat, oneshot::Receiver<Called>)>,
}

fn holder(client: char) -> Holder {
    let letter = u32::from(client.to_ascii_lowercase());
    Some(Client::of(
        [192, 0, 2, u8::try_from(letter).unwrap()].into(),
        64,
    ))
}

impl Crowd {
    fn of(clients: &str) -> Self {
        let mut crowd = Self {
            queue: Queue::default(),
            clients: Vec::new(),
        };
        crowd.enter(clients);
        crowd
    }

    fn enter(&mut self, clients: &str) {
        for client in clients.chars() {
            let (call, called) = oneshot::channel();
            let is_resumed = client.is_uppercase();
            let seat = self.queue.enter(holder(client), is_resumed, call);
            self.clients.push((client, seat, called));
        }
    }

    /// The clients of so many turns.
    fn turns(&mut self, count: usize, prefer: Prefer) -> String {
        let turn = |_| {
            self.queue.next(prefer)?.send(Called::Turn).unwrap();
            Some(self.called(Called::Turn))
        };
        (0..count).map_while(turn).collect()
    }

    fn all(&mut self, prefer: Prefer) -> String {
        let turns = self.turns(usize::MAX, prefer);
        assert!(self.queue.is_empty());
        assert!(self.queue.held.is_empty() && self.queue.sizes.is_empty());
        assert!(self.queue.first.is_empty() && self.queue.others.is_empty());
        turns
    }

    fn called(&mut self, why: Called) -> char {
        let is_called =
            |it: &mut (char, Seat, oneshot::Receiver<Called>)| it.2.try_recv() == Ok(why);
        let place = self.clients.iter_mut().position(is_called).unwrap();
        self.clients.remove(place).0
    }

    /// Whose client makes room for one of this address.
    fn makes_room(&mut self, newcomer: char) -> Option<char> {
        let call = self.queue.make_room(holder(newcomer))?;
        call.send(Called::MakeRoom).unwrap();
        Some(self.called(Called::MakeRoom))
    }
}

fn order(clients: &str, prefer: Prefer) -> String {
    Crowd::of(clients).all(prefer)
}

#[test]
fn those_that_continue_a_session_go_first_and_leave_every_fourth_turn() {
    assert_eq!(order("aaAAAAAA", Prefer::Resumed), "AAAaAAAa");
    // each of an address of its own
    assert_eq!(order("abCDEFGH", Prefer::Resumed), "CDEaFGHb");
    assert_eq!(order("ABCD", Prefer::Resumed), "ABCD");
    assert_eq!(order("ab", Prefer::Resumed), "ab");
}

#[test]
fn without_a_preference_it_is_the_order_of_arrival() {
    assert_eq!(order("abCdEF", Prefer::None), "abCdEF");
}

/// One address had filled the queue, and everybody else waited behind all of its clients.
#[test]
fn addresses_have_turns_one_after_the_other() {
    assert_eq!(order("aaaaaabc", Prefer::Resumed), "abcaaaaa");
    assert_eq!(order("AAAAAABC", Prefer::Resumed), "ABCAAAAA");
    assert_eq!(order("AaAabCbC", Prefer::None), "AbCabCAa");
    // with nobody else, it has all turns
    assert_eq!(order("aaaa", Prefer::None), "aaaa");
}

/// An address that claims to continue sessions had three of four turns, before any number of clients that
/// began new ones.
#[test]
fn an_address_that_is_preferred_has_three_turns_where_another_one_has_one() {
    assert_eq!(order("AAAAAAAAbbb", Prefer::Resumed), "AAbAAAbAAAb");
    assert_eq!(order("AAAAAAAAbcdef", Prefer::Resumed), "AAbcdefAAAAAA");
}

/// It left, came back, and was the first again.
#[test]
fn an_address_that_comes_back_has_no_new_credit_while_others_wait() {
    let mut crowd = Crowd::of("bcdefghijkl");
    let mut turns = String::new();
    for _ in 0..11 {
        crowd.enter("A");
        turns += &crowd.turns(1, Prefer::Resumed);
        let gone: Vec<_> = crowd.clients.iter().filter(|it| it.0 == 'A').collect();
        let gone: Vec<_> = gone.into_iter().map(|it| it.1).collect();
        assert!(gone.into_iter().all(|seat| crowd.queue.leave(seat)));
        crowd.clients.retain(|it| it.0 != 'A');
    }
    assert_eq!(turns, "Abcdefghijk");
    assert_eq!(crowd.queue.debts.len(), 1);
    // nobody waits any longer who was passed over
    assert_eq!(crowd.turns(1, Prefer::Resumed), "l");
    assert_eq!(crowd.queue.debts.len(), 0);
    crowd.enter("mA");
    assert_eq!(crowd.all(Prefer::Resumed), "Am");
}

#[test]
fn the_last_client_of_the_address_with_most_makes_room() {
    let mut crowd = Crowd::of("AaAabb");
    assert_eq!(crowd.makes_room('c'), Some('a'));
    assert_eq!(crowd.makes_room('c'), Some('a'));
    crowd.enter("c");
    // it would have as many
    assert_eq!(crowd.makes_room('c'), None);
    assert_eq!(crowd.makes_room('b'), None);
    assert_eq!(crowd.makes_room('a'), None);
    // of an address that only continues sessions, the last one
    assert_eq!(crowd.makes_room('d'), Some('b'));
    assert_eq!(crowd.makes_room('d'), Some('A'));
    assert_eq!(crowd.makes_room('d'), None);
    assert_eq!(crowd.all(Prefer::Resumed), "Abc");
}

#[test]
fn who_leaves_is_out_at_once() {
    let mut crowd = Crowd::of("AbB");
    let seat = |crowd: &Crowd, place: usize| crowd.clients[place].1;
    let (first, second, third) = (seat(&crowd, 0), seat(&crowd, 1), seat(&crowd, 2));
    assert!(crowd.queue.leave(first));
    assert!(!crowd.queue.leave(first));
    assert_eq!(crowd.queue.len(), 2);
    assert_eq!(crowd.turns(1, Prefer::None), "b");
    assert!(!crowd.queue.leave(second), "it has had its turn");
    assert!(crowd.queue.leave(third));
    assert_eq!(crowd.all(Prefer::None), "");
}

/// Many clients, of one address or of as many, are no reason to hold the lock for long.
#[test]
fn a_turn_costs_no_more_with_many_clients() {
    let time = |clients: u32, addresses: u32| {
        let mut queue = Queue::default();
        let begin = Instant::now();
        for client in 0..clients {
            let address = (client % addresses).to_be_bytes().into();
            let (call, _) = oneshot::channel();
            queue.enter(Some(Client::of(address, 64)), client % 3 == 0, call);
        }
        for _ in 0..clients / 2 {
            let _ = queue.make_room(None);
            let _ = queue.next(Prefer::Resumed);
        }
        begin.elapsed() / clients
    };
    for addresses in [1, 50_000] {
        let (few, many) = (time(500, addresses), time(50_000, addresses));
        // a scan would cost a hundred times as much
        assert!(
            many < few * 30,
            "{addresses} addresses: {few:?} with 500 clients, {many:?} with 50,000"
        );
    }
}

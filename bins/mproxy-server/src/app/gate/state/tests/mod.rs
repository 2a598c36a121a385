//! The order of the limits, who makes room, and that all is given back.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};

use mproxy_admin::RefuseReason;
use mproxy_session::{CloseReason, Order};
use proptest::prelude::*;

use super::*;
use crate::app::gate::Rules;
use mproxy_session::Rate;

const SECOND: Moment = 1_000_000_000;

const NONE: Rules = Rules {
    connections_per_ip: None,
    rate_per_ip: None,
    pending_per_ip: None,
    pending: None,
    connections: None,
    rate: None,
    ipv6_prefix: 64,
};

fn per_second(count: u32) -> Option<Rate> {
    let count = NonZeroU32::new(count)?;
    let period = Duration::from_secs(1);
    Some(Rate { count, period })
}

fn one(rules: &Rules) -> State {
    let mut state = State::new(usize::MAX, None);
    state.listeners.push(Listener::new(rules));
    state
}

/// A client by the last byte of its IPv4 address.
fn peer(last: u8) -> Option<SocketAddr> {
    Some(SocketAddr::from(([192, 0, 2, last], 40_000)))
}

fn enter(
    state: &mut State,
    index: usize,
    peer: Option<SocketAddr>,
    now: Moment,
) -> Result<Entered, Refused> {
    state.enter(index, peer, now, SessionHandle::new)
}

fn refused(entered: Result<Entered, Refused>) -> Limit {
    entered.expect_err("a limit is reached").limit
}

/// Sends the CONNECT of a connection.
fn connect(state: &mut State, entered: &Entered) {
    assert!(state.pending.contains_key(&entered.number));
    state.connected(entered.number);
}

#[test]
fn own_limits_come_before_those_that_all_share() {
    let mut state = State::new(8, None);
    state.listeners.push(Listener::new(&Rules {
        connections_per_ip: Some(3),
        rate_per_ip: per_second(2),
        pending_per_ip: Some(1),
        pending: Some(3),
        connections: Some(6),
        rate: per_second(5),
        ipv6_prefix: 64,
    }));
    let mut now = 10 * SECOND;
    // each step meets the next limit; nobody is old enough to make room
    let first = enter(&mut state, 0, peer(1), now).unwrap();
    assert_eq!(
        refused(enter(&mut state, 0, peer(1), now)),
        Limit::MaxPendingPerIp
    );
    connect(&mut state, &first);
    let second = enter(&mut state, 0, peer(1), now).unwrap();
    connect(&mut state, &second);
    assert_eq!(
        refused(enter(&mut state, 0, peer(1), now)),
        Limit::ConnectionRatePerIp
    );
    now += SECOND;
    let third = enter(&mut state, 0, peer(1), now).unwrap();
    assert_eq!(
        refused(enter(&mut state, 0, peer(1), now)),
        Limit::MaxConnectionsPerIp
    );
    for last in [2, 3] {
        enter(&mut state, 0, peer(last), now).unwrap();
    }
    assert_eq!(
        refused(enter(&mut state, 0, peer(4), now)),
        Limit::MaxPending
    );
    connect(&mut state, &third);
    let fourth = enter(&mut state, 0, peer(4), now).unwrap();
    connect(&mut state, &fourth);
    assert_eq!(
        refused(enter(&mut state, 0, peer(5), now)),
        Limit::MaxConnections
    );
    state.leave(0, first.number, first.client);
    state
        .enter(0, peer(5), now, SessionHandle::new)
        .expect("the fifth in this second");
    state.leave(0, second.number, second.client);
    state.leave(0, fourth.number, fourth.client);
    let two = state.pending.keys().take(2);
    for number in two.copied().collect::<Vec<_>>() {
        state.connected(number);
    }
    assert_eq!(
        refused(enter(&mut state, 0, peer(6), now)),
        Limit::ConnectionRate
    );
    state.maximum = state.open;
    assert_eq!(
        refused(enter(&mut state, 0, peer(6), now)),
        Limit::ServerMaxConnections
    );
}

/// An attacker that held as many connections as one address may, and tried for more all the time, kept
/// everybody else out: each try was one of the connections that the listener takes in a second.
#[test]
fn a_client_at_its_own_limit_takes_nothing_from_the_others() {
    let rules = [
        Rules {
            connections_per_ip: Some(4),
            rate: per_second(20),
            ..NONE
        },
        Rules {
            rate_per_ip: per_second(4),
            rate: per_second(20),
            ..NONE
        },
        Rules {
            pending_per_ip: Some(4),
            rate: per_second(20),
            ..NONE
        },
    ];
    for rules in rules {
        let mut state = one(&rules);
        let flood = (0..32_000).filter(|_| enter(&mut state, 0, peer(66), SECOND).is_ok());
        assert_eq!(flood.count(), 4, "{rules:?}");
        for last in 0..16 {
            let good = enter(&mut state, 0, peer(last), SECOND);
            assert!(good.is_ok(), "{last} of 16 with {rules:?}");
        }
    }
}

/// Who is refused for what all share does not pay with what is its own.
#[test]
fn a_client_that_others_keep_out_pays_nothing() {
    let mut state = one(&Rules {
        rate_per_ip: per_second(1),
        rate: per_second(1),
        ..NONE
    });
    enter(&mut state, 0, peer(1), SECOND).unwrap();
    assert_eq!(
        refused(enter(&mut state, 0, peer(2), SECOND)),
        Limit::ConnectionRate
    );
    enter(&mut state, 0, peer(2), 2 * SECOND).unwrap();
    assert_eq!(
        refused(enter(&mut state, 0, peer(2), 2 * SECOND)),
        Limit::ConnectionRatePerIp
    );
}

/// 900 of 900 connections from one customer's addresses were let in, where each address may have five.
#[test]
fn the_addresses_of_one_ipv6_prefix_are_one_client() {
    let address = |number: u64, host: u64| {
        let bits = (0x2001_0db8_u128 << 96) | (u128::from(number) << 64) | u128::from(host);
        Some(SocketAddr::new(
            IpAddr::V6(Ipv6Addr::from_bits(bits)),
            40_000,
        ))
    };
    let entered = |ipv6_prefix: u8, customers: u64| {
        let mut state = one(&Rules {
            connections_per_ip: Some(5),
            ipv6_prefix,
            ..NONE
        });
        let tries = (0..300).flat_map(|host| (0..customers).map(move |it| (it, host)));
        tries
            .filter(|&(customer, host)| {
                (0..3).any(|_| enter(&mut state, 0, address(customer, host), SECOND).is_ok())
            })
            .count()
    };
    assert_eq!(entered(64, 1), 5);
    assert_eq!(entered(64, 2), 10);
    assert_eq!(entered(63, 2), 5);
    assert_eq!(entered(128, 1), 300);
}

/// Silent sockets of two addresses held every place, again and again, and most good clients were kept
/// out. Now the oldest of them makes room, whichever of the limits it is that is reached.
#[test]
fn the_oldest_silent_connection_makes_room() {
    let shared = [
        (
            Limit::MaxPending,
            usize::MAX,
            Rules {
                pending: Some(10),
                ..NONE
            },
        ),
        (
            Limit::MaxConnections,
            usize::MAX,
            Rules {
                connections: Some(10),
                ..NONE
            },
        ),
        (Limit::ServerMaxConnections, 10, NONE),
    ];
    for (limit, maximum, rules) in shared {
        let mut state = State::new(maximum, None);
        state.listeners.push(Listener::new(&rules));
        let silent: Vec<_> = (0..10)
            .map(|it| {
                state
                    .enter(
                        0,
                        peer(66 + it % 2),
                        SECOND + u64::from(it),
                        SessionHandle::new,
                    )
                    .unwrap()
            })
            .collect();
        // not before it had its time: a CONNECT may be on its way
        assert_eq!(
            refused(enter(&mut state, 0, peer(1), 2 * SECOND - 1)),
            limit
        );
        for (last, oldest) in silent.iter().enumerate() {
            let now = 2 * SECOND + 100;
            let good = state
                .enter(
                    0,
                    peer(u8::try_from(last).unwrap()),
                    now,
                    SessionHandle::new,
                )
                .unwrap();
            let evicted = good.evicted.as_ref().expect("somebody made room");
            assert!(evicted.control == oldest.control, "{last} for {limit}");
            assert_eq!(evicted.full.limit, limit);
            assert_eq!(evicted.peer, peer(66 + u8::try_from(last).unwrap() % 2));
            if limit != Limit::MaxPending {
                connect(&mut state, &good);
            }
        }
        assert_eq!((state.open, state.leaving.len()), (10, 10));
        for oldest in silent {
            state.leave(0, oldest.number, oldest.client);
        }
        assert_eq!((state.open, state.leaving.len()), (10, 0));
    }
}

/// Eight addresses renewed what they were allowed to hold, all the time, and twenty modems that need ten
/// seconds from TCP to CONNECT never got in: theirs were the oldest connections again and again. The
/// second attack is on modems that are in already, of addresses of which no connection ever grows as old as
/// a second.
#[test]
fn many_places_are_taken_from_those_that_hold_many() {
    const MILLISECOND: Moment = SECOND / 1000;
    for (attackers, held, modems_come) in [(8_u8, 195, 5 * SECOND), (12, 85, SECOND)] {
        let mut state = one(&Rules {
            connections_per_ip: Some(1000),
            rate_per_ip: per_second(100),
            pending_per_ip: Some(200),
            pending: Some(1000),
            ..NONE
        });
        let mut attacks = vec![VecDeque::new(); attackers.into()];
        let mut modems = Vec::new();
        let mut wants: Vec<u8> = (0..20).collect();
        let mut connected = 0;
        let mut evicted = 0;
        for tick in 0..30 * 90 {
            let now = SECOND + tick * SECOND / 90;
            for (attacker, attack) in (100..).zip(&mut attacks) {
                if let Ok(entered) = enter(&mut state, 0, peer(attacker), now) {
                    evicted += usize::from(entered.evicted.is_some());
                    attack.push_back((entered.number, entered.client));
                }
                while attack.len() > held {
                    let (number, client) = attack.pop_front().expect("it is not empty");
                    state.leave(0, number, client);
                }
            }
            if now >= modems_come {
                // each asks again and again until it is let in, two of each address
                wants.retain(|modem| {
                    let entered = enter(&mut state, 0, peer(modem / 2), now + MILLISECOND);
                    let let_in = entered.is_ok();
                    modems.extend(entered.map(|entered| (now + 10 * SECOND, entered)));
                    !let_in
                });
            }
            modems.retain(|(done, entered)| {
                let is_done = *done <= now;
                if is_done {
                    let silent = state.pending.contains_key(&entered.number);
                    connected += usize::from(silent);
                    state.connected(entered.number);
                }
                !is_done
            });
            // those that were told to end do so
            for attack in &mut attacks {
                attack.retain(|(number, client)| {
                    let told = state.leaving.contains(number);
                    if told {
                        state.leave(0, *number, *client);
                    }
                    !told
                });
            }
        }
        let full = state.listeners[0].places.len() > 900;
        assert!(full, "{attackers} addresses leave room");
        assert_eq!((connected, wants.len()), (20, 0), "{attackers}");
        assert!(evicted > 0 || held < 100);
    }
}

/// Who has most places gets no more of those that others hold, and loses its own oldest.
#[test]
fn nobody_makes_room_for_a_client_that_holds_more() {
    let mut state = State::new(4, None);
    state.listeners.push(Listener::new(&NONE));
    state.listeners.push(Listener::new(&NONE));
    let modem = enter(&mut state, 0, peer(1), SECOND).unwrap();
    let first = enter(&mut state, 0, peer(2), 2 * SECOND).unwrap();
    enter(&mut state, 1, peer(2), 2 * SECOND).unwrap();
    enter(&mut state, 1, None, 2 * SECOND).unwrap();
    assert_eq!(
        refused(enter(&mut state, 1, peer(2), 2 * SECOND)),
        Limit::ServerMaxConnections
    );
    // two places, one on each listener
    let evicted = |entered: Result<Entered, _>| entered.unwrap().evicted.expect("room");
    let again = enter(&mut state, 1, peer(2), 4 * SECOND);
    assert!(evicted(again).control == first.control);
    // one place each, but for the one that holds two and is not old enough to lose one
    let other = enter(&mut state, 1, peer(3), 4 * SECOND);
    assert!(evicted(other).control != modem.control);
    let other = enter(&mut state, 1, peer(3), 4 * SECOND);
    assert!(evicted(other).control == modem.control);
}

/// The connections of a Unix socket have no address: they are one client's.
#[test]
fn clients_without_an_address_are_one() {
    let mut state = one(&Rules {
        pending: Some(3),
        ..NONE
    });
    enter(&mut state, 0, peer(1), SECOND).unwrap();
    let oldest = enter(&mut state, 0, None, 2 * SECOND).unwrap();
    enter(&mut state, 0, None, 2 * SECOND).unwrap();
    for newcomer in [peer(2), None] {
        let mut state = state.clone();
        let entered = enter(&mut state, 0, newcomer, 4 * SECOND).unwrap();
        assert!(entered.evicted.expect("room").control == oldest.control);
    }
}

#[test]
fn only_who_is_silent_makes_room() {
    let mut state = one(&Rules {
        connections: Some(1),
        ..NONE
    });
    let client = enter(&mut state, 0, peer(1), SECOND).unwrap();
    connect(&mut state, &client);
    assert_eq!(
        refused(enter(&mut state, 0, peer(2), 99 * SECOND)),
        Limit::MaxConnections
    );
}

/// A place of the server may be taken by a client of another listener; one of this listener may not.
#[test]
fn room_is_made_where_it_is_needed() {
    let mut state = State::new(2, None);
    state.listeners.push(Listener::new(&NONE));
    state.listeners.push(Listener::new(&Rules {
        connections: Some(1),
        ..NONE
    }));
    let oldest = enter(&mut state, 0, peer(1), SECOND).unwrap();
    let second = enter(&mut state, 1, peer(2), SECOND).unwrap();
    let now = 5 * SECOND;
    let third = enter(&mut state, 1, peer(3), now).unwrap();
    assert!(third.evicted.expect("room").control == second.control);
    let fourth = enter(&mut state, 0, peer(4), now).unwrap();
    assert!(fourth.evicted.expect("room").control == oldest.control);
    assert_eq!(state.open, 2);
}

/// A client whose rate is used up does not push anybody out.
#[test]
fn nobody_makes_room_for_a_client_that_is_refused() {
    let mut state = one(&Rules {
        pending: Some(1),
        rate: per_second(1),
        ..NONE
    });
    let silent = enter(&mut state, 0, peer(1), SECOND).unwrap();
    let second = enter(&mut state, 0, peer(2), 3 * SECOND).unwrap();
    assert!(second.evicted.expect("room").control == silent.control);
    assert_eq!(
        refused(enter(&mut state, 0, peer(3), 3 * SECOND)),
        Limit::MaxPending
    );
    enter(&mut state, 0, peer(3), 5 * SECOND).unwrap();
    let before = state.clone();
    let third = enter(&mut state, 0, peer(4), 5 * SECOND + SECOND / 2);
    assert_eq!(refused(third), Limit::MaxPending);
    state.listeners[0].maximum_pending = 2;
    let third = enter(&mut state, 0, peer(4), 5 * SECOND + SECOND / 2);
    assert_eq!(refused(third), Limit::ConnectionRate);
    state.listeners[0].maximum_pending = 1;
    assert!(state == before);
}

/// Those that made room and are not gone yet have descriptors that nothing counts.
#[test]
fn no_more_make_room_than_descriptors_are_in_reserve() {
    let mut state = one(&Rules {
        pending: Some(100),
        ..NONE
    });
    let silent: Vec<_> = (0..100)
        .map(|_| enter(&mut state, 0, None, 0).unwrap())
        .collect();
    let now = 10 * SECOND;
    let let_in = (0..100).filter(|_| enter(&mut state, 0, peer(1), now).is_ok());
    assert_eq!(let_in.count(), MOST_LEAVING);
    let first = &silent[0];
    state.leave(0, first.number, first.client);
    enter(&mut state, 0, peer(1), now).expect("one is gone");
}

#[test]
fn an_order_to_make_room_is_quiet() {
    let order = Order::evict();
    assert_eq!(order.reason, CloseReason::Evicted);
    assert!(!order.notice && !order.suppress_will);
    let mut state = one(&Rules {
        pending: Some(1),
        ..NONE
    });
    let silent = enter(&mut state, 0, peer(1), 0).unwrap();
    let good = enter(&mut state, 0, peer(2), SECOND).unwrap();
    good.evicted.expect("room").control.close(order);
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(silent.control.poll_order(&mut cx), Poll::Ready(order));
    assert_eq!(good.control.poll_order(&mut cx), Poll::Pending);
}

/// What happens to connections.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter { listener: usize, peer: Option<u8> },
    Connect { which: usize },
    Leave { which: usize },
    Wait { nanos: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..2_usize, proptest::option::of(0..4_u8))
            .prop_map(|(listener, peer)| Step::Enter { listener, peer }),
        2 => (0..64_usize).prop_map(|which| Step::Connect { which }),
        2 => (0..64_usize).prop_map(|which| Step::Leave { which }),
        2 => (0..3 * SECOND).prop_map(|nanos| Step::Wait { nanos }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let maximum = || proptest::option::of(1..6_usize);
    let rate = || proptest::option::of(1..4_u32).prop_map(|it| it.and_then(per_second));
    (maximum(), rate(), maximum(), maximum(), maximum(), rate()).prop_map(
        |(connections_per_ip, rate_per_ip, pending_per_ip, pending, connections, rate)| Rules {
            connections_per_ip,
            rate_per_ip,
            pending_per_ip,
            pending,
            connections,
            rate,
            ipv6_prefix: 64,
        },
    )
}

/// Who may have to make room, by the words of the rule: the connections that waited long enough, of those
/// the ones of an address that has the maximal number of pending ones, of each the oldest; and nobody,
/// if the newcomer's address has more.
fn victims(
    state: &State,
    index: usize,
    peer: Option<SocketAddr>,
    limit: Limit,
    now: Moment,
) -> Vec<&SessionHandle> {
    let all = state.pending.values();
    let there = |it: &&Pending| limit == Limit::ServerMaxConnections || it.listener == index;
    let pending: Vec<_> = all.filter(there).collect();
    let mut counts = BTreeMap::<_, usize>::new();
    for it in &pending {
        *counts.entry(it.client).or_default() += 1;
    }
    let waited = pending.iter().filter(|it| now - it.since >= SECOND);
    let most = waited.clone().map(|it| counts[&it.client]).max();
    let newcomer = peer.map(|peer| state.listeners[index].client(peer.ip()));
    let own = counts.get(&newcomer).copied().unwrap_or_default();
    let of_most = waited.filter(|it| Some(counts[&it.client]) == most);
    let allowed = of_most.filter(|it| it.client == newcomer || Some(own) <= most);
    let is_oldest = |it: &&&Pending| {
        let same = pending.iter().filter(|other| other.client == it.client);
        same.map(|other| other.since).min() == Some(it.since)
    };
    allowed.filter(is_oldest).map(|it| &it.control).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// However clients come, go and make room: no limit is exceeded, who is refused leaves no trace,
    /// and nothing is left of anybody at the end.
    #[test]
    fn whatever_is_taken_is_given_back(
        maximum in 1..10_usize,
        rules in [rules(), rules()],
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut state = State::new(maximum, None);
        state.listeners.extend(rules.iter().map(Listener::new));
        let mut open: Vec<(usize, Entered)> = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Enter { listener, peer: last } => {
                    let places = state.listeners.iter_mut().map(|it| &mut it.places);
                    places.chain([&mut state.places]).for_each(|it| it.ripen(now));
                    let before = state.clone();
                    let entered = enter(&mut state, listener, last.and_then(peer), now);
                    let made_room = match &entered {
                        Ok(entered) => entered.evicted.as_ref().map(|it| (it.full.limit, Some(it))),
                        Err(refused) if refused.limit.reason() == RefuseReason::ConnectionLimit
                            && refused.limit != Limit::MaxConnectionsPerIp
                            && refused.limit != Limit::MaxPendingPerIp => Some((refused.limit, None)),
                        Err(_) => None,
                    };
                    if let Some((limit, evicted)) = made_room {
                        let found = evicted.map(|it| &it.control);
                        let expected = victims(&before, listener, last.and_then(peer), limit, now);
                        let right = match found {
                            None => expected.is_empty() || before.leaving.len() == MOST_LEAVING,
                            Some(found) => expected.contains(&found),
                        };
                        prop_assert!(right);
                    }
                    match entered {
                        Ok(entered) => open.push((listener, entered)),
                        Err(_) => prop_assert!(state == before),
                    }
                }
                Step::Connect { which } if !open.is_empty() => {
                    state.connected(open[which % open.len()].1.number);
                }
                Step::Leave { which } if !open.is_empty() => {
                    let (listener, entered) = open.swap_remove(which % open.len());
                    state.leave(listener, entered.number, entered.client);
                }
                Step::Wait { nanos } => now += nanos,
                Step::Connect { .. } | Step::Leave { .. } => {}
            }
            prop_assert_eq!(state.open, open.len() - state.leaving.len());
            prop_assert!(state.open <= maximum);
            for (listener, rules) in state.listeners.iter().zip(&rules) {
                let within = |count, maximum: Option<usize>| maximum.is_none_or(|it| count <= it);
                prop_assert!(within(listener.open, rules.connections));
                prop_assert!(within(listener.places.len(), rules.pending));
            }
        }
        for (listener, entered) in open {
            state.leave(listener, entered.number, entered.client);
        }
        prop_assert!(state.is_empty());
    }
}

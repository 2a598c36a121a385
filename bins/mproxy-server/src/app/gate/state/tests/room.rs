//! Who makes room.

use super::*;

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
                    .enter(0, peer(66 + it % 2), SECOND + u64::from(it), || {
                        Ok(SessionHandle::new())
                    })
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
                .enter(0, peer(u8::try_from(last).unwrap()), now, || {
                    Ok(SessionHandle::new())
                })
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

/// In their first second silent connections make no room, and two addresses took all places at once: for
/// that second everybody else was refused.
#[test]
fn a_crowd_leaves_the_last_places_to_others() {
    let limits = [
        (
            Limit::MaxPending,
            usize::MAX,
            Rules {
                pending: Some(400),
                ..NONE
            },
        ),
        (
            Limit::MaxConnections,
            usize::MAX,
            Rules {
                connections: Some(400),
                ..NONE
            },
        ),
        (Limit::ServerMaxConnections, 400, NONE),
    ];
    for (limit, maximum, rules) in limits {
        let mut state = State::new(maximum, None);
        state.listeners.push(Listener::new(&rules));
        let mut come = |last, count| {
            let come = (0..count).map(|_| enter(&mut state, 0, peer(last), SECOND));
            let (come, refused): (Vec<_>, Vec<_>) = come.partition(Result::is_ok);
            assert!(refused.into_iter().all(|it| super::refused(it) == limit));
            come.len()
        };
        assert_eq!((come(66, 200), come(67, 200)), (200, 175), "{limit}");
        // others are let in, until they are crowds themselves
        assert_eq!(
            (come(1, 1), come(2, 20), come(1, 100)),
            (1, 16, 8),
            "{limit}"
        );
    }
    // those without an address are many clients
    let mut state = State::new(32, None);
    state.listeners.push(Listener::new(&NONE));
    let come = (0..40).filter(|_| enter(&mut state, 0, None, SECOND).is_ok());
    assert_eq!(come.count(), 32);
}

/// A connection that the whole server had no room for still made a pending one end, and no line said so.
#[test]
fn nobody_makes_room_for_a_connection_that_is_refused_at_last() {
    let mut state = one(&Rules {
        connections: Some(1),
        rate: per_second(2),
        ..NONE
    });
    let silent = enter(&mut state, 0, peer(66), SECOND).unwrap();
    let now = 3 * SECOND;
    let overloaded = || Err(Refused::overloaded(Limit::ServerMemory, 1.0));
    for _ in 0..3 {
        let refused = state.enter(0, peer(1), now, overloaded).unwrap_err();
        assert_eq!(refused.limit, Limit::ServerMemory);
    }
    assert_eq!((state.open, state.leaving.len()), (1, 0));
    // it took nothing of the rate either
    let good = enter(&mut state, 0, peer(1), now).unwrap();
    let evicted = good.evicted.expect("it makes room now");
    assert!(evicted.control == silent.control);
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

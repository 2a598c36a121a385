//! The order of the limits, who makes room, and that all is given back.

mod random;
mod room;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};

use mproxy_admin::RefuseReason;
use mproxy_session::{CloseReason, Order};
use proptest::prelude::*;

use super::*;
use crate::app::gate::{HandshakeRules, Rules};
use mproxy_session::Rate;

const SECOND: Moment = 1_000_000_000;

const NONE: Rules = Rules {
    connections_per_ip: None,
    rate_per_ip: None,
    pending_per_ip: None,
    pending: None,
    connections: None,
    rate: None,
    handshakes: HandshakeRules::NONE,
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
    state.enter(index, peer, now, || Ok(SessionHandle::new()))
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
        handshakes: HandshakeRules::NONE,
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
        .enter(0, peer(5), now, || Ok(SessionHandle::new()))
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

/// Behind a load balancer, all clients together had the limits of one address: that of the load balancer.
#[test]
fn a_client_behind_a_balancer_has_its_own_limits() {
    let mut state = one(&Rules {
        connections_per_ip: Some(2),
        pending_per_ip: Some(1),
        rate: per_second(6),
        ..NONE
    });
    let now = 10 * SECOND;
    let come = |state: &mut State, last| {
        let mut entered = enter(state, 0, None, now).expect("nobody is counted yet");
        let peer = peer(last).expect("an address");
        match state.identify(0, entered.number, peer, now) {
            Ok(client) => entered.client = client,
            Err(refused) => {
                state.leave(0, entered.number, entered.client);
                return Err(refused.limit);
            }
        }
        Ok(entered)
    };
    let first = come(&mut state, 1).unwrap();
    let pending: Vec<_> = state.pending.values().map(|it| it.peer).collect();
    assert_eq!(pending, [peer(1)]);
    // a client over its limits costs others nothing, also not of the rate that all share
    for _ in 0..20 {
        let refused = come(&mut state, 1).map(|_| ());
        assert_eq!(refused, Err(Limit::MaxPendingPerIp));
    }
    connect(&mut state, &first);
    let second = come(&mut state, 1).unwrap();
    connect(&mut state, &second);
    let refused = come(&mut state, 1).map(|_| ());
    assert_eq!(refused, Err(Limit::MaxConnectionsPerIp));
    let others = [2, 3, 4].map(|last| come(&mut state, last).unwrap());
    for entered in others.iter().chain([&first, &second]) {
        state.leave(0, entered.number, entered.client);
    }
    assert!(state.is_empty());
}

/// A connection may have to make room before its client is known.
#[test]
fn a_connection_that_made_room_is_counted_for_nobody() {
    let mut state = one(&Rules {
        connections_per_ip: Some(1),
        pending: Some(1),
        ..NONE
    });
    let early = enter(&mut state, 0, None, 0).unwrap();
    let late = enter(&mut state, 0, None, 2 * SECOND).unwrap();
    assert!(late.evicted.is_some());
    let address = peer(1).expect("an address");
    let client = state
        .identify(0, early.number, address, 2 * SECOND)
        .unwrap();
    state.leave(0, early.number, client);
    let client = state.identify(0, late.number, address, 2 * SECOND).unwrap();
    assert!(client.is_some(), "the only one of this client");
    state.leave(0, late.number, client);
    assert!(state.is_empty());
}

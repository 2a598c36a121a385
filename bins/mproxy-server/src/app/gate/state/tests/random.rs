//! Any clients, in any order.

use super::*;
use crate::app::gate::HandshakeRules;

/// What happens to connections.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter { listener: usize, peer: Option<u8> },
    Identify { which: usize, peer: u8 },
    Connect { which: usize },
    Leave { which: usize },
    Wait { nanos: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..2_usize, proptest::option::of(0..4_u8))
            .prop_map(|(listener, peer)| Step::Enter { listener, peer }),
        2 => (0..64_usize, 0..4_u8).prop_map(|(which, peer)| Step::Identify { which, peer }),
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
            handshakes: HandshakeRules::NONE,
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
                Step::Identify { which, peer: last } if !open.is_empty() => {
                    let which = which % open.len();
                    let (listener, entered) = &mut open[which];
                    // the program does so once, before the CONNECT
                    let waits = state.pending.get(&entered.number);
                    let waits = waits.is_some_and(|it| it.client.is_none());
                    if waits || state.leaving.contains(&entered.number) {
                        let peer = peer(last).expect("an address");
                        match state.identify(*listener, entered.number, peer, now) {
                            Ok(client) => entered.client = client,
                            Err(_) => {
                                let (listener, entered) = open.swap_remove(which);
                                state.leave(listener, entered.number, entered.client);
                            }
                        }
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
                Step::Identify { .. } | Step::Connect { .. } | Step::Leave { .. } => {}
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

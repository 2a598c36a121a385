//! The handle of a session: who it is, what it counts, and orders that do not wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mproxy_codec::{Direction, KindSet, ReasonCode, Version};
use mproxy_session::{
    CloseReason, Connect, Hooks, OnConnectLayer, Order, PacketService, SessionHandle, SessionId,
    Side, Tap, When,
};
use tokio::time::{Instant, sleep, timeout};
use tower_layer::Layer;

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::pair::Dial;
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

const F: Frames = Frames(Version::V5);

/// Within this time an order of [`When::Now`] is obeyed.
const SOON: Duration = Duration::from_millis(100);

/// Hooks that judge PUBLISH by its topic, in both directions.
fn both(gate: &Gate) -> Hooks<impl PacketService + use<>, impl PacketService + use<>> {
    let hook = || Tap::only(KindSet::PUBLISH, by_topic(gate, &Seen::default()));
    Hooks::new(hook(), hook())
}

/// Kicks the client, and waits until that must have arrived.
async fn kick(pair: &Pair) {
    pair.handle.close(Order::kick());
    sleep(SOON).await;
    assert!(pair.client.is_ended() && pair.broker.is_ended());
}

async fn kicked(pair: Pair) {
    let summary = pair.end().await;
    assert_eq!(
        (summary.side, summary.reason),
        (Side::Proxy, CloseReason::Kicked)
    );
}

/// An order waited for a hook that did not answer, up to its time-out.
#[tokio::test(start_paused = true)]
async fn a_kick_does_not_wait_for_a_hook() {
    for up in [true, false] {
        let gate = Gate::new();
        let pair = Setup::new()
            .connected(Version::V5, admit(move |_| both(&gate)))
            .await;
        let from = if up { &pair.client } else { &pair.broker };
        from.send(&[F.publish("held/1", 1, 1, b"x"), F.publish("a", 0, 0, b"y")].concat());
        settle().await;
        kick(&pair).await;
        assert_eq!(pair.client.drain(), F.farewell(0x98), "{up}");
        assert_eq!(pair.broker.drain(), b"", "{up}");
        kicked(pair).await;
    }
}

/// The byte stream to the client is inside of a packet: there is no place for a DISCONNECT.
#[tokio::test(start_paused = true)]
async fn a_kick_does_not_wait_for_a_large_publish() {
    for up in [true, false] {
        let pair = Setup::new().connected(Version::V5, admit_all()).await;
        let publish = F.publish("a", 0, 0, &vec![7; 200_000]);
        let (from, to) = if up {
            (&pair.client, &pair.broker)
        } else {
            (&pair.broker, &pair.client)
        };
        from.send(&publish[..100_000]);
        to.expect(&publish[..100_000]).await;
        kick(&pair).await;
        let told = if up { F.farewell(0x98) } else { Vec::new() };
        assert_eq!(pair.client.drain(), told, "{up}");
        assert_eq!(pair.broker.drain(), b"", "{up}");
        kicked(pair).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kick_does_not_wait_for_a_peer_that_takes_nothing() {
    for up in [true, false] {
        let pair = Setup::new().connected(Version::V5, admit_all()).await;
        let (from, to) = if up {
            (&pair.client, &pair.broker)
        } else {
            (&pair.broker, &pair.client)
        };
        to.set_capacity(10);
        from.send(&F.publish("a", 0, 0, &[7; 1000]));
        settle().await;
        kick(&pair).await;
        let told = if up { F.farewell(0x98) } else { Vec::new() };
        if up {
            assert_eq!(pair.client.drain(), told);
        }
        kicked(pair).await;
    }
}

/// What can be written at once is: a client that reads gets what was on its way, and why it must go.
#[tokio::test(start_paused = true)]
async fn a_kick_comes_behind_what_was_written() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let publish = F.publish("a", 0, 0, &[7; 1000]);
    pair.client.set_capacity(10);
    pair.broker.send(&publish);
    settle().await;
    pair.handle.close(Order::kick());
    pair.client.set_capacity(usize::MAX);
    pair.client
        .expect(&[publish, F.farewell(0x98)].concat())
        .await;
    kicked(pair).await;
}

#[tokio::test(start_paused = true)]
async fn a_kick_does_not_wait_for_connack() {
    for dial in [Dial::Connect, Dial::Hang] {
        for version in [Version::V311, Version::V5] {
            let f = Frames(version);
            let pair = Setup::new().dial(dial).start(admit_all());
            pair.client.send(&f.connect("c"));
            settle().await;
            pair.handle.close(Order::kick());
            sleep(SOON).await;
            assert!(pair.client.is_ended(), "{dial:?}");
            assert!(!pair.client.drain().is_empty(), "a CONNACK says why");
            kicked(pair).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_more_urgent_order_counts() {
    let border = Order::new(CloseReason::Drain, ReasonCode::SERVER_SHUTTING_DOWN);
    let gate = Gate::new();
    let pair = Setup::new()
        .connected(Version::V5, admit(move |_| both(&gate)))
        .await;
    pair.broker.send(&F.publish("held/1", 0, 0, b"x"));
    settle().await;
    pair.handle.close(border);
    settle().await;
    assert!(pair.is_running() && !pair.client.is_ended());
    kick(&pair).await;
    pair.handle.close(border);
    pair.client.expect(&F.farewell(0x98)).await;
    kicked(pair).await;
    assert!(When::Border < When::Now && When::Now < When::Abort);
}

/// A stage that has sessions expire after a time, with the order.
fn expiring(after: Duration, order: Order) -> impl crate::support::pair::Stage {
    let layer = OnConnectLayer::new(move |connect: &mut Connect| {
        connect.handle().expires_at(Instant::now() + after, order);
        Ok(())
    });
    layer.layer(admit_all())
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_what_it_was_admitted_by_expires() {
    let expired = Order::new(CloseReason::TokenExpired, ReasonCode::NOT_AUTHORIZED);
    for when in [When::Border, When::Now] {
        let stage = expiring(Duration::from_secs(10), expired.when(when));
        let pair = Setup::new().connected(Version::V5, stage).await;
        sleep(Duration::from_secs(9)).await;
        pair.client.send(&F.publish("a", 0, 0, b"x"));
        pair.broker.expect(&F.publish("a", 0, 0, b"x")).await;
        assert!(!pair.client.is_ended());
        sleep(Duration::from_secs(1)).await;
        pair.client.expect(&F.farewell(0x87)).await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.handle.expiry(), None);
        assert!(!pair.handle.prolong(Instant::now()), "it is over");
        assert_eq!(pair.end().await.reason, CloseReason::TokenExpired);
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_session_can_be_moved() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let order = Order::new(CloseReason::TokenExpired, ReasonCode::NOT_AUTHORIZED);
    let begin = Instant::now();
    let second = |seconds| begin + Duration::from_secs(seconds);
    assert!(!pair.handle.prolong(second(10)), "there is none");
    pair.handle.expires_at(second(10), order);
    assert_eq!(pair.handle.expiry(), Some(second(10)));
    settle().await;
    assert!(pair.handle.prolong(second(100)));
    sleep(Duration::from_secs(50)).await;
    assert!(!pair.client.is_ended(), "prolonged");
    assert!(pair.handle.prolong(second(60)));
    sleep(Duration::from_secs(11)).await;
    pair.client.expect(&F.farewell(0x87)).await;
    assert_eq!(pair.end().await.reason, CloseReason::TokenExpired);
}

/// Of packets that nothing waits for, a session looks at no deadline again. A time that comes together with
/// one is a new deadline.
#[tokio::test(start_paused = true)]
async fn a_time_that_is_set_while_packets_pass_counts() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let order = Order::new(CloseReason::TokenExpired, ReasonCode::NOT_AUTHORIZED);
    let publish = F.publish("a", 0, 0, b"x");
    pair.client.send(&publish);
    pair.broker.expect(&publish).await;
    // the session sees both at once
    pair.client.send(&publish);
    let at = Instant::now() + Duration::from_secs(10);
    pair.handle.expires_at(at, order);
    pair.broker.expect(&publish).await;
    sleep(Duration::from_secs(9)).await;
    assert!(!pair.client.is_ended());
    sleep(Duration::from_secs(1)).await;
    pair.client.expect(&F.farewell(0x87)).await;
    assert_eq!(pair.end().await.reason, CloseReason::TokenExpired);
}

/// A time that has passed ends the session as soon as there is one.
#[tokio::test(start_paused = true)]
async fn a_session_that_has_expired_before_it_began_ends() {
    let order = Order::new(CloseReason::TokenExpired, ReasonCode::NOT_AUTHORIZED);
    let pair = Setup::new().start(expiring(Duration::ZERO, order));
    pair.client.send(&F.connect("c"));
    settle().await;
    assert!(pair.client.is_ended());
    assert_eq!(pair.end().await.reason, CloseReason::TokenExpired);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_can_be_waited_for() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let handle = pair.handle.clone();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.closed().await })
        })
        .collect();
    // one that gives up takes nobody with it
    assert!(timeout(SOON, handle.closed()).await.is_err());
    assert!(!handle.is_closed());
    pair.end().await;
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert!(handle.is_closed());
    handle.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_knows_its_session_and_what_that_has_counted() {
    let pair = Setup::new().start(admit_all());
    let handle = pair.handle.clone();
    assert!(handle.info().is_none() && !handle.is_established());
    let connect = F.connect("c");
    pair.client.send(&connect);
    pair.broker.take().await;
    let info = handle.info().expect("admitted");
    assert_eq!((info.client_id(), info.version()), ("c", Version::V5));
    assert!(!handle.is_established());
    pair.broker.send(&F.connack());
    pair.client.take().await;
    assert!(handle.is_established());

    let publish = F.publish("a", 0, 0, b"x");
    pair.client.send(&publish.repeat(3));
    pair.broker.take().await;
    let up = handle.traffic(Direction::ToServer);
    let bytes = connect.len() + 3 * publish.len();
    assert_eq!(
        (up.packets, up.publishes, up.bytes),
        (4, 3, u64::try_from(bytes).unwrap())
    );
    pair.broker.send(&publish);
    pair.client.take().await;
    let down = handle.traffic(Direction::ToClient);
    assert_eq!((down.packets, down.publishes), (2, 1));
    let summary = pair.end().await;
    assert_eq!((summary.to_server, summary.to_client), (up, down));
}

#[test]
#[allow(clippy::mutable_key_type)] // a handle is equal to another, and hashed, by its number alone
fn handles_are_told_apart_by_their_session() {
    let (one, other) = (SessionHandle::new(), SessionHandle::new());
    assert_eq!(one, one.clone());
    assert_ne!(one, other);
    assert!(one.id() < other.id());
    let text = one.id().to_string();
    assert_eq!(text.parse::<SessionId>(), Ok(one.id()));
    assert!("-1".parse::<SessionId>().is_err());
    let found = HashMap::from([(one.clone(), 1), (other, 2)]);
    assert_eq!(found[&one], 1);
}

/// A registry by client identifier: the older session ends after the one that took it over has begun,
/// and must not remove it.
#[tokio::test(start_paused = true)]
async fn a_registry_survives_a_take_over() {
    type Registry = Arc<Mutex<HashMap<String, SessionHandle>>>;
    let registry = Registry::default();
    let stage = |registry: &Registry| {
        let registry = Arc::clone(registry);
        let layer = OnConnectLayer::new(move |connect: &mut Connect| {
            let id = connect.packet().client_id().to_owned();
            let handle = connect.handle().clone();
            let entries = Arc::clone(&registry);
            let older = entries.lock().unwrap().insert(id.clone(), handle.clone());
            drop(older);
            Ok(move |_: &Connect, hooks: Hooks| {
                hooks.on_close(move |_| {
                    let mut entries = entries.lock().unwrap();
                    if entries.get(&id) == Some(&handle) {
                        entries.remove(&id);
                    }
                    std::future::ready(())
                })
            })
        });
        layer.layer(admit_all())
    };
    let older = Setup::new().connected(Version::V5, stage(&registry)).await;
    let newer = Setup::new().connected(Version::V5, stage(&registry)).await;
    older.end().await;
    let found = registry.lock().unwrap().get("c").cloned();
    assert_eq!(found.as_ref(), Some(&newer.handle));
    newer.end().await;
    assert!(registry.lock().unwrap().is_empty());
}

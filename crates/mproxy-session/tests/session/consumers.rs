//! A client that accepts less than what waits for it: the broker waits, a part is dropped, or the session
//! ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mproxy_codec::Direction;
use mproxy_codec::{Head, Kind, KindSet, PropertyId, Publish, PublishLayout, QoS, Value, Version};
use mproxy_session::{CloseReason, Counters, Events, Hooks, SessionInfo, Side, SlowConsumer, Tap};
use tokio::time::sleep;

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, assert_bytes, settle};

const F: Frames = Frames(Version::V5);
const TIME: Duration = Duration::from_secs(5);

fn setup(policy: SlowConsumer) -> Setup {
    Setup::new().limits(|limits| {
        limits.slow_consumer = policy;
        limits.slow_consumer_time = TIME;
        // another time, which is not what is tested
        limits.write_timeout = Duration::MAX;
    })
}

async fn shedding() -> Pair {
    let setup = setup(SlowConsumer::DropQos0);
    setup.connected(Version::V5, admit_all()).await
}

/// Fills the client, and waits until it is slow. Returns what was sent, all of which arrives.
async fn make_slow(pair: &Pair) -> Vec<u8> {
    pair.client.set_capacity(5);
    let first = F.publish("first", 0, 0, b"that fills the client");
    pair.broker.send(&first);
    sleep(TIME + Duration::from_millis(100)).await;
    first
}

async fn all_of_it(pair: &Pair) -> Vec<u8> {
    pair.client.set_capacity(usize::MAX);
    pair.client.take().await
}

#[tokio::test(start_paused = true)]
async fn messages_of_qos_0_make_way_for_everything_else() {
    let pair = shedding().await;
    let mut wanted = make_slow(&pair).await;
    for round in 0..2000_u16 {
        let payload = round.to_be_bytes();
        pair.broker.send(&F.publish("dropped", 0, 0, &payload));
        let kept = match round {
            1 => F.pingresp(),
            2 => F.suback(7, &[1]),
            3 => F.publish("kept", 1, 1, &payload),
            4 => F.publish("kept", 2, 2, &payload),
            5 => F.pubrel(9),
            _ => continue,
        };
        pair.broker.send(&kept);
        wanted.extend(kept);
    }
    settle().await;
    assert_eq!(pair.broker.unread(), 0, "the broker is read on");
    assert_eq!(pair.handle.shed(), 2000);
    assert_bytes(&all_of_it(&pair).await, &wanted, "what was kept");
    // it has caught up
    let after = F.publish("dropped", 0, 0, b"no longer");
    pair.broker.send(&after);
    pair.client.expect(&after).await;
    let summary = pair.end().await;
    assert_eq!(summary.shed, 2000);
    assert_eq!(summary.to_client.denied, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dropped_before_the_time_or_for_a_client_that_catches_up() {
    let pair = shedding().await;
    let mut wanted = Vec::new();
    for round in 0..10_u8 {
        pair.client.set_capacity(3);
        let message = F.publish("t", 0, 0, &[round; 100]);
        pair.broker.send(&message.repeat(2));
        wanted.extend(message.repeat(2));
        // never as long as it takes
        sleep(TIME - Duration::from_millis(200)).await;
        let got = all_of_it(&pair).await;
        assert_bytes(&got, &wanted.split_off(0), "everything");
    }
    assert_eq!(pair.handle.shed(), 0);
}

/// It accepts a byte now and then, and is behind all the time.
#[tokio::test(start_paused = true)]
async fn a_trickle_is_not_catching_up() {
    let pair = shedding().await;
    pair.client.set_capacity(5);
    let message = F.publish("t", 0, 0, b"0123456789");
    let mut received = Vec::new();
    for _ in 0..12 {
        pair.broker.send(&message.repeat(3));
        sleep(TIME / 10).await;
        received.extend(pair.client.drain_up_to(1));
    }
    let dropped = pair.handle.shed();
    assert!(dropped > 0);
    received.extend(all_of_it(&pair).await);
    let kept = 36 - usize::try_from(dropped).unwrap();
    assert_bytes(&received, &message.repeat(kept), "whole packets");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_dropped_holds_the_broker_back_again() {
    let pair = shedding().await;
    let mut wanted = make_slow(&pair).await;
    let message = F.publish("kept", 1, 1, &[7; 1000]);
    let stream = message.repeat(400);
    pair.broker.send(&stream);
    settle().await;
    let held = stream.len() - pair.broker.unread();
    assert!((64 * 1024..=3 * 64 * 1024).contains(&held), "{held}");
    wanted.extend(stream);
    assert_bytes(&all_of_it(&pair).await, &wanted, "every one of them");
    assert_eq!(pair.handle.shed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_message_is_dropped_whole_or_not_at_all() {
    let pair = shedding().await;
    let begun = F.publish("begun", 0, 0, &vec![1; 500_000]);
    let large = F.publish("large", 0, 0, &vec![2; 500_000]);
    pair.client.set_capacity(5);
    pair.broker.send(&begun);
    pair.broker.send(&large);
    pair.broker.send(&F.pingresp());
    sleep(TIME * 2).await;
    assert!(
        pair.broker.unread() > 0,
        "a message that has begun is not dropped"
    );
    // it takes most of the first one, and stops again
    let mut received = Vec::new();
    while received.len() < 490_000 {
        pair.client.set_capacity(4096);
        received.extend(pair.client.take().await);
        pair.client.set_capacity(5);
    }
    sleep(TIME * 2).await;
    let mut left = usize::MAX;
    while pair.broker.unread() < left {
        left = pair.broker.unread();
        received.extend(pair.client.drain_up_to(5));
        settle().await;
    }
    received.extend(all_of_it(&pair).await);
    assert_eq!(pair.handle.shed(), 1);
    let wanted = [begun, F.pingresp()].concat();
    assert_bytes(&received, &wanted, "the first one");
}

/// Opens a session in which both sides may use four aliases.
async fn aliased(tapped: bool) -> Pair {
    let hook = by_topic(&Gate::new(), &Seen::default());
    let start = setup(SlowConsumer::DropQos0);
    let pair = match tapped {
        true => start.start(admit(move |_| {
            let tap = || Tap::only(KindSet::PUBLISH, hook.clone());
            Hooks::new(tap(), tap())
        })),
        false => start.start(admit_all()),
    };
    let maximum = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(4))]);
    let connect = F.connect_with(&ConnectParts {
        client_id: "c",
        properties: &maximum,
        ..Default::default()
    });
    pair.open(&connect, &F.connack_with(0, &maximum)).await;
    pair
}

#[tokio::test(start_paused = true)]
async fn the_aliases_of_dropped_messages_keep_their_meaning() {
    for tapped in [false, true] {
        let pair = aliased(tapped).await;
        let known = F.aliased("known", 1, b"");
        pair.broker.send(&known);
        pair.client.expect(&known).await;
        let first = make_slow(&pair).await;
        // bound by a message that is dropped, bound again, and used
        pair.broker.send(&F.aliased("new", 2, b"dropped"));
        pair.broker.send(&F.aliased("other", 1, b"dropped"));
        pair.broker.send(&F.aliased("", 2, b"dropped"));
        settle().await;
        assert_eq!(pair.handle.shed(), 3, "tapped: {tapped}");
        assert_bytes(&all_of_it(&pair).await, &first, "what was kept");
        for (sent, received) in [
            (F.aliased("", 2, b"1"), F.aliased("new", 2, b"1")),
            (F.aliased("", 2, b"2"), F.aliased("", 2, b"2")),
            (F.aliased("", 1, b"3"), F.aliased("other", 1, b"3")),
            (F.aliased("", 1, b"4"), F.aliased("", 1, b"4")),
        ] {
            pair.broker.send(&sent);
            pair.client.expect(&received).await;
        }
        assert_eq!(pair.end().await.side, Side::Client);
    }
}

/// There is room for 64 KiB of names: what binds one more is forwarded, and the session lives.
#[tokio::test(start_paused = true)]
async fn a_message_whose_alias_cannot_be_remembered_is_not_dropped() {
    let pair = setup(SlowConsumer::DropQos0).start(admit_all());
    let maximum = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(10))]);
    let connect = F.connect_with(&ConnectParts {
        client_id: "c",
        properties: &maximum,
        ..Default::default()
    });
    pair.open(&connect, &F.connack()).await;
    let mut wanted = make_slow(&pair).await;
    let name = |alias: u16| format!("{alias}").repeat(10_000);
    for alias in 1..=9 {
        pair.broker.send(&F.aliased(&name(alias), alias, b""));
    }
    settle().await;
    assert_eq!(pair.handle.shed(), 6);
    for alias in 7..=9 {
        wanted.extend(F.aliased(&name(alias), alias, b""));
    }
    assert_bytes(&all_of_it(&pair).await, &wanted, "what was kept");
    for alias in 1..=9 {
        pair.broker.send(&F.aliased("", alias, b""));
        let topic = if alias < 7 {
            name(alias)
        } else {
            String::new()
        };
        pair.client.expect(&F.aliased(&topic, alias, b"")).await;
    }
}

/// What the session tells of slow clients.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Counters for Told {}

impl Events for Told {
    fn sheds(&self, session: &SessionInfo) {
        let line = format!("{} sheds", session.client_id());
        self.0.lock().expect("not poisoned").push(line);
    }

    fn caught_up(&self, session: &SessionInfo, dropped: u64) {
        let line = format!("{} caught up, {dropped} dropped", session.client_id());
        self.0.lock().expect("not poisoned").push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn the_beginning_and_the_end_are_told() {
    let told = Told::default();
    let pair = setup(SlowConsumer::DropQos0)
        .recorder(Arc::new(told.clone()))
        .connected(Version::V5, admit_all())
        .await;
    for round in 1..=2 {
        make_slow(&pair).await;
        pair.broker.send(&F.publish("t", 0, 0, b"").repeat(10));
        settle().await;
        all_of_it(&pair).await;
        let lines = std::mem::take(&mut *told.0.lock().expect("not poisoned"));
        let end = format!("c caught up, {} dropped", round * 10);
        assert_eq!(lines, ["c sheds".to_owned(), end]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_disconnected_and_its_will_is_published() {
    for (version, told) in [(Version::V5, true), (Version::V311, false)] {
        let frames = Frames(version);
        let setup = setup(SlowConsumer::Disconnect);
        let pair = setup.connected(version, admit_all()).await;
        pair.client.set_capacity(5);
        let message = frames.publish("t", 0, 0, b"0123456789");
        pair.broker.send(&message);
        sleep(TIME - Duration::from_millis(100)).await;
        assert!(pair.is_running());
        sleep(Duration::from_millis(200)).await;
        let words = if told {
            frames.farewell(0x97)
        } else {
            Vec::new()
        };
        let wanted = [message, words].concat();
        assert_bytes(&all_of_it(&pair).await, &wanted, "the client");
        // no DISCONNECT, so the broker publishes the will
        pair.broker.expect(&[]).await;
        assert!(pair.broker.is_ended() && pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(summary.side, Side::Proxy);
        assert_eq!(summary.reason, CloseReason::SlowConsumer);
        assert_eq!(summary.limit, Some("slow_consumer"));
    }
}

/// The default: back-pressure, up to `write_timeout`.
#[tokio::test(start_paused = true)]
async fn by_default_the_broker_waits() {
    let pair = Setup::new()
        .limits(|limits| limits.slow_consumer_time = TIME)
        .connected(Version::V5, admit_all())
        .await;
    pair.client.set_capacity(5);
    let stream = F.publish("t", 0, 0, &[1; 100]).repeat(10_000);
    pair.broker.send(&stream);
    sleep(TIME * 10).await;
    assert!(pair.broker.unread() > stream.len() / 2);
    assert_bytes(&all_of_it(&pair).await, &stream, "everything");
}

/// A pace for the broker makes it slow, not the client.
#[tokio::test(start_paused = true)]
async fn a_broker_that_is_slowed_down_makes_no_slow_client() {
    use mproxy_session::{Pace, Rate};
    use std::num::NonZeroU32;
    let rate = Rate::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(1));
    let pair = setup(SlowConsumer::Disconnect)
        .limits(|limits| limits.pace_to_client = Some(Pace::default().packets(rate)))
        .connected(Version::V5, admit_all())
        .await;
    pair.client.set_capacity(5);
    let stream = F.publish("t", 0, 0, b"x").repeat(1000);
    pair.broker.send(&stream);
    settle().await;
    pair.client.set_capacity(usize::MAX);
    sleep(TIME * 3).await;
    assert!(pair.is_running());
}

/// A random number generator that needs no crate: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Whatever the sizes, the reads and the moments: packets arrive whole and in order, only messages of QoS 0
/// are missing, and each of them is counted.
#[tokio::test(start_paused = true)]
async fn at_random_only_messages_of_qos_0_are_missing() {
    let mut missing = 0;
    for seed in 1..=60_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let pair = aliased(seed % 2 == 0).await;
        let chunks: Vec<_> = (0..random.below(50)).map(|_| random.below(3000)).collect();
        pair.broker.set_chunks(chunks, 100_000);
        let mut sent: Vec<(Vec<u8>, String)> = Vec::new();
        let mut topics = [const { String::new() }; 5];
        let mut received = Vec::new();
        for number in 0..200_u32 {
            let size = [0, 10, 1000, 40_000, 100_000][random.below(5)];
            let payload = [&number.to_be_bytes()[..], &vec![3; size]].concat();
            let alias = random.below(5);
            let (packet, topic) = match random.below(3) {
                0 => (F.publish("t", 1, 1, &payload), "t".to_owned()),
                1 if alias > 0 => {
                    let fresh = random.below(2) == 0 || topics[alias].is_empty();
                    if fresh {
                        topics[alias] = format!("topic/{number}");
                    }
                    let name = if fresh { &*topics[alias] } else { "" };
                    let alias_number = u16::try_from(alias).unwrap();
                    (
                        F.aliased(name, alias_number, &payload),
                        topics[alias].clone(),
                    )
                }
                _ => (F.publish("plain", 0, 0, &payload), "plain".to_owned()),
            };
            pair.broker.send(&packet);
            sent.push((payload, topic));
            if random.below(4) == 0 {
                pair.client
                    .set_capacity([5, 300, 70_000, usize::MAX][random.below(4)]);
                sleep(Duration::from_millis(random.below(9000) as u64)).await;
                let piece = random.below(60_000);
                received.extend(pair.client.drain_up_to(piece));
            }
        }
        received.extend(all_of_it(&pair).await);
        assert!(pair.is_running(), "seed {seed}");
        let dropped = usize::try_from(pair.handle.shed()).unwrap();
        missing += dropped;
        let got = messages(&received);
        assert_eq!(got.len() + dropped, sent.len(), "seed {seed}");
        let mut rest = got.iter();
        let mut next = rest.next();
        for (payload, topic) in &sent {
            match next {
                Some((had, of, _)) if had == payload => {
                    assert_eq!(of, topic, "seed {seed}");
                    next = rest.next();
                }
                _ => assert_ne!(topic, "t", "seed {seed}: a message of QoS 1 is missing"),
            }
        }
        assert!(next.is_none(), "seed {seed}: out of order");
    }
    assert!(missing > 1000, "{missing}");
}

/// Payload, topic and QoS of the messages of a stream, as its receiver understands them.
fn messages(mut stream: &[u8]) -> Vec<(Vec<u8>, String, QoS)> {
    let mut topics = [const { String::new() }; 5];
    let mut found = Vec::new();
    while !stream.is_empty() {
        let head = Head::parse(stream).expect("a head").expect("all of it");
        assert_eq!(head.kind(), Kind::Publish);
        let (packet, rest) = stream.split_at(head.total_len());
        stream = rest;
        let layout = PublishLayout::parse(head, Version::V5, Direction::ToClient, packet);
        let layout = layout.expect("a PUBLISH").expect("all of it");
        let publish = Publish::new(layout, packet);
        let mut topic = publish.topic().to_owned();
        if let Some(alias) = layout.topic_alias() {
            let known = &mut topics[usize::from(alias)];
            if topic.is_empty() {
                topic.clone_from(known);
            }
            known.clone_from(&topic);
            assert!(!topic.is_empty(), "an alias without a topic");
        }
        found.push((
            publish.payload().expect("whole").to_vec(),
            topic,
            layout.qos(),
        ));
    }
    found
}

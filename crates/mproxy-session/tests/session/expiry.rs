//! What time does to a publication that waits here: for a hook, for a receiver that does not read,
//! or behind another packet. [MQTT-3.3.2-5], [MQTT-3.3.2-6]

use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, QoS, Value, Version};
use mproxy_session::{Hooks, Tap};
use tokio::time::sleep;

use crate::support::frames::properties;
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::memory::Wire;
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

const F: Frames = Frames(Version::V5);

/// A PUBLISH that may live so many seconds.
fn publish(topic: &str, qos: QoS, seconds: u32, payload: &[u8]) -> Vec<u8> {
    let expiry = properties(&[
        (PropertyId::UserProperty, Value::Pair("a", "b")),
        (PropertyId::MessageExpiryInterval, Value::U32(seconds)),
        (PropertyId::ContentType, Value::Str("c")),
    ]);
    F.publish_with(topic, qos.as_u8(), 7, &expiry, payload)
}

fn ways(pair: &Pair) -> [(&Wire, &Wire); 2] {
    [(&pair.client, &pair.broker), (&pair.broker, &pair.client)]
}

/// The receiver's buffer takes this and no more.
const ROOM: usize = 5;

/// Takes what a receiver that had `ROOM` gets once it reads.
async fn received(to: &Wire) -> Vec<u8> {
    to.set_capacity(usize::MAX);
    to.take().await
}

const ZERO: QoS = QoS::AtMostOnce;
const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_slow_receiver_grows_older() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    for (from, to) in ways(&pair) {
        to.set_capacity(ROOM);
        let sent = [
            // begun, so it stays as it is
            publish("t", ZERO, 9, b"1"),
            publish("t", ONE, 9, b"2"),
            F.pubrec(3),
            F.publish("plain", 0, 0, b"3"),
            publish("t", ZERO, 100, b"4"),
        ];
        from.send(&sent.concat());
        sleep(Duration::from_millis(2_900)).await;
        let wanted = [
            publish("t", ZERO, 9, b"1"),
            publish("t", ONE, 7, b"2"),
            F.pubrec(3),
            F.publish("plain", 0, 0, b"3"),
            publish("t", ZERO, 98, b"4"),
        ];
        assert_eq!(received(to).await, wanted.concat());
        // what waited for less than a second, or not at all, is as old as it was
        to.set_capacity(0);
        from.send(&publish("t", ONE, 9, b"5"));
        sleep(Duration::from_millis(900)).await;
        assert_eq!(received(to).await, publish("t", ONE, 9, b"5"));
        from.send(&publish("t", ONE, 9, b"6"));
        to.expect(&publish("t", ONE, 9, b"6")).await;
    }
}

/// The seconds are counted once, however often the receiver takes a little.
#[tokio::test(start_paused = true)]
async fn time_is_subtracted_once() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    for (from, to) in ways(&pair) {
        to.set_capacity(ROOM);
        let all = [publish("t", ZERO, 50, b"1"), publish("t", ZERO, 50, b"2")];
        from.send(&all.concat());
        let mut received = Vec::new();
        for _ in 0..10 {
            sleep(Duration::from_millis(700)).await;
            received.extend(to.drain_up_to(1));
            settle().await;
        }
        sleep(Duration::from_millis(100)).await;
        to.set_capacity(usize::MAX);
        received.extend(to.take().await);
        let wanted = [publish("t", ZERO, 50, b"1"), publish("t", ZERO, 43, b"2")];
        assert_eq!(received, wanted.concat());
    }
}

#[tokio::test(start_paused = true)]
async fn what_expires_while_it_waits_is_dropped_and_acknowledged() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    for (from, to) in ways(&pair) {
        to.set_capacity(0);
        let sent = [
            F.publish("t", 0, 0, b"stays"),
            publish("t", ZERO, 1, b"1"),
            F.publish_with(
                "t",
                1,
                1,
                &properties(&[(PropertyId::MessageExpiryInterval, Value::U32(2))]),
                b"2",
            ),
            publish("t", TWO, 2, b"3"),
            publish("t", ZERO, 3, b"4"),
        ];
        from.send(&sent.concat());
        sleep(Duration::from_secs(2)).await;
        let wanted = [F.publish("t", 0, 0, b"stays"), publish("t", ZERO, 1, b"4")];
        assert_eq!(received(to).await, wanted.concat());
        from.expect(&[F.puback(1), F.pubrec(7)].concat()).await;
        // the rest of the hand-shake is between the sender and the proxy
        from.send(&F.pubrel(7));
        from.expect(&F.pubcomp(7)).await;
        to.expect(b"").await;
        // and the identifiers are free
        from.send(&publish("t", TWO, 9, b"5"));
        to.expect(&publish("t", TWO, 9, b"5")).await;
        to.send(&F.pubrec(7));
        from.expect(&F.pubrec(7)).await;
    }
}

/// Of a PUBLISH that streams through only the beginning waits here. If it expires, the payload that
/// is still to come goes nowhere.
#[tokio::test(start_paused = true)]
async fn a_large_publish_expires_as_well() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    for (from, to) in ways(&pair) {
        for (ahead, expires) in [(true, true), (false, true), (true, false)] {
            to.set_capacity(0);
            let large = publish("t", ONE, if expires { 2 } else { 9 }, &[7; 200_000]);
            // an own answer must not end up inside the payload
            if ahead {
                from.send(&publish("t", ZERO, 9, b"ahead"));
            }
            from.send(&large[..150_000]);
            settle().await;
            sleep(Duration::from_secs(3)).await;
            to.set_capacity(usize::MAX);
            from.send(&large[150_000..]);
            from.send(&publish("t", ZERO, 9, b"next"));
            let got = to.take().await;
            // what is as old as the queue says depends on how much of it was read
            let next = publish("t", ZERO, 9, b"next");
            assert!(got.ends_with(&next), "{} bytes", got.len());
            let got = &got[..got.len() - next.len()];
            let front = if ahead {
                publish("t", ZERO, 6, b"ahead")
            } else {
                Vec::new()
            };
            assert!(got.starts_with(&front));
            let got = &got[front.len()..];
            if expires {
                assert!(got.is_empty(), "{} bytes", got.len());
                from.expect(&F.puback(7)).await;
            } else {
                assert_eq!(got, publish("t", ONE, 6, &[7; 200_000]));
                from.expect(b"").await;
            }
        }
    }
}

/// Packets that came with one that a hook holds are as long here as that one.
#[tokio::test(start_paused = true)]
async fn what_stands_behind_a_held_packet_grows_older_too() {
    for kinds in [KindSet::PUBLISH, KindSet::SUBSCRIBE] {
        let gate = Gate::new();
        let hook = by_topic(&gate, &Seen::default());
        let pair = Setup::new()
            .limits(|limits| limits.hook_timeout = Duration::from_secs(60))
            .connected(
                Version::V5,
                admit(move |_| Hooks::new(Tap::only(kinds, hook.clone()), Tap::none())),
            )
            .await;
        let first = if kinds == KindSet::PUBLISH {
            publish("held/t", ZERO, 9, b"1")
        } else {
            F.subscribe(9, &["held/t"])
        };
        let rest = [
            publish("t", ONE, 9, b"2"),
            publish("t", ONE, 3, b"3"),
            publish("t", ZERO, 4, b"4"),
        ];
        pair.client.send(&[&first[..], &rest.concat()].concat());
        sleep(Duration::from_millis(3_500)).await;
        gate.open(1);
        let first = if kinds == KindSet::PUBLISH {
            publish("held/t", ZERO, 6, b"1")
        } else {
            first
        };
        let wanted = [
            first,
            publish("t", ONE, 6, b"2"),
            publish("t", ZERO, 1, b"4"),
        ];
        pair.broker.expect(&wanted.concat()).await;
        pair.client.expect(&F.puback(7)).await;
    }
}

/// A client may publish before it has its CONNACK.
#[tokio::test(start_paused = true)]
async fn what_waits_for_connack_grows_older() {
    let pair = Setup::new().start(admit_all());
    let rest = [publish("t", ONE, 9, b"2"), publish("t", ONE, 3, b"3")];
    pair.client.send(&[F.connect("c"), rest.concat()].concat());
    pair.broker.expect(&F.connect("c")).await;
    sleep(Duration::from_secs(3)).await;
    pair.broker.send(&F.connack());
    pair.broker.expect(&publish("t", ONE, 6, b"2")).await;
    let answers = pair.client.take().await;
    assert!(answers.ends_with(&F.puback(7)), "{answers:?}");
}

/// Before MQTT 5.0 nothing says how long a message lives.
#[tokio::test(start_paused = true)]
async fn messages_of_older_versions_do_not_expire() {
    let frames = Frames(Version::V311);
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    for (from, to) in ways(&pair) {
        to.set_capacity(ROOM);
        // as a property block this would be an expiry of one second
        let sent = frames.publish("t", 1, 7, &[5, 2, 0, 0, 0, 1, 9]).repeat(3);
        from.send(&sent);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(received(to).await, sent);
        from.expect(b"").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_holds_back_grows_older() {
    let frames = Frames(Version::V5);
    let gate = Gate::new();
    let hook = gate.clone();
    let pair = Setup::new()
        .limits(|limits| limits.hook_timeout = Duration::from_secs(60))
        .connected(
            Version::V5,
            admit(move |_| {
                let hook = || by_topic(&hook, &Seen::default());
                Hooks::new(
                    Tap::only(KindSet::PUBLISH, hook()),
                    Tap::only(KindSet::PUBLISH, hook()),
                )
            }),
        )
        .await;
    let publish = |topic: &str, qos, seconds| {
        let expiry = properties(&[
            (PropertyId::UserProperty, Value::Pair("a", "b")),
            (PropertyId::MessageExpiryInterval, Value::U32(seconds)),
            (PropertyId::ContentType, Value::Str("c")),
        ]);
        frames.publish_with(topic, qos, 7, &expiry, b"x")
    };
    for (from, to) in [(&pair.client, &pair.broker), (&pair.broker, &pair.client)] {
        // held for less than a second, for more, and for as long as it may live
        from.send(&publish("held/t", 1, 10));
        sleep(Duration::from_millis(900)).await;
        gate.open(1);
        to.expect(&publish("held/t", 1, 10)).await;
        from.send(&publish("held/t", 1, 10));
        sleep(Duration::from_millis(3_900)).await;
        gate.open(1);
        to.expect(&publish("held/t", 1, 7)).await;
        for (qos, answer) in [(1, frames.puback(7)), (2, frames.pubrec(7))] {
            from.send(&publish("held/t", qos, 10));
            sleep(Duration::from_secs(11)).await;
            gate.open(1);
            to.expect(b"").await;
            from.expect(&answer).await;
        }
        from.send(&frames.pubrel(7));
        from.expect(&frames.pubcomp(7)).await;
        // a hook that decides at once costs no time
        from.send(&publish("t", 1, 10));
        to.expect(&publish("t", 1, 10)).await;
    }
}

//! A QoS 2 PUBLISH that a client sends again on a later connection, and that is refused now. The
//! broker may have taken the first copy: it would take the next message with the same identifier for
//! a repetition, acknowledge it and throw it away.

use mproxy_codec::{Kind, KindSet, Version};
use mproxy_session::{Hooks, Tap};

use crate::support::hooks::{Gate, Seen, heads_by_topic};
use crate::support::{Frames, Pair, Setup, admit};

/// A session in which publications below "denied/" are refused; `resumed` says that the broker had
/// it before.
async fn pair(frames: Frames, resumed: bool) -> Pair {
    let pair = Setup::new().start(admit(|_| {
        let hook = heads_by_topic(&Gate::new(), &Seen::default());
        Hooks::new(Tap::only(KindSet::PUBLISH, hook).head_only(), Tap::none())
    }));
    let mut connect = frames.connect("c");
    // keep the session
    let flags = if frames.0 == Version::V31 { 11 } else { 9 };
    connect[flags] &= !2;
    let mut connack = frames.connack();
    connack[2] = u8::from(resumed && frames.0 != Version::V31);
    pair.open(&connect, &connack).await;
    pair
}

fn refusal(frames: Frames, id: u16) -> Vec<u8> {
    frames.ack(Kind::Pubrec, id, if frames.0.is_v5() { 0x87 } else { 0 })
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_made_to_forget_it_before_the_client_is_answered() {
    for version in [Version::V311, Version::V5] {
        let frames = Frames(version);
        let pair = pair(frames, true).await;
        let again = Frames::again(frames.publish("denied/t", 2, 7, b"x"));
        let before = frames.publish("t", 0, 0, b"before");
        let after = frames.publish("t", 0, 0, b"after");
        pair.client.send(&[&before[..], &again, &after].concat());
        let expected = [&before[..], &frames.pubrel(7), &after].concat();
        pair.broker.expect(&expected).await;
        pair.client.expect(b"").await;
        // impatience changes nothing
        pair.client.send(&again);
        pair.broker.expect(b"").await;
        pair.client.expect(b"").await;
        pair.broker.send(&frames.pubcomp(7));
        pair.client.expect(&refusal(frames, 7)).await;
        if !version.is_v5() {
            pair.client.send(&frames.pubrel(7));
            pair.client.expect(&frames.pubcomp(7)).await;
            pair.broker.expect(b"").await;
        }
        // the identifier is free, for the broker too
        let next = frames.publish("t", 2, 7, b"new");
        pair.client.send(&next);
        pair.broker.expect(&next).await;
        pair.broker.send(&frames.pubrec(7));
        pair.client.expect(&frames.pubrec(7)).await;
        pair.client.send(&frames.pubrel(7));
        pair.broker.expect(&frames.pubrel(7)).await;
        pair.broker.send(&frames.pubcomp(7));
        pair.client.expect(&frames.pubcomp(7)).await;
    }
}

/// The payload of a large one is thrown away as it comes, before and after the broker has answered.
#[tokio::test(start_paused = true)]
async fn a_large_one_streams_away() {
    let frames = Frames(Version::V5);
    let pair = pair(frames, true).await;
    let again = Frames::again(frames.publish("denied/t", 2, 7, &vec![b'x'; 200_000]));
    let (head, rest) = again.split_at(100_000);
    pair.client.send(head);
    pair.broker.expect(&frames.pubrel(7)).await;
    pair.broker.send(&frames.pubcomp(7));
    pair.client.expect(&refusal(frames, 7)).await;
    let after = frames.publish("t", 0, 0, b"after");
    pair.client.send(&[rest, &after].concat());
    pair.broker.expect(&after).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_copy_and_a_new_session_are_answered_at_once() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let frames = Frames(version);
        let first = frames.publish("denied/t", 2, 7, b"x");
        for (resumed, publish) in [(true, first.clone()), (false, Frames::again(first))] {
            let pair = pair(frames, resumed).await;
            pair.client.send(&publish);
            pair.client.expect(&refusal(frames, 7)).await;
            pair.broker.expect(b"").await;
        }
    }
}

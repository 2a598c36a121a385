//! Receive Maximum: how many publications of a client may wait for an answer (MQTT 5.0, sections
//! 3.3.4 and 4.9). The broker announced it and judges it, unless the proxy is told to.

use mproxy_codec::{Kind, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{CloseReason, Hooks, ReceiveMaximum, Side, Tap};

use crate::support::frames::properties;
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all};

const F: Frames = Frames(Version::V5);

fn connack(maximum: u16) -> Vec<u8> {
    F.connack_with(
        0,
        &properties(&[
            (PropertyId::MaximumPacketSize, Value::U32(0x8_0000)),
            (PropertyId::ReceiveMaximum, Value::U16(maximum)),
        ]),
    )
}

/// A session without hooks, or with hooks that look at every publication of the client, in which
/// the proxy counts.
async fn pair(maximum: u16, hooked: bool) -> Pair {
    pair_with(maximum, hooked, ReceiveMaximum::Enforce).await
}

async fn pair_with(maximum: u16, hooked: bool, policy: ReceiveMaximum) -> Pair {
    let setup = Setup::new().limits(|limits| limits.receive_maximum = policy);
    let pair = if hooked {
        setup.start(admit(|_| {
            let hook = by_topic(&Gate::new(), &Seen::default());
            Hooks::new(Tap::only(KindSet::PUBLISH, hook), Tap::none())
        }))
    } else {
        setup.start(admit_all())
    };
    pair.open(&F.connect("c"), &connack(maximum)).await;
    pair
}

/// Sends publications of QoS 1 and 2 in turns.
fn publications(ids: std::ops::RangeInclusive<u16>) -> Vec<u8> {
    ids.flat_map(|id| F.publish("t", 2 - u8::from(id % 2 == 1), id, b"x"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_more_than_the_receive_maximum_ends_the_session() {
    for hooked in [false, true] {
        let pair = pair(3, hooked).await;
        pair.client.send(&publications(1..=3));
        pair.broker.expect(&publications(1..=3)).await;
        // QoS 0 does not count
        pair.client.send(&F.publish("t", 0, 0, b"x"));
        pair.broker.expect(&F.publish("t", 0, 0, b"x")).await;
        pair.client.send(&publications(4..=4));
        pair.client.expect_plain(&F.farewell(0x93)).await;
        pair.broker.expect(b"").await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::ProtocolError, "{summary:?}");
        assert_eq!(summary.side, Side::Client);
        assert_eq!(
            summary.reason_code,
            Some(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED)
        );
        assert_eq!(summary.limit, Some("receive_maximum"));
    }
}

/// C5: a client wrote 21 publications at once to a mosquitto that takes 20, as its MQTT 5.0 client
/// library does, and mosquitto answers all of them. mproxy counted, sent 0x93 and had the will
/// published. C6: a mosquitto bridge with 300 queued messages never came to an end of them. The
/// broker announced its Receive Maximum, and the broker judges it.
#[tokio::test(start_paused = true)]
async fn more_than_the_receive_maximum_is_for_the_broker_to_judge() {
    for hooked in [false, true] {
        let pair = pair_with(20, hooked, ReceiveMaximum::Pass).await;
        let sent: Vec<u8> = (1..=300)
            .flat_map(|id| F.publish("rm/x", 1, id, b"0"))
            .collect();
        pair.client.send(&sent);
        pair.broker.expect(&sent).await;
        let answers: Vec<u8> = (1..=300).flat_map(|id| F.puback(id)).collect();
        pair.broker.send(&answers);
        pair.client.expect(&answers).await;
        assert!(pair.is_running());
    }
}

/// A repetition (DUP) of a publication that waits for its answer is the same publication: a client
/// that repeats after a time-out used to be closed with 0x93 for it.
#[tokio::test(start_paused = true)]
async fn a_repetition_is_not_one_more() {
    for hooked in [false, true] {
        let pair = pair(2, hooked).await;
        for _ in 0..5 {
            let first = F.publish("t", 1, 1, b"x");
            let second = F.publish("t", 2, 2, b"x");
            let both = [first, second].map(Frames::again).concat();
            pair.client.send(&both);
            pair.broker.expect(&both).await;
        }
        pair.client.send(&publications(3..=3));
        pair.broker.expect(b"").await;
        pair.client.expect_plain(&F.farewell(0x93)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_the_one_too_many_in_the_same_read_is_forwarded() {
    for hooked in [false, true] {
        let pair = pair(3, hooked).await;
        pair.client.send(&publications(1..=6));
        pair.broker.expect(&publications(1..=3)).await;
        pair.client.expect_plain(&F.farewell(0x93)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_make_room_again() {
    for hooked in [false, true] {
        let pair = pair(2, hooked).await;
        pair.client.send(&publications(1..=2));
        pair.broker.expect(&publications(1..=2)).await;
        // PUBREC of success does not end the exchange, PUBACK does
        let answers = [F.puback(1), F.pubrec(2)].concat();
        pair.broker.send(&answers);
        pair.client.expect(&answers).await;
        pair.client.send(&publications(3..=3));
        pair.broker.expect(&publications(3..=3)).await;
        // PUBCOMP does, and so does a PUBREC that says no
        pair.client.send(&F.pubrel(2));
        pair.broker.expect(&F.pubrel(2)).await;
        pair.broker.send(&F.pubcomp(2));
        pair.client.expect(&F.pubcomp(2)).await;
        pair.client.send(&publications(4..=4));
        pair.broker.expect(&publications(4..=4)).await;
        let no = F.ack(Kind::Pubrec, 4, 0x97);
        pair.broker.send(&no);
        pair.client.expect(&no).await;
        pair.client.send(&publications(5..=5));
        pair.broker.expect(&publications(5..=5)).await;
        // 3 and 5 wait
        pair.client.send(&publications(6..=6));
        pair.client.expect_plain(&F.farewell(0x93)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_proxy_answers_itself_makes_room_too() {
    let pair = pair(1, true).await;
    for id in 1..=3 {
        pair.client.send(&F.publish("denied/t", 1, id, b"x"));
        pair.client.expect(&F.ack(Kind::Puback, id, 0x87)).await;
        pair.client.send(&F.publish("denied/t", 2, id, b"x"));
        pair.client.expect(&F.ack(Kind::Pubrec, id, 0x87)).await;
        pair.client.send(&F.publish("dropped/t", 2, id, b"x"));
        pair.client.expect(&F.pubrec(id)).await;
        pair.client.send(&F.pubrel(id));
        pair.client.expect(&F.pubcomp(id)).await;
    }
    pair.client.send(&publications(9..=9));
    pair.broker.expect(&publications(9..=9)).await;
}

/// A client that comes back sends PUBREL for what it published before: the PUBCOMP is no room for
/// more than the broker takes.
#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_connection_makes_no_more_room_than_there_is() {
    let pair = pair(1, false).await;
    pair.client.send(&F.pubrel(77));
    pair.broker.expect(&F.pubrel(77)).await;
    pair.broker.send(&F.pubcomp(77));
    pair.client.expect(&F.pubcomp(77)).await;
    pair.client.send(&publications(1..=2));
    pair.broker.expect(&publications(1..=1)).await;
    pair.client.expect_plain(&F.farewell(0x93)).await;
}

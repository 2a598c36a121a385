//! Hooks that lower what a packet asks for: the QoS of a PUBLISH, RETAIN, the QoS of a subscription.

use mproxy_codec::{KindSet, PublishEdit, QoS, SubscriptionOptions, Version, encode_subscribe};
use mproxy_session::{Hooks, Packet, RewriteLayer, Tap};
use tower::Layer;

use crate::support::{Frames, Pair, Setup, admit};

const ALL: [Frames; 3] = [
    Frames(Version::V31),
    Frames(Version::V311),
    Frames(Version::V5),
];

async fn at_most_once(frames: Frames) -> Pair {
    let lower = || {
        let layer =
            RewriteLayer::heads(|packet| packet.edit_publish(&PublishEdit::new().at_most_once()));
        Tap::only(KindSet::PUBLISH, layer.layer(mproxy_session::Forward)).head_only()
    };
    Setup::new()
        .connected(frames.0, admit(move |_| Hooks::new(lower(), lower())))
        .await
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_made_qos_0_is_answered_by_the_proxy() {
    for frames in ALL {
        let pair = at_most_once(frames).await;
        for (from, to) in [(&pair.client, &pair.broker), (&pair.broker, &pair.client)] {
            from.send(&frames.publish("t", 1, 7, b"x"));
            to.expect(&frames.publish("t", 0, 0, b"x")).await;
            from.expect(&frames.puback(7)).await;
            let twice = frames.publish("t", 2, 8, b"x");
            from.send(&twice);
            to.expect(&frames.publish("t", 0, 0, b"x")).await;
            from.expect(&frames.pubrec(8)).await;
            from.send(&frames.pubrel(8));
            from.expect(&frames.pubcomp(8)).await;
            to.expect(b"").await;
        }
        // sent again before PUBREL: QoS 2 stays exactly once as far as the proxy goes
        let twice = frames.publish("t", 2, 9, b"x");
        pair.client.send(&twice);
        pair.broker.expect(&frames.publish("t", 0, 0, b"x")).await;
        pair.client.send(&Frames::again(twice));
        pair.client
            .expect(&[frames.pubrec(9), frames.pubrec(9)].concat())
            .await;
        pair.broker.expect(b"").await;
    }
}

/// The answer waits until the payload has passed.
#[tokio::test(start_paused = true)]
async fn a_large_publish_that_is_made_qos_0_is_answered_when_it_has_passed() {
    let frames = Frames(Version::V311);
    let pair = at_most_once(frames).await;
    let large = frames.publish("t", 1, 7, &vec![b'x'; 200_000]);
    let (head, rest) = large.split_at(100_000);
    pair.client.send(head);
    let mut arrived = pair.broker.take().await;
    pair.client.expect(b"").await;
    pair.client.send(rest);
    arrived.extend(pair.broker.take().await);
    assert_eq!(arrived, frames.publish("t", 0, 0, &vec![b'x'; 200_000]));
    pair.client.expect(&frames.puback(7)).await;
}

#[tokio::test(start_paused = true)]
async fn retain_is_one_bit_and_nothing_else() {
    for frames in ALL {
        let pair = Setup::new()
            .connected(
                frames.0,
                admit(|_| {
                    let layer = RewriteLayer::new(|packet: &mut Packet| {
                        packet.edit_publish(&PublishEdit::new().retain(false))
                    });
                    let service = layer.layer(mproxy_session::Forward);
                    Hooks::new(Tap::only(KindSet::PUBLISH, service), Tap::none())
                }),
            )
            .await;
        let plain = frames.publish("t", 1, 7, b"x");
        let mut retained = plain.clone();
        retained[0] |= 1;
        pair.client.send(&Frames::again(retained));
        pair.broker.expect(&Frames::again(plain)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_lowered_and_never_raised() {
    for frames in ALL {
        let pair = Setup::new()
            .connected(
                frames.0,
                admit(|_| {
                    let layer = RewriteLayer::new(|packet: &mut Packet| {
                        packet.lower_qos(|entry| match entry.filter.as_str() {
                            "low" => QoS::AtMostOnce,
                            _ => QoS::ExactlyOnce,
                        })
                    });
                    let service = layer.layer(mproxy_session::Forward);
                    Hooks::new(Tap::only(KindSet::SUBSCRIBE, service), Tap::none())
                }),
            )
            .await;
        let subscribe = |low| {
            let entries = [("low", low), ("high", QoS::AtLeastOnce)];
            let entries = entries.map(|(filter, qos)| (filter, SubscriptionOptions::new(qos)));
            encode_subscribe(frames.0, 9, &[], entries).expect("valid")
        };
        pair.client.send(&subscribe(QoS::ExactlyOnce));
        pair.broker.expect(&subscribe(QoS::AtMostOnce)).await;
        pair.broker.send(&frames.suback(9, &[0, 1]));
        pair.client.expect(&frames.suback(9, &[0, 1])).await;
    }
}

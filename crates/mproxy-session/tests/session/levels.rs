//! What it costs to judge a packet is bounded: by the levels of a topic, and by the number of filters.

use mproxy_codec::{Kind, KindSet, PropertyId, Value, Version};
use mproxy_session::{CloseReason, Hooks, Side, Tap};

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn deep(levels: usize) -> String {
    vec!["l"; levels].join("/")
}

fn response(levels: usize) -> Vec<u8> {
    properties(&[(PropertyId::ResponseTopic, Value::Str(&deep(levels)))])
}

/// A session of which every packet is judged, and that may use aliases.
async fn judged(version: Version, seen: &Seen) -> Pair {
    let hooks = by_topic(&Gate::new(), seen);
    let tap = move || Tap::only(KindSet::ALL, hooks.clone());
    let pair = Setup::new().start(admit(move |_| Hooks::new(tap(), tap())));
    let f = Frames(version);
    let alias = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(9))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &alias,
        ..ConnectParts::default()
    });
    pair.open(&connect, &f.connack_with(0, &alias)).await;
    seen.take();
    pair
}

/// A client of MQTT 5.0 is told why it is closed, and one of MQTT 3.x cannot be.
fn assert_told(version: Version, told: &[u8], code: u8) {
    match told {
        [0xe0, _, reason, ..] if version.is_v5() => assert_eq!(*reason, code),
        told => assert!(told.is_empty() && !version.is_v5(), "{version} {told:02x?}"),
    }
}

/// A packet of the client, by the levels of its topic, and what a client of MQTT 5.0 is told if they
/// are too many.
type Case = (fn(Frames, usize) -> Vec<u8>, u8);

const CASES: [Case; 4] = [
    (|f, levels| f.publish(&deep(levels), 1, 1, b""), 0x90),
    (
        |f, levels| f.publish(&deep(levels), 0, 0, &[0; 100_000]),
        0x90,
    ),
    (|f, levels| f.subscribe(1, &["a", &deep(levels)]), 0x8f),
    (|f, levels| f.unsubscribe(1, &["a", &deep(levels)]), 0x8f),
];

const CASES_OF_V5: [Case; 2] = [
    (
        |f, levels| f.publish_with("t", 1, 1, &response(levels), b""),
        0x90,
    ),
    (|f, levels| f.aliased(&deep(levels), 1, b""), 0x90),
];

/// Ten clients that asked for filters of 65,000 levels took both cores of a machine.
#[tokio::test(start_paused = true)]
async fn a_topic_of_more_than_128_levels_closes() {
    for version in VERSIONS {
        let f = Frames(version);
        let of_v5 = CASES_OF_V5.iter().filter(|_| version.is_v5());
        for (packet, code) in CASES.iter().chain(of_v5) {
            let seen = Seen::default();
            let pair = judged(version, &seen).await;
            pair.client.send(&packet(f, 128));
            pair.broker.expect(&packet(f, 128)).await;
            assert_eq!(seen.take().len(), 1);
            pair.client.send(&packet(f, 129));
            settle().await;
            assert!(seen.take().is_empty(), "no hook sees it");
            assert_eq!(pair.broker.drain(), b"");
            assert_told(version, &pair.client.take().await, *code);
            pair.client.finish();
            pair.broker.finish();
            let summary = pair.summary().await;
            assert_eq!(summary.side, Side::Client);
            assert_eq!(summary.reason, CloseReason::PacketTooLarge);
            assert_eq!(summary.limit, Some("max_topic_levels"));
        }
    }
}

/// The broker publishes a will on behalf of a client, so it is as deep as what the client may publish.
#[tokio::test(start_paused = true)]
async fn the_topic_of_a_will_has_as_many_levels_as_any() {
    for version in VERSIONS {
        for levels in [128, 129] {
            let hooks = by_topic(&Gate::new(), &Seen::default());
            let tap = Tap::only(KindSet::PUBLISH, hooks);
            let mut taps = Some(tap);
            let stage = admit(move |_| Hooks::new(taps.take().unwrap(), Tap::none()));
            let pair = Setup::new().start(stage);
            let connect = Frames(version).connect_with(&ConnectParts {
                client_id: "c",
                will: Some((&deep(levels), b"")),
                ..ConnectParts::default()
            });
            pair.client.send(&connect);
            let forwarded = pair.broker.take().await;
            if levels == 128 {
                assert_eq!(forwarded, connect);
                continue;
            }
            assert_eq!((forwarded, pair.dials()), (vec![], 0));
            pair.client.finish();
            let summary = pair.summary().await;
            assert_eq!(summary.limit, Some("max_topic_levels"));
        }
    }
}

/// The client that gets a delivery did not send it: it misses that one, and the broker is answered.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_too_deep_is_dropped() {
    for version in VERSIONS {
        let (f, seen) = (Frames(version), Seen::default());
        let pair = judged(version, &seen).await;
        pair.broker.send(&f.publish(&deep(129), 1, 7, b""));
        pair.broker.expect(&f.puback(7)).await;
        pair.broker.send(&f.publish(&deep(128), 1, 8, b""));
        pair.client.expect(&f.publish(&deep(128), 1, 8, b"")).await;
        assert_eq!(seen.take().len(), 1);
        if version.is_v5() {
            pair.broker.send(&f.aliased(&deep(129), 1, b""));
            pair.broker.send(&f.aliased("", 1, b"again"));
            pair.broker
                .send(&f.publish_with("t", 0, 0, &response(129), b""));
            pair.client.expect(b"").await;
            assert!(seen.take().is_empty());
        }
        assert_eq!(
            pair.end().await.to_client.denied,
            if version.is_v5() { 4 } else { 1 }
        );
    }
}

/// Nobody is to notice a proxy that judges nothing.
#[tokio::test(start_paused = true)]
async fn where_no_hook_looks_topics_are_as_deep_as_they_like() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new().connected(version, admit_all()).await;
        let many = vec!["f"; 17_000];
        let levels = 30_000;
        let packets = [
            f.publish(&deep(levels), 0, 0, b""),
            f.subscribe(1, &[&deep(levels)]),
            f.subscribe(2, &many),
            f.unsubscribe(3, &[&deep(levels)]),
        ];
        for packet in packets {
            pair.client.send(&packet);
            pair.broker.expect(&packet).await;
        }
        pair.broker.send(&f.publish(&deep(levels), 0, 0, b""));
        pair.client
            .expect(&f.publish(&deep(levels), 0, 0, b""))
            .await;
    }
}

/// A mebibyte has room for 260,000 filters, each of which costs a layer its time.
#[tokio::test(start_paused = true)]
async fn a_request_of_more_than_16_384_filters_closes() {
    for version in VERSIONS {
        let f = Frames(version);
        for kind in [Kind::Subscribe, Kind::Unsubscribe] {
            let request = |count: usize| match kind {
                Kind::Subscribe => f.subscribe(1, &vec!["f"; count]),
                _ => f.unsubscribe(1, &vec!["f"; count]),
            };
            let pair = judged(version, &Seen::default()).await;
            pair.client.send(&request(16_384));
            pair.broker.expect(&request(16_384)).await;
            pair.client.send(&request(16_385));
            assert_told(version, &pair.client.take().await, 0x97);
            assert_eq!(pair.broker.drain(), b"");
            pair.client.finish();
            pair.broker.finish();
            let summary = pair.summary().await;
            assert_eq!(summary.limit, Some("max_filters"));
            assert!(summary.detail.unwrap().contains("16385"));

            // few of them, and long
            let request = |count: usize| match kind {
                Kind::Subscribe => f.subscribe(1, &vec![&*deep(128); count]),
                _ => f.unsubscribe(1, &vec![&*deep(128); count]),
            };
            let pair = judged(version, &Seen::default()).await;
            pair.client.send(&request(512));
            pair.broker.expect(&request(512)).await;
            pair.client.send(&request(513));
            assert_told(version, &pair.client.take().await, 0x97);
            pair.client.finish();
            pair.broker.finish();
            assert_eq!(pair.summary().await.limit, Some("max_filters"));
        }
    }
}

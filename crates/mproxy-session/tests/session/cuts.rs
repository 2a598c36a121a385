//! A connection that ends anywhere: after every byte of a recorded session, in either direction.

use std::time::Duration;

use mproxy_codec::{Direction, Head, Kind, KindSet, PropertyId, Value, Version, View};
use mproxy_session::{Hooks, Summary, Tap};

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// In order: no more bytes in one direction.
    End,
    /// Broken, in both directions.
    Break,
}

fn start() -> Pair {
    let hook = by_topic(&Gate::new(), &Seen::default());
    Setup::new().start(admit(move |_| {
        let tap = || Tap::only(KindSet::PUBLISH, hook.clone());
        Hooks::new(tap(), tap())
    }))
}

/// CONNECT with a will, publications of every QoS and verdict, a subscription, DISCONNECT.
fn up(version: Version) -> Vec<Vec<u8>> {
    let f = Frames(version);
    let maximum = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(4))]);
    let mut packets = vec![
        f.connect_with(&ConnectParts {
            client_id: "c",
            keep_alive: 60,
            properties: &maximum,
            will: Some(("gone", b"bye")),
            ..Default::default()
        }),
        f.subscribe(1, &["a/+"]),
        f.publish("a/b", 1, 2, b"two"),
        f.publish("denied/x", 1, 3, b"three"),
        f.publish("from/x", 2, 4, b"four"),
        f.pubrel(4),
        f.pingreq(),
    ];
    if version.is_v5() {
        packets.push(f.aliased("a/b", 1, b"five"));
        packets.push(f.aliased("", 1, b"six"));
    }
    packets.push(f.disconnect());
    packets
}

fn down(version: Version) -> Vec<Vec<u8>> {
    let f = Frames(version);
    let maximum = properties(&[
        (PropertyId::MaximumPacketSize, Value::U32(1000)),
        (PropertyId::TopicAliasMaximum, Value::U16(4)),
    ]);
    vec![
        f.connack_with(0, &maximum),
        f.suback(1, &[1]),
        f.publish("a/b", 1, 7, b"seven"),
        f.publish("denied/x", 2, 8, b"eight"),
        f.puback(2),
        f.publish("from/x", 0, 0, b"nine"),
        f.pingresp(),
    ]
}

/// The number of whole packets, all of which must be whole and valid.
fn whole_packets(version: Version, direction: Direction, mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let head = Head::parse(bytes).expect("valid").expect("a whole head");
        if bytes[0] != 0x10 {
            let view = View::parse(version, direction, bytes);
            assert!(matches!(view, Ok(Some(_))), "{bytes:02x?}");
        }
        bytes = bytes.get(head.total_len()..).expect("a whole packet");
        count += 1;
    }
    count
}

/// The types of the packets in a stream of whole ones.
fn kinds(mut bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Ok(Some(head)) = Head::parse(bytes) {
        kinds.push(head.kind());
        bytes = &bytes[head.total_len()..];
    }
    kinds
}

/// The session ends by itself once a side is gone, and soon.
async fn ends(pair: Pair) -> Summary {
    let within = Duration::from_secs(5);
    tokio::time::timeout(within, pair.summary())
        .await
        .expect("no hang")
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_after_any_byte() {
    for version in VERSIONS {
        let packets = up(version);
        let stream = packets.concat();
        let connect = packets[0].len();
        for at in 0..=stream.len() {
            for cut in [Cut::End, Cut::Break] {
                let pair = start();
                pair.client.send(&stream[..at.min(connect)]);
                settle().await;
                if at >= connect {
                    pair.broker.send(&down(version)[0]);
                    settle().await;
                    pair.client.send(&stream[connect..at]);
                    settle().await;
                }
                match cut {
                    Cut::End => pair.client.finish(),
                    Cut::Break => pair.client.reset(),
                }
                let at_broker = pair.broker.take().await;
                let count = whole_packets(version, Direction::ToServer, &at_broker);
                // the will is called off by a whole DISCONNECT and by nothing else
                let said_goodbye = at_broker.ends_with(&[0xe0, 0]);
                assert_eq!(
                    said_goodbye,
                    at == stream.len(),
                    "{version}, {at} bytes, {cut:?}"
                );
                assert_eq!(pair.dials() > 0, at >= connect);
                assert_eq!(count > 0, at >= connect);
                if at >= connect {
                    assert!(pair.broker.is_ended(), "the broker is told at once");
                }
                let summary = ends(pair).await;
                assert_eq!(summary.session.is_some(), at >= connect);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_ends_after_any_byte() {
    for version in VERSIONS {
        let stream = down(version).concat();
        let requests = up(version);
        for at in 0..=stream.len() {
            for cut in [Cut::End, Cut::Break] {
                let pair = start();
                pair.client.send(&requests[0]);
                settle().await;
                pair.broker.send(&stream[..at.min(down(version)[0].len())]);
                settle().await;
                pair.client.send(&requests[1..requests.len() - 1].concat());
                settle().await;
                pair.broker
                    .send(&stream[at.min(down(version)[0].len())..at]);
                settle().await;
                match cut {
                    Cut::End => pair.broker.finish(),
                    Cut::Break => pair.broker.reset(),
                }
                let at_client = pair.client.take().await;
                let count = whole_packets(version, Direction::ToClient, &at_client);
                let connected = at >= down(version)[0].len();
                // the broker's CONNACK, or none: the client sees what it would see from the broker
                assert_eq!(count > 0, connected, "{version}, {at} bytes, {cut:?}");
                if connected {
                    assert_eq!(at_client[3], 0, "{version}, {at} bytes, {cut:?}");
                }
                // and no DISCONNECT that the broker did not send
                assert!(!kinds(&at_client).contains(&Kind::Disconnect));
                assert!(pair.client.is_ended());
                ends(pair).await;
            }
        }
    }
}

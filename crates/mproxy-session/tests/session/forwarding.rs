//! Bytes that nobody changes arrive as they were sent, whatever the reads look like.

use mproxy_codec::{Direction, KindSet, Version};
use mproxy_session::{Forward, Hooks, Tap};
use proptest::prelude::*;

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, assert_bytes, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// One of every packet that may follow CONNACK, in each direction.
fn everything(version: Version, direction: Direction) -> Vec<Vec<u8>> {
    let f = Frames(version);
    let publications = [
        f.publish("a/b", 0, 0, b"19"),
        f.publish("a/b", 0, 0, b""),
        f.publish("a/b", 1, 10, b"payload"),
        Frames::again(f.publish("a/b", 1, 10, b"payload")),
        f.publish("a/b", 2, 11, &[0; 300]),
    ];
    let acks = [f.puback(1), f.pubrec(2), f.pubrel(2), f.pubcomp(2)];
    let mut packets = Vec::new();
    match direction {
        Direction::ToServer => {
            packets.push(f.subscribe(3, &["a/+", "b/#"]));
            packets.extend(publications);
            packets.extend(acks);
            packets.push(f.unsubscribe(4, &["a/+", "b/#"]));
            packets.push(f.pingreq());
        }
        Direction::ToClient => {
            packets.push(f.suback(3, &[1, 0]));
            packets.extend(publications);
            packets.extend(acks);
            packets.push(f.unsuback(4, if version.is_v5() { &[0, 0x11] } else { &[] }));
            packets.push(f.pingresp());
        }
    }
    packets
}

#[tokio::test(start_paused = true)]
async fn every_packet_type_passes_unchanged_both_ways() {
    for version in VERSIONS {
        let pair = Setup::new().connected(version, admit_all()).await;
        for packet in everything(version, Direction::ToServer) {
            pair.client.send(&packet);
            pair.broker.expect(&packet).await;
        }
        for packet in everything(version, Direction::ToClient) {
            pair.broker.send(&packet);
            pair.client.expect(&packet).await;
        }
        assert!(pair.is_running());
    }
}

#[tokio::test(start_paused = true)]
async fn connect_and_connack_pass_unchanged() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new().start(admit_all());
        pair.client.send(&f.connect("device-1"));
        pair.broker.expect(&f.connect("device-1")).await;
        pair.broker.send(&f.connack());
        pair.client.expect(&f.connack()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_packets_in_one_read_arrive_together() {
    for version in VERSIONS {
        let pair = Setup::new().connected(version, admit_all()).await;
        let up = everything(version, Direction::ToServer).concat();
        let down = everything(version, Direction::ToClient).concat();
        pair.client.send(&up);
        pair.broker.expect(&up).await;
        pair.broker.send(&down);
        pair.client.expect(&down).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_over_many_reads_is_forwarded_when_it_is_whole() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let publish = Frames(Version::V5).publish("a/b", 1, 10, &[7; 50]);
    let (last, rest) = publish.split_last().expect("not empty");
    for byte in rest {
        pair.client.send(&[*byte]);
        pair.broker.expect(b"").await;
    }
    pair.client.send(&[*last]);
    pair.broker.expect(&publish).await;
}

#[tokio::test(start_paused = true)]
async fn tapped_and_forwarded_is_unchanged_too() {
    for version in VERSIONS {
        let pair = Setup::new()
            .connected(
                version,
                admit(|_| Hooks::new(Tap::all(Forward), Tap::all(Forward))),
            )
            .await;
        let up = everything(version, Direction::ToServer).concat();
        let down = everything(version, Direction::ToClient).concat();
        pair.client.send(&up);
        pair.broker.expect(&up).await;
        pair.broker.send(&down);
        pair.client.expect(&down).await;
    }
}

/// MQTT 3.1 has no rule about the shortest form of the remaining length, and lets DUP stand on
/// packets that are sent again: the broker gets the plain form, so that proxy and broker never
/// differ about where a packet ends.
#[tokio::test(start_paused = true)]
async fn lax_forms_of_mqtt_3_are_forwarded_in_the_strict_form() {
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    pair.client.send(b"\x30\x86\x00\x00\x03a/bx\xc0\x80\x00");
    pair.broker.expect(b"\x30\x06\x00\x03a/bx\xc0\x00").await;

    let pair = Setup::new().connected(Version::V31, admit_all()).await;
    pair.client.send(b"\x6a\x02\x00\x05\x8a\x80\x00");
    pair.broker.expect(b"\x62\x02\x00\x05").await;
}

/// A recorded session: what the client and the broker send after CONNACK, with denied, dropped,
/// rewritten and held packets among the others.
fn recorded(version: Version) -> (Vec<u8>, Vec<u8>) {
    let f = Frames(version);
    let mut up = vec![
        f.subscribe(1, &["a/+"]),
        f.publish("a/b", 0, 0, b"one"),
        f.publish("denied/x", 1, 2, b"two"),
        f.publish("from/b", 1, 3, b"three"),
        f.publish("dropped/b", 2, 4, b"four"),
        f.pubrel(4),
        f.pingreq(),
        f.publish("denied/x", 0, 0, b"five"),
        f.unsubscribe(5, &["a/+"]),
    ];
    let mut down = vec![
        f.suback(1, &[1]),
        f.publish("a/b", 1, 7, b"one"),
        f.publish("denied/x", 1, 8, b"two"),
        f.publish("denied/x", 2, 9, b"two"),
        f.pubrel(9),
        f.publish("from/b", 0, 0, b"three"),
        f.pingresp(),
        f.unsuback(5, if version.is_v5() { &[0] } else { &[] }),
    ];
    if version.is_v5() {
        up.push(f.aliased("a/b", 1, b"six"));
        up.push(f.aliased("denied/b", 1, b"seven"));
        up.push(f.aliased("", 1, b"eight"));
        up.push(f.aliased("from/b", 1, b"nine"));
        up.push(f.aliased("", 1, b"ten"));
        down.push(f.aliased("a/b", 1, b"six"));
        down.push(f.aliased("denied/b", 2, b"seven"));
        down.push(f.aliased("", 1, b"eight"));
    }
    up.push(f.disconnect());
    (up.concat(), down.concat())
}

/// Plays the recorded session and returns what arrived at the broker and at the client. The
/// broker's half is played first, up to the SUBACK's place: an answer follows its request.
async fn play(version: Version, up_chunks: Vec<usize>, down_chunks: Vec<usize>) -> [Vec<u8>; 2] {
    let hooks = |_| {
        let (gate, seen) = (Gate::new(), Seen::default());
        let kinds = KindSet::PUBLISH;
        Hooks::new(
            Tap::only(kinds, by_topic(&gate, &seen)),
            Tap::only(kinds, by_topic(&gate, &seen)),
        )
    };
    let f = Frames(version);
    let pair = Setup::new().start(admit(hooks));
    let alias = mproxy_codec::PropertyId::TopicAliasMaximum;
    let properties = crate::support::frames::properties(&[(alias, mproxy_codec::Value::U16(4))]);
    pair.open(
        &f.connect_with(&crate::support::frames::ConnectParts {
            client_id: "c",
            properties: &properties,
            ..Default::default()
        }),
        &f.connack_with(0, &properties),
    )
    .await;
    let (up, down) = recorded(version);
    pair.client.set_chunks(up_chunks, usize::MAX);
    pair.broker.set_chunks(down_chunks, usize::MAX);
    let (requests, rest) = up.split_at(up.len() - 2);
    pair.client.send(requests);
    let mut at_broker = pair.broker.take().await;
    let mut at_client = pair.client.take().await;
    pair.broker.send(&down);
    at_client.extend(pair.client.take().await);
    at_broker.extend(pair.broker.take().await);
    pair.client.send(rest);
    at_broker.extend(pair.broker.take().await);
    pair.broker.finish();
    at_client.extend(pair.client.take().await);
    let summary = pair.end().await;
    assert_eq!(summary.reason.as_str(), "disconnect", "{summary:?}");
    [at_broker, at_client]
}

#[tokio::test(start_paused = true)]
async fn every_cut_of_a_session_in_two_gives_the_same_output() {
    for version in VERSIONS {
        let whole = play(version, Vec::new(), Vec::new()).await;
        assert!(!whole[0].is_empty() && !whole[1].is_empty());
        let (up, down) = recorded(version);
        for at in 1..up.len().max(down.len()) {
            let cut = play(version, vec![at, usize::MAX], vec![at, usize::MAX]).await;
            assert_bytes(
                &cut[0],
                &whole[0],
                &format!("{version}: broker, cut at {at}"),
            );
            assert_bytes(
                &cut[1],
                &whole[1],
                &format!("{version}: client, cut at {at}"),
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn byte_by_byte_gives_the_same_output() {
    for version in VERSIONS {
        let whole = play(version, Vec::new(), Vec::new()).await;
        let bytes = play(version, vec![1; 4000], vec![1; 4000]).await;
        assert_bytes(&bytes[0], &whole[0], "broker");
        assert_bytes(&bytes[1], &whole[1], "client");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_cut_of_a_session_gives_the_same_output(
        up in prop::collection::vec(1_usize..40, 0..60),
        down in prop::collection::vec(1_usize..40, 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let whole = play(Version::V5, Vec::new(), Vec::new()).await;
            let cut = play(Version::V5, up, down).await;
            assert_bytes(&cut[0], &whole[0], "broker");
            assert_bytes(&cut[1], &whole[1], "client");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_a_scratch_buffer_in_flight_keeps_its_order() {
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    let f = Frames(Version::V311);
    let stream: Vec<u8> = (0..20_000_u32)
        .flat_map(|number| f.publish("a/b", 0, 0, &number.to_be_bytes()))
        .collect();
    pair.client.send(&stream);
    pair.broker.send(&stream);
    assert_bytes(&pair.broker.take().await, &stream, "broker");
    assert_bytes(&pair.client.take().await, &stream, "client");
    settle().await;
    let Pair { running, .. } = pair;
    assert!(!running.is_finished());
}

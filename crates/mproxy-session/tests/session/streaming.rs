//! PUBLISH packets larger than the scratch buffer: they pass without being held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mproxy_codec::{KindSet, Version};
use mproxy_session::{
    BoxError, BoxPacketService, CloseReason, FilterLayer, Forward, Hooks, Packet, RefusedPublish,
    RewriteLayer, Tap, Verdict,
};
use tower::{Layer, service_fn};

use crate::support::hooks::{Gate, Seen, by_topic, heads_by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, assert_bytes, hex, settle};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];
const LARGE: usize = 300_000;
const SCRATCH: usize = 64 * 1024;

fn payload(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).expect("below 251"))
        .collect()
}

/// Feeds a large packet piece by piece and notes how much of it is held back at most.
async fn feed(pair: &Pair, up: bool, packet: &[u8]) -> (Vec<u8>, usize) {
    let (from, to) = if up {
        (&pair.client, &pair.broker)
    } else {
        (&pair.broker, &pair.client)
    };
    let (mut received, mut sent, mut held) = (Vec::new(), 0, 0);
    for piece in packet.chunks(10_000) {
        from.send(piece);
        sent += piece.len();
        received.extend(to.take().await);
        held = held.max(sent.saturating_sub(received.len()));
    }
    (received, held)
}

/// A look at an unfinished PUBLISH goes through all of its properties, and a read that is not for its
/// end copies it. Whoever sends byte by byte would otherwise buy as many looks, and copies.
#[tokio::test(start_paused = true)]
async fn a_publish_that_comes_in_bytes_is_gathered() {
    let taps: [fn() -> Tap<BoxPacketService>; 3] = [
        || Tap::none().convert(BoxPacketService::new),
        || Tap::all(Forward).convert(BoxPacketService::new),
        || Tap::all(Forward).head_only().convert(BoxPacketService::new),
    ];
    for (properties, tap) in [40, 2_000, 20_000].into_iter().zip(taps) {
        let hooks = admit(move |_| Hooks::new(tap(), Tap::none()));
        let pair = Setup::new().connected(Version::V5, hooks).await;
        let block = [0x26, 0, 1, b'k', 0, 1, b'v'].repeat(properties / 7);
        let f = Frames(Version::V5);
        let publish = f.publish_with("a/b", 0, 0, &block, &payload(500));
        // the largest lacks some of its properties, too
        let lacking = if properties > 4_096 { 700 } else { 500 };
        let (begun, rest) = publish.split_at(publish.len() - lacking);
        pair.client.send(begun);
        settle().await;
        for (at, byte) in rest.iter().enumerate() {
            pair.client.send(&[*byte]);
            settle().await;
            let missing = rest.len() - at - 1;
            if missing > 0 {
                assert_eq!(pair.client.room(), missing, "the packet is gathered");
            }
        }
        assert_bytes(&pair.broker.take().await, &publish, "received");
        pair.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_untapped_publish_streams_through() {
    for version in VERSIONS {
        for up in [true, false] {
            let pair = Setup::new().connected(version, admit_all()).await;
            let publish = Frames(version).publish("a/b", 1, 5, &payload(LARGE));
            let (received, held) = feed(&pair, up, &publish).await;
            assert_bytes(&received, &publish, "received");
            assert!(held <= SCRATCH, "{held} bytes were held");
            let summary = pair.end().await;
            let traffic = if up {
                summary.to_server
            } else {
                summary.to_client
            };
            assert_eq!(traffic.publishes, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_only_tap_is_offered_the_head_and_the_payload_streams() {
    for version in VERSIONS {
        for up in [true, false] {
            let seen = Arc::new(AtomicUsize::new(0));
            let note = Arc::clone(&seen);
            let look = FilterLayer::heads(move |packet| {
                let publish = packet.publish().expect("a PUBLISH");
                assert_eq!(
                    (publish.topic().as_str(), publish.payload_len()),
                    ("a/b", LARGE)
                );
                note.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            let pair = Setup::new()
                .connected(
                    version,
                    admit(move |_| {
                        let tap =
                            || Tap::only(KindSet::PUBLISH, look.clone().layer(Forward)).head_only();
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let publish = Frames(version).publish("a/b", 1, 5, &payload(LARGE));
            let (received, held) = feed(&pair, up, &publish).await;
            assert_bytes(&received, &publish, "received");
            assert!(held <= SCRATCH, "{held} bytes were held");
            assert_eq!(seen.load(Ordering::Relaxed), 1, "offered once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_topic_of_a_streaming_publish_can_be_rewritten() {
    for version in VERSIONS {
        for up in [true, false] {
            let rename = RewriteLayer::heads(|packet| packet.set_topic("prefix/a/b"));
            let pair = Setup::new()
                .connected(
                    version,
                    admit(move |_| {
                        let tap = || Tap::only(KindSet::PUBLISH, rename.layer(Forward)).head_only();
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let publish = Frames(version).publish("a/b", 1, 5, &payload(LARGE));
            let (received, held) = feed(&pair, up, &publish).await;
            let wanted = Frames(version).publish("prefix/a/b", 1, 5, &payload(LARGE));
            assert_bytes(&received, &wanted, "received");
            assert!(held <= SCRATCH, "{held} bytes were held");
        }
    }
}

async fn judged(version: Version, setup: Setup) -> Pair {
    let hook = heads_by_topic(&Gate::new(), &Seen::default());
    setup
        .connected(
            version,
            admit(move |_| {
                let tap = || Tap::only(KindSet::PUBLISH, hook.clone()).head_only();
                Hooks::new(tap(), tap())
            }),
        )
        .await
}

/// The payload of a refused PUBLISH is thrown away as it comes; the answer comes when it has, for
/// a client does not expect an answer to what it has not finished saying.
#[tokio::test(start_paused = true)]
async fn a_refused_payload_is_thrown_away_as_it_arrives() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = judged(version, Setup::new()).await;
        let publish = f.publish("denied/t", 1, 5, &payload(LARGE));
        let (most, last) = publish.split_at(publish.len() - 1);
        let (received, _) = feed(&pair, true, most).await;
        assert_bytes(&received, b"", "the broker");
        assert_eq!(pair.client.unread(), 0, "read and thrown away");
        pair.client.expect(b"").await;
        pair.client.send(last);
        let answer = if version.is_v5() {
            hex("40 03 0005 87")
        } else {
            f.puback(5)
        };
        pair.client.expect(&answer).await;
        // and the next packet is found where it begins
        pair.client.send(&f.pingreq());
        pair.broker.expect(&f.pingreq()).await;

        // a delivery
        let (received, _) = feed(&pair, false, &f.publish("denied/t", 2, 6, &payload(LARGE))).await;
        assert_bytes(&received, b"", "the client");
        pair.broker.expect(&f.pubrec(6)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_publish_can_be_refused_by_closing() {
    let f = Frames(Version::V311);
    let setup = Setup::new().limits(|l| l.refused_publish = RefusedPublish::Disconnect);
    let pair = judged(Version::V311, setup).await;
    pair.client
        .send(&f.publish("denied/t", 1, 5, &payload(LARGE))[..100_000]);
    pair.broker.expect(b"").await;
    assert!(pair.client.is_ended());
    assert_eq!(pair.end().await.reason, CloseReason::AclDenied);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_waits_on_a_head_lets_the_payload_wait() {
    let f = Frames(Version::V5);
    let gate = Gate::new();
    let hook = heads_by_topic(&gate, &Seen::default());
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| {
                Hooks::new(
                    Tap::only(KindSet::PUBLISH, hook.clone()).head_only(),
                    Tap::none(),
                )
            }),
        )
        .await;
    let publish = f.publish("held/t", 1, 5, &payload(LARGE));
    pair.client.send(&publish);
    pair.broker.expect(b"").await;
    assert!(
        pair.client.unread() >= LARGE - SCRATCH,
        "the rest is not read"
    );
    gate.open(1);
    assert_bytes(&pair.broker.take().await, &publish, "the broker");
    pair.client
        .send(&f.publish("held-denied/t", 1, 6, &payload(LARGE)));
    settle().await;
    gate.open(1);
    pair.broker.expect(b"").await;
    pair.client.expect(&hex("40 03 0006 87")).await;
}

#[tokio::test(start_paused = true)]
async fn a_tap_that_wants_payloads_gets_whole_packets() {
    for version in VERSIONS {
        for up in [true, false] {
            let hook = service_fn(|packet: Packet| async move {
                let publish = packet.publish().expect("a PUBLISH");
                assert_eq!(publish.payload(), &payload(LARGE)[..]);
                Ok::<_, BoxError>(Verdict::Forward(packet))
            });
            let pair = Setup::new()
                .connected(
                    version,
                    admit(move |_| {
                        let tap = || Tap::only(KindSet::PUBLISH, hook);
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let publish = Frames(version).publish("a/b", 1, 5, &payload(LARGE));
            let (received, _) = feed(&pair, up, &publish).await;
            assert_bytes(&received, &publish, "received");
        }
    }
}

/// What a hook that wants payloads cannot be shown must not pass it unseen.
#[tokio::test(start_paused = true)]
async fn a_delivery_too_large_to_gather_is_acknowledged_instead() {
    for version in VERSIONS {
        let f = Frames(version);
        let seen = Seen::default();
        let hook = by_topic(&Gate::new(), &seen);
        let pair = Setup::new()
            .limits(|limits| limits.max_held_packet = 100_000)
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::none(), Tap::only(KindSet::PUBLISH, hook.clone()))),
            )
            .await;
        let (received, _) = feed(&pair, false, &f.publish("a", 1, 6, &payload(LARGE))).await;
        assert_bytes(&received, b"", "the client");
        pair.broker.expect(&f.puback(6)).await;
        assert_eq!(seen.take(), [""; 0]);
        let small = f.publish("a", 1, 7, b"x");
        pair.broker.send(&small);
        pair.client.expect(&small).await;
    }
}

/// The proxy's own packets stand between packets, never inside one.
#[tokio::test(start_paused = true)]
async fn own_packets_wait_for_the_border_of_a_packet_that_streams() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = judged(version, Setup::new()).await;
        let delivery = f.publish("a/b", 0, 0, &payload(LARGE));
        let (head, rest) = delivery.split_at(100_000);
        pair.broker.send(head);
        assert_bytes(&pair.client.take().await, head, "the first part");
        // refused meanwhile: the answer has to wait
        pair.client.send(&f.publish("denied/t", 1, 5, b"x"));
        pair.client.send(&f.publish("denied/t", 1, 6, b"x"));
        pair.client.expect(b"").await;
        pair.broker.send(&[rest, &f.pingresp()].concat());
        let answers = if version.is_v5() {
            hex("40 03 0005 87 40 03 0006 87")
        } else {
            [f.puback(5), f.puback(6)].concat()
        };
        let wanted = [rest, &answers, &f.pingresp()].concat();
        assert_bytes(&pair.client.take().await, &wanted, "the rest");

        // the same towards the broker
        let publish = f.publish("a/b", 0, 0, &payload(LARGE));
        let (head, rest) = publish.split_at(100_000);
        pair.client.send(head);
        assert_bytes(&pair.broker.take().await, head, "the first part");
        pair.broker.send(&f.publish("denied/t", 1, 7, b"x"));
        pair.broker.expect(b"").await;
        pair.client.send(rest);
        assert_bytes(
            &pair.broker.take().await,
            &[rest, &f.puback(7)].concat(),
            "the rest",
        );
    }
}

/// A packet that fits the scratch buffer is forwarded whole or not at all; of a larger one the
/// broker sees the beginning and then the end of the stream, which is how it learns that the client
/// has died: no DISCONNECT hides that.
#[tokio::test(start_paused = true)]
async fn a_client_that_dies_within_a_packet_leaves_no_small_partial_packet() {
    for version in VERSIONS {
        let f = Frames(version);
        for broken in [true, false] {
            let pair = Setup::new().connected(version, admit_all()).await;
            let publish = f.publish("a", 0, 0, &payload(SCRATCH - 100));
            pair.client.send(&publish[..publish.len() - 1]);
            settle().await;
            if broken {
                pair.client.reset()
            } else {
                pair.client.finish()
            }
            pair.broker.expect(b"").await;
            assert!(pair.broker.is_ended());
            pair.end().await;

            let pair = Setup::new().connected(version, admit_all()).await;
            let publish = f.publish("a", 0, 0, &payload(LARGE));
            pair.client.send(&publish[..LARGE / 2]);
            settle().await;
            if broken {
                pair.client.reset()
            } else {
                pair.client.finish()
            }
            assert_bytes(
                &pair.broker.take().await,
                &publish[..LARGE / 2],
                "the beginning",
            );
            assert!(pair.broker.is_ended());
            pair.end().await;
        }
    }
}

/// A farewell inside a packet would be read as payload.
#[tokio::test(start_paused = true)]
async fn a_broker_that_dies_within_a_large_packet_costs_the_farewell() {
    let f = Frames(Version::V5);
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let delivery = f.publish("a", 0, 0, &payload(LARGE));
    pair.broker.send(&delivery[..LARGE / 2]);
    pair.broker.finish();
    assert_bytes(
        &pair.client.take().await,
        &delivery[..LARGE / 2],
        "the beginning",
    );
    assert!(pair.client.is_ended());
    assert_eq!(pair.end().await.reason, CloseReason::UpstreamEof);
}

#[tokio::test(start_paused = true)]
async fn large_and_small_packets_in_any_cut_arrive_as_sent() {
    let f = Frames(Version::V5);
    let stream = [
        f.publish("a", 0, 0, b"small"),
        f.publish("a", 0, 0, &payload(SCRATCH - 20)),
        f.publish("a", 1, 1, &payload(SCRATCH)),
        f.pingreq(),
        f.publish("a", 2, 2, &payload(LARGE)),
        f.publish("a", 0, 0, b""),
        f.publish("a", 0, 0, &payload(SCRATCH + 1)),
        f.pingreq(),
    ]
    .concat();
    for size in [1_000, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 200_000] {
        for tapped in [false, true] {
            let pair = if tapped {
                judged(Version::V5, Setup::new()).await
            } else {
                Setup::new().connected(Version::V5, admit_all()).await
            };
            pair.client
                .set_chunks(vec![size; stream.len() / size + 1], usize::MAX);
            pair.client.send(&stream);
            assert_bytes(
                &pair.broker.take().await,
                &stream,
                &format!("reads of {size}"),
            );
        }
    }
}

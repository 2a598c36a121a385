//! What a hook forwards must be what it was offered, changed or not.

use std::sync::{Arc, Mutex};

use mproxy_codec::{ConnectPacket, Direction, Head, KindSet, Version};
use mproxy_session::{
    BoxError, CloseReason, HeadOnly, Hooks, Packet, PacketHead, PacketService, Side, Summary, Tap,
    Verdict,
};
use tower::service_fn;

use crate::support::frames::ConnectParts;
use crate::support::{Frames, Pair, Setup, admit, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Forwards another packet than the one that it was offered.
fn instead(
    version: Version,
    direction: Direction,
    frame: Vec<u8>,
    waits: bool,
) -> impl PacketService + Clone {
    service_fn(move |_: Packet| {
        let packet = Packet::parse(version, direction, frame.clone().into()).expect("valid");
        async move {
            if waits {
                tokio::task::yield_now().await;
            }
            Ok::<_, BoxError>(Verdict::Forward(packet))
        }
    })
}

/// Sends a packet in whose place a hook forwards another; returns how the session ended.
async fn replaced(
    version: Version,
    direction: Direction,
    sent: &[u8],
    other: (Version, Direction, Vec<u8>),
    waits: bool,
) -> Summary {
    let (other_version, other_direction, frame) = other;
    let kind = Head::parse(sent).expect("valid").expect("whole").kind();
    let hook = instead(other_version, other_direction, frame, waits);
    let hooks = admit(move |_| {
        let tap = |side| {
            let kinds = if side == direction {
                KindSet::of(kind)
            } else {
                KindSet::NONE
            };
            Tap::only(kinds, hook.clone())
        };
        Hooks::new(tap(Direction::ToServer), tap(Direction::ToClient))
    });
    let pair = Setup::new().connected(version, hooks).await;
    let (from, to) = match direction {
        Direction::ToServer => (&pair.client, &pair.broker),
        Direction::ToClient => (&pair.broker, &pair.client),
    };
    from.send(sent);
    let told = Frames(version).farewell(0x83);
    if direction == Direction::ToServer {
        to.expect(b"").await;
    }
    pair.client.expect_plain(&told).await;
    pair.broker.expect(b"").await;
    assert!(pair.client.is_ended() && pair.broker.is_ended());
    pair.end().await
}

/// A hook forwarded PINGREQ in place of a PUBLISH. The broker answered the PINGREQ, and the client waited
/// for its PUBACK for ever: the session must end, and say which packet it was.
#[tokio::test(start_paused = true)]
async fn another_packet_ends_the_session_and_both_are_named() {
    for version in VERSIONS {
        let f = Frames(version);
        let up = [
            (
                f.publish("a", 1, 7, b"x"),
                f.pingreq(),
                "PUBLISH 7",
                "PINGREQ",
            ),
            (
                f.publish("a", 1, 7, b"x"),
                f.publish("a", 1, 8, b"x"),
                "PUBLISH 7",
                "PUBLISH 8",
            ),
            (
                f.publish("a", 1, 7, b"x"),
                f.puback(7),
                "PUBLISH 7",
                "PUBACK 7",
            ),
            (
                f.publish("a", 0, 0, b"x"),
                f.publish("a", 1, 7, b"x"),
                "PUBLISH",
                "PUBLISH 7",
            ),
            (
                f.publish("a", 2, 7, b"x"),
                f.publish("a", 2, 9, b"x"),
                "PUBLISH 7",
                "PUBLISH 9",
            ),
            (
                f.subscribe(7, &["a"]),
                f.subscribe(8, &["a"]),
                "SUBSCRIBE 7",
                "SUBSCRIBE 8",
            ),
            (
                f.subscribe(7, &["a"]),
                f.unsubscribe(7, &["a"]),
                "SUBSCRIBE 7",
                "UNSUBSCRIBE 7",
            ),
            (
                f.unsubscribe(7, &["a"]),
                f.unsubscribe(9, &["a"]),
                "UNSUBSCRIBE 7",
                "UNSUBSCRIBE 9",
            ),
            (f.puback(7), f.puback(8), "PUBACK 7", "PUBACK 8"),
            (f.pubrel(7), f.pubcomp(7), "PUBREL 7", "PUBCOMP 7"),
            (f.disconnect(), f.pingreq(), "DISCONNECT", "PINGREQ"),
            (
                f.pingreq(),
                f.publish("a", 0, 0, b"x"),
                "PINGREQ",
                "PUBLISH",
            ),
        ];
        let down = [
            (
                f.publish("a", 1, 7, b"x"),
                f.pingresp(),
                "PUBLISH 7",
                "PINGRESP",
            ),
            (
                f.publish("a", 1, 7, b"x"),
                f.publish("a", 1, 8, b"x"),
                "PUBLISH 7",
                "PUBLISH 8",
            ),
            (
                f.publish("a", 0, 0, b"x"),
                f.publish("a", 2, 8, b"x"),
                "PUBLISH",
                "PUBLISH 8",
            ),
            (f.puback(7), f.pubrec(7), "PUBACK 7", "PUBREC 7"),
            (f.pingresp(), f.puback(1), "PINGRESP", "PUBACK 1"),
        ];
        let up = up.into_iter().map(|it| (Direction::ToServer, it));
        let down = down.into_iter().map(|it| (Direction::ToClient, it));
        for (direction, (sent, other, offered, forwarded)) in up.chain(down) {
            for waits in [false, true] {
                let other = (version, direction, other.clone());
                let summary = replaced(version, direction, &sent, other, waits).await;
                let side = match direction {
                    Direction::ToServer => "client",
                    Direction::ToClient => "broker",
                };
                let wanted =
                    format!("a hook forwarded {forwarded} in place of {offered} of the {side}");
                assert_eq!(summary.detail, Some(wanted));
                assert_eq!(
                    (summary.side, summary.reason),
                    (Side::Proxy, CloseReason::HookFailed)
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_of_the_other_direction_ends_the_session() {
    for version in VERSIONS {
        let publish = Frames(version).publish("a", 1, 7, b"x");
        for (direction, turned) in [
            (Direction::ToServer, Direction::ToClient),
            (Direction::ToClient, Direction::ToServer),
        ] {
            let other = (version, turned, publish.clone());
            let detail = replaced(version, direction, &publish, other, false)
                .await
                .detail;
            let detail = detail.expect("it says why");
            assert!(detail.contains("PUBLISH 7 of the client"), "{detail}");
            assert!(detail.contains("PUBLISH 7 of the broker"), "{detail}");
        }
    }
}

/// The bytes of MQTT 5.0 mean something else to a broker that speaks MQTT 3.1.1: the version used not to be
/// compared, and the property length became part of the payload.
#[tokio::test(start_paused = true)]
async fn a_packet_of_another_version_ends_the_session() {
    for (version, other) in [
        (Version::V311, Version::V5),
        (Version::V5, Version::V311),
        (Version::V31, Version::V311),
    ] {
        let publish = |version| Frames(version).publish("a", 1, 7, b"\0x");
        for direction in [Direction::ToServer, Direction::ToClient] {
            for waits in [false, true] {
                let instead = (other, direction, publish(other));
                let summary = replaced(version, direction, &publish(version), instead, waits).await;
                let detail = summary.detail.expect("it says why");
                assert!(
                    detail.contains(&format!("PUBLISH 7 of MQTT {other}")),
                    "{detail}"
                );
            }
        }
    }
}

/// The same bytes read as another version are not the packet that was offered, either.
#[tokio::test(start_paused = true)]
async fn the_same_bytes_in_another_version_end_the_session() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let hook = service_fn(|packet: Packet| async move {
                    let bytes = packet.as_bytes().clone();
                    let packet = Packet::parse(Version::V311, packet.direction(), bytes)?;
                    Ok::<_, BoxError>(Verdict::Forward(packet))
                });
                Hooks::new(Tap::all(hook), Tap::none())
            }),
        )
        .await;
    pair.client.send(&Frames(Version::V5).subscribe(7, &["a"]));
    pair.broker.expect(b"").await;
    assert_eq!(pair.end().await.reason, CloseReason::HookFailed);
}

/// The client waits for the answer to what it sent: PUBACK to QoS 1, a code for each filter.
#[tokio::test(start_paused = true)]
async fn another_qos_or_number_of_filters_ends_the_session() {
    for version in VERSIONS {
        let f = Frames(version);
        for (sent, other, what) in [
            (
                f.publish("a", 1, 7, b"x"),
                f.publish("a", 2, 7, b"x"),
                "PUBLISH 7 with another QoS in place of PUBLISH 7",
            ),
            (
                f.publish("a", 2, 7, b"x"),
                f.publish("a", 1, 7, b"x"),
                "PUBLISH 7 with another QoS in place of PUBLISH 7",
            ),
            (
                f.subscribe(7, &["a", "b"]),
                f.subscribe(7, &["a"]),
                "SUBSCRIBE 7 with another number of filters in place of SUBSCRIBE 7",
            ),
            (
                f.unsubscribe(7, &["a"]),
                f.unsubscribe(7, &["a", "b"]),
                "UNSUBSCRIBE 7 with another number of filters in place of UNSUBSCRIBE 7",
            ),
        ] {
            let direction = Direction::ToServer;
            let other = (version, direction, other);
            let summary = replaced(version, direction, &sent, other, false).await;
            let wanted = format!("a hook forwarded {what} of the client");
            assert_eq!(summary.detail, Some(wanted));
        }
    }
}

fn large(len: usize) -> Vec<u8> {
    vec![b'x'; len]
}

/// The payload that streams past belongs to the head that was offered, not to another.
#[tokio::test(start_paused = true)]
async fn a_head_for_another_payload_ends_the_session() {
    let f = Frames(Version::V5);
    let lengths = [10, 299_999, 300_001];
    for up in [true, false] {
        for len in lengths {
            let other = f.publish("a", 1, 7, &large(len));
            let pair = swapped(up, move |packet| {
                Packet::parse(packet.version(), packet.direction(), other.clone().into())
                    .expect("valid")
                    .into_head()
            })
            .await;
            let side = if up { &pair.client } else { &pair.broker };
            side.send(&f.publish("a", 1, 7, &large(300_000)));
            settle().await;
            if up {
                pair.broker.expect(b"").await;
            }
            pair.client.expect_plain(&f.farewell(0x83)).await;
            let detail = pair.end().await.detail;
            let side = if up { "client" } else { "broker" };
            let wanted = format!(
                "a hook forwarded PUBLISH 7 with another payload in place of PUBLISH 7 of the {side}"
            );
            assert_eq!(detail, Some(wanted));
        }
    }
}

/// A hook that keeps the head of a large PUBLISH cannot put it in front of nothing.
#[tokio::test(start_paused = true)]
async fn a_head_without_its_payload_ends_the_session() {
    let f = Frames(Version::V5);
    let kept = Arc::new(Mutex::new(None));
    let hook = service_fn(move |packet: PacketHead| {
        let mut kept = kept.lock().expect("nobody panics");
        let verdict = match kept.take() {
            Some(head) => Verdict::Forward(head),
            None => {
                *kept = Some(packet);
                Verdict::Discard
            }
        };
        std::future::ready(Ok::<Verdict<HeadOnly>, BoxError>(verdict))
    });
    let hooks = admit(move |_| {
        Hooks::new(
            Tap::only(KindSet::PUBLISH, hook.clone()).head_only(),
            Tap::none(),
        )
    });
    let pair = Setup::new().connected(Version::V5, hooks).await;
    pair.client.send(&f.publish("a", 1, 7, &large(300_000)));
    pair.broker.expect(b"").await;
    pair.client.expect(&f.puback(7)).await;
    pair.client.send(&f.publish("a", 1, 7, b"x"));
    pair.broker.expect(b"").await;
    assert_eq!(pair.end().await.reason, CloseReason::HookFailed);
}

/// A PUBLISH larger than the read buffer whose head `swap` replaces.
async fn swapped(
    up: bool,
    swap: impl Fn(PacketHead) -> PacketHead + Clone + Send + 'static,
) -> Pair {
    let hook = service_fn(move |packet: PacketHead| {
        let verdict = Verdict::Forward(swap(packet));
        std::future::ready(Ok::<Verdict<HeadOnly>, BoxError>(verdict))
    });
    let (to_server, to_client) = if up {
        (KindSet::PUBLISH, KindSet::NONE)
    } else {
        (KindSet::NONE, KindSet::PUBLISH)
    };
    let hooks = admit(move |_| {
        Hooks::new(
            Tap::only(to_server, hook.clone()).head_only(),
            Tap::only(to_client, hook.clone()).head_only(),
        )
    });
    Setup::new().connected(Version::V5, hooks).await
}

/// A hook that keeps a will, or makes one, cannot publish it later.
#[tokio::test(start_paused = true)]
async fn a_will_in_place_of_a_publish_ends_the_session() {
    let f = Frames(Version::V5);
    let connect = f.connect_with(&ConnectParts {
        client_id: "other",
        will: Some(("a", b"x")),
        ..Default::default()
    });
    let will = ConnectPacket::parse(connect.into()).expect("valid");
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| {
                let will = will.clone();
                let hook = service_fn(move |_: Packet| {
                    let will = Packet::of_will(&will).expect("short").expect("a will");
                    std::future::ready(Ok::<_, BoxError>(Verdict::Forward(will)))
                });
                Hooks::new(Tap::all(hook), Tap::none())
            }),
        )
        .await;
    pair.client.send(&f.publish("a", 0, 0, b"x"));
    pair.broker.expect(b"").await;
    let detail = pair.end().await.detail.expect("it says why");
    assert!(
        detail.contains("a hook forwarded PUBLISH, a will, in place of PUBLISH"),
        "{detail}"
    );
}

/// What may be changed: topic, payload, properties, and QoS to 0. The packet is still the one that was
/// offered.
#[tokio::test(start_paused = true)]
async fn a_changed_packet_is_the_packet_that_was_offered() {
    for version in VERSIONS {
        let f = Frames(version);
        let other = (
            version,
            Direction::ToServer,
            f.publish("b", 1, 7, b"longer"),
        );
        let hook = instead(other.0, other.1, other.2.clone(), true);
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::all(hook.clone()), Tap::none())),
            )
            .await;
        pair.client.send(&f.publish("a", 1, 7, b"x"));
        pair.broker.expect(&other.2).await;
        pair.broker.send(&f.puback(7));
        pair.client.expect(&f.puback(7)).await;
    }
}

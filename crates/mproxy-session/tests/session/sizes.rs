//! Large packets: what passes, what is held, and which limit is named when one ends a session.

use mproxy_codec::{KindSet, PropertyId, Value, Version};
use mproxy_session::{BoxPacketService, CloseReason, Conformance, Forward, Hooks, Tap};

use crate::support::frames::{ConnectParts, packet, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{CONFORMANCES, Frames, Pair, Setup, admit, admit_all, assert_bytes, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const MIB: usize = 1024 * 1024;

/// C17: tokens of 60,000 bytes each as user name and password. The CONNECT was refused, and the log
/// said to raise `max_packet_size`, which was at 16 MiB. Its limit has a key of its own, and the
/// summary names it.
#[tokio::test(start_paused = true)]
async fn a_large_connect_has_a_limit_of_its_own_that_is_named() {
    let token = "t".repeat(60_000);
    for version in VERSIONS {
        let f = Frames(version);
        let connect = f.connect_with(&ConnectParts {
            client_id: "c",
            user_name: Some(&token),
            password: Some(token.as_bytes()),
            ..Default::default()
        });
        let size = connect.len();
        let pair = Setup::new().start(admit_all());
        pair.client.send(&connect);
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.dials(), 0);
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::PacketTooLarge);
        assert_eq!(summary.limit, Some("max_connect_size"));
        let wanted =
            format!("connect of {size} bytes is larger than max_connect_size allows: 65536 bytes");
        assert_eq!(summary.detail.map(|it| it.to_lowercase()), Some(wanted));
        let glimpse = summary.glimpse.expect("a glimpse of it");
        assert_eq!(glimpse.level, Some(version.level()));
        assert_eq!(glimpse.client_id.as_deref(), Some("c"));

        // as large as may be
        for limit in [size - 1, size] {
            let pair = Setup::new()
                .limits(|limits| limits.max_connect_size = limit)
                .start(admit_all());
            pair.client.send(&connect);
            if limit < size {
                pair.client.expect(b"").await;
                assert_eq!(pair.end().await.limit, Some("max_connect_size"));
                continue;
            }
            let got = pair.broker.take().await;
            assert_bytes(&got, &connect, "the broker");
        }

        // the limit of all packets is one of CONNECT, too, and is named where it is the lower one
        let pair = Setup::new()
            .limits(|limits| limits.max_packet_size = 1000)
            .start(admit_all());
        pair.client.send(&connect);
        pair.client.expect(b"").await;
        assert_eq!(pair.end().await.limit, Some("max_packet_size"));
    }
}

/// C18: a PUBLISH of 1,100,000 bytes ended the session because 1 MiB was the limit. It streams
/// through, and costs no memory; a hook that is content with the head does not change that.
#[tokio::test(start_paused = true)]
async fn a_publish_of_any_size_streams_through() {
    for version in VERSIONS {
        let f = Frames(version);
        let taps: [fn() -> Tap<BoxPacketService>; 3] = [
            || Tap::none().convert(BoxPacketService::new),
            || Tap::all(Forward).head_only().convert(BoxPacketService::new),
            || Tap::only(KindSet::SUBSCRIBE, Forward).convert(BoxPacketService::new),
        ];
        for tap in taps {
            let pair = Setup::new()
                .connected(version, admit(move |_| Hooks::new(tap(), tap())))
                .await;
            let publish = f.publish("a/b", 1, 7, &vec![7; 1_100_000]);
            pair.client.send(&publish);
            assert_bytes(&pair.broker.take().await, &publish, "the broker");
            pair.broker.send(&f.puback(7));
            pair.client.expect(&f.puback(7)).await;
            pair.broker.send(&publish);
            assert_bytes(&pair.client.take().await, &publish, "the client");
            pair.client.send(&f.puback(7));
            pair.broker.expect(&f.puback(7)).await;
        }
    }
}

/// A hook that wants the payload has it in memory, which has a limit: above it the PUBLISH is refused,
/// and the session goes on.
#[tokio::test(start_paused = true)]
async fn a_payload_that_a_hook_wants_has_a_limit() {
    for version in VERSIONS {
        let f = Frames(version);
        for held in [MIB, 2 * MIB] {
            let seen = Seen::default();
            let hook = by_topic(&Gate::new(), &seen);
            let pair = Setup::new()
                .limits(|limits| limits.max_held_packet = held)
                .connected(
                    version,
                    admit(move |_| {
                        let tap = Tap::only(KindSet::PUBLISH, hook.clone());
                        Hooks::new(tap, Tap::none())
                    }),
                )
                .await;
            let publish = f.publish("a/b", 1, 7, &vec![7; 1_100_000]);
            pair.client.send(&publish);
            if held > publish.len() {
                assert_bytes(&pair.broker.take().await, &publish, "the broker");
                assert_eq!(seen.take(), ["a/b"]);
                continue;
            }
            pair.broker.expect(b"").await;
            let answer = match version {
                Version::V5 => vec![0x40, 3, 0, 7, 0x97],
                _ => f.puback(7),
            };
            pair.client.expect_plain(&answer).await;
            assert_eq!(seen.take(), [""; 0]);
            pair.client.send(&f.pingreq());
            pair.broker.expect(&f.pingreq()).await;
        }
    }
}

/// What must be in memory whole: the summary names the limit, and the client of MQTT 5.0 is told.
#[tokio::test(start_paused = true)]
async fn a_packet_that_is_too_large_to_be_held_names_the_limit() {
    for version in VERSIONS {
        let f = Frames(version);
        for first in [0x82, 0xa2] {
            let pair = Setup::new().connected(version, admit_all()).await;
            // 3 MiB, of which the length is there
            let large = packet(first, &vec![0; 3 * MIB]);
            pair.client.send(&large[..5]);
            pair.client.expect_plain(&f.farewell(0x95)).await;
            pair.broker.expect(b"").await;
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::PacketTooLarge);
            assert_eq!(summary.limit, Some("max_held_packet"));
            let detail = summary.detail.expect("a detail");
            let sizes = format!(
                "of {} bytes is larger than max_held_packet allows: 1048576 bytes",
                large.len()
            );
            assert!(detail.ends_with(&sizes), "{detail}");
        }
    }
}

/// A client that takes packets of up to 100 bytes, in a session without hooks or with hooks that look
/// at everything.
async fn small_client(tapped: bool, conformance: Conformance) -> Pair {
    let f = Frames(Version::V5);
    let hook = by_topic(&Gate::new(), &Seen::default());
    let pair = Setup::new().conformance(conformance).start(admit(move |_| {
        let kinds = if tapped { KindSet::ALL } else { KindSet::NONE };
        Hooks::new(Tap::none(), Tap::only(kinds, hook.clone()))
    }));
    let maximum = properties(&[(PropertyId::MaximumPacketSize, Value::U32(100))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &maximum,
        ..Default::default()
    });
    pair.open(&connect, &f.connack_with(0, &[])).await;
    pair
}

/// The broker knows what its client takes. A delivery that is larger was acknowledged by the proxy
/// and thrown away, for clients that announce less than they take: without a proxy they had it. What
/// hooks change is for the proxy to judge, and to the letter all of it is.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_larger_than_the_client_said_passes_untouched() {
    let f = Frames(Version::V5);
    for (tapped, conformance) in [false, true]
        .map(|tapped| CONFORMANCES.map(|it| (tapped, it)))
        .concat()
    {
        // just above, in the middle of a read, larger than what is read at once
        for payload in [100, 5_000, 200_000] {
            let pair = small_client(tapped, conformance).await;
            let small = f.publish("a", 0, 0, b"x");
            let large = f.publish("a/b", 1, 7, &vec![7; payload]);
            pair.broker.send(&[&small[..], &large, &small].concat());
            if conformance == Conformance::Tolerant {
                let wanted = [&small[..], &large, &small].concat();
                assert_bytes(&pair.client.take().await, &wanted, "the client");
                pair.broker.expect(b"").await;
            } else {
                pair.client.expect(&small.repeat(2)).await;
                pair.broker.expect(&f.puback(7)).await;
            }
            assert!(pair.is_running());
        }
    }
    // renamed, and one byte too large because of it
    for conformance in CONFORMANCES {
        let pair = small_client(true, conformance).await;
        let head = f.publish("from/t", 1, 7, b"").len();
        let large = f.publish("from/t", 1, 7, &vec![7; 103 - head]);
        pair.broker.send(&large);
        pair.client.expect(b"").await;
        pair.broker.expect(&f.puback(7)).await;
        let fits = f.publish("from/t", 1, 8, &vec![7; 102 - head]);
        let renamed = f.publish("to/t", 1, 8, &vec![7; 102 - head]);
        assert_eq!(renamed.len(), 100);
        pair.broker.send(&fits);
        if conformance == Conformance::Tolerant {
            pair.client.expect(&renamed).await;
        } else {
            // to the letter the broker must not have sent it, whatever hooks make of it
            pair.client.expect(b"").await;
            pair.broker.expect(&f.puback(8)).await;
        }
    }
}

/// A client of a broker that takes 100 bytes may send more: the broker says what it thinks of that,
/// and that is what the client hears.
#[tokio::test(start_paused = true)]
async fn what_the_broker_announced_it_judges_itself() {
    let f = Frames(Version::V5);
    let maximum = properties(&[(PropertyId::MaximumPacketSize, Value::U32(100))]);
    for tapped in [false, true] {
        let pair = Setup::new().start(admit(move |_| {
            let kinds = if tapped { KindSet::ALL } else { KindSet::NONE };
            Hooks::new(Tap::only(kinds, Forward), Tap::none())
        }));
        pair.open(&f.connect("c"), &f.connack_with(0, &maximum))
            .await;
        for payload in [100, 200_000] {
            let large = f.publish("a/b", 1, 7, &vec![7; payload]);
            pair.client.send(&large);
            assert_bytes(&pair.broker.take().await, &large, "the broker");
            pair.client.expect(b"").await;
        }
        let filter = "f".repeat(200);
        let subscribe = f.subscribe(8, &[&filter]);
        pair.client.send(&subscribe);
        pair.broker.expect(&subscribe).await;
        pair.broker.send(&f.farewell(0x95));
        pair.client.expect(&f.farewell(0x95)).await;
        settle().await;
        assert_eq!(pair.end().await.reason, CloseReason::UpstreamDisconnect);
    }
}

//! Deadlines and sizes.

use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, Value, Version};
use mproxy_session::{
    BoxPacketService, CloseReason, Conformance, Forward, Hooks, Limits, Peer, Session, Side, Tap,
};

use crate::support::frames::{ConnectParts, packet, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::memory::connection;
use crate::support::{CONFORMANCES, Frames, Pair, Setup, admit, admit_all, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

async fn advance(seconds: f64) {
    settle().await;
    tokio::time::advance(Duration::from_secs_f64(seconds)).await;
    settle().await;
}

fn versions_and_conformances() -> impl Iterator<Item = (Version, Conformance)> {
    let both = |version| CONFORMANCES.map(|conformance| (version, conformance));
    VERSIONS.into_iter().flat_map(both)
}

/// What a client hears when a time-out ends its session: nothing, as from a broker, or to the letter
/// a DISCONNECT, which some take as final.
fn farewell(f: Frames, conformance: Conformance, reason: u8) -> Vec<u8> {
    match conformance {
        Conformance::Tolerant => Vec::new(),
        Conformance::Strict => f.farewell(reason),
    }
}

async fn with_keep_alive(version: Version, keep_alive: u16, connack: Vec<u8>) -> Pair {
    with_keep_alive_and(Setup::new(), version, keep_alive, connack).await
}

async fn with_keep_alive_and(
    setup: Setup,
    version: Version,
    keep_alive: u16,
    connack: Vec<u8>,
) -> Pair {
    let pair = setup.start(admit_all());
    let connect = Frames(version).connect_with(&ConnectParts {
        client_id: "c",
        keep_alive,
        ..Default::default()
    });
    pair.open(&connect, &connack).await;
    pair
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_gone() {
    for (version, conformance) in versions_and_conformances() {
        let f = Frames(version);
        let setup = Setup::new().conformance(conformance);
        let pair = with_keep_alive_and(setup, version, 10, f.connack()).await;
        for _ in 0..5 {
            // any packet will do, and any part of one
            advance(14.0).await;
            pair.client.send(&f.pingreq());
            pair.broker.expect(&f.pingreq()).await;
        }
        // what the broker sends is no sign of the client's life
        advance(14.0).await;
        pair.broker.send(&f.pingresp());
        pair.client.expect(&f.pingresp()).await;
        assert!(!pair.client.is_ended());
        if conformance == Conformance::Tolerant {
            // the broker judges the keep alive, and has half a minute to do it
            advance(30.0).await;
            assert!(!pair.client.is_ended());
        }
        advance(1.1).await;
        pair.client
            .expect_plain(&farewell(f, conformance, 0x8d))
            .await;
        // the end of the stream, not a DISCONNECT: the broker is to publish the will
        pair.broker.expect(b"").await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
        let summary = pair.end().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Proxy, CloseReason::KeepaliveTimeout)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_of_zero_is_none() {
    let f = Frames(Version::V311);
    let pair = with_keep_alive(Version::V311, 0, f.connack()).await;
    advance(1_000_000.0).await;
    pair.client.send(&f.pingreq());
    pair.broker.expect(&f.pingreq()).await;
}

#[tokio::test(start_paused = true)]
async fn the_servers_keep_alive_overrides_the_clients() {
    let f = Frames(Version::V5);
    let connack = |seconds| {
        f.connack_with(
            0,
            &properties(&[
                (PropertyId::MaximumPacketSize, Value::U32(1000)),
                (PropertyId::ServerKeepAlive, Value::U16(seconds)),
            ]),
        )
    };
    for conformance in CONFORMANCES {
        let setup = || Setup::new().conformance(conformance);
        let pair = with_keep_alive_and(setup(), Version::V5, 10, connack(100)).await;
        let brokers = match conformance {
            Conformance::Tolerant => 30.0,
            Conformance::Strict => 0.0,
        };
        advance(140.0 + brokers).await;
        assert!(!pair.client.is_ended());
        advance(11.0).await;
        let told = farewell(f, conformance, 0x8d);
        pair.client.expect_plain(&told).await;
        assert!(pair.client.is_ended());

        let pair = with_keep_alive_and(setup(), Version::V5, 100, connack(10)).await;
        advance(14.0 + brokers).await;
        assert!(!pair.client.is_ended());
        advance(2.0).await;
        pair.client.expect_plain(&told).await;
        assert!(pair.client.is_ended());
    }

    let pair = with_keep_alive(Version::V5, 10, connack(0)).await;
    advance(10_000.0).await;
    assert!(!pair.client.is_ended());
}

/// A client may wait for CONNACK before it says anything, and is not read before. Its silence was
/// counted from CONNECT, so that a broker slower than the keep alive cost it the connection.
#[tokio::test(start_paused = true)]
async fn keep_alive_begins_with_connack() {
    let f = Frames(Version::V311);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        keep_alive: 2,
        ..Default::default()
    });
    let pair = Setup::new().strict().start(admit_all());
    pair.client.send(&connect);
    pair.broker.expect(&connect).await;
    advance(9.0).await;
    pair.broker.send(&f.connack());
    pair.client.expect(&f.connack()).await;
    assert!(!pair.client.is_ended());
    advance(2.8).await;
    pair.client.send(&f.pingreq());
    pair.broker.expect(&f.pingreq()).await;
}

/// A client that is not read cannot be blamed for being silent: while a hook decides, or the broker
/// takes nothing, keep alive stands still.
#[tokio::test(start_paused = true)]
async fn keep_alive_does_not_run_while_the_client_is_not_read() {
    let f = Frames(Version::V311);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        keep_alive: 1,
        ..Default::default()
    });

    // a hook decides
    let gate = Gate::new();
    let hook = by_topic(&gate, &Seen::default());
    let pair = Setup::new().strict().start(admit(move |_| {
        Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none())
    }));
    pair.open(&connect, &f.connack()).await;
    let publish = f.publish("held/1", 0, 0, b"x");
    pair.client.send(&publish);
    for _ in 0..4 {
        advance(1.0).await;
        pair.client.send(&f.pingreq());
    }
    assert!(!pair.client.is_ended());
    gate.open(1);
    pair.broker
        .expect(&[publish, f.pingreq().repeat(4)].concat())
        .await;
    // and once it is read again, silence counts again
    advance(1.6).await;
    assert!(pair.client.is_ended());
    assert_eq!(pair.end().await.reason, CloseReason::KeepaliveTimeout);

    // the broker takes nothing
    let pair = Setup::new().strict().start(admit_all());
    pair.open(&connect, &f.connack()).await;
    pair.broker.set_capacity(1);
    pair.client.send(&f.publish("a", 0, 0, b"x"));
    for _ in 0..30 {
        advance(1.0).await;
        pair.client.send(&f.pingreq());
    }
    assert!(!pair.client.is_ended());
    pair.broker.set_capacity(usize::MAX);
    settle().await;
    assert!(pair.is_running());
}

/// A small keep alive ran out during the farewell, and a clean DISCONNECT was reported, and told, as
/// a time-out.
#[tokio::test(start_paused = true)]
async fn keep_alive_does_not_run_after_the_clients_last_word() {
    for version in VERSIONS {
        let f = Frames(version);
        // to the letter, where time is shortest
        let pair = with_keep_alive_and(Setup::new().strict(), version, 1, f.connack()).await;
        pair.client.send(&f.disconnect());
        pair.broker.expect(&f.disconnect()).await;
        advance(10.0).await;
        pair.client.expect(b"").await;
        let summary = pair.summary().await;
        assert_eq!(summary.reason, CloseReason::Disconnect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_is_not_finished_in_time_ends_the_session() {
    for (version, conformance) in versions_and_conformances() {
        let f = Frames(version);
        for client_sends in [true, false] {
            let pair = Setup::new()
                .conformance(conformance)
                .limits(|limits| limits.packet_timeout = Duration::from_secs(30))
                .connected(version, admit_all())
                .await;
            let publish = f.publish("a", 0, 0, &[0; 100]);
            let side = if client_sends {
                &pair.client
            } else {
                &pair.broker
            };
            // a byte now and then does not help
            for byte in &publish[..10] {
                side.send(&[*byte]);
                advance(2.9).await;
                assert!(!pair.client.is_ended());
            }
            advance(2.0).await;
            pair.client
                .expect_plain(&farewell(f, conformance, 0x80))
                .await;
            pair.broker.expect(b"").await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::PacketTimeout);
            assert_eq!(summary.limit, Some("packet_timeout"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whole_packets_have_no_deadline_between_them() {
    let f = Frames(Version::V311);
    let pair = with_keep_alive(Version::V311, 0, f.connack()).await;
    let publish = f.publish("a", 0, 0, &[0; 100]);
    for _ in 0..5 {
        // half a packet, and the rest of it with half of the next
        pair.client.send(&publish[..50]);
        advance(20.0).await;
        pair.client.send(&publish[50..]);
        pair.broker.expect(&publish).await;
        advance(100.0).await;
    }
}

/// One packet after another is begun before the one before it is finished: the deadline belongs to
/// the packet, not to there being one.
#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_packet_begins_with_the_packet() {
    let f = Frames(Version::V311);
    let pair = with_keep_alive(Version::V311, 0, f.connack()).await;
    let publish = f.publish("a", 0, 0, &[0; 100]);
    pair.client.send(&publish[..50]);
    for _ in 0..5 {
        advance(20.0).await;
        pair.client.send(&publish[50..]);
        pair.client.send(&publish[..50]);
        pair.broker.expect(&publish).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_in_time_ends_the_session() {
    for (version, conformance) in versions_and_conformances() {
        let f = Frames(version);
        for broker_is_stuck in [true, false] {
            let pair = Setup::new()
                .conformance(conformance)
                .limits(|limits| limits.write_timeout = Duration::from_secs(60))
                .start(admit_all());
            let connect = f.connect_with(&ConnectParts {
                client_id: "c",
                ..Default::default()
            });
            pair.open(&connect, &f.connack()).await;
            let (from, to) = if broker_is_stuck {
                (&pair.client, &pair.broker)
            } else {
                (&pair.broker, &pair.client)
            };
            to.set_capacity(50);
            from.send(&f.publish("a", 0, 0, &[0; 300]));
            // a reader that is slow is not stuck
            for _ in 0..3 {
                advance(59.0).await;
                assert_eq!(to.drain().len(), 50);
            }
            advance(59.0).await;
            assert!(pair.is_running());
            advance(2.0).await;
            if broker_is_stuck {
                pair.client
                    .expect_plain(&farewell(f, conformance, 0x80))
                    .await;
            }
            advance(10.0).await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::WriteTimeout);
            assert_eq!(summary.limit, Some("write_timeout"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_above_the_limit_is_refused_at_its_length() {
    for version in VERSIONS {
        let f = Frames(version);
        for first in [0x30, 0x82, 0xa2, 0x40] {
            let pair = Setup::new()
                .limits(|limits| limits.max_packet_size = 1000)
                .connected(version, admit_all())
                .await;
            // three bytes of length, and nothing behind them
            pair.client.send(&packet(first, &[0; 1000])[..3]);
            pair.client.expect_plain(&f.farewell(0x95)).await;
            pair.broker.expect(b"").await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::PacketTooLarge);
            assert_eq!(summary.limit, Some("max_packet_size"));
            let detail = summary.detail.expect("a detail");
            let sizes = "of 1003 bytes is larger than max_packet_size allows: 1000 bytes";
            assert!(detail.ends_with(sizes), "{detail}");
        }
        let pair = Setup::new()
            .limits(|limits| limits.max_packet_size = 1000)
            .connected(version, admit_all())
            .await;
        let body = 1000 - f.publish("a", 0, 0, &[0; 200]).len() + 200;
        let largest = f.publish("a", 0, 0, &vec![0; body]);
        assert_eq!(largest.len(), 1000);
        pair.client.send(&largest);
        pair.broker.expect(&largest).await;
    }
}

/// A broker's packets are bounded as well: a SUBACK or a block of properties of 256 MiB was gathered
/// because its length said so, as fast as it came. The limit is that of what is held in memory, which
/// has nothing to do with what clients may send.
#[tokio::test(start_paused = true)]
async fn a_packet_of_the_broker_that_must_be_gathered_is_bounded() {
    for version in VERSIONS {
        let mut packets = vec![packet(0x90, &[0; 2000])[..3].to_vec()];
        if version.is_v5() {
            // the properties of a PUBLISH must be there before anything of it goes on
            let head = [
                0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a', 0xf0, 0xff, 0xff, 0x7f,
            ];
            packets.push([&head[..], &[0x26, 0, 1, b'k', 0, 1, b'v'].repeat(150)].concat());
        }
        for sent in packets {
            let taps: [fn() -> Tap<BoxPacketService>; 3] = [
                || Tap::none().convert(BoxPacketService::new),
                || Tap::all(Forward).convert(BoxPacketService::new),
                || Tap::all(Forward).head_only().convert(BoxPacketService::new),
            ];
            for tap in taps {
                let pair = Setup::new()
                    .limits(|limits| limits.max_held_packet = 1000)
                    .connected(version, admit(move |_| Hooks::new(Tap::none(), tap())))
                    .await;
                pair.broker.send(&sent);
                // the client did nothing wrong
                pair.client.expect(b"").await;
                assert!(
                    pair.client.is_ended() && pair.broker.is_ended(),
                    "{:02x?}",
                    &sent[..3]
                );
                let summary = pair.end().await;
                assert_eq!(summary.reason, CloseReason::UpstreamProtocolError);
                assert_eq!(summary.limit, Some("max_held_packet"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_lower_limit_is_announced_to_the_client() {
    let f = Frames(Version::V5);
    let size = |size| properties(&[(PropertyId::MaximumPacketSize, Value::U32(size))]);
    for (broker, announced) in [(None, 1000), (Some(2000), 1000), (Some(500), 500)] {
        let pair = Setup::new()
            .limits(|limits| limits.max_packet_size = 1000)
            .start(admit_all());
        pair.client.send(&f.connect("c"));
        pair.broker.take().await;
        pair.broker
            .send(&f.connack_with(0, &broker.map(size).unwrap_or_default()));
        pair.client
            .expect(&f.connack_with(0, &size(announced)))
            .await;
    }
}

/// The announcement did not fit into the client's own Maximum Packet Size, so the client got the
/// broker's CONNACK and was held to a Topic Alias Maximum that it had not been told. It does not fit
/// because the proxy has a Maximum Packet Size to tell, too.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_announced_is_not_enforced() {
    let f = Frames(Version::V5);
    let connack = f.connack_with(
        0,
        &properties(&[(PropertyId::TopicAliasMaximum, Value::U16(9))]),
    );
    let tiny = u32::try_from(connack.len()).expect("small");
    let pair = Setup::new()
        .limits(|limits| {
            limits.max_topic_aliases = 2;
            limits.max_packet_size = 1000;
        })
        .start(admit(|_| {
            Hooks::new(Tap::only(KindSet::PUBLISH, Forward), Tap::none())
        }));
    pair.client.send(&f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &properties(&[(PropertyId::MaximumPacketSize, Value::U32(tiny))]),
        ..Default::default()
    }));
    pair.broker.take().await;
    pair.broker.send(&connack);
    pair.client.expect(&connack).await;
    let publish = f.aliased("a", 9, b"x");
    pair.client.send(&publish);
    pair.broker.expect(&publish).await;
}

/// The future of a session is polled by whoever holds it: first within another future, say, and then
/// as a task of its own. The timer went on waking the task that had polled first.
#[tokio::test(start_paused = true)]
async fn a_session_may_move_from_task_to_task() {
    let (client_socket, client) = connection();
    let (server_socket, broker) = connection();
    let f = Frames(Version::V311);
    let mut session = Box::pin(Session::new(Peer::new("test")).run(
        client_socket,
        admit_all(),
        move |_| std::future::ready(Ok::<_, std::convert::Infallible>(server_socket)),
    ));
    client.send(&f.connect("c"));
    broker.send(&f.connack());
    // here it gets as far as a timer for keep alive
    for _ in 0..10 {
        let polled = tokio::time::timeout(Duration::from_millis(10), &mut session).await;
        assert!(polled.is_err(), "it goes on");
    }
    assert_eq!(client.drain(), f.connack());
    let running = tokio::spawn(session);
    // traffic, so that the new task does not look at its timers only because it is new
    client.send(&f.pingreq());
    settle().await;
    assert!(broker.drain().ends_with(&f.pingreq()));
    tokio::time::advance(Duration::from_secs(119)).await;
    settle().await;
    assert!(!client.is_ended());
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(
        client.is_ended(),
        "90 seconds of silence, and the broker's 30"
    );
    client.finish();
    broker.finish();
    let summary = running.await.expect("a summary");
    assert_eq!(summary.reason, CloseReason::KeepaliveTimeout);
}

/// Limits that no clock counts to panicked in every session, as did a grace that is no number.
#[tokio::test(start_paused = true)]
async fn limits_without_an_end_are_none() {
    let never = |l: &mut Limits| {
        for limit in [
            &mut l.connect_timeout,
            &mut l.hook_timeout,
            &mut l.connack_timeout,
            &mut l.packet_timeout,
            &mut l.write_timeout,
            &mut l.linger,
        ] {
            *limit = Duration::MAX;
        }
        l.permit_timeout = Some(Duration::MAX);
    };
    for grace in [1.5, f64::NAN, f64::INFINITY, -1.0, f64::MAX] {
        let f = Frames(Version::V5);
        let setup = Setup::new().limits(|l| {
            never(l);
            l.keep_alive_grace = grace;
        });
        let hook = by_topic(&Gate::new(), &Seen::default());
        let pair = setup.start(admit(move |_| {
            Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none())
        }));
        pair.open(&f.connect("c"), &f.connack()).await;
        pair.client.send(&f.publish("slow", 1, 7, b"x"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        pair.broker.expect(&f.publish("slow", 1, 7, b"x")).await;
        assert!(!pair.end().await.panicked, "{grace}");
    }
}

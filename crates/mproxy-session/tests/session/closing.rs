//! Last words, and who hears them.

use std::io;
use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{CloseReason, Conformance, Hooks, Order, Side, Tap, WhenUnreachable};

use crate::support::frames::{ConnectParts, packet, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{CONFORMANCES, Frames, Setup, admit, admit_all, hex, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn versions_and_conformances() -> impl Iterator<Item = (Version, Conformance)> {
    let both = |version| CONFORMANCES.map(|conformance| (version, conformance));
    VERSIONS.into_iter().flat_map(both)
}

/// What a client hears of a drain, and the order of one that is told or not.
fn drain(f: Frames, suppress: bool, told: bool) -> (Order, Vec<u8>) {
    let order = Order::drain(suppress);
    match told {
        true => (order.with_notice(), f.farewell(0x8b)),
        false => (order, Vec::new()),
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_is_forwarded_and_then_the_upstream_ends() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new().connected(version, admit_all()).await;
        pair.client
            .send(&[f.publish("a", 0, 0, b"x"), f.disconnect()].concat());
        pair.broker
            .expect(&[f.publish("a", 0, 0, b"x"), f.disconnect()].concat())
            .await;
        assert!(pair.broker.is_ended());
        pair.broker.finish();
        pair.client.expect(b"").await;
        let summary = pair.summary().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Client, CloseReason::Disconnect)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_disconnect_is_not_forwarded() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new().connected(version, admit_all()).await;
        pair.client
            .send(&[f.disconnect(), f.publish("a", 0, 0, b"x")].concat());
        pair.broker.expect(&f.disconnect()).await;
        pair.client.send(&f.publish("a", 0, 0, b"x"));
        pair.broker.expect(b"").await;
        assert_eq!(pair.end().await.reason, CloseReason::Disconnect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_with_will_keeps_its_reason() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    pair.client.send(&hex("e0 01 04"));
    pair.broker.expect(&hex("e0 01 04")).await;
    let summary = pair.end().await;
    assert_eq!(summary.reason, CloseReason::DisconnectWithWill);
    assert_eq!(summary.reason_code, Some(ReasonCode::DISCONNECT_WITH_WILL));
}

/// No DISCONNECT may be made up: the broker publishes the will of a client that is lost.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_lost_is_not_excused() {
    for version in VERSIONS {
        let f = Frames(version);
        for broken in [false, true] {
            let pair = Setup::new().connected(version, admit_all()).await;
            pair.client
                .send(&[f.publish("a", 1, 1, b"x"), vec![0x30, 10]].concat());
            settle().await;
            if broken {
                pair.client.reset()
            } else {
                pair.client.finish()
            }
            // everything whole, nothing partial, and the end at once
            pair.broker.expect(&f.publish("a", 1, 1, b"x")).await;
            assert!(pair.broker.is_ended());
            let summary = pair.end().await;
            let reason = if broken {
                CloseReason::Reset
            } else {
                CloseReason::Eof
            };
            assert_eq!((summary.side, summary.reason), (Side::Client, reason));
        }
    }
}

/// A client may end its stream and still read: what the broker has for it arrives.
#[tokio::test(start_paused = true)]
async fn a_half_closed_client_still_gets_what_the_broker_sends() {
    let f = Frames(Version::V311);
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    pair.client.send(&f.publish("a", 1, 1, b"x"));
    pair.client.finish();
    pair.broker.expect(&f.publish("a", 1, 1, b"x")).await;
    pair.broker.send(&f.puback(1));
    pair.client.expect(&f.puback(1)).await;
    pair.broker.finish();
    settle().await;
    assert!(pair.client.is_ended());
    assert_eq!(pair.summary().await.reason, CloseReason::Eof);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_close_in_its_turn_is_waited_for_briefly() {
    let f = Frames(Version::V311);
    let pair = Setup::new()
        .limits(|limits| limits.linger = Duration::from_secs(2))
        .connected(Version::V311, admit_all())
        .await;
    pair.client.send(&f.disconnect());
    pair.client.finish();
    settle().await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let summary = tokio::time::timeout(Duration::from_secs(5), pair.summary()).await;
    assert_eq!(
        summary.expect("ended by itself").reason,
        CloseReason::Disconnect
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_sent_before_it_closed_arrives_before_the_end() {
    for (version, conformance) in versions_and_conformances() {
        let f = Frames(version);
        let setup = Setup::new().conformance(conformance);
        let pair = setup.connected(version, admit_all()).await;
        let deliveries = f.publish("a", 0, 0, &[0; 500]).repeat(300);
        pair.client.set_capacity(1000);
        pair.broker.send(&deliveries);
        pair.broker.finish();
        settle().await;
        pair.client.set_capacity(usize::MAX);
        pair.client.expect(&deliveries).await;
        assert!(pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Upstream, CloseReason::UpstreamEof)
        );
    }
}

/// C2, C4: a broker that stops, or that closes the connection of a session which another took over,
/// closes without a word. mproxy made a DISCONNECT 0x80 of it, after which libmosquitto and others
/// never connect again. The client sees what it would see without a proxy, strict or not.
#[tokio::test(start_paused = true)]
async fn a_broker_that_dies_leaves_no_word_and_no_partial_packet() {
    for (version, conformance) in versions_and_conformances() {
        let f = Frames(version);
        let setup = Setup::new()
            .conformance(conformance)
            .when_unreachable(WhenUnreachable::Connack);
        let pair = setup.connected(version, admit_all()).await;
        let delivery = f.publish("a", 0, 0, &[0; 500]);
        pair.broker
            .send(&[delivery.clone(), delivery[..100].to_vec()].concat());
        settle().await;
        pair.broker.reset();
        pair.client.expect(&delivery).await;
        assert!(pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UpstreamEof);
        assert_eq!(summary.connack, Some(ReasonCode::SUCCESS));
    }
}

#[tokio::test(start_paused = true)]
async fn the_brokers_own_disconnect_is_the_last_word() {
    let f = Frames(Version::V5);
    for (code, reason) in [
        (0x8e, CloseReason::SessionTakenOver),
        (0x8b, CloseReason::UpstreamDisconnect),
        (0x9d, CloseReason::UpstreamDisconnect),
    ] {
        let pair = Setup::new().connected(Version::V5, admit_all()).await;
        pair.broker
            .send(&[f.farewell(code), f.publish("a", 0, 0, b"x")].concat());
        pair.client.expect(&f.farewell(code)).await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
        pair.broker.expect(b"").await;
        let summary = pair.end().await;
        assert_eq!((summary.side, summary.reason), (Side::Upstream, reason));
        assert_eq!(summary.reason_code.map(ReasonCode::as_u8), Some(code));
    }
}

/// A server of MQTT 3 has no DISCONNECT.
#[tokio::test(start_paused = true)]
async fn a_disconnect_of_a_broker_of_mqtt_3_is_an_error() {
    for version in [Version::V31, Version::V311] {
        let pair = Setup::new().connected(version, admit_all()).await;
        pair.broker.send(&hex("e0 00"));
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::UpstreamProtocolError);
    }
}

/// C3: after a restart of mproxy clients of MQTT 5 did not come back, because they take DISCONNECT
/// 0x8B as final. A drain closes without a word, unless the operator wants the word.
#[tokio::test(start_paused = true)]
async fn a_drain_may_say_goodbye_and_may_keep_wills_from_being_published() {
    for (version, conformance) in versions_and_conformances() {
        let f = Frames(version);
        let setup = || Setup::new().conformance(conformance);
        for (suppress, told) in [(true, false), (false, false), (true, true), (false, true)] {
            let pair = setup().connected(version, admit_all()).await;
            let (order, farewell) = drain(f, suppress, told);
            pair.handle.close(order);
            pair.client.expect(&farewell).await;
            pair.broker
                .expect(if suppress { &[0xe0, 0] } else { &[] })
                .await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(
                (summary.side, summary.reason),
                (Side::Proxy, CloseReason::Drain)
            );
        }
        let pair = setup().connected(version, admit_all()).await;
        pair.handle.close(Order::kick());
        pair.handle.close(Order::drain(true));
        pair.client.expect(&f.farewell(0x98)).await;
        pair.broker.expect(b"").await;
        assert_eq!(
            pair.end().await.reason,
            CloseReason::Kicked,
            "the first order counts"
        );
    }
}

/// What has been read is passed on before the goodbye: an acknowledgement that the proxy has taken
/// from the broker exists nowhere else.
#[tokio::test(start_paused = true)]
async fn a_drain_flushes_what_has_arrived() {
    for version in VERSIONS {
        let f = Frames(version);
        for told in [false, true] {
            let (order, farewell) = drain(f, false, told);
            let pair = Setup::new().connected(version, admit_all()).await;
            pair.client.set_capacity(100);
            let acks: Vec<u8> = (1..=1000).flat_map(|id| f.puback(id)).collect();
            pair.broker.send(&acks);
            settle().await;
            pair.handle.close(order);
            settle().await;
            pair.client.set_capacity(usize::MAX);
            pair.client.expect(&[acks, farewell].concat()).await;
        }
    }
}

/// The same when a hook holds what was read: what stands behind the packet it decides on had been
/// read from the broker and was thrown away by the order.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_hook_that_holds_what_the_broker_sent() {
    let both = |version| [(version, false), (version, true)];
    for (version, told) in VERSIONS.into_iter().flat_map(both) {
        let f = Frames(version);
        let (order, farewell) = drain(f, false, told);
        let gate = Gate::new();
        let hook = by_topic(&gate, &Seen::default());
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::none(), Tap::only(KindSet::PUBLISH, hook.clone()))),
            )
            .await;
        let sent = [f.publish("held/1", 0, 0, b"x"), f.puback(7)].concat();
        pair.broker.send(&sent);
        settle().await;
        pair.handle.close(order);
        pair.client.expect(b"").await;
        gate.open(1);
        pair.client.expect(&[sent, farewell].concat()).await;
        assert_eq!(pair.end().await.reason, CloseReason::Drain);
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_the_border_of_a_packet_that_streams() {
    for (up, told) in [(true, false), (false, false), (true, true), (false, true)] {
        let f = Frames(Version::V5);
        let pair = Setup::new().connected(Version::V5, admit_all()).await;
        let (order, farewell) = drain(f, true, told);
        let publish = f.publish("a", 0, 0, &vec![7; 200_000]);
        let (from, to) = if up {
            (&pair.client, &pair.broker)
        } else {
            (&pair.broker, &pair.client)
        };
        from.send(&publish[..100_000]);
        to.expect(&publish[..100_000]).await;
        pair.handle.close(order);
        to.expect(b"").await;
        assert!(!to.is_ended());
        from.send(&publish[100_000..]);
        let last = if up { hex("e0 00") } else { farewell };
        to.expect(&[&publish[100_000..], &last].concat()).await;
        assert_eq!(pair.end().await.reason, CloseReason::Drain);
    }
}

/// A client that sent a PUBLISH of 256 MiB byte by byte held up every drain to its limit, and could not
/// be kicked, for as long as it went on.
#[tokio::test(start_paused = true)]
async fn an_order_does_not_wait_for_a_packet_that_never_ends() {
    let f = Frames(Version::V5);
    for up in [true, false] {
        for order in [Order::drain(true), Order::kick()] {
            let pair = Setup::new().connected(Version::V5, admit_all()).await;
            let publish = f.publish("a", 0, 0, &vec![7; 200_000]);
            let (from, to) = if up {
                (&pair.client, &pair.broker)
            } else {
                (&pair.broker, &pair.client)
            };
            from.send(&publish[..100_000]);
            to.expect(&publish[..100_000]).await;
            pair.handle.close(order);
            let ordered = tokio::time::Instant::now();
            for piece in publish[100_000..].chunks(1000).take(60) {
                if to.is_ended() {
                    break;
                }
                from.send(piece);
                tokio::time::sleep(Duration::from_secs(1)).await;
                to.take().await;
            }
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let waited = ordered.elapsed();
            assert!(waited < Duration::from_secs(10), "{waited:?}");
            assert_eq!(pair.end().await.reason, order.reason);
        }
    }
}

/// Large packets one behind the other: reads end inside of one, so that between two reads there is
/// never a border, and the order was never obeyed.
#[tokio::test(start_paused = true)]
async fn an_order_is_obeyed_in_a_flood_of_large_packets() {
    let f = Frames(Version::V5);
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let publish = f.publish("a", 0, 0, &vec![7; 100_000]);
    pair.client.send(&publish.repeat(1000));
    pair.broker.set_capacity(10_000);
    settle().await;
    pair.handle.close(Order::drain(true));
    settle().await;
    pair.broker.set_capacity(usize::MAX);
    let received = pair.broker.take().await;
    let (whole, goodbye) = received.split_at(received.len() - 2);
    assert!(
        whole.len().is_multiple_of(publish.len()),
        "{} bytes",
        whole.len()
    );
    assert!(whole.len() < 10 * publish.len());
    assert_eq!(goodbye, [0xe0, 0]);
    assert_eq!(pair.end().await.reason, CloseReason::Drain);
}

/// Closing with unread input resets a TCP connection, and the reset destroys what was written last:
/// a refused client that had pipelined its first packets never saw the refusal. The proxy ends its
/// own stream and reads on for a while.
#[tokio::test(start_paused = true)]
async fn a_refused_client_is_read_to_its_end() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new()
            .limits(|limits| limits.versions = mproxy_session::Versions::NONE)
            .start(admit_all());
        pair.client
            .send(&[f.connect("c"), f.publish("a", 0, 0, &[0; 30_000])].concat());
        assert!(!pair.client.take().await.is_empty());
        assert!(pair.client.is_ended());
        assert!(pair.is_running(), "reads on");
        assert_eq!(pair.client.unread(), 0);
        pair.client.finish();
        settle().await;
        assert!(!pair.is_running());
    }
}

#[tokio::test(start_paused = true)]
async fn lingering_ends_by_time_and_by_size() {
    let f = Frames(Version::V5);
    let setup = || {
        Setup::new().limits(|limits| {
            limits.versions = mproxy_session::Versions::NONE;
            limits.linger = Duration::from_secs(2);
        })
    };
    let pair = setup().start(admit_all());
    pair.client.send(&f.connect("c"));
    settle().await;
    assert!(pair.is_running());
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(!pair.is_running());

    let pair = setup().start(admit_all());
    pair.client.send(&f.connect("c"));
    settle().await;
    pair.client.send(&vec![0; 1_000_000]);
    settle().await;
    assert!(!pair.is_running());
    assert!(pair.client.unread() > 900_000);
}

/// A client that was turned away for a limit, and did not read, held its connection to the broker and its
/// place under the limits of the listener for as long as a slow reader may take: two minutes.
#[tokio::test(start_paused = true)]
async fn a_client_over_a_limit_that_does_not_read_is_not_waited_for() {
    let f = Frames(Version::V5);
    let setup = Setup::new().limits(|limits| limits.max_packet_size = 1000);
    let pair = setup.connected(Version::V5, admit_all()).await;
    pair.client.set_capacity(0);
    pair.broker.send(&f.publish("a", 0, 0, b"x"));
    settle().await;
    pair.client.send(&f.publish("a", 0, 0, &[0; 1000]));
    settle().await;
    assert!(pair.is_running());
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(!pair.is_running());
    assert_eq!(pair.end().await.limit, Some("max_packet_size"));
}

#[tokio::test(start_paused = true)]
async fn a_protocol_error_arrives_although_the_client_keeps_sending() {
    let f = Frames(Version::V5);
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let good = f.publish("a", 0, 0, b"x");
    pair.client
        .send(&[good.clone(), hex("20 03 00 00 00"), good.repeat(100)].concat());
    pair.client.expect_plain(&f.farewell(0x82)).await;
    // what stood before the error was forwarded, however the reads were cut
    pair.broker.expect(&good).await;
    assert!(pair.broker.is_ended());
    assert_eq!(pair.end().await.reason, CloseReason::ProtocolError);
}

/// A client whose connection cannot be written to any more may have sent more before it went.
#[tokio::test(start_paused = true)]
async fn what_a_client_sent_before_it_went_away_is_forwarded() {
    let f = Frames(Version::V311);
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    pair.client.fail_writes(io::ErrorKind::BrokenPipe);
    pair.broker.send(&f.publish("a", 0, 0, b"x"));
    settle().await;
    let last = [f.publish("b", 1, 1, b"y"), f.disconnect()].concat();
    pair.client.send(&last);
    pair.client.finish();
    pair.broker.expect(&last).await;
    assert!(pair.broker.is_ended());
    pair.end().await;
}

/// A transport has words of its own for its peer, pongs for example, and gives up a peer that takes
/// none of them. This looked like a connection that broke, and `write_timeout` was not named.
#[tokio::test(start_paused = true)]
async fn a_transport_that_gives_up_a_peer_is_a_write_timeout() {
    for client in [true, false] {
        let pair = Setup::new().connected(Version::V5, admit_all()).await;
        let side = if client { &pair.client } else { &pair.broker };
        side.fail_reads(io::ErrorKind::TimedOut);
        let summary = pair.summary().await;
        assert_eq!(summary.reason, CloseReason::WriteTimeout);
        assert_eq!(summary.side, Side::Proxy);
        assert_eq!(summary.limit, Some("write_timeout"));
        let detail = summary.detail.expect("who it was");
        assert!(detail.starts_with(if client { "the client" } else { "the broker" }));
    }
}

/// Pings are legal, and 600 of them in a minute were told as a client that broke the protocol, without
/// the key that would have let it go on.
#[tokio::test(start_paused = true)]
async fn a_transport_that_is_kept_busy_with_nothing_is_a_rate_limit() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    pair.client.fail_reads(io::ErrorKind::QuotaExceeded);
    let summary = pair.summary().await;
    assert_eq!(summary.side, Side::Proxy);
    assert_eq!(summary.reason, CloseReason::RateLimited);
    assert_eq!(summary.limit, Some("max_denials"));
}

/// A broker that cannot be written to may have something to say, a DISCONNECT above all.
#[tokio::test(start_paused = true)]
async fn what_a_broker_sent_before_it_went_away_is_forwarded() {
    let f = Frames(Version::V5);
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    pair.broker.fail_writes(io::ErrorKind::BrokenPipe);
    pair.client.send(&f.publish("a", 0, 0, b"x"));
    settle().await;
    pair.broker.send(&f.farewell(0x8e));
    pair.client.expect(&f.farewell(0x8e)).await;
    assert_eq!(pair.end().await.side, Side::Upstream);
}

/// A session that CONNECT said ends with the connection cannot be kept by DISCONNECT (section
/// 3.14.2.2.2); one that is kept may be kept for longer or shorter.
#[tokio::test(start_paused = true)]
async fn a_session_expiry_is_not_raised_from_zero() {
    let f = Frames(Version::V5);
    let expiry = |seconds| properties(&[(PropertyId::SessionExpiryInterval, Value::U32(seconds))]);
    let disconnect = |seconds| packet(0xe0, &[&[0, 5][..], &expiry(seconds)].concat());
    for (asked, then, allowed) in [
        (None, 60, false),
        (Some(0), 60, false),
        (None, 0, true),
        (Some(5), 60, true),
    ] {
        let asked = asked.map(expiry).unwrap_or_default();
        let connect = f.connect_with(&ConnectParts {
            client_id: "c",
            properties: &asked,
            ..Default::default()
        });
        let pair = Setup::new().start(admit_all());
        pair.open(&connect, &f.connack()).await;
        pair.client.send(&disconnect(then));
        if allowed {
            pair.broker.expect(&disconnect(then)).await;
            pair.client.expect(b"").await;
        } else {
            pair.broker.expect(b"").await;
            pair.client.expect_plain(&f.farewell(0x82)).await;
        }
        assert!(pair.broker.is_ended());
    }
}

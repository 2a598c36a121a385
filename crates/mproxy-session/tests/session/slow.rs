//! Clients and brokers on slow lines: they are alive as long as they make progress.

use std::time::Duration;

use mproxy_codec::{KindSet, Version};
use mproxy_session::{CloseReason, Forward, Hooks, Tap};

use crate::support::{Frames, Pair, Setup, admit, admit_all, assert_bytes, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

async fn pass(seconds: u64) {
    settle().await;
    tokio::time::advance(Duration::from_secs(seconds)).await;
    settle().await;
}

/// C12: modems that are driven by AT commands open the connection with one command and send CONNECT
/// with the next, 12 seconds later. They were closed after 10.
#[tokio::test(start_paused = true)]
async fn a_connect_may_come_late() {
    for version in VERSIONS {
        let connect = Frames(version).connect("c");
        let (first, rest) = connect.split_at(5);
        for waits in [[12, 0], [0, 12], [14, 14]] {
            let pair = Setup::new().start(admit_all());
            pass(waits[0]).await;
            pair.client.send(first);
            pass(waits[1]).await;
            assert!(!pair.client.is_ended());
            pair.client.send(rest);
            pair.broker.expect(&connect).await;
        }
        let pair = Setup::new().start(admit_all());
        pass(29).await;
        pair.client.send(first);
        assert!(!pair.client.is_ended());
        pass(1).await;
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::ConnectTimeout);
        assert_eq!(summary.limit, Some("connect_timeout"));
    }
}

/// Without a keep alive, so that only the time for a packet counts.
async fn connected(version: Version, tapped: bool) -> Pair {
    let f = Frames(version);
    let pair = Setup::new()
        .limits(|limits| limits.packet_timeout = Duration::from_secs(30))
        .start(admit(move |_| {
            let tap = || match tapped {
                true => Tap::only(KindSet::ALL, Forward),
                false => Tap::none(),
            };
            Hooks::new(tap(), tap())
        }));
    let connect = f.connect_with(&crate::support::frames::ConnectParts {
        client_id: "c",
        ..Default::default()
    });
    pair.open(&connect, &f.connack()).await;
    pair
}

/// A packet of some kilobytes from a modem of 30 bytes a second: at most 30 seconds used to be given
/// for all of it, and the client sent it again, forever.
#[tokio::test(start_paused = true)]
async fn a_slow_packet_that_makes_progress_has_all_the_time_it_needs() {
    for version in VERSIONS {
        let f = Frames(version);
        for (tapped, up) in [(false, true), (true, true), (false, false), (true, false)] {
            for payload in [3_000, 20_000, 70_000] {
                let pair = connected(version, tapped).await;
                let (from, to) = match up {
                    true => (&pair.client, &pair.broker),
                    false => (&pair.broker, &pair.client),
                };
                let publish = f.publish("a/b", 1, 7, &vec![7; payload]);
                let mut received = Vec::new();
                for piece in publish.chunks(600) {
                    pass(20).await;
                    from.send(piece);
                    settle().await;
                    received.extend(to.take().await);
                    assert!(pair.is_running());
                }
                assert_bytes(&received, &publish, "received");
                pass(1000).await;
                assert!(pair.is_running(), "between packets there is no deadline");
            }
        }
    }
}

/// So has a long SUBSCRIBE.
#[tokio::test(start_paused = true)]
async fn a_slow_subscribe_that_makes_progress_has_all_the_time_it_needs() {
    let f = Frames(Version::V311);
    for tapped in [false, true] {
        let pair = connected(Version::V311, tapped).await;
        let filters: Vec<String> = (0..600).map(|number| format!("site/{number}")).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let subscribe = f.subscribe(7, &filters);
        for piece in subscribe.chunks(600) {
            pass(20).await;
            pair.client.send(piece);
        }
        pair.broker.expect(&subscribe).await;
    }
}

/// 100 bytes every 20 seconds are not enough to be taken for a packet: such a client holds a
/// connection and memory for nothing.
#[tokio::test(start_paused = true)]
async fn a_packet_that_hardly_grows_ends_the_session() {
    for version in VERSIONS {
        let f = Frames(version);
        for (tapped, up) in [(false, true), (true, true), (false, false), (true, false)] {
            for payload in [3_000, 20_000] {
                let pair = connected(version, tapped).await;
                let from = if up { &pair.client } else { &pair.broker };
                let publish = f.publish("a/b", 1, 7, &vec![7; payload]);
                // a good part of it at once, then drops
                let (begun, rest) = publish.split_at(1500);
                from.send(begun);
                settle().await;
                let mut seconds = 0;
                for piece in rest.chunks(100) {
                    pass(20).await;
                    seconds += 20;
                    if pair.client.is_ended() {
                        break;
                    }
                    from.send(piece);
                }
                // 1,536 is the third 512; the next would take 100 seconds
                assert_eq!(seconds, 60, "{version} {tapped} {up} {payload}");
                pair.broker.expect(b"").await;
                let summary = pair.end().await;
                assert_eq!(summary.reason, CloseReason::PacketTimeout);
                assert_eq!(summary.limit, Some("packet_timeout"));
            }
        }
    }
}

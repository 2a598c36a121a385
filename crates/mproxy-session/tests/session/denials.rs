//! A client of which everything is refused is closed in the end.

use std::num::NonZeroU32;
use std::time::Duration;

use mproxy_codec::{KindSet, Version};
use mproxy_session::{CloseReason, Hooks, Rate, Side, Tap};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, assert_bytes, settle};

async fn judged(setup: Setup, version: Version) -> Pair {
    let hooks = by_topic(&Gate::new(), &Seen::default());
    let tap = move || Tap::only(KindSet::ALL, hooks.clone());
    setup
        .connected(version, admit(move |_| Hooks::new(tap(), tap())))
        .await
}

/// One client that published what it may not, as fast as it could, took a core for as long as it liked.
#[tokio::test(start_paused = true)]
async fn more_than_six_hundred_refusals_in_a_minute_close() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let f = Frames(version);
        let pair = judged(Setup::new(), version).await;
        let refused = |count: u16| -> Vec<u8> {
            (1..=count)
                .flat_map(|id| f.publish("denied/t", 1, id, b""))
                .collect()
        };
        pair.client.send(&refused(600));
        let code = if version.is_v5() { 0x87 } else { 0 };
        let answers: Vec<u8> = (1..=600)
            .flat_map(|id| f.ack(mproxy_codec::Kind::Puback, id, code))
            .collect();
        assert_bytes(&pair.client.take().await, &answers, "each is answered");
        assert!(pair.is_running());
        // nine a second is no more than comes back
        for _ in 0..300 {
            tokio::time::advance(Duration::from_secs(1)).await;
            pair.client.send(&refused(9));
            pair.client.send(&f.pingreq());
            settle().await;
        }
        assert!(pair.is_running(), "a device that tries again now and then");
        pair.client.take().await;
        pair.client.send(&refused(1000));
        let last = pair.client.take().await;
        let farewell = f.farewell(0x97);
        assert!(last.ends_with(&farewell), "{last:02x?}");
        pair.broker.finish();
        pair.client.finish();
        let summary = pair.summary().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Proxy, CloseReason::RateLimited)
        );
        assert_eq!(summary.limit, Some("max_denials"));
        assert!(summary.detail.unwrap().contains("600 packets"));
        assert!(
            summary.to_server.denied < 600 + 300 * 9 + 1000,
            "not all were judged"
        );
    }
}

/// Filters that are refused count by the request; deliveries that a client may not have are not its
/// fault; and a discarded packet is one that was refused.
#[tokio::test(start_paused = true)]
async fn what_counts_is_what_the_client_sends() {
    let limit = |limits: &mut mproxy_session::Limits| {
        limits.max_denials = Some(Rate::new(
            NonZeroU32::new(3).unwrap(),
            Duration::from_secs(1),
        ));
    };
    let f = Frames(Version::V5);
    let pair = judged(Setup::new().limits(limit), Version::V5).await;
    for id in 1..=100 {
        pair.broker.send(&f.publish("denied/t", 1, id, b""));
    }
    pair.client
        .send(&f.subscribe(1, &["denied/1", "denied/2", "denied/3", "denied/4"]));
    pair.client.send(&f.publish("dropped/t", 0, 0, b""));
    pair.client.send(&f.publish("denied/t", 0, 0, b""));
    settle().await;
    assert!(pair.is_running());
    pair.client.send(&f.publish("dropped/t", 0, 0, b""));
    settle().await;
    pair.broker.finish();
    pair.client.finish();
    assert_eq!(pair.summary().await.reason, CloseReason::RateLimited);
}

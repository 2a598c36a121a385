//! A side that sends faster than it may is read later.

use std::num::NonZeroU32;
use std::time::Duration;

use mproxy_codec::Version;
use mproxy_session::{Pace, Rate};
use tokio::time::{Instant, sleep};

use crate::support::{Frames, Pair, Setup, admit_all, settle};

const F: Frames = Frames(Version::V5);

fn per_second(count: u32) -> Rate {
    Rate::new(NonZeroU32::new(count).unwrap(), Duration::from_secs(1))
}

async fn paced(pace: Pace) -> Pair {
    Setup::new()
        .limits(|limits| {
            limits.pace_to_server = Some(pace);
            limits.pace_to_client = Some(pace);
        })
        .connected(Version::V5, admit_all())
        .await
}

/// How much of what one side sends has arrived at the other.
async fn arrived(pair: &Pair, up: bool) -> usize {
    settle().await;
    let to = if up { &pair.broker } else { &pair.client };
    to.drain().len()
}

#[tokio::test(start_paused = true)]
async fn packets_come_at_the_rate_and_none_is_lost() {
    for up in [true, false] {
        let pair = paced(Pace::default().packets(per_second(100))).await;
        // the CONNECT, or the CONNACK, was the first
        sleep(Duration::from_secs(2)).await;
        let from = if up { &pair.client } else { &pair.broker };
        let packet = F.publish("t", 0, 0, b"x");
        let begun = Instant::now();
        let mut seen = 0;
        // one read may bring more than there is: the next waits for it
        from.send(&packet.repeat(300));
        seen += arrived(&pair, up).await;
        assert_eq!(seen, 300 * packet.len(), "{up}");
        from.send(&packet.repeat(50));
        assert_eq!(arrived(&pair, up).await, 0, "{up}");
        while seen < 350 * packet.len() {
            sleep(Duration::from_millis(10)).await;
            seen += arrived(&pair, up).await;
        }
        // a hundred at once, and the rest at a hundred in a second
        let took = begun.elapsed().as_millis();
        assert!((2000..2100).contains(&took), "{up}: {took} ms");
        assert!(pair.is_running());
    }
}

/// A payload that passes in pieces is not one packet, but as many bytes as it has.
#[tokio::test(start_paused = true)]
async fn a_large_payload_is_held_back_piece_by_piece_and_outlives_its_time_out() {
    let pair = paced(Pace::default().bytes(per_second(10_000))).await;
    let payload = vec![7; 3_000_000];
    let packet = F.publish("t", 0, 0, &payload);
    pair.client.send(&packet);
    let begun = Instant::now();
    let mut seen = arrived(&pair, true).await;
    assert!(seen < 1_000_000, "{seen}");
    while seen < packet.len() {
        sleep(Duration::from_secs(1)).await;
        let more = arrived(&pair, true).await;
        assert!(more <= 70_000, "{more} bytes in a second");
        seen += more;
    }
    // longer than packet_timeout, 120 s
    let took = begun.elapsed().as_secs();
    assert!((200..310).contains(&took), "{took} s");
    assert!(pair.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_new_pace_takes_the_place_of_the_old_one_at_once() {
    let pair = paced(Pace::default().packets(per_second(1))).await;
    let packet = F.publish("t", 0, 0, b"x");
    pair.client.send(&packet.repeat(1000));
    assert_eq!(arrived(&pair, true).await, 1000 * packet.len());
    pair.client.send(&packet);
    assert_eq!(arrived(&pair, true).await, 0);
    pair.handle.set_pace(None, None);
    assert_eq!(arrived(&pair, true).await, packet.len());
    let pace = Pace::default().packets(per_second(1));
    pair.handle.set_pace(Some(pace), None);
    pair.client.send(&packet.repeat(2));
    assert_eq!(arrived(&pair, true).await, 2 * packet.len());
    pair.client.send(&packet);
    assert_eq!(arrived(&pair, true).await, 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(arrived(&pair, true).await, packet.len());
}

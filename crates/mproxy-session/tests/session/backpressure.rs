//! A side that is slow slows the other one down; it does not fill memory.

use std::task::Poll;

use mproxy_codec::{KindSet, Version};
use mproxy_session::{Hooks, Tap};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Setup, admit, admit_all, assert_bytes, settle};

const F: Frames = Frames(Version::V311);
/// What a direction holds at most: a read and what is being put together from it.
const BOUND: usize = 2 * 64 * 1024;

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_slow_is_not_read_for() {
    for up in [true, false] {
        let pair = Setup::new().connected(Version::V311, admit_all()).await;
        let (from, to) = if up {
            (&pair.client, &pair.broker)
        } else {
            (&pair.broker, &pair.client)
        };
        to.set_capacity(1000);
        let stream: Vec<u8> = (0..40_000_u32)
            .flat_map(|n| F.publish("a", 0, 0, &n.to_be_bytes()))
            .collect();
        from.send(&stream);
        settle().await;
        let held = stream.len() - from.unread();
        assert!(
            held <= BOUND,
            "{held} bytes were read for a reader that takes 1000"
        );
        // byte by byte it gets all of it
        let mut received = Vec::new();
        while received.len() < stream.len() {
            settle().await;
            let piece = to.drain_up_to(997);
            assert!(!piece.is_empty(), "stuck at {}", received.len());
            received.extend(piece);
        }
        assert_bytes(&received, &stream, "received");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_side_does_not_slow_the_opposite_direction() {
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    pair.client.set_capacity(10);
    pair.broker
        .send(&F.publish("a", 0, 0, &[0; 1000]).repeat(1000));
    settle().await;
    for number in 0..100 {
        let publish = F.publish("a", 0, 0, &[number]);
        pair.client.send(&publish);
        pair.broker.expect(&publish).await;
    }
}

/// A client that sends what is refused and does not read the refusals.
#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_bounded() {
    for up in [true, false] {
        let hook = by_topic(&Gate::new(), &Seen::default());
        let pair = Setup::new()
            .limits(|limits| limits.max_denials = None)
            .connected(
                Version::V311,
                admit(move |_| {
                    let tap = || Tap::only(KindSet::PUBLISH, hook.clone());
                    Hooks::new(tap(), tap())
                }),
            )
            .await;
        let side = if up { &pair.client } else { &pair.broker };
        side.set_capacity(0);
        let refused = F.publish("denied/t", 1, 1, b"");
        let flood = refused.repeat(200_000);
        side.send(&flood);
        settle().await;
        let answered = (flood.len() - side.unread()) / refused.len();
        assert!(
            answered * 4 <= 2 * 64 * 1024 + BOUND,
            "{answered} answers wait"
        );
        assert!(side.unread() > flood.len() / 2);
        side.set_capacity(usize::MAX);
        assert_bytes(
            &side.take().await,
            &F.puback(1).repeat(200_000),
            "the answers",
        );
    }
}

/// Goes to the end of the queue of tasks; tokio's own yield goes behind its driver as well.
async fn next_turn() {
    let mut been = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Both sides only send: neither may keep the other from its turn, nor the thread from others.
#[tokio::test(start_paused = true)]
async fn a_flood_leaves_turns_for_others() {
    let flooded = Setup::new().connected(Version::V311, admit_all()).await;
    let quiet = Setup::new().connected(Version::V311, admit_all()).await;
    let flood = F.publish("a", 0, 0, &[0; 1000]).repeat(20_000);
    flooded.client.send(&flood);
    flooded.broker.send(&flood);
    // a task of its own: the runtime lets tasks take turns
    let watch = tokio::spawn(async move {
        let mut turns = 0;
        while flooded.client.unread() > 0 || flooded.broker.unread() > 0 {
            quiet.client.send(&F.pingreq());
            for _ in 0..3 {
                next_turn().await;
            }
            assert_eq!(quiet.broker.drain(), F.pingreq(), "after {turns} turns");
            turns += 1;
        }
        (turns, flooded)
    });
    let (turns, flooded) = watch.await.expect("the quiet session is served");
    assert!(turns > 10, "{turns}");
    assert_bytes(&flooded.broker.take().await, &flood, "up");
    assert_bytes(&flooded.client.take().await, &flood, "down");
}

/// Large packets to a slow reader are bounded like small ones.
#[tokio::test(start_paused = true)]
async fn a_stream_to_a_slow_reader_is_bounded() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let publish = Frames(Version::V5).publish("a", 0, 0, &vec![7; 500_000]);
    pair.client.set_capacity(1000);
    pair.broker.send(&publish);
    settle().await;
    let held = publish.len() - pair.broker.unread();
    assert!(held <= BOUND, "{held}");
    pair.client.set_capacity(usize::MAX);
    assert_bytes(&pair.client.take().await, &publish, "received");
}

//! A handle that more than its session uses.

use std::future::poll_fn;
use std::time::Duration;

use mproxy_codec::Version;
use mproxy_session::{CloseReason, Order, Peer, Session, SessionHandle, Side};
use tokio::time::sleep;

use crate::support::{Frames, Pair, Setup, admit_all, settle};

const F: Frames = Frames(Version::V5);

/// Kicks the client, and waits until that must have arrived.
async fn kick(pair: Pair) {
    pair.handle.close(Order::kick());
    sleep(Duration::from_millis(100)).await;
    assert!(pair.client.is_ended() && pair.broker.is_ended());
    let summary = pair.end().await;
    assert_eq!(
        (summary.side, summary.reason),
        (Side::Proxy, CloseReason::Kicked)
    );
}

/// A task that waited for an order beside a running session took the place of its waker: a kick, a renewal, an expiry
/// or a new pace did not reach the session until one of its peers sent something.
#[tokio::test(start_paused = true)]
async fn who_waits_for_orders_does_not_make_the_session_deaf() {
    // before the session runs, while it waits for its broker, and while it runs
    for place in 0..3 {
        let handle_of = |pair: &Pair| {
            let handle = pair.handle.clone();
            let mut task = tokio_test::task::spawn(poll_fn(move |cx| handle.poll_order(cx)));
            assert!(task.poll().is_pending());
            task
        };
        let pair = Setup::new().start(admit_all());
        let early = (place == 0).then(|| handle_of(&pair));
        settle().await;
        pair.client.send(&F.connect("c"));
        pair.broker.take().await;
        let middle = (place == 1).then(|| handle_of(&pair));
        pair.broker.send(&F.connack());
        pair.client.take().await;
        let late = (place == 2).then(|| handle_of(&pair));
        settle().await;
        let mut waiting = early.or(middle).or(late).expect("one of them");
        if waiting.is_woken() {
            // only the one whose place the session has taken
            assert_eq!(place, 0);
            assert!(waiting.poll().is_pending());
        }
        kick(pair).await;
        assert!(waiting.is_woken(), "{place}");
        assert!(waiting.poll().is_ready());
    }
}

/// With one handle for two sessions, a kick ended the second one only, and `is_closed` was true while the first
/// one ran on.
#[tokio::test(start_paused = true)]
async fn a_handle_belongs_to_one_session() {
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    let second = || {
        let (client, near) = tokio::io::duplex(64);
        let session = Session::new(Peer::new("test")).handle(pair.handle.clone());
        let running = session.run(client, admit_all(), |_| {
            std::future::ready(Ok::<_, std::io::Error>(tokio::io::duplex(1).0))
        });
        (running, near)
    };
    let (running, _near) = second();
    let summary = running.await;
    assert_eq!(summary.reason, CloseReason::Internal);
    assert!(!summary.panicked);
    let detail = summary.detail.expect("what is wrong");
    assert!(detail.contains("belongs to another session"), "{detail}");
    assert_ne!(summary.id, pair.handle.id());
    // and the first one is as it was
    assert!(!pair.handle.is_closed() && pair.is_running());
    let handle = pair.handle.clone();
    kick(pair).await;
    assert!(handle.is_closed());
}

/// `Session::new` made a handle, and `Session::handle` another one: the numbers of sessions had gaps.
#[test]
fn a_session_with_a_handle_takes_one_number() {
    // other tests of the process take numbers, too: not between these two every time
    let is_next = (0..1000).any(|_| {
        let handle = SessionHandle::new();
        let session = Session::new(Peer::new("test")).handle(handle.clone());
        drop(session);
        SessionHandle::new().id().as_u64() == handle.id().as_u64() + 1
    });
    assert!(is_next);
}

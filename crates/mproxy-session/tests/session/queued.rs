//! Clients that wait for their turn at the broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mproxy_codec::{ReasonCode, Version};
use mproxy_session::{Busy, CloseReason, Connect, Order, Side, Turn, Turns};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::support::pair::{Dial, Pair};
use crate::support::{Frames, Setup, admit_all, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Has a client wait until it is called, or turned away.
struct Line(Mutex<Option<oneshot::Receiver<Result<(), Busy>>>>);

impl Turns for Line {
    fn turn(self: Arc<Self>, _: &Connect) -> Option<Turn> {
        let called = self.0.lock().unwrap().take()?;
        Some(Box::pin(async { called.await.unwrap() }))
    }
}

/// Calls each client at once.
struct Counted {
    /// Whether others may wait for it.
    is_held: bool,
}

impl Turns for Counted {
    fn turn(self: Arc<Self>, _: &Connect) -> Option<Turn> {
        None
    }

    fn is_held(&self) -> bool {
        self.is_held
    }
}

/// A client for which a broker is dialled that does not answer.
async fn dialling(turns: impl Turns + 'static) -> Pair {
    let setup = Setup::new().turns(Arc::new(turns)).dial(Dial::Hang);
    let pair = setup.start(admit_all());
    pair.client.send(&Frames(Version::V5).connect("c"));
    settle().await;
    pair
}

/// A client that waits.
async fn waiting(version: Version) -> (Pair, oneshot::Sender<Result<(), Busy>>) {
    let (call, called) = oneshot::channel();
    let line = Line(Mutex::new(Some(called)));
    let pair = Setup::new().turns(Arc::new(line)).start(admit_all());
    pair.client.send(&Frames(version).connect("c"));
    settle().await;
    assert_eq!(pair.dials(), 0);
    assert!(pair.is_running());
    (pair, call)
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_dialled_when_it_is_the_clients_turn() {
    for version in VERSIONS {
        let (pair, call) = waiting(version).await;
        // neither its keep alive, nor the time for CONNECT or CONNACK
        sleep(Duration::from_secs(3600)).await;
        assert!(pair.is_running());
        call.send(Ok(())).unwrap();
        pair.broker.expect(&Frames(version).connect("c")).await;
        assert_eq!(pair.dials(), 1);
        pair.broker.send(&Frames(version).connack());
        pair.client.expect(&Frames(version).connack()).await;
        pair.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_is_told_so_if_that_is_asked_for() {
    for version in VERSIONS {
        for (busy, limit, is_told) in [
            (Busy::full(false), "queue", false),
            (Busy::full(true), "queue", true),
            (Busy::late(false), "queue_timeout", false),
            (Busy::late(true), "queue_timeout", true),
        ] {
            let (pair, call) = waiting(version).await;
            call.send(Err(busy)).unwrap();
            if is_told {
                let code = if version == Version::V5 { 0x89 } else { 3 };
                let refusal = Frames(version).connack_with(code, &[]);
                pair.client.expect_plain(&refusal).await;
            }
            settle().await;
            assert!(pair.client.is_ended());
            assert_eq!(pair.client.unread(), 0);
            assert_eq!(pair.dials(), 0);
            pair.client.finish();
            let summary = pair.summary().await;
            assert_eq!(summary.side, Side::Proxy);
            assert_eq!(summary.reason, CloseReason::UpstreamBusy);
            assert_eq!(summary.limit, Some(limit));
            assert!(!summary.dialled);
            let code = is_told.then_some(ReasonCode::SERVER_BUSY);
            assert_eq!(summary.connack, code);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_left_gets_no_turn() {
    for last in [Vec::new(), Frames(Version::V5).disconnect()] {
        let (pair, call) = waiting(Version::V5).await;
        pair.client.send(&last);
        pair.client.finish();
        settle().await;
        assert!(call.is_closed(), "still waits");
        let summary = pair.summary().await;
        assert_eq!(summary.reason, CloseReason::Eof);
        assert!(!summary.dialled);
    }
    let (pair, call) = waiting(Version::V5).await;
    pair.client
        .send(&Frames(Version::V5).publish("t", 0, 0, b"1"));
    pair.client.reset();
    settle().await;
    assert!(call.is_closed(), "still waits");
    assert_eq!(pair.summary().await.reason, CloseReason::Reset);
}

/// What it has published would have been lost.
#[tokio::test(start_paused = true)]
async fn what_a_client_has_sent_before_it_left_is_forwarded() {
    let frames = Frames(Version::V311);
    for size in [1, 20_000] {
        let (pair, call) = waiting(Version::V311).await;
        let publish = frames.publish("t", 0, 0, &vec![1; size]);
        pair.client.send(&publish);
        pair.client.send(&frames.disconnect());
        pair.client.finish();
        sleep(Duration::from_secs(5)).await;
        assert!(!call.is_closed());
        call.send(Ok(())).unwrap();
        pair.broker.expect(&frames.connect("c")).await;
        pair.broker.send(&frames.connack());
        let wanted = [publish, frames.disconnect()].concat();
        pair.broker.expect(&wanted).await;
        pair.broker.finish();
        assert_eq!(pair.summary().await.reason, CloseReason::Disconnect);
    }
}

/// It kept its turn until the broker was there, or time was over, and others waited for it.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_left_keeps_no_turn_while_the_broker_is_dialled() {
    let frames = Frames(Version::V5);
    let subscribe = frames.subscribe(1, &[&"x".repeat(20_000)]);
    for behind in [Vec::new(), frames.disconnect(), subscribe] {
        for (is_reset, reason) in [(false, CloseReason::Eof), (true, CloseReason::Reset)] {
            let begin = Instant::now();
            let pair = dialling(Counted { is_held: true }).await;
            assert_eq!(pair.dials(), 1);
            sleep(Duration::from_secs(5)).await;
            assert!(pair.is_running());
            pair.client.send(&behind);
            match is_reset {
                true => pair.client.reset(),
                false => pair.client.finish(),
            }
            let summary = pair.summary().await;
            // how it has left is behind more than is read
            let is_long = behind.len() > 8 * 1024;
            let reason = if is_long { CloseReason::Eof } else { reason };
            assert_eq!(summary.reason, reason);
            assert_eq!(summary.side, Side::Client);
            assert!(!summary.dialled);
            assert!(begin.elapsed() < Duration::from_secs(7));
        }
    }
}

/// What it has published would have been lost. And whom nobody waits for may be dialled for: it has a will.
#[tokio::test(start_paused = true)]
async fn the_broker_is_dialled_for_a_client_that_has_published_or_that_nobody_waits_for() {
    let publish = Frames(Version::V5).publish("t", 0, 0, b"1");
    for (is_held, behind) in [(true, publish), (false, Vec::new())] {
        let pair = dialling(Counted { is_held }).await;
        pair.client.send(&behind);
        pair.client.finish();
        sleep(Duration::from_secs(20)).await;
        assert!(pair.is_running(), "{is_held}");
        let summary = pair.summary().await;
        assert_eq!(summary.reason, CloseReason::UpstreamUnreachable);
    }
}

/// A message that expires in a minute had waited since CONNECT, which was an hour ago.
#[tokio::test(start_paused = true)]
async fn a_message_is_as_old_as_it_is() {
    let frames = Frames(Version::V5);
    let (pair, call) = waiting(Version::V5).await;
    sleep(Duration::from_secs(3600)).await;
    let expiry = [0x02, 0, 0, 0, 60];
    let publish = frames.publish_with("t", 0, 0, &expiry, b"1");
    pair.client.send(&publish);
    settle().await;
    call.send(Ok(())).unwrap();
    pair.broker.expect(&frames.connect("c")).await;
    pair.broker.send(&frames.connack());
    pair.broker.expect(&publish).await;
    pair.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_ends_the_wait() {
    let (pair, call) = waiting(Version::V5).await;
    pair.handle.close(Order::kick());
    settle().await;
    assert!(call.is_closed(), "still waits");
    pair.client.finish();
    assert_eq!(pair.summary().await.reason, CloseReason::Kicked);
}

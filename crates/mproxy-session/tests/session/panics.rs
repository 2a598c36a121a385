//! A hook that panics ends its own session and no other.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use mproxy_codec::{Direction, KindSet, ReasonCode, Version};
use mproxy_session::{
    Batch, BoxError, CloseReason, Counters, Events, FilterLayer, Forward, Hooks, Packet,
    SessionHandle, SessionInfo, Side, Tap, Verdict,
};
use tower::{Layer, Service};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

const F: Frames = Frames(Version::V5);

/// Where a service panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Call,
    Future,
    FutureDrop,
}

/// Panics at its place.
#[derive(Clone, Copy)]
struct Panicking(Place);

impl Service<Packet> for Panicking {
    type Response = Verdict;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Verdict, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        assert_ne!(self.0, Place::Ready, "on purpose");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        let place = self.0;
        assert_ne!(place, Place::Call, "on purpose");
        struct Bomb(bool);
        impl Drop for Bomb {
            fn drop(&mut self) {
                assert!(!self.0, "on purpose");
            }
        }
        Box::pin(async move {
            let _bomb = Bomb(place == Place::FutureDrop);
            assert_ne!(place, Place::Future, "on purpose");
            Ok(Verdict::Forward(packet))
        })
    }
}

async fn ends_alone(pair: Pair, up: bool) {
    let other = Setup::new().connected(Version::V311, admit_all()).await;
    let side = if up { &pair.client } else { &pair.broker };
    side.send(&F.publish("panicked/t", 1, 1, b"x"));
    pair.client.expect_plain(&F.farewell(0x83)).await;
    pair.broker.expect(b"").await;
    assert!(pair.client.is_ended() && pair.broker.is_ended());
    let summary = pair.end().await;
    assert_eq!(summary.reason, CloseReason::HookFailed, "{summary:?}");
    assert!(summary.panicked);
    other.client.send(&F.pingreq());
    other.broker.expect(&F.pingreq()).await;
}

#[tokio::test(start_paused = true)]
async fn a_packet_hook_that_panics_ends_its_own_session_only() {
    for place in [Place::Ready, Place::Call, Place::Future, Place::FutureDrop] {
        for up in [true, false] {
            let pair = Setup::new()
                .connected(
                    Version::V5,
                    admit(move |_| {
                        let tap = || Tap::only(KindSet::PUBLISH, Panicking(place));
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            ends_alone(pair, up).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn closures_and_hooks_that_have_waited_are_no_different() {
    let judge = FilterLayer::new(|packet: &Packet| {
        assert!(packet.publish().is_none(), "on purpose");
        Ok(())
    });
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| Hooks::new(Tap::all(judge.layer(Forward)), Tap::none())),
        )
        .await;
    ends_alone(pair, true).await;

    let hook = by_topic(&Gate::new(), &Seen::default());
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| Hooks::new(Tap::all(hook.clone()), Tap::none())),
        )
        .await;
    pair.client.send(&F.publish("slow/t", 0, 0, b"x"));
    settle().await;
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    pair.broker.expect(&F.publish("slow/t", 0, 0, b"x")).await;
    ends_alone(pair, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_panics_does_not_lose_the_summary() {
    for in_future in [true, false] {
        let pair = Setup::new()
            .connected(
                Version::V311,
                admit(move |_| {
                    Hooks::none().on_close(move |_| {
                        assert!(in_future, "on purpose");
                        async { panic!("on purpose") }
                    })
                }),
            )
            .await;
        pair.client.send(&F.disconnect());
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::Disconnect);
        assert!(summary.panicked);
    }
}

/// Buffers of the thread are lost with a panic, and made anew: the next session does not notice.
#[tokio::test(start_paused = true)]
async fn many_panics_leave_a_working_thread() {
    for _ in 0..300 {
        let pair = Setup::new()
            .connected(
                Version::V311,
                admit(|_| Hooks::new(Tap::all(Panicking(Place::Call)), Tap::none())),
            )
            .await;
        pair.client.send(&F.pingreq());
        assert!(pair.end().await.panicked);
    }
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    pair.client.send(&F.pingreq());
    pair.broker.expect(&F.pingreq()).await;
}

/// A panic used to be caught around the whole pipe, and what had been found in the same read before
/// the packet that caused it went with it: publications of QoS 0 that a client had sent, and that no
/// hook had anything against, were lost.
#[tokio::test(start_paused = true)]
async fn what_stood_before_a_packet_that_panics_a_hook_is_forwarded() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let fragile = FilterLayer::new(|packet: &Packet| {
                    let topic = packet.publish().map(|publish| publish.topic().to_owned());
                    assert_ne!(topic.as_deref(), Some("bad"), "on purpose");
                    Ok(())
                });
                Hooks::new(
                    Tap::only(KindSet::PUBLISH, fragile.layer(Forward)),
                    Tap::none(),
                )
            }),
        )
        .await;
    let before = [
        F.publish("good/1", 0, 0, b"x"),
        F.publish("good/2", 1, 7, b"y"),
    ]
    .concat();
    let read = [&before[..], &F.publish("bad", 0, 0, b"z")].concat();
    pair.client.send(&read);
    pair.broker.expect(&before).await;
    pair.client.expect_plain(&F.farewell(0x83)).await;
    let summary = pair.end().await;
    assert!(summary.panicked);
    assert_eq!(summary.reason, CloseReason::HookFailed, "{summary:?}");
}

/// Panics in one of its events.
struct PanickingRecorder(&'static str);

impl Counters for PanickingRecorder {
    fn record(&self, _: Direction, batch: &Batch) {
        let publishes: u32 = batch.publishes.iter().sum();
        assert!(self.0 != "record" || publishes == 0, "on purpose");
    }
}

impl Events for PanickingRecorder {
    fn admitted(&self, _: &SessionHandle) {
        assert_ne!(self.0, "admitted", "on purpose");
    }

    fn connack(&self, _: Option<&SessionInfo>, _: Version, reason: ReasonCode) {
        assert!(self.0 != "connack" || !reason.is_error(), "on purpose");
    }

    fn ending(&self, _: Side, _: CloseReason) {
        assert_ne!(self.0, "ending", "on purpose");
    }
}

/// A panic of `Events::ending` unwound out of `run`: no notice of the end, and no summary. One of another event was
/// told as a panic of mproxy, or of a hook over the will.
#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_loses_no_notice() {
    for (place, detail) in [
        ("ending", None),
        ("admitted", Some("the recorder panicked in `admitted`: ")),
        (
            "record",
            Some("mproxy or its recorder panicked while it moved packets: "),
        ),
    ] {
        let closed = Arc::new(AtomicUsize::new(0));
        let noted = Arc::clone(&closed);
        let stage = admit(move |_| {
            let noted = Arc::clone(&noted);
            Hooks::none().on_close(move |_| {
                noted.fetch_add(1, Ordering::Relaxed);
                std::future::ready(())
            })
        });
        let pair = Setup::new()
            .recorder(Arc::new(PanickingRecorder(place)))
            .start(stage);
        pair.client.send(&F.connect("c"));
        settle().await;
        pair.broker.send(&F.connack());
        settle().await;
        pair.client.send(&F.publish("t", 0, 0, b"x"));
        settle().await;
        pair.client.send(&F.disconnect());
        let summary = pair.end().await;
        assert!(summary.panicked, "{place}");
        assert_eq!(closed.load(Ordering::Relaxed), 1, "{place}");
        let told = summary.detail.unwrap_or_default();
        assert!(told.starts_with(detail.unwrap_or_default()), "{told}");
    }
}

/// The documentation said that every admitted client is followed by a notice. An aborted session gives none.
#[tokio::test(start_paused = true)]
async fn an_aborted_session_gives_no_notice() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (notices, drops) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (noted, dropped) = (Arc::clone(&notices), Arc::clone(&drops));
    let stage = admit(move |_| {
        let (noted, dropped) = (Arc::clone(&noted), Dropped(Arc::clone(&dropped)));
        Hooks::none().on_close(move |_| {
            drop(dropped);
            noted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(())
        })
    });
    let pair = Setup::new().connected(Version::V5, stage).await;
    pair.running.abort();
    settle().await;
    assert!(pair.handle.is_closed());
    assert_eq!(notices.load(Ordering::Relaxed), 0);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

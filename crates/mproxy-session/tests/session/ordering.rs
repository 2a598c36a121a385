//! Hooks that wait: what they hold up, and what they must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::{Kind, KindSet, Version};
use mproxy_session::{
    AuthorizeLayer, BoxError, CloseReason, FilterLayer, Forward, Hooks, Packet, Tap, Verdict,
};
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::{Layer, Service};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, settle};

const F: Frames = Frames(Version::V311);

async fn held() -> (Pair, Gate, Seen) {
    let (gate, seen) = (Gate::new(), Seen::default());
    let hook = by_topic(&gate, &seen);
    let pair = Setup::new()
        .connected(
            Version::V311,
            admit(move |_| {
                Hooks::new(
                    Tap::only(KindSet::PUBLISH, hook.clone()),
                    Tap::only(KindSet::PUBLISH, hook.clone()),
                )
            }),
        )
        .await;
    (pair, gate, seen)
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_waits_holds_up_its_own_direction_only() {
    let (pair, gate, _) = held().await;
    pair.client.send(&F.publish("held/1", 0, 0, b"x"));
    pair.broker.expect(b"").await;
    for number in 0..100 {
        let delivery = F.publish("a", 0, 0, &[number]);
        pair.broker.send(&delivery);
        pair.client.expect(&delivery).await;
    }
    gate.open(1);
    pair.broker.expect(&F.publish("held/1", 0, 0, b"x")).await;

    pair.broker.send(&F.publish("held/2", 0, 0, b"x"));
    pair.client.expect(b"").await;
    for number in 0..100 {
        let publish = F.publish("a", 0, 0, &[number]);
        pair.client.send(&publish);
        pair.broker.expect(&publish).await;
    }
    gate.open(1);
    pair.client.expect(&F.publish("held/2", 0, 0, b"x")).await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_packet_that_is_held_waits_for_it() {
    let (pair, gate, seen) = held().await;
    let behind = [
        F.publish("held/1", 1, 1, b"1"),
        F.publish("a/2", 1, 2, b"2"),
        F.pingreq(),
        F.publish("held/3", 1, 3, b"3"),
        F.publish("denied/4", 1, 4, b"4"),
        F.publish("a/5", 0, 0, b"5"),
    ];
    pair.client
        .send(&[F.publish("a/0", 0, 0, b"0"), behind.concat()].concat());
    // what stands before is not held up
    pair.broker.expect(&F.publish("a/0", 0, 0, b"0")).await;
    assert_eq!(
        seen.take(),
        ["a/0", "held/1"],
        "nobody is asked out of turn"
    );
    gate.open(1);
    pair.broker.expect(&behind[..3].concat()).await;
    assert_eq!(seen.take(), ["a/2", "held/3"]);
    gate.open(1);
    pair.broker
        .expect(&[behind[3].clone(), behind[5].clone()].concat())
        .await;
    pair.client.expect(&F.puback(4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_late_keeps_its_place() {
    let (pair, gate, _) = held().await;
    let sent = [
        F.publish("held-denied/1", 2, 1, b"1"),
        F.pubrel(1),
        F.publish("a/2", 0, 0, b"2"),
    ];
    pair.client.send(&sent.concat());
    pair.client.expect(b"").await;
    gate.open(1);
    pair.client
        .expect(&[F.pubrec(1), F.pubcomp(1)].concat())
        .await;
    pair.broker.expect(&sent[2]).await;
}

#[tokio::test(start_paused = true)]
async fn the_answers_of_both_directions_do_not_mix() {
    let (pair, gate, _) = held().await;
    pair.client.send(&F.publish("held-denied/1", 1, 1, b"1"));
    pair.broker.send(&F.publish("held-denied/2", 1, 2, b"2"));
    settle().await;
    gate.open(2);
    pair.client.expect(&F.puback(1)).await;
    pair.broker.expect(&F.puback(2)).await;
}

/// A hook that is not ready is a hook that wants to be asked less: the socket is not read.
#[tokio::test(start_paused = true)]
async fn while_a_hook_is_pending_the_socket_is_not_read() {
    let (pair, gate, _) = held().await;
    pair.client.send(&F.publish("held/1", 0, 0, b"x"));
    settle().await;
    let flood: Vec<u8> = F.publish("a", 0, 0, &[0; 100]).repeat(10_000);
    pair.client.send(&flood);
    settle().await;
    assert_eq!(pair.client.unread(), flood.len(), "nothing more is read");
    gate.open(1);
    let wanted = [F.publish("held/1", 0, 0, b"x"), flood].concat();
    pair.broker.expect(&wanted).await;
}

/// A packet service that is ready when it is told so, and counts.
#[derive(Clone)]
struct Slow {
    gate: Gate,
    asked: Arc<AtomicUsize>,
    waiting: Arc<std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>>,
    ready: bool,
}

impl Service<Packet> for Slow {
    type Response = Verdict;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Verdict, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().expect("not poisoned");
        let gate = self.gate.clone();
        let waiter = waiting.get_or_insert_with(|| tokio::spawn(async move { gate.pass().await }));
        let polled = std::pin::Pin::new(waiter).poll(cx);
        if polled.is_ready() {
            *waiting = None;
            self.ready = true;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being ready"
        );
        std::future::ready(Ok(Verdict::Forward(packet)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_not_ready_holds_the_packet_and_the_socket() {
    let slow = Slow {
        gate: Gate::new(),
        asked: Arc::default(),
        waiting: Arc::default(),
        ready: false,
    };
    let (gate, asked) = (slow.gate.clone(), Arc::clone(&slow.asked));
    let pair = Setup::new()
        .connected(
            Version::V311,
            admit(move |_| Hooks::new(Tap::only(KindSet::PUBLISH, slow.clone()), Tap::none())),
        )
        .await;
    settle().await;
    assert_eq!(
        asked.load(Ordering::Relaxed),
        0,
        "not without a packet in hand"
    );
    pair.client.send(&F.pingreq());
    pair.broker.expect(&F.pingreq()).await;
    assert_eq!(
        asked.load(Ordering::Relaxed),
        0,
        "not for a packet that it does not see"
    );

    let publish = F.publish("a", 1, 1, b"x");
    pair.client.send(&publish);
    settle().await;
    pair.client.send(&F.pingreq());
    pair.broker.expect(b"").await;
    assert_eq!(pair.client.unread(), 2);
    gate.open(1);
    pair.broker.expect(&[publish, F.pingreq()].concat()).await;
}

/// A permit that is taken and then waits for the network is a permit that idle connections keep
/// from busy ones.
#[tokio::test(start_paused = true)]
async fn a_permit_is_not_taken_while_waiting_for_the_network() {
    let one = GlobalConcurrencyLimitLayer::new(1);
    let gate = Gate::new();
    let stack = |gate: &Gate| {
        let gate = gate.clone();
        let layer = one.clone();
        admit(move |_| {
            let hook = by_topic(&gate, &Seen::default());
            Hooks::new(Tap::only(KindSet::PUBLISH, layer.layer(hook)), Tap::none())
        })
    };
    let pairs = [
        Setup::new().connected(Version::V311, stack(&gate)).await,
        Setup::new().connected(Version::V311, stack(&gate)).await,
        Setup::new().connected(Version::V311, stack(&gate)).await,
    ];
    // every session has passed a packet and now waits for the next
    for _ in 0..3 {
        for pair in &pairs {
            let publish = F.publish("a", 0, 0, b"x");
            pair.client.send(&publish);
            pair.broker.expect(&publish).await;
        }
    }
    // while one holds the permit, the others wait, and get it in the end
    let held = F.publish("held/1", 0, 0, b"x");
    for pair in &pairs {
        pair.client.send(&held);
    }
    settle().await;
    assert!(pairs.iter().all(|pair| pair.broker.drain().is_empty()));
    gate.open(3);
    for pair in &pairs {
        pair.broker.expect(&held).await;
    }
}

/// A hook inside another layer is made ready only for packets that it sees. It used to be made ready
/// for every packet that the layer sees, so that a SUBSCRIBE took the permit of a limit on PUBLISH,
/// which the session then kept until its next PUBLISH came.
#[tokio::test(start_paused = true)]
async fn a_permit_is_not_taken_for_a_packet_that_the_hook_does_not_see() {
    let one = GlobalConcurrencyLimitLayer::new(1);
    let stack = || {
        let layer = one.clone();
        admit(move |_| {
            let inside = Tap::only(KindSet::PUBLISH, layer.layer(Forward));
            let around = inside.wrap(KindSet::SUBSCRIBE, |inside| {
                FilterLayer::new(|_: &Packet| Ok(())).layer(inside)
            });
            Hooks::new(around, Tap::none())
        })
    };
    let idle = Setup::new().connected(Version::V311, stack()).await;
    idle.client.send(&F.subscribe(1, &["a"]));
    idle.broker.expect(&F.subscribe(1, &["a"])).await;
    let busy = Setup::new().connected(Version::V311, stack()).await;
    for publish in [F.publish("a", 0, 0, b"1"), F.publish("a", 0, 0, b"2")] {
        busy.client.send(&publish);
        busy.broker.expect(&publish).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_that_waits_for_somebody_keeps_the_order() {
    let gate = Gate::new();
    let asking = gate.clone();
    let pair = Setup::new()
        .connected(
            Version::V311,
            admit(move |_| {
                let gate = asking.clone();
                let ask = AuthorizeLayer::new(move |packet: Packet| {
                    let gate = gate.clone();
                    async move {
                        gate.pass().await;
                        Ok(packet)
                    }
                });
                let stack = ConcurrencyLimitLayer::new(1).layer(ask.layer(Forward));
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    let sent: Vec<Vec<u8>> = (0..20).map(|n| F.publish("a", 0, 0, &[n])).collect();
    pair.client.send(&sent.concat());
    for publish in &sent {
        pair.broker.expect(b"").await;
        gate.open(1);
        pair.broker.expect(publish).await;
    }
}

/// A packet that a hook holds is not lost when the client leaves behind it: PUBLISH, DISCONNECT and
/// the end of the stream in one segment arrive, in this order.
#[tokio::test(start_paused = true)]
async fn what_was_sent_before_the_end_is_judged_and_forwarded() {
    for version in [Version::V311, Version::V5] {
        let f = Frames(version);
        let gate = Gate::new();
        let hook = by_topic(&gate, &Seen::default());
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none())),
            )
            .await;
        let sent = [
            f.publish("held/1", 1, 1, b"x"),
            f.publish("a", 0, 0, b"y"),
            f.disconnect(),
        ];
        pair.client.send(&sent.concat());
        pair.client.finish();
        pair.broker.expect(b"").await;
        assert!(!pair.broker.is_ended());
        gate.open(1);
        pair.broker.expect(&sent.concat()).await;
        assert!(pair.broker.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::Disconnect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_takes_too_long_ends_the_session() {
    for version in [Version::V311, Version::V5] {
        let f = Frames(version);
        for client_sends in [true, false] {
            let seen = Seen::default();
            let hook = by_topic(&Gate::new(), &seen);
            let pair = Setup::new()
                .limits(|limits| limits.hook_timeout = Duration::from_secs(3))
                .connected(
                    version,
                    admit(move |_| {
                        let tap = || Tap::only(KindSet::of(Kind::Publish), hook.clone());
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let side = if client_sends {
                &pair.client
            } else {
                &pair.broker
            };
            side.send(&f.publish("never/1", 0, 0, b"x"));
            settle().await;
            tokio::time::advance(Duration::from_millis(2990)).await;
            settle().await;
            assert!(!pair.client.is_ended());
            tokio::time::advance(Duration::from_millis(20)).await;
            pair.client.expect_plain(&f.farewell(0x83)).await;
            pair.broker.expect(b"").await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            assert_eq!(pair.end().await.reason, CloseReason::HookFailed);
        }
    }
}

//! tower's own layers, unchanged, at both stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::Subscription;
use mproxy_codec::{KindSet, ReasonCode, Version};
use mproxy_session::{
    Admission, Authorize, AuthorizeLayer, AuthorizePacket, BoxError, CloseReason, Connect,
    FilterLayer, Forward, Hooks, InspectLayer, OnPublishLayer, OnSubscribeLayer, Packet,
    PacketService, PublishRef, Refusal, RefuseErrorsLayer, RewriteLayer, SessionInfo, Tap, Verdict,
    new_hooks,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, hex, settle};

const F: Frames = Frames(Version::V5);

/// Every layer that is named in the documentation, at once, in both stages.
#[tokio::test(start_paused = true)]
async fn a_stack_of_everything_composes() {
    for audit in [true, false] {
        let seen = Seen::default();
        let notes = seen.clone();
        let admission = ServiceBuilder::new()
            .load_shed()
            .concurrency_limit(256)
            .timeout(Duration::from_secs(2))
            .rate_limit(100, Duration::from_secs(1))
            .service(new_hooks(move |session: SessionInfo| {
                let own = format!("{}/", session.client_id());
                let notes = notes.clone();
                let audit_layer = audit.then(|| {
                    InspectLayer::new(move |verdict: &Verdict| {
                        notes.push(matches!(verdict, Verdict::Forward(_)).to_string());
                    })
                });
                let up = ServiceBuilder::new()
                    .rate_limit(1000, Duration::from_secs(1))
                    .timeout(Duration::from_secs(1))
                    .option_layer(audit_layer)
                    .layer(OnPublishLayer::new(move |publish: PublishRef<'_>| {
                        if publish.topic().starts_with(&own) {
                            Ok(())
                        } else {
                            Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
                        }
                    }))
                    .layer(OnSubscribeLayer::new(|entry: Subscription<'_>| match entry
                        .filter
                        .as_str()
                    {
                        "#" => Err(ReasonCode::NOT_AUTHORIZED),
                        _ => Ok(()),
                    }))
                    .layer(RewriteLayer::new(|packet: &mut Packet| {
                        match packet
                            .publish()
                            .map(|publish| format!("t/{}", publish.topic()))
                        {
                            Some(topic) => packet.set_topic(&topic),
                            None => Ok(()),
                        }
                    }))
                    .service(Forward);
                let down = ServiceBuilder::new()
                    .concurrency_limit(1)
                    .layer(FilterLayer::new(|_: &Packet| Ok(())))
                    .service(Forward);
                let kinds = KindSet::PUBLISH | KindSet::SUBSCRIBE;
                Hooks::new(Tap::only(kinds, up), Tap::only(KindSet::PUBLISH, down)).check()
            }));
        let pair = Setup::new().connected(Version::V5, admission).await;
        pair.client.send(&F.publish("c/x", 1, 1, b"x"));
        pair.broker.expect(&F.publish("t/c/x", 1, 1, b"x")).await;
        pair.client.send(&F.publish("d/x", 1, 2, b"x"));
        pair.broker.expect(b"").await;
        pair.client.expect(&hex("40 03 0002 87")).await;
        pair.client.send(&F.subscribe(3, &["#", "c/#"]));
        pair.broker.expect(&F.subscribe(3, &["c/#"])).await;
        pair.broker.send(&F.suback(3, &[1]));
        pair.client.expect(&F.suback(3, &[0x87, 1])).await;
        pair.broker.send(&F.publish("a", 0, 0, b"x"));
        pair.client.expect(&F.publish("a", 0, 0, b"x")).await;
        let wanted: &[&str] = if audit {
            &["true", "false", "true"]
        } else {
            &[]
        };
        assert_eq!(seen.take(), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_either_stage_fails_closed() {
    let pair = Setup::new().start(
        ServiceBuilder::new()
            .timeout(Duration::from_secs(1))
            .service(service_fn(|_: Connect| {
                std::future::pending::<Result<Admission, BoxError>>()
            })),
    );
    pair.client.send(&F.connect("c"));
    settle().await;
    tokio::time::advance(Duration::from_millis(1100)).await;
    pair.client.expect(&hex("20 03 00 83 00")).await;
    assert_eq!(pair.dials(), 0);

    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let stack = ServiceBuilder::new()
                    .timeout(Duration::from_secs(1))
                    .service(by_topic(&Gate::new(), &Seen::default()));
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    pair.client.send(&F.publish("never", 1, 1, b"x"));
    settle().await;
    tokio::time::advance(Duration::from_millis(1100)).await;
    pair.client.expect_plain(&F.farewell(0x83)).await;
    pair.broker.expect(b"").await;
    assert_eq!(pair.end().await.reason, CloseReason::HookFailed);
}

/// A rate limit is not an error: what is too much waits, in the socket.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_delays_and_loses_nothing() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let stack = ServiceBuilder::new()
                    .rate_limit(10, Duration::from_secs(1))
                    .service(Forward);
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    let sent: Vec<Vec<u8>> = (0..35).map(|n| F.publish("a", 0, 0, &[n])).collect();
    pair.client.send(&sent.concat());
    settle().await;
    let mut received = pair.broker.drain();
    assert_eq!(received, sent[..10].concat());
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(1)).await;
        settle().await;
        let more = pair.broker.drain();
        assert!(more.len() <= sent[..10].concat().len());
        received.extend(more);
    }
    tokio::time::advance(Duration::from_secs(3)).await;
    received.extend(pair.broker.take().await);
    assert_eq!(received, sent.concat());
}

/// Shared by all sessions, a limit of the CONNECT stage with load shedding turns the excess away.
#[tokio::test(start_paused = true)]
async fn load_shedding_turns_clients_away() {
    let gate = Gate::new();
    let held = gate.clone();
    let stage = ServiceBuilder::new()
        .load_shed()
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(1))
        .service(service_fn(move |connect: Connect| {
            let gate = held.clone();
            async move {
                gate.pass().await;
                Ok::<_, BoxError>(Admission::admit(connect, Hooks::none()))
            }
        }));
    let first = Setup::new().start(stage.clone());
    first.client.send(&F.connect("c"));
    settle().await;
    let second = Setup::new().start(stage);
    second.client.send(&F.connect("c"));
    second.client.expect(&hex("20 03 00 83 00")).await;
    assert_eq!(second.end().await.reason, CloseReason::HookFailed);
    gate.open(1);
    first.broker.expect(&F.connect("c")).await;
}

/// A service that is cloned per session shares what its layers share.
#[tokio::test(start_paused = true)]
async fn one_stage_serves_many_sessions() {
    let admitted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&admitted);
    let stage = ServiceBuilder::new()
        .map_request(move |connect: Connect| {
            count.fetch_add(1, Ordering::Relaxed);
            connect
        })
        .service(new_hooks(|_| Hooks::none()));
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..5 {
        pairs.push(Setup::new().connected(Version::V311, stage.clone()).await);
    }
    assert_eq!(admitted.load(Ordering::Relaxed), 5);
    assert!(pairs.iter().all(Pair::is_running));
}

/// A boxed service has lost its type and nothing else.
#[tokio::test(start_paused = true)]
async fn a_boxed_stack_is_a_stack() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let stack = by_topic(&Gate::new(), &Seen::default()).map_err(Into::into);
                let boxed = tower::util::BoxService::<Packet, Verdict, BoxError>::new(stack);
                Hooks::new(Tap::only(KindSet::PUBLISH, boxed), Tap::none())
            }),
        )
        .await;
    pair.client.send(&F.publish("from/x", 1, 1, b"x"));
    pair.broker.expect(&F.publish("to/x", 1, 1, b"x")).await;
}

/// tower's `Buffer` runs a stack in a task of its own. What it says of a refusal is still a refusal, also when
/// the stack fails in `poll_ready` and every later packet is told so by the buffer.
#[tokio::test(start_paused = true)]
async fn a_buffered_stack_is_a_stack() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let judge = by_topic(&Gate::new(), &Seen::default());
                let stack = ServiceBuilder::new()
                    .layer(RefuseErrorsLayer::new())
                    .buffer(8)
                    .timeout(Duration::from_secs(1))
                    .service(judge);
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    pair.client.send(&F.publish("from/x", 1, 1, b"x"));
    pair.broker.expect(&F.publish("to/x", 1, 1, b"x")).await;
    pair.client.send(&F.publish("denied/x", 1, 2, b"x"));
    pair.client.expect(&hex("40 03 0002 87")).await;
    pair.client.send(&F.publish("never", 1, 3, b"x"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    pair.client.expect(&hex("40 03 0003 83")).await;
    assert!(pair.is_running());

    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let stack = ServiceBuilder::new().buffer(8).service(Closed);
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    for id in 1..4 {
        pair.client.send(&F.publish("a", 1, id, b"x"));
        pair.client.expect(&hex(&format!("40 03 000{id} 97"))).await;
    }
    pair.broker.expect(b"").await;
}

/// Is never ready, and says why with a refusal.
struct Closed;

impl tower::Service<Packet> for Closed {
    type Response = Verdict;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Verdict, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err(Refusal::new(ReasonCode::QUOTA_EXCEEDED).into()))
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        std::future::ready(Ok(Verdict::Forward(packet)))
    }
}

/// Asks nobody, and says yes.
#[derive(Clone, Copy, Debug)]
struct Yes;

impl<P> AuthorizePacket<P> for Yes {
    type Future = std::future::Ready<Result<Packet<P>, Refusal>>;

    fn authorize(&mut self, packet: Packet<P>) -> Self::Future {
        std::future::ready(Ok(packet))
    }
}

/// A library must be able to write its layer and its hooks down: with closures, the layer had no name, and a
/// function that makes hooks of what it is lent did not compile without `+ use<>`.
struct Library {
    ask: AuthorizeLayer<Yes>,
    hooks: Hooks<Authorize<Forward, Yes>, Forward>,
}

fn hooks_of(session: SessionInfo) -> Hooks<impl PacketService, Forward> {
    let own = format!("{}/", session.client_id());
    let judge = FilterLayer::new(move |packet: &Packet| match packet.publish() {
        Some(publish) if !publish.topic().starts_with(&own) => {
            Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
        }
        _ => Ok(()),
    });
    Hooks::new(Tap::all(judge.layer(Forward)), Tap::none())
}

#[tokio::test(start_paused = true)]
async fn layers_and_hooks_have_names_that_can_be_written() {
    let ask = AuthorizeLayer::new(Yes);
    let library = Library {
        ask,
        hooks: Hooks::new(Tap::all(ask.layer(Forward)), Tap::none()),
    };
    let stack = library.ask.layer(Forward);
    let hooks = library.hooks.map(|_| Tap::all(stack), |tap| tap);
    let mut hooks = Some(hooks);
    let once = new_hooks(move |_| hooks.take().expect("one client"));
    let pair = Setup::new().connected(Version::V5, once).await;
    pair.client.send(&F.publish("a", 0, 0, b"x"));
    pair.broker.expect(&F.publish("a", 0, 0, b"x")).await;

    let pair = Setup::new()
        .connected(Version::V5, new_hooks(hooks_of))
        .await;
    pair.client.send(&F.publish("c/a", 0, 0, b"x"));
    pair.broker.expect(&F.publish("c/a", 0, 0, b"x")).await;
    pair.client.send(&F.publish("d/a", 1, 7, b"x"));
    pair.client.expect(&hex("40 03 0007 87")).await;
}

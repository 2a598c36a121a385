//! tower's own layers, unchanged, at both stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mproxy_codec::Subscription;
use mproxy_codec::{KindSet, ReasonCode, Version};
use mproxy_session::{
    Admission, BoxError, CloseReason, Connect, FilterLayer, Forward, Hooks, InspectLayer,
    OnPublishLayer, OnSubscribeLayer, Packet, PublishRef, Refusal, RewriteLayer, SessionInfo, Tap,
    Verdict, new_hooks,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

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
                    .layer(OnSubscribeLayer::new(
                        |entry: Subscription<'_>| match entry.filter {
                            "#" => Err(ReasonCode::NOT_AUTHORIZED),
                            _ => Ok(()),
                        },
                    ))
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

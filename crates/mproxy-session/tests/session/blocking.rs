//! A hook that blocks its thread holds up every session of that thread: it is logged, once a session.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use mproxy_codec::{Direction, KindSet, Version};
use mproxy_session::{
    Admission, Batch, BoxError, Connect, Counters, Events, Forward, Hooks, Packet, PacketService,
    Tap, Verdict,
};
use tower::{ServiceBuilder, service_fn};

use crate::support::frames::ConnectParts;
use crate::support::hooks::{Gate, Seen, by_topic, name_of};
use crate::support::lines::Lines;
use crate::support::{Frames, Setup, admit, settle};

const F: Frames = Frames(Version::V5);

/// Blocks the thread: nothing else runs, and so much time passes on the paused clock.
fn block(milliseconds: u64) {
    let mut passing = pin!(tokio::time::advance(Duration::from_millis(milliseconds)));
    let _ = passing
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
}

/// Blocks for as many milliseconds as the topic or filter says.
fn blocking(first_waits: bool) -> impl PacketService + Clone {
    service_fn(move |packet: Packet| async move {
        if first_waits {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        block(name_of(&packet).parse().unwrap_or(0));
        Ok::<_, BoxError>(Verdict::Forward(packet))
    })
}

fn line(direction: &str, packet: &str, layer: &str, took_ms: u64) -> String {
    format!(
        "mproxy::session message=hooks blocked their thread event=block listener=test peer=unix \
         client_id=c direction={direction} packet={packet} layer={layer} took_ms={took_ms} \
         remedy=a layer must not block: await, or use spawn_blocking; if none blocks, give the \
         process more CPU"
    )
}

/// A hook that blocked for seven seconds was noticed by nobody but the other clients of its thread, who
/// waited for it.
#[tokio::test(start_paused = true)]
async fn a_hook_that_blocks_is_logged_once_a_session() {
    for waits in [false, true] {
        for up in [true, false] {
            let (lines, _guard) = Lines::gather();
            let pair = Setup::new()
                .connected(
                    Version::V5,
                    admit(move |_| {
                        let kinds = KindSet::PUBLISH | KindSet::SUBSCRIBE;
                        let tap = || Tap::only(kinds, blocking(waits));
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let (from, to) = if up {
                (&pair.client, &pair.broker)
            } else {
                (&pair.broker, &pair.client)
            };
            let direction = if up { "to_server" } else { "to_client" };
            for (topic, expected) in [
                ("0", None),
                ("100", None),
                ("101", Some(101)),
                ("7000", None),
            ] {
                let publish = F.publish(topic, 1, 7, b"x");
                from.send(&publish);
                settle().await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                to.expect(&publish).await;
                let expected = expected
                    .map(|took| line(direction, "PUBLISH", "ServiceFn, blocking::blocking", took));
                assert_eq!(
                    lines.take(),
                    expected.into_iter().collect::<Vec<_>>(),
                    "{topic}"
                );
            }
            if up {
                pair.client.send(&F.subscribe(9, &["300"]));
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            pair.end().await;
            let more = if up { 2 } else { 1 };
            let end = lines.take();
            assert_eq!(end.len(), 1, "{end:?}");
            assert!(
                end[0].contains("hooks blocked their thread again"),
                "{end:?}"
            );
            assert!(end[0].ends_with(&format!("suppressed={more}")), "{end:?}");
        }
    }
}

/// A server whose stacks are of one type, whatever its configuration says, knows their layers better:
/// the line named that type, `ToServer`, and no layer.
#[tokio::test(start_paused = true)]
async fn a_recorder_names_the_layers() {
    struct Named;

    impl Counters for Named {
        fn record(&self, _: Direction, _: &Batch) {}
    }

    impl Events for Named {
        fn layers(&self) -> Option<String> {
            Some("layer `a` (acl), layer `b` (http)".to_owned())
        }
    }

    let (lines, _guard) = Lines::gather();
    let tap = || Tap::only(KindSet::PUBLISH, blocking(false));
    let pair = Setup::new()
        .recorder(Arc::new(Named))
        .connected(Version::V5, admit(move |_| Hooks::new(tap(), Tap::none())))
        .await;
    pair.client.send(&F.publish("101", 0, 0, b"x"));
    pair.broker.take().await;
    let layers = "layer `a` (acl), layer `b` (http)";
    assert_eq!(lines.take(), [line("to_server", "PUBLISH", layers, 101)]);
}

/// The packet that was given last is named, whatever its type.
#[tokio::test(start_paused = true)]
async fn the_packet_is_named() {
    let (lines, _guard) = Lines::gather();
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| Hooks::new(Tap::all(blocking(false)), Tap::none())),
        )
        .await;
    pair.client.send(&F.subscribe(7, &["250"]));
    pair.broker.expect(&F.subscribe(7, &["250"])).await;
    let wanted = line(
        "to_server",
        "SUBSCRIBE",
        "ServiceFn, blocking::blocking",
        250,
    );
    assert_eq!(lines.take(), [wanted]);
    pair.end().await;
    assert!(lines.take().is_empty(), "there was no other");
}

/// What waits returns at once, however long it waits: for an answer or for a permit.
#[tokio::test(start_paused = true)]
async fn a_hook_that_waits_does_not_block() {
    let (lines, _guard) = Lines::gather();
    let gate = Gate::new();
    let held = gate.clone();
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| {
                let stack = ServiceBuilder::new()
                    .rate_limit(1, Duration::from_secs(60))
                    .service(by_topic(&held, &Seen::default()));
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    let held = F.publish("held", 0, 0, b"x");
    pair.client.send(&held.repeat(2));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        gate.open(1);
        pair.broker.expect(&held).await;
        tokio::time::sleep(Duration::from_secs(58)).await;
    }
    pair.end().await;
    assert!(lines.take().is_empty());
}

/// So are the CONNECT stage and what hooks make of a will.
#[tokio::test(start_paused = true)]
async fn a_connect_stage_that_blocks_is_logged() {
    let (lines, _guard) = Lines::gather();
    let connect = F.connect_with(&ConnectParts {
        client_id: "c",
        will: Some(("400", b"x")),
        ..Default::default()
    });
    let stage = service_fn(|connect: Connect| {
        block(300);
        let hooks = Hooks::new(Tap::only(KindSet::PUBLISH, blocking(false)), Tap::none());
        ready(Ok::<_, BoxError>(Admission::admit(connect, hooks)))
    });
    let pair = Setup::new().start(stage);
    pair.client.send(&connect);
    pair.broker.expect(&connect).await;
    let found = lines.take();
    let here = "ServiceFn, blocking::a_connect_stage_that_blocks_is_logged";
    let wanted = [
        line("to_server", "CONNECT", here, 300),
        line("to_server", "PUBLISH", "ServiceFn, blocking::blocking", 400),
    ];
    assert_eq!(found, wanted);
    pair.end().await;
    assert!(lines.take().is_empty());
}

/// A direction that offers nothing has no hooks to blame, and reads no clock.
#[tokio::test(start_paused = true)]
async fn a_direction_without_hooks_is_not_blamed() {
    let (lines, _guard) = Lines::gather();
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let quick = Tap::only(KindSet::SUBSCRIBE, Forward);
                Hooks::new(quick, Tap::only(KindSet::PUBLISH, blocking(false)))
            }),
        )
        .await;
    pair.client.send(&F.publish("700", 0, 0, b"x"));
    pair.broker.expect(&F.publish("700", 0, 0, b"x")).await;
    assert!(lines.take().is_empty());
    pair.broker.send(&F.publish("700", 0, 0, b"x"));
    pair.client.expect(&F.publish("700", 0, 0, b"x")).await;
    assert_eq!(lines.take().len(), 1);
}

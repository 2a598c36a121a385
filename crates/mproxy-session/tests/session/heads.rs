//! What was not seen cannot be allowed: taps that offer heads, and taps that offer nothing to a layer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mproxy_codec::{
    ConnectPacket, Direction, EncodeError, KindSet, PublishEdit, ReasonCode, Subscription, Version,
};
use mproxy_session::{
    BoxError, BoxPacketService, FilterLayer, Forward, HeadOnly, Hooks, OnPublishLayer,
    OnSubscribeLayer, Packet, PacketHead, PublishRef, Refusal, RewriteLayer, Tap, Verdict,
};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::support::frames::ConnectParts;
use crate::support::hooks::Seen;
use crate::support::{Frames, Setup, admit, assert_bytes, hex};

const F: Frames = Frames(Version::V5);

/// A payload filter under a tap of heads refused 10 bytes to 20 kB and let 100 kB through. It can no longer
/// be written there; where it can, what it sees is whole, of any size.
#[tokio::test(start_paused = true)]
async fn a_payload_filter_refuses_at_any_size() {
    for len in [1, 10, 20_000, 70_000, 100_000, 400_000] {
        let pair = Setup::new()
            .connected(
                Version::V5,
                admit(|_| {
                    let clean = OnPublishLayer::new(|publish: PublishRef<'_>| {
                        if publish.payload().last() == Some(&b'!') {
                            Err(Refusal::new(ReasonCode::PAYLOAD_FORMAT_INVALID))
                        } else {
                            Ok(())
                        }
                    });
                    Hooks::new(
                        Tap::only(KindSet::PUBLISH, clean.layer(Forward)),
                        Tap::none(),
                    )
                }),
            )
            .await;
        let mut payload = vec![b'x'; len];
        payload[len - 1] = b'!';
        pair.client.send(&F.publish("a", 1, 7, &payload));
        pair.broker.expect(b"").await;
        pair.client.expect(&hex("40 03 0007 99")).await;
        payload[len - 1] = b'.';
        let clean = F.publish("a", 1, 8, &payload);
        pair.client.send(&clean);
        assert_bytes(&pair.broker.take().await, &clean, "what is clean passes");
    }
}

/// `map` put a filter of payloads around a tap of heads, which was shown an empty payload from 64 KiB on.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_mapped_around_heads_sees_payloads() {
    for len in [1, 100_000, 400_000] {
        let clean = OnPublishLayer::new(|publish: PublishRef<'_>| {
            match publish.payload().last() == Some(&b'!') {
                true => Err(Refusal::new(ReasonCode::PAYLOAD_FORMAT_INVALID)),
                false => Ok(()),
            }
        });
        let hooks = admit(move |_| {
            let heads = Tap::only(KindSet::PUBLISH, Forward).head_only();
            Hooks::new(heads.map(|inner| clean.layer(inner)), Tap::none())
        });
        let pair = Setup::new().connected(Version::V5, hooks).await;
        let mut payload = vec![b'x'; len];
        payload[len - 1] = b'!';
        pair.client.send(&F.publish("a", 1, 7, &payload));
        pair.broker.expect(b"").await;
        pair.client.expect(&hex("40 03 0007 99")).await;
    }
}

/// `set_payload` in a tap of heads worked on a small PUBLISH and failed on a large one. A head has no such
/// method, and an edit that names a payload fails at once.
#[tokio::test(start_paused = true)]
async fn a_head_takes_no_payload_whatever_its_size() {
    for len in [1, 100, 100_000] {
        let seen = Seen::default();
        let notes = seen.clone();
        let pair = Setup::new()
            .connected(
                Version::V5,
                admit(move |_| {
                    let notes = notes.clone();
                    let change = RewriteLayer::heads(move |packet: &mut PacketHead| {
                        let edit = PublishEdit::new().topic("b").payload(b"other");
                        let outcome = packet.edit_publish(&edit);
                        notes.push(format!("{outcome:?}"));
                        outcome
                    });
                    let tap = Tap::only(KindSet::PUBLISH, change.layer(Forward)).head_only();
                    Hooks::new(tap, Tap::none())
                }),
            )
            .await;
        pair.client.send(&F.publish("a", 1, 7, &vec![b'x'; len]));
        pair.broker.expect(b"").await;
        pair.client.expect(&hex("40 03 0007 83")).await;
        assert_eq!(
            seen.take(),
            [format!("{:?}", Err::<(), _>(EncodeError::NoSuchField))]
        );
    }
}

/// A head says how long the payload is, and shows none of it: not in the packet's bytes, either.
#[tokio::test(start_paused = true)]
async fn a_head_shows_the_length_of_the_payload_and_nothing_of_it() {
    for up in [true, false] {
        for len in [0, 3, 100, 200_000] {
            let seen = Seen::default();
            let notes = seen.clone();
            let hook = service_fn(move |packet: PacketHead| {
                let publish = packet.publish().expect("a PUBLISH");
                notes.push(format!("{} {}", publish.topic(), publish.payload_len()));
                std::future::ready(Ok::<Verdict<HeadOnly>, BoxError>(Verdict::Forward(packet)))
            });
            let pair = Setup::new()
                .connected(
                    Version::V5,
                    admit(move |_| {
                        let tap = || Tap::only(KindSet::PUBLISH, hook.clone()).head_only();
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let publish = F.publish("a/b", 0, 0, &vec![b'x'; len]);
            let (from, to) = if up {
                (&pair.client, &pair.broker)
            } else {
                (&pair.broker, &pair.client)
            };
            from.send(&publish);
            assert_bytes(&to.take().await, &publish, "as it came");
            assert_eq!(seen.take(), [format!("a/b {len}")]);
        }
    }
}

/// The will of a client, too, is shown without its payload where heads are shown, and goes to the broker
/// with it.
#[tokio::test(start_paused = true)]
async fn a_head_of_a_will_is_a_head() {
    let seen = Seen::default();
    let notes = seen.clone();
    let pair = Setup::new().start(admit(move |_| {
        let notes = notes.clone();
        let change = RewriteLayer::heads(move |packet: &mut PacketHead| {
            let publish = packet.publish().expect("a PUBLISH");
            notes.push(format!("{} {}", publish.topic(), publish.payload_len()));
            packet.set_topic("t/a")
        });
        let tap = Tap::only(KindSet::PUBLISH, change.layer(Forward)).head_only();
        Hooks::new(tap, Tap::none())
    }));
    let connect = |topic| {
        F.connect_with(&ConnectParts {
            client_id: "c",
            will: Some((topic, b"last words")),
            ..Default::default()
        })
    };
    pair.client.send(&connect("a"));
    pair.broker.expect(&connect("t/a")).await;
    assert_eq!(seen.take(), ["a 10"]);
}

fn allow() -> OnPublishLayer<fn(PublishRef<'_>) -> Result<(), Refusal>> {
    OnPublishLayer::new(|_: PublishRef<'_>| Ok(()))
}

#[track_caller]
fn fails<T>(layer: &str, build: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(build)).err();
    let panic = panic.expect("a layer that is never asked must not be built");
    let message = panic.downcast_ref::<String>().expect("a text");
    assert!(message.contains(layer), "{message}");
    assert!(message.contains("never be asked"), "{message}");
}

/// An `OnPublishLayer` inside a tap that offers SUBSCRIBE was never asked, and all was allowed.
#[test]
fn a_layer_that_would_never_be_asked_cannot_be_built() {
    let publish = KindSet::PUBLISH;
    let subscribe = KindSet::SUBSCRIBE;
    let filters = || OnSubscribeLayer::new(|_: Subscription<'_>| Ok(()));
    fails("OnPublishLayer", || {
        Tap::only(subscribe, allow().layer(Forward))
    });
    fails("OnSubscribeLayer", || {
        Tap::only(publish, filters().layer(Forward))
    });
    fails("OnPublishLayer", || {
        Tap::only(KindSet::NONE, allow().layer(Forward))
    });
    // behind other layers
    let deep = || {
        ServiceBuilder::new()
            .layer(FilterLayer::new(|_: &Packet| Ok(())))
            .concurrency_limit(1)
            .layer(allow())
            .service(Forward)
    };
    fails("OnPublishLayer", || Tap::only(subscribe, deep()));
    // brought in by `map` and by `wrap`
    fails("OnPublishLayer", || {
        Tap::only(subscribe, Forward).map(|it| allow().layer(it))
    });
    fails("OnPublishLayer", || {
        Tap::only(subscribe, Forward).wrap(subscribe, |it| allow().layer(it))
    });
    fails("OnPublishLayer", || {
        Tap::none().wrap(subscribe, |it| allow().layer(it))
    });

    let _ = Tap::only(publish | subscribe, filters().layer(allow().layer(Forward)));
    let _ = Tap::all(deep());
    let _ = Tap::only(subscribe, Forward).wrap(publish, |it| allow().layer(it));
    // a tap in the service of another: what it wanted to see was forgotten, SUBSCRIBE for one
    let inside = || Tap::only(subscribe, filters().layer(Forward));
    let look = FilterLayer::new(|_: &Packet| Ok(()));
    let around = catch_unwind(AssertUnwindSafe(|| {
        Tap::only(publish, look.layer(inside()))
    }));
    assert!(around.is_err(), "a tap that forgets the one inside");
    let _ = inside().wrap(publish, |it| look.layer(it));
    // a broker sends no SUBSCRIBE
    let down = catch_unwind(AssertUnwindSafe(|| Hooks::new(Tap::none(), inside())));
    assert!(down.is_err(), "a hook in the wrong direction");
    let down = catch_unwind(AssertUnwindSafe(|| {
        Hooks::none().map(
            |up| up,
            |down| down.wrap(subscribe, |it| filters().layer(it)),
        )
    }));
    assert!(down.is_err(), "a hook in the wrong direction");
    // where the type is hidden nothing is found: documented
    let _ = Tap::only(subscribe, BoxPacketService::new(allow().layer(Forward)));
}

/// A tap inside of one that is not asked through it fails rather than being shown an empty payload.
#[tokio::test]
async fn a_whole_packet_is_not_made_of_a_head() {
    let connect = F.connect_with(&ConnectParts {
        client_id: "c",
        will: Some(("a", b"x")),
        ..Default::default()
    });
    let connect = ConnectPacket::parse(connect.into()).expect("valid");
    let will = Packet::of_will(&connect).expect("short").expect("a will");
    assert_eq!(will.publish().expect("a PUBLISH").payload(), b"x");
    assert!(will.is_will() && will.packet_id().is_none());
    assert_eq!(will.direction(), Direction::ToServer);
}

//! A will is a PUBLISH in advance: whoever judges publications judges it, at CONNECT.

use std::time::Duration;

use mproxy_codec::{
    ConnectBuilder, ConnectPacket, Direction, Kind, KindSet, Place, Properties, PropertyId,
    PublishEdit, QoS, ReasonCode, Value, Version, Will,
};
use mproxy_session::{
    Admission, BoxError, CloseReason, Connect, Handler, HandlerLayer, Hooks, Order, Packet,
    PacketHead, PacketService, PublishMut, Refusal, RefusedWill, RewriteLayer, SessionInfo, Side,
    Summary, Tap, Verdict,
};
use tower::{Layer, Service, service_fn};

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic, name_of};
use crate::support::{Frames, Setup, admit, admit_all, hex, settle};

const F5: Frames = Frames(Version::V5);

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[derive(Clone)]
struct Judge;

impl Handler for Judge {
    async fn auth_publish(&self, _: &SessionInfo, publish: &mut PublishMut) -> Result<(), Refusal> {
        if publish.topic().starts_with("denied") {
            return Err(Refusal::new(ReasonCode::NOT_AUTHORIZED));
        }
        if publish.topic() == "named" {
            publish.set_topic("renamed")?;
        }
        if publish.topic() == "paid" {
            publish.set_payload(&b"unpaid"[..]);
        }
        if publish.topic() == "bad" {
            publish.set_topic("bad/#")?;
        }
        Ok(())
    }
}

fn connect(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    Frames(version).connect_with(&ConnectParts {
        client_id: "c",
        keep_alive: 60,
        will: Some((topic, payload)),
        ..Default::default()
    })
}

/// A client that may not publish to a topic could still do so by dying: EMQX had this hole four
/// times, and the original never showed a will to anybody.
#[tokio::test(start_paused = true)]
async fn a_will_on_a_refused_topic_is_refused_at_connect() {
    for version in VERSIONS {
        let pair = Setup::new().start(HandlerLayer::new(Judge).layer(admit_all()));
        pair.client.send(&connect(version, "denied/t", b"x"));
        let wanted = if version.is_v5() {
            "20 03 00 87 00"
        } else {
            "20 02 00 05"
        };
        pair.client.expect(&hex(wanted)).await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.dials(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_is_rewritten_like_a_publish() {
    for version in VERSIONS {
        for (sent, received) in [
            (("a", &b"x"[..]), ("a", &b"x"[..])),
            (("named", b"x"), ("renamed", b"x")),
            (("paid", b"x"), ("paid", b"unpaid")),
        ] {
            let pair = Setup::new().start(HandlerLayer::new(Judge).layer(admit_all()));
            pair.client.send(&connect(version, sent.0, sent.1));
            pair.broker
                .expect(&connect(version, received.0, received.1))
                .await;
        }
    }
}

/// A hook cannot make an invalid topic: the callback is told, and with `?` it refuses. 0x83 said nothing of
/// what was wrong.
#[tokio::test(start_paused = true)]
async fn a_will_that_a_hook_makes_invalid_lets_nobody_in() {
    let pair = Setup::new().start(HandlerLayer::new(Judge).layer(admit_all()));
    pair.client.send(&connect(Version::V5, "bad", b"x"));
    pair.client.expect(&hex("20 03 00 90 00")).await;
    assert_eq!(pair.dials(), 0);
}

fn with_will(version: Version, will: Will<'_>) -> Vec<u8> {
    let connect = ConnectBuilder::new(version).client_id("c").keep_alive(60);
    let connect = connect.will(will).build().expect("valid");
    connect.as_bytes().to_vec()
}

/// Hooks for what the client publishes.
fn tapped<S: PacketService + Clone>(
    hook: S,
) -> impl Service<Connect, Response = Admission<S>, Error = BoxError, Future: Send> + Send {
    admit(move |_| Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none()))
}

/// What a hook sees is the PUBLISH that the broker would make of the will, and a CONNECT whose will no hook
/// changes is forwarded as the very bytes that came.
#[tokio::test(start_paused = true)]
async fn a_will_is_seen_as_the_publish_that_it_is() {
    let delayed = properties(&[
        (PropertyId::MessageExpiryInterval, Value::U32(9)),
        (PropertyId::WillDelayInterval, Value::U32(30)),
        (PropertyId::UserProperty, Value::Pair("k", "v")),
    ]);
    let delayed = Properties::parse(&delayed, Place::Will).expect("valid");
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retain in [false, true] {
                for waits in [false, true] {
                    let mut will = Will::new("a/b", b"last words").qos(qos).retain(retain);
                    if version.is_v5() {
                        will = will.properties(delayed);
                    }
                    let connect = with_will(version, will);
                    let seen = Seen::default();
                    let notes = seen.clone();
                    let pair = Setup::new().start(tapped(service_fn(move |packet: Packet| {
                        let publish = packet.publish().expect("a PUBLISH");
                        let ids: Vec<_> = publish.properties().iter().map(|it| it.id).collect();
                        notes.push(format!(
                            "{:?} {} {:?} {:?} {} {:?} {} {}",
                            packet.version(),
                            publish.topic(),
                            publish.payload(),
                            publish.qos(),
                            publish.retain(),
                            packet.packet_id().or_else(|| publish.packet_id()),
                            packet.is_will() && publish.is_will() && !publish.dup(),
                            ids.len(),
                        ));
                        async move {
                            if waits {
                                tokio::time::sleep(Duration::from_secs(1)).await;
                            }
                            Ok::<_, BoxError>(Verdict::Forward(packet))
                        }
                    })));
                    pair.client.send(&connect);
                    settle().await;
                    if waits {
                        assert_eq!(pair.dials(), 0, "the broker is not dialled before");
                        tokio::time::advance(Duration::from_secs(1)).await;
                    }
                    pair.broker.expect(&connect).await;
                    let count = if version.is_v5() { 2 } else { 0 };
                    let wanted = format!(
                        "{version:?} a/b {:?} {qos:?} {retain} None true {count}",
                        b"last words"
                    );
                    assert_eq!(seen.take(), [wanted]);
                }
            }
        }
    }
}

/// Topic, payload, QoS, RETAIN and properties: what a hook changes of the PUBLISH it changes of the will.
/// Will Delay Interval is not a property of a PUBLISH, and stays.
#[tokio::test(start_paused = true)]
async fn a_changed_publish_is_a_changed_will() {
    let of = |list: &[(PropertyId, Value<'_>)]| properties(list);
    let before = of(&[
        (PropertyId::WillDelayInterval, Value::U32(30)),
        (PropertyId::ContentType, Value::Str("text")),
    ]);
    let after = of(&[
        (PropertyId::WillDelayInterval, Value::U32(30)),
        (PropertyId::ContentType, Value::Str("text")),
        (PropertyId::UserProperty, Value::Pair("via", "m")),
    ]);
    for version in VERSIONS {
        let block = |block| {
            let block: &[u8] = if version.is_v5() { block } else { &[] };
            Properties::parse(block, Place::Will).expect("valid")
        };
        let pair = Setup::new().start(tapped(service_fn(|mut packet: Packet| {
            std::future::ready((|| {
                packet.add_user_property("via", "m")?;
                packet.set_payload(b"other")?;
                let edit = PublishEdit::new().topic("t/a").at_most_once().retain(false);
                packet.edit_publish(&edit)?;
                Ok::<_, BoxError>(Verdict::Forward(packet))
            })())
        })));
        let will = Will::new("a", b"x").qos(QoS::ExactlyOnce).retain(true);
        pair.client
            .send(&with_will(version, will.properties(block(&before))));
        let will = Will::new("t/a", b"other").properties(block(&after));
        pair.broker.expect(&with_will(version, will)).await;
    }
}

/// A will that is longer than a will may be is not cut: the client is not let in.
#[tokio::test(start_paused = true)]
async fn a_will_that_hooks_make_too_long_lets_nobody_in() {
    for version in VERSIONS {
        let pair = Setup::new().start(tapped(service_fn(|mut packet: Packet| {
            let longer = packet.set_payload(&vec![b'x'; 70_000]);
            std::future::ready(longer.map(|()| Verdict::Forward(packet)))
        })));
        pair.client.send(&with_will(version, Will::new("a", b"x")));
        let told = if version.is_v5() {
            "20 03 00 97 00"
        } else {
            "20 02 00 03"
        };
        let got = pair.client.take().await;
        assert_eq!(got[..3], hex(told)[..3], "{got:02x?}");
        assert_ne!(got[3], 0, "{got:02x?}");
        assert_eq!(pair.dials(), 0);
    }
}

/// The client hears the code and the text, the log who refused and by which rule.
#[tokio::test(start_paused = true)]
async fn a_refused_will_is_told_and_logged() {
    for version in VERSIONS {
        let pair = Setup::new().start(tapped(service_fn(|_: Packet| {
            let refusal = Refusal::new(ReasonCode::NOT_AUTHORIZED).with_text("not your topic");
            let refusal = refusal.with_origin("rule 7");
            std::future::ready(Ok::<_, BoxError>(Verdict::Refuse(refusal)))
        })));
        pair.client.send(&with_will(version, Will::new("a", b"x")));
        let told = if version.is_v5() {
            "20 14 00 87 11 1f000e 6e6f7420796f757220746f706963"
        } else {
            "20 02 00 05"
        };
        pair.client.expect(&hex(told)).await;
        assert_eq!(pair.dials(), 0);
        let summary = pair.end().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Proxy, CloseReason::AuthDenied)
        );
        assert_eq!(summary.detail.as_deref(), Some("not your topic: rule 7"));
        assert_eq!(summary.limit, Some("refused_will"));
        assert_eq!(summary.connack, summary.reason_code);
        assert!(!summary.dialled);
    }
}

/// Without its will, and not told: a hook that discards says so, and so does an operator who would rather
/// have the client.
#[tokio::test(start_paused = true)]
async fn a_will_is_stripped_where_the_hook_or_the_policy_says_so() {
    for version in VERSIONS {
        for (topic, policy) in [
            ("dropped", RefusedWill::RefuseClient),
            ("dropped", RefusedWill::Strip),
            ("denied", RefusedWill::Strip),
            ("texted", RefusedWill::Strip),
        ] {
            let setup = Setup::new().limits(|l| l.refused_will = policy);
            let pair = setup.start(tapped(by_topic(&Gate::new(), &Seen::default())));
            pair.client
                .send(&with_will(version, Will::new(topic, b"x").retain(true)));
            let f = Frames(version);
            pair.broker.expect(&f.connect("c")).await;
            pair.broker.send(&f.connack());
            assert!(!pair.client.take().await.is_empty());
            let denied = pair.end().await.to_server.denied;
            assert_eq!(denied, 1, "a CONNECT that was refused in part");
        }
    }
}

/// Whatever goes wrong over a will, nobody is let in and the broker is not dialled.
#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_over_a_will_nobody_gets_in() {
    for version in VERSIONS {
        for policy in [RefusedWill::RefuseClient, RefusedWill::Strip] {
            for (topic, code, detail) in [
                ("closed", 0x98, None),
                (
                    "failed",
                    0x83,
                    Some("a hook failed over the will: a hook fails on purpose"),
                ),
                ("panicked", 0x83, Some("a hook panicked over the will")),
                ("never", 0x83, Some("a hook took too long over the will")),
            ] {
                let setup = Setup::new().limits(|l| l.refused_will = policy);
                let pair = setup.start(tapped(by_topic(&Gate::new(), &Seen::default())));
                pair.client
                    .send(&with_will(version, Will::new(topic, b"x")));
                settle().await;
                tokio::time::advance(Duration::from_secs(6)).await;
                let got = pair.client.take().await;
                if version.is_v5() {
                    // 0x98 is no code of CONNACK: 0x87
                    let code = if code == 0x98 { 0x87 } else { code };
                    assert_eq!(got, hex(&format!("20 03 00 {code:02x} 00")), "{topic}");
                } else {
                    assert_eq!(got[..3], hex("20 02 00"), "{topic}");
                    assert_ne!(got[3], 0, "{topic}");
                }
                assert!(pair.client.is_ended());
                assert_eq!(pair.dials(), 0, "{topic}");
                let summary = pair.end().await;
                let said = summary.detail.as_deref().unwrap_or_default();
                assert!(said.starts_with(detail.unwrap_or_default()), "{said}");
                assert_eq!(summary.panicked, topic == "panicked");
                let hangs = topic == "never";
                assert_eq!(summary.limit, hangs.then_some("hook_timeout"));
            }
        }
    }
}

/// A panic over a will says that it was about the will: "CONNECT" would send its reader to the wrong layer.
#[tokio::test(start_paused = true)]
async fn a_panic_over_a_will_names_it() {
    let pair = Setup::new().start(tapped(by_topic(&Gate::new(), &Seen::default())));
    pair.client
        .send(&with_will(Version::V5, Will::new("panicked", b"x")));
    let summary = pair.end().await;
    let wanted = "a hook panicked over the will: a hook panics on purpose";
    assert_eq!(summary.detail.as_deref(), Some(wanted));
}

#[tokio::test(start_paused = true)]
async fn another_packet_in_place_of_the_will_lets_nobody_in() {
    for (what, frame) in [
        ("PINGREQ in place of the will", F5.pingreq()),
        ("PUBLISH in place of the will", F5.publish("a", 0, 0, b"x")),
        (
            "the will of MQTT 3.1.1 in place of the client's",
            Vec::new(),
        ),
    ] {
        let pair = Setup::new().start(tapped(service_fn(move |_: Packet| {
            let packet = if frame.is_empty() {
                let connect = with_will(Version::V311, Will::new("a", b"x"));
                let connect = ConnectPacket::parse(connect.into()).expect("valid");
                Packet::of_will(&connect).expect("short").expect("a will")
            } else {
                Packet::parse(Version::V5, Direction::ToServer, frame.clone().into())
                    .expect("valid")
            };
            std::future::ready(Ok::<_, BoxError>(Verdict::Forward(packet)))
        })));
        pair.client
            .send(&with_will(Version::V5, Will::new("a", b"x")));
        pair.client.expect(&hex("20 03 00 83 00")).await;
        assert_eq!(pair.dials(), 0);
        let detail = pair.end().await.detail;
        assert_eq!(detail, Some(format!("a hook forwarded {what}")));
    }
}

/// A stack that does not judge PUBLISH has nothing to say about a will, and a client without one has none
/// to be judged.
#[tokio::test(start_paused = true)]
async fn a_will_is_offered_where_publish_is() {
    for version in VERSIONS {
        let f = Frames(version);
        let seen = Seen::default();
        let hook = by_topic(&Gate::new(), &seen);
        let kinds = KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE | KindSet::of(Kind::Pingreq);
        let only_hook = hook.clone();
        let pair = Setup::new().start(admit(move |_| {
            Hooks::new(
                Tap::only(kinds, only_hook.clone()),
                // what goes to the client is none of the will's business
                Tap::all(only_hook.clone()),
            )
        }));
        let connect = with_will(version, Will::new("denied", b"x"));
        pair.client.send(&connect);
        pair.broker.expect(&connect).await;
        assert_eq!(seen.take(), [""; 0]);

        let pair = Setup::new().start(tapped(hook));
        pair.client.send(&f.connect("c"));
        pair.broker.expect(&f.connect("c")).await;
        assert_eq!(seen.take(), [""; 0]);
    }
}

/// Of taps inside one another, those see it that are offered PUBLISH, the outer one first.
#[tokio::test(start_paused = true)]
async fn nested_taps_see_a_will_as_they_see_a_publish() {
    let (outer, middle, inner) = (Seen::default(), Seen::default(), Seen::default());
    let notes = (outer.clone(), middle.clone(), inner.clone());
    let pair = Setup::new().start(admit(move |_| {
        let (outer, middle, inner) = notes.clone();
        let rename = RewriteLayer::heads(move |packet: &mut PacketHead| {
            outer.push(name_of(packet));
            packet.set_topic("renamed")
        });
        let innermost = Tap::only(KindSet::PUBLISH, by_topic(&Gate::new(), &inner));
        let tap = innermost
            .wrap(KindSet::SUBSCRIBE, |tap| {
                let look = RewriteLayer::new(move |packet: &mut Packet| {
                    middle.push(name_of(packet));
                    Ok::<_, Refusal>(())
                });
                look.layer(tap)
            })
            .wrap_heads(KindSet::PUBLISH, |tap| rename.layer(tap));
        Hooks::new(tap, Tap::none())
    }));
    pair.client
        .send(&with_will(Version::V5, Will::new("a", b"x")));
    let wanted = with_will(Version::V5, Will::new("renamed", b"x"));
    pair.broker.expect(&wanted).await;
    assert_eq!(outer.take(), ["a"]);
    assert_eq!(
        middle.take(),
        ["renamed"],
        "a service around a tap is offered what it is"
    );
    assert_eq!(inner.take(), ["renamed"]);
}

struct Telling(Seen);

impl Handler for Telling {
    async fn auth_publish(&self, _: &SessionInfo, publish: &mut PublishMut) -> Result<(), Refusal> {
        self.0
            .push(format!("auth {} {}", publish.topic(), publish.is_will()));
        Ok(())
    }

    async fn publish(&self, _: &SessionInfo, publish: &PublishMut) {
        self.0.push(format!("publish {}", publish.topic()));
    }
}

/// Nothing was published yet: it is not counted, and `Handler::publish`, which tells of what was, does not
/// tell of it.
#[tokio::test(start_paused = true)]
async fn a_will_is_not_counted_as_a_publish() {
    let seen = Seen::default();
    let stage = HandlerLayer::new(Telling(seen.clone())).layer(admit_all());
    let pair = Setup::new().start(stage);
    let connect = with_will(Version::V5, Will::new("a", b"x"));
    pair.open(&connect, &F5.connack()).await;
    assert_eq!(seen.take(), ["auth a true"]);
    pair.client.send(&F5.publish("b", 0, 0, b"x"));
    pair.broker.expect(&F5.publish("b", 0, 0, b"x")).await;
    assert_eq!(seen.take(), ["auth b false", "publish b"]);
    let summary = pair.end().await;
    assert_eq!(summary.to_server.publishes, 1);
    assert_eq!(summary.to_server.packets, 2);
}

/// While a hook thinks about a will, an order and a client that leaves are heard, and the notice of the end
/// comes as for any admitted client.
#[tokio::test(start_paused = true)]
async fn an_order_ends_a_session_whose_will_is_with_the_hooks() {
    let seen = Seen::default();
    let notes = seen.clone();
    let hook = by_topic(&Gate::new(), &Seen::default());
    let pair = Setup::new().start(admit(move |_| {
        let notes = notes.clone();
        Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none()).on_close(
            move |summary: &Summary| {
                notes.push(summary.reason.to_string());
                async {}
            },
        )
    }));
    pair.client
        .send(&with_will(Version::V5, Will::new("never", b"x")));
    settle().await;
    assert!(pair.is_running());
    pair.handle.close(Order::kick());
    let dials = pair.dials();
    let reason = pair.summary().await.reason;
    assert_eq!((dials, seen.take()), (0, vec![reason.to_string()]));
}

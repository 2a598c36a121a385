//! What each verdict puts on the wire, to both sides, for each packet type, QoS and version.

use std::time::Duration;

use mproxy_codec::{
    Direction, Kind, KindSet, PropertyId, QoS, ReasonCode, Subscription, SubscriptionOptions,
    Value, Version,
};
use mproxy_session::{
    BoxError, CloseReason, Conformance, Forward, Hooks, OnSubscribeLayer, Packet, PacketService,
    RefusedPublish, Side, Tap, Verdict,
};
use tower::{Layer, service_fn};

use crate::support::frames::{ConnectParts, packet, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{CONFORMANCES, Frames, Pair, Setup, admit, admit_all, hex};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const V3: [Version; 2] = [Version::V31, Version::V311];

/// A connected pair whose packets of both directions are judged by topic.
async fn judged(version: Version) -> (Pair, Seen) {
    judged_with(version, Setup::new()).await
}

async fn judged_with(version: Version, setup: Setup) -> (Pair, Seen) {
    let seen = Seen::default();
    let kinds = KindSet::PUBLISH | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    let hook = by_topic(&Gate::new(), &seen);
    let hooks = admit(move |_| {
        Hooks::new(
            Tap::only(kinds, hook.clone()),
            Tap::only(kinds, hook.clone()),
        )
    });
    (setup.connected(version, hooks).await, seen)
}

/// Sends from the client; says what must arrive at the broker and come back.
macro_rules! up {
    ($pair:expr, $sent:expr => $broker:expr, $client:expr) => {
        $pair.client.send(&$sent);
        $pair.broker.expect(&$broker).await;
        $pair.client.expect(&$client).await;
    };
}

/// Sends from the broker; says what must arrive at the client and come back.
macro_rules! down {
    ($pair:expr, $sent:expr => $client:expr, $broker:expr) => {
        $pair.broker.send(&$sent);
        $pair.client.expect(&$client).await;
        $pair.broker.expect(&$broker).await;
    };
}

const NOTHING: [u8; 0] = [];

#[tokio::test(start_paused = true)]
async fn a_refused_publish_of_qos_0_is_dropped_in_silence() {
    for version in VERSIONS {
        let f = Frames(version);
        for verdict in ["denied", "dropped"] {
            let (pair, _) = judged(version).await;
            let sent = f.publish(&format!("{verdict}/t"), 0, 0, b"x");
            up!(pair, sent => NOTHING, NOTHING);
            up!(pair, f.pingreq() => f.pingreq(), NOTHING);
            let summary = pair.end().await;
            assert_eq!(summary.to_server.denied, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_publish_of_qos_1_or_2_is_told_in_mqtt_5() {
    let f = Frames(Version::V5);
    let (pair, _) = judged(Version::V5).await;
    up!(pair, f.publish("denied/t", 1, 7, b"x") => NOTHING, hex("40 03 0007 87"));
    up!(pair, f.publish("denied/t", 2, 8, b"x") => NOTHING, hex("50 03 0008 87"));
    up!(pair, f.publish("texted/t", 1, 9, b"x") => NOTHING, hex("40 09 0009 97 05 1f0002 6e6f"));
    // the exchange is over and the identifier free: what the client does with it next is new
    up!(pair, f.publish("a", 2, 8, b"x") => f.publish("a", 2, 8, b"x"), NOTHING);
    assert_eq!(pair.end().await.to_server.denied, 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_no_texts_gets_none() {
    let f = Frames(Version::V5);
    let seen = Seen::default();
    let hook = by_topic(&Gate::new(), &seen);
    let pair = Setup::new().start(admit(move |_| {
        Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none())
    }));
    let no_texts = properties(&[(PropertyId::RequestProblemInformation, Value::Byte(0))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &no_texts,
        ..Default::default()
    });
    pair.open(&connect, &f.connack()).await;
    up!(pair, f.publish("texted/t", 1, 9, b"x") => NOTHING, hex("40 03 0009 97"));
}

/// MQTT 3 has no word for "no": acknowledging is the default, because closing makes naive devices
/// connect and send the same again, for ever.
#[tokio::test(start_paused = true)]
async fn a_refused_publish_is_acknowledged_in_mqtt_3() {
    for version in V3 {
        let f = Frames(version);
        for verdict in ["denied", "dropped"] {
            let topic = format!("{verdict}/t");
            let (pair, _) = judged(version).await;
            up!(pair, f.publish(&topic, 1, 7, b"x") => NOTHING, f.puback(7));
            up!(pair, f.publish(&topic, 2, 8, b"x") => NOTHING, f.pubrec(8));
            up!(pair, f.pubrel(8) => NOTHING, f.pubcomp(8));
            assert_eq!(pair.end().await.to_server.denied, 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_publish_closes_where_the_policy_says_so() {
    for version in V3 {
        let f = Frames(version);
        for qos in [1, 2] {
            let setup = Setup::new().limits(|l| l.refused_publish = RefusedPublish::Disconnect);
            let (pair, _) = judged_with(version, setup).await;
            up!(pair, f.publish("denied/t", qos, 7, b"x") => NOTHING, NOTHING);
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            assert_eq!(pair.end().await.reason, CloseReason::AclDenied);

            // who discards wants nobody to notice
            let setup = Setup::new().limits(|l| l.refused_publish = RefusedPublish::Disconnect);
            let (pair, _) = judged_with(version, setup).await;
            let answer = if qos == 1 { f.puback(7) } else { f.pubrec(7) };
            up!(pair, f.publish("dropped/t", qos, 7, b"x") => NOTHING, answer);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_discarded_publish_is_acknowledged_as_if_it_had_arrived() {
    for version in VERSIONS {
        let f = Frames(version);
        let (pair, _) = judged(version).await;
        up!(pair, f.publish("dropped/t", 1, 7, b"x") => NOTHING, f.puback(7));
        up!(pair, f.publish("dropped/t", 2, 8, b"x") => NOTHING, f.pubrec(8));
        up!(pair, f.pubrel(8) => NOTHING, f.pubcomp(8));
        // released: the next PUBREL with this identifier is none of the proxy's business
        up!(pair, f.pubrel(8) => f.pubrel(8), NOTHING);
    }
}

/// Until its PUBREL a QoS 2 PUBLISH that was answered here is the same message however often it
/// comes: it is answered again, and reaches neither the hooks' effects nor the broker twice
/// [MQTT-4.3.3-2].
#[tokio::test(start_paused = true)]
async fn a_repeated_qos_2_publish_is_answered_again_and_not_judged_again() {
    for version in VERSIONS {
        let f = Frames(version);
        let (pair, seen) = judged(version).await;
        let publish = f.publish("dropped/t", 2, 8, b"x");
        up!(pair, publish => NOTHING, f.pubrec(8));
        assert_eq!(seen.take(), ["dropped/t"]);
        up!(pair, publish => NOTHING, f.pubrec(8));
        up!(pair, Frames::again(publish.clone()) => NOTHING, f.pubrec(8));
        // also when it now looks like one that would be allowed
        up!(pair, f.publish("allowed/t", 2, 8, b"x") => NOTHING, f.pubrec(8));
        assert_eq!(seen.take(), [""; 0]);
        up!(pair, f.pubrel(8) => NOTHING, f.pubcomp(8));
        // another identifier was never affected
        up!(pair, f.publish("a/t", 2, 9, b"x") => f.publish("a/t", 2, 9, b"x"), NOTHING);
        up!(pair, f.pubrel(9) => f.pubrel(9), NOTHING);
        down!(pair, f.pubcomp(9) => f.pubcomp(9), NOTHING);
    }
}

#[tokio::test(start_paused = true)]
async fn dup_does_not_get_a_publish_past_its_hook() {
    for version in VERSIONS {
        let f = Frames(version);
        let (pair, seen) = judged(version).await;
        pair.client
            .send(&Frames::again(f.publish("denied/t", 1, 7, b"x")));
        pair.broker.expect(&NOTHING).await;
        assert_eq!(seen.take(), ["denied/t"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_closes_ends_the_session_with_its_reason() {
    for version in VERSIONS {
        let f = Frames(version);
        for sent in [
            f.publish("closed/t", 1, 7, b"x"),
            f.subscribe(7, &["closed/#"]),
            f.unsubscribe(7, &["closed/#"]),
        ] {
            let (pair, _) = judged(version).await;
            pair.client.send(&sent);
            pair.client.expect_plain(&f.farewell(0x98)).await;
            pair.broker.expect(&NOTHING).await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(
                (summary.side, summary.reason),
                (Side::Proxy, CloseReason::AclDenied)
            );
            let told = version.is_v5().then_some(ReasonCode::ADMINISTRATIVE_ACTION);
            assert_eq!(summary.reason_code, told, "MQTT 3 has no word for it");
        }
        let (pair, _) = judged(version).await;
        pair.broker.send(&f.publish("closed/t", 1, 7, b"x"));
        pair.client.expect_plain(&f.farewell(0x98)).await;
        pair.broker.expect(&NOTHING).await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_publish_differs_in_its_topic_only() {
    for version in VERSIONS {
        let f = Frames(version);
        let (pair, _) = judged(version).await;
        for qos in 0..3 {
            let id = u16::from(qos);
            up!(pair, f.publish("from/t", qos, id, b"x") => f.publish("to/t", qos, id, b"x"), NOTHING);
            down!(pair, f.publish("from/t", qos, id, b"x") => f.publish("to/t", qos, id, b"x"), NOTHING);
        }
    }
}

/// Whoever drops a delivery answers it in the client's name: a broker that waits for the answer
/// stops sending once its window is full, and the client never hears anything again.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_not_delivered_is_acknowledged_to_the_broker() {
    for version in VERSIONS {
        let f = Frames(version);
        for verdict in ["denied", "dropped"] {
            let topic = format!("{verdict}/t");
            let (pair, _) = judged(version).await;
            down!(pair, f.publish(&topic, 0, 0, b"x") => NOTHING, NOTHING);
            down!(pair, f.publish(&topic, 1, 7, b"x") => NOTHING, f.puback(7));
            down!(pair, f.publish(&topic, 2, 8, b"x") => NOTHING, f.pubrec(8));
            // sent again before its PUBREL, it is still one delivery
            down!(pair, Frames::again(f.publish(&topic, 2, 8, b"x")) => NOTHING, f.pubrec(8));
            down!(pair, f.pubrel(8) => NOTHING, f.pubcomp(8));
            // and now the identifier is the client's again
            down!(pair, f.publish("a/t", 2, 8, b"x") => f.publish("a/t", 2, 8, b"x"), NOTHING);
            down!(pair, f.pubrel(8) => f.pubrel(8), NOTHING);
            assert_eq!(pair.end().await.to_client.denied, 4);
        }
    }
}

/// Identifiers of the two directions are different identifiers.
#[tokio::test(start_paused = true)]
async fn the_same_identifier_in_both_directions_does_not_mix() {
    let f = Frames(Version::V311);
    let (pair, _) = judged(Version::V311).await;
    up!(pair, f.publish("denied/t", 2, 8, b"x") => NOTHING, f.pubrec(8));
    down!(pair, f.publish("a/t", 2, 8, b"x") => f.publish("a/t", 2, 8, b"x"), NOTHING);
    down!(pair, f.pubrel(8) => f.pubrel(8), NOTHING);
    up!(pair, f.pubcomp(8) => f.pubcomp(8), NOTHING);
    up!(pair, f.pubrel(8) => NOTHING, f.pubcomp(8));
}

/// A SUBSCRIBE hook that refuses filters which begin with "denied", renames those that begin with
/// "from", and adds "extra" when the first filter says so.
fn by_filter() -> impl PacketService + Clone {
    service_fn(|mut packet: Packet| async move {
        let first = packet.subscribe().and_then(|s| {
            s.subscriptions()
                .next()
                .map(|entry| entry.filter.to_string())
        });
        packet.map_filters(|filter| {
            if filter.starts_with("denied") {
                return Err(ReasonCode::NOT_AUTHORIZED);
            }
            Ok(filter.strip_prefix("from").map(|rest| format!("to{rest}")))
        })?;
        if first.is_some_and(|filter| filter.starts_with("plus")) {
            packet.add_filter("extra", SubscriptionOptions::new(QoS::AtMostOnce))?;
        }
        Ok::<_, BoxError>(Verdict::Forward(packet))
    })
}

async fn filtered(version: Version) -> Pair {
    filtered_with(version, Setup::new()).await
}

async fn filtered_with(version: Version, setup: Setup) -> Pair {
    let kinds = KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    setup
        .connected(
            version,
            admit(move |_| Hooks::new(Tap::only(kinds, by_filter()), Tap::none())),
        )
        .await
}

const fn refused(version: Version) -> u8 {
    if version.is_v5() { 0x87 } else { 0x80 }
}

#[tokio::test(start_paused = true)]
async fn a_partly_refused_subscribe_is_answered_in_the_clients_order() {
    for version in VERSIONS {
        let f = Frames(version);
        let no = refused(version);
        // asked, forwarded, granted, merged
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [u8], &'a [u8]);
        let cases: [Case<'_>; 4] = [
            (&["denied/1", "a", "b"], &["a", "b"], &[1, 2], &[no, 1, 2]),
            (&["a", "denied/1", "b"], &["a", "b"], &[1, 2], &[1, no, 2]),
            (
                &["a", "b", "denied/1"],
                &["a", "b"],
                &[0x80, 0],
                &[0x80, 0, no],
            ),
            (
                &["denied/1", "a", "denied/2", "denied/3", "b", "denied/4"],
                &["a", "b"],
                &[0, 1],
                &[no, 0, no, no, 1, no],
            ),
        ];
        for (asked, forwarded, granted, merged) in cases {
            let pair = filtered(version).await;
            up!(pair, f.subscribe(5, asked) => f.subscribe(5, forwarded), NOTHING);
            down!(pair, f.suback(5, granted) => f.suback(5, merged), NOTHING);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_may_overtake_the_suback_that_is_merged() {
    let f = Frames(Version::V311);
    let pair = filtered(Version::V311).await;
    up!(pair, f.subscribe(5, &["denied/1", "a"]) => f.subscribe(5, &["a"]), NOTHING);
    let retained = f.publish("a", 0, 0, b"retained");
    down!(pair, [retained.clone(), f.suback(5, &[1])].concat()
        => [retained, f.suback(5, &[0x80, 1])].concat(), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_request_in_any_order() {
    let f = Frames(Version::V5);
    let pair = filtered(Version::V5).await;
    pair.client.send(&f.subscribe(5, &["denied/1", "a"]));
    pair.client.send(&f.subscribe(6, &["b", "denied/1", "c"]));
    pair.client.send(&f.unsubscribe(7, &["d", "e"]));
    pair.broker.take().await;
    down!(pair, f.unsuback(7, &[0, 0x11]) => f.unsuback(7, &[0, 0x11]), NOTHING);
    down!(pair, f.suback(6, &[1, 2]) => f.suback(6, &[1, 0x87, 2]), NOTHING);
    down!(pair, f.suback(5, &[0]) => f.suback(5, &[0x87, 0]), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_wholly_refused_subscribe_is_answered_here() {
    for version in VERSIONS {
        let f = Frames(version);
        let no = refused(version);
        // filter by filter
        let pair = filtered(version).await;
        up!(pair, f.subscribe(5, &["denied/1", "denied/2"]) => NOTHING, f.suback(5, &[no, no]));
        // as a whole
        let (pair, _) = judged(version).await;
        up!(pair, f.subscribe(5, &["denied/1", "a"]) => NOTHING, f.suback(5, &[no, no]));
        up!(pair, f.subscribe(6, &["dropped/1", "a"]) => NOTHING, f.suback(6, &[no, no]));
        // the identifier is free again
        up!(pair, f.subscribe(5, &["a"]) => f.subscribe(5, &["a"]), NOTHING);
    }
}

/// Which no it is is the hook's choice, for a filter and for the whole packet: whatever a SUBACK can
/// carry. MQTT 3.x knows one.
#[tokio::test(start_paused = true)]
async fn a_hook_chooses_the_code_of_a_refused_filter() {
    fn code(filter: &str) -> Option<ReasonCode> {
        let code = u8::from_str_radix(filter.strip_prefix("no/")?, 16).ok()?;
        Some(ReasonCode::new(code))
    }
    let asked = ["no/80", "no/83", "no/87", "no/8f", "no/91", "no/97"];
    let asked = [&asked[..], &["no/9e", "no/a1", "no/a2", "no/8c", "no/00"]].concat();
    // the last two are no refusals that a SUBACK could carry
    let told = [
        0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2, 0x87, 0x87,
    ];
    for version in VERSIONS {
        let f = Frames(version);
        let told = told.map(|code| if version.is_v5() { code } else { 0x80 });
        let judge = |entry: Subscription<'_>| code(&entry.filter).map_or(Ok(()), Err);
        let each = OnSubscribeLayer::new(judge).layer(Forward);
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::all(each), Tap::none())),
            )
            .await;
        up!(pair, f.subscribe(5, &asked) => NOTHING, f.suback(5, &told));
        let more = [&asked[..], &["a"]].concat();
        up!(pair, f.subscribe(6, &more) => f.subscribe(6, &["a"]), NOTHING);
        let merged = [&told[..], &[1]].concat();
        down!(pair, f.suback(6, &[1]) => f.suback(6, &merged), NOTHING);

        let whole = service_fn(|packet: Packet| async move {
            let first = packet.subscribe().and_then(|it| it.subscriptions().next());
            let code = first.and_then(|entry| code(&entry.filter));
            Ok::<_, BoxError>(code.map_or(Verdict::Forward(packet), Verdict::refuse))
        });
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::only(KindSet::SUBSCRIBE, whole), Tap::none())),
            )
            .await;
        for (filter, told) in asked.iter().zip(told) {
            up!(pair, f.subscribe(7, &[filter, "a"]) => NOTHING, f.suback(7, &[told, told]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_added_filter_is_answered_to_nobody() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = filtered(version).await;
        up!(pair, f.subscribe(5, &["plus/1", "denied/2", "a"])
            => added(&f, 5, &["plus/1", "a"]), NOTHING);
        down!(pair, f.suback(5, &[1, 2, 0]) => f.suback(5, &[1, refused(version), 2]), NOTHING);
    }
}

/// SUBSCRIBE of these filters at QoS 1 and "extra" at QoS 0.
fn added(f: &Frames, id: u16, filters: &[&str]) -> Vec<u8> {
    let all: Vec<&str> = filters.iter().copied().chain(["extra"]).collect();
    let mut packet = f.subscribe(id, &all);
    *packet.last_mut().expect("options") = 0;
    packet
}

#[tokio::test(start_paused = true)]
async fn an_added_filter_survives_the_refusal_of_all_others() {
    let f = Frames(Version::V311);
    let pair = Setup::new()
        .connected(
            Version::V311,
            admit(|_| {
                let hook = service_fn(|mut packet: Packet| async move {
                    packet.add_filter("extra", SubscriptionOptions::new(QoS::AtMostOnce))?;
                    packet.map_filters(|filter| match filter {
                        "extra" => Ok(None),
                        _ => Err(ReasonCode::NOT_AUTHORIZED),
                    })?;
                    Ok::<_, BoxError>(Verdict::Forward(packet))
                });
                Hooks::new(Tap::only(KindSet::SUBSCRIBE, hook), Tap::none())
            }),
        )
        .await;
    up!(pair, f.subscribe(5, &["a", "b"]) => added(&f, 5, &[]), NOTHING);
    down!(pair, f.suback(5, &[0]) => f.suback(5, &[0x80, 0x80]), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn unsubscribe_is_mapped_like_subscribe() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = filtered(version).await;
        up!(pair, f.subscribe(5, &["from/1", "a"]) => f.subscribe(5, &["to/1", "a"]), NOTHING);
        down!(pair, f.suback(5, &[1, 1]) => f.suback(5, &[1, 1]), NOTHING);
        up!(pair, f.unsubscribe(6, &["from/1", "a"]) => f.unsubscribe(6, &["to/1", "a"]), NOTHING);
        let codes: &[u8] = if version.is_v5() { &[0, 0x11] } else { &[] };
        down!(pair, f.unsuback(6, codes) => f.unsuback(6, codes), NOTHING);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_unsubscribe_is_answered() {
    for version in VERSIONS {
        let f = Frames(version);
        let (pair, _) = judged(version).await;
        let codes: &[u8] = if version.is_v5() { &[0x87, 0x87] } else { &[] };
        up!(pair, f.unsubscribe(6, &["denied/1", "a"]) => NOTHING, f.unsuback(6, codes));
        // and in part
        let pair = filtered(version).await;
        up!(pair, f.unsubscribe(6, &["denied/1", "a"]) => f.unsubscribe(6, &["a"]), NOTHING);
        let (granted, merged): (&[u8], &[u8]) = if version.is_v5() {
            (&[0], &[0x87, 0])
        } else {
            (&[], &[])
        };
        down!(pair, f.unsuback(6, granted) => f.unsuback(6, merged), NOTHING);
    }
}

/// An answer that cannot be merged is an error of the broker. One that has nothing to be merged with
/// passes: how many codes it has is between the broker and the client, unless strict.
#[tokio::test(start_paused = true)]
async fn an_answer_with_the_wrong_number_of_codes_closes_both_sides_where_it_is_merged() {
    for version in VERSIONS {
        let f = Frames(version);
        for (codes, conformance) in [&[1_u8][..], &[1, 1, 1]]
            .into_iter()
            .flat_map(|codes| CONFORMANCES.map(|it| (codes, it)))
        {
            let pair = filtered_with(version, Setup::new().conformance(conformance)).await;
            pair.client.send(&f.subscribe(5, &["a", "denied/1", "b"]));
            pair.broker.take().await;
            pair.broker.send(&f.suback(5, codes));
            pair.client.expect(b"").await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            assert_eq!(pair.end().await.reason, CloseReason::UpstreamProtocolError);

            // all filters allowed, and no hooks at all
            let setup = || Setup::new().conformance(conformance);
            let allows = || {
                let hook = OnSubscribeLayer::new(|_: Subscription<'_>| Ok(())).layer(Forward);
                Hooks::new(Tap::only(KindSet::SUBSCRIBE, hook), Tap::none())
            };
            let tapped = setup().connected(version, admit(move |_| allows())).await;
            let untapped = setup().connected(version, admit_all()).await;
            for pair in [tapped, untapped] {
                up!(pair, f.subscribe(5, &["a", "b"]) => f.subscribe(5, &["a", "b"]), NOTHING);
                pair.broker.send(&f.suback(5, codes));
                if conformance == Conformance::Tolerant {
                    pair.client.expect(&f.suback(5, codes)).await;
                    assert!(pair.is_running());
                } else {
                    pair.client.expect(b"").await;
                    assert_eq!(pair.end().await.reason, CloseReason::UpstreamProtocolError);
                }
            }
        }
    }
}

/// A topic map that leaves a filter as it is, or gives it another name, has nothing to add to the
/// codes and none to take away: the answer passes as it comes, whatever the number of its codes.
#[tokio::test(start_paused = true)]
async fn an_answer_whose_codes_stay_as_they_are_is_not_merged() {
    for version in VERSIONS {
        let f = Frames(version);
        for (asked, mapped) in [("a", "a"), ("from/a", "to/a")] {
            let pair = filtered(version).await;
            let (asked, mapped) = ([asked, "b"], [mapped, "b"]);
            up!(pair, f.subscribe(5, &asked) => f.subscribe(5, &mapped), NOTHING);
            down!(pair, f.suback(5, &[1]) => f.suback(5, &[1]), NOTHING);
            assert!(pair.is_running());
        }
    }
}

/// What a broker answers to nothing that is known, a repeated request of an earlier connection for
/// one, is between it and the client. It used to be dropped.
#[tokio::test(start_paused = true)]
async fn an_answer_to_no_known_request_passes() {
    for (version, conformance) in VERSIONS
        .into_iter()
        .flat_map(|version| CONFORMANCES.map(|it| (version, it)))
    {
        let f = Frames(version);
        let codes: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let setup = || Setup::new().conformance(conformance);
        let pair = filtered_with(version, setup()).await;
        pair.client.send(&f.subscribe(5, &["denied/1", "a"]));
        pair.broker.take().await;
        down!(pair, f.suback(6, &[1]) => f.suback(6, &[1]), NOTHING);
        down!(pair, f.unsuback(5, codes) => f.unsuback(5, codes), NOTHING);
        down!(pair, f.suback(5, &[1]) => f.suback(5, &[refused(version), 1]), NOTHING);
        down!(pair, f.suback(5, &[1]) => f.suback(5, &[1]), NOTHING);
        assert!(pair.is_running());

        let pair = setup().connected(version, admit_all()).await;
        down!(pair, f.suback(6, &[1]) => f.suback(6, &[1]), NOTHING);
        down!(pair, f.unsuback(5, codes) => f.unsuback(5, codes), NOTHING);
        assert!(pair.is_running());
    }
}

/// Nobody can answer another packet in the place of its receiver. A hook that discarded all that it did not
/// know discarded DISCONNECT too, and the will of a client that had said goodbye was published. A CONNACK
/// that is refused leaves no client without an answer.
#[tokio::test(start_paused = true)]
async fn other_packets_pass_whatever_hooks_say_and_a_connack_becomes_a_refusal() {
    for version in VERSIONS {
        let f = Frames(version);
        let refuse = |kinds| {
            let hook = service_fn(|_: Packet| async {
                Ok::<_, BoxError>(Verdict::refuse(ReasonCode::NOT_AUTHORIZED))
            });
            Tap::only(kinds, hook)
        };
        let discard = |waits: bool| {
            service_fn(move |_: Packet| async move {
                if waits {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok::<_, BoxError>(Verdict::Discard)
            })
        };
        let answers = [Kind::Pingresp, Kind::Puback, Kind::Pubcomp];
        let answers = answers
            .into_iter()
            .fold(KindSet::NONE, |set, kind| set | KindSet::of(kind));
        for waits in [false, true] {
            let pair = Setup::new()
                .connected(
                    version,
                    admit(move |_| {
                        let hook = discard(waits);
                        Hooks::new(Tap::all(hook), Tap::only(answers, hook))
                    }),
                )
                .await;
            for packet in [f.pingreq(), f.puback(4), f.ack(Kind::Pubrel, 5, 0)] {
                pair.client.send(&packet);
                tokio::time::sleep(Duration::from_secs(2)).await;
                pair.broker.expect(&packet).await;
            }
            pair.client.send(&f.publish("a", 0, 0, b"x"));
            for packet in [f.pingresp(), f.puback(6), f.ack(Kind::Pubcomp, 5, 0)] {
                pair.broker.send(&packet);
                tokio::time::sleep(Duration::from_secs(2)).await;
                pair.client.expect(&packet).await;
            }
            assert!(pair.is_running());
            pair.client.send(&f.disconnect());
            tokio::time::sleep(Duration::from_secs(2)).await;
            pair.broker.expect(&f.disconnect()).await;
            assert_eq!(pair.end().await.reason, CloseReason::Disconnect);
        }

        let pings = KindSet::of(Kind::Pingreq) | KindSet::of(Kind::Puback);
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(refuse(pings), Tap::none())),
            )
            .await;
        up!(pair, f.pingreq() => f.pingreq(), NOTHING);
        up!(pair, f.puback(4) => f.puback(4), NOTHING);
        assert!(pair.is_running());

        let pair = Setup::new().start(admit(move |_| {
            Hooks::new(Tap::none(), refuse(KindSet::CONNACK))
        }));
        pair.client.send(&f.connect("c"));
        pair.broker.take().await;
        pair.broker.send(&f.connack());
        let wanted = if version.is_v5() {
            "20 03 00 87 00"
        } else {
            "20 02 00 05"
        };
        pair.client.expect_plain(&hex(wanted)).await;
        let summary = pair.end().await;
        assert!(!summary.established());
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_are_told_the_direction_and_the_version() {
    for version in VERSIONS {
        let f = Frames(version);
        let seen = Seen::default();
        let notes = seen.clone();
        let hook = service_fn(move |packet: Packet| {
            let way = if packet.direction() == Direction::ToServer {
                "up"
            } else {
                "down"
            };
            notes.push(format!("{way} {} {}", packet.version(), packet.kind()));
            async move { Ok::<_, BoxError>(Verdict::Forward(packet)) }
        });
        let pair = Setup::new()
            .connected(
                version,
                admit(move |_| Hooks::new(Tap::all(hook.clone()), Tap::all(hook.clone()))),
            )
            .await;
        up!(pair, f.pingreq() => f.pingreq(), NOTHING);
        down!(pair, f.pingresp() => f.pingresp(), NOTHING);
        let wanted = [
            format!("down {version} connack"),
            format!("up {version} pingreq"),
            format!("down {version} pingresp"),
        ];
        assert_eq!(seen.take(), wanted);
    }
}

/// What stands before a refused packet in the same read is forwarded before, what stands behind it
/// after, and the answer enters the other direction between packets.
#[tokio::test(start_paused = true)]
async fn verdicts_in_the_middle_of_a_read_break_the_run_at_their_place_only() {
    for version in VERSIONS {
        let f = Frames(version);
        let (pair, _) = judged(version).await;
        let sent = [
            f.publish("a/1", 0, 0, b"1"),
            f.publish("denied/t", 1, 7, b"x"),
            f.publish("a/2", 1, 8, b"2"),
            f.publish("from/t", 0, 0, b"3"),
            f.pingreq(),
            f.publish("dropped/t", 0, 0, b"x"),
            f.publish("a/4", 0, 0, b"4"),
        ]
        .concat();
        let forwarded = [
            f.publish("a/1", 0, 0, b"1"),
            f.publish("a/2", 1, 8, b"2"),
            f.publish("to/t", 0, 0, b"3"),
            f.pingreq(),
            f.publish("a/4", 0, 0, b"4"),
        ]
        .concat();
        let answer = if version.is_v5() {
            hex("40 03 0007 87")
        } else {
            f.puback(7)
        };
        up!(pair, sent => forwarded, answer);
    }
}

/// A client's Maximum Packet Size holds for what hooks make of a delivery: one that grew too large
/// is discarded as if it had been delivered.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_a_hook_made_too_large_is_acknowledged_instead() {
    let f = Frames(Version::V5);
    let hook = service_fn(|mut packet: Packet| async move {
        packet.set_payload(&[0; 100])?;
        Ok::<_, BoxError>(Verdict::Forward(packet))
    });
    let pair = Setup::new().start(admit(move |_| {
        Hooks::new(Tap::none(), Tap::only(KindSet::PUBLISH, hook))
    }));
    let small = properties(&[(PropertyId::MaximumPacketSize, Value::U32(60))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &small,
        ..Default::default()
    });
    pair.open(&connect, &f.connack()).await;
    down!(pair, f.publish("a", 0, 0, b"x") => NOTHING, NOTHING);
    down!(pair, f.publish("a", 1, 7, b"x") => NOTHING, f.puback(7));
    down!(pair, f.publish("a", 2, 8, b"x") => NOTHING, f.pubrec(8));
    down!(pair, f.pubrel(8) => NOTHING, f.pubcomp(8));
}

/// The same towards the broker: the client is told, as far as its version has words, and the
/// broker never has a reason to throw the client out for what the proxy did.
#[tokio::test(start_paused = true)]
async fn a_publish_that_a_hook_made_too_large_for_the_broker_is_refused() {
    let f = Frames(Version::V5);
    let hook = service_fn(|mut packet: Packet| async move {
        packet.set_payload(&[0; 100])?;
        Ok::<_, BoxError>(Verdict::Forward(packet))
    });
    let pair = Setup::new().start(admit(move |_| {
        Hooks::new(Tap::only(KindSet::PUBLISH, hook), Tap::none())
    }));
    let small = properties(&[(PropertyId::MaximumPacketSize, Value::U32(60))]);
    pair.open(&f.connect("c"), &f.connack_with(0, &small)).await;
    up!(pair, f.publish("a", 0, 0, b"x") => NOTHING, NOTHING);
    pair.client.send(&f.publish("a", 1, 7, b"x"));
    pair.broker.expect(&NOTHING).await;
    pair.client.expect_plain(&hex("40 03 0007 97")).await;
}

/// What a hook makes of a packet is checked like what a client sends: a topic with a wildcard, one of
/// 70,000 bytes, a filter that is none. A hook that reports the error is a hook that failed.
#[tokio::test(start_paused = true)]
async fn a_hook_that_makes_nonsense_fails_closed() {
    let long = "x".repeat(70_000);
    for topic in ["a/#", "+", "", "a\0b", &long] {
        for version in VERSIONS {
            let f = Frames(version);
            let topic = topic.to_owned();
            let hook = service_fn(move |mut packet: Packet| {
                let topic = topic.clone();
                async move {
                    packet.set_topic(&topic)?;
                    Ok::<_, BoxError>(Verdict::Forward(packet))
                }
            });
            let pair = Setup::new()
                .connected(
                    version,
                    admit(move |_| {
                        Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none())
                    }),
                )
                .await;
            pair.client.send(&f.publish("a", 1, 1, b"x"));
            pair.broker.expect(&NOTHING).await;
            pair.client.expect_plain(&f.farewell(0x83)).await;
            assert_eq!(pair.end().await.reason, CloseReason::HookFailed);
        }
    }
    for filter in ["a/#/b", "a+", "", "$share/g"] {
        let f = Frames(Version::V5);
        let hook = service_fn(move |mut packet: Packet| async move {
            packet.map_filters(|_| Ok(Some(filter.to_owned())))?;
            Ok::<_, BoxError>(Verdict::Forward(packet))
        });
        let pair = Setup::new()
            .connected(
                Version::V5,
                admit(move |_| Hooks::new(Tap::only(KindSet::SUBSCRIBE, hook), Tap::none())),
            )
            .await;
        pair.client.send(&f.subscribe(1, &["a"]));
        pair.broker.expect(&NOTHING).await;
        pair.client.expect_plain(&f.farewell(0x83)).await;
    }
}

/// Only a PUBLISH used to be measured again after the hooks: the broker got a SUBSCRIBE larger than
/// it takes, and closed the connection for it.
#[tokio::test(start_paused = true)]
async fn a_request_that_a_hook_made_too_large_for_the_broker_is_refused() {
    let longer = service_fn(|mut packet: Packet| async move {
        packet.map_filters(|filter| Ok(Some(filter.repeat(200))))?;
        Ok::<_, BoxError>(Verdict::Forward(packet))
    });
    let f = Frames(Version::V5);
    let pair = Setup::new().start(admit(move |_| {
        let kinds = KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
        Hooks::new(Tap::only(kinds, longer), Tap::none())
    }));
    let size = properties(&[(PropertyId::MaximumPacketSize, Value::U32(300))]);
    pair.open(&f.connect("c"), &f.connack_with(0, &size)).await;
    pair.client.send(&f.subscribe(7, &["a", "b"]));
    let answer = without_properties(&pair.client.take().await);
    assert_eq!(answer, f.suback(7, &[0x97, 0x97]));
    pair.client.send(&f.unsubscribe(8, &["a", "b"]));
    let answer = without_properties(&pair.client.take().await);
    assert_eq!(answer, f.unsuback(8, &[0x83, 0x83]));
    pair.broker.expect(b"").await;
    // one that fits goes on
    pair.client.send(&f.subscribe(9, &["a"]));
    pair.broker
        .expect(&f.subscribe(9, &[&"a".repeat(200)]))
        .await;
}

/// A SUBACK or UNSUBACK without its Reason String.
fn without_properties(answer: &[u8]) -> Vec<u8> {
    let length = usize::from(answer[4]);
    packet(
        answer[0],
        &[&answer[2..4], &[0], &answer[5 + length..]].concat(),
    )
}

/// 0x11 is no refusal, and was replaced by 0x87 where no filter was left.
#[tokio::test(start_paused = true)]
async fn who_unsubscribes_from_what_it_never_had_is_told_so() {
    let refuse = service_fn(|mut packet: Packet| async move {
        packet.map_filters(|_| Err(ReasonCode::NO_SUBSCRIPTION_EXISTED))?;
        Ok::<_, BoxError>(Verdict::Forward(packet))
    });
    let f = Frames(Version::V5);
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(move |_| Hooks::new(Tap::only(KindSet::UNSUBSCRIBE, refuse), Tap::none())),
        )
        .await;
    pair.client.send(&f.unsubscribe(8, &["a", "b"]));
    pair.client.expect(&f.unsuback(8, &[0x11, 0x11])).await;
    pair.broker.expect(b"").await;
}

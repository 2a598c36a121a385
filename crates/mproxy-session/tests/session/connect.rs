//! CONNECT and CONNACK: who is let in, and what the others are told.

use std::time::Duration;

use mproxy_codec::{Foreign, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{
    Admission, BoxError, CloseReason, Conformance, Connect, ConnectRefusal, Forward, Hooks, Order,
    Side, Tap, Versions, WhenUnreachable,
};
use tower::service_fn;

use crate::support::frames::{ConnectParts, packet, properties, string};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::pair::{Dial, Stage};
use crate::support::{CONFORMANCES, Frames, Setup, UNREACHABLE, admit, admit_all, hex, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// A CONNECT stage that turns everybody away.
fn refuse_all(refusal: ConnectRefusal) -> impl Stage {
    service_fn(move |_: Connect| {
        let refusal = refusal.clone();
        async move { Ok::<Admission, BoxError>(Admission::Refuse(refusal)) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_in_the_words_of_the_version() {
    let cases = [
        (Version::V31, ReasonCode::NOT_AUTHORIZED, "20 02 00 05"),
        (Version::V311, ReasonCode::NOT_AUTHORIZED, "20 02 00 05"),
        (Version::V5, ReasonCode::NOT_AUTHORIZED, "20 03 00 87 00"),
        (
            Version::V311,
            ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            "20 02 00 04",
        ),
        (
            Version::V5,
            ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            "20 03 00 86 00",
        ),
        (
            Version::V311,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            "20 02 00 02",
        ),
        (
            Version::V5,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            "20 03 00 85 00",
        ),
        (Version::V311, ReasonCode::SERVER_BUSY, "20 02 00 03"),
        (Version::V5, ReasonCode::SERVER_BUSY, "20 03 00 89 00"),
        (Version::V311, ReasonCode::BANNED, "20 02 00 05"),
        // not a code that a CONNACK may carry, and not a failure: it was 0x80, which MQTT 3 told as 3, try
        // again, where every other packet of a refusal said 0x87
        (
            Version::V5,
            ReasonCode::PACKET_IDENTIFIER_IN_USE,
            "20 03 00 87 00",
        ),
        (Version::V5, ReasonCode::SUCCESS, "20 03 00 87 00"),
        (Version::V311, ReasonCode::SUCCESS, "20 02 00 05"),
    ];
    for (version, reason, wanted) in cases {
        let pair = Setup::new().start(refuse_all(ConnectRefusal::new(reason)));
        pair.client.send(&Frames(version).connect("c"));
        pair.client.expect_plain(&hex(wanted)).await;
        assert!(pair.client.is_ended(), "{version} {reason}");
        assert_eq!(pair.dials(), 0, "the broker is not troubled");
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::AuthDenied);
        assert_eq!(summary.side, Side::Proxy);
        assert_eq!(summary.version, Some(version));
        assert!(!summary.established());
    }
}

/// The log did not say which of several layers had refused, and the only text that reached it was one
/// that the client is told as well.
#[tokio::test(start_paused = true)]
async fn who_refused_is_for_the_log_and_not_for_the_client() {
    let by = "layer `ids`";
    let refusal = || ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_origin(by);
    for (refusal, wire, detail) in [
        (refusal(), "20 03 00 87 00", "layer `ids`"),
        (
            refusal().with_text("no"),
            "20 08 00 87 05 1f 00 02 6e 6f",
            "no: layer `ids`",
        ),
    ] {
        let pair = Setup::new().start(refuse_all(refusal));
        pair.client.send(&Frames(Version::V5).connect("c"));
        pair.client.expect(&hex(wire)).await;
        let summary = pair.end().await;
        assert_eq!(summary.detail.as_deref(), Some(detail));
        assert!(!summary.dialled);
    }
}

#[tokio::test(start_paused = true)]
async fn the_text_of_a_refusal_reaches_clients_that_can_read_it() {
    let refusal = || ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_text("no");
    let pair = Setup::new().start(refuse_all(refusal()));
    pair.client.send(&Frames(Version::V5).connect("c"));
    pair.client
        .expect(&hex("20 08 00 87 05 1f 00 02 6e 6f"))
        .await;
    let pair = Setup::new().start(refuse_all(refusal()));
    pair.client.send(&Frames(Version::V311).connect("c"));
    pair.client.expect_plain(&hex("20 02 00 05")).await;
    assert_eq!(pair.end().await.detail.as_deref(), Some("no"));
}

/// A hook that fails must not let anybody in, and must not leave the client without an answer
/// either: one that gets none tries again at once, and for ever.
#[tokio::test(start_paused = true)]
async fn a_connect_hook_that_fails_turns_the_client_away_with_an_answer() {
    for (version, wanted) in [
        (Version::V311, "20 02 00 03"),
        (Version::V5, "20 03 00 83 00"),
    ] {
        let pair = Setup::new().start(service_fn(|_: Connect| async {
            Err::<Admission, BoxError>("the database is down".into())
        }));
        pair.client.send(&Frames(version).connect("c"));
        pair.client.expect_plain(&hex(wanted)).await;
        assert_eq!(pair.dials(), 0);
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::HookFailed);
        assert!(
            summary
                .detail
                .as_deref()
                .is_some_and(|detail| detail.contains("database"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_hook_that_takes_too_long_turns_the_client_away() {
    for (version, wanted) in [
        (Version::V311, "20 02 00 03"),
        (Version::V5, "20 03 00 83 00"),
    ] {
        let pair = Setup::new()
            .limits(|limits| limits.hook_timeout = Duration::from_secs(3))
            .start(service_fn(|_: Connect| {
                std::future::pending::<Result<Admission, BoxError>>()
            }));
        pair.client.send(&Frames(version).connect("c"));
        pair.client.expect(b"").await;
        tokio::time::advance(Duration::from_secs(3)).await;
        pair.client.expect_plain(&hex(wanted)).await;
        assert_eq!(pair.end().await.reason, CloseReason::HookFailed);
    }
}

/// Panics of the CONNECT stage closed the connection without a word: what was known of the client
/// by then, its version above all, was lost with the future that panicked.
#[tokio::test(start_paused = true)]
async fn a_connect_hook_that_panics_turns_the_client_away_with_an_answer() {
    for (version, wanted) in [
        (Version::V311, "20 02 00 03"),
        (Version::V5, "20 03 00 83 00"),
    ] {
        let pair = Setup::new().start(service_fn(|connect: Connect| async move {
            assert_eq!(connect.packet().client_id(), "", "a hook panics on purpose");
            Err::<Admission, BoxError>("not reached".into())
        }));
        pair.client.send(&Frames(version).connect("device"));
        pair.client.expect_plain(&hex(wanted)).await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::HookFailed);
        assert!(summary.panicked);
        assert_eq!(summary.version, Some(version));
        assert_eq!(
            summary.session.as_ref().map(|session| session.client_id()),
            Some("device")
        );
    }
}

/// What a client hears of a broker that does not answer, for every version and value of
/// `when_unreachable`, whether strict or not.
fn unavailable() -> impl Iterator<Item = (Version, impl Fn() -> Setup, Vec<u8>)> {
    let settings = VERSIONS.into_iter().flat_map(|version| {
        let both = CONFORMANCES.map(|conformance| UNREACHABLE.map(|choice| (conformance, choice)));
        let both = both.into_iter().flatten();
        both.map(move |(conformance, choice)| (version, conformance, choice))
    });
    settings.map(|(version, conformance, choice)| {
        let wanted = match (choice, version.is_v5()) {
            (WhenUnreachable::Close, _) => Vec::new(),
            (WhenUnreachable::Connack, false) => hex("20 02 00 03"),
            (WhenUnreachable::Connack, true) => hex("20 03 00 88 00"),
        };
        let setup = move || {
            let setup = Setup::new().conformance(conformance);
            setup.when_unreachable(choice)
        };
        (version, setup, wanted)
    })
}

/// C1: the broker was stopped, the client connected meanwhile, and never again: MQTT.js and
/// mosquitto_sub take CONNACK 3 and 0x88 as final. Without a proxy they see a connection that ends.
#[tokio::test(start_paused = true)]
async fn an_unreachable_broker_is_the_end_of_the_connection_or_told_as_unavailable() {
    for (version, setup, wanted) in unavailable() {
        let pair = setup().dial(Dial::Refuse).start(admit_all());
        pair.client.send(&Frames(version).connect("c"));
        pair.client.expect_plain(&wanted).await;
        assert!(pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UpstreamUnreachable);
        assert_eq!(summary.side, Side::Upstream);
        let told = (!wanted.is_empty()).then_some(ReasonCode::SERVER_UNAVAILABLE);
        assert_eq!(
            summary.connack, told,
            "what the client got, and nothing else"
        );
        assert_eq!(summary.reason_code, told);
    }
}

#[tokio::test(start_paused = true)]
async fn no_broker_is_dialled_before_the_client_is_admitted() {
    let gate = Gate::new();
    let held = gate.clone();
    let pair = Setup::new().start(service_fn(move |connect: Connect| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            Ok::<_, BoxError>(Admission::admit(connect, Hooks::none()))
        }
    }));
    settle().await;
    assert_eq!(pair.dials(), 0, "before the first byte");
    let connect = Frames(Version::V311).connect("c");
    pair.client.send(&connect[..5]);
    settle().await;
    assert_eq!(pair.dials(), 0, "before CONNECT is whole");
    pair.client.send(&connect[5..]);
    settle().await;
    assert_eq!(pair.dials(), 0, "before the hook has decided");
    gate.open(1);
    pair.broker.expect(&connect).await;
    assert_eq!(pair.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_served_is_told_so() {
    let only_v311 = |limits: &mut mproxy_session::Limits| {
        limits.versions = Versions::NONE.with(Version::V311);
    };
    for (version, wanted) in [
        (Version::V31, "20 02 00 01"),
        (Version::V5, "20 03 00 84 00"),
    ] {
        let pair = Setup::new().limits(only_v311).start(admit_all());
        pair.client.send(&Frames(version).connect("c"));
        pair.client.expect_plain(&hex(wanted)).await;
        assert_eq!(pair.dials(), 0);
        assert_eq!(pair.end().await.reason, CloseReason::UnsupportedVersion);
    }
    let pair = Setup::new().limits(only_v311).start(admit_all());
    pair.client.send(&Frames(Version::V311).connect("c"));
    assert!(!pair.broker.take().await.is_empty());
}

/// A level that nobody knows is answered in the form that its sender can read: levels above 5 are of
/// a later MQTT, which knows that of 5.0; the rest gets the form of 3.1.1. Bit 7 belongs to mosquitto's
/// bridges and has no meaning in MQTT 5.0.
#[tokio::test(start_paused = true)]
async fn an_unknown_level_is_answered_and_an_unknown_name_is_not() {
    for level in 0..=255_u8 {
        for name in ["MQTT", "MQIsdp"] {
            let properties: &[u8] = if (level, name) == (5, "MQTT") {
                &[0]
            } else {
                &[]
            };
            let body = [
                &string(name)[..],
                &[level, 2, 0, 60],
                properties,
                &string("c"),
            ];
            let connect = packet(0x10, &body.concat());
            let pair = Setup::new().start(admit_all());
            pair.client.send(&connect);
            let refused = match (name, level) {
                ("MQTT", 4 | 5 | 0x84) | ("MQIsdp", 3 | 0x83) => None,
                ("MQTT", 6..=0x7f) => Some("20 03 00 84 00"),
                _ => Some("20 02 00 01"),
            };
            let Some(refused) = refused else {
                pair.broker.expect(&connect).await;
                continue;
            };
            pair.client.expect_plain(&hex(refused)).await;
            assert!(pair.client.is_ended(), "{name} {level:02x}");
            assert_eq!(pair.dials(), 0);
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::UnsupportedVersion);
            let glimpse = summary.glimpse.expect("a glimpse of the CONNECT");
            assert_eq!(glimpse.level, Some(level));
            assert_eq!(glimpse.field, Some("protocol level"));
        }
    }

    let pair = Setup::new().start(admit_all());
    pair.client
        .send(&hex("10 0d 00 04 68747470 04 02 003c 0001 63"));
    pair.client.expect(b"").await;
    assert!(pair.client.is_ended());
}

#[tokio::test(start_paused = true)]
async fn an_empty_client_id_without_a_clean_session_is_refused_before_mqtt_5() {
    let pair = Setup::new().start(admit_all());
    pair.client
        .send(&hex("10 0c 00 04 4d515454 04 00 003c 0000"));
    pair.client.expect_plain(&hex("20 02 00 02")).await;
    assert!(pair.client.is_ended());

    let connect = hex("10 0d 00 04 4d515454 05 00 003c 00 0000");
    let pair = Setup::new().start(admit_all());
    pair.client.send(&connect);
    pair.broker.expect(&connect).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_for_connect_is_for_all_of_it() {
    let pair = Setup::new()
        .limits(|limits| limits.connect_timeout = Duration::from_secs(10))
        .start(admit_all());
    settle().await;
    // a byte every three seconds keeps no connection alive
    for byte in &Frames(Version::V311).connect("c")[..3] {
        pair.client.send(&[*byte]);
        tokio::time::advance(Duration::from_secs(3)).await;
        settle().await;
        assert!(!pair.client.is_ended());
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    pair.client.expect(b"").await;
    assert!(pair.client.is_ended());
    assert_eq!(pair.dials(), 0);
    let summary = pair.end().await;
    assert_eq!(summary.reason, CloseReason::ConnectTimeout);
    assert_eq!((summary.to_server.packets, summary.to_server.bytes), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_connect_is_no_news() {
    for sent in [&b""[..], b"\x10\x0d\x00"] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(sent);
        pair.client.finish();
        let summary = pair.summary().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Client, CloseReason::Eof)
        );
        assert!(summary.session.is_none() && summary.connack.is_none());
        // a client that said nothing and one that said half of it are told apart
        let came = (summary.to_server.packets, summary.to_server.bytes);
        assert_eq!(came, (0, sent.len() as u64));
    }
    let pair = Setup::new().start(admit_all());
    pair.client.reset();
    assert_eq!(pair.summary().await.reason, CloseReason::Reset);
}

/// Judged by its first byte: a PUBLISH that announces 256 MiB is not waited for.
#[tokio::test(start_paused = true)]
async fn a_first_packet_that_is_not_connect_closes_without_a_word() {
    for first in [0x00, 0x20, 0x30, 0x82, 0xc0, 0xe0, 0xf0, 0x47] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(&[first]);
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended(), "{first:02x}");
        assert_eq!(pair.dials(), 0);
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::ProtocolError);
        assert_eq!((summary.to_server.packets, summary.to_server.bytes), (0, 1));
    }
    // TLS, on a port that has none: might be a CONNECT of MQTT 3.1 with flags, for two bytes more
    let pair = Setup::new().start(admit_all());
    pair.client.send(&[0x16, 0x03]);
    pair.client.expect(b"").await;
    assert!(!pair.client.is_ended());
    pair.client.send(&[0x01]);
    pair.client.expect(b"").await;
    assert!(pair.client.is_ended());
    let summary = pair.end().await;
    // the protocol that it is, not the flags that it would have as a CONNECT
    assert_eq!(summary.reason, CloseReason::ProtocolError);
    assert_eq!(summary.foreign, Some(Foreign::Tls));
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_too_large_is_refused_at_its_length() {
    let pair = Setup::new().start(admit_all());
    pair.client.send(&hex("10 ff ff ff 7f"));
    pair.client.expect(b"").await;
    assert!(pair.client.is_ended());
    let summary = pair.end().await;
    assert_eq!(summary.reason, CloseReason::PacketTooLarge);
    assert_eq!(summary.limit, Some("max_connect_size"));
}

/// Two CONNECT packets are an authentication bypass if the second is believed: the first as a
/// guest, the second as somebody.
#[tokio::test(start_paused = true)]
async fn a_second_connect_reaches_neither_hook_nor_broker() {
    for version in VERSIONS {
        let f = Frames(version);
        let asked = Seen::default();
        let seen = asked.clone();
        let stage = move || {
            let seen = seen.clone();
            service_fn(move |connect: Connect| {
                seen.push(connect.packet().client_id());
                async move { Ok::<_, BoxError>(Admission::admit(connect, Hooks::none())) }
            })
        };
        // later
        let pair = Setup::new().connected(version, stage()).await;
        pair.client.send(&f.connect("admin"));
        pair.broker.expect(b"").await;
        assert!(pair.broker.is_ended() && pair.client.is_ended());
        pair.client.expect_plain(&f.farewell(0x82)).await;
        assert_eq!(asked.take(), ["c"]);
        assert_eq!(pair.end().await.reason, CloseReason::ProtocolError);

        // in the same segment
        let pair = Setup::new().start(stage());
        pair.client
            .send(&[f.connect("guest"), f.connect("admin")].concat());
        pair.broker.expect(&f.connect("guest")).await;
        pair.broker.send(&f.connack());
        pair.client
            .expect_plain(&[f.connack(), f.farewell(0x82)].concat())
            .await;
        pair.broker.expect(b"").await;
        assert_eq!(asked.take(), ["guest"]);
        assert_eq!(pair.end().await.reason, CloseReason::ProtocolError);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pipelined_behind_connect_waits_for_connack() {
    for version in VERSIONS {
        let f = Frames(version);
        let seen = Seen::default();
        let hook = by_topic(&Gate::new(), &seen);
        let pair = Setup::new().start(admit(move |_| {
            Hooks::new(Tap::only(KindSet::PUBLISH, hook.clone()), Tap::none())
        }));
        let publish = f.publish("a/b", 1, 1, b"early");
        pair.client
            .send(&[f.connect("c"), publish.clone()].concat());
        pair.broker.expect(&f.connect("c")).await;
        assert_eq!(seen.take(), [""; 0], "no hook before CONNACK");
        pair.broker.send(&f.connack());
        pair.broker.expect(&publish).await;
        assert_eq!(seen.take(), ["a/b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pipelined_behind_a_refused_connect_is_never_processed() {
    for version in VERSIONS {
        let f = Frames(version);
        let pipelined = [
            f.connect("c"),
            f.publish("a/b", 1, 1, b"x"),
            f.subscribe(2, &["#"]),
        ]
        .concat();
        // refused by a hook
        let refusal = ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED);
        let pair = Setup::new().start(refuse_all(refusal.clone()));
        pair.client.send(&pipelined);
        assert!(pair.client.take().await.starts_with(&[0x20]));
        assert!(pair.client.is_ended());
        assert_eq!(pair.dials(), 0);
        assert!(pair.end().await.to_server.packets <= 1);

        // refused by the broker
        let seen = Seen::default();
        let hook = by_topic(&Gate::new(), &seen);
        let pair = Setup::new().start(admit(move |_| {
            Hooks::new(Tap::all(hook.clone()), Tap::none())
        }));
        pair.client.send(&pipelined);
        pair.broker.expect(&f.connect("c")).await;
        let code = if version.is_v5() { 0x87 } else { 5 };
        pair.broker.send(&f.connack_with(code, &[]));
        pair.client.expect(&f.connack_with(code, &[])).await;
        pair.broker.expect(b"").await;
        assert_eq!(seen.take(), [""; 0]);
        assert_eq!(pair.end().await.reason, CloseReason::UpstreamRefused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_broker_is_forwarded_and_then_both_are_closed() {
    for version in VERSIONS {
        let f = Frames(version);
        let code = if version.is_v5() { 0x87 } else { 5 };
        let pair = Setup::new().start(admit_all());
        pair.client.send(&f.connect("c"));
        pair.broker.take().await;
        // nothing may follow a refusal, and nothing of it is passed on
        pair.broker
            .send(&[f.connack_with(code, &[]), f.publish("a/b", 0, 0, b"x")].concat());
        pair.client.expect(&f.connack_with(code, &[])).await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UpstreamRefused);
        assert_eq!(summary.connack, Some(ReasonCode::NOT_AUTHORIZED));
        assert!(!summary.established());
    }
}

/// A broker without MQTT 5.0 answers in the only form it knows (section 3.1.2.2), and clients of MQTT
/// 5.0 that fall back to 3.1.1 know that form. It passes as it is, and nothing follows it.
#[tokio::test(start_paused = true)]
async fn an_old_brokers_refusal_passes_to_a_client_of_mqtt_5() {
    for tapped in [false, true] {
        for conformance in CONFORMANCES {
            for code in 1..=5 {
                let tap = move || match tapped {
                    true => Tap::all(Forward),
                    false => Tap::none(),
                };
                let setup = Setup::new().conformance(conformance);
                let pair = setup.start(admit(move |_| Hooks::new(tap(), tap())));
                pair.client.send(&Frames(Version::V5).connect("c"));
                pair.broker.take().await;
                pair.broker.send(&[0x20, 2, 0, code, 0xd0, 0]);
                pair.client.expect(&[0x20, 2, 0, code]).await;
                assert!(pair.client.is_ended() && pair.broker.is_ended());
                let summary = pair.end().await;
                assert_eq!(summary.reason, CloseReason::UpstreamRefused);
                let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
                assert!(!summary.established());
                if code == 1 {
                    assert_eq!(summary.connack, Some(unsupported));
                }
            }
        }
    }
}

/// A broker's own return code was taken for a broken broker: the client was closed without a word, and tried again for
/// ever, where it had given up, or said why, without a proxy. Whatever the code means, it is a refusal (MQTT 3.1.1,
/// section 3.2.2.3).
#[tokio::test(start_paused = true)]
async fn a_return_code_of_the_brokers_own_passes_to_a_client_before_mqtt_5() {
    for version in [Version::V31, Version::V311] {
        for tapped in [false, true] {
            for (flags, code) in [(0, 6), (1, 6), (0, 0x80), (0, 0xff)] {
                let tap = move || match tapped {
                    true => Tap::all(Forward),
                    false => Tap::none(),
                };
                let admit_all = move || admit(move |_| Hooks::new(tap(), tap()));
                let pair = Setup::new().start(admit_all());
                pair.client.send(&Frames(version).connect("c"));
                pair.broker.take().await;
                pair.broker.send(&[0x20, 2, flags, code, 0xd0, 0]);
                pair.client.expect(&[0x20, 2, 0, code]).await;
                assert!(pair.client.is_ended() && pair.broker.is_ended());
                let summary = pair.end().await;
                assert_eq!(summary.reason, CloseReason::UpstreamRefused);
                assert_eq!(summary.connack, Some(ReasonCode::UNSPECIFIED_ERROR));
                let detail = summary.detail.as_deref().unwrap_or_default();
                assert!(detail.contains(&format!("return code {code}")), "{detail}");

                let setup = Setup::new().conformance(Conformance::Strict);
                let pair = setup.start(admit_all());
                pair.client.send(&Frames(version).connect("c"));
                pair.broker.take().await;
                pair.broker.send(&[0x20, 2, 0, code]);
                assert!(pair.client.take().await.is_empty() && pair.client.is_ended());
                assert_eq!(pair.end().await.reason, CloseReason::UpstreamProtocolError);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_speaks_no_connack_counts_as_unavailable() {
    let unreachable = CloseReason::UpstreamUnreachable;
    let error = CloseReason::UpstreamProtocolError;
    for (version, setup, wanted) in unavailable() {
        for (sent, reason, foreign) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                unreachable,
                Some(Foreign::HttpResponse),
            ),
            // the answer of a TLS port to a CONNECT
            (
                b"\x15\x03\x03\x00\x02\x02\x46",
                unreachable,
                Some(Foreign::TlsAlert),
            ),
            (b"SSH-2.0-OpenSSH_9.2\r\n", unreachable, Some(Foreign::Ssh)),
            (b"\x30\x03\x00\x01a", error, None),
            (b"\xd0\x00", error, None),
        ] {
            let pair = setup().start(admit_all());
            pair.client.send(&Frames(version).connect("c"));
            pair.broker.take().await;
            pair.broker.send(sent);
            pair.client.expect_plain(&wanted).await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!((summary.reason, summary.foreign), (reason, foreign));
            assert_eq!(summary.side, Side::Upstream);
        }
        // O5: closes, breaks, or stops in the middle: all alike. A reset used to be logged as the
        // end of a session, at INFO and without a remedy
        for (broken, sent) in [
            (false, &b""[..]),
            (false, b"\x20"),
            (true, b""),
            (true, b"\x20"),
        ] {
            let pair = setup().start(admit_all());
            pair.client.send(&Frames(version).connect("c"));
            pair.broker.take().await;
            pair.broker.send(sent);
            settle().await;
            if broken {
                pair.broker.reset()
            } else {
                pair.broker.finish()
            }
            pair.client.expect_plain(&wanted).await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(summary.reason, unreachable, "{broken} {sent:02x?}");
            assert_eq!(summary.side, Side::Upstream);
            let told = (!wanted.is_empty()).then_some(ReasonCode::SERVER_UNAVAILABLE);
            assert_eq!((summary.connack, summary.reason_code), (told, told));
            assert!(summary.detail.is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_counts_as_unavailable() {
    for (version, setup, wanted) in unavailable() {
        let pair = setup()
            .limits(|limits| limits.connack_timeout = Duration::from_secs(10))
            .start(admit_all());
        pair.client.send(&Frames(version).connect("c"));
        pair.broker.take().await;
        pair.broker.send(b"\x20");
        tokio::time::advance(Duration::from_secs(9)).await;
        pair.client.expect(b"").await;
        tokio::time::advance(Duration::from_secs(1)).await;
        pair.client.expect_plain(&wanted).await;
        assert!(pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UpstreamUnreachable);
        assert_eq!(summary.limit, Some("connack_timeout"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_connack_closes_both_sides() {
    for version in VERSIONS {
        let f = Frames(version);
        let pair = Setup::new().connected(version, admit_all()).await;
        pair.broker.send(&f.connack());
        // the client did nothing wrong and is not told: it sees the connection end
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended() && pair.broker.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::UpstreamProtocolError);
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_change_what_the_broker_reads() {
    for version in [Version::V311, Version::V5] {
        let f = Frames(version);
        let pair = Setup::new().start(service_fn(|mut connect: Connect| async move {
            connect.packet_mut().set_client_id("t1-device")?;
            connect
                .packet_mut()
                .set_credentials(Some("proxy"), Some(b"secret"))?;
            Ok::<_, BoxError>(Admission::admit(connect, Hooks::none()))
        }));
        pair.client.send(&f.connect("device"));
        let wanted = f.connect_with(&ConnectParts {
            client_id: "t1-device",
            keep_alive: 60,
            user_name: Some("proxy"),
            password: Some(b"secret"),
            ..Default::default()
        });
        pair.broker.expect(&wanted).await;
        pair.broker.send(&f.connack());
        pair.client.take().await;
        let summary = pair.end().await;
        let session = summary.session.expect("admitted");
        assert_eq!(
            (session.client_id(), session.user_name()),
            ("t1-device", Some("proxy"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_assigned_client_id_is_the_sessions() {
    let f = Frames(Version::V5);
    let assigned = properties(&[
        (PropertyId::AssignedClientIdentifier, Value::Str("auto-1")),
        (PropertyId::MaximumPacketSize, Value::U32(1000)),
    ]);
    let pair = Setup::new().start(admit_all());
    pair.open(&f.connect(""), &f.connack_with(0, &assigned))
        .await;
    let summary = pair.end().await;
    assert_eq!(summary.session.expect("admitted").client_id(), "auto-1");
}

#[tokio::test(start_paused = true)]
async fn authentication_travels_before_connack_and_nothing_else_does() {
    let f = Frames(Version::V5);
    let method = properties(&[(PropertyId::AuthenticationMethod, Value::Str("m"))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &method,
        ..Default::default()
    });
    let auth = hex("f0 06 18 04 15 00 01 6d");
    let pair = Setup::new().start(admit_all());
    pair.client.send(&connect);
    pair.broker.expect(&connect).await;
    pair.broker.send(&auth);
    pair.client.expect(&auth).await;
    pair.client.send(&auth);
    pair.broker.expect(&auth).await;
    pair.client.send(&f.publish("a", 0, 0, b"too early"));
    pair.broker.expect(b"").await;
    pair.client.expect_plain(&hex("20 03 00 82 00")).await;
    assert_eq!(pair.end().await.reason, CloseReason::ProtocolError);
}

#[tokio::test(start_paused = true)]
async fn authentication_without_a_method_is_an_error_of_either_side() {
    let auth = hex("f0 06 18 04 15 00 01 6d");
    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    pair.client.send(&auth);
    pair.broker.expect(b"").await;
    pair.client.expect_plain(&hex("e0 01 82")).await;
    assert_eq!(pair.end().await.side, Side::Client);

    let pair = Setup::new().connected(Version::V5, admit_all()).await;
    pair.broker.send(&auth);
    // nor told: a client is told of its own faults
    pair.client.expect(b"").await;
    assert!(pair.client.is_ended());
    assert_eq!(pair.end().await.side, Side::Upstream);
}

/// Somebody orders the session to end while a CONNECT is being decided on, or the broker dialled:
/// the client is told if the order says so, and what layers count for an admitted client is counted
/// back.
#[tokio::test(start_paused = true)]
async fn an_order_to_end_is_obeyed_before_there_is_a_pipe() {
    let (quiet, told) = (Order::drain(false), Order::drain(false).with_notice());
    for (version, order, wanted) in [
        (Version::V311, quiet, ""),
        (Version::V5, quiet, ""),
        (Version::V311, told, "20 02 00 03"),
        (Version::V5, told, "20 03 00 88 00"),
    ] {
        let closed = Seen::default();
        let notes = closed.clone();
        let pair = Setup::new().dial(Dial::Hang).start(admit(move |_| {
            let notes = notes.clone();
            Hooks::none().on_close(move |summary| {
                notes.push(summary.reason.as_str());
                async {}
            })
        }));
        pair.client.send(&Frames(version).connect("c"));
        settle().await;
        assert_eq!(pair.dials(), 1);
        pair.handle.close(order);
        pair.client.expect_plain(&hex(wanted)).await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::Drain);
        assert_eq!(closed.take(), ["drain"]);
    }
    let pair = Setup::new().start(admit_all());
    settle().await;
    pair.handle.close(Order::kick());
    pair.client.expect(b"").await;
    assert_eq!(pair.end().await.reason, CloseReason::Kicked);
}

/// Its place is needed now: nobody waits for a silent peer to close its side, for two seconds as
/// elsewhere.
#[tokio::test(start_paused = true)]
async fn who_makes_room_is_gone_at_once() {
    for begun in [&b""[..], &[0x10]] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(begun);
        settle().await;
        let ordered = tokio::time::Instant::now();
        pair.handle.close(Order::evict());
        pair.client.expect(b"").await;
        let summary = pair.summary().await;
        let took = ordered.elapsed();
        assert!(took < Duration::from_millis(10), "{took:?}");
        assert_eq!(
            (summary.side, summary.reason, summary.connack),
            (Side::Proxy, CloseReason::Evicted, None)
        );
    }
}

/// Where no more threads could be started, resolving the name of the broker panicked, and the log said
/// that a layer had failed: people looked for a fault in their rules.
#[tokio::test(start_paused = true)]
async fn a_dialer_that_panics_ends_its_own_session_only() {
    let pair = Setup::new().dial(Dial::Panic).start(admit_all());
    pair.client.send(&Frames(Version::V311).connect("c"));
    // nothing that a client would take as final
    pair.client.expect(b"").await;
    let summary = pair.end().await;
    assert!(summary.panicked);
    assert_eq!(summary.reason, CloseReason::Internal);
    let detail = summary.detail.as_deref().expect("what panicked");
    assert!(
        detail.starts_with("dialling the broker panicked: "),
        "{detail}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tapped_session_admits_like_any_other() {
    let pair = Setup::new()
        .connected(
            Version::V311,
            admit(|_| Hooks::new(Tap::all(Forward), Tap::all(Forward))),
        )
        .await;
    assert!(pair.is_running());
    assert!(pair.end().await.established());
}

/// MQTT 3.1 uses no flags of the fixed header and forbids none. Of any other version such a packet is
/// closed on as soon as its name is known, however it comes.
#[tokio::test(start_paused = true)]
async fn flags_of_a_connect_are_forgiven_in_mqtt_3_1_only() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let frames = Frames(version);
        let plain = frames.connect("c");
        let mut flagged = plain.clone();
        flagged[0] = 0x14;
        for pieces in [1, 2, plain.len()] {
            let pair = Setup::new().start(admit_all());
            for piece in flagged.chunks(pieces) {
                pair.client.send(piece);
                settle().await;
            }
            if version == Version::V31 {
                pair.broker.expect(&plain).await;
            } else {
                pair.client.expect(b"").await;
                assert_eq!(pair.dials(), 0);
                assert_eq!(pair.end().await.reason, CloseReason::Malformed);
            }
        }
    }
}

/// Refused connections were deaf while their last words waited for a peer that does not read, for two
/// minutes: 34 of them held the places that others needed.
#[tokio::test(start_paused = true)]
async fn a_refused_connection_makes_room_at_once() {
    for established in [false, true] {
        let pair = Setup::new().start(admit_all());
        let f = Frames(Version::V5);
        if established {
            pair.open(&f.connect("c"), &f.connack()).await;
        }
        pair.client.set_capacity(0);
        // no CONNECT, or a second one: answered by a packet that nobody takes
        pair.client.send(&f.connect("c"));
        if !established {
            pair.broker.take().await;
            pair.broker.send(&[0xf0, 0]);
        }
        settle().await;
        assert!(pair.is_running(), "it waits for the client to read");
        let ordered = tokio::time::Instant::now();
        pair.handle.close(Order::overload());
        pair.summary().await;
        assert!(ordered.elapsed() < Duration::from_millis(10));
    }
}

/// A dialer that never came to an end held its client, and its place under every limit, for as long.
#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_be_connected_to_in_time_is_unreachable() {
    for version in [Version::V311, Version::V5] {
        let f = Frames(version);
        let setup = Setup::new()
            .dial(Dial::Hang)
            .when_unreachable(WhenUnreachable::Connack)
            .limits(|limits| limits.dial_timeout = Duration::from_secs(7));
        let pair = setup.start(admit_all());
        pair.client.send(&f.connect("c"));
        tokio::time::sleep(Duration::from_millis(6_900)).await;
        pair.client.expect(b"").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!pair.client.take().await.is_empty(), "a CONNACK");
        let summary = pair.end().await;
        assert_eq!(
            (summary.side, summary.reason, summary.limit),
            (
                Side::Proxy,
                CloseReason::UpstreamUnreachable,
                Some("dial_timeout")
            )
        );
    }
}

/// Any layer of tower composes, and what went wrong is there as an error.
#[tokio::test(start_paused = true)]
async fn a_dialer_may_be_a_tower_service() {
    let dialer = tower::ServiceBuilder::new()
        .timeout(Duration::from_secs(3))
        .service(service_fn(|connect: Connect| async move {
            assert_eq!(connect.packet().client_id(), "c");
            std::future::pending::<Result<tokio::io::DuplexStream, BoxError>>().await
        }));
    let (socket, wire) = crate::support::memory::connection();
    let session = mproxy_session::Session::new(mproxy_session::Peer::new("test"));
    let running = session.run(socket, admit_all(), mproxy_session::dial_with(dialer));
    wire.send(&Frames(Version::V5).connect("c"));
    wire.finish();
    let summary = running.await;
    assert_eq!(summary.reason, CloseReason::UpstreamUnreachable);
    let source = summary.source().expect("what the layer said");
    assert!(source.is::<tower::timeout::error::Elapsed>(), "{source}");
}

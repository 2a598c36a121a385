//! What the proxy changes in what the two sides announce to each other (MQTT 5.0).

use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, ReasonCode, Value, Version, encode_disconnect};
use mproxy_session::{CloseReason, Forward, Hooks, ServerReference, Tap};

use crate::support::frames::{ConnectParts, properties};
use crate::support::{Frames, Setup, admit, admit_all};

const F: Frames = Frames(Version::V5);

fn size(bytes: u32) -> (PropertyId, Value<'static>) {
    (PropertyId::MaximumPacketSize, Value::U32(bytes))
}

fn connect(frames: Frames, keep_alive: u16) -> Vec<u8> {
    frames.connect_with(&ConnectParts {
        client_id: "c",
        keep_alive,
        ..Default::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_longer_keep_alive_than_allowed_is_lowered_on_both_sides() {
    let keep_alive = |seconds| (PropertyId::ServerKeepAlive, Value::U16(seconds));
    // asked for, sent on, the broker's own, told
    for (asked, sent, theirs, told) in [
        (0, 100, None, Some(100)),
        (65_535, 100, None, Some(100)),
        (100, 100, None, None),
        (30, 30, None, None),
        (0, 100, Some(40), Some(40)),
        (0, 100, Some(400), Some(100)),
        (30, 30, Some(400), Some(400)),
    ] {
        let pair = Setup::new()
            .limits(|limits| limits.max_keep_alive = 100)
            .start(admit_all());
        pair.client.send(&connect(F, asked));
        pair.broker.expect(&connect(F, sent)).await;
        let answer = |told: Option<u16>| {
            let told = told.map(keep_alive);
            let list: Vec<_> = [size(500)].into_iter().chain(told).collect();
            F.connack_with(0, &properties(&list))
        };
        pair.broker.send(&answer(theirs));
        pair.client.expect(&answer(told)).await;
        // what is told is what is enforced
        let enforced = told.unwrap_or(asked);
        let wait = |seconds: f64| tokio::time::sleep(Duration::from_secs_f64(seconds));
        wait(f64::from(enforced) * 1.5 - 1.0).await;
        assert!(pair.is_running(), "{asked} {theirs:?}");
        wait(2.0).await;
        pair.client.expect_plain(&F.farewell(0x8d)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn mqtt_3_is_not_told_and_is_closed_all_the_same() {
    for version in [Version::V31, Version::V311] {
        let frames = Frames(version);
        for asked in [0, 65_535] {
            let pair = Setup::new()
                .limits(|limits| limits.max_keep_alive = 100)
                .start(admit_all());
            pair.client.send(&connect(frames, asked));
            pair.broker.expect(&connect(frames, asked)).await;
            pair.broker.send(&frames.connack());
            pair.client.expect(&frames.connack()).await;
            tokio::time::sleep(Duration::from_secs(149)).await;
            assert!(pair.is_running());
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(pair.client.is_ended());
            assert_eq!(pair.end().await.reason, CloseReason::KeepaliveTimeout);
        }
    }
}

/// A broker that moves its clients elsewhere names an address behind the proxy.
#[tokio::test(start_paused = true)]
async fn a_server_reference_is_taken_out_unless_it_may_pass() {
    let reference = (
        PropertyId::ServerReference,
        Value::Str("10.0.0.7:1883 other"),
    );
    let because = (PropertyId::ReasonString, Value::Str("moved"));
    for policy in [ServerReference::Strip, ServerReference::Pass] {
        let strips = policy == ServerReference::Strip;
        let list = if strips {
            vec![because]
        } else {
            vec![reference, because]
        };
        let start = || {
            Setup::new()
                .limits(|limits| limits.server_reference = policy)
                .start(admit_all())
        };
        // CONNACK, refusing and accepting
        for code in [0x9c, 0x9d] {
            let pair = start();
            pair.client.send(&F.connect("c"));
            pair.broker.expect(&F.connect("c")).await;
            let answer = F.connack_with(code, &properties(&[reference, because]));
            pair.broker.send(&answer);
            pair.client
                .expect(&F.connack_with(code, &properties(&list)))
                .await;
            assert_eq!(pair.end().await.reason, CloseReason::UpstreamRefused);
        }
        let pair = start();
        pair.client.send(&F.connect("c"));
        pair.broker.expect(&F.connect("c")).await;
        pair.broker
            .send(&F.connack_with(0, &properties(&[size(500), reference])));
        let wanted = if strips {
            vec![size(500)]
        } else {
            vec![size(500), reference]
        };
        pair.client
            .expect(&F.connack_with(0, &properties(&wanted)))
            .await;
        // DISCONNECT
        let farewell = |list: &[_]| {
            let reason = ReasonCode::new(0x9d);
            encode_disconnect(Version::V5, reason, &properties(list)).expect("valid")
        };
        pair.broker.send(&farewell(&[reference, because]));
        pair.client.expect(&farewell(&list)).await;
    }
}

/// A client that keeps to what it is told must not find its PUBLISH refused because the proxy made
/// it longer.
#[tokio::test(start_paused = true)]
async fn room_for_what_hooks_add_is_taken_off_the_maximum_packet_size() {
    for (growth, theirs, told) in [(0, 500, 500), (40, 500, 460), (600, 500, 1)] {
        let pair = Setup::new().start(admit(move |_| {
            Hooks::new(
                Tap::only(KindSet::PUBLISH, Forward).grows(growth),
                Tap::none(),
            )
        }));
        pair.client.send(&F.connect("c"));
        pair.broker.expect(&F.connect("c")).await;
        pair.broker
            .send(&F.connack_with(0, &properties(&[size(theirs)])));
        pair.client
            .expect(&F.connack_with(0, &properties(&[size(told)])))
            .await;
    }
}

/// The Reason String of the broker used to stay, and the limits that the proxy had to tell were left
/// out instead.
#[tokio::test(start_paused = true)]
async fn texts_of_a_connack_are_left_out_before_limits_are() {
    let connect = F.connect_with(&ConnectParts {
        client_id: "c",
        properties: &properties(&[size(30)]),
        ..Default::default()
    });
    let pair = Setup::new()
        .limits(|limits| limits.max_keep_alive = 100)
        .start(admit_all());
    pair.client.send(&connect);
    assert!(!pair.broker.take().await.is_empty());
    let text = (PropertyId::ReasonString, Value::Str("welcome, welcome"));
    pair.broker.send(&F.connack_with(0, &properties(&[text])));
    let told = [
        (PropertyId::ServerKeepAlive, Value::U16(100)),
        size(0x10_0000),
    ];
    pair.client
        .expect(&F.connack_with(0, &properties(&told)))
        .await;
}

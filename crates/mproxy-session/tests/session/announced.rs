//! What the proxy changes in what the two sides announce to each other (MQTT 5.0).

use std::time::Duration;

use mproxy_codec::{KindSet, PropertyId, ReasonCode, Value, Version, encode_disconnect};
use mproxy_session::{
    BoxError, CloseReason, Conformance, Forward, Hooks, Limits, Packet, ServerReference, Tap,
    Verdict,
};
use tower::service_fn;

use crate::support::frames::{ConnectParts, packet, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{CONFORMANCES, Frames, Setup, admit, admit_all};

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

/// With the limits that lower nothing, the client gets the broker's CONNACK byte for byte, whatever
/// is in it and in whatever order: no property is written that the broker did not write, and none is
/// written anew. One limit that is lower is told, and changes nothing else.
#[tokio::test(start_paused = true)]
async fn where_nothing_is_lowered_the_connack_is_the_brokers_own() {
    let told = [
        (PropertyId::UserProperty, Value::Pair("a", "1")),
        (PropertyId::TopicAliasMaximum, Value::U16(10)),
        (PropertyId::AssignedClientIdentifier, Value::Str("c1")),
        (PropertyId::ReceiveMaximum, Value::U16(20)),
        (PropertyId::SessionExpiryInterval, Value::U32(7)),
        (PropertyId::ServerKeepAlive, Value::U16(60)),
        (PropertyId::UserProperty, Value::Pair("a", "2")),
        (PropertyId::MaximumQos, Value::Byte(1)),
        (PropertyId::RetainAvailable, Value::Byte(0)),
    ];
    let with = |bytes| [&told[..], &[size(bytes)]].concat();
    let announcements = [
        vec![],
        told.to_vec(),
        with(1),
        with(0x10_0000),
        // the largest Remaining Length, the largest packet, and what MQTT cannot express
        with(268_435_455),
        with(268_435_460),
        with(u32::MAX),
    ];
    for own in [Limits::NO_PACKET_LIMIT, usize::MAX] {
        for announced in &announcements {
            for hooked in [false, true] {
                let tap = move || match hooked {
                    true => Tap::all(Forward),
                    false => Tap::none(),
                };
                let pair = Setup::new()
                    .limits(|limits| limits.max_packet_size = own)
                    .start(admit(move |_| Hooks::new(tap(), tap())));
                pair.client.send(&connect(F, 60));
                pair.broker.expect(&connect(F, 60)).await;
                let connack = F.connack_with(0, &properties(announced));
                pair.broker.send(&connack);
                pair.client.expect(&connack).await;
            }
        }
    }
    // each of what may be lower, alone
    type Lower = fn(&mut Limits);
    let fewer_aliases: Lower = |it| it.max_topic_aliases = 2;
    // whether hooks look at the client's PUBLISH, the limit, and what is written because of it
    let lower: [(bool, Lower, _); 5] = [
        (false, |it| it.max_packet_size = 1000, Some(size(1000))),
        (true, |it| it.max_packet_size = 1000, Some(size(1000))),
        (
            true,
            fewer_aliases,
            Some((PropertyId::TopicAliasMaximum, Value::U16(2))),
        ),
        // aliases cost nothing where nobody looks
        (false, fewer_aliases, None),
        (
            false,
            |it| it.max_keep_alive = 50,
            Some((PropertyId::ServerKeepAlive, Value::U16(50))),
        ),
    ];
    for (hooked, lower, written) in lower {
        let tap = move || match hooked {
            true => Tap::only(KindSet::PUBLISH, Forward),
            false => Tap::none(),
        };
        let pair = Setup::new()
            .limits(lower)
            .start(admit(move |_| Hooks::new(tap(), Tap::none())));
        pair.client.send(&connect(F, 60));
        assert!(!pair.broker.take().await.is_empty());
        pair.broker.send(&F.connack_with(0, &properties(&told)));
        let kept = |(id, _): &&(PropertyId, _)| written.is_none_or(|it| it.0 != *id);
        let kept = told.iter().filter(kept).copied();
        let wanted: Vec<_> = kept.chain(written).collect();
        pair.client
            .expect(&F.connack_with(0, &properties(&wanted)))
            .await;
    }
}

/// A client is held to the Maximum Packet Size that the proxy told it, at the length of the packet
/// and whatever that is: the broker neither gets it nor has to close the connection itself. Such a
/// PUBLISH used to be refused, or dropped, as if the proxy had made it too large. What the broker
/// itself told the client, the broker judges; to the letter the proxy does that, too.
#[tokio::test(start_paused = true)]
async fn a_client_is_held_to_the_maximum_packet_size_that_it_was_told() {
    // what the broker takes, what hooks may add, what the client is told, and which limit it breaks,
    // if it is held to one: the proxy's own by its name, or what CONNACK said
    let announced = Some(None);
    for (conformance, theirs, growth, told, limit) in [
        (Conformance::Tolerant, 1000, 0, 1000, None),
        (Conformance::Strict, 1000, 0, 1000, announced),
        (Conformance::Tolerant, 1000, 40, 960, announced),
        (
            Conformance::Tolerant,
            9000,
            0,
            5000,
            Some(Some("max_packet_size")),
        ),
    ] {
        let publish = |qos, len: usize| {
            let head = F.publish("a", qos, 7, &[0; 200]).len() - 200;
            F.publish("a", qos, 7, &vec![0; len - head])
        };
        let larger = |first| packet(first, &vec![0; told - 2]);
        let offences = [
            publish(0, told + 1),
            publish(1, told + 1),
            publish(2, told + 1),
            larger(0x82),
            larger(0xa2),
            larger(0x40),
        ];
        for (hooked, offence) in offences.iter().flat_map(|it| [(false, it), (true, it)]) {
            let seen = Seen::default();
            let hook = by_topic(&Gate::new(), &seen);
            let pair = Setup::new()
                .conformance(conformance)
                .limits(|limits| limits.max_packet_size = 5000)
                .start(admit(move |_| {
                    let kinds = if hooked { KindSet::ALL } else { KindSet::NONE };
                    let tap = Tap::only(kinds, hook.clone()).grows(growth);
                    Hooks::new(tap, Tap::none())
                }));
            pair.client.send(&F.connect("c"));
            pair.broker.expect(&F.connect("c")).await;
            pair.broker
                .send(&F.connack_with(0, &properties(&[size(theirs)])));
            let announced = u32::try_from(told).expect("small");
            pair.client
                .expect(&F.connack_with(0, &properties(&[size(announced)])))
                .await;
            // as large as may be
            let largest = publish(1, told);
            assert_eq!((largest.len(), offence.len()), (told, told + 1));
            pair.client.send(&largest);
            pair.broker.expect(&largest).await;
            seen.take();
            // one byte more, of which only the length is there
            pair.client.send(&offence[..3]);
            let Some(limit) = limit else {
                pair.client.expect(b"").await;
                assert!(pair.is_running(), "it waits for the rest");
                if offence[0] >> 4 == 3 {
                    pair.client.send(&offence[3..]);
                    pair.broker.expect(offence).await;
                    pair.client.expect(b"").await;
                }
                continue;
            };
            pair.client.expect_plain(&F.farewell(0x95)).await;
            // no DISCONNECT: the broker is to publish the will
            pair.broker.expect(b"").await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::PacketTooLarge);
            assert_eq!(summary.limit, limit);
            assert_eq!(seen.take(), [""; 0]);
        }
    }
}

/// A PUBLISH that is as large as the client was told it may be, and larger than the broker takes by
/// what the proxy did to it, is no fault of the client: it is refused, and the session goes on.
#[tokio::test(start_paused = true)]
async fn a_publish_that_only_the_proxy_made_too_large_does_not_end_the_session() {
    let longer = service_fn(|mut packet: Packet| async move {
        let topic = packet.publish().map(|it| it.topic().to_string());
        packet.set_topic(&format!("tenant/{}", topic.unwrap_or_default()))?;
        Ok::<_, BoxError>(Verdict::Forward(packet))
    });
    let pair = Setup::new().start(admit(move |_| {
        Hooks::new(Tap::only(KindSet::PUBLISH, longer), Tap::none())
    }));
    let connack = F.connack_with(0, &properties(&[size(100)]));
    pair.open(&F.connect("c"), &connack).await;
    for (qos, refused) in [(0, None), (1, Some(0x40)), (2, Some(0x50))] {
        let head = F.publish("t", qos, 7, b"").len();
        let publish = F.publish("t", qos, 7, &vec![0; 100 - head]);
        assert_eq!(publish.len(), 100);
        pair.client.send(&publish);
        pair.broker.expect(b"").await;
        if let Some(first) = refused {
            pair.client.expect_plain(&[first, 3, 0, 7, 0x97]).await;
        }
        let fits = F.publish("t", qos, 7, &vec![0; 100 - head - "tenant/".len()]);
        let longer = F.publish("tenant/t", qos, 7, &vec![0; 100 - head - "tenant/".len()]);
        pair.client.send(&fits);
        pair.broker.expect(&longer).await;
    }
    assert!(pair.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_longer_keep_alive_than_allowed_is_lowered_on_both_sides() {
    let keep_alive = |seconds| (PropertyId::ServerKeepAlive, Value::U16(seconds));
    // asked for, sent on, the broker's own, told
    for (conformance, (asked, sent, theirs, told)) in [
        (0, 100, None, Some(100)),
        (65_535, 100, None, Some(100)),
        (100, 100, None, None),
        (30, 30, None, None),
        (0, 100, Some(40), Some(40)),
        (0, 100, Some(400), Some(100)),
        (30, 30, Some(400), Some(400)),
    ]
    .into_iter()
    .flat_map(|case| CONFORMANCES.map(|it| (it, case)))
    {
        let pair = Setup::new()
            .conformance(conformance)
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
        // 0x8d is for the letter: some clients do not come back after it
        let farewell = match conformance {
            Conformance::Tolerant => Vec::new(),
            Conformance::Strict => F.farewell(0x8d),
        };
        pair.client.expect_plain(&farewell).await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.end().await.reason, CloseReason::KeepaliveTimeout);
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
    // off the proxy's own where that is the largest there is, and the broker says nothing
    let pair = Setup::new()
        .limits(|limits| limits.max_packet_size = Limits::NO_PACKET_LIMIT)
        .start(admit(|_| {
            let tap = Tap::only(KindSet::PUBLISH, Forward).grows(40);
            Hooks::new(tap, Tap::none())
        }));
    pair.client.send(&F.connect("c"));
    pair.broker.expect(&F.connect("c")).await;
    pair.broker.send(&F.connack_with(0, &[]));
    pair.client
        .expect(&F.connack_with(0, &properties(&[size(268_435_420)])))
        .await;
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
        .limits(|limits| {
            limits.max_keep_alive = 100;
            limits.max_packet_size = 0x10_0000;
        })
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

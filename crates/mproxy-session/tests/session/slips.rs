//! Small slips of old and widely used clients and brokers, which no two readers understand
//! differently: they are repaired on the way. `Conformance::Strict` takes them as errors.

use mproxy_codec::{PropertyId, Value, Version};
use mproxy_session::{BoxPacketService, CloseReason, Conformance, Forward, Hooks, Tap};

use crate::support::frames::{ConnectParts, packet, properties, string};
use crate::support::{CONFORMANCES, Frames, Pair, Setup, admit, hex};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// What hooks look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Untapped,
    Tapped,
    HeadOnly,
}

const FORMS: [Form; 3] = [Form::Untapped, Form::Tapped, Form::HeadOnly];

fn start(form: Form, conformance: Conformance) -> Pair {
    let tap = move || match form {
        Form::Untapped => Tap::none().convert(BoxPacketService::new),
        Form::Tapped => Tap::all(Forward).convert(BoxPacketService::new),
        Form::HeadOnly => Tap::all(Forward).head_only().convert(BoxPacketService::new),
    };
    let setup = Setup::new().conformance(conformance);
    setup.start(admit(move |_| Hooks::new(tap(), tap())))
}

async fn connected(version: Version, form: Form, conformance: Conformance) -> Pair {
    let f = Frames(version);
    let pair = start(form, conformance);
    pair.open(&f.connect("c"), &f.connack()).await;
    pair
}

/// Every packet but CONNECT that a client sends and that is not PUBLISH.
fn of_client(f: Frames) -> Vec<Vec<u8>> {
    vec![
        f.puback(1),
        f.pubrec(2),
        f.pubrel(3),
        f.pubcomp(4),
        f.subscribe(5, &["a/b"]),
        f.unsubscribe(6, &["a/b"]),
        f.pingreq(),
        f.disconnect(),
    ]
}

/// Every packet but CONNACK that a broker sends and that is not PUBLISH.
fn of_broker(f: Frames) -> Vec<Vec<u8>> {
    let codes: &[u8] = if f.0.is_v5() { &[0] } else { &[] };
    vec![
        f.puback(1),
        f.pubrec(2),
        f.pubrel(3),
        f.pubcomp(4),
        f.suback(5, &[1]),
        f.unsuback(6, codes),
        f.pingresp(),
    ]
}

/// C14: in MQTT 3.1 most packets do not use the flags of their first byte, and a receiver does not
/// look at them (section 2.1). Clients of 2010 send SUBSCRIBE with QoS 0 and DISCONNECT as `e1 00`;
/// they were closed, and for the latter the will was published. The broker gets the flags that all
/// versions agree on. Later versions reserve them, and such a packet is an error.
#[tokio::test(start_paused = true)]
async fn flags_that_mqtt_3_1_does_not_use_are_those_of_the_standard_behind_the_proxy() {
    for version in VERSIONS {
        let f = Frames(version);
        for (form, conformance) in FORMS.map(|form| CONFORMANCES.map(|it| (form, it))).concat() {
            for (up, right) in of_client(f)
                .into_iter()
                .map(|it| (true, it))
                .chain(of_broker(f).into_iter().map(|it| (false, it)))
            {
                for flags in 0..16 {
                    let mut sent = right.clone();
                    sent[0] = sent[0] & 0xf0 | flags;
                    let pair = connected(version, form, conformance).await;
                    let (from, to) = match up {
                        true => (&pair.client, &pair.broker),
                        false => (&pair.broker, &pair.client),
                    };
                    from.send(&sent);
                    // DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE is no slip in MQTT 3.1
                    let dup = version == Version::V31 && sent[0] & !8 == right[0] && flags & 2 != 0;
                    let slips = version == Version::V31 && conformance == Conformance::Tolerant;
                    if sent == right || dup || slips {
                        to.expect(&right).await;
                        from.expect(b"").await;
                        if right == f.disconnect() {
                            assert!(pair.broker.is_ended());
                            assert_eq!(pair.end().await.reason, CloseReason::Disconnect);
                        } else {
                            assert!(pair.is_running(), "{sent:02x?}");
                        }
                        continue;
                    }
                    pair.broker.expect(b"").await;
                    let told = if up { f.farewell(0x81) } else { Vec::new() };
                    pair.client.expect_plain(&told).await;
                    let wanted = match up {
                        true => CloseReason::Malformed,
                        false => CloseReason::UpstreamProtocolError,
                    };
                    assert_eq!(pair.end().await.reason, wanted, "{version} {sent:02x?}");
                }
            }
        }
    }
}

/// The same in one read, and byte by byte: a packet with flags stands between others that have none.
#[tokio::test(start_paused = true)]
async fn flags_are_repaired_however_the_bytes_come() {
    let f = Frames(Version::V31);
    for form in FORMS {
        for chunk in [1, 3, usize::MAX] {
            let pair = connected(Version::V31, form, Conformance::Tolerant).await;
            pair.client.set_chunks([], chunk);
            let publish = f.publish("a", 0, 0, b"x");
            let (mut sent, mut right) = (Vec::new(), Vec::new());
            for flags in 0..16 {
                for packet in of_client(f) {
                    if packet == f.disconnect() {
                        continue;
                    }
                    let mut flagged = packet.clone();
                    flagged[0] = flagged[0] & 0xf0 | flags;
                    sent.extend([flagged, publish.clone()].concat());
                    right.extend([packet, publish.clone()].concat());
                }
            }
            sent.extend([0xef, 0]);
            right.extend([0xe0, 0]);
            pair.client.send(&sent);
            pair.broker.expect(&right).await;
            assert_eq!(pair.end().await.reason, CloseReason::Disconnect);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flags_of_a_connack_of_mqtt_3_1_are_repaired() {
    let f = Frames(Version::V31);
    for (form, conformance) in FORMS.map(|form| CONFORMANCES.map(|it| (form, it))).concat() {
        for flags in 0..16 {
            let pair = start(form, conformance);
            pair.client.send(&f.connect("c"));
            pair.broker.expect(&f.connect("c")).await;
            pair.broker.send(&[0x20 | flags, 2, 0, 0]);
            if flags == 0 || conformance == Conformance::Tolerant {
                pair.client.expect(&f.connack()).await;
                assert!(pair.end().await.established());
            } else {
                pair.client.expect(b"").await;
                let summary = pair.end().await;
                assert_eq!(summary.reason, CloseReason::UpstreamProtocolError);
            }
        }
    }
}

/// Publications of QoS 0 with DUP set and without, and of QoS 1 with it, with RETAIN and without:
/// what is sent, and what arrives.
fn publications(f: Frames, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut sent = Vec::new();
    let mut right = Vec::new();
    for (first, repaired) in [
        (0x30, 0x30),
        (0x38, 0x30),
        (0x39, 0x31),
        (0x31, 0x31),
        (0x38, 0x30),
        (0x3a, 0x3a),
        (0x3b, 0x3b),
        (0x39, 0x31),
    ] {
        let mut publish = f.publish("t/x", first >> 1 & 3, 7, payload);
        publish[0] = first;
        sent.extend_from_slice(&publish);
        publish[0] = repaired;
        right.extend_from_slice(&publish);
    }
    (sent, right)
}

/// C13: some clients set DUP on a QoS 0 PUBLISH that they send again. [MQTT-3.3.1-2] says that it is
/// 0, and every broker delivers the message. mproxy closed the client; from a broker, every
/// subscriber. The bit is cleared and the message goes on, whatever else is in the read and however
/// large it is.
#[tokio::test(start_paused = true)]
async fn dup_is_cleared_at_qos_0_in_both_directions() {
    for version in VERSIONS {
        let f = Frames(version);
        for form in FORMS {
            for up in [true, false] {
                for (payload, times, chunk) in [
                    (2, 1, usize::MAX),
                    (2, 200, usize::MAX),
                    (200, 5, 1),
                    (20_000, 2, 1000),
                    (200_000, 1, usize::MAX),
                    (200_000, 2, 10_007),
                ] {
                    let pair = connected(version, form, Conformance::Tolerant).await;
                    let (from, to) = match up {
                        true => (&pair.client, &pair.broker),
                        false => (&pair.broker, &pair.client),
                    };
                    from.set_chunks([], chunk);
                    let (sent, right) = publications(f, &vec![b'x'; payload]);
                    from.send(&sent.repeat(times));
                    to.expect(&right.repeat(times)).await;
                    from.expect(b"").await;
                    let summary = pair.end().await;
                    let traffic = if up {
                        summary.to_server
                    } else {
                        summary.to_client
                    };
                    assert_eq!(traffic.publishes, 8 * times as u64);
                    assert_eq!(traffic.denied, 0);
                }
            }
        }
    }
}

/// The inputs of the report.
#[tokio::test(start_paused = true)]
async fn dup_at_qos_0_is_an_error_to_the_letter() {
    for (version, sent, right) in [
        (Version::V31, "38060003742f7878", "30060003742f7878"),
        (Version::V311, "38060003742f7878", "30060003742f7878"),
        (Version::V5, "38070003742f780078", "30070003742f780078"),
    ] {
        for (form, conformance) in FORMS.map(|form| CONFORMANCES.map(|it| (form, it))).concat() {
            for up in [true, false] {
                let pair = connected(version, form, conformance).await;
                let (from, to) = match up {
                    true => (&pair.client, &pair.broker),
                    false => (&pair.broker, &pair.client),
                };
                from.send(&hex(sent));
                if conformance == Conformance::Tolerant {
                    to.expect(&hex(right)).await;
                    assert!(pair.is_running());
                    continue;
                }
                let told = match up {
                    true => Frames(version).farewell(0x81),
                    false => Vec::new(),
                };
                pair.client.expect_plain(&told).await;
                pair.broker.expect(b"").await;
                // the log says what would let it through
                assert_eq!(pair.end().await.limit, Some("conformance"));
            }
        }
    }
}

/// The topic behind an alias is written out for a receiver that was not told, and DUP is cleared in
/// the same packet.
#[tokio::test(start_paused = true)]
async fn dup_is_cleared_where_an_alias_is_used() {
    let f = Frames(Version::V5);
    let maximum = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(4))]);
    for form in FORMS {
        let pair = start(form, Conformance::Tolerant);
        let connect = f.connect_with(&ConnectParts {
            client_id: "c",
            properties: &maximum,
            ..Default::default()
        });
        pair.open(&connect, &f.connack_with(0, &maximum)).await;
        for publish in [f.aliased("t", 1, b"1"), f.aliased("", 1, b"2")] {
            for (from, to) in [(&pair.client, &pair.broker), (&pair.broker, &pair.client)] {
                from.send(&Frames::again(publish.clone()));
                to.expect(&publish).await;
            }
        }
    }
}

/// A CONNECT without a will and with these connect flags.
fn connect_with_flags(version: Version, flags: u8) -> Vec<u8> {
    let name = if version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    let block: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let fields = [version.level(), flags, 0, 60];
    let body = [&string(name)[..], &fields, block, &string("c00000")].concat();
    packet(0x10, &body)
}

/// C14: will retain, or a will QoS, without a will: MQTT 3.1 says nothing against it, and mosquitto
/// takes it. 3.1.1 forbids it [MQTT-3.1.2-13],
/// [MQTT-3.1.2-15], and so does 5.0 [MQTT-3.1.2-11], [MQTT-3.1.2-13].
#[tokio::test(start_paused = true)]
async fn flags_of_a_will_that_is_not_there_are_cleared_in_mqtt_3_1() {
    assert_eq!(
        connect_with_flags(Version::V31, 0x22),
        hex("101400064d51497364700322003c0006633030303030")
    );
    for (version, conformance) in VERSIONS.map(|it| CONFORMANCES.map(|by| (it, by))).concat() {
        let f = Frames(version);
        for flags in [0x22, 0x0a, 0x12, 0x1a, 0x2a, 0x32, 0x3a] {
            let pair = start(Form::Tapped, conformance);
            pair.client.send(&connect_with_flags(version, flags));
            if version == Version::V31 && conformance == Conformance::Tolerant {
                pair.broker.expect(&connect_with_flags(version, 0x02)).await;
                pair.broker.send(&f.connack());
                pair.client.expect(&f.connack()).await;
                continue;
            }
            let told = match version {
                Version::V5 => f.connack_with(0x81, &[]),
                _ => Vec::new(),
            };
            pair.client.expect_plain(&told).await;
            assert!(pair.client.is_ended());
            assert_eq!(pair.dials(), 0);
            let summary = pair.end().await;
            assert_eq!(summary.reason, CloseReason::Malformed);
            let glimpse = summary.glimpse.expect("a glimpse of it");
            assert_eq!(glimpse.field, Some("connect flags"));
            assert_eq!(glimpse.client_id.as_deref(), Some("c00000"));
        }
    }
}

/// `Summary::limit` names what an operator can set so that the client gets in. Only in MQTT 3.1 is
/// that `conformance`: the log line of a client of 3.1.1 would send its reader the wrong way.
#[tokio::test(start_paused = true)]
async fn conformance_is_named_only_where_it_would_help() {
    for (version, conformance) in VERSIONS.map(|it| CONFORMANCES.map(|by| (it, by))).concat() {
        if version == Version::V31 && conformance == Conformance::Tolerant {
            continue;
        }
        // a will QoS of 3 without a will was another error, for which no key was named
        for flags in [0x22, 0x0a, 0x1a] {
            let pair = start(Form::Untapped, conformance);
            pair.client.send(&connect_with_flags(version, flags));
            pair.client.take().await;
            let helps = version == Version::V31;
            let limit = pair.end().await.limit;
            assert_eq!(
                limit,
                helps.then_some("conformance"),
                "{version} {conformance:?} {flags:x}"
            );
        }
    }
}

/// C15: a broker said "session present" to clients that had asked for a clean session, and to ones
/// that it refused; every one of them was turned away. The bit is cleared, and stays where a session
/// can be present.
#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_present_is_not() {
    for version in VERSIONS {
        let f = Frames(version);
        for (form, conformance) in FORMS.map(|form| CONFORMANCES.map(|it| (form, it))).concat() {
            for keep_session in [false, true] {
                for code in [0, if version.is_v5() { 0x87 } else { 5 }] {
                    let pair = start(form, conformance);
                    pair.client.send(&f.connect_with(&ConnectParts {
                        client_id: "c",
                        keep_session,
                        ..Default::default()
                    }));
                    assert!(!pair.broker.take().await.is_empty());
                    let right = f.connack_with(code, &[]);
                    let mut sent = right.clone();
                    sent[2] = 1;
                    pair.broker.send(&sent);
                    let is_right = keep_session && code == 0;
                    // what MQTT 3.x says of refusals is [MQTT-3.2.2-4], of 3.1.1
                    let tolerant = conformance == Conformance::Tolerant;
                    if is_right {
                        pair.client.expect(&sent).await;
                    } else if tolerant {
                        pair.client.expect(&right).await;
                    } else {
                        pair.client.expect(b"").await;
                        let summary = pair.end().await;
                        assert_eq!(summary.reason, CloseReason::UpstreamProtocolError);
                        assert_eq!(summary.limit, Some("conformance"));
                        continue;
                    }
                    let summary = pair.end().await;
                    assert_eq!(summary.established(), code == 0);
                }
            }
        }
    }
}

/// What else is changed in such a CONNACK is changed as well.
#[tokio::test(start_paused = true)]
async fn a_cleared_connack_is_lowered_like_any_other() {
    let f = Frames(Version::V5);
    let pair = Setup::new()
        .limits(|limits| limits.max_packet_size = 1000)
        .start(crate::support::admit_all());
    pair.client.send(&f.connect("c"));
    pair.broker.expect(&f.connect("c")).await;
    let told = [(PropertyId::ReceiveMaximum, Value::U16(20))];
    let mut sent = f.connack_with(0, &properties(&told));
    sent[2] = 1;
    pair.broker.send(&sent);
    let told = [told[0], (PropertyId::MaximumPacketSize, Value::U32(1000))];
    pair.client
        .expect(&f.connack_with(0, &properties(&told)))
        .await;
}

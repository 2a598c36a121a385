//! Bugs that parsers had, a test each: those of other implementations first, then our own.

use mproxy_codec::{
    DecodeError, Direction, EncodeError, Head, Kind, PropertyId, PropertyWriter, PublishEdit, QoS,
    ReasonCode, SubscriptionOptions, Value, Version, View, encode_ack, encode_auth,
    encode_disconnect, encode_publish, encode_refusal, encode_suback, encode_subscribe,
    encode_unsuback, encode_unsubscribe, normalise,
    topic::{TopicError, TopicFilter},
};

fn up(version: Version, bytes: &[u8]) -> Result<View<'_>, DecodeError> {
    View::parse(version, Direction::ToServer, bytes).map(|view| view.expect("a whole packet"))
}

fn down(version: Version, bytes: &[u8]) -> Result<View<'_>, DecodeError> {
    View::parse(version, Direction::ToClient, bytes).map(|view| view.expect("a whole packet"))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    while rest > 127 {
        packet.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    packet.push(rest as u8);
    packet.extend(body);
    packet
}

/// HAProxy read the length of a string through a signed char: from 128 bytes on, strings were
/// refused.
#[test]
fn haproxy_strings_longer_than_127_bytes() {
    for len in [127usize, 128, 129, 255, 256, 257, 32_767, 32_768, 65_535] {
        let id = "i".repeat(len);
        let mut body = b"\0\x04MQTT\x04\x02\0\x3c".to_vec();
        body.extend((len as u16).to_be_bytes());
        body.extend(id.as_bytes());
        let bytes = packet(0x10, &body);
        match up(Version::V311, &bytes) {
            Ok(View::Connect(connect)) => assert_eq!(connect.client_id(), id),
            other => panic!("{len}: {other:?}"),
        }
        let mut body = (len as u16).to_be_bytes().to_vec();
        body.extend(id.as_bytes());
        match up(Version::V311, &packet(0x30, &body)) {
            Ok(View::Publish(publish)) => assert_eq!(publish.topic(), id),
            other => panic!("{len}: {other:?}"),
        }
    }
}

/// HAProxy refused a CONNECT without a client identifier, which asks the broker for one.
#[test]
fn haproxy_empty_client_id() {
    let v311 = packet(0x10, b"\0\x04MQTT\x04\x02\0\x3c\0\0");
    assert!(
        matches!(up(Version::V311, &v311), Ok(View::Connect(connect))
        if connect.client_id().is_empty() && connect.clean_start())
    );
    let v5 = packet(0x10, b"\0\x04MQTT\x05\x00\0\x3c\0\0\0");
    assert!(matches!(up(Version::V5, &v5), Ok(View::Connect(connect))
        if connect.client_id().is_empty() && !connect.clean_start()));
}

/// HAProxy accepted a PUBLISH only when all its flags were set.
#[test]
fn haproxy_publish_flags() {
    for flags in 0..16u8 {
        let qos = flags >> 1 & 3;
        let id: &[u8] = if qos == 0 { b"" } else { b"\0\x01" };
        let bytes = packet(0x30 | flags, &[&b"\0\x01t"[..], id, b"x"].concat());
        let expected = match flags {
            _ if qos == 3 => Err(DecodeError::QosThree),
            _ if flags & 8 != 0 && qos == 0 => Err(DecodeError::DupQosZero),
            _ => Ok((flags & 8 != 0, qos, flags & 1 != 0)),
        };
        let seen = up(Version::V311, &bytes).map(|view| match view {
            View::Publish(publish) => {
                let layout = publish.layout();
                (layout.dup(), layout.qos().as_u8(), layout.retain())
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(seen, expected, "{flags:04b}");
    }
}

/// HAProxy marked Topic Alias Maximum as seen in the bit of another property, so that duplicates
/// passed and pairs of different properties did not.
#[test]
fn haproxy_bit_of_topic_alias_maximum() {
    let connect = |properties: &[u8]| {
        let mut body = b"\0\x04MQTT\x05\x02\0\x3c".to_vec();
        body.push(properties.len() as u8);
        body.extend(properties);
        body.extend(b"\0\x01c");
        up(Version::V5, &packet(0x10, &body)).map(|view| view.kind())
    };
    assert_eq!(
        connect(b"\x22\0\x05\x22\0\x05"),
        Err(DecodeError::DuplicateProperty)
    );
    // beside every other number of CONNECT
    let others: [&[u8]; 6] = [
        b"\x11\0\0\0\x01",
        b"\x17\x01",
        b"\x19\x01",
        b"\x21\0\x05",
        b"\x27\0\0\0\x05",
        b"\x15\0\x01m",
    ];
    for other in others {
        assert!(
            connect(&[b"\x22\0\x05", other].concat()).is_ok(),
            "{other:x?}"
        );
        assert!(
            connect(&[other, b"\x22\0\x05"].concat()).is_ok(),
            "{other:x?}"
        );
    }
}

/// HAProxy answered an unknown property of CONNACK with "need more data" and waited forever.
#[test]
fn haproxy_unknown_connack_property() {
    let bytes = packet(0x20, b"\0\0\x02\x7e\0");
    assert_eq!(
        down(Version::V5, &bytes).map(|view| view.kind()),
        Err(DecodeError::UnknownProperty)
    );
}

/// NanoMQ read variable byte integers of five bytes (CVE-2026-21888).
#[test]
fn five_byte_variable_byte_integer() {
    assert_eq!(
        View::parse(
            Version::V311,
            Direction::ToServer,
            b"\x30\x80\x80\x80\x80\x01"
        )
        .map(|view| view.is_some()),
        Err(DecodeError::RemainingLength)
    );
    // told at the fourth byte, before a fifth arrives
    assert_eq!(
        View::parse(Version::V5, Direction::ToServer, b"\x10\xff\xff\xff\xff")
            .map(|view| view.is_some()),
        Err(DecodeError::RemainingLength)
    );
    // property length of PUBLISH
    assert_eq!(
        up(Version::V5, &packet(0x30, b"\0\x01t\x80\x80\x80\x80\x01x")).map(|view| view.kind()),
        Err(DecodeError::RemainingLength)
    );
    // Subscription Identifier
    assert_eq!(
        up(
            Version::V5,
            &packet(0x82, b"\0\x01\x06\x0b\x80\x80\x80\x80\x01\0\x01a\0")
        )
        .map(|view| view.kind()),
        Err(DecodeError::RemainingLength)
    );
}

/// NanoMQ crashed on `$share/ab`, and mosquitto 2.0.11 grants it as if it were a plain filter
/// (CVE-2025-68699).
#[test]
fn share_without_filter() {
    for filter in [
        "$share/ab",
        "$share/",
        "$share//a",
        "$share/g/",
        "$share/+/a",
    ] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let mut body = b"\0\x01".to_vec();
            if version.is_v5() {
                body.push(0);
            }
            body.extend((filter.len() as u16).to_be_bytes());
            body.extend(filter.as_bytes());
            let unsubscribe = packet(0xa2, &body);
            body.push(0);
            let subscribe = packet(0x82, &body);
            for bytes in [subscribe, unsubscribe] {
                assert_eq!(
                    up(version, &bytes).map(|view| view.kind()),
                    Err(DecodeError::SharedFilter),
                    "{filter} {version}"
                );
            }
        }
    }
    let shared = TopicFilter::new("$share/ab").map(|filter| filter.shared().map(|_| ()));
    assert_eq!(shared, Ok(Err(TopicError::ShareFilterMissing)));
}

/// mqtt-protocol reads PINGREQ and PUBACK without skipping what is left of them, and takes the rest
/// for the next packet: a client can hide a DISCONNECT in a PINGREQ.
#[test]
fn mqtt_protocol_packet_in_a_packet() {
    for bytes in [
        &b"\xc0\x02\xe0\x00"[..],
        b"\x40\x04\0\x01\xe0\x00",
        b"\xe0\x02\xc0\x00",
        b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x02hz\xe0\x00",
    ] {
        assert_eq!(
            up(Version::V311, bytes).map(|view| view.kind()),
            Err(DecodeError::TrailingBytes),
            "{bytes:x?}"
        );
    }
}

/// mqtt-protocol computes the payload length of a short PUBLISH below zero, and mqute-codec panics
/// on packet identifier 0.
#[test]
fn short_publish() {
    for bytes in [&b"\x30\x00"[..], b"\x30\x01\x00", b"\x32\x03\x00\x01\x61"] {
        assert_eq!(
            up(Version::V311, bytes).map(|view| view.kind()),
            Err(DecodeError::Truncated),
            "{bytes:x?}"
        );
    }
    assert_eq!(
        up(Version::V311, b"\x32\x05\x00\x01\x61\x00\x00").map(|view| view.kind()),
        Err(DecodeError::PacketIdZero)
    );
}

/// mqttbytes and rumqttc refuse a DISCONNECT of MQTT 5.0 without a body, and one with a reason
/// code alone.
#[test]
fn short_forms_of_mqtt_5() {
    for (bytes, reason) in [
        (&b"\xe0\x00"[..], ReasonCode::SUCCESS),
        (b"\xe0\x01\x04", ReasonCode::DISCONNECT_WITH_WILL),
        (b"\xe0\x02\x00\x00", ReasonCode::SUCCESS),
    ] {
        match up(Version::V5, bytes) {
            Ok(View::Disconnect(disconnect)) => assert_eq!(disconnect.reason, reason),
            other => panic!("{bytes:x?}: {other:?}"),
        }
    }
    for bytes in [
        &b"\x40\x02\0\x01"[..],
        b"\x40\x03\0\x01\0",
        b"\x40\x04\0\x01\0\0",
    ] {
        match up(Version::V5, bytes) {
            Ok(View::Ack(ack)) => assert_eq!((ack.packet_id, ack.reason), (1, ReasonCode::SUCCESS)),
            other => panic!("{bytes:x?}: {other:?}"),
        }
    }
}

/// rumqttc slices a topic at a byte that is no character border.
#[test]
fn rumqttc_topic_of_two_byte_characters() {
    let filter = TopicFilter::new("+/a").unwrap();
    let name = mproxy_codec::topic::TopicName::new("é/a").unwrap();
    assert!(filter.matches(name));
}

/// Ours: a wildcard in Response Topic was answered with 0x90, Topic Name invalid, which speaks of
/// the topic that the message is published to.
#[test]
fn reason_of_a_wildcard_in_response_topic() {
    let bytes = packet(0x30, b"\0\x03a/b\x06\x08\0\x03r/+x");
    let error = up(Version::V5, &bytes).map(|view| view.kind()).unwrap_err();
    assert_eq!(error, DecodeError::PropertyValue);
    assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR);
}

/// Ours: the version that a session assumed decided whether the length of a CONNECT may be long,
/// though the CONNECT names its own version.
#[test]
fn long_length_of_a_connect_that_names_its_version() {
    let connect = |level: u8, tail: &[u8]| {
        let mut bytes = vec![0x10, 0x80 | (10 + tail.len()) as u8, 0];
        bytes.extend(b"\0\x04MQTT");
        bytes.push(level);
        bytes.extend(b"\x02\0\x3c");
        bytes.extend(tail);
        bytes
    };
    for assumed in [Version::V31, Version::V311, Version::V5] {
        match up(assumed, &connect(4, b"\0\x01c")) {
            Ok(View::Connect(packet)) => {
                assert_eq!(
                    packet.as_bytes()[..2],
                    [0x10, 0x0d],
                    "forwarded in short form"
                );
            }
            other => panic!("{assumed}: {other:?}"),
        }
        assert_eq!(
            up(assumed, &connect(5, b"\0\0\x01c")).map(|view| view.kind()),
            Err(DecodeError::NotMinimal)
        );
    }
}

/// Ours: bytes of the next packet, handed over with a packet, became part of it.
#[test]
fn normalise_stops_at_the_end_of_the_packet() {
    let bytes = b"\x8a\x86\x00\0\x01\0\x01a\x00\xc0\x00";
    let head = Head::parse(bytes).unwrap().unwrap();
    assert_eq!(
        &normalise(head, bytes).unwrap()[..],
        b"\x82\x06\0\x01\0\x01a\x00"
    );
}

/// Ours: a property could be written with a value of another type, or with a string that no
/// packet may carry (a reason with U+0000, say), and made a packet that the receiver refuses.
#[test]
fn written_properties_can_be_read() {
    use PropertyId as Id;
    use Value as V;
    let refused = [
        (Id::ReasonString, V::Str("a\0b"), DecodeError::NulCharacter),
        (
            Id::UserProperty,
            V::Pair("a", "\0"),
            DecodeError::NulCharacter,
        ),
        (Id::ResponseTopic, V::Str("a/#"), DecodeError::PropertyValue),
        (Id::ResponseTopic, V::Str(""), DecodeError::EmptyTopic),
        (Id::ReceiveMaximum, V::U16(0), DecodeError::PropertyValue),
        (Id::TopicAlias, V::U16(0), DecodeError::TopicAliasZero),
        (Id::MaximumQos, V::Byte(2), DecodeError::PropertyValue),
        (
            Id::SubscriptionIdentifier,
            V::Varint(0),
            DecodeError::PropertyValue,
        ),
        // another type
        (Id::ReceiveMaximum, V::U32(5), DecodeError::PropertyValue),
        (Id::ReceiveMaximum, V::Byte(5), DecodeError::Truncated),
        (
            Id::MaximumPacketSize,
            V::Varint(268_435_455),
            DecodeError::PropertyValue,
        ),
        (
            Id::ContentType,
            V::Binary(b"\xff"),
            DecodeError::InvalidUtf8,
        ),
        (Id::ContentType, V::Binary(b"a"), DecodeError::PropertyValue),
        (Id::CorrelationData, V::Str("a"), DecodeError::PropertyValue),
    ];
    let mut writer = PropertyWriter::new();
    writer.push(Id::ReasonString, V::Str("kept")).unwrap();
    let before = writer.as_bytes().to_vec();
    for (id, value, error) in refused {
        assert_eq!(
            writer.push(id, value).map(|_| ()),
            Err(EncodeError::Invalid(error)),
            "{id:?} {value:?}"
        );
        assert_eq!(writer.as_bytes(), before, "{id:?} {value:?}");
    }
    let long = "x".repeat(65_536);
    assert_eq!(
        writer.push(Id::ReasonString, V::Str(&long)).map(|_| ()),
        Err(EncodeError::FieldTooLong)
    );
    assert_eq!(
        writer
            .push(Id::SubscriptionIdentifier, V::Varint(268_435_456))
            .map(|_| ()),
        Err(EncodeError::PacketTooLarge)
    );
    assert_eq!(writer.as_bytes(), before);
}

fn edit(bytes: &[u8], edit: &PublishEdit<'_>) -> Result<Vec<u8>, EncodeError> {
    match up(Version::V5, bytes) {
        Ok(View::Publish(publish)) => publish.edit(Version::V5, edit).map(|made| made.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// Ours: taking the alias out of a PUBLISH that has no topic name but the alias made a PUBLISH to
/// nowhere, and so did a new property block without the alias.
#[test]
fn no_publish_without_topic_and_alias() {
    let nowhere = Err(EncodeError::Invalid(DecodeError::EmptyTopic));
    let bytes = packet(0x30, b"\0\0\x03\x23\0\x01x");
    let without = PublishEdit::new().without_topic_alias();
    assert_eq!(edit(&bytes, &without), nowhere);
    assert_eq!(edit(&bytes, &PublishEdit::new().properties(b"")), nowhere);
    assert_eq!(
        edit(&bytes, &without.topic("a/b")),
        Ok(packet(0x30, b"\0\x03a/b\0x"))
    );
    let other_alias = PublishEdit::new().properties(b"\x23\0\x02");
    assert_eq!(
        edit(&bytes, &other_alias),
        Ok(packet(0x30, b"\0\0\x03\x23\0\x02x"))
    );
    // an alias in a new block goes too
    assert_eq!(
        edit(&bytes, &other_alias.topic("a").without_topic_alias()),
        Ok(packet(0x30, b"\0\x01a\0x"))
    );
}

/// Ours: a new property block went into the packet unread.
#[test]
fn edited_properties_are_validated() {
    let bytes = packet(0x30, b"\0\x01a\0x");
    for (block, error) in [
        (&b"\x01\x02"[..], DecodeError::PropertyValue),
        (b"\x01\x01\x01\x01", DecodeError::DuplicateProperty),
        (b"\x11\0\0\0\x01", DecodeError::PropertyNotAllowed),
        (b"\x03\0\x09a", DecodeError::Truncated),
        (b"\x7f", DecodeError::UnknownProperty),
    ] {
        assert_eq!(
            edit(&bytes, &PublishEdit::new().properties(block)),
            Err(EncodeError::Invalid(error)),
            "{block:x?}"
        );
    }
}

/// Ours: a topic that does not fit into its length was "a field runs past the end of the packet".
#[test]
fn too_long_is_called_too_long() {
    let long = "t".repeat(65_536);
    let bytes = packet(0x30, b"\0\x01a\0x");
    let too_long = Err(EncodeError::FieldTooLong);
    assert_eq!(edit(&bytes, &PublishEdit::new().topic(&long)), too_long);
    let v5 = Version::V5;
    let qos = QoS::AtMostOnce;
    let options = SubscriptionOptions::new(qos);
    for made in [
        encode_publish(v5, &long, qos, 0, b"", b""),
        encode_subscribe(v5, 1, b"", [(&*long, options)]),
        encode_unsubscribe(v5, 1, b"", [&*long]),
    ] {
        assert_eq!(made.map(|made| made.to_vec()), too_long);
    }
}

/// Ours: packet identifier 0 was written without a word, except in PUBLISH.
#[test]
fn packet_id_zero_is_not_written() {
    let qos = QoS::AtLeastOnce;
    let options = SubscriptionOptions::new(qos);
    for version in [Version::V31, Version::V311, Version::V5] {
        let acks = [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp]
            .map(|kind| encode_ack(version, kind, 0, ReasonCode::SUCCESS, b""));
        let others = [
            encode_publish(version, "a", qos, 0, b"", b""),
            encode_subscribe(version, 0, b"", [("a", options)]),
            encode_unsubscribe(version, 0, b"", ["a"]),
            encode_suback(version, 0, b"", b"\0"),
            encode_unsuback(version, 0, b"", b"\0"),
        ];
        for made in acks.into_iter().chain(others) {
            assert_eq!(
                made,
                Err(EncodeError::Invalid(DecodeError::PacketIdZero)),
                "{version}"
            );
        }
    }
}

/// Ours: table 3-10 leaves 0x8c out of DISCONNECT and table 2-6 lists it there. A broker that ends
/// a re-authentication with it was taken for a broken one, and the client was told nothing.
#[test]
fn disconnect_with_bad_authentication_method() {
    match down(Version::V5, b"\xe0\x01\x8c") {
        Ok(View::Disconnect(disconnect)) => {
            assert_eq!(disconnect.reason, ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        up(Version::V5, b"\xe0\x01\x8c").map(|view| view.kind()),
        Err(DecodeError::InvalidReasonCode)
    );
}

/// Ours: properties given to an encoder were written before MQTT 5.0 too, without their length, and
/// became payload or topic filters.
#[test]
fn no_properties_before_mqtt_5() {
    let block = b"\x26\0\x01k\0\x01v";
    let options = SubscriptionOptions::new(QoS::AtMostOnce);
    for version in [Version::V31, Version::V311] {
        let made = encode_publish(version, "t", QoS::AtLeastOnce, 1, block, b"p").unwrap();
        assert_eq!(&made[..], b"\x32\x06\0\x01t\0\x01p");
        let made = encode_subscribe(version, 1, block, [("a", options)]).unwrap();
        assert_eq!(&made[..], b"\x82\x06\0\x01\0\x01a\0");
        let made = encode_unsubscribe(version, 1, block, ["a"]).unwrap();
        assert_eq!(&made[..], b"\xa2\x05\0\x01\0\x01a");
        let made = encode_suback(version, 1, block, b"\0").unwrap();
        assert_eq!(&made[..], b"\x90\x03\0\x01\0");
        let made = encode_unsuback(version, 1, block, b"\0").unwrap();
        assert_eq!(&made[..], b"\xb0\x02\0\x01");
    }
}

/// Ours: CONNACK and CONNECT were judged before they were written. Other encoders wrote any block of bytes as
/// properties, and a PUBACK with the
/// code 0x03: the receiver had to close the connection.
#[test]
fn encoders_write_what_can_be_read() {
    let v5 = Version::V5;
    let (id, options) = (7, SubscriptionOptions::new(QoS::AtMostOnce));
    let code = ReasonCode::SUCCESS;
    // the first does not exist, the second is cut, the third is one of a will
    for (block, error) in [
        (&b"\x7f\0"[..], DecodeError::UnknownProperty),
        (b"\x26\0\x05k", DecodeError::Truncated),
        (b"\x18\0\0\0\x05", DecodeError::PropertyNotAllowed),
    ] {
        let acks = [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp]
            .map(|kind| encode_ack(v5, kind, id, code, block));
        let others = [
            encode_publish(v5, "a", QoS::AtLeastOnce, id, block, b""),
            encode_subscribe(v5, id, block, [("a", options)]),
            encode_unsubscribe(v5, id, block, ["a"]),
            encode_suback(v5, id, block, b"\0"),
            encode_unsuback(v5, id, block, b"\0"),
            encode_disconnect(v5, code, block),
            encode_auth(v5, code, block),
            encode_refusal(v5, ReasonCode::SERVER_BUSY, block),
        ];
        for (at, made) in acks.into_iter().chain(others).enumerate() {
            assert_eq!(made, Err(EncodeError::Invalid(error)), "{at}");
        }
    }
    let invalid = Err(EncodeError::Invalid(DecodeError::InvalidReasonCode));
    for (kind, code) in [
        (Kind::Puback, 0x03),
        (Kind::Pubrec, 0x92),
        (Kind::Pubrel, 0x10),
        (Kind::Pubcomp, 0x87),
    ] {
        assert_eq!(
            encode_ack(v5, kind, id, ReasonCode::new(code), b""),
            invalid
        );
    }
    // either side's own properties of DISCONNECT
    for block in [&b"\x11\0\0\0\x01"[..], b"\x1c\0\x01a"] {
        assert!(encode_disconnect(v5, code, block).is_ok());
    }
}

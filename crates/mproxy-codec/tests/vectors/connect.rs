//! CONNECT.

use mproxy_codec::{ConnectPacket, DecodeError, PropertyId, QoS, Version, View};

use crate::common::{
    ALL, BAD_NAMES, BAD_STRINGS, V3, V5, V31, V311, field, packet, refused_up, up,
};

/// Name and level of a version.
pub(crate) const fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::V31 => b"\0\x06MQIsdp\x03",
        Version::V311 => b"\0\x04MQTT\x04",
        Version::V5 => b"\0\x04MQTT\x05",
    }
}

/// A CONNECT with these flags, keep alive 60 and payload; without properties.
pub(crate) fn connect(version: Version, flags: u8, payload: &[u8]) -> Vec<u8> {
    let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
    let body = [protocol(version), &[flags], b"\0\x3c", block, payload].concat();
    packet(0x10, &body)
}

/// A CONNECT of MQTT 5.0 with these properties.
fn with_properties(block: &[u8]) -> Vec<u8> {
    let body = [
        protocol(V5),
        b"\x02\0\x3c",
        &[block.len() as u8],
        block,
        b"\0\x01c",
    ]
    .concat();
    packet(0x10, &body)
}

pub(crate) fn parse(bytes: &[u8]) -> ConnectPacket {
    match up(V5, bytes) {
        Ok(View::Connect(packet)) => *packet,
        other => panic!("{bytes:02x?}: {other:?}"),
    }
}

fn refused(bytes: &[u8], error: DecodeError, what: &str) {
    assert_eq!(
        up(V5, bytes).map(|view| view.kind()),
        Err(error),
        "{what}: {bytes:02x?}"
    );
    assert_eq!(
        ConnectPacket::parse(bytes.to_vec().into()).map(|_| ()),
        Err(error),
        "{what}"
    );
}

fn has_control(bytes: &[u8], expected: bool, what: &str) {
    let packet = parse(bytes);
    assert_eq!(packet.has_control(), expected, "{what}: {bytes:02x?}");
    let view = up(V5, bytes).map(|view| view.has_control());
    assert_eq!(view, Ok(expected), "{what}: {bytes:02x?}");
}

#[test]
fn the_least() {
    for version in ALL {
        let bytes = connect(version, 0x02, b"\0\x01c");
        let packet = parse(&bytes);
        assert_eq!(packet.version(), version);
        assert_eq!(ConnectPacket::version_of(&bytes), Some(version));
        assert_eq!((packet.client_id(), packet.keep_alive()), ("c", 60));
        assert!(packet.clean_start());
        assert_eq!((packet.user_name(), packet.password()), (None, None));
        assert_eq!(packet.will(), None);
        assert!(packet.properties().is_empty());
        assert_eq!(&packet.as_bytes()[..], bytes);
        assert!(!parse(&connect(version, 0x00, b"\0\x01c")).clean_start());
    }
}

#[test]
fn everything() {
    for version in ALL {
        let v5 = version.is_v5();
        let will_block: &[u8] = if v5 {
            b"\x07\x18\0\0\0\x05\x01\x01"
        } else {
            b""
        };
        let payload = [
            b"\0\x02id",
            will_block,
            b"\0\x03w/t\0\x02\0\xff\0\x04user\0\x03p\0\xff",
        ]
        .concat();
        let packet = parse(&connect(version, 0xf6, &payload));
        assert_eq!(packet.client_id(), "id");
        assert_eq!(packet.user_name(), Some("user"));
        assert_eq!(packet.password(), Some(&b"p\0\xff"[..]));
        let will = packet.will().expect("a will");
        assert_eq!((will.topic, will.payload), ("w/t", &b"\0\xff"[..]));
        assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
        let delay = will.properties.number(PropertyId::WillDelayInterval);
        assert_eq!(delay, v5.then_some(5));
        let shown = format!("{packet:?}");
        assert!(
            shown.contains("\"user\"") && shown.contains("***"),
            "{shown}"
        );
        assert!(!shown.contains("112") && !shown.contains("255"), "{shown}");
    }
}

/// Every value of the flags byte, with the fields that it announces.
#[test]
fn flags() {
    for version in ALL {
        for flags in 0..=255u8 {
            let will = flags & 4 != 0;
            let mut payload = b"\0\x01c".to_vec();
            if will {
                payload.extend(if version.is_v5() { &b"\0"[..] } else { b"" });
                payload.extend(b"\0\x01w\0\x01x");
            }
            if flags & 0x80 != 0 {
                payload.extend(b"\0\x01u");
            }
            if flags & 0x40 != 0 {
                payload.extend(b"\0\x01p");
            }
            let expected = if flags & 1 != 0 && version != V31 {
                Err(DecodeError::ConnectFlagReserved)
            } else if !will && flags & 0x18 != 0 {
                Err(DecodeError::WillQosWithoutWill)
            } else if !will && flags & 0x20 != 0 {
                Err(DecodeError::WillRetainWithoutWill)
            } else if flags & 0x18 == 0x18 {
                Err(DecodeError::WillQosThree)
            } else if flags & 0xc0 == 0x40 && version != V5 {
                Err(DecodeError::PasswordWithoutUserName)
            } else {
                Ok(())
            };
            let bytes = connect(version, flags, &payload);
            assert_eq!(
                up(version, &bytes).map(|_| ()),
                expected,
                "{version} {flags:08b}"
            );
            if expected.is_ok() {
                let packet = parse(&bytes);
                assert_eq!(packet.clean_start(), flags & 2 != 0);
                assert_eq!(packet.will().is_some(), will);
                if let Some(will) = packet.will() {
                    assert_eq!(will.qos.as_u8(), flags >> 3 & 3);
                    assert_eq!(will.retain, flags & 0x20 != 0);
                }
                assert_eq!(packet.user_name().is_some(), flags & 0x80 != 0);
                assert_eq!(packet.password().is_some(), flags & 0x40 != 0);
            }
        }
    }
}

/// MQTT 3.1 does not use bit 0: what is forwarded has it cleared.
#[test]
fn reserved_flag_of_3_1() {
    let packet = parse(&connect(V31, 0x03, b"\0\x01c"));
    assert_eq!(&packet.as_bytes()[..], connect(V31, 0x02, b"\0\x01c"));
}

#[test]
fn protocol_names_and_levels() {
    for (name, level, error) in [
        (&b"MQTT"[..], 3, DecodeError::ProtocolMismatch),
        (b"MQTT", 0, DecodeError::ProtocolLevel),
        (b"MQTT", 6, DecodeError::ProtocolLevel),
        // bit 7 is mosquitto's, for 3.1 and 3.1.1 only
        (b"MQTT", 0x83, DecodeError::ProtocolMismatch),
        (b"MQTT", 0x85, DecodeError::ProtocolLevel),
        (b"MQTT", 0xff, DecodeError::ProtocolLevel),
        (b"MQIsdp", 4, DecodeError::ProtocolMismatch),
        (b"MQIsdp", 5, DecodeError::ProtocolMismatch),
        (b"MQIsdp", 0x84, DecodeError::ProtocolMismatch),
        (b"MQIsdp", 0x85, DecodeError::ProtocolLevel),
        (b"MQIsdp", 6, DecodeError::ProtocolLevel),
        (b"mqtt", 0x84, DecodeError::ProtocolName),
        (b"mqtt", 4, DecodeError::ProtocolName),
        (b"", 4, DecodeError::ProtocolName),
        (b"MQTTX", 4, DecodeError::ProtocolName),
        (b"MQT", 4, DecodeError::ProtocolName),
        (b"MQISDP", 3, DecodeError::ProtocolName),
    ] {
        let body = [&field(name)[..], &[level], b"\x02\0\x3c\0\x01c"].concat();
        refused(&packet(0x10, &body), error, "name and level");
    }
    // in whose form the level is refused: a later MQTT knows that of 5.0
    for (level, version) in [(5, V5), (6, V5), (0x7f, V5)] {
        let front = [&b"\x10\x10\0\x04MQTT"[..], &[level]].concat();
        assert_eq!(ConnectPacket::version_of(&front), Some(version));
    }
    for level in [0, 3, 4, 0x80, 0x84, 0x85, 0xff] {
        let front = [&b"\x10\x10\0\x04MQTT"[..], &[level]].concat();
        assert_eq!(ConnectPacket::version_of(&front), Some(V311));
        let front = [&b"\x10\x10\0\x06MQIsdp"[..], &[level]].concat();
        assert_eq!(ConnectPacket::version_of(&front), Some(V31));
    }
    assert_eq!(ConnectPacket::version_of(b"\x10\x10\0\x04mqtt\x04"), None);
    assert_eq!(ConnectPacket::version_of(b"\x10\x10\0\x04MQT"), None);
    assert_eq!(ConnectPacket::version_of(b"\x10"), None);
    assert_eq!(ConnectPacket::version_of(b"\x00\x00"), None);
}

/// C11: a mosquitto bridge sets bit 7 of its level, and the broker treats it as a bridge because of
/// it: it must neither be refused nor lose the bit when a field is set.
#[test]
fn the_bit_of_a_bridge_is_kept() {
    for (name, level, version) in [(&b"MQIsdp"[..], 0x83, V31), (b"MQTT", 0x84, V311)] {
        let body = [&field(name)[..], &[level], b"\x02\0\x3c\0\x01c"].concat();
        let bytes = packet(0x10, &body);
        let mut bridge = parse(&bytes);
        assert!(bridge.is_bridge());
        assert_eq!((bridge.version(), bridge.client_id()), (version, "c"));
        assert_eq!(bridge.as_bytes(), &bytes[..]);
        bridge.set_client_id("other").unwrap();
        let body = [&field(name)[..], &[level], b"\x02\0\x3c\0\x05other"].concat();
        assert_eq!(bridge.as_bytes(), &packet(0x10, &body)[..]);
        assert!(bridge.is_bridge());

        let body = [&field(name)[..], &[level & 0x7f], b"\x02\0\x3c\0\x01c"].concat();
        assert!(!parse(&packet(0x10, &body)).is_bridge());
    }
}

#[test]
fn client_ids() {
    for version in ALL {
        for id in [
            "a",
            "0123456789abcdefghijklm",
            "é",
            "a/+#",
            &"i".repeat(65_535),
        ] {
            let bytes = connect(version, 0x02, &field(id.as_bytes()));
            assert_eq!(parse(&bytes).client_id(), id);
            has_control(&bytes, false, "client id");
        }
        for (id, error) in BAD_STRINGS {
            refused(&connect(version, 0x02, &field(id)), *error, "client id");
        }
        for id in BAD_NAMES {
            let bytes = connect(version, 0x02, &field(id.as_bytes()));
            has_control(&bytes, true, "client id");
        }
    }
    for (version, flags, legal) in [
        (V31, 0x00, false),
        (V31, 0x02, false),
        (V311, 0x00, false),
        (V311, 0x02, true),
        (V5, 0x00, true),
        (V5, 0x02, true),
    ] {
        let bytes = connect(version, flags, b"\0\0");
        let expected = if legal {
            Ok(())
        } else {
            Err(DecodeError::EmptyClientId)
        };
        assert_eq!(
            up(version, &bytes).map(|_| ()),
            expected,
            "{version} {flags:x}"
        );
    }
}

#[test]
fn user_names_and_passwords() {
    for version in ALL {
        let with_name =
            |name: &[u8]| connect(version, 0x82, &[b"\0\x01c", &field(name)[..]].concat());
        assert_eq!(parse(&with_name(b"")).user_name(), Some(""));
        for (name, error) in BAD_STRINGS {
            refused(&with_name(name), *error, "user name");
        }
        for name in BAD_NAMES {
            has_control(&with_name(name.as_bytes()), true, "user name");
        }
        // a password is any bytes
        for password in [&b""[..], b"\0", b"\xff\xfe", &[7; 65_535]] {
            let payload = [b"\0\x01c\0\x01u", &field(password)[..]].concat();
            let packet = parse(&connect(version, 0xc2, &payload));
            assert_eq!(packet.password(), Some(password));
        }
    }
    let packet = parse(&connect(V5, 0x42, b"\0\x01c\0\x01p"));
    assert_eq!(
        (packet.user_name(), packet.password()),
        (None, Some(&b"p"[..]))
    );
}

#[test]
fn wills() {
    for version in ALL {
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        let with_topic = |topic: &[u8]| {
            let payload = [b"\0\x01c", block, &field(topic), b"\0\0"].concat();
            connect(version, 0x06, &payload)
        };
        assert_eq!(
            parse(&with_topic(b"w")).will().map(|will| will.payload),
            Some(&b""[..])
        );
        refused(&with_topic(b""), DecodeError::EmptyTopic, "will topic");
        refused(
            &with_topic(b"w/+"),
            DecodeError::WildcardInWillTopic,
            "will topic",
        );
        for (topic, error) in BAD_STRINGS {
            refused(&with_topic(topic), *error, "will topic");
        }
        for topic in BAD_NAMES {
            has_control(&with_topic(topic.as_bytes()), true, "will topic");
        }
    }
    for (response, expected) in [("r", false), ("r\n", true)] {
        let property = [&b"\x08"[..], &field(response.as_bytes())].concat();
        let block = [&[property.len() as u8][..], &property].concat();
        let payload = [b"\0\x01c", &block[..], b"\0\x01w\0\0"].concat();
        has_control(&connect(V5, 0x06, &payload), expected, "Response Topic");
    }
    for (block, error) in [
        (&b"\x02\x01\x02"[..], DecodeError::PropertyValue),
        (b"\x03\x23\0\x01", DecodeError::PropertyNotAllowed),
        (b"\x05\x11\0\0\0\x01", DecodeError::PropertyNotAllowed),
        (b"\x80\0", DecodeError::NotMinimal),
        (b"\x06\x08\0\x03r/#", DecodeError::PropertyValue),
    ] {
        let payload = [b"\0\x01c", block, b"\0\x01w\0\0"].concat();
        refused(&connect(V5, 0x06, &payload), error, "will properties");
    }
}

#[test]
fn broken() {
    for version in ALL {
        for (what, flags, payload, error) in [
            ("no id", 0x02, &b""[..], DecodeError::Truncated),
            ("half a length", 0x02, b"\0", DecodeError::Truncated),
            ("id cut", 0x02, b"\0\x05c", DecodeError::Truncated),
            ("left over", 0x02, b"\0\x01c\0", DecodeError::TrailingBytes),
            (
                "user name without flag",
                0x02,
                b"\0\x01c\0\x01u",
                DecodeError::TrailingBytes,
            ),
            (
                "password without flag",
                0x82,
                b"\0\x01c\0\x01u\0\x01p",
                DecodeError::TrailingBytes,
            ),
            ("no user name", 0x82, b"\0\x01c", DecodeError::Truncated),
            (
                "no password",
                0xc2,
                b"\0\x01c\0\x01u",
                DecodeError::Truncated,
            ),
            ("no will", 0x06, b"\0\x01c", DecodeError::Truncated),
        ] {
            refused(&connect(version, flags, payload), error, what);
        }
        let whole = connect(version, 0x02, b"\0\x01c");
        for len in 2..whole.len() {
            let bytes = packet(0x10, &whole[2..len]);
            let seen = up(version, &bytes).map(|_| ());
            assert!(
                matches!(seen, Err(DecodeError::Truncated)),
                "{bytes:02x?} {seen:?}"
            );
        }
    }
    for version in V3 {
        let bytes = connect(version, 0x02, b"\0\x01c");
        let long = [&[0x10, bytes[1] | 0x80, 0x00], &bytes[2..]].concat();
        assert_eq!(&parse(&long).as_bytes()[..], bytes);
    }
    refused_up(V5, 0x10, &[("empty", b"", DecodeError::Truncated)]);
    // MQTT 3.1 uses no flags of the fixed header and forbids none; what is forwarded has none
    for flags in 1..16 {
        for version in ALL {
            let plain = connect(version, 0x02, b"\0\x01c");
            let mut flagged = plain.clone();
            flagged[0] |= flags;
            let seen = ConnectPacket::parse(flagged.into());
            match version {
                V31 => assert_eq!(seen.map(|packet| packet.as_bytes().to_vec()), Ok(plain)),
                _ => assert_eq!(seen.map(|_| ()), Err(DecodeError::ReservedFlags)),
            }
        }
    }
    assert_eq!(
        ConnectPacket::parse(b"\x20\0".to_vec().into()).map(|_| ()),
        Err(DecodeError::ReservedFlags)
    );
    assert_eq!(
        ConnectPacket::parse(b"\x10".to_vec().into()).map(|_| ()),
        Err(DecodeError::Truncated)
    );
    assert_eq!(
        ConnectPacket::parse(b"\x10\x00\x00".to_vec().into()).map(|_| ()),
        Err(DecodeError::TrailingBytes)
    );
}

#[test]
fn properties() {
    let block =
        b"\x11\xff\xff\xff\xff\x21\0\x14\x22\0\x0a\x27\0\x01\0\0\x17\0\x19\x01\x26\0\x01k\0\x01v";
    let packet = parse(&with_properties(block));
    let properties = packet.properties();
    assert_eq!(properties.as_bytes(), block);
    for (id, number) in [
        (PropertyId::SessionExpiryInterval, u32::MAX),
        (PropertyId::ReceiveMaximum, 20),
        (PropertyId::TopicAliasMaximum, 10),
        (PropertyId::MaximumPacketSize, 65_536),
        (PropertyId::RequestProblemInformation, 0),
        (PropertyId::RequestResponseInformation, 1),
    ] {
        assert_eq!(properties.number(id), Some(number), "{id:?}");
    }
    for (block, error) in [
        (&b"\x21\0\0"[..], DecodeError::PropertyValue),
        (b"\x22\0\x05\x22\0\x05", DecodeError::DuplicateProperty),
        (b"\x12\0\x01x", DecodeError::PropertyNotAllowed),
        (b"\x16\0\x01x", DecodeError::AuthDataWithoutMethod),
        (b"\x00\x00", DecodeError::UnknownProperty),
        (b"\x91\x00\0\0\0\x01", DecodeError::UnknownProperty),
    ] {
        refused(&with_properties(block), error, "properties");
    }
}

//! PUBLISH.

use mproxy_codec::{
    DecodeError, Direction, EncodeError, Head, Publish, PublishLayout, QoS, View, encode_publish,
};

use crate::common::{
    ALL, BAD_NAMES, BAD_STRINGS, V3, V5, V311, down, field, packet, refused_down, refused_up, up,
};

fn publish(version: mproxy_codec::Version, bytes: &[u8]) -> Publish<'_> {
    match up(version, bytes) {
        Ok(View::Publish(publish)) => publish,
        other => panic!("{bytes:02x?}: {other:?}"),
    }
}

/// MQTT 3.1.1 figure 3.11: topic `a/b`, packet identifier 10.
#[test]
fn example_of_the_standard() {
    for version in ALL {
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        let bytes = packet(0x32, &[b"\0\x03a/b\0\x0a", block, b"payload"].concat());
        let view = publish(version, &bytes);
        assert_eq!(view.topic(), "a/b");
        assert_eq!(view.payload(), Some(&b"payload"[..]));
        assert!(view.properties().is_empty());
        let layout = view.layout();
        assert_eq!((layout.packet_id(), layout.topic_alias()), (Some(10), None));
        assert_eq!(
            (layout.qos(), layout.dup(), layout.retain()),
            (QoS::AtLeastOnce, false, false)
        );
        assert_eq!((layout.total_len(), layout.payload_len()), (bytes.len(), 7));
        assert_eq!(&bytes[layout.payload_at()..], b"payload");
        let made = encode_publish(version, "a/b", QoS::AtLeastOnce, 10, b"", b"payload");
        assert_eq!(&made.unwrap()[..], bytes);
    }
}

#[test]
fn flags() {
    for (first, dup, qos, retain) in [
        (0x30, false, QoS::AtMostOnce, false),
        (0x31, false, QoS::AtMostOnce, true),
        (0x32, false, QoS::AtLeastOnce, false),
        (0x33, false, QoS::AtLeastOnce, true),
        (0x34, false, QoS::ExactlyOnce, false),
        (0x35, false, QoS::ExactlyOnce, true),
        (0x3a, true, QoS::AtLeastOnce, false),
        (0x3b, true, QoS::AtLeastOnce, true),
        (0x3c, true, QoS::ExactlyOnce, false),
        (0x3d, true, QoS::ExactlyOnce, true),
    ] {
        let id: &[u8] = if qos == QoS::AtMostOnce {
            b""
        } else {
            b"\xff\xff"
        };
        let bytes = packet(first, &[b"\0\x01t", id].concat());
        let view = publish(V311, &bytes);
        let layout = view.layout();
        assert_eq!(
            (layout.dup(), layout.qos(), layout.retain()),
            (dup, qos, retain)
        );
        assert_eq!(layout.packet_id(), (!id.is_empty()).then_some(0xffff));
        assert_eq!(view.payload(), Some(&b""[..]));
    }
}

#[test]
fn topics() {
    for version in ALL {
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        let read = |topic: &[u8]| {
            let bytes = packet(0x30, &[&field(topic)[..], block].concat());
            up(version, &bytes).map(|view| match view {
                View::Publish(publish) => publish.topic().to_owned(),
                other => panic!("{other:?}"),
            })
        };
        let longest = "t".repeat(65_535);
        let slashes = "/".repeat(65_535);
        for topic in [
            "a",
            "/",
            "//",
            "a/",
            "$SYS/x",
            " ",
            "a b",
            "é",
            "cafe\u{301}",
            "\u{feff}a",
            "𝄞/x",
            "abcdefgh/ijklmnop/é",
            &longest,
            &slashes,
        ] {
            assert_eq!(read(topic.as_bytes()).as_deref(), Ok(topic));
        }
        for topic in ["+", "#", "a/+", "a/#", "+/a", "a+b", "abcdefgh#", "é+"] {
            assert_eq!(
                read(topic.as_bytes()),
                Err(DecodeError::WildcardInTopicName),
                "{topic}"
            );
        }
        assert_eq!(read(b""), Err(DecodeError::EmptyTopic));
        for (topic, error) in BAD_STRINGS {
            assert_eq!(read(topic), Err(*error), "{topic:x?}");
            let behind = [b"abcdefghijkl/", *topic].concat();
            assert_eq!(read(&behind), Err(*error), "{topic:x?}");
        }
        for topic in BAD_NAMES {
            assert_eq!(read(topic.as_bytes()).as_deref(), Ok(*topic));
        }
    }
}

#[test]
fn control_characters() {
    for version in ALL {
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        for (topics, has_control) in [(BAD_NAMES, true), (&["a", "é", "a b"], false)] {
            for topic in topics {
                let bytes = packet(0x30, &[&field(topic.as_bytes()), block].concat());
                let layout = *publish(version, &bytes).layout();
                assert_eq!(layout.has_control(), has_control, "{topic:?}");
                let response = [&b"\x08"[..], &field(topic.as_bytes())].concat();
                let length = [response.len() as u8];
                let bytes = packet(0x30, &[b"\0\x01t", &length[..], &response].concat());
                let layout = *publish(V5, &bytes).layout();
                assert_eq!(layout.has_control(), has_control, "{topic:?}");
            }
        }
    }
    // what names nothing
    let bytes = packet(0x30, b"\0\x01t\x06\x26\0\x01\n\0\0\n");
    assert!(!publish(V5, &bytes).layout().has_control());
}

#[test]
fn broken() {
    for version in ALL {
        refused_up(
            version,
            0x30,
            &[
                ("empty", b"", DecodeError::Truncated),
                ("one byte", b"\0", DecodeError::Truncated),
                ("topic cut", b"\0\x05abcd", DecodeError::Truncated),
            ],
        );
        refused_up(
            version,
            0x32,
            &[
                ("no id", b"\0\x01a", DecodeError::Truncated),
                ("half an id", b"\0\x01a\0", DecodeError::Truncated),
                ("id 0", b"\0\x01a\0\0\0x", DecodeError::PacketIdZero),
            ],
        );
    }
    for version in V3 {
        // what would be properties is payload
        let bytes = packet(0x30, b"\0\x01a\xff\xff\xff\xff\xff");
        assert_eq!(
            publish(version, &bytes).payload(),
            Some(&b"\xff\xff\xff\xff\xff"[..])
        );
    }
    refused_up(
        V5,
        0x30,
        &[
            ("no property length", b"\0\x01a", DecodeError::Truncated),
            ("past the end", b"\0\x01a\x01", DecodeError::Truncated),
            ("long length", b"\0\x01a\x80\0", DecodeError::NotMinimal),
            ("length cut", b"\0\x01a\x80", DecodeError::Truncated),
            (
                "five bytes",
                b"\0\x01a\x80\x80\x80\x80\x01",
                DecodeError::RemainingLength,
            ),
        ],
    );
}

#[test]
fn topic_alias() {
    let bytes = packet(0x30, b"\0\0\x03\x23\xff\xffx");
    let view = publish(V5, &bytes);
    assert_eq!(
        (view.topic(), view.layout().topic_alias()),
        ("", Some(0xffff))
    );
    assert_eq!(view.payload(), Some(&b"x"[..]));
    let bytes = packet(0x30, b"\0\x01a\x03\x23\0\x01x");
    assert_eq!(publish(V5, &bytes).layout().topic_alias(), Some(1));
    refused_up(
        V5,
        0x30,
        &[
            ("zero", b"\0\x01a\x03\x23\0\0", DecodeError::TopicAliasZero),
            (
                "twice",
                b"\0\x01a\x06\x23\0\x01\x23\0\x01",
                DecodeError::DuplicateProperty,
            ),
            (
                "neither topic nor alias",
                b"\0\0\0",
                DecodeError::EmptyTopic,
            ),
            (
                "another property",
                b"\0\0\x02\x01\x01",
                DecodeError::EmptyTopic,
            ),
        ],
    );
}

/// [MQTT-3.3.4-6]: the server says which subscriptions matched, all of them.
#[test]
fn subscription_identifiers() {
    let bytes = packet(0x30, b"\0\x01a\x04\x0b\x01\x0b\x02x");
    let Ok(View::Publish(view)) = down(V5, &bytes) else {
        panic!("refused")
    };
    assert_eq!(view.properties().iter().count(), 2);
    refused_up(
        V5,
        0x30,
        &[(
            "by a client",
            b"\0\x01a\x02\x0b\x01x",
            DecodeError::SubscriptionIdFromClient,
        )],
    );
    refused_down(
        V5,
        0x30,
        &[("zero", b"\0\x01a\x02\x0b\0x", DecodeError::PropertyValue)],
    );
}

/// The layout needs the front of the packet and no byte of the payload.
#[test]
fn a_layout_without_payload() {
    let mut bytes = b"\x34\xff\xff\xff\x7f\0\x03a/b\0\x07\x02\x01\x01".to_vec();
    let front = bytes.len();
    bytes.extend(b"and so on");
    for len in 0..=bytes.len() {
        let Some(head) = Head::parse(&bytes[..len]).unwrap() else {
            continue;
        };
        let layout = PublishLayout::parse(head, V5, Direction::ToServer, &bytes[..len]).unwrap();
        assert_eq!(layout.is_some(), len >= front, "{len}");
        if let Some(layout) = layout {
            assert_eq!(layout.payload_at(), front);
            assert_eq!(layout.total_len(), 268_435_460);
            assert_eq!(layout.payload_len(), 268_435_460 - front);
            assert_eq!(layout.topic(&bytes), b"a/b");
            let view = Publish::new(layout, &bytes[..len]);
            assert_eq!((view.topic(), view.payload()), ("a/b", None));
        }
    }
}

/// A front that is wrong is refused before the payload arrives.
#[test]
fn a_bad_front_is_refused_at_once() {
    for (bytes, error) in [
        (
            &b"\x30\xff\x7f\0\x03a/#\0"[..],
            DecodeError::WildcardInTopicName,
        ),
        (b"\x32\xff\x7f\0\x03a/b\0\0", DecodeError::PacketIdZero),
        (
            b"\x30\xff\x7f\0\x03a/b\x02\x7e\0",
            DecodeError::UnknownProperty,
        ),
        (b"\x30\x07\0\x03a/b\x20", DecodeError::Truncated),
        (b"\x30\x04\0\x40", DecodeError::Truncated),
    ] {
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(
            PublishLayout::parse(head, V5, Direction::ToServer, bytes),
            Err(error),
            "{bytes:x?}"
        );
    }
}

#[test]
fn encoding() {
    let made = encode_publish(V5, "t", QoS::ExactlyOnce, 258, b"\x01\x01", b"p").unwrap();
    assert_eq!(&made[..], b"\x34\x09\0\x01t\x01\x02\x02\x01\x01p");
    let made = encode_publish(V311, "t", QoS::AtMostOnce, 258, b"\x01\x01", b"p").unwrap();
    assert_eq!(&made[..], b"\x30\x04\0\x01tp", "neither id nor properties");
    for (topic, error) in [
        ("", DecodeError::EmptyTopic),
        ("a/+", DecodeError::WildcardInTopicName),
        ("a\0", DecodeError::NulCharacter),
    ] {
        assert_eq!(
            encode_publish(V5, topic, QoS::AtMostOnce, 0, b"", b""),
            Err(EncodeError::Invalid(error))
        );
    }
}

//! SUBSCRIBE and UNSUBSCRIBE.

use mproxy_codec::{
    DecodeError, EncodeError, PropertyId, QoS, Subscription, SubscriptionOptions, View,
    encode_subscribe, encode_unsubscribe,
};

use crate::common::{
    ALL, BAD_NAMES, BAD_STRINGS, V3, V5, V31, V311, field, packet, refused_up, up,
};

/// MQTT 3.1.1 figure 3.22 and MQTT 5.0 figure 3-19: `a/b` at QoS 1, `c/d` at QoS 2.
#[test]
fn example_of_the_standard() {
    for version in ALL {
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        let bytes = packet(
            0x82,
            &[b"\0\x0a", block, b"\0\x03a/b\x01\0\x03c/d\x02"].concat(),
        );
        let Ok(View::Subscribe(subscribe)) = up(version, &bytes) else {
            panic!("refused")
        };
        assert_eq!((subscribe.packet_id(), subscribe.len()), (10, 2));
        assert!(!subscribe.is_empty() && subscribe.properties().is_empty());
        let entries: Vec<_> = subscribe
            .subscriptions()
            .map(
                |Subscription {
                     filter, options, ..
                 }| (filter.as_str(), options.qos()),
            )
            .collect();
        assert_eq!(
            entries,
            [("a/b", QoS::AtLeastOnce), ("c/d", QoS::ExactlyOnce)]
        );
        let entries = entries
            .into_iter()
            .map(|(filter, qos)| (filter, SubscriptionOptions::new(qos)));
        assert_eq!(
            &encode_subscribe(version, 10, b"", entries).unwrap()[..],
            bytes
        );

        let bytes = packet(0xa2, &[b"\0\x0a", block, b"\0\x03a/b\0\x03c/d"].concat());
        let Ok(View::Unsubscribe(unsubscribe)) = up(version, &bytes) else {
            panic!("refused")
        };
        assert_eq!((unsubscribe.packet_id(), unsubscribe.len()), (10, 2));
        assert!(!unsubscribe.is_empty() && unsubscribe.properties().is_empty());
        assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a/b", "c/d"]);
        let made = encode_unsubscribe(version, 10, b"", unsubscribe.filters()).unwrap();
        assert_eq!(&made[..], bytes);
    }
}

/// Every value of the options byte.
#[test]
fn options() {
    for options in 0..=255u8 {
        for version in V3 {
            let bytes = packet(0x82, &[b"\0\x01\0\x01a", &[options][..]].concat());
            let seen = up(version, &bytes).map(|view| view.kind().as_u8());
            let expected = if options < 3 {
                Ok(8)
            } else {
                Err(DecodeError::SubscriptionOptions)
            };
            assert_eq!(seen, expected, "{options:08b}");
        }
        let bytes = packet(0x82, &[b"\0\x01\0\0\x01a", &[options][..]].concat());
        let legal = options & 3 != 3 && options & 0x30 != 0x30 && options & 0xc0 == 0;
        match up(V5, &bytes) {
            Ok(View::Subscribe(subscribe)) => {
                assert!(legal, "{options:08b}");
                let seen = subscribe.subscriptions().next().unwrap().options;
                assert_eq!(seen.as_u8(), options);
                assert_eq!(seen.no_local(), options & 4 != 0);
                let lowered = seen.with_qos(QoS::AtMostOnce);
                assert_eq!(lowered.as_u8(), options & !3);
            }
            Err(error) => {
                assert!(!legal, "{options:08b}");
                assert_eq!(error, DecodeError::SubscriptionOptions);
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
}

/// Filters with the verdict of section 4.7.
const FILTERS: &[(&str, Result<(), DecodeError>)] = &[
    ("a", Ok(())),
    ("/", Ok(())),
    ("#", Ok(())),
    ("+", Ok(())),
    ("+/+", Ok(())),
    ("/+", Ok(())),
    ("a/#", Ok(())),
    ("a/+/b/#", Ok(())),
    ("$SYS/#", Ok(())),
    ("$share/g/a", Ok(())),
    ("$share/g/#", Ok(())),
    ("$share/g//", Ok(())),
    ("$shared/x", Ok(())),
    ("$share", Ok(())),
    ("a b/é/\u{feff}", Ok(())),
    ("", Err(DecodeError::EmptyTopic)),
    ("a#", Err(DecodeError::MisplacedWildcard)),
    ("a/#/b", Err(DecodeError::MisplacedWildcard)),
    ("#/a", Err(DecodeError::MisplacedWildcard)),
    ("##", Err(DecodeError::MisplacedWildcard)),
    ("a/b#", Err(DecodeError::MisplacedWildcard)),
    ("a+", Err(DecodeError::MisplacedWildcard)),
    ("+a/b", Err(DecodeError::MisplacedWildcard)),
    ("a/b+", Err(DecodeError::MisplacedWildcard)),
    ("++", Err(DecodeError::MisplacedWildcard)),
    ("$share/g", Err(DecodeError::SharedFilter)),
    ("$share/", Err(DecodeError::SharedFilter)),
    ("$share//a", Err(DecodeError::SharedFilter)),
    ("$share/g/", Err(DecodeError::SharedFilter)),
    ("$share/+/a", Err(DecodeError::SharedFilter)),
    ("$share/g/a#", Err(DecodeError::MisplacedWildcard)),
];

fn subscribe_and_unsubscribe(filter: &[u8], block: &[u8]) -> [Vec<u8>; 2] {
    let filter = field(filter);
    [
        packet(0x82, &[b"\0\x01", block, &filter, &[0]].concat()),
        packet(0xa2, &[b"\0\x01", block, &filter].concat()),
    ]
}

#[test]
fn filters() {
    for version in ALL {
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        for (filter, verdict) in FILTERS {
            for bytes in subscribe_and_unsubscribe(filter.as_bytes(), block) {
                let seen = up(version, &bytes).map(|_| ());
                assert_eq!(seen, *verdict, "{filter} {version}");
            }
            let verdict = verdict.map_err(EncodeError::Invalid);
            let options = SubscriptionOptions::new(QoS::AtMostOnce);
            let made = encode_subscribe(version, 1, b"", [(*filter, options)]).map(|_| ());
            assert_eq!(made, verdict, "{filter}");
            let made = encode_unsubscribe(version, 1, b"", [*filter]).map(|_| ());
            assert_eq!(made, verdict, "{filter}");
        }
        for (filter, error) in BAD_STRINGS {
            for bytes in subscribe_and_unsubscribe(filter, block) {
                assert_eq!(up(version, &bytes).map(|_| ()), Err(*error), "{filter:x?}");
            }
        }
        for filter in BAD_NAMES {
            for bytes in subscribe_and_unsubscribe(filter.as_bytes(), block) {
                let seen = up(version, &bytes).map(|view| view.has_control());
                assert_eq!(seen, Ok(true), "{filter:?}");
            }
        }
        let longest = "f".repeat(65_535);
        for bytes in subscribe_and_unsubscribe(longest.as_bytes(), block) {
            assert!(up(version, &bytes).is_ok());
        }
    }
}

#[test]
fn broken() {
    for version in V3 {
        refused_up(
            version,
            0x82,
            &[
                ("empty", b"", DecodeError::Truncated),
                ("id 0", b"\0\0\0\x01a\0", DecodeError::PacketIdZero),
                ("no filter", b"\0\x01", DecodeError::NoTopicFilter),
                ("no options", b"\0\x01\0\x01a", DecodeError::Truncated),
                ("filter cut", b"\0\x01\0\x05a\0", DecodeError::Truncated),
                ("length cut", b"\0\x01\0\x01a\0\0", DecodeError::Truncated),
                (
                    "second filter bad",
                    b"\0\x01\0\x01a\0\0\x01#\0\0\x02##\0",
                    DecodeError::MisplacedWildcard,
                ),
            ],
        );
        refused_up(
            version,
            0xa2,
            &[
                ("empty", b"", DecodeError::Truncated),
                ("id 0", b"\0\0\0\x01a", DecodeError::PacketIdZero),
                ("no filter", b"\0\x01", DecodeError::NoTopicFilter),
                ("filter cut", b"\0\x01\0\x05a", DecodeError::Truncated),
            ],
        );
    }
    for first in [0x82, 0xa2] {
        refused_up(
            V5,
            first,
            &[
                ("no property length", b"\0\x01", DecodeError::Truncated),
                ("no filter", b"\0\x01\0", DecodeError::NoTopicFilter),
                ("id 0", b"\0\0\0\0\x01a\0", DecodeError::PacketIdZero),
                (
                    "long length",
                    b"\0\x01\x80\0\0\x01a\0",
                    DecodeError::NotMinimal,
                ),
                (
                    "past the end",
                    b"\0\x01\x20\0\x01a\0",
                    DecodeError::Truncated,
                ),
                (
                    "alias",
                    b"\0\x01\x03\x23\0\x01\0\x01a\0",
                    DecodeError::PropertyNotAllowed,
                ),
            ],
        );
    }
}

#[test]
fn dup_in_3_1() {
    for first in [0x8a, 0xaa] {
        let bytes = packet(first, b"\0\x01\0\x01a\0");
        let bytes = if first == 0xaa {
            packet(first, b"\0\x01\0\x01a")
        } else {
            bytes
        };
        assert!(up(V31, &bytes).is_ok());
        assert_eq!(
            up(V311, &bytes).map(|_| ()),
            Err(DecodeError::ReservedFlags)
        );
    }
}

#[test]
fn subscription_identifier() {
    for (id, number) in [
        (&b"\x01"[..], 1),
        (b"\xff\x7f", 16_383),
        (b"\xff\xff\xff\x7f", 268_435_455),
    ] {
        let block = [&[id.len() as u8 + 1, 0x0b], id].concat();
        let bytes = packet(0x82, &[b"\0\x01", &block[..], b"\0\x01a\0"].concat());
        match up(V5, &bytes) {
            Ok(View::Subscribe(subscribe)) => assert_eq!(
                subscribe
                    .properties()
                    .number(PropertyId::SubscriptionIdentifier),
                Some(number)
            ),
            other => panic!("{other:?}"),
        }
    }
    refused_up(
        V5,
        0x82,
        &[
            (
                "zero",
                b"\0\x01\x02\x0b\0\0\x01a\0",
                DecodeError::PropertyValue,
            ),
            (
                "twice",
                b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0",
                DecodeError::DuplicateProperty,
            ),
            (
                "long",
                b"\0\x01\x03\x0b\x81\0\0\x01a\0",
                DecodeError::NotMinimal,
            ),
            (
                "cut",
                b"\0\x01\x02\x0b\x80\0\x01a\0",
                DecodeError::Truncated,
            ),
        ],
    );
}

#[test]
fn no_local_on_a_shared_subscription() {
    let bytes = packet(0x82, b"\0\x01\0\0\x0a$share/g/a\x04");
    assert_eq!(up(V5, &bytes).map(|_| ()), Err(DecodeError::NoLocalShared));
    let bytes = packet(0x82, b"\0\x01\0\0\x09$shared/a\x04");
    assert!(up(V5, &bytes).is_ok());
}

#[test]
fn nothing_to_subscribe_to() {
    let nothing = Err(EncodeError::Invalid(DecodeError::NoTopicFilter));
    for version in ALL {
        assert_eq!(encode_subscribe::<&str>(version, 1, b"", []), nothing);
        assert_eq!(encode_unsubscribe::<&str>(version, 1, b"", []), nothing);
    }
}

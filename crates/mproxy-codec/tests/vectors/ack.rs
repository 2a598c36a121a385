//! PUBACK, PUBREC, PUBREL and PUBCOMP.

use mproxy_codec::{DecodeError, EncodeError, Kind, PropertyId, ReasonCode, View, encode_ack};

use crate::common::{ALL, V3, V5, V31, V311, down, packet, refused_down, refused_up, up};

const FOUR: [(Kind, u8); 4] = [
    (Kind::Puback, 0x40),
    (Kind::Pubrec, 0x50),
    (Kind::Pubrel, 0x62),
    (Kind::Pubcomp, 0x70),
];

#[test]
fn packet_id_alone() {
    for (kind, first) in FOUR {
        for version in ALL {
            for id in [1u16, 0x0102, 0xffff] {
                let bytes = packet(first, &id.to_be_bytes());
                for view in [up(version, &bytes), down(version, &bytes)] {
                    match view {
                        Ok(View::Ack(ack)) => {
                            assert_eq!((ack.kind, ack.packet_id), (kind, id));
                            assert_eq!(ack.reason, ReasonCode::SUCCESS);
                            assert!(ack.properties.is_empty());
                        }
                        other => panic!("{kind} {version}: {other:?}"),
                    }
                }
                let made = encode_ack(version, kind, id, ReasonCode::SUCCESS, b"").unwrap();
                assert_eq!(&made[..], bytes);
            }
        }
    }
}

/// MQTT 5.0 tables 3-4 to 3-7: every value of the byte.
#[test]
fn reason_codes() {
    for (kind, first) in FOUR {
        let legal: &[u8] = match kind {
            Kind::Puback | Kind::Pubrec => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            _ => &[0x00, 0x92],
        };
        for code in 0..=255u8 {
            for body in [&[0, 7, code][..], &[0, 7, code, 0]] {
                let bytes = packet(first, body);
                match up(V5, &bytes) {
                    Ok(View::Ack(ack)) => {
                        assert!(legal.contains(&code), "{kind} {code:02x}");
                        assert_eq!(ack.reason.as_u8(), code);
                    }
                    Err(error) => {
                        assert!(!legal.contains(&code), "{kind} {code:02x}");
                        assert_eq!(error, DecodeError::InvalidReasonCode);
                    }
                    Ok(other) => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn with_properties() {
    let block = b"\x1f\0\x02no\x26\0\x01k\0\x01v";
    let mut body = b"\0\x07\x87".to_vec();
    body.push(block.len() as u8);
    body.extend(block);
    let bytes = packet(0x40, &body);
    match down(V5, &bytes) {
        Ok(View::Ack(ack)) => {
            assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED);
            assert_eq!(ack.properties.str(PropertyId::ReasonString), Some("no"));
            let pairs: Vec<_> = ack.properties.user_properties().collect();
            assert_eq!(pairs, [("k", "v")]);
        }
        other => panic!("{other:?}"),
    }
    let made = encode_ack(V5, Kind::Puback, 7, ReasonCode::NOT_AUTHORIZED, block).unwrap();
    assert_eq!(&made[..], bytes);
}

#[test]
fn broken() {
    for (kind, first) in FOUR {
        let short: &[(&str, &[u8], DecodeError)] = &[
            ("empty", b"", DecodeError::Truncated),
            ("one byte", b"\0", DecodeError::Truncated),
            ("id 0", b"\0\0", DecodeError::PacketIdZero),
        ];
        for version in ALL {
            refused_up(version, first, short);
            refused_down(version, first, short);
        }
        for version in V3 {
            let rows: &[(&str, &[u8], DecodeError)] = &[
                ("a reason code", b"\0\x01\0", DecodeError::TrailingBytes),
                ("properties", b"\0\x01\0\0", DecodeError::TrailingBytes),
            ];
            refused_up(version, first, rows);
        }
        refused_up(
            V5,
            first,
            &[
                ("past the end", b"\0\x01\0\x10", DecodeError::Truncated),
                ("left over", b"\0\x01\0\0\0", DecodeError::TrailingBytes),
                ("long length", b"\0\x01\0\x80\0", DecodeError::NotMinimal),
                ("length cut", b"\0\x01\0\x80", DecodeError::Truncated),
                (
                    "reason twice",
                    b"\0\x01\0\x08\x1f\0\x01a\x1f\0\x01a",
                    DecodeError::DuplicateProperty,
                ),
                (
                    "another packet's property",
                    b"\0\x01\0\x03\x23\0\x01",
                    DecodeError::PropertyNotAllowed,
                ),
            ],
        );
        assert_eq!(
            encode_ack(V5, Kind::Publish, 1, ReasonCode::SUCCESS, b""),
            Err(EncodeError::NoSuchField),
            "{kind}"
        );
    }
}

/// MQTT 3.1 lets a repeated PUBREL carry DUP; only there.
#[test]
fn pubrel_with_dup() {
    let bytes = packet(0x6a, b"\0\x01");
    assert!(up(V31, &bytes).is_ok());
    for version in [V311, V5] {
        assert_eq!(
            up(version, &bytes).map(|view| view.kind()),
            Err(DecodeError::ReservedFlags)
        );
    }
}

/// Before MQTT 5.0 there is no place for a reason.
#[test]
fn encoding_for_3_leaves_the_reason_out() {
    for version in V3 {
        let made = encode_ack(
            version,
            Kind::Pubrec,
            9,
            ReasonCode::NOT_AUTHORIZED,
            b"\x26\0\0\0\0",
        );
        assert_eq!(&made.unwrap()[..], b"\x50\x02\0\x09");
    }
    let made = encode_ack(
        V5,
        Kind::Pubcomp,
        9,
        ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        b"",
    );
    assert_eq!(&made.unwrap()[..], b"\x70\x03\0\x09\x92");
}

/// mosquitto acknowledges a PUBLISH above its limit with 0x95, which section 3.4.2.1 does not list.
/// Taken for malformed, it cost the client its session; a client that says it is told so.
#[test]
fn a_broker_may_say_that_a_packet_is_too_large() {
    for first in [0x40, 0x50] {
        let bytes = packet(first, b"\0\x01\x95");
        match down(V5, &bytes) {
            Ok(View::Ack(ack)) => assert_eq!(ack.reason, ReasonCode::PACKET_TOO_LARGE),
            other => panic!("{other:?}"),
        }
        let seen = up(V5, &bytes).map(|view| view.kind());
        assert_eq!(seen, Err(DecodeError::InvalidReasonCode));
    }
}

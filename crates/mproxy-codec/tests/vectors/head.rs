//! The fixed header.

use mproxy_codec::{DecodeError, Direction, Head, Kind, MAX_HEAD_LEN, Version, View};

use crate::common::{ALL, V5, V31, V311, packet};

/// MQTT 5.0 table 2-1: the name, direction (up, down) and flags of each packet type.
const TYPES: [(u8, &str, bool, bool, u8); 15] = [
    (1, "connect", true, false, 0),
    (2, "connack", false, true, 0),
    (3, "publish", true, true, 0),
    (4, "puback", true, true, 0),
    (5, "pubrec", true, true, 0),
    (6, "pubrel", true, true, 2),
    (7, "pubcomp", true, true, 0),
    (8, "subscribe", true, false, 2),
    (9, "suback", false, true, 0),
    (10, "unsubscribe", true, false, 2),
    (11, "unsuback", false, true, 0),
    (12, "pingreq", true, false, 0),
    (13, "pingresp", false, true, 0),
    (14, "disconnect", true, true, 0),
    (15, "auth", true, true, 0),
];

#[test]
fn types_and_names() {
    assert_eq!(Kind::ALL.len(), TYPES.len());
    for (kind, (number, name, ..)) in Kind::ALL.into_iter().zip(TYPES) {
        assert_eq!((kind.as_u8(), kind.as_str()), (number, name));
        assert_eq!(kind.to_string(), name);
        assert_eq!(Kind::from_first_byte(number << 4 | 0x0f), Some(kind));
    }
    assert_eq!(Kind::from_first_byte(0x0f), None);
}

/// The first byte alone is enough for a verdict: no length, no body.
#[test]
fn the_first_byte_decides() {
    for (number, name, to_server, to_client, flags) in TYPES {
        for version in ALL {
            for direction in [Direction::ToServer, Direction::ToClient] {
                for nibble in 0..16 {
                    let first = number << 4 | nibble;
                    let seen = View::parse(version, direction, &[first]).map(|view| view.is_none());
                    let travels = match direction {
                        Direction::ToServer => to_server,
                        Direction::ToClient => to_client && (name != "disconnect" || version == V5),
                    };
                    let dup = version == V31 && flags == 2 && nibble == 0b1010;
                    let expected = match name {
                        "publish" if nibble & 6 == 6 => Err(DecodeError::QosThree),
                        "publish" if nibble & 0b1110 == 8 => Err(DecodeError::DupQosZero),
                        "publish" => Ok(true),
                        "auth" if version != V5 => Err(DecodeError::ReservedType),
                        _ if !travels => Err(DecodeError::WrongDirection),
                        _ if nibble == flags || dup => Ok(true),
                        _ => Err(DecodeError::ReservedFlags),
                    };
                    assert_eq!(seen, expected, "{first:02x} {version} {direction:?}");
                }
            }
        }
    }
    for first in 0..16 {
        for version in ALL {
            let seen = View::parse(version, Direction::ToServer, &[first]).map(|_| ());
            assert_eq!(seen, Err(DecodeError::ReservedType));
        }
    }
}

/// MQTT 5.0 table 1-1: the limits of each length of a variable byte integer.
#[test]
fn remaining_length() {
    for (bytes, value) in [
        (&b"\x00"[..], 0usize),
        (b"\x7f", 127),
        (b"\x80\x01", 128),
        (b"\xff\x7f", 16_383),
        (b"\x80\x80\x01", 16_384),
        (b"\xff\xff\x7f", 2_097_151),
        (b"\x80\x80\x80\x01", 2_097_152),
        (b"\xff\xff\xff\x7f", 268_435_455),
        // longer than needed
        (b"\x80\x00", 0),
        (b"\x82\x80\x80\x00", 2),
    ] {
        let head = [&[0x30], bytes].concat();
        for len in 0..head.len() {
            assert_eq!(
                Head::parse(&head[..len]),
                Ok(None),
                "{head:02x?} cut at {len}"
            );
        }
        let seen = Head::parse(&head).unwrap().expect("a whole head");
        assert_eq!(seen.remaining_len(), value);
        assert_eq!(
            (seen.len(), seen.total_len()),
            (head.len(), head.len() + value)
        );
        assert_eq!(
            seen.is_minimal(),
            bytes.len() == 1 || bytes.last() != Some(&0)
        );
        assert!(seen.len() <= MAX_HEAD_LEN && !seen.is_empty());
        assert_eq!((seen.first_byte(), seen.kind()), (0x30, Kind::Publish));
    }
    for bytes in [&b"\x30\xff\xff\xff\xff"[..], b"\x30\x80\x80\x80\x80\x00"] {
        assert_eq!(Head::parse(bytes), Err(DecodeError::RemainingLength));
    }
}

/// MQTT 5.0 demands the shortest form, 3.x does not.
#[test]
fn longer_than_needed() {
    let bytes = b"\xc0\x80\x00";
    for version in [V31, V311] {
        assert!(matches!(
            View::parse(version, Direction::ToServer, bytes),
            Ok(Some(View::Pingreq))
        ));
    }
    assert_eq!(
        View::parse(V5, Direction::ToServer, bytes).map(|view| view.is_some()),
        Err(DecodeError::NotMinimal)
    );
}

#[test]
fn bytes_behind_the_packet_do_not_matter() {
    let mut bytes = packet(0x40, b"\0\x01");
    let alone = format!("{:?}", View::parse(V311, Direction::ToServer, &bytes));
    bytes.extend(b"\x00\xff\xff\xff\xff");
    assert_eq!(
        alone,
        format!("{:?}", View::parse(V311, Direction::ToServer, &bytes))
    );
}

#[test]
fn versions() {
    for (version, level, name) in [(V31, 3, "3.1"), (V311, 4, "3.1.1"), (V5, 5, "5")] {
        assert_eq!((version.level(), version.as_str()), (level, name));
        assert_eq!(version.to_string(), name);
        assert_eq!(version.is_v5(), version == Version::V5);
    }
}

//! SUBACK and UNSUBACK.

use mproxy_codec::{DecodeError, View, encode_suback, encode_unsuback};

use crate::common::{ALL, V3, V5, down, packet, refused_down};

/// Every value of the byte, in MQTT 5.0 tables 3-8 and 3-9 and in 3.1.1 section 3.9.3.
#[test]
fn codes() {
    let v5 = [
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
    ];
    let unsuback = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    for code in 0..=255u8 {
        for version in V3 {
            let bytes = packet(0x90, &[0, 1, code]);
            let legal = matches!(code, 0..=2 | 0x80);
            assert_eq!(down(version, &bytes).is_ok(), legal, "{code:02x}");
        }
        let bytes = packet(0x90, &[0, 1, 0, code]);
        assert_eq!(down(V5, &bytes).is_ok(), v5.contains(&code), "{code:02x}");
        let bytes = packet(0xb0, &[0, 1, 0, code]);
        assert_eq!(
            down(V5, &bytes).is_ok(),
            unsuback.contains(&code),
            "{code:02x}"
        );
    }
}

#[test]
fn codes_in_order() {
    for version in ALL {
        let middle: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let bytes = packet(0x90, &[b"\x12\x34", middle, b"\x02\x80\x00\x01"].concat());
        match down(version, &bytes) {
            Ok(View::Suback(suback)) => {
                assert_eq!(suback.packet_id, 0x1234);
                assert_eq!(suback.codes, b"\x02\x80\x00\x01");
                let made = encode_suback(version, 0x1234, b"", suback.codes).unwrap();
                assert_eq!(&made[..], bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    let bytes = packet(0xb0, b"\x12\x34\0\x11\0");
    match down(V5, &bytes) {
        Ok(View::Unsuback(unsuback)) => {
            assert_eq!(
                (unsuback.packet_id, unsuback.codes),
                (0x1234, &b"\x11\0"[..])
            );
            let made = encode_unsuback(V5, 0x1234, b"", unsuback.codes).unwrap();
            assert_eq!(&made[..], bytes);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn unsuback_of_3_has_no_codes() {
    for version in V3 {
        let bytes = b"\xb0\x02\0\x07";
        match down(version, bytes) {
            Ok(View::Unsuback(unsuback)) => {
                assert_eq!((unsuback.packet_id, unsuback.codes), (7, &b""[..]));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(&encode_unsuback(version, 7, b"", b"\0").unwrap()[..], bytes);
        refused_down(
            version,
            0xb0,
            &[
                ("a code", b"\0\x07\0", DecodeError::TrailingBytes),
                ("id 0", b"\0\0", DecodeError::PacketIdZero),
                ("short", b"\0", DecodeError::Truncated),
            ],
        );
    }
}

#[test]
fn broken() {
    for version in V3 {
        refused_down(
            version,
            0x90,
            &[
                ("empty", b"", DecodeError::Truncated),
                ("no code", b"\0\x01", DecodeError::Truncated),
                ("id 0", b"\0\0\0", DecodeError::PacketIdZero),
                (
                    "one bad code",
                    b"\0\x01\0\x03\0",
                    DecodeError::InvalidReasonCode,
                ),
            ],
        );
    }
    for first in [0x90, 0xb0] {
        refused_down(
            V5,
            first,
            &[
                ("empty", b"", DecodeError::Truncated),
                ("no property length", b"\0\x01", DecodeError::Truncated),
                ("no code", b"\0\x01\0", DecodeError::Truncated),
                ("id 0", b"\0\0\0\0", DecodeError::PacketIdZero),
                ("past the end", b"\0\x01\x7f\0", DecodeError::Truncated),
                (
                    "bad code",
                    b"\0\x01\0\x80\x03",
                    DecodeError::InvalidReasonCode,
                ),
                (
                    "alias",
                    b"\0\x01\x03\x23\0\x01\0",
                    DecodeError::PropertyNotAllowed,
                ),
            ],
        );
    }
}

/// MQTT 3.1.1 has one failure code.
#[test]
fn failures_for_3_become_0x80() {
    for version in V3 {
        let made = encode_suback(version, 1, b"", &[0x87, 2, 0x8f, 0x80, 1, 0]).unwrap();
        assert_eq!(&made[..], b"\x90\x08\0\x01\x80\x02\x80\x80\x01\x00");
    }
}

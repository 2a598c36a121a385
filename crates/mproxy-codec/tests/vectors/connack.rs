//! CONNACK.

use mproxy_codec::{
    DecodeError, EncodeError, PropertyId, ReasonCode, View, encode_connack, encode_refusal,
};

use crate::common::{ALL, V3, V5, down, packet, refused_down};

#[test]
fn codes_of_3() {
    for version in V3 {
        for code in 0..=255u8 {
            let bytes = packet(0x20, &[0, code]);
            match down(version, &bytes) {
                Ok(View::Connack(connack)) => {
                    assert!(code <= 5);
                    assert_eq!((connack.code, connack.session_present), (code, false));
                    assert_eq!(connack.is_success(), code == 0);
                    let reason = [0x00, 0x84, 0x85, 0x88, 0x86, 0x87][usize::from(code)];
                    assert_eq!(connack.reason(version).as_u8(), reason);
                    assert_eq!(
                        connack.with_properties(version, b""),
                        Err(EncodeError::NoSuchField)
                    );
                }
                Err(error) => {
                    assert!(code > 5);
                    assert_eq!(error, DecodeError::InvalidReasonCode);
                }
                Ok(other) => panic!("{other:?}"),
            }
        }
        assert!(
            matches!(down(version, b"\x20\x02\x01\x00"), Ok(View::Connack(connack))
            if connack.session_present && connack.is_success())
        );
    }
}

/// MQTT 5.0 table 3-1: every value of the byte.
#[test]
fn codes_of_5() {
    let legal = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95,
        0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
    ];
    for code in 0..=255u8 {
        match down(V5, &packet(0x20, &[0, code, 0])) {
            Ok(View::Connack(connack)) => {
                assert!(legal.contains(&code), "{code:02x}");
                assert_eq!(connack.reason(V5).as_u8(), code);
            }
            Err(error) => {
                assert!(!legal.contains(&code), "{code:02x}");
                assert_eq!(error, DecodeError::InvalidReasonCode);
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn broken() {
    for version in ALL {
        refused_down(
            version,
            0x20,
            &[
                ("empty", b"", DecodeError::Truncated),
                ("one byte", b"\0", DecodeError::Truncated),
                ("flag 1", b"\x02\0\0", DecodeError::ConnackFlags),
                ("flag 7", b"\x80\0\0", DecodeError::ConnackFlags),
            ],
        );
    }
    for version in V3 {
        refused_down(
            version,
            0x20,
            &[
                ("left over", b"\0\0\0", DecodeError::TrailingBytes),
                (
                    "session present",
                    b"\x01\x05",
                    DecodeError::SessionPresentOnFailure,
                ),
            ],
        );
    }
    refused_down(
        V5,
        0x20,
        &[
            ("no property length", b"\0\0", DecodeError::Truncated),
            ("left over", b"\0\0\0\0", DecodeError::TrailingBytes),
            ("long length", b"\0\0\x80\0", DecodeError::NotMinimal),
            ("past the end", b"\0\0\x01", DecodeError::Truncated),
            (
                "session present",
                b"\x01\x87\0",
                DecodeError::SessionPresentOnFailure,
            ),
            (
                "unknown property",
                b"\0\0\x02\x7e\0",
                DecodeError::UnknownProperty,
            ),
        ],
    );
}

#[test]
fn refusals() {
    for (reason, code) in [
        (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode::SERVER_UNAVAILABLE, 3),
        (ReasonCode::SERVER_BUSY, 3),
        (ReasonCode::QUOTA_EXCEEDED, 3),
        (ReasonCode::BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode::BAD_AUTHENTICATION_METHOD, 4),
        (ReasonCode::NOT_AUTHORIZED, 5),
        (ReasonCode::BANNED, 5),
        (ReasonCode::TOPIC_NAME_INVALID, 5),
    ] {
        for version in V3 {
            let made = encode_refusal(version, reason, b"\x1f\0\x01r").unwrap();
            assert_eq!(&made[..], [0x20, 2, 0, code], "{reason}");
        }
        let made = encode_refusal(V5, reason, b"\x1f\0\x01r").unwrap();
        assert_eq!(&made[..4], [0x20, 7, 0, reason.as_u8()]);
        match down(V5, &made) {
            Ok(View::Connack(connack)) => {
                assert!(!connack.is_success());
                assert_eq!(connack.properties.str(PropertyId::ReasonString), Some("r"));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every value of the byte in every version: what is written can be read, and says the same.
#[test]
fn a_connack_says_exactly_what_was_asked_for() {
    for version in ALL {
        for code in 0..=255u8 {
            let reason = ReasonCode::new(code);
            match encode_connack(version, false, reason, b"") {
                Ok(made) => match down(version, &made) {
                    Ok(View::Connack(connack)) => {
                        assert!(!connack.session_present);
                        assert_eq!(connack.reason(version), reason);
                    }
                    other => panic!("{other:?}"),
                },
                Err(error) => {
                    assert_eq!(error, DecodeError::InvalidReasonCode.into());
                    // MQTT 3.1.1 table 3.1: six codes and no more
                    let known = [0x00, 0x84, 0x85, 0x86, 0x87, 0x88];
                    assert!(!reason.is_valid_in_connack() || !version.is_v5());
                    assert!(version.is_v5() || !known.contains(&code));
                }
            }
            // [MQTT-3.2.2-6], [MQTT-3.2.2-4] of MQTT 3.1.1
            let present = encode_connack(version, true, reason, b"");
            match (code, present) {
                (0, made) => assert_eq!(made.unwrap()[2..4], [1, 0]),
                (_, made) => assert!(made.is_err(), "{version} {code:02x}"),
            }
        }
    }
    let present = encode_connack(V5, true, ReasonCode::BANNED, b"");
    assert_eq!(present, Err(DecodeError::SessionPresentOnFailure.into()));
}

#[test]
fn properties_of_a_connack_are_judged() {
    let block = b"\x22\0\x0a\x13\0\x1e";
    let made = encode_connack(V5, true, ReasonCode::SUCCESS, block).unwrap();
    assert_eq!(&made[..], [&b"\x20\x09\x01\0\x06"[..], block].concat());
    for version in V3 {
        let made = encode_connack(version, false, ReasonCode::SUCCESS, block);
        assert_eq!(made, Err(EncodeError::NoSuchField));
    }
    for (block, error) in [
        (&b"\x22\0"[..], DecodeError::Truncated),
        (b"\x21\0\0", DecodeError::PropertyValue),
        (b"\x23\0\x01", DecodeError::PropertyNotAllowed),
        (b"\x13\0\x1e\x13\0\x1e", DecodeError::DuplicateProperty),
    ] {
        let made = encode_connack(V5, false, ReasonCode::SUCCESS, block);
        assert_eq!(made, Err(error.into()));
    }
}

/// No reason may become "accepted" on its way to an MQTT 3.x client.
#[test]
fn no_failure_becomes_a_success() {
    for code in 0..=255u8 {
        let reason = ReasonCode::new(code);
        assert_eq!(reason.as_connect_return_code() == 0, code == 0);
        assert!(reason.as_connect_return_code() <= 5);
        assert_eq!(reason.is_error(), code >= 0x80);
    }
}

#[test]
fn other_properties() {
    let bytes = packet(0x20, b"\x01\0\x03\x22\0\x0a");
    let Ok(View::Connack(connack)) = down(V5, &bytes) else {
        panic!("refused")
    };
    let made = connack
        .with_properties(V5, b"\x22\0\x05\x13\0\x1e")
        .unwrap();
    assert_eq!(&made[..], packet(0x20, b"\x01\0\x06\x22\0\x05\x13\0\x1e"));
}

//! DISCONNECT and AUTH.

use mproxy_codec::{
    DecodeError, EncodeError, PropertyId, ReasonCode, View, encode_auth, encode_disconnect,
};

use crate::common::{V3, V5, down, packet, refused_down, refused_up, up};

#[test]
fn two_bytes_in_3() {
    for version in V3 {
        match up(version, b"\xe0\x00") {
            Ok(View::Disconnect(disconnect)) => assert_eq!(disconnect.reason, ReasonCode::SUCCESS),
            other => panic!("{other:?}"),
        }
        refused_up(
            version,
            0xe0,
            &[("a reason", b"\0", DecodeError::TrailingBytes)],
        );
        refused_down(
            version,
            0xe0,
            &[("by a broker", b"", DecodeError::WrongDirection)],
        );
        let made = encode_disconnect(version, ReasonCode::SERVER_SHUTTING_DOWN, b"");
        assert_eq!(&made.unwrap()[..], b"\xe0\x00");
    }
}

/// MQTT 5.0 table 3-10: every value of the byte, by who sends it. Table 2-6 adds 0x8c.
#[test]
fn reason_codes_of_disconnect() {
    let both = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    let client = [0x04];
    let server = [
        0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1,
        0xa2,
    ];
    for code in 0..=255u8 {
        for body in [&[code][..], &[code, 0]] {
            let bytes = packet(0xe0, body);
            let by_client = both.contains(&code) || client.contains(&code);
            let by_server = both.contains(&code) || server.contains(&code);
            assert_eq!(up(V5, &bytes).is_ok(), by_client, "{code:02x}");
            assert_eq!(down(V5, &bytes).is_ok(), by_server, "{code:02x}");
        }
        let reason = ReasonCode::new(code);
        let made = encode_disconnect(V5, reason, b"").unwrap();
        let expected = if code == 0 {
            packet(0xe0, b"")
        } else {
            packet(0xe0, &[code])
        };
        assert_eq!(&made[..], expected);
    }
}

#[test]
fn properties_of_disconnect() {
    let bytes = packet(0xe0, b"\0\x05\x11\0\0\0\x3c");
    match up(V5, &bytes) {
        Ok(View::Disconnect(disconnect)) => assert_eq!(
            disconnect
                .properties
                .number(PropertyId::SessionExpiryInterval),
            Some(60)
        ),
        other => panic!("{other:?}"),
    }
    let bytes = packet(0xe0, b"\x9d\x0b\x1c\0\x04else\x1f\0\x01r");
    match down(V5, &bytes) {
        Ok(View::Disconnect(disconnect)) => {
            assert_eq!(disconnect.reason, ReasonCode::SERVER_MOVED);
            assert_eq!(
                disconnect.properties.str(PropertyId::ServerReference),
                Some("else")
            );
            assert_eq!(
                disconnect.properties.str(PropertyId::ReasonString),
                Some("r")
            );
            let made = encode_disconnect(V5, disconnect.reason, disconnect.properties.as_bytes());
            assert_eq!(&made.unwrap()[..], bytes);
        }
        other => panic!("{other:?}"),
    }
    refused_down(
        V5,
        0xe0,
        &[(
            "session expiry by the server",
            b"\0\x05\x11\0\0\0\x3c",
            DecodeError::PropertyNotAllowed,
        )],
    );
    refused_up(
        V5,
        0xe0,
        &[
            (
                "reference by a client",
                b"\0\x04\x1c\0\x01s",
                DecodeError::PropertyNotAllowed,
            ),
            ("past the end", b"\0\x05\x11\0\0\0", DecodeError::Truncated),
            ("left over", b"\0\0\0", DecodeError::TrailingBytes),
            ("value cut", b"\0\x03\x11\0\0", DecodeError::Truncated),
        ],
    );
}

/// [MQTT-3.15.2-1]: every value of the byte, by who sends it.
#[test]
fn reason_codes_of_auth() {
    for code in 0..=255u8 {
        let bytes = packet(0xf0, &[&[code, 4], &b"\x15\0\x01m"[..]].concat());
        assert_eq!(
            up(V5, &bytes).is_ok(),
            matches!(code, 0x18 | 0x19),
            "{code:02x}"
        );
        assert_eq!(
            down(V5, &bytes).is_ok(),
            matches!(code, 0x00 | 0x18),
            "{code:02x}"
        );
    }
}

#[test]
fn auth() {
    let bytes = packet(0xf0, b"\x18\x09\x15\0\x01m\x16\0\x02\xff\0");
    match up(V5, &bytes) {
        Ok(View::Auth(auth)) => {
            assert_eq!(auth.reason, ReasonCode::CONTINUE_AUTHENTICATION);
            assert_eq!(
                auth.properties.str(PropertyId::AuthenticationMethod),
                Some("m")
            );
            let made = encode_auth(V5, auth.reason, auth.properties.as_bytes()).unwrap();
            assert_eq!(&made[..], bytes);
        }
        other => panic!("{other:?}"),
    }
    // the short form means success, which only the server says
    assert!(
        matches!(down(V5, b"\xf0\x00"), Ok(View::Auth(auth)) if auth.reason == ReasonCode::SUCCESS)
    );
    refused_up(
        V5,
        0xf0,
        &[
            ("success by a client", b"", DecodeError::InvalidReasonCode),
            ("no method", b"\x18", DecodeError::AuthDataWithoutMethod),
            ("no method", b"\x18\0", DecodeError::AuthDataWithoutMethod),
            (
                "data without method",
                b"\x18\x04\x16\0\x01d",
                DecodeError::AuthDataWithoutMethod,
            ),
            (
                "method twice",
                b"\x18\x08\x15\0\x01m\x15\0\x01m",
                DecodeError::DuplicateProperty,
            ),
        ],
    );
    for version in V3 {
        refused_up(version, 0xf0, &[("in 3", b"", DecodeError::ReservedType)]);
        refused_down(version, 0xf0, &[("in 3", b"", DecodeError::ReservedType)]);
        assert_eq!(
            encode_auth(version, ReasonCode::REAUTHENTICATE, b""),
            Err(EncodeError::NoSuchField)
        );
    }
}

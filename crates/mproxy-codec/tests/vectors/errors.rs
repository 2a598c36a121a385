//! Every error has a packet that causes it, a statement, and a reason to tell.

use mproxy_codec::{ConnectPacket, DecodeError, Direction, ReasonCode, Version, View};

use crate::common::{V5, V311, packet};

/// A packet that is refused with `error`; `None` for what no packet alone can cause.
fn cause(error: DecodeError) -> Option<(Version, Direction, &'static [u8])> {
    use DecodeError as E;
    use Direction::{ToClient, ToServer};
    Some(match error {
        E::RemainingLength => (V311, ToServer, b"\xc0\xff\xff\xff\xff"),
        E::NotMinimal => (V5, ToServer, b"\xc0\x80\x00"),
        // the limit and the policy are the session's
        E::PacketTooLarge | E::ControlCharacter => return None,
        // the order of packets is the framer's
        E::NotConnect | E::SecondConnect => return None,
        E::ReservedType => (V5, ToServer, b"\x00\x00"),
        E::ReservedFlags => (V5, ToServer, b"\xc1\x00"),
        E::WrongDirection => (V5, ToClient, b"\xc0\x00"),
        E::Truncated => (V311, ToServer, b"\x40\x01\x00"),
        E::TrailingBytes => (V311, ToServer, b"\xc0\x01\x00"),
        E::InvalidUtf8 => (V311, ToServer, b"\x30\x03\x00\x01\xff"),
        E::NulCharacter => (V311, ToServer, b"\x30\x03\x00\x01\x00"),
        E::QosThree => (V311, ToServer, b"\x36\x05\x00\x01a\x00\x01"),
        E::DupQosZero => (V311, ToServer, b"\x38\x03\x00\x01a"),
        E::PacketIdZero => (V311, ToServer, b"\x40\x02\x00\x00"),
        E::EmptyTopic => (V311, ToServer, b"\x30\x02\x00\x00"),
        E::WildcardInTopicName => (V311, ToServer, b"\x30\x03\x00\x01+"),
        E::MisplacedWildcard => (V311, ToServer, b"\x82\x07\x00\x01\x00\x02a#\x00"),
        E::SharedFilter => (V5, ToServer, b"\x82\x0e\x00\x01\x00\x00\x08$share/g\x00"),
        E::TopicAliasZero => (V5, ToServer, b"\x30\x07\x00\x01a\x03\x23\x00\x00"),
        E::UnknownProperty => (V5, ToServer, b"\x30\x06\x00\x01a\x02\x7f\x00"),
        E::PropertyNotAllowed => (V5, ToServer, b"\x30\x06\x00\x01a\x02\x24\x00"),
        E::SubscriptionIdFromClient => (V5, ToServer, b"\x30\x06\x00\x01a\x02\x0b\x01"),
        E::DuplicateProperty => (V5, ToServer, b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00"),
        E::PropertyValue => (V5, ToServer, b"\x30\x06\x00\x01a\x02\x01\x02"),
        E::AuthDataWithoutMethod => (V5, ToServer, b"\xf0\x01\x18"),
        E::ProtocolName => (V311, ToServer, b"\x10\x0d\0\x04mqtt\x04\x02\0\0\0\x01c"),
        E::ProtocolLevel => (V311, ToServer, b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\x01c"),
        E::ProtocolMismatch => (V311, ToServer, b"\x10\x0d\0\x04MQTT\x03\x02\0\0\0\x01c"),
        E::ConnectFlagReserved => (V311, ToServer, b"\x10\x0d\0\x04MQTT\x04\x03\0\0\0\x01c"),
        E::WillQosWithoutWill => (V311, ToServer, b"\x10\x0d\0\x04MQTT\x04\x0a\0\0\0\x01c"),
        E::WillRetainWithoutWill => (V311, ToServer, b"\x10\x0d\0\x04MQTT\x04\x22\0\0\0\x01c"),
        E::WillQosThree => (V311, ToServer, b"\x10\x0d\0\x04MQTT\x04\x1e\0\0\0\x01c"),
        E::WildcardInWillTopic => (
            V311,
            ToServer,
            b"\x10\x12\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01+\0\0",
        ),
        E::PasswordWithoutUserName => (
            V311,
            ToServer,
            b"\x10\x10\0\x04MQTT\x04\x42\0\0\0\x01c\0\x01p",
        ),
        E::EmptyClientId => (V311, ToServer, b"\x10\x0c\0\x04MQTT\x04\x00\0\0\0\0"),
        E::NoTopicFilter => (V311, ToServer, b"\x82\x02\x00\x01"),
        E::SubscriptionOptions => (V311, ToServer, b"\x82\x06\x00\x01\x00\x01a\x03"),
        E::NoLocalShared => (V5, ToServer, b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04"),
        E::InvalidReasonCode => (V311, ToClient, b"\x20\x02\x00\x06"),
        E::ConnackFlags => (V311, ToClient, b"\x20\x02\x02\x00"),
        E::SessionPresentOnFailure => (V311, ToClient, b"\x20\x02\x01\x05"),
        other => panic!("no packet for {other:?}"),
    })
}

#[test]
fn each_has_a_packet_that_causes_it() {
    for &error in DecodeError::ALL {
        let Some((version, direction, bytes)) = cause(error) else {
            continue;
        };
        assert_eq!(
            View::parse(version, direction, bytes).map(|_| ()),
            Err(error),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn each_says_what_and_why() {
    for &error in DecodeError::ALL {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
        for version in [Version::V31, Version::V311, Version::V5] {
            let statement = error.statement(version);
            assert!(
                ["MQTT-", "Appendix"]
                    .iter()
                    .any(|it| statement.starts_with(it))
                    || statement.starts_with(|c: char| c.is_ascii_digit()),
                "{error:?} {statement}"
            );
        }
        let reason: ReasonCode = error.reason();
        assert!(reason.is_error(), "{error:?}");
        assert_ne!(reason.as_str(), "unknown");
        // it can be told after CONNACK, or it belongs to CONNECT
        assert!(
            reason.is_valid_in_server_disconnect() || reason.is_valid_in_connack(),
            "{error:?}"
        );
    }
}

/// A log line about a client of 3.1.1 once quoted statements of MQTT 5.0, which that client's
/// developers do not find in their standard.
#[test]
fn statements_are_those_of_the_version() {
    for (error, v5, v311, v31) in [
        (
            DecodeError::PacketIdZero,
            "MQTT-2.2.1-3",
            "MQTT-2.3.1-1",
            "2.4",
        ),
        (
            DecodeError::ReservedFlags,
            "MQTT-2.1.3-1",
            "MQTT-2.2.2-2",
            "2.1",
        ),
        (
            DecodeError::InvalidUtf8,
            "MQTT-1.5.4-1",
            "MQTT-1.5.3-1",
            "2.5",
        ),
        (
            DecodeError::NoTopicFilter,
            "MQTT-3.8.3-2",
            "MQTT-3.8.3-3",
            "3.8",
        ),
    ] {
        assert_eq!(error.statement(Version::V5), v5);
        assert_eq!(error.statement(Version::V311), v311);
        assert_eq!(error.statement(Version::V31), v31);
    }
}

/// A will QoS of 3 and a will topic `w/#` were refused with the statements about PUBLISH, and
/// Will Retain without a will with the statement about Will QoS. The number led the reader to
/// another packet, or to another bit.
#[test]
fn a_connect_is_refused_with_statements_about_connect() {
    let connect = |version: Version, flags: u8| {
        let (level, block): (u8, &[u8]) = match version {
            Version::V5 => (5, b"\0"),
            _ => (4, b""),
        };
        let topic: &[u8] = if flags & 4 == 0 {
            b""
        } else {
            b"\0\x03w/#\0\0"
        };
        let will_block = if flags & 4 == 0 { b"" } else { block };
        let front = [b"\0\x04MQTT", &[level, flags, 0, 60][..], block, b"\0\x01c"].concat();
        packet(0x10, &[&front[..], will_block, topic].concat())
    };
    for (flags, what, v5, v311) in [
        (0x1e, "will QoS is 3", "MQTT-3.1.2-12", "MQTT-3.1.2-14"),
        (
            0x06,
            "will topic contains a wildcard",
            "MQTT-4.7.0-1",
            "MQTT-4.7.1-1",
        ),
        (
            0x0a,
            "will QoS is set without a will",
            "MQTT-3.1.2-11",
            "MQTT-3.1.2-13",
        ),
        // no QoS at all without a will
        (
            0x1a,
            "will QoS is set without a will",
            "MQTT-3.1.2-11",
            "MQTT-3.1.2-13",
        ),
        (
            0x22,
            "will retain is set without a will",
            "MQTT-3.1.2-13",
            "MQTT-3.1.2-15",
        ),
    ] {
        for (version, statement) in [(Version::V5, v5), (Version::V311, v311)] {
            let bytes = connect(version, flags);
            let error = ConnectPacket::parse(bytes.into()).expect_err("it is not valid");
            assert_eq!(error.to_string(), what);
            assert_eq!(error.statement(version), statement, "{what}, {version}");
        }
    }
}

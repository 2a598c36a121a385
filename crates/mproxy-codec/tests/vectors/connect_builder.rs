//! A CONNECT from nothing: its bytes, and what cannot be built.

use mproxy_codec::{
    ConnectBuilder, DecodeError, Direction, EncodeError, Kind, Place, Properties, PropertyId,
    PropertyWriter, QoS, Value, Will,
};

use crate::common::{ALL, BAD_NAMES, V3, V5, V31, V311, field};
use crate::connect::connect;

/// What [`ConnectBuilder::build`] refuses with a rule of the standard.
const fn invalid<T>(error: DecodeError) -> Result<T, EncodeError> {
    Err(EncodeError::Invalid(error))
}

#[test]
fn the_least_and_the_most() {
    for version in ALL {
        let least = ConnectBuilder::new(version).client_id("c");
        assert_eq!(
            &least.keep_alive(60).build().unwrap().as_bytes()[..],
            connect(version, 0x02, b"\0\x01c")
        );
        let most = least
            .clean_start(false)
            .keep_alive(60)
            .will(Will::new("w", b"\0\xff").qos(QoS::ExactlyOnce).retain(true))
            .user_name("u")
            .password(b"p\0")
            .build()
            .unwrap();
        let block: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        let payload = [b"\0\x01c", block, b"\0\x01w\0\x02\0\xff\0\x01u\0\x02p\0"].concat();
        assert_eq!(&most.as_bytes()[..], connect(version, 0xf4, &payload));
    }
    // empty is not the same as absent
    let empty = ConnectBuilder::new(V311).user_name("").password(b"");
    let bytes = connect(V311, 0xc2, b"\0\0\0\0\0\0");
    assert_eq!(&empty.keep_alive(60).build().unwrap().as_bytes()[..], bytes);
}

#[test]
fn property_blocks() {
    let mut delay = PropertyWriter::new();
    delay
        .push(PropertyId::WillDelayInterval, Value::U32(9))
        .unwrap();
    let delay = Properties::parse(delay.as_bytes(), Place::Will).unwrap();
    let will = Will::new("w", b"").properties(delay);
    let builder = ConnectBuilder::new(V5).will(will);
    let built = builder.properties(b"\x21\0\x05").build().unwrap();
    let expected = b"\x10\x1b\0\x04MQTT\x05\x06\0\0\x03\x21\0\x05\0\0\x05\x18\0\0\0\x09\0\x01w\0\0";
    assert_eq!(&built.as_bytes()[..], expected);
    // the will of a packet goes into another
    let again = ConnectBuilder::new(V5)
        .will(built.will().unwrap())
        .properties(built.properties().as_bytes());
    assert_eq!(again.build().unwrap(), built);
    for version in V3 {
        let builder = ConnectBuilder::new(version).client_id("c");
        let none = Err(EncodeError::NoSuchField);
        assert_eq!(builder.properties(b"\x21\0\x05").build(), none);
        assert_eq!(builder.will(will).build(), none);
    }
    for (block, error) in [
        (&b"\x21\0\0"[..], DecodeError::PropertyValue),
        (b"\x21\0", DecodeError::Truncated),
        (b"\x18\0\0\0\x09", DecodeError::PropertyNotAllowed),
        (b"\x21\0\x01\x21\0\x01", DecodeError::DuplicateProperty),
        (b"\x16\0\x01x", DecodeError::AuthDataWithoutMethod),
    ] {
        let built = ConnectBuilder::new(V5).properties(block).build();
        assert_eq!(built, invalid(error));
    }
    // read for another place, where it is allowed
    let place = Place::Packet(Kind::Publish, Direction::ToServer);
    let alias = Properties::parse(b"\x23\0\x01", place).unwrap();
    let built = ConnectBuilder::new(V5).will(Will::new("w", b"").properties(alias));
    assert_eq!(built.build(), invalid(DecodeError::PropertyNotAllowed));
}

#[test]
fn what_the_standard_forbids_is_not_built() {
    let too_long = "l".repeat(65_536);
    for version in ALL {
        let builder = ConnectBuilder::new(version).client_id("c");
        // [MQTT-3.1.2-22]; MQTT 5.0 allows it
        let alone = builder.password(b"p").build();
        if version == V5 {
            assert_eq!(alone.unwrap().password(), Some(&b"p"[..]));
        } else {
            assert_eq!(alone, invalid(DecodeError::PasswordWithoutUserName));
        }
        for topic in ["+", "a/#"] {
            let built = builder.will(Will::new(topic, b"")).build();
            assert_eq!(built, invalid(DecodeError::WildcardInWillTopic));
        }
        let empty = builder.will(Will::new("", b"")).build();
        assert_eq!(empty, invalid(DecodeError::EmptyTopic));
        for (bad, error) in BAD_NAMES
            .iter()
            .map(|bad| (*bad, DecodeError::ControlCharacter))
            .chain([("a\0b", DecodeError::NulCharacter)])
        {
            assert_eq!(builder.client_id(bad).build(), invalid(error));
            assert_eq!(builder.user_name(bad).build(), invalid(error));
            assert_eq!(builder.will(Will::new(bad, b"")).build(), invalid(error));
        }
        let long = Err(EncodeError::FieldTooLong);
        let long_bytes = too_long.as_bytes();
        assert_eq!(builder.client_id(&too_long).build(), long);
        assert_eq!(builder.user_name(&too_long).build(), long);
        assert_eq!(builder.password(long_bytes).user_name("u").build(), long);
        assert_eq!(builder.will(Will::new(&too_long, b"")).build(), long);
        assert_eq!(builder.will(Will::new("w", long_bytes)).build(), long);
    }
    // section 3.1.3.1, [MQTT-3.1.3-8]
    let none = invalid(DecodeError::EmptyClientId);
    assert_eq!(ConnectBuilder::new(V31).build(), none);
    let kept = ConnectBuilder::new(V311).clean_start(false);
    assert_eq!(kept.build(), none);
    assert!(ConnectBuilder::new(V311).build().is_ok());
    assert!(ConnectBuilder::new(V5).clean_start(false).build().is_ok());
}

#[test]
fn every_length_up_to_the_longest() {
    for len in [0, 1, 127, 128, 16_383, 16_384, 65_535] {
        let text = "x".repeat(len);
        for version in ALL {
            let builder = ConnectBuilder::new(version).client_id("c");
            let built = builder.user_name(&text).password(text.as_bytes());
            let built = built.keep_alive(60).build().unwrap();
            let payload = [&b"\0\x01c"[..], &field(text.as_bytes()).repeat(2)].concat();
            assert_eq!(&built.as_bytes()[..], connect(version, 0xc2, &payload));
        }
    }
}

#[test]
fn debug_shows_no_secret() {
    let builder = ConnectBuilder::new(V5)
        .user_name("alice")
        .password(b"hunter2")
        .will(Will::new("w", b"last words"));
    for shown in [
        format!("{builder:?}"),
        format!("{:?}", builder.build().unwrap()),
    ] {
        assert!(shown.contains("alice"), "{shown}");
        let secret = format!("{:?}", b"hunter2");
        let payload = format!("{:?}", b"last words");
        for hidden in ["hunter2", "last words", &secret[1..8], &payload[1..8]] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}

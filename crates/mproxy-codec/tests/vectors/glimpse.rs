//! What is left of a CONNECT that is not let in.

use mproxy_codec::{ConnectGlimpse, ConnectPacket, DecodeError, Version};

use crate::common::{ALL, V5, V31, V311, field, packet};
use crate::connect::connect;

/// A CONNECT of MQTT with this level, a block of properties if there is one, the client identifier
/// `dev6`, a will if there is one, and the user name `u6`.
fn of_level(level: u8, block: Option<&[u8]>, will: Option<&[u8]>) -> Vec<u8> {
    let flags = if will.is_some() { 0x86 } else { 0x82 };
    let properties = block.map(|block| [&[block.len() as u8][..], block].concat());
    let properties = properties.unwrap_or_default();
    let body = [
        &b"\0\x04MQTT"[..],
        &[level, flags, 0, 60],
        &properties,
        &field(b"dev6"),
        will.unwrap_or_default(),
        &field(b"u6"),
    ];
    packet(0x10, &body.concat())
}

fn who(bytes: &[u8]) -> (Option<u8>, Option<&str>, Option<&str>) {
    let glimpse = ConnectGlimpse::of(bytes);
    (glimpse.level, glimpse.client_id, glimpse.user_name)
}

/// A client of level 6 is answered in the form of MQTT 5.0, but was read in that of 3.1.1: the empty
/// block of its properties became the first byte of the client identifier's length, and the log line
/// had `client_id=""` and no user name. With a property in the block it had neither.
#[test]
fn a_later_mqtt_is_read_in_the_form_in_which_it_is_answered() {
    let expiry = b"\x11\0\0\0\x3c";
    for level in 6..=0x7f {
        for block in [&b""[..], expiry] {
            for will in [None, Some(&b"\0\0\x01w\0\x01x"[..])] {
                let bytes = of_level(level, Some(block), will);
                assert_eq!(ConnectPacket::version_of(&bytes), Some(V5));
                assert_eq!(who(&bytes), (Some(level), Some("dev6"), Some("u6")));
                assert_eq!(ConnectGlimpse::of(&bytes).field, Some("protocol level"));
                // as far as it has come
                let cut = &bytes[..bytes.len() - 1];
                assert_eq!(who(cut), (Some(level), Some("dev6"), None));
            }
        }
    }
}

/// The form of a level that nobody knows is a guess. What does not fill the packet to its last byte
/// was guessed wrong, and a false client identifier is worse than none.
#[test]
fn only_what_fits_is_there() {
    for level in [0, 2, 6, 0x7f, 0x80, 0x82, 0x85, 0x86, 0xff] {
        for block in [None, Some(&b""[..]), Some(b"\x11\0\0\0\x3c")] {
            let mut bytes = of_level(level, block, None);
            assert_eq!(who(&bytes), (Some(level), Some("dev6"), Some("u6")));
            bytes.push(0);
            bytes[1] += 1;
            assert_eq!(who(&bytes), (Some(level), None, None));
        }
    }
    // in either form the client identifier would be empty, and bytes be left
    let body = b"\0\x04MQTT\x06\x82\0\x3c\0\0\0\0\x04dev6\0\x02u6";
    assert_eq!(who(&packet(0x10, body)), (Some(6), None, None));
    // the form of these is known, so that what can be read is true even where the rest is not
    for level in [3, 4, 0x83, 0x84] {
        let mut bytes = of_level(level, None, None);
        bytes.push(0);
        bytes[1] += 1;
        assert_eq!(who(&bytes), (Some(level), Some("dev6"), Some("u6")));
    }
}

/// A client identifier, a will topic or a user name with a control character was refused without
/// a word about which of them it was.
#[test]
fn the_field_of_a_control_character_is_named() {
    for version in ALL {
        let block: &[u8] = if version == V5 { b"\0" } else { b"" };
        let with = |id: &[u8], block: &[u8], topic: &[u8], user: &[u8]| {
            let rest = [&field(topic)[..], b"\0\x01\x07", &field(user)].concat();
            connect(version, 0x86, &[&field(id)[..], block, &rest].concat())
        };
        for (bytes, named) in [
            (with(b"c", block, b"w", b"b\x07"), Some("user name")),
            (with(b"c", block, b"w\x07", b"b\x07"), Some("will topic")),
            (with(b"c\n", block, b"w\n", b"b"), Some("client identifier")),
            // a payload is any bytes
            (with(b"c", block, b"w", b"b"), None),
        ] {
            let glimpse = ConnectGlimpse::of(&bytes);
            // valid, and so no error: whether it is let in is its reader's choice
            assert_eq!((glimpse.field, glimpse.control_field), (None, named));
        }
        if version == V5 {
            let bytes = with(b"c", b"\x05\x08\0\x02r\x07", b"w\x07", b"u");
            let named = ConnectGlimpse::of(&bytes).control_field;
            assert_eq!(named, Some("will properties"));
        }
    }
}

/// What is wrong in front of the first field has a name as well.
#[test]
fn the_fixed_header_is_named() {
    for version in ALL {
        let mut bytes = connect(version, 0x02, b"\0\x01c");
        bytes[0] = 0x11;
        // MQTT 3.1 does not use the flags
        let named = (version != V31).then_some("fixed header");
        assert_eq!(ConnectGlimpse::of(&bytes).field, named);
        // it is wrong before all of it has come
        let cut = ConnectGlimpse::of(&bytes[..10]);
        assert_eq!((cut.field, cut.client_id), (named, None));

        let bytes = connect(version, 0x02, b"\0\x01c");
        let long = [&[0x10, bytes[1] | 0x80, 0x00], &bytes[2..]].concat();
        let error = ConnectPacket::parse(long.clone().into()).err();
        assert_eq!(error, (version == V5).then_some(DecodeError::NotMinimal));
        let named = error.map(|_| "remaining length");
        assert_eq!(ConnectGlimpse::of(&long).field, named);
    }
    let endless = ConnectGlimpse::of(b"\x10\xff\xff\xff\xff");
    assert_eq!(endless.field, Some("remaining length"));
    let other = ConnectGlimpse::of(b"\x30\xff\xff\xff\xff");
    assert_eq!(other, ConnectGlimpse::default(), "not a CONNECT");
}

/// The name of a client that speaks something else, or that is spelled wrong, is there as it came.
#[test]
fn a_wrong_name_is_there_and_nothing_behind_it() {
    for name in [&b"mqtt"[..], b"AMQP\n", b"", b"\xff\0"] {
        let body = [&field(name)[..], b"\x04\x02\0\x3c\0\x01c"].concat();
        let bytes = packet(0x10, &body);
        let glimpse = ConnectGlimpse::of(&bytes);
        assert_eq!(glimpse.protocol_name, Some(name));
        assert_eq!(glimpse.field, Some("protocol name"));
        assert_eq!(who(&bytes), (None, None, None));
        let cut = ConnectGlimpse::of(&bytes[..3 + name.len()]);
        assert_eq!(cut.protocol_name, None, "not all of it has come");
    }
    for (version, name) in [(V31, "MQIsdp"), (V311, "MQTT"), (Version::V5, "MQTT")] {
        let bytes = connect(version, 0x02, b"\0\x01c");
        let seen = ConnectGlimpse::of(&bytes).protocol_name;
        assert_eq!(seen, Some(name.as_bytes()));
    }
}

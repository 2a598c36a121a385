//! Rewriting a CONNECT: each setter changes its field and nothing else.

use mproxy_codec::{ConnectPacket, DecodeError, EncodeError, Version};

use crate::common::{ALL, BAD_NAMES, V3, V5, V31, V311, field};
use crate::connect::{connect, parse};

/// The fields of the CONNECT that the tests rewrite, each with its length.
#[derive(Clone)]
struct Fields {
    flags: u8,
    id: Vec<u8>,
    will_block: Vec<u8>,
    will_topic: Vec<u8>,
    will_payload: Vec<u8>,
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Fields {
    fn all(version: Version) -> Self {
        Self {
            flags: 0xee,
            id: field(b"client"),
            will_block: if version.is_v5() {
                b"\x05\x18\0\0\0\x09".to_vec()
            } else {
                Vec::new()
            },
            will_topic: field(b"will/topic"),
            will_payload: field(b"gone"),
            user: field(b"user"),
            password: field(b"secret"),
        }
    }

    fn bytes(&self, version: Version) -> Vec<u8> {
        let payload = [
            &self.id[..],
            &self.will_block,
            &self.will_topic,
            &self.will_payload,
            &self.user,
            &self.password,
        ]
        .concat();
        connect(version, self.flags, &payload)
    }
}

/// Applies `set` to the packet with all fields and compares the result with `change`.
fn check(
    version: Version,
    set: impl Fn(&mut ConnectPacket) -> Result<(), EncodeError>,
    change: impl Fn(&mut Fields),
) {
    let mut fields = Fields::all(version);
    let mut packet = parse(&fields.bytes(version));
    set(&mut packet).expect("a valid field");
    change(&mut fields);
    assert_eq!(&packet.as_bytes()[..], fields.bytes(version), "{version}");
    // and the layout goes with the bytes
    assert_eq!(packet, parse(packet.as_bytes()));
}

#[test]
fn each_changes_its_field() {
    let longest = "l".repeat(65_535);
    for version in ALL {
        for text in ["x", "another client", "é", &longest] {
            check(
                version,
                |packet| packet.set_client_id(text),
                |fields| {
                    fields.id = field(text.as_bytes());
                },
            );
            check(
                version,
                |packet| packet.set_user_name(Some(text)),
                |fields| {
                    fields.user = field(text.as_bytes());
                },
            );
            check(
                version,
                |packet| packet.set_password(Some(text.as_bytes())),
                |fields| {
                    fields.password = field(text.as_bytes());
                },
            );
            check(
                version,
                |packet| packet.set_will_topic(text),
                |fields| {
                    fields.will_topic = field(text.as_bytes());
                },
            );
            check(
                version,
                |packet| packet.set_will_payload(text.as_bytes()),
                |fields| {
                    fields.will_payload = field(text.as_bytes());
                },
            );
        }
        // empty is not the same as absent
        check(
            version,
            |packet| packet.set_user_name(Some("")),
            |fields| {
                fields.user = field(b"");
            },
        );
        check(
            version,
            |packet| packet.set_password(Some(b"")),
            |fields| {
                fields.password = field(b"");
            },
        );
        check(
            version,
            |packet| packet.set_will_payload(b""),
            |fields| {
                fields.will_payload = field(b"");
            },
        );
        check(
            version,
            |packet| packet.set_password(Some(b"\0\xff")),
            |fields| {
                fields.password = field(b"\0\xff");
            },
        );
    }
    for version in [V311, V5] {
        check(
            version,
            |packet| packet.set_client_id(""),
            |fields| fields.id = field(b""),
        );
    }
}

#[test]
fn fields_go_and_come() {
    for version in ALL {
        check(
            version,
            |packet| packet.set_password(None),
            |fields| {
                fields.flags &= !0x40;
                fields.password.clear();
            },
        );
        check(
            version,
            |packet| packet.set_credentials(None, None),
            |fields| {
                fields.flags &= !0xc0;
                fields.user.clear();
                fields.password.clear();
            },
        );
        check(version, ConnectPacket::remove_will, |fields| {
            fields.flags &= !0x3c;
            fields.will_block.clear();
            fields.will_topic.clear();
            fields.will_payload.clear();
        });
        // and back again
        check(
            version,
            |packet| {
                packet.set_credentials(None, None)?;
                packet.set_user_name(Some("user"))?;
                packet.set_password(Some(b"secret"))
            },
            |_| (),
        );
    }
    check(
        V5,
        |packet| packet.set_user_name(None),
        |fields| {
            fields.flags &= !0x80;
            fields.user.clear();
        },
    );
}

#[test]
fn credentials_are_added() {
    for version in ALL {
        let mut packet = parse(&connect(version, 0x02, b"\0\x01c"));
        packet.set_credentials(Some("u"), Some(b"p")).unwrap();
        assert_eq!(
            &packet.as_bytes()[..],
            connect(version, 0xc2, b"\0\x01c\0\x01u\0\x01p")
        );
        packet.remove_will().unwrap();
        packet.set_credentials(Some("u"), None).unwrap();
        assert_eq!(
            &packet.as_bytes()[..],
            connect(version, 0x82, b"\0\x01c\0\x01u")
        );
    }
}

#[test]
fn property_blocks() {
    let fields = Fields::all(V5);
    let mut packet = parse(&fields.bytes(V5));
    packet.set_properties(b"\x21\0\x05").unwrap();
    let bytes = fields.bytes(V5);
    // first byte, length, name, level, flags, keep alive, then the block
    let expected = [
        &[0x10, bytes[1] + 3],
        &bytes[2..12],
        b"\x03\x21\0\x05",
        &bytes[13..],
    ]
    .concat();
    assert_eq!(&packet.as_bytes()[..], expected);
    packet.set_properties(b"").unwrap();
    assert_eq!(&packet.as_bytes()[..], bytes);
    check(
        V5,
        |packet| packet.set_will_properties(b""),
        |fields| {
            fields.will_block = b"\0".to_vec();
        },
    );
    check(
        V5,
        |packet| packet.set_will_properties(b"\x01\x01"),
        |fields| {
            fields.will_block = b"\x02\x01\x01".to_vec();
        },
    );
}

/// Asserts that `set` fails and leaves the packet as it was.
fn check_refused(
    version: Version,
    set: impl Fn(&mut ConnectPacket) -> Result<(), EncodeError>,
    error: EncodeError,
) {
    let before = parse(&Fields::all(version).bytes(version));
    let mut packet = before.clone();
    assert_eq!(set(&mut packet), Err(error), "{version}");
    assert_eq!(packet, before);
    assert_eq!(packet.as_bytes(), before.as_bytes());
}

#[test]
fn what_is_not_valid_changes_nothing() {
    let too_long = "l".repeat(65_536);
    let invalid = EncodeError::Invalid;
    for version in ALL {
        for bad in BAD_NAMES {
            let error = invalid(DecodeError::ControlCharacter);
            check_refused(version, |packet| packet.set_client_id(bad), error);
            check_refused(version, |packet| packet.set_user_name(Some(bad)), error);
            check_refused(version, |packet| packet.set_will_topic(bad), error);
        }
        let nul = invalid(DecodeError::NulCharacter);
        check_refused(version, |packet| packet.set_client_id("a\0"), nul);
        check_refused(version, |packet| packet.set_user_name(Some("\0")), nul);
        check_refused(
            version,
            |packet| packet.set_credentials(Some("\0"), None),
            nul,
        );
        check_refused(version, |packet| packet.set_will_topic("\0"), nul);
        let wildcard = invalid(DecodeError::WildcardInWillTopic);
        check_refused(version, |packet| packet.set_will_topic("a/#"), wildcard);
        check_refused(
            version,
            |packet| packet.set_will_topic(""),
            invalid(DecodeError::EmptyTopic),
        );
        let long = EncodeError::FieldTooLong;
        check_refused(version, |packet| packet.set_client_id(&too_long), long);
        check_refused(
            version,
            |packet| packet.set_user_name(Some(&too_long)),
            long,
        );
        check_refused(
            version,
            |packet| packet.set_password(Some(too_long.as_bytes())),
            long,
        );
        check_refused(version, |packet| packet.set_will_topic(&too_long), long);
        check_refused(
            version,
            |packet| packet.set_will_payload(too_long.as_bytes()),
            long,
        );
    }
    for version in V3 {
        let alone = invalid(DecodeError::PasswordWithoutUserName);
        check_refused(version, |packet| packet.set_user_name(None), alone);
        check_refused(
            version,
            |packet| packet.set_credentials(None, Some(b"p")),
            alone,
        );
        let none = EncodeError::NoSuchField;
        check_refused(version, |packet| packet.set_properties(b""), none);
        check_refused(version, |packet| packet.set_will_properties(b""), none);
    }
    check_refused(
        V31,
        |packet| packet.set_client_id(""),
        invalid(DecodeError::EmptyClientId),
    );
    for (block, error) in [
        (&b"\x21\0\0"[..], DecodeError::PropertyValue),
        (b"\x21\0", DecodeError::Truncated),
        (b"\x23\0\x01", DecodeError::PropertyNotAllowed),
        (
            b"\x11\0\0\0\x01\x11\0\0\0\x01",
            DecodeError::DuplicateProperty,
        ),
    ] {
        check_refused(V5, |packet| packet.set_properties(block), invalid(error));
    }
    check_refused(
        V5,
        |packet| packet.set_will_properties(b"\x11\0\0\0\x01"),
        invalid(DecodeError::PropertyNotAllowed),
    );
}

/// A session that is to be kept needs an identifier in 3.1.1.
#[test]
fn the_identifier_of_a_kept_session() {
    let mut packet = parse(&connect(V311, 0x00, b"\0\x01c"));
    let error = EncodeError::Invalid(DecodeError::EmptyClientId);
    assert_eq!(packet.set_client_id(""), Err(error));
    assert_eq!(packet.client_id(), "c");
}

#[test]
fn without_a_will() {
    for version in ALL {
        let bytes = connect(version, 0x02, b"\0\x01c");
        let mut packet = parse(&bytes);
        let none = Err(EncodeError::NoSuchField);
        assert_eq!(packet.set_will_topic("w"), none);
        assert_eq!(packet.set_will_payload(b"x"), none);
        assert_eq!(packet.set_will_properties(b""), none);
        assert_eq!(packet.remove_will(), Ok(()));
        assert_eq!(&packet.as_bytes()[..], bytes);
    }
}

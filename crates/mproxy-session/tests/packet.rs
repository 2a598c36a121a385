//! Packets that hooks change, byte by byte.

use bytes::Bytes;
use mproxy_codec::{Direction, EncodeError, Version};
use mproxy_session::Packet;

fn packet(version: Version, direction: Direction, bytes: &'static [u8]) -> Packet {
    Packet::parse(version, direction, Bytes::from_static(bytes)).expect("a valid packet")
}

#[test]
fn a_property_block_is_replaced_and_nothing_else() {
    use Direction::{ToClient, ToServer};
    /// Before, the new block, after.
    type Case = (Direction, &'static [u8], &'static [u8], &'static [u8]);
    let cases: [Case; 6] = [
        // CONNACK: session present, then a Receive Maximum that goes
        (
            ToClient,
            b"\x20\x06\x01\x00\x03\x21\x00\x05",
            b"\x1a\x00\x01r",
            b"\x20\x07\x01\x00\x04\x1a\x00\x01r",
        ),
        (
            ToClient,
            b"\x20\x06\x01\x00\x03\x21\x00\x05",
            b"",
            b"\x20\x03\x01\x00\x00",
        ),
        // SUBSCRIBE with two filters and their options
        (
            ToServer,
            b"\x82\x0b\x00\x07\x00\x00\x01a\x2d\x00\x01b\x01",
            b"\x26\x00\x01k\x00\x01v",
            b"\x82\x12\x00\x07\x07\x26\x00\x01k\x00\x01v\x00\x01a\x2d\x00\x01b\x01",
        ),
        // UNSUBSCRIBE
        (
            ToServer,
            b"\xa2\x0d\x00\x07\x07\x26\x00\x01k\x00\x01v\x00\x01a",
            b"",
            b"\xa2\x06\x00\x07\x00\x00\x01a",
        ),
        // PUBLISH in both directions; a Subscription Identifier comes from the broker only
        (
            ToServer,
            b"\x33\x08\x00\x01a\x00\x09\x00hi",
            b"\x26\x00\x01k\x00\x01v",
            b"\x33\x0f\x00\x01a\x00\x09\x07\x26\x00\x01k\x00\x01vhi",
        ),
        (
            ToClient,
            b"\x30\x06\x00\x01a\x00hi",
            b"\x0b\x05",
            b"\x30\x08\x00\x01a\x02\x0b\x05hi",
        ),
    ];
    for (direction, before, block, after) in cases {
        let mut packet = packet(Version::V5, direction, before);
        assert_eq!(packet.set_properties(block), Ok(()), "{before:02x?}");
        assert_eq!(&packet.as_bytes()[..], after);
    }
}

#[test]
fn a_property_block_that_the_packet_may_not_have_changes_nothing() {
    for (direction, bytes, block) in [
        (
            Direction::ToClient,
            &b"\x20\x03\x00\x00\x00"[..],
            &b"\x23\x00\x01"[..],
        ),
        (
            Direction::ToServer,
            b"\x82\x07\x00\x07\x00\x00\x01a\x00",
            b"\x1f\x00\x01r",
        ),
        (
            Direction::ToServer,
            b"\x82\x07\x00\x07\x00\x00\x01a\x00",
            b"\x26\x00\x01k",
        ),
        (
            Direction::ToServer,
            b"\x30\x04\x00\x01a\x00",
            b"\x23\x00\x00",
        ),
    ] {
        let mut packet = packet(Version::V5, direction, bytes);
        let refused = packet.set_properties(block);
        assert!(
            matches!(refused, Err(EncodeError::Invalid(_))),
            "{refused:?}"
        );
        assert_eq!(&packet.as_bytes()[..], bytes);
    }
}

#[test]
fn other_packets_and_versions_have_no_properties_to_replace() {
    for (version, direction, bytes) in [
        (Version::V311, Direction::ToClient, &b"\x20\x02\x00\x00"[..]),
        (Version::V311, Direction::ToServer, b"\x30\x03\x00\x01a"),
        (
            Version::V31,
            Direction::ToServer,
            b"\x82\x06\x00\x07\x00\x01a\x00",
        ),
        (Version::V5, Direction::ToServer, b"\xc0\x00"),
    ] {
        let mut packet = packet(version, direction, bytes);
        assert_eq!(packet.set_properties(b""), Err(EncodeError::NoSuchField));
        assert_eq!(&packet.as_bytes()[..], bytes);
    }
}

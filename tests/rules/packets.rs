//! Packets that tests send, beyond what `wire` makes.

use mproxy_tests::wire::{Version, field, frame, properties};

/// A property of one kind with a value that is right for it, and where it may stand: of the letters
/// below. From tables 2-4 of MQTT 5.0.
///
/// C CONNECT, W will, A CONNACK, P PUBLISH from a client, p PUBLISH from a broker, k PUBACK and its
/// family, S SUBSCRIBE, s SUBACK, U UNSUBSCRIBE, u UNSUBACK, D DISCONNECT from a client, d
/// DISCONNECT from a broker.
pub(crate) const PROPERTIES: [(&[u8], &str); 27] = [
    (&[0x01, 1], "WPp"),
    (&[0x02, 0, 0, 0, 9], "WPp"),
    (&[0x03, 0, 1, b'c'], "WPp"),
    (&[0x08, 0, 1, b'r'], "WPp"),
    (&[0x09, 0, 1, 0xff], "WPp"),
    (&[0x0b, 1], "pS"),
    (&[0x11, 0, 0, 0, 9], "CAD"),
    (&[0x12, 0, 1, b'a'], "A"),
    (&[0x13, 0, 99], "A"),
    (&[0x15, 0, 1, b'm'], "CA"),
    (&[0x16, 0, 1, 0xff], "CA"),
    (&[0x17, 1], "C"),
    (&[0x18, 0, 0, 0, 9], "W"),
    (&[0x19, 1], "C"),
    (&[0x1a, 0, 1, b'i'], "A"),
    (&[0x1c, 0, 1, b's'], "Ad"),
    (&[0x1f, 0, 1, b'r'], "AksuDd"),
    (&[0x21, 0, 9], "CA"),
    (&[0x22, 0, 9], "CA"),
    (&[0x23, 0, 1], "Pp"),
    (&[0x24, 1], "A"),
    (&[0x25, 1], "A"),
    (&[0x26, 0, 1, b'n', 0, 1, b'v'], "CWAPpkSsUuDd"),
    (&[0x27, 0, 8, 0, 0], "CA"),
    (&[0x28, 1], "A"),
    (&[0x29, 1], "A"),
    (&[0x2a, 1], "A"),
];

/// A CONNECT of any version from its parts as they stand on the wire.
pub(crate) fn connect(version: Version, flags: u8, block: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let (name, level) = match version {
        Version::V31 => ("MQIsdp", 3),
        Version::V311 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    let mut body = field(name);
    body.extend([level, flags, 0, 0]);
    if version.is_v5() {
        body.extend(properties(block));
    }
    body.extend(payload.concat());
    frame(0x10, &body)
}

/// An empty block of properties, where there are any.
pub(crate) fn no_properties(version: Version) -> &'static [u8] {
    if version.is_v5() { &[0] } else { &[] }
}

/// An acknowledgement of 5.0 with a reason and properties.
pub(crate) fn ack(first: u8, id: u16, reason: u8, block: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    frame(first, &[&id[..], &[reason], &properties(block)].concat())
}

/// CONNACK of success with properties.
pub(crate) fn accepted(block: &[u8]) -> Vec<u8> {
    frame(0x20, &[&[0, 0][..], &properties(block)].concat())
}

/// The same packet with `mark`, which is in it once, replaced by as many other bytes.
pub(crate) fn swap(packet: &[u8], mark: &[u8], other: &[u8]) -> Vec<u8> {
    assert_eq!(mark.len(), other.len());
    let mut places = packet.windows(mark.len()).enumerate();
    let at = places.find(|(_, it)| *it == mark).expect("the mark").0;
    let mut packet = packet.to_vec();
    packet[at..at + mark.len()].copy_from_slice(other);
    packet
}

/// A packet without its fixed header.
pub(crate) fn body(packet: &[u8]) -> &[u8] {
    let length = packet[1..].iter().position(|byte| *byte < 0x80);
    &packet[2 + length.expect("a length")..]
}

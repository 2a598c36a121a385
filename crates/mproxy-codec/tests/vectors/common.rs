//! How the tables are read.

use mproxy_codec::{DecodeError, Direction, Version, View};

pub(crate) const V31: Version = Version::V31;
pub(crate) const V311: Version = Version::V311;
pub(crate) const V5: Version = Version::V5;
pub(crate) const V3: [Version; 2] = [V31, V311];
pub(crate) const ALL: [Version; 3] = [V31, V311, V5];

/// A packet with the shortest remaining length that fits.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    crate::support::model::varint(body.len(), &mut packet);
    packet.extend(body);
    packet
}

/// Reads a whole packet that a client sent.
pub(crate) fn up(version: Version, bytes: &[u8]) -> Result<View<'_>, DecodeError> {
    View::parse(version, Direction::ToServer, bytes).map(|view| view.expect("a whole packet"))
}

/// Reads a whole packet that a broker sent.
pub(crate) fn down(version: Version, bytes: &[u8]) -> Result<View<'_>, DecodeError> {
    View::parse(version, Direction::ToClient, bytes).map(|view| view.expect("a whole packet"))
}

/// Asserts for each row that the client's packet is refused with this error.
pub(crate) fn refused_up(version: Version, first: u8, rows: &[(&str, &[u8], DecodeError)]) {
    for (what, body, error) in rows {
        let bytes = packet(first, body);
        let seen = up(version, &bytes).map(|view| view.kind());
        assert_eq!(seen, Err(*error), "{version}: {what}: {bytes:02x?}");
    }
}

/// Asserts for each row that the broker's packet is refused with this error.
pub(crate) fn refused_down(version: Version, first: u8, rows: &[(&str, &[u8], DecodeError)]) {
    for (what, body, error) in rows {
        let bytes = packet(first, body);
        let seen = down(version, &bytes).map(|view| view.kind());
        assert_eq!(seen, Err(*error), "{version}: {what}: {bytes:02x?}");
    }
}

/// Ill-formed contents of a string, with the error that every string field answers.
pub(crate) const BAD_STRINGS: &[(&[u8], DecodeError)] = &[
    (b"\0", DecodeError::NulCharacter),
    (b"a\0b", DecodeError::NulCharacter),
    (b"\xff", DecodeError::InvalidUtf8),
    (b"\x80", DecodeError::InvalidUtf8),
    // overlong: U+0000, '/'
    (b"\xc0\x80", DecodeError::InvalidUtf8),
    (b"\xc0\xaf", DecodeError::InvalidUtf8),
    (b"\xe0\x80\xaf", DecodeError::InvalidUtf8),
    // surrogates: one, and a pair as CESU-8 writes it
    (b"\xed\xa0\x80", DecodeError::InvalidUtf8),
    (b"\xed\xa0\xbd\xed\xb8\x80", DecodeError::InvalidUtf8),
    // U+110000
    (b"\xf4\x90\x80\x80", DecodeError::InvalidUtf8),
    // cut off
    (b"\xe2\x82", DecodeError::InvalidUtf8),
];

/// What a string that names something must not hold beside those.
pub(crate) const BAD_NAMES: &[&str] = &[
    "\u{1}",
    "a\nb",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{80}",
    "\u{9f}",
    "\u{fdd0}",
    "\u{fffe}",
    "\u{10ffff}",
];

/// A field with its two-byte length.
pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::support::model::field(bytes, &mut out);
    out
}

//! Small slips of clients and brokers that a tolerant receiver repairs before it reads a packet.
//!
//! The parsers of this crate are strict. Some old and widely used programs break the standard in
//! ways that every reader understands alike. The functions here turn such bytes into those that the
//! standard requires, and leave everything else alone, so that only the parsers validate:
//!
//! | slip | repair |
//! |---|---|
//! | DUP on a PUBLISH of QoS 0 | the bit is cleared |
//! | MQTT 3.1: flag bits of the fixed header that are "not used" there, in any packet but PUBLISH | the standard's own value |
//! | MQTT 3.1: will QoS or will retain without a will | the bits are cleared |
//! | Session Present in a CONNACK to a client that asked for a clean session, or in a refusal | the bit is cleared |

use bytes::{Bytes, BytesMut};

use crate::head::Head;
use crate::kind::Kind;
use crate::packet::connect::{self, WILL_FLAGS};
use crate::version::Version;

/// The first byte of a packet as it is meant.
///
/// ```
/// use mproxy_codec::{Version, tolerance};
/// assert_eq!(tolerance::first_byte(0x38, Version::V5), 0x30); // DUP at QoS 0
/// assert_eq!(tolerance::first_byte(0xe1, Version::V31), 0xe0);
/// assert_eq!(tolerance::first_byte(0xe1, Version::V311), 0xe1); // reserved there: not repaired
/// ```
#[inline]
#[must_use]
pub const fn first_byte(first: u8, version: Version) -> u8 {
    match Kind::from_first_byte(first) {
        Some(Kind::Publish) if first & 0b1110 == 0b1000 => first & !0b1000,
        Some(Kind::Publish) | None => first,
        // MQTT 3.1, section 2.1: a receiver ignores the bits that a packet type does not use
        Some(kind) if matches!(version, Version::V31) => match kind {
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => first & 0xf0 | 0b0010,
            _ => first & 0xf0,
        },
        Some(_) => first,
    }
}

/// The bytes of a CONNECT without will QoS and will retain where MQTT 3.1 has no will; all other
/// bytes come back as they are.
#[must_use]
pub fn connect(frame: Bytes) -> Bytes {
    let Some((at, flags)) = connect::v31_flags(&frame) else {
        return frame;
    };
    if flags & connect::FLAG_WILL != 0 || flags & WILL_FLAGS == 0 {
        return frame;
    }
    with_byte(&frame, at, flags & !WILL_FLAGS)
}

/// Clears Session Present in a CONNACK if there cannot be a session: `clean` says that the client
/// asked for a new one. `None` when there is nothing to repair.
#[must_use]
pub fn connack(packet: &[u8], clean: bool) -> Option<Bytes> {
    let head = Head::parse(packet).ok()??;
    let flags_at = head.len();
    let (&flags, &code) = (packet.get(flags_at)?, packet.get(flags_at + 1)?);
    let slipped = flags == 1 && (clean || code != 0);
    slipped.then(|| with_byte(packet, flags_at, 0))
}

fn with_byte(packet: &[u8], at: usize, value: u8) -> Bytes {
    let mut repaired = BytesMut::from(packet);
    if let Some(byte) = repaired.get_mut(at) {
        *byte = value;
    }
    repaired.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectPacket, Direction};

    /// What is repaired must be right afterwards, and what is right must not be touched.
    #[test]
    fn a_repaired_first_byte_is_valid_and_a_valid_one_stays() {
        for first in 0..=255u8 {
            for version in [Version::V31, Version::V311, Version::V5] {
                for direction in [Direction::ToServer, Direction::ToClient] {
                    let repaired = first_byte(first, version);
                    let before = Head::check_first_byte(first, version, direction);
                    let after = Head::check_first_byte(repaired, version, direction);
                    assert_eq!(first >> 4, repaired >> 4, "{first:02x} {version}");
                    assert_eq!(first_byte(repaired, version), repaired);
                    match before {
                        // DUP of MQTT 3.1 on a repeated request is legal, and not passed on
                        Ok(kind) if first & 0x08 == 0 || kind == Kind::Publish => {
                            assert_eq!(repaired, first, "{first:02x} {version}");
                        }
                        Ok(_) => assert_eq!(version, Version::V31),
                        Err(_) => {}
                    }
                    if repaired != first && before.is_err() {
                        let wrong_way = Err(crate::DecodeError::WrongDirection);
                        let no_auth = Err(crate::DecodeError::ReservedType);
                        assert!(
                            after.is_ok() || after == wrong_way || after == no_auth,
                            "{first:02x} {version} {direction:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_will_that_is_not_there_has_no_flags() {
        for (flags, repaired) in [(0x22, 0x02), (0x0a, 0x02), (0x3a, 0x02), (0x02, 0x02)] {
            let mut frame = b"\x10\x14\0\x06MQIsdp\x03\x02\0\x3c\0\x06c00000".to_vec();
            frame[11] = flags;
            for level in [0x03, 0x83] {
                frame[10] = level;
                let made = connect(Bytes::from(frame.clone()));
                assert_eq!(made[11], repaired);
                assert!(ConnectPacket::parse(made).is_ok());
            }
        }
        let v311 = Bytes::from_static(b"\x10\x12\0\x04MQTT\x04\x22\0\x3c\0\x06c00000");
        assert_eq!(connect(v311.clone()), v311, "an error there");
        for short in 0..v311.len() {
            let _ = connect(v311.slice(..short));
        }
    }

    #[test]
    fn a_session_that_cannot_be_present_is_not() {
        assert_eq!(
            connack(b"\x20\x02\x01\x00", true).unwrap(),
            &b"\x20\x02\0\0"[..]
        );
        assert_eq!(
            connack(b"\x20\x03\x01\x87\0", false).unwrap(),
            &b"\x20\x03\0\x87\0"[..]
        );
        for right in [
            &b"\x20\x02\x01\x00"[..],
            b"\x20\x02\x00\x00",
            b"\x20\x02\x03\x00",
            b"\x20",
        ] {
            assert_eq!(connack(right, false), None);
        }
    }
}

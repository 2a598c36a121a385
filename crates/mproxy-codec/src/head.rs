//! The fixed header: packet type, flags and remaining length.

use crate::error::DecodeError;
use crate::kind::{Direction, Kind};
use crate::varint;
use crate::version::Version;

/// A fixed header (MQTT 5.0 section 2.1).
///
/// Incremental: feed it what has arrived so far, from the first byte of a packet on.
///
/// ```
/// use mproxy_codec::{Head, Kind};
/// assert_eq!(Head::parse(&[0x30])?, None); // not enough yet
/// let head = Head::parse(&[0x30, 0x05, 0x00])?.unwrap();
/// assert_eq!((head.kind(), head.total_len()), (Kind::Publish, 7));
/// # Ok::<(), mproxy_codec::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    first: u8,
    kind: Kind,
    len: u8,
    /// The first byte on the wire was another one.
    repaired: bool,
    // its own word: packed together with the bytes, it would be written in parts and read as a
    // whole, which costs more than the rest of a scan
    remaining: usize,
}

/// The longest fixed header: one byte of type and flags, four of length.
pub const MAX_HEAD_LEN: usize = 5;

impl Head {
    /// Reads a fixed header from the front of `bytes`; `Ok(None)` when more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError::ReservedType`] for packet type 0, [`DecodeError::RemainingLength`] for a
    /// length of more than four bytes.
    #[inline]
    pub const fn parse(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let Some(kind) = Kind::from_first_byte(first) else {
            return Err(DecodeError::ReservedType);
        };
        match varint::read(rest) {
            Ok(Some(length)) => Ok(Some(Self {
                first,
                kind,
                len: length.len as u8 + 1,
                repaired: false,
                remaining: length.value as usize,
            })),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Judges the first byte alone, before any length has arrived: type, direction and flags.
    ///
    /// MQTT 3.1 allows DUP on a repeated PUBREL, SUBSCRIBE and UNSUBSCRIBE; nothing else is lax.
    ///
    /// # Errors
    /// [`DecodeError::ReservedType`], [`DecodeError::WrongDirection`],
    /// [`DecodeError::ReservedFlags`]; for PUBLISH [`DecodeError::QosThree`] and
    /// [`DecodeError::DupQosZero`].
    #[inline]
    pub const fn check_first_byte(
        first: u8,
        version: Version,
        direction: Direction,
    ) -> Result<Kind, DecodeError> {
        let Some(kind) = Kind::from_first_byte(first) else {
            return Err(DecodeError::ReservedType);
        };
        if matches!(kind, Kind::Publish) {
            return match first & 0x0f {
                flags if flags & 0b0110 == 0b0110 => Err(DecodeError::QosThree),
                // [MQTT-3.3.1-2]
                flags if flags & 0b1110 == 0b1000 => Err(DecodeError::DupQosZero),
                _ => Ok(kind),
            };
        }
        let v5 = version.is_v5();
        let to_server = matches!(direction, Direction::ToServer);
        let allowed = match kind {
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq => to_server,
            Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => !to_server,
            Kind::Disconnect => to_server || v5,
            Kind::Auth if !v5 => return Err(DecodeError::ReservedType),
            Kind::Publish
            | Kind::Puback
            | Kind::Pubrec
            | Kind::Pubrel
            | Kind::Pubcomp
            | Kind::Auth => true,
        };
        if !allowed {
            return Err(DecodeError::WrongDirection);
        }
        let flags = first & 0x0f;
        let flags_are_right = match kind {
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => {
                flags == 0b0010 || (flags == 0b1010 && matches!(version, Version::V31))
            }
            _ => flags == 0,
        };
        if flags_are_right {
            Ok(kind)
        } else {
            Err(DecodeError::ReservedFlags)
        }
    }

    /// Reads a fixed header and judges it: the first byte as soon as it is there, and the length of
    /// MQTT 5.0, except that of CONNECT, which judges its own by the version that it names.
    ///
    /// # Errors
    /// Those of [`check_first_byte`](Self::check_first_byte) and [`parse`](Self::parse), and
    /// [`DecodeError::NotMinimal`].
    #[inline]
    pub(crate) fn parse_checked(
        bytes: &[u8],
        version: Version,
        direction: Direction,
    ) -> Result<Option<Self>, DecodeError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        Self::check_first_byte(first, version, direction)?;
        let Some(head) = Self::parse(bytes)? else {
            return Ok(None);
        };
        if version.is_v5() && !head.is_minimal() && head.kind() != Kind::Connect {
            return Err(DecodeError::NotMinimal);
        }
        Ok(Some(head))
    }

    /// The packet type.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// The same head with the flags of a first byte that was
    /// [repaired](crate::tolerance::first_byte).
    #[inline]
    #[must_use]
    pub const fn with_first_byte(mut self, first: u8) -> Self {
        self.repaired |= self.first != first;
        self.first = first;
        self
    }

    /// The first byte, type and flags: as it stood on the wire, or
    /// [repaired](Self::with_first_byte).
    #[inline]
    #[must_use]
    pub const fn first_byte(self) -> u8 {
        self.first
    }

    /// Bytes of the fixed header itself, 2 to 5.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Never: a fixed header has at least two bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Bytes that follow the fixed header.
    #[inline]
    #[must_use]
    pub const fn remaining_len(self) -> usize {
        self.remaining
    }

    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn total_len(self) -> usize {
        self.len as usize + self.remaining
    }

    /// True when the remaining length is encoded in as few bytes as possible. MQTT 5.0 demands it
    /// ([MQTT-1.5.5-1]); for MQTT 3.x the proxy forwards the minimal form, so that it never
    /// disagrees with the broker about where a packet ends.
    #[inline]
    #[must_use]
    pub const fn is_minimal(self) -> bool {
        self.len as usize - 1 == varint::encoded_len(self.remaining as u32)
    }
}

impl Head {
    /// True when the bytes can be forwarded as they came: the remaining length is minimal and
    /// the first byte was not repaired. Otherwise [`normalise`](crate::normalise) writes the packet.
    #[inline]
    #[must_use]
    pub const fn is_verbatim(self) -> bool {
        self.is_minimal() && !self.repaired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_table() {
        use Direction::{ToClient, ToServer};
        use Version::{V5, V31, V311};
        // MQTT 5.0 tables 2-1 and 2-2: for each first byte, who may send it in which version
        for first in 0..=255u8 {
            for version in [V31, V311, V5] {
                for direction in [ToServer, ToClient] {
                    let up = direction == ToServer;
                    let dup_allowed = version == V31;
                    let expected = match first {
                        0x10 | 0xc0 => up,
                        0x82 | 0xa2 => up,
                        0x8a | 0xaa => up && dup_allowed,
                        0x6a => dup_allowed,
                        0x20 | 0x90 | 0xb0 | 0xd0 => !up,
                        0x40 | 0x50 | 0x62 | 0x70 => true,
                        0xe0 => up || version == V5,
                        0xf0 => version == V5,
                        0x30..=0x35 | 0x3a..=0x3d => true,
                        _ => false,
                    };
                    let verdict = Head::check_first_byte(first, version, direction);
                    assert_eq!(
                        verdict.is_ok(),
                        expected,
                        "{first:02x} {version} {direction:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn lengths() {
        let head = Head::parse(&[0x32, 0x80, 0x01]).unwrap().unwrap();
        assert_eq!(
            (head.len(), head.remaining_len(), head.total_len()),
            (3, 128, 131)
        );
        assert!(head.is_minimal());
        let long = Head::parse(&[0x32, 0x82, 0x00]).unwrap().unwrap();
        assert_eq!(long.remaining_len(), 2);
        assert!(!long.is_minimal());
        assert_eq!(Head::parse(&[]), Ok(None));
        assert_eq!(Head::parse(&[0x10, 0xff, 0xff, 0xff]), Ok(None));
        assert_eq!(
            Head::parse(&[0x10, 0xff, 0xff, 0xff, 0xff]),
            Err(DecodeError::RemainingLength)
        );
        assert_eq!(Head::parse(&[0x00]), Err(DecodeError::ReservedType));
    }
}

//! Variable byte integers (MQTT 5.0 section 1.5.5).

use crate::error::{DecodeError, EncodeError};

/// The largest value: four bytes of seven bits.
pub(crate) const MAX: u32 = 268_435_455;

/// A decoded integer and the bytes it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Varint {
    pub(crate) value: u32,
    pub(crate) len: usize,
}

impl Varint {
    /// True when no shorter encoding of the value exists.
    pub(crate) const fn is_minimal(self) -> bool {
        self.len == encoded_len(self.value)
    }
}

/// Reads an integer from the front of `bytes`; `Ok(None)` when it is not complete.
///
/// # Errors
/// [`DecodeError::RemainingLength`] as soon as the fourth byte has bit 7 set.
#[inline]
pub(crate) const fn read(bytes: &[u8]) -> Result<Option<Varint>, DecodeError> {
    let mut value = 0;
    let mut index = 0;
    while index < 4 {
        if index >= bytes.len() {
            return Ok(None);
        }
        let byte = bytes[index];
        value |= ((byte & 0x7f) as u32) << (7 * index);
        index += 1;
        if byte & 0x80 == 0 {
            return Ok(Some(Varint { value, len: index }));
        }
    }
    Err(DecodeError::RemainingLength)
}

/// The length in bytes of the minimal encoding of `value`.
#[inline]
pub(crate) const fn encoded_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// An encoded integer on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded {
    bytes: [u8; 4],
    len: u8,
}

impl Encoded {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Encodes `value` minimally.
///
/// # Errors
/// [`EncodeError::PacketTooLarge`] above [`MAX`].
pub(crate) const fn encode(value: usize) -> Result<Encoded, EncodeError> {
    if value > MAX as usize {
        return Err(EncodeError::PacketTooLarge);
    }
    let mut bytes = [0; 4];
    let mut rest = value;
    let mut len = 0;
    loop {
        bytes[len] = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        bytes[len] |= 0x80;
        len += 1;
    }
    Ok(Encoded {
        bytes,
        len: len as u8 + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_2_4_of_the_standard() {
        for (value, bytes) in [
            (0u32, &[0x00u8][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            assert_eq!(encode(value as usize).unwrap().as_slice(), bytes);
            assert_eq!(
                read(bytes),
                Ok(Some(Varint {
                    value,
                    len: bytes.len()
                }))
            );
            assert_eq!(encoded_len(value), bytes.len());
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_fourth_continuation_bit_is_refused_at_once() {
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff]),
            Err(DecodeError::RemainingLength)
        );
        assert_eq!(read(&[0xff, 0xff, 0xff]), Ok(None));
        assert!(encode(MAX as usize + 1).is_err());
    }

    #[test]
    fn longer_than_needed_is_seen() {
        assert!(!read(&[0x80, 0x00]).unwrap().unwrap().is_minimal());
        assert!(read(&[0x80, 0x01]).unwrap().unwrap().is_minimal());
    }
}
